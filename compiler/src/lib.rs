//! Kiln: ONNX in, a static library or machine code in memory out.

pub mod api;
pub mod codegen;
pub mod digest;
pub mod emit;
pub mod error;
pub mod flatten;
pub mod memory;
pub mod passes;
pub mod peak;
pub mod pipeline;
pub mod plan;
pub mod read_only;
pub mod rules;
pub mod schedule;
pub mod tune;
pub mod variant;
pub mod work;

pub use api::{BuildError, Compiler, Model};
pub use kiln_ir::Tensor;
