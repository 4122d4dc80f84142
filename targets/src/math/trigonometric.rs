//! Circular functions and their inverses. Coefficients: fdlibm (`sin`, `cos`), S. Moshier, Cephes (`atan`, `sinf`,
//! `cosf`).

use super::arithmetic::Arithmetic;
use crate::simd::{Op1, Op2};

const PI_2: f64 = std::f64::consts::FRAC_PI_2;
/// Adding 1.5 * 2^52 leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// 1.5 * 2^23.
const MAGIC_F32: f64 = 12_582_912.0;

/// Sine and cosine in f64.
fn sin_cos<L: Arithmetic>(l: &mut L, x: L::V) -> (L::V, L::V) {
    let t = l.mul_c(x, std::f64::consts::FRAC_2_PI);
    let t = l.add_c(t, MAGIC);
    let n = l.sub_c(t, MAGIC);
    let mut r = x;
    for part in [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21] {
        r = l.fma_c(r, n, -part);
    }
    let z = l.mul(r, r);
    let p = l.poly(
        z,
        &[
            1.589_690_995_211_55e-10,
            -2.505_076_025_340_686_3e-8,
            2.755_731_370_707_006_8e-6,
            -1.984_126_982_985_795e-4,
            8.333_333_333_322_49e-3,
            -1.666_666_666_666_663_2e-1,
            0.0,
        ],
    );
    let p = l.mul(p, r);
    let sin = l.add(r, p);
    let q = l.poly(
        z,
        &[
            -1.135_964_755_778_819_5e-11,
            2.087_572_321_298_175e-9,
            -2.755_731_435_139_066_3e-7,
            2.480_158_728_947_673e-5,
            -1.388_888_888_887_411e-3,
            4.166_666_666_666_66e-2,
            -0.5,
            1.0,
        ],
    );
    // Bit 0 of the quadrant swaps the two, bit 1 of n and of n + 1 are their signs.
    let one = l.int(1);
    let odd = mask_of_bit(l, t, 63);
    let next = l.op2(Op2::IntAdd, t, one);
    let (s, c) = (l.select(odd, q, sin), l.select(odd, sin, q));
    (negated_by_bit(l, s, t, 62), negated_by_bit(l, c, next, 62))
}

/// All ones where the bit that a shift by `shift` takes to the top is set, in lanes of `shift + 1` bits.
fn mask_of_bit<L: Arithmetic>(l: &mut L, bits: L::V, shift: u8) -> L::V {
    let odd = l.op1(Op1::Shl(shift), bits);
    let odd = l.op1(Op1::Shr(shift), odd);
    let zero = l.int(0);
    l.op2(Op2::IntSub, zero, odd)
}

/// The value, negated where the bit that a shift by `shift` takes to the sign's place is set.
fn negated_by_bit<L: Arithmetic>(l: &mut L, value: L::V, bits: L::V, shift: u8) -> L::V {
    let sign = l.op1(Op1::Shl(shift), bits);
    let bit = l.sign_bit();
    let sign = l.op2(Op2::And, sign, bit);
    l.op2(Op2::Xor, value, sign)
}

pub(super) fn sin<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let value = sin_cos(l, x).0;
    // Also keeps the sign of zero.
    let zero = l.is(Op2::Eq, x, 0.0);
    l.select(zero, x, value)
}

pub(super) fn cos<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    sin_cos(l, x).1
}

pub(super) fn tan<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (sin, cos) = sin_cos(l, x);
    let value = l.div(sin, cos);
    let zero = l.is(Op2::Eq, x, 0.0);
    l.select(zero, x, value)
}

pub(super) fn atan<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    // Above tan(3 pi / 8): pi/2 - atan(1/a); above 0.66: pi/4 + atan((a - 1) / (a + 1)).
    let a = l.abs(x);
    let inverse = l.c_div(-1.0, a);
    let (less, more) = (l.sub_c(a, 1.0), l.add_c(a, 1.0));
    let middle = l.div(less, more);
    let steep = l.above(a, 2.414_213_562_373_095);
    let medium = l.above(a, 0.66);
    let r = l.select(medium, middle, a);
    let r = l.select(steep, inverse, r);
    let (zero, quarter, half) = (l.c(0.0), l.c(PI_2 / 2.0), l.c(PI_2));
    let base = l.select(medium, quarter, zero);
    let base = l.select(steep, half, base);
    let (rest_quarter, rest_half) = (l.c(3.061_616_997_868_383e-17), l.c(6.123_233_995_736_766e-17));
    let rest = l.select(medium, rest_quarter, zero);
    let rest = l.select(steep, rest_half, rest);
    let z = l.mul(r, r);
    let p = l.poly(
        z,
        &[
            -8.750_608_600_031_904e-1,
            -1.615_753_718_733_365e1,
            -7.500_855_792_314_705e1,
            -1.228_866_684_490_136_2e2,
            -6.485_021_904_942_025e1,
        ],
    );
    let q = l.poly(
        z,
        &[
            1.0,
            2.485_846_490_142_306_3e1,
            1.650_270_098_316_988_5e2,
            4.328_810_604_912_903e2,
            4.853_903_996_359_137e2,
            1.945_506_571_482_614e2,
        ],
    );
    let quotient = l.div(p, q);
    let t = l.mul(z, quotient);
    let t = l.mul(t, r);
    let t = l.add(t, rest);
    let t = l.add(t, r);
    let magnitude = l.add(base, t);
    l.with_sign(magnitude, x)
}

pub(super) fn asin<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (less, more) = (l.c_sub(1.0, x), l.add_c(x, 1.0));
    let product = l.mul(less, more);
    let root = l.op1(Op1::Sqrt, product);
    let slope = l.div(x, root);
    atan(l, slope)
}

pub(super) fn acos<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (less, more) = (l.c_sub(1.0, x), l.add_c(x, 1.0));
    let quotient = l.div(less, more);
    let root = l.op1(Op1::Sqrt, quotient);
    let half = atan(l, root);
    l.mul_c(half, 2.0)
}

/// `sin(x + quarters * pi / 2)`; absolute error below 2e-7 for magnitudes up to 8192, growing with the argument above.
pub(super) fn sin_f32<L: Arithmetic>(l: &mut L, x: L::V, quarters: u64) -> L::V {
    // x = n * pi/2 + r, |r| <= pi/4.
    let magic = l.c(MAGIC_F32);
    let t = l.fma_c(magic, x, f64::from(std::f32::consts::FRAC_2_PI));
    let n = l.sub_c(t, MAGIC_F32);
    let mut r = x;
    for part in [-1.570_312_5, -4.837_513e-4, -7.549_79e-8] {
        r = l.fma_c(r, n, part);
    }
    let t = if quarters == 0 {
        t
    } else {
        let quarters = l.int(quarters);
        l.op2(Op2::IntAdd, t, quarters)
    };
    let square = l.mul(r, r);
    // cos(r) = 1 - r^2 / 2 + r^4 p(r^2)
    let cos = l.poly(square, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2, -0.5, 1.0]);
    // sin(r) = r + r r^2 p(r^2)
    let sin = l.poly(square, &[-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let sin = l.mul(sin, square);
    let sin = l.mul(sin, r);
    let sin = l.add(r, sin);
    // Bit 0 of the quadrant chooses the cosine, bit 1 the sign.
    let odd = mask_of_bit(l, t, 31);
    let value = l.select(odd, cos, sin);
    negated_by_bit(l, value, t, 30)
}
