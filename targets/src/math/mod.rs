//! Scalar functions as machine code, each defined once.
//!
//! A definition is a straight computation over [`Arithmetic`], a small builder of values of one float format: Cranelift's
//! scalars are one, any builder of vectors is another by way of a [`tape`]. A definition may have a form for each format.
//! Where it has none for f32, vectors compute in lanes of f64, half of them at a time; scalars of f32 always do. No
//! operation ends in a library call, and nothing branches but around what hardly ever is needed ([`Rare`]).
//!
//! A new function is a row in `kiln_ir::kernel` and a line in [`Function`]'s list. `docs/functions.md` has the bounds of all
//! errors, with and without FMA; the tests sweep every function against them.

mod arithmetic;
mod circular;
mod erf;
mod exponential;
mod functions;
mod hyperbolic;
mod inverse;
mod logarithm;
mod pairs;
mod power;
mod rare;
mod remainder;
pub mod replay;
mod rounding;
pub mod tape;
mod trigonometric;

#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

pub use arithmetic::{Arithmetic, Format};
pub use functions::{Function, exact};
pub use rare::Rare;
pub use rounding::round;
