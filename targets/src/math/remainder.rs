//! Remainders in f64, exact: C's `fmod` of numbers of 24 bits (of f64 it is a loop: see the scalars), quotients and
//! remainders of integers of 32 bits.

use kiln_ir::kernel::BinaryOp;

use super::arithmetic::Arithmetic;
use super::rare::Rare;
use crate::simd::{Op1, Op2};

/// Quotients of so many bits times 24 bits are exact.
const STEP: i32 = 28;
/// As many steps as the largest quotient has: 2^277.
const STEPS: i32 = 10;

/// `a - floor(a / b) b` for magnitudes whose quotient is below 2^29, and the quotient, which may have been rounded up.
fn reduced<L: Arithmetic>(l: &mut L, a: L::V, b: L::V) -> (L::V, L::V) {
    let quotient = l.div(a, b);
    let whole = l.op1(Op1::Floor, quotient);
    let product = l.mul(whole, b);
    let rest = l.sub(a, product);
    let negative = l.is(Op2::Lt, rest, 0.0);
    let back = l.op2(Op2::And, negative, b);
    (l.add(rest, back), quotient)
}

/// Only of short numbers.
pub(super) fn remainder<L: Arithmetic>(l: &mut L, x: L::V, y: L::V) -> L::V {
    let (a, b) = (l.abs(x), l.abs(y));
    let (rest, quotient) = reduced(l, a, b);
    // Of an endless divisor the dividend is left, if it is a number.
    let endless = l.is(Op2::Eq, b, f64::INFINITY);
    let nothing = l.mul_c(a, 0.0);
    let whole = l.add(a, nothing);
    let rest = l.select(endless, whole, rest);
    let value = l.with_sign(rest, x);
    let large = l.above(quotient, 2f64.powi(STEP));
    l.rarely(Rare::Rem, large, value, &[x, y])
}

/// Of any quotient: by the divisor's multiples of powers of two, the largest first.
pub(super) fn remainder_of_large<L: Arithmetic>(l: &mut L, x: L::V, y: L::V) -> L::V {
    let (mut rest, b) = (l.abs(x), l.abs(y));
    for step in (0..STEPS).rev() {
        let multiple = l.mul_c(b, 2f64.powi(STEP * step));
        rest = reduced(l, rest, multiple).0;
    }
    l.with_sign(rest, x)
}

/// Quotient or remainder of integers of 32 bits; by zero it is 0. Quotients that are no integers are further from the next one
/// than they are rounded by.
pub(super) fn of_integers<L: Arithmetic>(l: &mut L, op: BinaryOp, x: L::V, y: L::V) -> Option<L::V> {
    let quotient = l.div(x, y);
    let size = l.abs(quotient);
    let size = l.op1(Op1::Floor, size);
    let whole = l.with_sign(size, quotient);
    let value = match op {
        BinaryOp::Div => whole,
        BinaryOp::Rem | BinaryOp::Mod => {
            let product = l.mul(whole, y);
            let rest = l.sub(x, product);
            if op == BinaryOp::Mod {
                // Of the divisor's sign: where the product of both is negative, which it is not if nothing is left.
                let product = l.mul(rest, y);
                let differs = l.is(Op2::Lt, product, 0.0);
                let more = l.op2(Op2::And, differs, y);
                l.add(rest, more)
            } else {
                rest
            }
        }
        _ => return None,
    };
    let by_zero = l.is(Op2::Eq, y, 0.0);
    let zero = l.c(0.0);
    Some(l.select(by_zero, zero, value))
}
