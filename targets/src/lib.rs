//! Everything of Kiln that differs between machines, and nothing else.

pub mod generic;
pub mod simd;
pub mod target;
pub mod vecmath;

pub use target::{Features, LhsAccess, Target};
