//! Measures what the cost models only estimate, on this machine, and remembers the winners.
//!
//! Two things are chosen: which convolutions are computed by minimal filtering, then the schedule of every kernel
//! that has a choice. Kernels with the same [`key`](crate::schedule::choices::key) are measured once. Candidates
//! are timed where they will run, in turn with the rest of the model, so that caches hold what they will hold;
//! and in turn with each other, so that a machine whose speed drifts hurts all alike. What is not clearly faster
//! than the cost model's choice does not replace it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kiln_compiler::{Compiler, tune};
//!
//! let model = Compiler::from_path("model.onnx").cpu("native").load()?;
//! let (mut cache, _problem) = tune::cache::Cache::open("tune.json".as_ref(), &model.options.target);
//! let (planned, _outcome) = tune::plan(model, &mut cache, &mut ())?;
//! cache.save()?;
//! let model = planned.jit(1)?;
//! # Ok(())
//! # }
//! ```
//!
//! The result is [`Choices`], an input of planning like the model: the same choices give the same bytes.

pub mod cache;
mod trial;
mod variants;
mod winograd;

use kiln_ir::kernel::Program;

use crate::api::{BuildError, Loaded, Planned};
use crate::emit::jit;
use crate::passes;
use crate::pipeline::Observer;
use crate::schedule::Choices;
use cache::Cache;

/// A candidate must be faster than the cost model's choice by this factor to replace it.
const LEAST_GAIN: f64 = 1.03;

/// Hears how far the work is.
pub trait Watch {
    /// `done` of `of` steps of `what`.
    fn progress(&mut self, what: &str, done: u64, of: u64);
}

/// Hears nothing.
impl Watch for () {
    fn progress(&mut self, _: &str, _: u64, _: u64) {}
}

/// What tuning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Distinct kernels and convolutions with a choice.
    pub subjects: usize,
    /// Those that were not in the cache.
    pub measured: usize,
    /// Those that are other than the cost model's choice.
    pub changed: usize,
}

/// Plans a model with the choices in the cache, after measuring those that are missing. Errors when this machine
/// cannot run the code.
pub fn plan(
    mut model: Loaded,
    cache: &mut Cache,
    watch: &mut dyn Watch,
) -> Result<(Planned, Outcome), BuildError> {
    jit::check_host(&model.options.target)?;
    let mut outcome = Outcome::default();
    model.options.choices = cache.choices();
    let filters = model.options.opt >= 2 && model.options.winograd;
    let mut seen = Convolutions { model: &model, list: Vec::new() };
    let mut planned = model.clone().plan_observed(&mut seen)?;
    let mut convolutions = if filters { seen.list } else { Vec::new() };
    let known: Vec<String> = convolutions.iter().map(|c| c.key.clone()).collect();
    convolutions.retain(|c| !cache.knows(&c.key));
    if !convolutions.is_empty() {
        outcome.measured += winograd::measure(&model, planned, &convolutions, cache, watch)?;
        model.options.choices = cache.choices();
        planned = model.clone().plan()?;
    }
    let target = model.options.target.clone();
    let subjects = variants::subjects(&planned.plan, &target);
    let keys = known.into_iter().chain(subjects.iter().map(|s| s.key.clone()));
    let keys: std::collections::BTreeSet<String> = keys.collect();
    let missing: Vec<_> = subjects.into_iter().filter(|s| !cache.knows(&s.key)).collect();
    if !missing.is_empty() {
        outcome.measured += missing.len();
        trial::measure(planned, &missing, cache, watch)?;
        model.options.choices = cache.choices();
        planned = model.plan()?;
    }
    outcome.subjects = keys.len();
    outcome.changed = keys.iter().filter(|k| cache.changes(k)).count();
    Ok((planned, outcome))
}

/// Sees which convolutions have a choice.
struct Convolutions<'a> {
    model: &'a Loaded,
    list: Vec<passes::winograd::Candidate>,
}

impl Observer for Convolutions<'_> {
    fn program(&mut self, pass: &'static str, program: &Program) {
        if pass == "absorb" {
            self.list = passes::winograd::candidates(program, &self.model.options.target);
        }
    }
}

/// The candidate that is clearly faster than the first, and by what factor.
fn winner(seconds: &[f64]) -> Option<(usize, f64)> {
    let base = *seconds.first()?;
    let (best, time) = seconds.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let gain = base / time.max(1e-12);
    (best > 0 && gain >= LEAST_GAIN).then_some((best, gain))
}

/// Choices for looking at one candidate.
fn one(key: &str, pick: &crate::schedule::choices::Pick) -> Choices {
    let mut choices = Choices::default();
    choices.set(key, pick.clone());
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardly_faster_does_not_win() {
        assert_eq!(winner(&[1.0, 0.99, 2.0]), None);
        assert_eq!(winner(&[0.5, 1.0]), None);
        assert_eq!(winner(&[1.0, 0.8, 0.5]), Some((2, 2.0)));
        assert_eq!(winner(&[]), None);
    }
}
