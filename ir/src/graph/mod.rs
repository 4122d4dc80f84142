//! The Graph IR: operators on typed tensors.

mod dot;
#[expect(clippy::module_inception, reason = "graph.rs is the one file that names petgraph")]
pub mod graph;
mod parse;
pub mod patch;
mod print;
#[cfg(test)]
mod text_tests;
mod verify;

pub use dot::dot;
pub use graph::{NodeId, Source, Value, ValueId};
pub use parse::parse;
pub use patch::PatchValue;
pub use verify::{verify, verify_structure};

pub use crate::op::{Graph, Node, Patch};
