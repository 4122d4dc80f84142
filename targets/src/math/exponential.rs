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
/// `exp` is infinite from here on.
const EXP_HIGH: f64 = 88.722_83;
/// `exp` is below the least normal number up to here.
const EXP_LOW: f64 = -87.336_54;
/// Bounds that keep the exponent of `exp` in its field; at the upper one `2^128` is infinite.
const EXP_CLAMP: (f64, f64) = (-87.0, 88.8);
/// Beyond these `exp` is 0 and infinite in f32.
const EXP_BEYOND: (f64, f64) = (-105.0, 89.0);
const EXP: [f64; 7] = [1.383_684_5e-3, 8.374_818e-3, 4.166_822_5e-2, 1.666_642e-1, 4.999_999e-1, 1.0, 1.0];

/// `e^x` in f64.
pub(super) fn exp<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (low, high) = (l.c(-746.0), l.c(710.0));
    let x = l.op2(Op2::MaxNan, x, low);
    let x = l.op2(Op2::MinNan, x, high);
    let (t, k) = octaves(l, x);
    let r = l.fma_c(x, k, -LN2_HIGH);
    let r = l.fma_c(r, k, -LN2_LOW);
    let mut coefficients = [1.0; 14];
    let mut factorial = 1.0;
    for (n, c) in coefficients.iter_mut().rev().enumerate() {
        factorial *= n.max(1) as f64;
        *c = 1.0 / factorial;
    }
    let p = l.poly(r, &coefficients);
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

/// `1 / (1 + e^-x)` in f64.
pub(super) fn sigmoid<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let minus = l.op1(Op1::Neg, x);
    let e = exp(l, minus);
    let d = l.add_c(e, 1.0);
    l.c_div(1.0, d)
}

/// `exp(sign * x)` before the scaling: `(m, k)` with `exp(sign * x) = m * 2^k`, `m` in `[0.7, 1.42]`. `k` is a number
/// where the builder scales, else it is in the low bits. `x` is finite or NaN.
fn parts_f32<L: Arithmetic>(l: &mut L, x: L::V, sign: f64) -> (L::V, L::V) {
    let log2_e = f64::from(std::f32::consts::LOG2_E);
    let (t, k) = if l.scales() {
        let k = l.mul_c(x, sign * log2_e);
        let k = l.op1(Op1::Round, k);
        (k, k)
    } else {
        let magic = l.c(MAGIC_F32);
        let t = l.fma_c(magic, x, sign * log2_e);
        (t, l.sub_c(t, MAGIC_F32))
    };
    let r = l.fma_c(x, k, -sign * LN2_HIGH_F32);
    let r = l.fma_c(r, k, -sign * LN2_LOW_F32);
    // The polynomial of -x has the odd coefficients' signs changed.
    let coefficients: Vec<f64> =
        EXP.iter().rev().enumerate().map(|(i, c)| if i % 2 == 1 { sign * c } else { *c }).rev().collect();
    (l.poly(r, &coefficients), t)
}

/// `exp(sign * x)`, where `sign * x` is within [`EXP_CLAMP`] or NaN.
fn inside_f32<L: Arithmetic>(l: &mut L, x: L::V, sign: f64) -> L::V {
    let (m, k) = parts_f32(l, x, sign);
    if l.scales() {
        return l.scale(m, k);
    }
    // (k + 127) << 23 is 2^k; a product keeps NaN, which adding to the exponent would not.
    let k = l.op1(Op1::Shl(23), k);
    let one = l.int(0x3f80_0000);
    let factor = l.op2(Op2::IntAdd, k, one);
    l.mul(m, factor)
}

/// `e^x`, 2 ULP; results below 1.2e-38 may be 0.
pub(super) fn exp_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    if l.scales() {
        // Infinity minus infinity would be NaN; the bounds are far enough out for infinity and 0.
        let x = l.clamp(x, EXP_BEYOND.0, EXP_BEYOND.1);
        return inside_f32(l, x, 1.0);
    }
    let (m, t) = parts_f32(l, x, 1.0);
    let exponent = l.op1(Op1::Shl(23), t);
    // Reaches 2^128 * 0.99 where a factor could not.
    let m = l.op2(Op2::IntAdd, m, exponent);
    let inside = l.is(Op2::Le, x, EXP_HIGH);
    let tiny = l.is(Op2::Le, x, EXP_LOW);
    // Above: x * inf is inf, and NaN for NaN.
    let above = l.mul_c(x, f64::INFINITY);
    let m = l.select(inside, m, above);
    l.op2(Op2::AndNot, tiny, m)
}

/// `1 / (1 + e^-x)`: 3 ULP; 0 below -88.4.
pub(super) fn sigmoid_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let x = l.clamp(x, -EXP_CLAMP.1, -EXP_CLAMP.0);
    let e = inside_f32(l, x, -1.0);
    let d = l.add_c(e, 1.0);
    l.c_div(1.0, d)
}
