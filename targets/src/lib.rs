//! Everything of Kiln that differs between machines, and nothing else.

pub mod simd;
pub mod target;

pub use target::{Features, LhsAccess, Target};
