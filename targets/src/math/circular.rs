//! Sine and cosine of f32 (N. Juffa): quarter turns are subtracted in four parts, three of which have so few digits that their
//! products with the number of turns are exact. Beyond their reach f64 computes.

use super::arithmetic::Arithmetic;
use super::rare::Rare;
use crate::simd::{Op1, Op2};

/// Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
const MAGIC: f64 = 12_582_912.0;
/// `pi / 2` in parts of 8, 8, 9 and 24 bits.
const QUARTER: [f64; 4] =
    [1.570_312_5, 4.835_128_784_179_687_5e-4, 3.138_557_076_454_162_6e-7, 6.077_099_934_387_32e-11];
/// Up to here numbers of quarter turns have 15 bits.
const REACH: f64 = 39_000.0;

/// The sine (`ahead` 0) or cosine (1) of an argument up to [`REACH`].
fn sine<L: Arithmetic>(l: &mut L, x: L::V, ahead: u64) -> L::V {
    let magic = l.c(MAGIC);
    let quarters = l.fma_c(magic, x, std::f64::consts::FRAC_2_PI);
    let n = l.sub_c(quarters, MAGIC);
    let rest = QUARTER.iter().fold(x, |rest, part| l.fma_c(rest, n, -part));
    let quarters = if ahead == 0 {
        quarters
    } else {
        let ahead = l.int(ahead);
        l.op2(Op2::IntAdd, quarters, ahead)
    };
    let square = l.mul(rest, rest);
    let cos = l.poly(square, &[2.446_770_67e-5, -1.388_772_97e-3, 4.166_665_67e-2, -0.5, 1.0]);
    let p = l.poly(square, &[2.865_679_56e-6, -1.985_599_23e-4, 8.333_385_92e-3, -1.666_666_72e-1]);
    let cube = l.mul(square, rest);
    let sin = l.fma(rest, cube, p);
    // Bit 0 of the quadrant chooses the cosine, bit 1 the sign.
    let odd = l.op1(Op1::Shl(31), quarters);
    let odd = l.op1(Op1::Sar(31), odd);
    let value = l.select(odd, cos, sin);
    let sign = l.op1(Op1::Shl(30), quarters);
    let bit = l.sign_bit();
    let sign = l.op2(Op2::And, sign, bit);
    l.op2(Op2::Xor, value, sign)
}

fn complete<L: Arithmetic>(l: &mut L, rare: Rare, x: L::V, value: L::V) -> L::V {
    let a = l.abs(x);
    let large = l.above(a, REACH);
    l.rarely(rare, large, value, &[x])
}

/// Sine.
pub(super) fn sin<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let value = sine(l, x, 0);
    let zero = l.is(Op2::Eq, x, 0.0);
    let value = l.select(zero, x, value);
    complete(l, Rare::AnySin, x, value)
}

/// Cosine.
pub(super) fn cos<L: Arithmetic>(l: &mut L, x: L::V) -> L::V {
    let value = sine(l, x, 1);
    complete(l, Rare::AnyCos, x, value)
}
