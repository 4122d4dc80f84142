//! Measures which convolutions are faster by minimal filtering, and with which tiles.
//!
//! This changes what kernels there are, so whole models run in turn: one as the cost model has it, one with every
//! convolution's next candidate.

use std::collections::BTreeMap;

use super::cache::Cache;
use super::race::{LEAST_RUNS, Seconds, race};
use super::watch::Watch;
use super::winner::winner;
use crate::api::{Loaded, Planned};
use crate::error::Error;
use crate::passes::winograd::Candidate;
use crate::schedule::choices::Pick;

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
