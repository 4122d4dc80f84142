//! Scalar functions as machine code, each defined once.
//!
//! A definition is a straight computation over [`Arithmetic`], a small builder of values of one float format: Cranelift's
//! scalars are one, any builder of vectors is another by way of a [`tape`]. A definition may have a form for each format;
//! where it has none for f32, scalars compute in f64 and vectors do without ([`has_form`]).
//!
//! A new function is a row in `kiln_ir::kernel` and a line in [`function`]'s list. Nothing branches, and no operation ends in a
//! library call.
//!
//! **f64**: the error stays below 8 ULP (`pow`: 1 ULP, and exact where the result is a number), except for
//! `sin`, `cos` and `tan` of arguments beyond 1e6, whose reduction to a quarter turn loses digits. Rounded to f32 or a
//! shorter type results are within 1 ULP everywhere.
//!
//! **f32**: bounds are in ULP of the result, measured over dense samples in the tests, and hold with and without FMA, for
//! results above 1e-36; below, errors are absolute, and results below 1.2e-38 may be 0. NaN gives NaN.

mod arithmetic;
mod erf;
mod exponential;
mod functions;
mod hyperbolic;
mod logarithm;
mod power;
mod rounding;
pub mod tape;
mod trigonometric;

#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

pub use arithmetic::{Arithmetic, Format};
pub use functions::{exact, function};
pub use power::{pow, pow_short};
pub use rounding::round;
pub use tape::has_form;
