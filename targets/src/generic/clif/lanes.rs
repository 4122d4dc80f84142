//! Operations on lanes of every type, and conversions between numbers, in Cranelift's instructions.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, F64, F64X2, I8X16, I16X8, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::Clif;
use crate::simd::sequences::{self, sign_bit};
use crate::simd::{Across, Lane, Op1, Op2, P, R, Refusal, Simd, Src, V};

fn clif_type(ty: Lane) -> Type {
    match ty {
        Lane::F32 => F32X4,
        Lane::F64 => F64X2,
        Lane::I32 | Lane::U32 => I32X4,
        Lane::I64 | Lane::U64 => I64X2,
    }
}

fn no_meaning(op: impl std::fmt::Debug, ty: Lane) -> Refusal {
    Refusal::unsupported(format!("{op:?} of {ty:?} has no meaning"))
}

impl Clif<'_, '_> {
    /// The same 64 bits twice.
    pub(super) fn wide_bits(&mut self, bits: u64) -> Value {
        let (low, high) = (bits as u32, (bits >> 32) as u32);
        self.constant([low, high, low, high])
    }

    fn get_as(&mut self, ty: Lane, v: &V) -> Value {
        let value = self.get(v);
        self.cast(clif_type(ty), value)
    }

    /// The operand as lanes of a type.
    fn source_as(&mut self, ty: Lane, s: Src<'_>) -> Value {
        let value = match s {
            // Loaded as integers: see [`Clif::compared`].
            Src::Mem(p, disp) => self.load_type(I64X2, p, disp),
            s => self.source(s),
        };
        if self.b.func.dfg.value_type(value) == clif_type(ty) {
            value
        } else {
            self.cast(clif_type(ty), value)
        }
    }

    fn set_as(&mut self, v: &V, value: Value) {
        let value = self.cast(F32X4, value);
        self.set(v, value);
    }

    pub(super) fn typed_op1(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        let x = self.get_as(ty, d);
        let value = match (ty, op) {
            (_, Op1::Shl(n) | Op1::Shr(n) | Op1::Sar(n)) => {
                let x = self.get_as(ty.signed(), d);
                match op {
                    Op1::Shl(_) => self.b.ins().ishl_imm_u(x, i64::from(n)),
                    Op1::Shr(_) => self.b.ins().ushr_imm_u(x, i64::from(n)),
                    _ if ty.is_wide() => return sequences::arithmetic_shift(self, ty, d, n),
                    _ => self.b.ins().sshr_imm_u(x, i64::from(n)),
                }
            }
            (Lane::F32, _) => return self.op1(op, d),
            (Lane::F64, Op1::Sqrt) => self.b.ins().sqrt(x),
            (Lane::F64, Op1::Abs) => return self.op2(Op2::And, d, Src::Wide(!sign_bit(ty))),
            (Lane::F64, Op1::Neg) => return self.op2(Op2::Xor, d, Src::Wide(sign_bit(ty))),
            (Lane::F64, Op1::Floor | Op1::Ceil | Op1::Round) if !self.rounds => {
                return sequences::round_f64(self, op, d);
            }
            (Lane::F64, Op1::Floor) => self.b.ins().floor(x),
            (Lane::F64, Op1::Ceil) => self.b.ins().ceil(x),
            (Lane::F64, Op1::Round) => self.b.ins().nearest(x),
            (Lane::U32 | Lane::U64, Op1::Abs) => x,
            (Lane::I32 | Lane::I64, Op1::Abs) => return sequences::int_abs(self, ty, d),
            (Lane::I32 | Lane::U32 | Lane::I64 | Lane::U64, Op1::Neg) => self.b.ins().ineg(x),
            _ => return Err(no_meaning(op, ty)),
        };
        self.set_as(d, value);
        Ok(())
    }

    pub(super) fn typed_op2(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        match (ty, op) {
            (_, Op2::And | Op2::Or | Op2::Xor | Op2::AndNot | Op2::IntAdd | Op2::IntSub) => {
                return self.op2(op, d, s);
            }
            (_, Op2::Shl | Op2::Shr) => {
                let counts = self.source(s);
                let counts = self.cast(F32X4, counts);
                let counts = self.vector(counts);
                let ty = if ty.is_wide() { Lane::U64 } else { Lane::U32 };
                sequences::shift_by_lanes(self, ty, op == Op2::Shl, d, &counts)?;
                self.free(counts);
                return Ok(());
            }
            (Lane::F32, _) => return self.op2(op, d, s),
            _ => {}
        }
        let (x, y) = (self.get_as(ty, d), self.source_as(ty, s));
        let value = if ty == Lane::F64 { self.float_op2(op, x, y)? } else { self.int_op2(ty, op, x, y)? };
        self.set_as(d, value);
        Ok(())
    }

    fn float_op2(&mut self, op: Op2, x: Value, y: Value) -> R<Value> {
        Ok(match op {
            Op2::Add => self.b.ins().fadd(x, y),
            Op2::Sub => self.b.ins().fsub(x, y),
            Op2::Mul => self.b.ins().fmul(x, y),
            Op2::Div => self.b.ins().fdiv(x, y),
            Op2::Lt => self.b.ins().fcmp(FloatCC::LessThan, x, y),
            Op2::Le => self.b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
            Op2::Eq => self.b.ins().fcmp(FloatCC::Equal, x, y),
            Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan => {
                let max = matches!(op, Op2::Max | Op2::MaxNan);
                if !self.extremes_choose {
                    return Ok(if max { self.b.ins().fmax(x, y) } else { self.b.ins().fmin(x, y) });
                }
                // `s < d ? s : d` and `d < s ? s : d`, as for f32.
                let (a, b) = if max { (x, y) } else { (y, x) };
                let less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
                let plain = self.choose(less, y, x);
                if let Op2::Min | Op2::Max = op {
                    return Ok(plain);
                }
                let unordered = self.b.ins().fcmp(FloatCC::Unordered, y, y);
                self.choose(unordered, y, plain)
            }
            _ => return Err(no_meaning(op, Lane::F64)),
        })
    }

    /// `if mask { a } else { b }` for f64 and a mask as comparisons give it.
    fn choose(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let mask = self.cast(F64X2, mask);
        self.b.ins().bitselect(mask, a, b)
    }

    fn int_op2(&mut self, ty: Lane, op: Op2, x: Value, y: Value) -> R<Value> {
        let signed = ty.is_signed();
        let cc = |signed_one, unsigned_one| if signed { signed_one } else { unsigned_one };
        let less = cc(IntCC::SignedLessThan, IntCC::UnsignedLessThan);
        Ok(match op {
            Op2::Add => self.b.ins().iadd(x, y),
            Op2::Sub => self.b.ins().isub(x, y),
            Op2::Mul => self.b.ins().imul(x, y),
            Op2::Eq => self.b.ins().icmp(IntCC::Equal, x, y),
            // Cranelift 0.135 has no patterns for unsigned orders of 64 bits on x86-64.
            Op2::Lt if ty == Lane::U64 => self.less_u64(x, y),
            Op2::Le if ty == Lane::U64 => {
                let greater = self.less_u64(y, x);
                self.b.ins().bnot(greater)
            }
            Op2::Lt => self.b.ins().icmp(less, x, y),
            Op2::Le => {
                let greater = self.b.ins().icmp(less, y, x);
                self.b.ins().bnot(greater)
            }
            Op2::Min | Op2::MinNan | Op2::Max | Op2::MaxNan => {
                let max = matches!(op, Op2::Max | Op2::MaxNan);
                let (a, b) = if max { (y, x) } else { (x, y) };
                let first = if ty == Lane::U64 { self.less_u64(a, b) } else { self.b.ins().icmp(less, a, b) };
                self.b.ins().bitselect(first, x, y)
            }
            _ => return Err(no_meaning(op, ty)),
        })
    }

    fn less_u64(&mut self, x: Value, y: Value) -> Value {
        let sign = self.wide_bits(sign_bit(Lane::U64));
        let sign = self.cast(I64X2, sign);
        let (x, y) = (self.b.ins().bxor(x, sign), self.b.ins().bxor(y, sign));
        self.b.ins().icmp(IntCC::SignedLessThan, x, y)
    }

    pub(super) fn typed_fma(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        if ty == Lane::F32 {
            return self.fma(d, a, b);
        }
        let (acc, a, b) = (self.get_as(ty, d), self.get_as(ty, a), self.source_as(ty, b));
        let value = match ty {
            Lane::F64 => self.multiply_add(a, b, acc),
            _ => {
                let product = self.b.ins().imul(a, b);
                self.b.ins().iadd(acc, product)
            }
        };
        self.set_as(d, value);
        Ok(())
    }

    pub(super) fn typed_mul_add(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        let (x, a, c) = (self.get_as(ty, d), self.get_as(ty, a), self.source_as(ty, c));
        let value = self.multiply_add(x, a, c);
        self.set_as(d, value);
        Ok(())
    }

    pub(super) fn typed_across(&mut self, ty: Lane, op: Across, d: &V) -> R {
        let turns: &[[u8; 4]] = if ty.is_wide() { &[[2, 3, 0, 1]] } else { &[[2, 3, 0, 1], [1, 0, 3, 2]] };
        for lanes in turns {
            let x = self.get(d);
            let turned = self.shuffle(x, x, *lanes);
            let turned = self.vector(turned);
            self.op2_as(ty, op.op2(), d, Src::Reg(&turned))?;
            self.free(turned);
        }
        Ok(())
    }

    pub(super) fn direct_conversion(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        use Lane::{F32, F64, I32, I64, U32, U64};
        let x = self.get_as(from, d);
        let value = match (from, to) {
            (I32, I64) => self.b.ins().swiden_low(x),
            (U32, U64) => self.b.ins().uwiden_low(x),
            (I64, I32) => {
                let x = self.cast(F32X4, x);
                self.shuffle(x, x, [0, 2, 0, 2])
            }
            (F32, F64) => self.b.ins().fvpromote_low(x),
            (F64, F32) => self.b.ins().fvdemote(x),
            (I32, F32) => self.b.ins().fcvt_from_sint(F32X4, x),
            (I32, F64) => {
                let x = self.b.ins().swiden_low(x);
                self.b.ins().fcvt_from_sint(F64X2, x)
            }
            (F32, I32) => self.b.ins().fcvt_to_sint_sat(I32X4, x),
            _ => return Ok(false),
        };
        self.set_as(d, value);
        Ok(true)
    }

    pub(super) fn multiply_words(&mut self, d: &V, s: Src<'_>) {
        let (x, y) = (self.get(d), self.source_as(Lane::I32, s));
        let (x, y) = (self.cast(I16X8, x), self.cast(I16X8, y));
        let low = (self.b.ins().swiden_low(x), self.b.ins().swiden_low(y));
        let high = (self.b.ins().swiden_high(x), self.b.ins().swiden_high(y));
        let (low, high) = (self.b.ins().imul(low.0, low.1), self.b.ins().imul(high.0, high.1));
        let sums = self.b.ins().iadd_pairwise(low, high);
        self.set_as(d, sums);
    }

    pub(super) fn entries_of_part(&mut self, d: &V, p: &P, disp: i32) {
        let table = self.load_type(I8X16, p, disp);
        let place = self.get(d);
        let place = self.cast(I8X16, place);
        let entries = self.b.ins().swizzle(table, place);
        self.set_as(d, entries);
    }

    pub(super) fn sum_of_words(&mut self, d: &V, s: &V, minus: bool) {
        let (x, y) = (self.get(d), self.get(s));
        let (x, y) = (self.cast(I16X8, x), self.cast(I16X8, y));
        let sum = if minus { self.b.ins().isub(x, y) } else { self.b.ins().iadd(x, y) };
        self.set_as(d, sum);
    }

    pub(super) fn greater_bytes(&mut self, d: &V, s: &V) {
        let (x, y) = (self.get(d), self.get(s));
        let (x, y) = (self.cast(I8X16, x), self.cast(I8X16, y));
        let greater = self.b.ins().umax(x, y);
        self.set_as(d, greater);
    }

    pub(super) fn shifted_words(&mut self, d: &V, by: u8) {
        let x = self.get(d);
        let x = self.cast(I16X8, x);
        let shifted = self.b.ins().ishl_imm_u(x, i64::from(by));
        self.set_as(d, shifted);
    }

    pub(super) fn extended_bytes(&mut self, p: &P, disp: i32, signed: bool) -> V {
        let bytes = self.load_type(I64, p, disp);
        let bytes = self.b.ins().scalar_to_vector(I64X2, bytes);
        let bytes = self.cast(I8X16, bytes);
        let words = if signed { self.b.ins().swiden_low(bytes) } else { self.b.ins().uwiden_low(bytes) };
        let value = self.cast(F32X4, words);
        self.vector(value)
    }

    pub(super) fn load_splat_64(&mut self, p: &P, disp: i32) -> V {
        let element = self.load_type(F64, p, disp);
        let value = self.b.ins().splat(F64X2, element);
        let value = self.cast(F32X4, value);
        self.vector(value)
    }

    /// Up to 8 bytes of memory in the low half of a vector, the rest 0.
    pub(super) fn low_bytes(&mut self, value: Value) -> Value {
        debug_assert_eq!(self.b.func.dfg.value_type(value), I64);
        self.b.ins().scalar_to_vector(I64X2, value)
    }
}
