//! Measures which convolutions are faster by minimal filtering, and with which tiles.
//!
//! This changes what kernels there are, so whole models run in turn: one as the cost model has it, one with every
//! convolution's next candidate.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::trial::{inputs, timed};
use super::watch::Watch;
use super::winner::winner;
use crate::api::{Loaded, Planned};
use crate::emit::jit::Model;
use crate::emit::session::Session;
use crate::error::Error;
use crate::passes::winograd::Candidate;
use crate::schedule::choices::Pick;

/// Runs of each model, at least and at most.
const LEAST_RUNS: u64 = 5;
const MOST_RUNS: u64 = 60;
/// After this long no run is begun beyond the least number.
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures the convolutions and puts the winners into the cache; gives the number of distinct ones. `planned` is
/// the model with the choices of the cache.
pub(super) fn measure(
    model: &Loaded,
    planned: Planned,
    convolutions: &[Candidate],
    cache: &mut Cache,
    watch: &mut dyn Watch,
) -> Result<usize, Error> {
    let most = convolutions.iter().map(|c| c.picks.len()).max().unwrap_or(0);
    let base = planned.jit(1)?;
    // Per distinct convolution, how many times as long as the cost model's choice every candidate takes.
    let mut ratios: BTreeMap<&str, Vec<f64>> =
        convolutions.iter().map(|c| (&*c.key, vec![1.0; c.picks.len()])).collect();
    for place in 1..most {
        let mut other = model.clone();
        for conv in convolutions {
            if let Some(m) = conv.picks.get(place) {
                other.options.choices.set(&conv.key, Pick::Winograd(*m));
            }
        }
        let other = other.plan()?.jit(1)?;
        let (ours, theirs) = race(&base, &other, &mut |done| {
            let done = (place as u64 - 1) * LEAST_RUNS + done.min(LEAST_RUNS);
            watch.progress("measuring convolutions", done, (most as u64 - 1) * LEAST_RUNS);
        })?;
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for conv in convolutions {
            let sum = sums.entry(&conv.key).or_default();
            *sum = (sum.0 + of(&ours, &conv.kernel), sum.1 + of(&theirs, &conv.kernel));
        }
        for (key, (ours, theirs)) in sums {
            if let Some(ratio) = ratios.get_mut(key).and_then(|r| r.get_mut(place)) {
                *ratio = theirs / ours.max(1e-12);
            }
        }
    }
    let distinct = ratios.len();
    for (key, ratios) in ratios {
        let Some(conv) = convolutions.iter().find(|c| c.key == key) else { continue };
        let won = winner(&ratios).map(|(i, gain)| (Pick::Winograd(conv.picks[i]), gain));
        cache.set(key, won);
    }
    Ok(distinct)
}

/// Seconds of a convolution's kernels, whatever it is made of.
fn of(seconds: &Seconds, kernel: &str) -> f64 {
    let part = |suffix: &str| seconds.get(&format!("{kernel}{suffix}")).copied().unwrap_or(0.0);
    part("") + part(".tiles") + part(".product")
}

/// Seconds of the fastest run by the kernel's name.
type Seconds = HashMap<String, f64>;

/// Seconds of the fastest run of every kernel of two models that run in turn.
fn race(a: &Model, b: &Model, progress: &mut dyn FnMut(u64)) -> Result<(Seconds, Seconds), Error> {
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
