//! Sums of products with weights of four or eight bits, of numbers that lie in digits: what the schedule
//! [`Digits`](super::plan::Digits) is for.
//!
//! ```text
//!   acc = sum((f32(q & 15) * number(0) + f32(q >> 4) * number(1) + shift) * (scale * unit))     of four bits
//!   acc = sum((f32(q) * number(0) + shift) * (scale * unit))                                    of eight
//!   number(p) = (f32(d2[p]) * 65536 + f32(d1[p]) * 256) + f32(d0[p])
//! ```
//!
//! Where columns have zero points of their own, `f32(zero) * shift` stands for `shift`. Within a block of weights `zero`, `shift`,
//! `scale` and `unit` stand still, so that what is left to add is products of bytes.

use super::expr::Expr;
use super::form::{Form, ReduceOp};
use super::function::BinaryOp;
use super::scalar::Scalar;
use crate::types::DType;

/// Columns of a panel of weights.
pub const COLUMNS: i64 = 16;
/// What a digit counts, from the lowest.
const UNITS: [f32; 3] = [1.0, 256.0, 65536.0];
/// Bits of a weight where a byte has two.
const BITS: i64 = 4;
/// Such a weight's bits, in the lower half of a byte.
const LOW: i64 = 15;

/// The accesses of such a sum.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitSum<A> {
    /// A weight a byte, or two.
    pub weights: A,
    /// By weight of the byte, the low bits first, the digits of what it is multiplied by, the lowest first.
    pub digits: Vec<[A; 3]>,
    /// What `shift` is multiplied by, where it is not for all columns the same: bytes.
    pub zero: Option<A>,
    /// Added for each byte.
    pub shift: A,
    /// The factor of the weights.
    pub scale: A,
    /// The factor of the numbers.
    pub unit: A,
}

fn number(dtype: DType, value: i64) -> Scalar {
    Scalar::int(dtype, value)
}

impl<A: Clone + PartialEq> DigitSum<A> {
    /// The sum's value.
    pub fn value(&self) -> Expr<A> {
        let load = |a: &A| Expr::Load(a.clone());
        let bin = |op, a, b| Expr::binary(op, a, b);
        let product = |(p, digits): (usize, &[A; 3])| {
            let op = if p == 0 { BinaryOp::BitAnd } else { BinaryOp::Shr };
            let by = number(DType::U8, if p == 0 { LOW } else { BITS });
            let bits = match self.digits.len() {
                1 => load(&self.weights),
                _ => bin(op, load(&self.weights), Expr::Const(by)),
            };
            let weight = Expr::cast(DType::F32, bits);
            let digit = |i: usize| Expr::cast(DType::F32, load(&digits[i]));
            let upper = |i: usize| bin(BinaryOp::Mul, digit(i), Expr::f32(UNITS[i]));
            let number = bin(BinaryOp::Add, bin(BinaryOp::Add, upper(2), upper(1)), digit(0));
            bin(BinaryOp::Mul, weight, number)
        };
        let products = self.digits.iter().enumerate().map(product);
        let products = products.reduce(|a, b| bin(BinaryOp::Add, a, b));
        let zero = self.zero.as_ref().map(|zero| Expr::cast(DType::F32, load(zero)));
        let shift = zero.into_iter().fold(load(&self.shift), |shift, zero| bin(BinaryOp::Mul, zero, shift));
        let inner = products.into_iter().fold(shift, |shift, sum| bin(BinaryOp::Add, sum, shift));
        bin(BinaryOp::Mul, inner, bin(BinaryOp::Mul, load(&self.scale), load(&self.unit)))
    }

    /// The accesses of a form, if it is such a sum.
    pub fn of(form: &Form<A>) -> Option<Self> {
        let Form::Reduce { op: ReduceOp::Sum, value, .. } = form else { return None };
        let mut loads = Vec::new();
        value.for_each_access(&mut |a| loads.push(a.clone()));
        let (rest, [shift, scale, unit]) = loads.split_last_chunk::<3>()?;
        let (by_weight, zero) = match rest.len() {
            4 | 8 => (rest, None),
            5 | 9 => rest.split_last().map(|(zero, by_weight)| (by_weight, Some(zero.clone())))?,
            _ => return None,
        };
        let parts = by_weight.chunks_exact(4);
        let digits = parts.map(|part| [part[3].clone(), part[2].clone(), part[1].clone()]).collect();
        let [shift, scale, unit] = [shift, scale, unit].map(A::clone);
        let found = Self { weights: by_weight[0].clone(), digits, zero, shift, scale, unit };
        (found.value() == *value).then_some(found)
    }
}
