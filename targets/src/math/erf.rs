//! The error function.

use super::arithmetic::Arithmetic;
use super::exponential::{bounded_expm1_f32, exp};
use crate::simd::{Op1, Op2};

/// In f64. Below 2 the Taylor sum of `exp(x^2) erf(x)`, all of whose terms are positive; above one minus the continued
/// fraction of the complement; both are cut where f64 no longer sees the rest.
pub(super) fn erf<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let limit = l.c(6.5);
    let a = l.op2(Op2::Min, a, limit);
    let square = l.mul(a, a);
    let minus = l.op1(Op1::Neg, square);
    let gauss = exp(l, minus);
    let mut coefficients: Vec<f64> = Vec::new();
    let mut c = 1.0;
    for n in 0..44 {
        coefficients.push(c);
        c *= 2.0 / f64::from(2 * n + 3);
    }
    coefficients.reverse();
    let sum = l.poly(square, &coefficients);
    let sum = l.mul(sum, a);
    let sum = l.mul_c(sum, std::f64::consts::FRAC_2_SQRT_PI);
    let near = l.mul(sum, gauss);
    let mut fraction = a;
    for k in (1..=48).rev() {
        let quotient = l.c_div(f64::from(k) / 2.0, fraction);
        fraction = l.add(a, quotient);
    }
    let scaled = l.mul_c(gauss, std::f64::consts::FRAC_2_SQRT_PI / 2.0);
    let tail = l.div(scaled, fraction);
    let far = l.c_sub(1.0, tail);
    let is_near = l.is(Op2::Lt, a, 2.0);
    let magnitude = l.select(is_near, near, far);
    l.with_sign(magnitude, x)
}

/// `ln(1 - erf(t)) / t` up to 4: relative error 4e-8 of `erf(t)`.
const LOG_OF_COMPLEMENT_F32: [f64; 8] = [
    -4.070_795_69e-5,
    3.810_008_35e-4,
    -1.251_747_13e-3,
    -2.057_153_47e-4,
    1.932_171_55e-2,
    -1.028_144_14e-1,
    -6.366_164_68e-1,
    -1.128_379_23,
];

/// Error function: `1 - e^p(|x|)`, by `e^y - 1`, which keeps its digits near 0.
pub(super) fn erf_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    // 1 from here on.
    let limit = l.c(3.92);
    let t = l.op2(Op2::Min, a, limit);
    let p = l.poly(t, &LOG_OF_COMPLEMENT_F32);
    let log = l.mul(t, p);
    let minus = bounded_expm1_f32(l, log);
    let magnitude = l.abs(minus);
    l.with_sign(magnitude, x)
}
