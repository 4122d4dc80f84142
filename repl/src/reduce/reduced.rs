//! What reducing ends in.

use kiln_compiler::Tensor;
use kiln_onnx::Document;

use super::judge::Verdict;

/// A small model that does what a large one did.
pub(crate) struct Reduced {
    /// The model.
    pub(crate) document: Document,
    /// Its arguments.
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// What it does.
    pub(crate) verdict: Verdict,
    /// Nodes of the large one.
    pub(crate) before: usize,
}
