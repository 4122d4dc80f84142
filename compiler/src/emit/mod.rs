//! What becomes of a plan: an object file, or code in memory.

pub mod jit;
