//! Kiln's quantiser: a float ONNX model and data in, a standard ONNX model with QuantizeLinear and DequantizeLinear out, which
//! Kiln and other runtimes compute with integers.
//!
//! ```text
//!   prepare      constants, BatchNormalization into products           prepare.rs, opset.rs
//!   equalise     ranges of channels between two products               equalise.rs
//!   layers       which products can be products of integers            layers.rs, window.rs
//!   points       which activations become integers                     points.rs
//!   observe      the float model runs: histograms, moments             observe.rs, histogram.rs, moments.rs
//!   ranges       256 numbers for each activation                       ranges.rs
//!   weights      scales, rounding, pairs that fit 16 bits              weights.rs, second_order.rs, pairs.rs
//!   write        the model                                             write.rs, dynamic.rs
//!   evaluate     its error, by layer and in all                        evaluate.rs
//!   keep         layers that stay float, until a target is met         keep.rs
//! ```
//!
//! Models run through the library's public interface, with values of theirs as further results. Nothing is kept of the
//! activations but counts and sums.

mod dynamic;
mod equalise;
mod histogram;
mod keep;
mod observe;
mod opset;
mod options;
pub mod pairs;
mod plan;
mod points;
mod prepare;
mod quantise;
mod ranges;
mod second_order;
mod weights;
mod write;

pub use dynamic::quantize_dynamic;
pub use options::{Keep, Method, Options, Rounding, Target, Width};
pub use quantise::{Layer, Outcome, quantize};
