//! Two models that run in turn: what their kernels take.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::trial::{inputs, timed};
use crate::emit::jit::Model;
use crate::emit::session::Session;
use crate::error::Error;

/// Runs of each model, at least and at most.
pub(super) const LEAST_RUNS: u64 = 5;
const MOST_RUNS: u64 = 60;
/// After this long no run is begun beyond the least number.
const PATIENCE: Duration = Duration::from_secs(2);

/// Seconds of the fastest run by the kernel's name.
pub(super) type Seconds = HashMap<String, f64>;

/// Seconds of the fastest run of every kernel of two models that run in turn.
pub(super) fn race(a: &Model, b: &Model, progress: &mut dyn FnMut(u64)) -> Result<(Seconds, Seconds), Error> {
    let mut both = [Times::new(a)?, Times::new(b)?];
    let start = Instant::now();
    for run in 0..MOST_RUNS {
        if run >= LEAST_RUNS && start.elapsed() > PATIENCE {
            break;
        }
        both.iter_mut().for_each(Times::run);
        progress(run + 1);
    }
    let [a, b] = both.map(Times::by_name);
    Ok((a, b))
}

struct Times<'m> {
    model: &'m Model,
    session: Session<'m>,
    seconds: Vec<f64>,
}

impl<'m> Times<'m> {
    fn new(model: &'m Model) -> Result<Self, Error> {
        let session = model.session_with(&inputs(model.inputs())?)?;
        Ok(Self { model, session, seconds: vec![f64::INFINITY; model.kernels().len()] })
    }

    fn run(&mut self) {
        for (i, best) in self.seconds.iter_mut().enumerate() {
            *best = timed(&mut self.session, i).min(*best);
        }
    }

    fn by_name(self) -> Seconds {
        self.model.kernels().iter().map(|k| k.name.clone()).zip(self.seconds).collect()
    }
}
