//! Rounding, saturation and requantisation: the one definition that interpreters, folding and tests share.

mod erf;

pub use erf::erf;

/// Halves to even, the rounding of ONNX `Round` and `QuantizeLinear`.
pub fn round_half_even(x: f64) -> f64 {
    x.round_ties_even()
}
