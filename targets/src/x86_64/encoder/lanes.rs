//! Operations on lanes of every type: an instruction where the encoding has one, else a sequence.

use iced_x86::{Code, Instruction, Register};

use super::codes::{Codes, Encoding, INT_ADD, INT_SUB, PERMUTE, SHIFT_LEFT, SHIFT_RIGHT};
use super::lane_codes::*;
use super::pieces::{CMP_EQ, CMP_LE, CMP_LT, Width};
use super::{Encoder, Place};
use crate::simd::sequences::{self, sign_bit};
use crate::simd::{Lane, Op1, Op2, R, Refusal, Simd, Src, V};

impl Encoder {
    /// Whether the encoding has the instruction. SSE2 lacks what came with SSE4.1.
    fn has(&self, codes: &Codes) -> bool {
        const SSE4_1: [&Codes; 9] = [
            &MUL_I32,
            &MIN_I32,
            &MAX_I32,
            &MIN_U32,
            &MAX_U32,
            &EQUAL_I64,
            &EXTEND_I32,
            &EXTEND_U32,
            &ROUND_F64,
        ];
        let later = self.encoding == Encoding::Legacy && !self.rounds && SSE4_1.contains(&codes);
        self.pick(codes) != Code::INVALID && !later
    }

    /// An operand that an instruction on these lanes can take.
    fn typed_place(&mut self, ty: Lane, s: Src<'_>) -> R<(Place, Option<V>)> {
        Ok(match s {
            Src::Const(_) | Src::Bits(_) | Src::Splat(..) if ty.is_wide() => {
                let (register, temporary) = self.register(s)?;
                (Place::Reg(register), temporary)
            }
            Src::Wide(bits) if ty.is_wide() && self.encoding == Encoding::Evex512 => {
                (Place::Pool(self.constant(&bits.to_le_bytes()), true), None)
            }
            s => return self.place(s),
        })
    }

    pub(super) fn typed_op1(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        let r = self.reg(d);
        if let Op1::Shl(n) | Op1::Shr(n) | Op1::Sar(n) = op {
            let codes = match (op, ty.is_wide()) {
                (Op1::Shl(_), false) => &SHIFT_LEFT,
                (Op1::Shl(_), true) => &SHIFT_LEFT_64,
                (Op1::Shr(_), false) => &SHIFT_RIGHT,
                (Op1::Shr(_), true) => &SHIFT_RIGHT_64,
                (_, false) => &SHIFT_SIGNED,
                (_, true) => &SHIFT_SIGNED_64,
            };
            if !self.has(codes) {
                return sequences::arithmetic_shift(self, ty, d, n);
            }
            self.shift(codes, r, n);
            return Ok(());
        }
        let rounds = self.has(&ROUND_F64);
        match (ty, op) {
            (Lane::F32, op) => return self.op1(op, d),
            (Lane::F64, Op1::Abs) => return self.op2(Op2::And, d, Src::Wide(!sign_bit(ty))),
            (Lane::F64, Op1::Neg) => return self.op2(Op2::Xor, d, Src::Wide(sign_bit(ty))),
            (Lane::F64, Op1::Sqrt) => self.two(&SQRT_F64, r, &Place::Reg(r)),
            (Lane::F64, Op1::Floor | Op1::Ceil | Op1::Round) if !rounds => {
                return sequences::round_f64(self, op, d);
            }
            // Without an exception for inexact results.
            (Lane::F64, Op1::Floor) => self.emit(Instruction::with3(self.pick(&ROUND_F64), r, r, 9u32)),
            (Lane::F64, Op1::Ceil) => self.emit(Instruction::with3(self.pick(&ROUND_F64), r, r, 10u32)),
            (Lane::F64, Op1::Round) => self.emit(Instruction::with3(self.pick(&ROUND_F64), r, r, 8u32)),
            (Lane::U32 | Lane::U64, Op1::Abs) => {}
            (_, Op1::Abs) => return sequences::int_abs(self, ty, d),
            (_, Op1::Neg) => return sequences::int_neg(self, ty, d),
            _ => return Err(Refusal::unsupported(format!("{op:?} of {ty:?} has no meaning"))),
        }
        Ok(())
    }

    pub(super) fn shift(&mut self, codes: &Codes, r: Register, n: u8) {
        let code = self.pick(codes);
        self.emit(match self.encoding {
            Encoding::Legacy => Instruction::with2(code, r, u32::from(n)),
            _ => Instruction::with3(code, r, r, u32::from(n)),
        });
    }

    pub(super) fn typed_op2(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        let r = self.reg(d);
        match (ty, op) {
            (_, Op2::And | Op2::Or | Op2::Xor | Op2::AndNot | Op2::IntAdd | Op2::IntSub) => {
                self.op2(op, d, s)
            }
            (_, Op2::Shl | Op2::Shr) => self.shift_by(ty, op == Op2::Shl, d, s),
            (Lane::F32, _) => self.op2(op, d, s),
            (Lane::F64, Op2::Lt | Op2::Le | Op2::Eq) => {
                let (place, temporary) = self.typed_place(ty, s)?;
                let predicate = match op {
                    Op2::Lt => CMP_LT,
                    Op2::Le => CMP_LE,
                    _ => CMP_EQ,
                };
                self.compare_as(Width::F64, r, r, &place, predicate);
                self.release(temporary);
                Ok(())
            }
            (Lane::F64, Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan) => {
                let (s, temporary) = self.register(s)?;
                let max = matches!(op, Op2::Max | Op2::MaxNan);
                if let Op2::Min | Op2::Max = op {
                    self.extreme(Width::F64, max, r, s, temporary.is_some())?;
                } else {
                    self.extreme_nan(Width::F64, max, r, s)?;
                }
                self.release(temporary);
                Ok(())
            }
            (_, Op2::Lt | Op2::Le | Op2::Eq) => self.compare_ints(ty, op, d, s),
            _ => self.arithmetic(ty, op, d, s),
        }
    }

    fn arithmetic(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        use Lane::{F64, I32, I64, U32, U64};
        let codes = match (ty, op) {
            (F64, Op2::Add) => &ADD_F64,
            (F64, Op2::Sub) => &SUB_F64,
            (F64, Op2::Mul) => &MUL_F64,
            (F64, Op2::Div) => &DIV_F64,
            (I32 | U32, Op2::Add) => &INT_ADD,
            (I32 | U32, Op2::Sub) => &INT_SUB,
            (I32 | U32, Op2::Mul) => &MUL_I32,
            (I32, Op2::Min | Op2::MinNan) => &MIN_I32,
            (I32, Op2::Max | Op2::MaxNan) => &MAX_I32,
            (U32, Op2::Min | Op2::MinNan) => &MIN_U32,
            (U32, Op2::Max | Op2::MaxNan) => &MAX_U32,
            (I64 | U64, Op2::Add) => &ADD_I64,
            (I64 | U64, Op2::Sub) => &SUB_I64,
            (I64 | U64, Op2::Mul) => &MUL_I64,
            (I64, Op2::Min | Op2::MinNan) => &MIN_I64,
            (I64, Op2::Max | Op2::MaxNan) => &MAX_I64,
            (U64, Op2::Min | Op2::MinNan) => &MIN_U64,
            (U64, Op2::Max | Op2::MaxNan) => &MAX_U64,
            _ => return Err(Refusal::unsupported(format!("{op:?} of {ty:?} has no meaning"))),
        };
        if self.has(codes) {
            let (place, temporary) = self.typed_place(ty, s)?;
            let r = self.reg(d);
            self.three(codes, r, r, &place);
            self.release(temporary);
            return Ok(());
        }
        let (other, owned) = self.operand(s)?;
        match op {
            Op2::Mul if ty.is_wide() => self.multiply_64(d, &other)?,
            Op2::Mul => self.multiply_32(d, &other)?,
            _ => sequences::extreme(self, ty, matches!(op, Op2::Max | Op2::MaxNan), d, &other)?,
        }
        self.give_back(other, owned);
        Ok(())
    }

    /// The operand in a register of the builder's; `true` when it is the caller's to free.
    fn operand(&mut self, s: Src<'_>) -> R<(V, bool)> {
        if let Src::Reg(v) = s {
            return Ok((V(v.0), false));
        }
        let (r, temporary) = self.register(s)?;
        // Without a temporary it is a constant that is kept.
        let kept = self.kept.iter().map(|(_, v)| v).find(|v| self.reg(v) == r).map(|v| (V(v.0), false));
        let found = temporary.map(|v| (v, true)).or(kept);
        found.ok_or_else(|| Refusal::unsupported("an operand without a register"))
    }

    fn give_back(&mut self, v: V, owned: bool) {
        if owned {
            self.free(v);
        }
    }

    /// The low halves of products: even lanes, odd lanes, and both together.
    fn multiply_32(&mut self, d: &V, s: &V) -> R {
        let (odd, other) = (self.copy(d)?, self.copy(s)?);
        let (a, b, o) = (self.reg(d), self.reg(&odd), self.reg(&other));
        self.three(&MUL_LOW_U32, a, a, &Place::Reg(o));
        self.shift(&SHIFT_RIGHT_64, b, 32);
        self.shift(&SHIFT_RIGHT_64, o, 32);
        self.three(&MUL_LOW_U32, b, b, &Place::Reg(o));
        self.emit(Instruction::with3(self.pick(&PERMUTE), a, a, 0x08_u32));
        self.emit(Instruction::with3(self.pick(&PERMUTE), b, b, 0x08_u32));
        self.three(&UNPACK_I32, a, a, &Place::Reg(b));
        self.free(odd);
        self.free(other);
        Ok(())
    }

    /// `low * low + ((low * high + high * low) << 32)`.
    fn multiply_64(&mut self, d: &V, s: &V) -> R {
        let (first, second) = (self.copy(d)?, self.copy(s)?);
        let (x, y) = (self.reg(&first), self.reg(&second));
        let (a, b) = (self.reg(d), self.reg(s));
        self.shift(&SHIFT_RIGHT_64, x, 32);
        self.three(&MUL_LOW_U32, x, x, &Place::Reg(b));
        self.shift(&SHIFT_RIGHT_64, y, 32);
        self.three(&MUL_LOW_U32, y, y, &Place::Reg(a));
        self.three(&ADD_I64, x, x, &Place::Reg(y));
        self.shift(&SHIFT_LEFT_64, x, 32);
        self.three(&MUL_LOW_U32, a, a, &Place::Reg(b));
        self.three(&ADD_I64, a, a, &Place::Reg(x));
        self.free(first);
        self.free(second);
        Ok(())
    }

    fn shift_by(&mut self, ty: Lane, left: bool, d: &V, s: Src<'_>) -> R {
        let codes = match (left, ty.is_wide()) {
            (true, false) => &SHIFT_LEFT_BY,
            (false, false) => &SHIFT_RIGHT_BY,
            (true, true) => &SHIFT_LEFT_BY_64,
            (false, true) => &SHIFT_RIGHT_BY_64,
        };
        if self.has(codes) {
            let (place, temporary) = self.typed_place(ty, s)?;
            let r = self.reg(d);
            self.three(codes, r, r, &place);
            self.release(temporary);
            return Ok(());
        }
        let ty = if ty.is_wide() { Lane::U64 } else { Lane::U32 };
        let (counts, owned) = self.operand(s)?;
        sequences::shift_by_lanes(self, ty, left, d, &counts)?;
        self.give_back(counts, owned);
        Ok(())
    }

    fn compare_ints(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        let r = self.reg(d);
        if self.encoding == Encoding::Evex512 {
            let code = match ty {
                Lane::I32 => COMPARE_I32,
                Lane::U32 => COMPARE_U32,
                Lane::I64 => COMPARE_I64,
                _ => COMPARE_U64,
            };
            let predicate = match op {
                Op2::Eq => 0,
                Op2::Lt => 1,
                _ => 2,
            };
            let (place, temporary) = self.typed_place(ty, s)?;
            self.three_imm(code, Register::K1, r, &place, predicate);
            self.mask_to_vector(ty.is_wide(), r);
            self.release(temporary);
            return Ok(());
        }
        let (other, owned) = self.operand(s)?;
        match op {
            Op2::Eq => self.equal_ints(ty, d, &other)?,
            // Not greater.
            Op2::Le => {
                let greater = self.copy(&other)?;
                self.less_ints(ty, &greater, d)?;
                self.assign(d, &greater);
                self.free(greater);
                sequences::invert(self, d)?;
            }
            _ => self.less_ints(ty, d, &other)?,
        }
        self.give_back(other, owned);
        Ok(())
    }

    fn equal_ints(&mut self, ty: Lane, d: &V, s: &V) -> R {
        let (a, b) = (self.reg(d), self.reg(s));
        if ty.is_wide() && self.has(&EQUAL_I64) {
            self.three(&EQUAL_I64, a, a, &Place::Reg(b));
            return Ok(());
        }
        self.three(&EQUAL_I32, a, a, &Place::Reg(b));
        if ty.is_wide() {
            // Both halves.
            let other = self.vector()?;
            self.emit(Instruction::with3(self.pick(&PERMUTE), self.reg(&other), a, 0xb1_u32));
            self.op2(Op2::And, d, Src::Reg(&other))?;
            self.free(other);
        }
        Ok(())
    }

    /// `d = d < s`; unsigned numbers by moving both to where the signed ones are.
    fn less_ints(&mut self, ty: Lane, d: &V, s: &V) -> R {
        let sign = sequences::bits(ty, sign_bit(ty));
        let greater = self.copy(s)?;
        if !ty.is_signed() {
            self.op2(Op2::Xor, d, sign)?;
            self.op2(Op2::Xor, &greater, sign)?;
        }
        let (a, g) = (self.reg(d), self.reg(&greater));
        let codes = if ty.is_wide() { &GREATER_I64 } else { &GREATER_I32 };
        if self.has(codes) {
            self.three(codes, g, g, &Place::Reg(a));
            self.assign(d, &greater);
        } else {
            // The high halves decide; where they are equal, the borrow of `d - s`.
            let equal = self.copy(&greater)?;
            let e = self.reg(&equal);
            self.three(&EQUAL_I32, e, e, &Place::Reg(a));
            let above = self.copy(&greater)?;
            self.three(&GREATER_I32, self.reg(&above), self.reg(&above), &Place::Reg(a));
            self.three(&SUB_I64, a, a, &Place::Reg(g));
            self.op2(Op2::And, d, Src::Reg(&equal))?;
            self.op2(Op2::Or, d, Src::Reg(&above))?;
            self.emit(Instruction::with3(self.pick(&PERMUTE), a, a, 0xf5_u32));
            self.free(equal);
            self.free(above);
        }
        self.free(greater);
        Ok(())
    }

    pub(super) fn typed_fma(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        if ty == Lane::F64 && self.fma {
            let (place, temporary) = self.typed_place(ty, b)?;
            let (d, a) = (self.reg(d), self.reg(a));
            self.three_of_all(&FMA_231_F64, d, a, &place);
            self.release(temporary);
            return Ok(());
        }
        let product = self.copy(a)?;
        self.op2_as(ty, Op2::Mul, &product, b)?;
        self.op2_as(ty, Op2::Add, d, Src::Reg(&product))?;
        self.free(product);
        Ok(())
    }

    pub(super) fn typed_mul_add(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        if ty == Lane::F64 && self.fma {
            let (place, temporary) = self.typed_place(ty, c)?;
            let (d, a) = (self.reg(d), self.reg(a));
            self.three_of_all(&FMA_213_F64, d, a, &place);
            self.release(temporary);
            return Ok(());
        }
        self.op2_as(ty, Op2::Mul, d, Src::Reg(a))?;
        self.op2_as(ty, Op2::Add, d, c)
    }

    pub(super) fn splat_64(&mut self, bits: u64) -> R<V> {
        if bits == 0 {
            return self.splat(0.0);
        }
        let v = self.vector()?;
        let r = self.reg(&v);
        if self.encoding == Encoding::Legacy {
            let constant = self.wide_operand(bits);
            self.two(&super::codes::MOVE, r, &constant);
        } else {
            let index = self.constant(&bits.to_le_bytes());
            self.two(&BROADCAST_64, r, &Place::Pool(index, false));
        }
        Ok(v)
    }
}
