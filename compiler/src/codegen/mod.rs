//! Code generation: obeys the plan, decides nothing.

mod nest;
mod tile;
mod transpose;
pub mod vector;
pub mod vexpr;
mod walk;
