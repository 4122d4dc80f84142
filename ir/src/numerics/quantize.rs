//! Affine quantisation: an integer `q` stands for the real number `(q - zero) * scale`.
//!
//! ```text
//! quantize     q = saturate(round(x / scale) + zero)       the quotient rounded to a float type first, halves to even
//! dequantize   x = f32(q - zero) * scale                   a difference of integers, a product of f32
//! requantize   q = saturate(round(f32(sum) * factor) + zero)   the product rounded to f32
//! ```
//!
//! The quotient is a true one: a product with the reciprocal would differ next to halves. NaN becomes 0, whatever the
//! zero point is.

use super::number::{Number, round_half_even, saturate};
use crate::types::DType;

/// The nearest element of a float type.
fn rounded(dtype: DType, value: f64) -> f64 {
    Number::from_bits(dtype, Number::Float(value).to_bits(dtype)).float()
}

/// `x / scale`; operands and result are of the float type `precision`.
pub fn quotient(x: f64, scale: f64, precision: DType) -> f64 {
    rounded(precision, rounded(precision, x) / rounded(precision, scale))
}

/// The element of the integer type `to` for a real number; operands and quotient are of the float type `precision`.
pub fn quantize(x: f64, scale: f64, zero: f64, precision: DType, to: DType) -> i128 {
    saturate(round_half_even(quotient(x, scale, precision)) + zero, to)
}

/// The real number, an f32, of a quantised one, given `q - zero`. `scale` is of a float type of at most 32 bits.
pub fn dequantize(difference: f64, scale: f64) -> f64 {
    rounded(DType::F32, rounded(DType::F32, difference) * scale)
}

/// The element of the integer type `to` for a sum of products of quantised numbers. `factor` is the scale of the sum over
/// that of the result.
pub fn requantize(sum: i32, factor: f32, zero: f64, to: DType) -> i128 {
    quantize(f64::from(sum as f32 * factor), 1.0, zero, DType::F32, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_and_ends_saturate() {
        let q = |x: f64| quantize(x, 2.0, 128.0, DType::F32, DType::U8);
        assert_eq!([0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0].map(q), [128, 129, 130, 255, 1, 0]);
        let q = |x: f64| quantize(x, 1.0, 0.0, DType::F32, DType::I8);
        assert_eq!([0.5, 1.5, -0.5, -2.5, f64::INFINITY, f64::NAN].map(q), [0, 2, 0, -2, 127, 0]);
    }

    #[test]
    fn the_quotient_is_rounded_once() {
        // 0.35 / 0.1 is 3.5 in f32, as a product with 10 it is 3.4999998.
        let (x, scale) = (f64::from(0.35f32), f64::from(0.1f32));
        assert_eq!(quantize(x, scale, 0.0, DType::F32, DType::I8), (0.35f32 / 0.1).round_ties_even() as i128);
        // In f16 the quotient of 5 and 1.999 is a half already.
        let scale = half::f16::from_f64(1.999).to_f64();
        assert_eq!(quantize(5.0, scale, 0.0, DType::F16, DType::I8), 3);
        assert_eq!(quantize(4.998, scale, 0.0, DType::F16, DType::I8), 2);
    }

    #[test]
    fn back_and_forth_is_nothing() {
        for scale in [0.1f32, 0.0235, 7.0, 1e-30] {
            for q in 0..=255 {
                let x = dequantize(f64::from(q - 100), f64::from(scale));
                assert_eq!(quantize(x, f64::from(scale), 100.0, DType::F32, DType::U8), i128::from(q));
            }
        }
        assert_eq!(requantize(5, 0.5, 0.0, DType::I8), 2);
        assert_eq!(requantize(i32::MAX, 1.0, -3.0, DType::I16), 32767);
    }
}
