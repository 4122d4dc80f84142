//! Rounding, saturation and requantisation: the one definition that interpreters, folding and tests share.

mod erf;
mod number;
mod quantize;
mod random;
mod small_float;

pub use erf::erf;
pub use number::{Number, cast, int_range, round_half_even, saturate};
pub use quantize::{dequantize, quantize, quotient, requantize};
pub use random::{random_bits, random_normal, random_uniform};
pub use small_float::{
    ExponentRounding, SmallFormat, SmallRounding, small_float, small_format, to_small_float,
};

/// The low bits of `x` to the power `y`; for negative exponents the exact quotient rounded towards zero, 0 giving 0.
pub fn int_pow(x: i128, y: i128) -> i128 {
    if y < 0 {
        return match x {
            1 => 1,
            -1 => 1 - 2 * (y & 1),
            _ => 0,
        };
    }
    let (mut base, mut exponent, mut out) = (x, y, 1i128);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = out.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    out
}

/// Beyond, `ln(2 x)` is the inverse hyperbolic sine and cosine; the standard library's overflow.
const LOGARITHM_ONLY: f64 = 1e150;

/// Inverse hyperbolic sine.
pub fn asinh(x: f64) -> f64 {
    if x.abs() > LOGARITHM_ONLY { (x.abs().ln() + std::f64::consts::LN_2).copysign(x) } else { x.asinh() }
}

/// Inverse hyperbolic cosine.
pub fn acosh(x: f64) -> f64 {
    if x > LOGARITHM_ONLY { x.ln() + std::f64::consts::LN_2 } else { x.acosh() }
}

/// `ln(1 + e^x)`.
pub fn softplus(x: f64) -> f64 {
    let ramp = if x > 0.0 || x.is_nan() { x } else { 0.0 };
    ramp + (-x.abs()).exp().ln_1p()
}
