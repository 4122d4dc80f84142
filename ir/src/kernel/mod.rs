//! The Kernel IR: a few loop-level forms, no machine knowledge.
//!
//! A [`Program`] is a list of [`Kernel`]s in execution order over [`Buffer`]s. A kernel is a loop nest: named
//! loops, accesses that index a buffer's *logical* axes by affine expressions of the loops, and a [`Form`] that
//! says what the body is. Where an element lies in memory is no part of a form: a buffer's [`Place`] says it,
//! so layouts change without touching any kernel.
//!
//! The [`plan`] module holds the same forms after placement, flattened to strides, with their schedules.

mod access;
mod assumed;
pub mod digits;
pub mod edges;
mod expr;
mod form;
mod format;
mod function;
mod lowering;
mod names;
pub mod outside;
mod parse;
mod parts;
pub mod plan;
mod print;
mod print_plan;
pub mod procedure;
mod program;
pub mod regions;
mod scalar;
pub mod sizes;
mod store;
#[cfg(test)]
mod text_tests;
mod uses;
mod verify;
mod verify_plan;

pub use access::{Access, Affine, BufferId, Index, LoopId, each_buffer, each_index_buffer};
pub use assumed::assumptions;
pub use expr::Expr;
pub use form::{Form, Kernel, Loop, ReduceOp, Role, Side, WindowOp};
pub use format::{Format, Kept};
pub use function::{BinaryOp, UnaryOp};
pub(crate) use function::{binary_functions, unary_functions};
pub use lowering::Lowering;
pub use parse::parse;
pub use parts::{Operand, Parts, PartsMut};
pub use program::{Buffer, BufferKind, Edits, Place, Program};
pub use regions::{Control, Region, RegionId, Repeat, Trips};
pub use scalar::Scalar;
pub use store::Store;
pub use uses::Uses;
pub use verify::verify;
pub use verify_plan::verify_plan;
