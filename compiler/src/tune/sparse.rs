//! Measures whether weights that are mostly zeros are faster in blocks.
//!
//! In blocks the images of a whole region lie differently, so models run in turn: one as the cost model has it, one with the
//! other way of one region. Products that stand alone are compared by themselves.

use super::cache::Cache;
use super::race::{LEAST_RUNS, Seconds, race};
use super::watch::Watch;
use super::winner::winner;
use crate::api::{Loaded, Planned};
use crate::error::Error;
use crate::passes::sparse::Candidate;
use crate::schedule::choices::Pick;

/// Measures the candidates, which are distinct, and puts the winners into the cache. `planned` is the model with the choices of
/// the cache.
pub(super) fn measure(
    model: &Loaded,
    planned: Planned,
    candidates: &[Candidate],
    cache: &mut Cache,
    watch: &mut dyn Watch,
) -> Result<(), Error> {
    let base = planned.jit(1)?;
    for (i, candidate) in candidates.iter().enumerate() {
        let pick = Pick::Blocks(!candidate.blocks);
        let mut other = model.clone();
        other.options.choices.set(&candidate.key, pick.clone());
        let other = other.plan()?.jit(1)?;
        let (ours, theirs) = race(&base, &other, &mut |done| {
            let done = i as u64 * LEAST_RUNS + done.min(LEAST_RUNS);
            watch.progress("measuring sparse weights", done, candidates.len() as u64 * LEAST_RUNS);
        })?;
        let of = |seconds: &Seconds| match &candidate.kernel {
            Some(kernel) => seconds.get(kernel).copied().unwrap_or(0.0),
            None => seconds.values().sum(),
        };
        cache.set(&candidate.key, winner(&[of(&ours), of(&theirs)]).map(|(_, gain)| (pick, gain)));
    }
    Ok(())
}
