//! The builder of definitions that computes at once, in f64: for tests.

use super::arithmetic::{Arithmetic, Format};
use super::functions::Function;
use super::rare::Rare;
use crate::simd::{Op1, Op2};

/// Values are bits.
pub(super) struct Plain;

impl Arithmetic for Plain {
    type V = u64;

    fn format(&self) -> Format {
        Format::F64
    }

    fn c(&mut self, value: f64) -> u64 {
        value.to_bits()
    }

    fn int(&mut self, bits: u64) -> u64 {
        bits
    }

    fn op1(&mut self, op: Op1, a: u64) -> u64 {
        let x = f64::from_bits(a);
        match op {
            Op1::Abs => x.abs().to_bits(),
            Op1::Neg => (-x).to_bits(),
            Op1::Floor => x.floor().to_bits(),
            Op1::Shl(n) => a << n,
            Op1::Shr(n) => a >> n,
            other => unreachable!("{other:?} is in no definition that is tested so"),
        }
    }

    fn op2(&mut self, op: Op2, a: u64, b: u64) -> u64 {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let mask = |is: bool| if is { u64::MAX } else { 0 };
        let nan = x.is_nan() || y.is_nan();
        match op {
            Op2::Add => (x + y).to_bits(),
            Op2::Sub => (x - y).to_bits(),
            Op2::Mul => (x * y).to_bits(),
            Op2::Div => (x / y).to_bits(),
            Op2::Min | Op2::Max if nan => f64::NAN.to_bits(),
            Op2::Min => x.min(y).to_bits(),
            Op2::Max => x.max(y).to_bits(),
            Op2::And => a & b,
            Op2::Or => a | b,
            Op2::AndNot => !a & b,
            Op2::Lt => mask(x < y),
            Op2::Le => mask(x <= y),
            Op2::Eq => mask(x == y),
            Op2::IntAdd => a.wrapping_add(b),
            Op2::IntSub => a.wrapping_sub(b),
            other => unreachable!("{other:?} is in no definition that is tested so"),
        }
    }

    fn fma(&mut self, c: u64, a: u64, b: u64) -> u64 {
        (f64::from_bits(c) + f64::from_bits(a) * f64::from_bits(b)).to_bits()
    }

    fn select(&mut self, mask: u64, a: u64, b: u64) -> u64 {
        if mask != 0 { a } else { b }
    }

    fn rarely(&mut self, rare: Rare, mask: u64, usual: u64, x: &[u64]) -> u64 {
        if mask == 0 {
            return usual;
        }
        Function::Rare(rare).define(self, x).expect("parts of functions are defined in f64")
    }

    fn not(&mut self, mask: u64) -> u64 {
        !mask
    }
}
