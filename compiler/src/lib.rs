//! Kiln: ONNX in, a static library or machine code in memory out.

pub mod codegen;
pub mod error;
pub mod import;
pub mod passes;
pub mod rules;
