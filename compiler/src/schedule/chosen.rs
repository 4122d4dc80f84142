//! A schedule with its reason.

use kiln_ir::kernel::plan::Schedule;

/// A schedule and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// How the loops are run.
    pub schedule: Schedule,
    /// A line for `explain`.
    pub why: String,
}
