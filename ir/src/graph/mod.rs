//! The Graph IR: operators on typed tensors.

#[expect(clippy::module_inception, reason = "graph.rs is the one file that names petgraph")]
mod graph;
mod parse;
mod patch;
mod print;

pub use graph::{Graph, Node, NodeId, Source, Value, ValueId};
pub use parse::parse;
pub use patch::{Patch, PatchValue};
