//! Everything of Kiln that differs between machines, and nothing else.

mod aarch64;
mod arch;
mod architectures;
pub mod c;
pub mod call;
pub mod encode;
pub mod generic;
pub mod isa;
pub mod line;
pub mod math;
mod order;
mod resolve;
pub mod simd;
pub mod target;
pub mod unwind;
pub mod vector_expr;
mod x86_64;

#[cfg(test)]
mod bytes_tests;
#[cfg(test)]
mod emulated;
#[cfg(test)]
mod halves_tests;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod movement_tests;
#[cfg(test)]
mod simd_tests;
#[cfg(test)]
mod strided_tests;
#[cfg(test)]
mod testing;

pub use order::Order;
pub use resolve::{host, list, portable, program_counter, resolve, resolve_list};
pub use target::{Level, LhsAccess, Probe, Target};
