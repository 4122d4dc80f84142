//! Numbers that are quantised with a scale or a zero point that is computed at run time, in fewer operations than their parts.
//!
//! ```text
//!   cast(round(x / s) + f32(z))   =   clamp(to_int(clamp(x / s, -far, far)) + z, lo, hi)
//! ```
//!
//! Rounding is part of the conversion, and the zero point, which is an integer, stays one. Quotients that are farther than
//! `far` from 0 saturate whatever it is.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, UnaryOp};
use kiln_targets::simd::{Lane, Op1, Op2, R, Simd, Src, V};

use super::veval::Eval;
use super::vexpr::{Node, VectorKind};

/// More than twice what integers of 16 bits reach, and less than conversions hold.
const FAR: f32 = (1 << 20) as f32;

/// The nodes of a quantised value.
struct Parts {
    x: usize,
    /// The divisor, whatever it is.
    scale: usize,
    /// An integer of at most 16 bits.
    zero: Option<usize>,
}

impl Eval<'_> {
    /// Node `n`, a number, as integers of the kind `to`; `None` where it is something else, and nothing was emitted.
    pub(super) fn quantized_by_computed<S: Simd>(
        &mut self,
        s: &mut S,
        to: VectorKind,
        n: usize,
    ) -> R<Option<Vec<V>>> {
        let VectorKind::Number(to @ (DType::U8 | DType::I8 | DType::U16 | DType::I16)) = to else {
            return Ok(None);
        };
        let Some(Parts { x, scale, zero }) = self.parts(n) else { return Ok(None) };
        let all = self.reg(s, x)?;
        self.with_operand(s, scale, &mut |s, i, by| s.op2(Op2::Div, &all[i], by))?;
        let mut numbers = Vec::new();
        for v in &all {
            // NaN is 0 in the end, which only a result without a sign gets by the clamp.
            if to.is_signed_int() {
                let mask = s.copy(v)?;
                s.op2(Op2::Eq, &mask, Src::Reg(v))?;
                numbers.push(mask);
            }
            s.raise(v, Src::Const(-FAR))?;
            s.op2(Op2::Min, v, Src::Const(FAR))?;
            s.op1(Op1::ToInt, v)?;
        }
        if let Some(zero) = zero {
            self.with_operand(s, zero, &mut |s, i, z| s.op2(Op2::IntAdd, &all[i], z))?;
        }
        let bits = to.bits() as u32;
        let least = if to.is_signed_int() { -1i32 << (bits - 1) } else { 0 };
        let most = least + ((1i64 << bits) - 1) as i32;
        for v in &all {
            s.op2_as(Lane::I32, Op2::Max, v, Src::Bits(least as u32))?;
            s.op2_as(Lane::I32, Op2::Min, v, Src::Bits(most as u32))?;
        }
        for (v, number) in all.iter().zip(numbers) {
            s.op2(Op2::And, v, Src::Reg(&number))?;
            s.free(number);
        }
        Ok(Some(all))
    }

    /// The parts of a number that is rounded, where nothing else needs those between.
    fn parts(&mut self, n: usize) -> Option<Parts> {
        let nodes = &self.values.nodes;
        let (mut through, mut rounded, mut zero) = (vec![], n, None);
        if let Node::Binary(BinaryOp::Add, a, z) = nodes[n] {
            let Node::Cast(VectorKind::F32, of) = nodes[z] else { return None };
            let short = |ty: DType| ty.is_int() && (1..=2).contains(&ty.size());
            if !matches!(self.values.kinds[of], VectorKind::Number(ty) if short(ty)) {
                return None;
            }
            through.extend([n, z]);
            (rounded, zero) = (a, Some(of));
        }
        let Node::Unary(UnaryOp::Round, quotient) = nodes[rounded] else { return None };
        let Node::Binary(BinaryOp::Div, x, scale) = nodes[quotient] else { return None };
        through.extend([rounded, quotient]);
        let known = matches!(nodes[scale], Node::Const(..));
        let ours = through.iter().all(|n| self.left[*n] == 1 && self.held[*n].is_none());
        if known || !ours || self.values.kinds[quotient] != VectorKind::F32 {
            return None;
        }
        through.iter().for_each(|n| self.left[*n] = 0);
        Some(Parts { x, scale, zero })
    }
}
