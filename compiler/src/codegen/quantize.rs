//! Numbers that are rounded to integers of 8 or 16 bits: the end of a QuantizeLinear, in fewer operations than its parts.
//!
//! ```text
//!   cast(round(x / s) + z)   =   to_int(clamp(x, (lo - z) s, (hi - z) s) / s) + z
//! ```
//!
//! Rounding is part of the conversion, and `x` is clamped first: from `(hi - z) s` on the result is `hi`. The clamped number is
//! finite, so with multiply-adds its quotient takes three operations (P. Markstein, *Computation of elementary functions on
//! the IBM RISC System/6000 processor*, 1990): with `r = 1 / s` rounded and `q = x r`, `q + (x - q s) r` is the quotient
//! rounded once.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, UnaryOp};
use kiln_targets::simd::{Op1, Op2, R, Simd, Src, V};

use super::veval::Eval;
use super::vexpr::{Node, VectorKind};

/// A quantised value: `cast(round(x [/ s]) + z)`.
struct Quantized {
    /// The node that is divided, or rounded where nothing is.
    x: usize,
    /// The constant divisor.
    scale: Option<f32>,
    zero: f32,
}

impl Eval<'_> {
    /// A node's values as integers of the kind `to`; `None` where the node is something else, and nothing was emitted.
    pub(super) fn quantized<S: Simd>(&mut self, s: &mut S, to: VectorKind, n: usize) -> R<Option<Vec<V>>> {
        let VectorKind::Number(to @ (DType::U8 | DType::I8 | DType::U16 | DType::I16)) = to else {
            return Ok(None);
        };
        let Some(Quantized { x, scale, zero }) = self.quantization(n) else { return Ok(None) };
        let (lo, hi) = range(to);
        let (lo, hi) = (lo - zero, hi - zero);
        let all = self.reg(s, x)?;
        for v in &all {
            // NaN is 0 in the end, which only a result without a sign gets by the clamp.
            let number = if to.is_signed_int() {
                let mask = s.copy(v)?;
                s.op2(Op2::Eq, &mask, Src::Reg(v))?;
                Some(mask)
            } else {
                None
            };
            let unit = scale.unwrap_or(1.0);
            s.raise(v, Src::Const(lo * unit))?;
            s.op2(Op2::Min, v, Src::Const(hi * unit))?;
            if let Some(scale) = scale {
                divide(s, v, scale)?;
            }
            s.op1(Op1::ToInt, v)?;
            if zero != 0.0 {
                s.op2(Op2::IntAdd, v, Src::Bits(zero as i32 as u32))?;
            }
            if let Some(number) = number {
                s.op2(Op2::And, v, Src::Reg(&number))?;
                s.free(number);
            }
        }
        Ok(Some(all))
    }

    /// The parts of a rounded number, where nothing else needs those between.
    fn quantization(&mut self, n: usize) -> Option<Quantized> {
        let constant = |n: usize| match self.values.nodes[n] {
            Node::Const(bits, VectorKind::F32) => Some(f32::from_bits(bits as u32)),
            _ => None,
        };
        let (mut through, mut rounded, mut zero) = (vec![], n, 0.0);
        if let Node::Binary(BinaryOp::Add, a, z) = self.values.nodes[n] {
            through.push(n);
            (rounded, zero) = (a, constant(z)?);
        }
        let Node::Unary(UnaryOp::Round, of) = self.values.nodes[rounded] else { return None };
        if self.values.kinds[rounded] != VectorKind::F32 || zero.fract() != 0.0 || zero.abs() > 65535.0 {
            return None;
        }
        through.push(rounded);
        let (mut x, mut scale) = (of, None);
        if let Node::Binary(BinaryOp::Div, a, by) = self.values.nodes[of]
            && let Some(by) = constant(by).filter(|by| divides(*by))
        {
            through.push(of);
            (x, scale) = (a, Some(by));
        }
        if through.iter().any(|n| self.left[*n] != 1 || self.held[*n].is_some()) {
            return None;
        }
        through.iter().for_each(|n| self.left[*n] = 0);
        Some(Quantized { x, scale, zero })
    }
}

/// The least and the greatest number of a type of at most 16 bits.
fn range(ty: DType) -> (f32, f32) {
    let bits = ty.bits() as i32;
    if ty.is_signed_int() {
        (-(2f32.powi(bits - 1)), 2f32.powi(bits - 1) - 1.0)
    } else {
        (0.0, 2f32.powi(bits) - 1.0)
    }
}

/// Positive divisors whose reciprocal and products with 17 bits are far from both ends of f32.
fn divides(scale: f32) -> bool {
    (2f32.powi(-100)..2f32.powi(100)).contains(&scale)
}

/// `d = d / scale`, rounded once; `d` is a product of the scale with at most 17 bits.
fn divide<S: Simd>(s: &mut S, d: &V, scale: f32) -> R {
    if !s.fuses() {
        return s.op2(Op2::Div, d, Src::Const(scale));
    }
    let reciprocal = Src::Const(1.0 / scale);
    let quotient = s.copy(d)?;
    s.op2(Op2::Mul, &quotient, reciprocal)?;
    // What is left of d, exact, then its part of the quotient.
    s.fma(d, &quotient, Src::Const(-scale))?;
    s.fma(&quotient, d, reciprocal)?;
    s.assign(d, &quotient);
    s.free(quotient);
    Ok(())
}
