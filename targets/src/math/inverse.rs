//! Inverses of the circular functions. f64: S. Moshier, Cephes (`atan`). f32: minimax polynomials, relative error below
//! 1e-8 before rounding.

use super::arithmetic::Arithmetic;
use crate::simd::{Op1, Op2};

const PI_2: f64 = std::f64::consts::FRAC_PI_2;

/// Inverse tangent in f64.
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

/// Inverse sine in f64.
pub(super) fn asin<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (less, more) = (l.c_sub(1.0, x), l.add_c(x, 1.0));
    let product = l.mul(less, more);
    let root = l.op1(Op1::Sqrt, product);
    let slope = l.div(x, root);
    atan(l, slope)
}

/// Inverse cosine in f64.
pub(super) fn acos<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let (less, more) = (l.c_sub(1.0, x), l.add_c(x, 1.0));
    let quotient = l.div(less, more);
    let root = l.op1(Op1::Sqrt, quotient);
    let half = atan(l, root);
    l.mul_c(half, 2.0)
}

/// Inverse tangent of f32: of the number or, above 1, of its reciprocal.
pub(super) fn atan_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let steep = l.above(a, 1.0);
    let inverse = l.c_div(1.0, a);
    let t = l.select(steep, inverse, a);
    let z = l.mul(t, t);
    let p = l.poly(
        z,
        &[
            -1.793_606_6e-3,
            1.091_453_8e-2,
            -3.117_771_8e-2,
            5.795_746_7e-2,
            -8.403_443e-2,
            1.095_218_4e-1,
            -1.426_424_1e-1,
            1.999_854_9e-1,
            -3.333_329_9e-1,
        ],
    );
    let cube = l.mul(z, t);
    let angle = l.fma(t, p, cube);
    let rest = l.c_sub(PI_2, angle);
    let magnitude = l.select(steep, rest, angle);
    l.with_sign(magnitude, x)
}

/// The inverse sine of a magnitude up to one half; above, half its inverse cosine; and a mask of where that is.
fn arc_f32<L: Arithmetic>(l: &mut L, a: L::V) -> (L::V, L::V) {
    let steep = l.above(a, 0.5);
    let rest = l.c_sub(1.0, a);
    let half = l.mul_c(rest, 0.5);
    let root = l.op1(Op1::Sqrt, half);
    let t = l.select(steep, root, a);
    let square = l.mul(a, a);
    let z = l.select(steep, half, square);
    let p = l.poly(z, &[4.216_629_6e-2, 2.417_952_2e-2, 4.547_037_6e-2, 7.495_297_5e-2, 1.666_675_2e-1]);
    let cube = l.mul(z, t);
    (l.fma(t, p, cube), steep)
}

/// Inverse sine of f32.
pub(super) fn asin_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let (angle, steep) = arc_f32(l, a);
    let quarter = l.c(PI_2);
    let rest = l.fma_c(quarter, angle, -2.0);
    let magnitude = l.select(steep, rest, angle);
    l.with_sign(magnitude, x)
}

/// Inverse cosine of f32.
pub(super) fn acos_f32<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let a = l.abs(x);
    let (angle, steep) = arc_f32(l, a);
    let bit = l.sign_bit();
    let sign = l.op2(Op2::And, x, bit);
    // Towards 1 twice the angle or that from half a turn, else a quarter turn less the angle.
    let signed = l.op2(Op2::Xor, angle, sign);
    let quarter = l.c(PI_2);
    let middle = l.sub(quarter, signed);
    let twice = l.mul_c(signed, 2.0);
    let negative = l.is(Op2::Lt, x, 0.0);
    let turn = l.c(std::f64::consts::PI);
    let turn = l.op2(Op2::And, negative, turn);
    let end = l.add(turn, twice);
    l.select(steep, end, middle)
}
