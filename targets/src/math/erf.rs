//! The error function. f32: Eigen, `MathFunctionsImpl.h` (rational minimax).

use super::arithmetic::Arithmetic;
use super::exponential::exp;
use crate::simd::{Op1, Op2};

/// In f64. Below 2 the Taylor sum of `exp(x^2) erf(x)`, all of whose terms are positive; above one minus the continued
/// fraction of the complement; both are cut where f64 no longer sees the rest.
pub(super) fn erf<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let limit = l.c(6.5);
    let a = l.op2(Op2::MinNan, a, limit);
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

/// Error function, 6 ULP.
pub(super) fn erf_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let value = odd_rational(
        l,
        x,
        4.0,
        &[
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_4e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
        &[-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2],
    );
    // The quotient rounds above 1 at the clamp.
    l.clamp(value, -1.0, 1.0)
}

/// `x * p(x^2) / q(x^2)` of `x` clamped to `[-limit, limit]`.
pub(super) fn odd_rational<L: Arithmetic>(l: &mut L, x: L::V, limit: f64, p: &[f64], q: &[f64]) -> L::V {
    let x = l.clamp(x, -limit, limit);
    let square = l.mul(x, x);
    let numerator = l.poly(square, p);
    let x = l.mul(x, numerator);
    let denominator = l.poly(square, q);
    l.div(x, denominator)
}
