//! How a constant operand of contractions is kept in the artefact.

use crate::format::bcsr::Block;

/// What a buffer of constants becomes, and why: a mark that changes nothing of what kernels mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// What it becomes.
    pub kept: Kept,
    /// A line for `explain`: the estimated costs.
    pub why: String,
}

impl Format {
    /// Whether blocks are kept.
    pub fn is_in_blocks(&self) -> bool {
        matches!(self.kept, Kept::Bcsr(_))
    }
}

/// Every element, or blocks that are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Every element: blocks would be slower.
    Dense,
    /// Blocks with a number other than zero in them ([`Bcsr`](crate::format::bcsr::Bcsr)): rows are iterations of the parallel
    /// loop of the constant.
    Bcsr(Block),
}
