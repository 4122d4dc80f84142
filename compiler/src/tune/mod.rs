//! Measures what the cost models only estimate, on this machine, and remembers the winners.
//!
//! Three things are chosen: which weights that are mostly zeros are kept in blocks, then which convolutions are computed by
//! minimal filtering, then the schedule of every kernel that has a choice. Kernels with the same [`key`](crate::schedule::choices::key) are measured once. Candidates
//! are timed where they will run, in turn with the rest of the model, so that caches hold what they will hold;
//! and in turn with each other, so that a machine whose speed drifts hurts all alike. What is not clearly faster
//! than the cost model's choice does not replace it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kiln_compiler::Compiler;
//! use kiln_compiler::internals::tune;
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
//! The result is [`Choices`](crate::schedule::Choices), an input of planning like the model: the same choices give the same bytes.

pub mod cache;
mod candidates;
mod race;
mod sparse;
mod trial;
mod watch;
mod winner;
mod winograd;

use kiln_ir::kernel::Program;
use kiln_targets::Target;

use crate::api::{Loaded, Planned};
use crate::emit::jit;
use crate::error;
use crate::passes;
use crate::pipeline::Observer;
use cache::Cache;
pub use watch::Watch;

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
) -> Result<(Planned, Outcome), error::Error> {
    jit::check_host(&model.options.target)?;
    let mut outcome = Outcome::default();
    model.options.choices = cache.choices();
    let opt = model.options.opt >= 2;
    let mut seen =
        Seen { target: model.options.target.clone(), blocks: Vec::new(), convolutions: Vec::new() };
    let mut planned = model.clone().plan_observed(&mut seen)?;
    let mut known: Vec<String> = Vec::new();
    let mut blocks = if opt { std::mem::take(&mut seen.blocks) } else { Vec::new() };
    known.extend(blocks.iter().map(|c| c.key.clone()));
    blocks.retain(|c| !cache.knows(&c.key));
    blocks.sort_by(|a, b| a.key.cmp(&b.key));
    blocks.dedup_by(|a, b| a.key == b.key);
    if !blocks.is_empty() {
        outcome.measured += blocks.len();
        sparse::measure(&model, planned, &blocks, cache, watch)?;
        model.options.choices = cache.choices();
        planned = model.clone().plan_observed(&mut seen)?;
    }
    let mut convolutions = if opt && model.options.winograd { seen.convolutions } else { Vec::new() };
    known.extend(convolutions.iter().map(|c| c.key.clone()));
    convolutions.retain(|c| !cache.knows(&c.key));
    if !convolutions.is_empty() {
        outcome.measured += winograd::measure(&model, planned, &convolutions, cache, watch)?;
        model.options.choices = cache.choices();
        planned = model.clone().plan()?;
    }
    let target = model.options.target.clone();
    let subjects = candidates::subjects(&planned.plan, &target);
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

/// Sees which regions and convolutions have a choice.
struct Seen {
    target: Target,
    blocks: Vec<passes::sparse::Candidate>,
    convolutions: Vec<passes::winograd::Candidate>,
}

impl Observer for Seen {
    fn program(&mut self, pass: &'static str, program: &Program) {
        match pass {
            "widen" => self.blocks = passes::sparse::candidates(program, &self.target),
            "sparse" => self.convolutions = passes::winograd::candidates(program, &self.target),
            _ => {}
        }
    }
}
