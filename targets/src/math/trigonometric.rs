//! Circular functions of any argument. Kernels: fdlibm (`__kernel_sin`, `__kernel_cos`); for results of 24 bits, FreeBSD
//! (`__sindf`, `__cosdf`).
//!
//! The argument is `n` quarter turns and a rest of at most one eighth. Up to 2^20 quarter turns are subtracted in parts;
//! beyond, the digits of `2 / pi` that matter are multiplied by the argument (M. Payne and R. Hanek, "Radian
//! reduction for trigonometric functions", 1983).

use super::arithmetic::Arithmetic;
use super::pairs::{Pair, product, sum, sum_of_falling};
use super::rare::Rare;
use crate::simd::{Op1, Op2};

/// Adding 1.5 * 2^52 leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// `pi / 2` in parts: two of 33 bits, so that products with integers up to 2^20 are exact, and what is left.
const QUARTER: [f64; 4] = [
    1.570_796_326_734_125_6,
    6.077_100_506_303_966e-11,
    2.022_266_248_711_166_5e-21,
    8.478_427_660_368_9e-32,
];
/// `pi / 2` and what it lacks.
const PI_2: Pair<f64> = (std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17);
/// Up to here quarter turns are subtracted.
const LARGE: f64 = 1_048_576.0;
/// The binary digits of `2 / pi`, 64 at a time.
const TWO_OVER_PI: [u64; 20] = [
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
];

/// An argument: a number whose low two bits count quarter turns, and the rest as a sum of two numbers.
struct Angle<V> {
    quarters: V,
    rest: Pair<V>,
}

/// Of an argument up to [`LARGE`].
fn near<L: Arithmetic>(l: &mut L, x: L::V) -> Angle<L::V> {
    let t = l.mul_c(x, std::f64::consts::FRAC_2_PI);
    let quarters = l.add_c(t, MAGIC);
    let n = l.sub_c(quarters, MAGIC);
    let rest = l.fma_c(x, n, -QUARTER[0]);
    if l.is_short() {
        let rest = l.fma_c(rest, n, -QUARTER[1]);
        let rest = l.fma_c(rest, n, -QUARTER[2]);
        return Angle { quarters, rest: (rest, rest) };
    }
    let second = l.mul_c(n, -QUARTER[1]);
    let (rest, lost) = sum(l, rest, second);
    let third = l.mul_c(n, -QUARTER[2]);
    let (rest, lost_too) = sum(l, rest, third);
    let lost = l.add(lost, lost_too);
    let tail = l.fma_c(lost, n, -QUARTER[3]);
    Angle { quarters, rest: sum_of_falling(l, rest, tail) }
}

/// A number without what is a multiple of 4.
fn modulo_4<L: Arithmetic>(l: &mut L, u: L::V) -> L::V {
    let fours = l.mul_c(u, 0.25);
    let fours = l.op1(Op1::Round, fours);
    let fours = l.mul_c(fours, 4.0);
    l.sub(u, fours)
}

/// A sum of three numbers that grows: 150 bits and more.
struct Total<V>(Option<[V; 3]>);

impl<V: Copy> Total<V> {
    fn add<L: Arithmetic<V = V>>(&mut self, l: &mut L, u: V) {
        self.0 = Some(match self.0 {
            None => {
                let zero = l.c(0.0);
                [u, zero, zero]
            }
            Some([high, middle, low]) => {
                let (high, lost) = sum(l, high, u);
                let (middle, lost) = sum(l, middle, lost);
                [high, middle, l.add(low, lost)]
            }
        });
    }
}

/// Of the magnitude of an argument beyond [`LARGE`]; anything for infinity.
fn far<L: Arithmetic>(l: &mut L, x: L::V) -> Angle<L::V> {
    let a = l.abs(x);
    let mut total = Total(None);
    if l.is_short() {
        turns_of_short(l, a, &mut total)
    } else {
        turns(l, a, &mut total)
    }
    let [high, middle, low] = total.0.expect("a sum has terms");
    let quarters = l.add_c(high, MAGIC);
    let n = l.sub_c(quarters, MAGIC);
    let part = l.sub(high, n);
    let (part, lost) = sum(l, part, middle);
    let lost = l.add(lost, low);
    let quarter = l.c(PI_2.0);
    let (turned, rounded) = product(l, part, quarter);
    let cross = l.mul_c(part, PI_2.1);
    let cross = l.fma_c(cross, lost, PI_2.0);
    let tail = l.add(rounded, cross);
    Angle { quarters, rest: sum_of_falling(l, turned, tail) }
}

/// `a * 2 / pi` modulo 4, in terms, for an `a` of 24 bits below 2^128: as many digits as the largest has fractions of.
fn turns_of_short<L: Arithmetic>(l: &mut L, a: L::V, total: &mut Total<L::V>) {
    for i in 0..9 {
        let u = l.mul_c(a, digits(24 * i, 24) as f64 * 2f64.powi(-24 * (i as i32 + 1)));
        // Terms from the sixth on are below 4.
        let u = if i < 6 { modulo_4(l, u) } else { u };
        total.add(l, u);
    }
}

/// The same for any `a`: `X * 2^E` with an integer `X` of 53 bits. From bit `E - 2` on digits of `2 / pi` make fractions of
/// 4 turns; 64 k is the last multiple of 64 before. Of the 256 digits from there 180 or more are of use.
fn turns<L: Arithmetic>(l: &mut L, a: L::V, total: &mut Total<L::V>) {
    let exponent = l.op1(Op1::Shr(52), a);
    let magic = l.int(MAGIC.to_bits());
    let exponent = l.op2(Op2::IntAdd, exponent, magic);
    let exponent = l.sub_c(exponent, MAGIC + 1075.0);
    let from = l.sub_c(exponent, 2.0);
    let zero = l.c(0.0);
    let from = l.op2(Op2::Max, from, zero);
    let k = l.mul_c(from, 1.0 / 64.0);
    let k = l.op1(Op1::Floor, k);
    // X * 2^(E - 64 k), in two halves.
    let beyond = l.fma_c(exponent, k, -64.0);
    let factor = l.add_c(beyond, MAGIC + 1023.0);
    let factor = l.op1(Op1::Shl(52), factor);
    let (digits_of, one) = (l.int((1 << 52) - 1), l.int(1075 << 52));
    let x = l.op2(Op2::And, a, digits_of);
    let x = l.op2(Op2::Or, x, one);
    let mask = l.int(0xffff_ffff_f800_0000);
    let upper = l.op2(Op2::And, x, mask);
    let lower = l.sub(x, upper);
    let halves = [l.mul(upper, factor), l.mul(lower, factor)];
    for word in 0..4 {
        let bits = digits_from(l, k, word);
        for (start, count) in [(0, 21), (21, 21), (42, 22)] {
            let piece = l.op1(Op1::Shl(start), bits);
            let piece = l.op1(Op1::Shr(64 - count), piece);
            let piece = l.op2(Op2::IntAdd, piece, magic);
            let piece = l.sub_c(piece, MAGIC);
            let end = 64 * word as i32 + i32::from(start) + i32::from(count);
            let piece = l.mul_c(piece, 2f64.powi(-end));
            for half in halves {
                let u = l.mul(half, piece);
                // X * 2^(E - 64 k) is below 2^118.
                let u = if end - i32::from(count) < 116 { modulo_4(l, u) } else { u };
                total.add(l, u);
            }
        }
    }
}

/// 64 digits of `2 / pi` from `64 (k + word)` on, for each lane's `k` up to 15.
fn digits_from<L: Arithmetic>(l: &mut L, k: L::V, word: usize) -> L::V {
    let mut bits = l.int(0);
    for candidate in 0..16 {
        let here = l.is(Op2::Eq, k, candidate as f64);
        let digits = l.int(TWO_OVER_PI[candidate + word]);
        let chosen = l.op2(Op2::And, here, digits);
        bits = l.op2(Op2::Or, bits, chosen);
    }
    bits
}

/// `count` digits of `2 / pi` from one on, as an integer.
fn digits(from: usize, count: u32) -> u64 {
    let (word, bit) = (from / 64, from % 64);
    let both = u128::from(TWO_OVER_PI[word]) << 64 | u128::from(TWO_OVER_PI[word + 1]);
    ((both << bit) >> (128 - count)) as u64
}

/// Sine of the rest.
fn kernel_sin<L: Arithmetic>(l: &mut L, (x, tail): Pair<L::V>) -> L::V {
    let z = l.mul(x, x);
    let cube = l.mul(z, x);
    if l.is_short() {
        let p = l.poly(
            z,
            &[
                2.718_311_493_989_822e-6,
                -1.983_933_483_609_663_2e-4,
                8.333_329_385_889_463e-3,
                -1.666_666_664_162_652_4e-1,
            ],
        );
        return l.fma(x, cube, p);
    }
    let p = l.poly(
        z,
        &[
            1.589_690_995_211_55e-10,
            -2.505_076_025_340_686_3e-8,
            2.755_731_370_707_006_8e-6,
            -1.984_126_982_985_795e-4,
            8.333_333_333_322_49e-3,
        ],
    );
    let p = l.mul(cube, p);
    let half = l.mul_c(tail, 0.5);
    let inner = l.sub(half, p);
    let inner = l.mul(z, inner);
    let inner = l.sub(inner, tail);
    let inner = l.fma_c(inner, cube, 1.666_666_666_666_663_2e-1);
    l.sub(x, inner)
}

/// Cosine of the rest.
fn kernel_cos<L: Arithmetic>(l: &mut L, (x, tail): Pair<L::V>) -> L::V {
    let z = l.mul(x, x);
    if l.is_short() {
        return l.poly(
            z,
            &[
                2.439_044_879_627_741e-5,
                -1.388_676_377_460_993e-3,
                4.166_662_332_373_906e-2,
                -4.999_999_972_510_31e-1,
                1.0,
            ],
        );
    }
    let p = l.poly(
        z,
        &[
            -1.135_964_755_778_819_5e-11,
            2.087_572_321_298_175e-9,
            -2.755_731_435_139_066_3e-7,
            2.480_158_728_947_673e-5,
            -1.388_888_888_887_411e-3,
            4.166_666_666_666_66e-2,
        ],
    );
    let p = l.mul(z, p);
    let half = l.mul_c(z, 0.5);
    let w = l.c_sub(1.0, half);
    let lost = l.c_sub(1.0, w);
    let lost = l.sub(lost, half);
    let bent = l.mul(z, p);
    let turned = l.mul(x, tail);
    let bent = l.sub(bent, turned);
    let rest = l.add(lost, bent);
    l.add(w, rest)
}

/// All ones where the lowest bit is set.
fn mask_of_odd<L: Arithmetic>(l: &mut L, bits: L::V) -> L::V {
    let one = l.int(1);
    let odd = l.op2(Op2::And, bits, one);
    let zero = l.int(0);
    l.op2(Op2::IntSub, zero, odd)
}

/// The sine (`ahead` 0) or cosine (1) of an angle.
fn sine<L: Arithmetic>(l: &mut L, angle: &Angle<L::V>, ahead: u64) -> L::V {
    let quarters = if ahead == 0 {
        angle.quarters
    } else {
        let ahead = l.int(ahead);
        l.op2(Op2::IntAdd, angle.quarters, ahead)
    };
    let (sin, cos) = (kernel_sin(l, angle.rest), kernel_cos(l, angle.rest));
    let odd = mask_of_odd(l, quarters);
    let value = l.select(odd, cos, sin);
    let sign = l.op1(Op1::Shl(62), quarters);
    let bit = l.sign_bit();
    let sign = l.op2(Op2::And, sign, bit);
    l.op2(Op2::Xor, value, sign)
}

/// The tangent of an angle.
fn tangent<L: Arithmetic>(l: &mut L, angle: &Angle<L::V>) -> L::V {
    let (sin, cos) = (kernel_sin(l, angle.rest), kernel_cos(l, angle.rest));
    let odd = mask_of_odd(l, angle.quarters);
    let over = l.select(odd, cos, sin);
    let under = l.select(odd, sin, cos);
    let quotient = l.div(over, under);
    let sign = l.op1(Op1::Shl(63), angle.quarters);
    l.op2(Op2::Xor, quotient, sign)
}

/// `value`, or `x` where that is 0; beyond [`LARGE`] the function's rare part.
fn complete<L: Arithmetic>(l: &mut L, rare: Rare, x: L::V, value: L::V) -> L::V {
    let a = l.abs(x);
    let large = l.above(a, LARGE);
    l.rarely(rare, large, value, &[x])
}

/// NaN where `x` is infinite.
fn of_finite<L: Arithmetic>(l: &mut L, x: L::V, value: L::V) -> L::V {
    let a = l.abs(x);
    let finite = l.is(Op2::Lt, a, f64::INFINITY);
    let nan = l.c(f64::NAN);
    l.select(finite, value, nan)
}

fn keep_zero<L: Arithmetic>(l: &mut L, x: L::V, value: L::V) -> L::V {
    let zero = l.is(Op2::Eq, x, 0.0);
    l.select(zero, x, value)
}

/// Sine.
pub(super) fn sin<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = near(l, x);
    let value = sine(l, &angle, 0);
    let value = keep_zero(l, x, value);
    complete(l, Rare::Sin, x, value)
}

/// Cosine.
pub(super) fn cos<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = near(l, x);
    let value = sine(l, &angle, 1);
    complete(l, Rare::Cos, x, value)
}

/// Tangent.
pub(super) fn tan<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = near(l, x);
    let value = tangent(l, &angle);
    let value = keep_zero(l, x, value);
    complete(l, Rare::Tan, x, value)
}

/// Sine beyond [`LARGE`].
pub(super) fn sin_of_large<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = far(l, x);
    let value = sine(l, &angle, 0);
    let value = odd(l, x, value);
    of_finite(l, x, value)
}

/// Cosine beyond [`LARGE`].
pub(super) fn cos_of_large<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = far(l, x);
    let value = sine(l, &angle, 1);
    of_finite(l, x, value)
}

/// Tangent beyond [`LARGE`].
pub(super) fn tan_of_large<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let angle = far(l, x);
    let value = tangent(l, &angle);
    let value = odd(l, x, value);
    of_finite(l, x, value)
}

/// The value for a magnitude as that of the number, of an odd function.
fn odd<L: Arithmetic>(l: &mut L, x: L::V, value: L::V) -> L::V {
    let bit = l.sign_bit();
    let sign = l.op2(Op2::And, x, bit);
    l.op2(Op2::Xor, value, sign)
}
