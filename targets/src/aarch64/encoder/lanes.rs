//! Operations on lanes of every type.

use super::Encoder;
use crate::aarch64::isa::*;
use crate::simd::sequences::splat_bits;
use crate::simd::{Across, Lane, Op1, Op2, R, Refusal, Simd, Src, V};

fn no_meaning(op: impl std::fmt::Debug, ty: Lane) -> Refusal {
    Refusal::unsupported(format!("{op:?} of {ty:?} has no meaning"))
}

/// The instruction for lanes of 32 bits or of 64.
fn of(ty: Lane, narrow: Op, wide: Op) -> Op {
    if ty.is_wide() { wide } else { narrow }
}

impl Encoder {
    pub(super) fn typed_op1(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        if let Op1::Shl(n) | Op1::Shr(n) | Op1::Sar(n) = op {
            if n == 0 {
                return Ok(());
            }
            let r = self.reg(d);
            let code = match op {
                Op1::Shl(_) => of(ty, SHL_4S, SHL_2D),
                Op1::Shr(_) => of(ty, USHR_4S, USHR_2D),
                _ => of(ty, SSHR_4S, SSHR_2D),
            };
            let (from, _) = self.before_copy(r, r, r);
            self.put(code, &[r.into(), from.into(), n.into()]);
            return Ok(());
        }
        let float = ty.is_float();
        let code = match op {
            Op1::Sqrt if float => of(ty, FSQRT_4S, FSQRT_2D),
            Op1::Abs if float => of(ty, FABS_4S, FABS_2D),
            Op1::Neg if float => of(ty, FNEG_4S, FNEG_2D),
            Op1::Floor if float => of(ty, FRINTM_4S, FRINTM_2D),
            Op1::Ceil if float => of(ty, FRINTP_4S, FRINTP_2D),
            Op1::Round if float => of(ty, FRINTN_4S, FRINTN_2D),
            Op1::ToInt if ty == Lane::F32 => FCVTNS_4S,
            Op1::ToFloat if ty == Lane::F32 => SCVTF_4S,
            Op1::Abs if !ty.is_signed() => return Ok(()),
            Op1::Abs => of(ty, ABS_4S, ABS_2D),
            Op1::Neg => of(ty, NEG_4S, NEG_2D),
            _ => return Err(no_meaning(op, ty)),
        };
        let r = self.reg(d);
        self.two(code, r, r);
        Ok(())
    }

    pub(super) fn typed_op2(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        if let Op2::Shl | Op2::Shr = op {
            return self.shift_by_lanes(ty, op == Op2::Shl, d, s);
        }
        if ty == Lane::F32 && op == Op2::Mul && self.multiply_by_first_lane(d, s) {
            return Ok(());
        }
        let (y, temporary) = self.operand(s)?;
        let x = self.reg(d);
        let float = ty.is_float();
        match op {
            Op2::And => self.three(AND_V, x, x, y),
            Op2::Or => self.three(ORR_V, x, x, y),
            Op2::Xor => self.three(EOR_V, x, x, y),
            Op2::AndNot => self.turned(BIC_V, x, y),
            Op2::IntAdd => self.three(ADD_4S, x, x, y),
            Op2::IntSub => self.three(SUB_4S, x, x, y),
            Op2::Add if float => self.three(of(ty, FADD_4S, FADD_2D), x, x, y),
            Op2::Sub if float => self.three(of(ty, FSUB_4S, FSUB_2D), x, x, y),
            Op2::Mul if float => self.three(of(ty, FMUL_4S, FMUL_2D), x, x, y),
            Op2::Div if float => self.three(of(ty, FDIV_4S, FDIV_2D), x, x, y),
            Op2::Min | Op2::MinNan if float => self.three(of(ty, FMIN_4S, FMIN_2D), x, x, y),
            Op2::Max | Op2::MaxNan if float => self.three(of(ty, FMAX_4S, FMAX_2D), x, x, y),
            Op2::Lt if float => self.turned(of(ty, FCMGT_4S, FCMGT_2D), x, y),
            Op2::Le if float => self.turned(of(ty, FCMGE_4S, FCMGE_2D), x, y),
            Op2::Eq if float => self.three(of(ty, FCMEQ_4S, FCMEQ_2D), x, x, y),
            Op2::Add => self.three(of(ty, ADD_4S, ADD_2D), x, x, y),
            Op2::Sub => self.three(of(ty, SUB_4S, SUB_2D), x, x, y),
            Op2::Mul if ty.is_wide() => self.multiply_longs(x, y)?,
            Op2::Mul => self.three(MUL_4S, x, x, y),
            Op2::Lt => self.turned(self.greater(ty), x, y),
            Op2::Le if ty.is_signed() => self.turned(of(ty, CMGE_4S, CMGE_2D), x, y),
            Op2::Le => self.turned(of(ty, CMHS_4S, CMHS_2D), x, y),
            Op2::Eq => self.three(of(ty, CMEQ_4S, CMEQ_2D), x, x, y),
            Op2::Min | Op2::MinNan | Op2::Max | Op2::MaxNan => {
                let max = matches!(op, Op2::Max | Op2::MaxNan);
                match (ty.is_wide(), ty.is_signed(), max) {
                    (true, ..) => self.extreme_longs(ty, max, x, y)?,
                    (_, true, true) => self.three(SMAX_4S, x, x, y),
                    (_, true, false) => self.three(SMIN_4S, x, x, y),
                    (_, false, true) => self.three(UMAX_4S, x, x, y),
                    (_, false, false) => self.three(UMIN_4S, x, x, y),
                }
            }
            Op2::Div | Op2::Shl | Op2::Shr => return Err(no_meaning(op, ty)),
        }
        self.release(temporary);
        Ok(())
    }

    fn greater(&self, ty: Lane) -> Op {
        if ty.is_signed() { of(ty, CMGT_4S, CMGT_2D) } else { of(ty, CMHI_4S, CMHI_2D) }
    }

    /// `x = y op x`.
    fn turned(&mut self, op: Op, x: u32, y: u32) {
        match self.copied.take() {
            Some((at, to, from)) if at + 1 == self.code.len() && to == x && y != x => {
                self.code.pop();
                self.put(op, &[x.into(), y.into(), from.into()]);
            }
            _ => self.put(op, &[x.into(), y.into(), x.into()]),
        }
    }

    /// `x = the smaller or greater one`, of which the machine has no instruction.
    fn extreme_longs(&mut self, ty: Lane, max: bool, x: u32, y: u32) -> R {
        let stays = self.vector()?;
        let (a, b) = if max { (x, y) } else { (y, x) };
        let op = self.greater(ty);
        self.put(op, &[stays.0.into(), a.into(), b.into()]);
        self.put(BIF, &[x.into(), y.into(), stays.0.into()]);
        self.free(stays);
        Ok(())
    }

    /// `x *= y` of 64 bits: the product of the lower halves, and above it the sum of those that cross.
    fn multiply_longs(&mut self, x: u32, y: u32) -> R {
        let (crossed, low) = (self.vector()?, self.vector()?);
        let (c, l) = (i64::from(crossed.0), i64::from(low.0));
        let (x, y) = (i64::from(x), i64::from(y));
        self.put(REV64_4S, &[c, y]);
        self.put(MUL_4S, &[c, c, x]);
        self.put(UADDLP_2D, &[c, c]);
        self.put(SHL_2D, &[c, c, 32]);
        self.put(XTN_2S, &[l, y]);
        self.put(XTN_2S, &[x, x]);
        self.put(UMLAL_2D, &[c, x, l]);
        self.put(ORR_V, &[x, c, c]);
        self.free(low);
        self.free(crossed);
        Ok(())
    }

    /// Bits moved by numbers without a sign; the machine's have one, and eight bits.
    fn shift_by_lanes(&mut self, ty: Lane, left: bool, d: &V, s: Src<'_>) -> R {
        let by = match s {
            Src::Bits(bits) if !ty.is_wide() => Some(bits.into()),
            Src::Wide(bits) if ty.is_wide() => Some(bits),
            _ => None,
        };
        match by {
            Some(by) if by < ty.bits().into() => {
                let by = by as u8;
                return self.typed_op1(ty, if left { Op1::Shl(by) } else { Op1::Shr(by) }, d);
            }
            Some(_) => {
                let zero = splat_bits(self, ty, 0)?;
                self.assign(d, &zero);
                self.free(zero);
                return Ok(());
            }
            None => {}
        }
        let (counts, temporary) = self.operand(s)?;
        let inside = self.vector()?;
        let (x, c, i) = (i64::from(self.reg(d)), i64::from(counts), i64::from(inside.0));
        let by = self.vector()?;
        let b = i64::from(by.0);
        self.put(of(ty, USHR_4S, USHR_2D), &[i, c, ty.bits().trailing_zeros().into()]);
        self.put(of(ty, CMEQ_0_4S, CMEQ_0_2D), &[i, i]);
        if left {
            self.put(ORR_V, &[b, c, c]);
        } else {
            self.put(of(ty, NEG_4S, NEG_2D), &[b, c]);
        }
        self.put(of(ty, USHL_4S, USHL_2D), &[x, x, b]);
        self.put(AND_V, &[x, x, i]);
        self.free(by);
        self.free(inside);
        self.release(temporary);
        Ok(())
    }

    /// `d *= s` where one of them stands in its first lane.
    fn multiply_by_first_lane(&mut self, d: &V, s: Src<'_>) -> bool {
        let Src::Reg(s) = s else { return false };
        if !self.is_first_lane(s) || s.0 == d.0 {
            return false;
        }
        let d = self.reg(d);
        let (from, _) = self.before_copy(d, d, d);
        self.put(FMUL_LANE, &[d.into(), from.into(), s.0.into(), 0]);
        true
    }

    /// `d += a * b` of f32.
    pub(super) fn multiply_add(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let to = self.reg(d);
        // An element that was loaded into the first lane is multiplied from there.
        let (b, temporary) = match b {
            Src::Reg(b) if self.is_first_lane(b) && !self.is_first_lane(a) => {
                self.put(FMLA_LANE, &[to.into(), a.0.into(), b.0.into(), 0]);
                return Ok(());
            }
            Src::Splat(p, disp) if !self.is_first_lane(a) => {
                let b = self.load_first_lane(p, disp)?;
                let op = if self.is_first_lane(&b) { FMLA_LANE } else { FMLA_4S };
                self.put(op, &[to.into(), a.0.into(), b.0.into(), 0][..if op == FMLA_4S { 3 } else { 4 }]);
                self.free(b);
                return Ok(());
            }
            b => self.operand(b)?,
        };
        if self.is_first_lane(a) {
            self.put(FMLA_LANE, &[to.into(), b.into(), a.0.into(), 0]);
        } else {
            self.three_of_all(FMLA_4S, to, a.0, b);
        }
        self.release(temporary);
        Ok(())
    }

    pub(super) fn typed_fma(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        if ty == Lane::F32 {
            return self.multiply_add(d, a, b);
        }
        if matches!(ty, Lane::I64 | Lane::U64) {
            let product = self.copy(a)?;
            self.typed_op2(ty, Op2::Mul, &product, b)?;
            self.typed_op2(ty, Op2::Add, d, Src::Reg(&product))?;
            self.free(product);
            return Ok(());
        }
        let (b, temporary) = self.operand(b)?;
        let (d, a) = (self.reg(d), self.reg(a));
        self.three_of_all(if ty == Lane::F64 { FMLA_2D } else { MLA_4S }, d, a, b);
        self.release(temporary);
        Ok(())
    }

    /// `d = d * a + c` of floats.
    pub(super) fn typed_mul_add(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        let op = match ty {
            Lane::F32 => FMLA_4S,
            Lane::F64 => FMLA_2D,
            _ => return Err(no_meaning("multiply-add", ty)),
        };
        // Where `d` was a copy just before, such as of the last of such sums, the factor is what was copied.
        let factor = self.take_copy(d);
        let from = factor.unwrap_or(d.0);
        let again = |v: &V| if v.0 == d.0 { from } else { v.0 };
        let was_free = self.vectors >> from & 1 == 1;
        self.vectors &= !(1 << from);
        let (c, temporary) = match c {
            Src::Reg(v) if v.0 == d.0 => (from, None),
            c => self.operand(c)?,
        };
        let sum = match temporary {
            Some(sum) => sum,
            None => {
                let sum = self.vector()?;
                self.put(ORR_V, &[sum.0.into(), c.into(), c.into()]);
                sum
            }
        };
        self.fill(from);
        let a = again(a);
        self.fill(a);
        self.three_of_all(op, sum.0, from, a);
        self.vectors |= u32::from(was_free) << from;
        self.move_to(d.0, sum.0);
        self.free(sum);
        Ok(())
    }

    /// Halves of the vector, then of the halves.
    pub(super) fn typed_across(&mut self, ty: Lane, op: Across, d: &V) -> R {
        let turned = self.vector()?;
        let (r, t) = (i64::from(self.reg(d)), i64::from(turned.0));
        self.put(EXT, &[t, r, r, 8]);
        self.typed_op2(ty, op.op2(), d, Src::Reg(&turned))?;
        if !ty.is_wide() {
            self.put(REV64_4S, &[t, r]);
            self.typed_op2(ty, op.op2(), d, Src::Reg(&turned))?;
        }
        self.free(turned);
        Ok(())
    }
}
