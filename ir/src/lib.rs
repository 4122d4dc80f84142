//! Kiln's intermediate representations.
//!
//! This crate knows no machine and no file format and does no I/O. It holds the types and tensors, the Graph IR
//! with one file per operator, the Kernel IR, and for both levels a text form, a verifier and a slow interpreter
//! that is the living definition of what the IR means.

pub mod counts;
pub mod dim;
pub mod error;
pub mod errors;
pub mod eval;
pub mod fact;
pub mod format;
pub mod graph;
pub mod kernel;
pub mod limits;
pub mod numerics;
pub mod op;
pub mod ops;
pub mod quantized;
pub mod tensor;
pub mod text;
pub mod types;

pub use dim::{Bound, Bounds, Dim};
pub use error::{Error, ErrorKind, Result};
pub use errors::Errors;
pub use limits::Limits;
pub use op::{Attr, Attrs, Fact, Known, NodeProto, NodeView, Op, OpDef, PRIVATE_ATTRIBUTE};
pub use tensor::Tensor;
pub use types::{DType, Shape, TensorType};
