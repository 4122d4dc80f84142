//! Times every candidate of every distinct kernel, within the model.

use std::time::{Duration, Instant};

use kiln_ir::kernel::plan::Port;
use kiln_ir::{DType, Error, Result, Tensor};

use super::cache::Cache;
use super::candidates::{Candidates, Subject};
use super::watch::Watch;
use super::winner::winner;
use crate::api::Planned;
use crate::emit::jit::Model;
use crate::emit::session::Session;
use crate::error;

/// Runs of a candidate one after the other: the first finds weights that nobody has read for long.
const REPEATS: usize = 2;
/// Times that every candidate gets its turn, at least and at most.
const LEAST_TURNS: usize = 2;
const MOST_TURNS: usize = 40;
/// After this long no turn is begun beyond the least number.
const PATIENCE: Duration = Duration::from_secs(2);
/// Kernels that are faster are left alone: the clock does not tell their candidates apart.
const LEAST_SECONDS: f64 = 2e-6;

/// Measures the subjects and puts the winners into the cache.
pub(super) fn measure(
    planned: Planned,
    subjects: &[Subject],
    cache: &mut Cache,
    watch: &mut dyn Watch,
) -> std::result::Result<(), error::Error> {
    let target = planned.options.target.clone();
    let mut plan = planned.plan;
    let kernels = plan.kernels.len();
    let mut candidates = Candidates::new(&mut plan, &target);
    // Per subject the candidates that can be run: position of the kernel, position of the pick.
    let mut races: Vec<Race> = Vec::new();
    for subject in subjects {
        let others = subject.picks.iter().enumerate().skip(1);
        let others = others.filter_map(|(i, pick)| Some((candidates.add(subject, pick)?, i)));
        let runners = std::iter::once((subject.kernel, 0)).chain(others).collect();
        races.push(Race { place: subject.kernel, runners });
    }
    let model = Model::new(plan, &target, 1)?;
    let inputs = inputs(model.inputs())?;
    let mut session = model.session_with(&inputs)?;
    let times = take_turns(&mut session, kernels, &races, &mut |done, of| {
        watch.progress("measuring kernels", done, of);
    });
    // The fastest of many may be so by luck: it meets the cost model's choice once more.
    let mut finals = Vec::new();
    for (i, (race, times)) in races.iter().zip(&times).enumerate() {
        if let Some((best, _)) = winner(times).filter(|_| times[0] >= LEAST_SECONDS) {
            let runners = vec![race.runners[0], race.runners[best]];
            finals.push((i, Race { place: race.place, runners }));
        }
    }
    let (of, finals): (Vec<usize>, Vec<Race>) = finals.into_iter().unzip();
    let times = take_turns(&mut session, kernels, &finals, &mut |done, of| {
        watch.progress("measuring winners again", done, of);
    });
    for subject in subjects {
        cache.set(&subject.key, None);
    }
    for ((subject, race), times) in of.iter().map(|i| &subjects[*i]).zip(&finals).zip(&times) {
        if let Some((best, gain)) = winner(times) {
            cache.set(&subject.key, Some((subject.picks[race.runners[best].1].clone(), gain)));
        }
    }
    Ok(())
}

/// Kernels of which one runs at a place of the model.
struct Race {
    place: usize,
    /// Position of the kernel, and whose pick it is.
    runners: Vec<(usize, usize)>,
}

/// Seconds of the fastest run of every runner of every race, over runs of the whole model.
fn take_turns(
    session: &mut Session<'_>,
    kernels: usize,
    races: &[Race],
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<Vec<f64>> {
    let mut times: Vec<Vec<f64>> = races.iter().map(|r| vec![f64::INFINITY; r.runners.len()]).collect();
    let Some(most) = races.iter().map(|r| r.runners.len()).max() else { return times };
    let mut race_at = vec![None; kernels];
    races.iter().enumerate().for_each(|(i, race)| race_at[race.place] = Some(i));
    let start = Instant::now();
    for turn in 0..MOST_TURNS {
        if turn >= LEAST_TURNS && start.elapsed() > PATIENCE {
            break;
        }
        for candidate in 0..most {
            for _ in 0..REPEATS {
                for (i, race) in race_at.iter().enumerate() {
                    let Some(race) = *race else {
                        session.run_kernel(i);
                        continue;
                    };
                    let runner = candidate % races[race].runners.len();
                    let time = timed(session, races[race].runners[runner].0);
                    times[race][runner] = time.min(times[race][runner]);
                }
            }
            let (turn, of) = ((turn * most + candidate) as u64, (LEAST_TURNS * most) as u64);
            progress(turn.min(of), of);
        }
    }
    times
}

/// Seconds of one run of a kernel.
pub(super) fn timed(session: &mut Session<'_>, kernel: usize) -> f64 {
    let start = Instant::now();
    session.run_kernel(kernel);
    start.elapsed().as_secs_f64()
}

/// Arguments that any model takes: numbers between 0 and 1, and zeros where they must be integers.
pub(super) fn inputs(ports: &[Port]) -> Result<Vec<Tensor>> {
    let make = |port: &Port| {
        let shape = port.ty.shape.as_const();
        let shape = shape.ok_or_else(|| {
            Error::unsupported(format!(
                "'{}' has an open dimension: what suits it is not measured",
                port.name
            ))
            .hint("leave --tune out, or bind the dimension to one value with --dim")
        })?;
        if port.ty.dtype != DType::F32 {
            return Ok(Tensor::zeros(port.ty.dtype, &shape));
        }
        // A multiplicative congruential sequence: no value repeats soon.
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        Ok(Tensor::from_vec(&shape, (0..shape.iter().product::<usize>()).map(next).collect::<Vec<f32>>()))
    };
    ports.iter().map(make).collect()
}
