//! Logarithms. Coefficients: fdlibm (`log`), S. Moshier, Cephes (`logf`).

use super::arithmetic::Arithmetic;
use super::exponential::{exp, exp_f32};
use crate::simd::{Op1, Op2};

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Its low bits count ones.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const LN2_HIGH_F32: f64 = 0.693_359_4;
const LN2_LOW_F32: f64 = -2.121_944_4e-4;

/// `(m, e)` with `x = m * 2^e`, `m` in `[sqrt(1/2), sqrt(2))` and `e` a number, for positive finite `x` in f64.
pub(super) fn parts<L: Arithmetic>(l: &mut L, x: L::V) -> (L::V, L::V) {
    let small = l.is(Op2::Lt, x, f64::MIN_POSITIVE);
    let scaled = l.mul_c(x, 18_014_398_509_481_984.0); // 2^54
    let y = l.select(small, scaled, x);
    let (shifted, zero) = (l.c(-54.0), l.c(0.0));
    let lift = l.select(small, shifted, zero);
    // An arithmetic shift by way of a biased logical one.
    let origin = l.int(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let above = l.op2(Op2::IntSub, y, origin);
    let (bias, magic) = (l.int(1024 << 52), l.int(MAGIC.to_bits()));
    let e = l.op2(Op2::IntAdd, above, bias);
    let e = l.op1(Op1::Shr(52), e);
    let exponent = l.op1(Op1::Shl(52), e);
    let exponent = l.op2(Op2::IntSub, exponent, bias);
    let m = l.op2(Op2::IntSub, y, exponent);
    let e = l.op2(Op2::IntAdd, e, magic);
    let e = l.sub_c(e, MAGIC + 1024.0);
    (m, l.add(e, lift))
}

/// Natural logarithm in f64. -inf for 0, NaN for negative numbers.
pub(super) fn log<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (m, e) = parts(l, x);
    let f = l.sub_c(m, 1.0);
    let f2 = l.add_c(f, 2.0);
    let s = l.div(f, f2);
    let z = l.mul(s, s);
    let r = l.poly(
        z,
        &[
            1.479_819_860_511_658_6e-1,
            1.531_383_769_920_937_3e-1,
            1.818_357_216_161_805e-1,
            2.222_219_843_214_978_4e-1,
            2.857_142_874_366_239e-1,
            3.999_999_999_940_942e-1,
            6.666_666_666_666_735e-1,
            0.0,
        ],
    );
    let half = l.mul_c(f, 0.5);
    let half_square = l.mul(half, f);
    let sum = l.add(half_square, r);
    let t = l.mul(s, sum);
    let t = l.fma_c(t, e, LN2_LOW);
    let t = l.sub(half_square, t);
    let t = l.sub(t, f);
    let high = l.mul_c(e, LN2_HIGH);
    let value = l.sub(high, t);
    // Infinity and NaN stay, 0 gives -inf, negative numbers NaN.
    let finite = l.is(Op2::Lt, x, f64::INFINITY);
    let value = l.select(finite, value, x);
    let zero = l.is(Op2::Eq, x, 0.0);
    let negative = l.is(Op2::Lt, x, 0.0);
    let (infinite, nan) = (l.c(f64::NEG_INFINITY), l.c(f64::NAN));
    let value = l.select(zero, infinite, value);
    l.select(negative, nan, value)
}

/// `log(1 + x)` in f64: the error of `1 + x` divides out.
pub(super) fn log1p<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let u = l.add_c(x, 1.0);
    let log = log(l, u);
    let d = l.sub_c(u, 1.0);
    let scaled = l.mul(log, x);
    let value = l.div(scaled, d);
    let tiny = l.is(Op2::Eq, d, 0.0);
    let value = l.select(tiny, x, value);
    let infinite = l.is(Op2::Eq, d, f64::INFINITY);
    l.select(infinite, x, value)
}

/// `log(1 + e^x)` in f64.
pub(super) fn softplus<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let minus = l.op1(Op1::Neg, a);
    let e = exp(l, minus);
    let log = log1p(l, e);
    let zero = l.c(0.0);
    let ramp = l.op2(Op2::Max, x, zero);
    l.add(ramp, log)
}

/// `log(1 + e^x)`: the exponential `e` of a number that is not positive, and `log(1 + e)` by that of `1 + m` with `m` from -1/4
/// to 1/2, which is either `e` or half of what `e` lacks of 1.
pub(super) fn softplus_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let minus = l.op1(Op1::Neg, a);
    let e = exp_f32(l, minus);
    let large = l.above(e, 0.5);
    let half = l.c(-0.5);
    let lacking = l.fma_c(half, e, 0.5);
    let m = l.select(large, lacking, e);
    let p = l.poly(
        m,
        &[
            5.413_213_4e-2,
            -1.206_733_96e-1,
            1.498_391_63e-1,
            -1.682_281_5e-1,
            1.997_707_78e-1,
            -2.499_344_2e-1,
            3.333_354_9e-1,
            -5.000_006e-1,
        ],
    );
    let square = l.mul(m, m);
    let log = l.fma(m, square, p);
    let octave = l.c(std::f64::consts::LN_2);
    let octave = l.op2(Op2::And, large, octave);
    let log = l.add(log, octave);
    let zero = l.c(0.0);
    let ramp = l.op2(Op2::Max, x, zero);
    l.add(ramp, log)
}

/// Natural logarithm. -inf for 0, NaN for negative numbers.
pub(super) fn log_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    // Numbers below the least normal one are scaled up by 2^23 first.
    let small = l.is(Op2::Lt, x, f64::from(f32::MIN_POSITIVE));
    let scaled = l.mul_c(x, 8_388_608.0);
    let m = l.select(small, scaled, x);
    // What the exponent is too high by.
    let lift = l.c(23.0);
    let lift = l.op2(Op2::And, small, lift);
    // m = 2^e * x, x in [sqrt(1/2), sqrt(2)): the exponent of m * sqrt(2)'s bits, rounded down.
    let (origin, field) = (l.int(0x3f35_04f3), l.int(0xff80_0000));
    let e = l.op2(Op2::IntSub, m, origin);
    let exponent = l.op2(Op2::And, e, field);
    let m = l.op2(Op2::IntSub, m, exponent);
    // An arithmetic shift by way of a biased logical one.
    let (bias_bits, bias) = (l.int(0x4000_0000), l.int(128));
    let e = l.op2(Op2::IntAdd, e, bias_bits);
    let e = l.op1(Op1::Shr(23), e);
    let e = l.op2(Op2::IntSub, e, bias);
    let e = l.op1(Op1::ToFloat, e);
    let e = l.sub(e, lift);

    let m = l.sub_c(m, 1.0);
    let square = l.mul(m, m);
    let y = l.poly(
        m,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_4e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let y = l.mul(y, m);
    let y = l.mul(y, square);
    let y = l.fma_c(y, e, LN2_LOW_F32);
    let y = l.fma_c(y, square, -0.5);
    let m = l.add(m, y);
    let m = l.fma_c(m, e, LN2_HIGH_F32);

    // Zero gives -inf; infinity and NaN stay; negative numbers give NaN.
    let finite = l.is(Op2::Lt, x, f64::INFINITY);
    let m = l.select(finite, m, x);
    let positive = l.above(x, 0.0);
    let zero = l.is(Op2::Eq, x, 0.0);
    let (infinite, nan) = (l.c(f64::NEG_INFINITY), l.c(f64::NAN));
    let special = l.select(zero, infinite, nan);
    l.select(positive, m, special)
}
