//! Kiln's pruner: a trained ONNX model and data in, a standard ONNX model with weights of zero, or with fewer channels, out.
//!
//! ```text
//!   select       which layers, and why others are not                  select.rs, matrix.rs
//!   pattern      what is removed together                              pattern.rs
//!   second       what weights multiply, before and after               second.rs
//!   trace        in which order blocks go, and what each costs         trace.rs, elimination.rs
//!   masks        how much of each layer goes, and which blocks         masks.rs, choose.rs, sweep.rs, time.rs
//!   channels     whole channels, and the model without them           channels/
//!   solve        the best weights for what is left                     solve.rs
//!   statistics   results that keep their means and deviations          statistics.rs
//!   write        the file that was given, with what has changed        write.rs
//! ```
//!
//! `prune.rs` is the same list as code. A layer is a matrix with a row for each channel of its results, whatever its operator.

mod channels;
mod choose;
mod elimination;
mod masks;
mod matrix;
mod options;
mod parallel;
mod pattern;
mod prune;
mod second;
mod select;
mod solve;
mod statistics;
mod sweep;
#[cfg(test)]
mod tests;
mod time;
mod trace;
mod write;

pub use options::{Budget, Options, Saliency, Schedule};
pub use pattern::Pattern;
pub use prune::{Layer, Outcome, fits, layers, prune};
