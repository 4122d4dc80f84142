//! What models run on.

use kiln_compiler::Limits;

/// How models run while they are measured.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A level of this machine, or `native`.
    pub cpu: String,
    /// Features on top of it or taken from it.
    pub features: String,
    /// Threads of a run.
    pub threads: usize,
    /// How much a model may ask for.
    pub limits: Limits,
}
