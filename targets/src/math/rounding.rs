//! Rounding to integers where the machine has no operation for it.

use super::arithmetic::Arithmetic;
use crate::simd::{Op1, Op2};

/// [`Op1::Floor`], [`Op1::Ceil`] or [`Op1::Round`] in f64; signs of zeros, infinities and NaN are kept.
pub fn round<L: Arithmetic>(l: &mut L, op: Op1, x: L::V) -> L::V {
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    let a = l.abs(x);
    let shifted = l.add_c(a, TWO_52);
    let rounded = l.sub_c(shifted, TWO_52);
    let rounded = l.with_sign(rounded, x);
    let stepped = match op {
        Op1::Floor => {
            let beyond = l.op2(Op2::Lt, x, rounded);
            let less = l.sub_c(rounded, 1.0);
            l.select(beyond, less, rounded)
        }
        Op1::Ceil => {
            let short = l.op2(Op2::Lt, rounded, x);
            let more = l.add_c(rounded, 1.0);
            l.select(short, more, rounded)
        }
        _ => rounded,
    };
    let magnitude = l.abs(stepped);
    let stepped = l.with_sign(magnitude, x);
    let small = l.is(Op2::Lt, a, TWO_52);
    l.select(small, stepped, x)
}
