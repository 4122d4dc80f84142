//! The Graph IR: operators on typed tensors.

mod dot;
#[expect(clippy::module_inception, reason = "graph.rs is the one file that names petgraph")]
mod graph;
mod parse;
mod patch;
mod print;
#[cfg(test)]
mod text_tests;
mod verify;

pub use dot::dot;
pub use graph::{Graph, Node, NodeId, Source, Value, ValueId};
pub use parse::parse;
pub use patch::{Patch, PatchValue};
pub use verify::{verify, verify_structure};
