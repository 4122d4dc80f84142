//! The Graph IR: operators on typed tensors.

#[expect(clippy::module_inception, reason = "graph.rs is the one file that names petgraph")]
mod graph;
mod patch;

pub use graph::{Graph, Node, NodeId, Source, Value, ValueId};
pub use patch::{Patch, PatchValue};

impl std::fmt::Display for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "graph {:?}", self.name)
    }
}
