//! `exp` and the logistic function.
//!
//! f64: a Taylor sum over half an octave's reach. f32: minimax on `[-ln 2 / 2, ln 2 / 2]` by the exchange algorithm of
//! Remez, relative error 2e-9, rounded to f32 with 1 for the last two coefficients.

use super::arithmetic::Arithmetic;
use crate::simd::{Op1, Op2};

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding 1.5 * 2^52 leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

const LN2_HIGH_F32: f64 = 0.693_359_4; // few bits: products with small integers are exact
const LN2_LOW_F32: f64 = -2.121_944_4e-4;
/// 1.5 * 2^23.
const MAGIC_F32: f64 = 12_582_912.0;
/// Beyond these `exp` is 0 and infinite in f32.
const BOUNDS_F32: (f64, f64) = (-104.0, 89.0);
/// Up to this magnitude `e^x` and its reciprocal are normal numbers of f32.
pub(super) const NEAR_F32: f64 = 87.0;
const EXP_F32: [f64; 7] =
    [1.383_684_5e-3, 8.374_818e-3, 4.166_822_5e-2, 1.666_642e-1, 4.999_999e-1, 1.0, 1.0];
/// `(e^r - 1 - r) / r^2`: relative error 1.3e-8 of `e^r - 1`.
const EXPM1_F32: [f64; 5] = [1.388_250_85e-3, 8.366_58e-3, 4.166_720_06e-2, 1.666_654_35e-1, 0.5];

/// `e^x` in f64.
pub(super) fn exp<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let x = l.clamp(x, -746.0, 710.0);
    let (t, k) = octaves(l, x);
    let r = l.fma_c(x, k, -LN2_HIGH);
    let r = l.fma_c(r, k, -LN2_LOW);
    let mut coefficients = [1.0; 14];
    let mut factorial = 1.0;
    for (n, c) in coefficients.iter_mut().rev().enumerate() {
        factorial *= n.max(1) as f64;
        *c = 1.0 / factorial;
    }
    // The terms from the tenth on are below 2^-37.
    let rest = if l.is_short() { 4 } else { 0 };
    let p = l.poly(r, &coefficients[rest..]);
    times_power_of_two(l, p, t)
}

/// The nearest integer `k` to `x / ln 2`, in the low bits and as a number.
fn octaves<L: Arithmetic>(l: &mut L, x: L::V) -> (L::V, L::V) {
    let t = l.mul_c(x, std::f64::consts::LOG2_E);
    let t = l.add_c(t, MAGIC);
    (t, l.sub_c(t, MAGIC))
}

/// `(t, a, b)` with `x = k ln 2 + a + b`, `a` exactly and `b` within 1e-23; `k` is in the low bits of `t`.
pub(super) fn reduced<L: Arithmetic>(l: &mut L, x: L::V) -> (L::V, L::V, L::V) {
    let (t, k) = octaves(l, x);
    (t, l.fma_c(x, k, -LN2_HIGH), l.mul_c(k, -LN2_LOW))
}

/// `p * 2^k` for the integer `k` in the low bits of `t`, above -2048: in two factors, since one alone would not reach the
/// ends.
pub(super) fn times_power_of_two<L: Arithmetic>(l: &mut L, p: L::V, t: L::V) -> L::V {
    let magic = l.int(MAGIC.to_bits());
    let k = l.op2(Op2::IntSub, t, magic);
    let (bias, half_bias) = (l.int(2048), l.int(1024));
    let half = l.op2(Op2::IntAdd, k, bias);
    let half = l.op1(Op1::Shr(1), half);
    let half = l.op2(Op2::IntSub, half, half_bias);
    let rest = l.op2(Op2::IntSub, k, half);
    let p = scale(l, p, half);
    scale(l, p, rest)
}

/// `x * 2^k` for an integer `k` within the exponents of normal numbers, in f64.
fn scale<L: Arithmetic>(l: &mut L, x: L::V, k: L::V) -> L::V {
    let bias = l.int(1023);
    let biased = l.op2(Op2::IntAdd, k, bias);
    let factor = l.op1(Op1::Shl(52), biased);
    l.mul(x, factor)
}

/// `e^x - 1` in f64: with `x = k ln 2 + r` it is `2^k expm1(r) + (2^k - 1)`, in halves, so that `2^k` does not overflow.
pub(super) fn expm1<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let clamped = l.clamp(x, -40.0, 710.0);
    let (t, k) = octaves(l, clamped);
    let r = l.fma_c(clamped, k, -LN2_HIGH);
    let r = l.fma_c(r, k, -LN2_LOW);
    // 1 / 2! + r / 3! + ..
    let mut coefficients = [0.0; 13];
    let mut factorial = 1.0;
    for (n, c) in coefficients.iter_mut().rev().enumerate() {
        factorial *= n as f64 + 2.0;
        *c = 1.0 / factorial;
    }
    let rest = if l.is_short() { 5 } else { 0 };
    let p = l.poly(r, &coefficients[rest..]);
    let square = l.mul(r, r);
    let p = l.fma(r, square, p);
    let bias = l.int(MAGIC.to_bits() - 1022);
    let half = l.op2(Op2::IntSub, t, bias);
    let half = l.op1(Op1::Shl(52), half);
    let below = l.sub_c(half, 0.5);
    let value = l.fma(below, p, half);
    let value = l.mul_c(value, 2.0);
    // Keeps the sign of zero.
    l.with_sign_of(value, x)
}

/// `1 / (1 + e^-x)` in f64: the exponential of a number that is not positive keeps small results.
pub(super) fn sigmoid<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let x = l.clamp(x, -746.0, 700.0);
    let e = exp(l, x);
    let d = l.add_c(e, 1.0);
    l.div(e, d)
}

/// `x` in octaves, the nearest integer: in the low bits, counted from `origin`, and as a number, of which 0 is positive.
fn octaves_f32<L: Arithmetic>(l: &mut L, x: L::V, origin: i32) -> (L::V, L::V) {
    let magic = MAGIC_F32 + f64::from(origin);
    let t = l.c(magic);
    let t = l.fma_c(t, x, f64::from(std::f32::consts::LOG2_E));
    (t, l.sub_c(t, magic))
}

/// `e^(x - k ln 2)` for the octave `k` of `x`.
fn rest_f32<L: Arithmetic>(l: &mut L, x: L::V, k: L::V) -> L::V {
    let r = l.fma_c(x, k, -LN2_HIGH_F32);
    let r = l.fma_c(r, k, -LN2_LOW_F32);
    l.poly(r, &EXP_F32)
}

/// `e^x` for `x` within [`BOUNDS_F32`] or NaN.
fn bounded_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    // 2^k in two factors, since one alone would not reach the ends: k is above -254. Of the bits that a shift leaves none
    // are the magic number's.
    let (t, k) = octaves_f32(l, x, 2 * 127);
    let m = rest_f32(l, x, k);
    if l.scales() {
        return l.scale(m, k);
    }
    let half = l.op1(Op1::Shr(1), t);
    let rest = l.op2(Op2::IntSub, t, half);
    let (half, rest) = (l.op1(Op1::Shl(23), half), l.op1(Op1::Shl(23), rest));
    let m = l.mul(m, half);
    l.mul(m, rest)
}

/// `e^x` up to [`NEAR_F32`]: results are normal numbers, so that the octave is added to the exponent's bits.
pub(super) fn near_exp_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (t, k) = octaves_f32(l, x, 0);
    let m = rest_f32(l, x, k);
    let octaves = l.op1(Op1::Shl(23), t);
    l.op2(Op2::IntAdd, m, octaves)
}

/// `e^x - 1` for results below 2^127, with the sign of zero. With `x = k ln 2 + r` it is `2^k expm1(r) + (2^k - 1)`.
pub(super) fn bounded_expm1_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (t, k) = octaves_f32(l, x, 0);
    // Where k is not 0 the result is not small.
    let r = l.fma_c(x, k, -std::f64::consts::LN_2);
    let p = l.poly(r, &[&EXPM1_F32[..], &[1.0]].concat());
    let p = l.mul(p, r);
    let power = if l.scales() {
        let one = l.c(1.0);
        l.scale(one, k)
    } else {
        let one = l.int(0x3f80_0000);
        let k = l.op1(Op1::Shl(23), t);
        l.op2(Op2::IntAdd, k, one)
    };
    // Of 0 it is -0, to which a zero of either sign can be added.
    let above = l.c_sub(1.0, power);
    let below = l.op1(Op1::Neg, above);
    l.fma(below, p, power)
}

/// `e^x`.
pub(super) fn exp_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let x = l.clamp(x, BOUNDS_F32.0, BOUNDS_F32.1);
    bounded_f32(l, x)
}

/// `e^x - 1`, as in f64.
pub(super) fn expm1_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let clamped = l.clamp(x, -20.0, BOUNDS_F32.1);
    let (t, k) = octaves_f32(l, clamped, 0);
    let r = l.fma_c(clamped, k, -LN2_HIGH_F32);
    let r = l.fma_c(r, k, -LN2_LOW_F32);
    let p = l.poly(r, &EXPM1_F32);
    let square = l.mul(r, r);
    let p = l.fma(r, square, p);
    let half = l.op1(Op1::Shl(23), t);
    let bias = l.int(126 << 23);
    let half = l.op2(Op2::IntAdd, half, bias);
    let below = l.sub_c(half, 0.5);
    let value = l.fma(below, p, half);
    let value = l.mul_c(value, 2.0);
    l.with_sign_of(value, x)
}

/// `e^x / (1 + e^x)`: small results are as close as large ones.
pub(super) fn sigmoid_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let x = l.clamp(x, BOUNDS_F32.0, 88.0);
    let e = bounded_f32(l, x);
    let d = l.add_c(e, 1.0);
    l.div(e, d)
}

/// The same up to [`NEAR_F32`].
pub(super) fn near_sigmoid_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let e = near_exp_f32(l, x);
    let d = l.add_c(e, 1.0);
    l.div(e, d)
}
