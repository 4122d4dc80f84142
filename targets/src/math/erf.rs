//! The error function.

use super::arithmetic::Arithmetic;
use super::exponential::{exp, rough_f32};
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

/// Error function (N. Juffa): one minus an exponential, near 0 a polynomial.
pub(super) fn erf_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    // 1 from here on.
    let limit = l.c(4.0);
    let t = l.op2(Op2::Min, a, limit);
    let square = l.mul(t, t);
    let first = l.c(3.831_971_26e-4);
    let high = l.fma_c(first, t, -1.728_534_70e-5);
    let second = l.c(2.425_462_19e-2);
    let low = l.fma_c(second, t, -3.883_964_38e-3);
    let mut r = l.fma(low, high, square);
    for c in [-1.067_778_77e-1, -6.348_466_87e-1, -1.287_175_12e-1] {
        let c = l.c(c);
        r = l.fma(c, r, t);
    }
    let minus = l.op1(Op1::Neg, t);
    let r = l.fma(minus, r, t);
    let complement = rough_f32(l, r, 1.0);
    let far = l.c_sub(1.0, complement);
    let p = l.poly(
        square,
        &[
            -5.967_617_03e-4,
            4.991_194_23e-3,
            -2.676_813_49e-2,
            1.128_199_25e-1,
            -3.761_253_36e-1,
            1.283_791_66e-1,
        ],
    );
    let near = l.fma(t, p, t);
    let is_far = l.above(t, 0.927_734_375);
    let magnitude = l.select(is_far, far, near);
    l.with_sign(magnitude, x)
}
