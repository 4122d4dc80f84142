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

/// `factor * x` in octaves: the nearest integer, a number where the builder scales, else in the low bits; and as a number.
fn octaves_f32<L: Arithmetic>(l: &mut L, x: L::V, factor: f64) -> (L::V, L::V) {
    let log2_e = factor * f64::from(std::f32::consts::LOG2_E);
    if l.scales() {
        let k = l.mul_c(x, log2_e);
        let k = l.op1(Op1::Round, k);
        (k, k)
    } else {
        let magic = l.c(MAGIC_F32);
        let t = l.fma_c(magic, x, log2_e);
        (t, l.sub_c(t, MAGIC_F32))
    }
}

/// `e^x` for `x` within [`BOUNDS_F32`] or NaN.
fn bounded_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (t, k) = octaves_f32(l, x, 1.0);
    let r = l.fma_c(x, k, -LN2_HIGH_F32);
    let r = l.fma_c(r, k, -LN2_LOW_F32);
    let m = l.poly(r, &EXP_F32);
    if l.scales() {
        return l.scale(m, t);
    }
    // 2^k in two factors, since one alone would not reach the ends: k is above -254.
    let bias = l.int(u64::from((MAGIC_F32 as f32).to_bits()) - 2 * 127);
    let both = l.op2(Op2::IntSub, t, bias);
    let half = l.op1(Op1::Shr(1), both);
    let rest = l.op2(Op2::IntSub, both, half);
    let (half, rest) = (l.op1(Op1::Shl(23), half), l.op1(Op1::Shl(23), rest));
    let m = l.mul(m, half);
    l.mul(m, rest)
}

/// `e^(factor * x) - 1` for results below 2^127. `factor` is a power of two. With `k ln 2 + r` it is
/// `2^k expm1(r) + (2^k - 1)`.
pub(super) fn bounded_expm1_f32<L: Arithmetic>(l: &mut L, x: L::V, factor: f64) -> L::V {
    let (t, k) = octaves_f32(l, x, factor);
    // Where k is not 0 the result is not small.
    let r = l.fma_c(x, k, -std::f64::consts::LN_2 / factor);
    let degree = EXPM1_F32.len() as i32 + 1;
    let scaled = EXPM1_F32.iter().enumerate().map(|(i, c)| c * factor.powi(degree - i as i32));
    let p = l.poly(r, &scaled.collect::<Vec<_>>());
    let square = l.mul(r, r);
    let first = if factor == 1.0 { r } else { l.mul_c(r, factor) };
    let p = l.fma(first, square, p);
    let power = if l.scales() {
        let one = l.c(1.0);
        l.scale(one, t)
    } else {
        let one = l.int(0x3f80_0000);
        let k = l.op1(Op1::Shl(23), t);
        l.op2(Op2::IntAdd, k, one)
    };
    let below = l.sub_c(power, 1.0);
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
    let magic = l.c(MAGIC_F32);
    let t = l.fma_c(magic, clamped, f64::from(std::f32::consts::LOG2_E));
    let k = l.sub_c(t, MAGIC_F32);
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
