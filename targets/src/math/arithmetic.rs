//! The builder that definitions of functions are written over.

use super::rare::Rare;
use crate::simd::{Op1, Op2};

/// The format of a builder's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

/// Computes with numbers of one format, integers as wide, and masks, in as many lanes as there are. A value is made once
/// and read as often as needed.
///
/// Operations mean what they mean for [`Simd`](crate::simd::Simd), on lanes of the format's width.
pub trait Arithmetic {
    /// A number, integer or mask.
    type V: Copy;

    /// The format of numbers.
    fn format(&self) -> Format;
    /// Whether results are rounded to 24 bits or fewer, so that in f64 a shorter way will do.
    fn is_short(&self) -> bool {
        false
    }
    /// A number, rounded to the format.
    fn c(&mut self, value: f64) -> Self::V;
    /// An integer of the format's width.
    fn int(&mut self, bits: u64) -> Self::V;
    /// `op a`.
    fn op1(&mut self, op: Op1, a: Self::V) -> Self::V;
    /// `a op b`.
    fn op2(&mut self, op: Op2, a: Self::V, b: Self::V) -> Self::V;
    /// `c + a * b`, rounded once or twice.
    fn fma(&mut self, c: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `if mask { a } else { b }`.
    fn select(&mut self, mask: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Where the mask is not set.
    fn not(&mut self, mask: Self::V) -> Self::V;
    /// `if mask { rare(x..) } else { usual }`, computed in f64, where the mask is hardly ever set: there is a branch around it.
    fn rarely(&mut self, rare: Rare, mask: Self::V, usual: Self::V, x: &[Self::V]) -> Self::V;
    /// Whether [`Arithmetic::scale`] is an operation.
    fn scales(&self) -> bool {
        false
    }
    /// `x * 2^n` for integral `n` of any size; NaN stays. Only where [`Arithmetic::scales`].
    fn scale(&mut self, x: Self::V, _n: Self::V) -> Self::V {
        x
    }

    /// `magnitude`, which is not negative, with the sign of `sign`.
    fn with_sign(&mut self, magnitude: Self::V, sign: Self::V) -> Self::V {
        let bit = self.sign_bit();
        let sign = self.op2(Op2::And, sign, bit);
        self.op2(Op2::Or, sign, magnitude)
    }

    /// `value`, which is 0 or of the same sign, with the sign of `sign`.
    fn with_sign_of(&mut self, value: Self::V, sign: Self::V) -> Self::V {
        let bit = self.sign_bit();
        let sign = self.op2(Op2::And, sign, bit);
        self.op2(Op2::Or, value, sign)
    }

    /// The integer whose only set bit is a number's sign.
    fn sign_bit(&mut self) -> Self::V {
        match self.format() {
            Format::F32 => self.int(1 << 31),
            Format::F64 => self.int(1 << 63),
        }
    }
    /// Sum.
    fn add(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.op2(Op2::Add, a, b)
    }
    /// Difference.
    fn sub(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.op2(Op2::Sub, a, b)
    }
    /// Product.
    fn mul(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.op2(Op2::Mul, a, b)
    }
    /// Quotient.
    fn div(&mut self, a: Self::V, b: Self::V) -> Self::V {
        self.op2(Op2::Div, a, b)
    }
    /// `a + c`.
    fn add_c(&mut self, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.add(a, c)
    }
    /// `a - c`.
    fn sub_c(&mut self, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.sub(a, c)
    }
    /// `a * c`.
    fn mul_c(&mut self, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.mul(a, c)
    }
    /// `c - a`.
    fn c_sub(&mut self, c: f64, a: Self::V) -> Self::V {
        let c = self.c(c);
        self.sub(c, a)
    }
    /// `c / a`.
    fn c_div(&mut self, c: f64, a: Self::V) -> Self::V {
        let c = self.c(c);
        self.div(c, a)
    }
    /// `x + a * c`.
    fn fma_c(&mut self, x: Self::V, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.fma(x, a, c)
    }
    /// Magnitude.
    fn abs(&mut self, a: Self::V) -> Self::V {
        self.op1(Op1::Abs, a)
    }
    /// The mask `a op c` of a comparison.
    fn is(&mut self, op: Op2, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.op2(op, a, c)
    }
    /// The mask `a > c`.
    fn above(&mut self, a: Self::V, c: f64) -> Self::V {
        let c = self.c(c);
        self.op2(Op2::Lt, c, a)
    }
    /// `a` within `[low, high]`, NaN for NaN.
    fn clamp(&mut self, a: Self::V, low: f64, high: f64) -> Self::V {
        let (low, high) = (self.c(low), self.c(high));
        let a = self.op2(Op2::Min, a, high);
        self.op2(Op2::Max, a, low)
    }
    /// `coefficients[0] x^n + ... + coefficients[n]`.
    fn poly(&mut self, x: Self::V, coefficients: &[f64]) -> Self::V {
        let (first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
        let first = self.c(*first);
        rest.iter().fold(first, |acc, c| {
            let c = self.c(*c);
            self.fma(c, acc, x)
        })
    }
}
