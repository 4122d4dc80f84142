//! Hyperbolic functions and their inverses.

use super::arithmetic::Arithmetic;
use super::exponential::{bounded_expm1_f32, exp, expm1};
use super::logarithm::{log, log1p};
use crate::simd::{Op1, Op2};

/// Of `e^-2x - 1`.
pub(super) fn tanh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let twice = l.mul_c(a, -2.0);
    let e = expm1(l, twice);
    let d = l.add_c(e, 2.0);
    let quotient = l.div(e, d);
    let magnitude = l.abs(quotient);
    l.with_sign(magnitude, x)
}

/// Hyperbolic tangent: `e / (e + 2)` with `e = e^2x - 1`, which has its sign.
pub(super) fn tanh_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    // 1 from 9.02 on.
    let x = l.clamp(x, -10.0, 10.0);
    let twice = l.add(x, x);
    let e = bounded_expm1_f32(l, twice);
    let d = l.add_c(e, 2.0);
    l.div(e, d)
}

/// `exp(|x| / 2)^2 / 2`, which overflows where `sinh` and `cosh` do.
fn half_exp<L: Arithmetic>(l: &mut L, a: L::V) -> L::V {
    let half = l.mul_c(a, 0.5);
    let root = exp(l, half);
    let scaled = l.mul_c(root, 0.5);
    l.mul(scaled, root)
}

pub(super) fn sinh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let e = expm1(l, a);
    let e1 = l.add_c(e, 1.0);
    let quotient = l.div(e, e1);
    let sum = l.add(e, quotient);
    let small = l.mul_c(sum, 0.5);
    let large = half_exp(l, a);
    let above = l.above(a, 22.0);
    let magnitude = l.select(above, large, small);
    l.with_sign(magnitude, x)
}

pub(super) fn cosh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let e = exp(l, a);
    let grown = l.mul_c(e, 0.5);
    let decayed = l.c_div(0.5, e);
    let small = l.add(grown, decayed);
    let large = half_exp(l, a);
    let above = l.above(a, 22.0);
    l.select(above, large, small)
}

pub(super) fn asinh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let square = l.mul(a, a);
    let plus = l.add_c(square, 1.0);
    let root = l.op1(Op1::Sqrt, plus);
    let root = l.add_c(root, 1.0);
    let quotient = l.div(square, root);
    let sum = l.add(a, quotient);
    let small = log1p(l, sum);
    let log = log(l, a);
    let large = l.add_c(log, std::f64::consts::LN_2);
    let above = l.above(a, 1e8);
    let magnitude = l.select(above, large, small);
    l.with_sign(magnitude, x)
}

pub(super) fn acosh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let t = l.sub_c(x, 1.0);
    let t2 = l.add_c(t, 2.0);
    let square = l.mul(t, t2);
    let root = l.op1(Op1::Sqrt, square);
    let sum = l.add(t, root);
    let small = log1p(l, sum);
    let log = log(l, x);
    let large = l.add_c(log, std::f64::consts::LN_2);
    let above = l.above(x, 1e8);
    let value = l.select(above, large, small);
    let outside = l.is(Op2::Lt, x, 1.0);
    let nan = l.c(f64::NAN);
    l.select(outside, nan, value)
}

pub(super) fn atanh<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let twice = l.mul_c(a, 2.0);
    let rest = l.c_sub(1.0, a);
    let quotient = l.div(twice, rest);
    let log = log1p(l, quotient);
    let magnitude = l.mul_c(log, 0.5);
    l.with_sign(magnitude, x)
}
