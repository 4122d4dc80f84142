//! The operations of the builder in Cranelift's instructions.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I16, I32, I32X4, I64, I64X2};
use cranelift_frontend::Variable;

use super::{Clif, LANES, ROUNDING_MAGIC};
use crate::simd::{
    Across, Apart, Block, Lane, Narrow, Op1, Op2, Overflow, P, Parked, R, Refusal, Simd, Src, V,
};

impl Simd for Clif<'_, '_> {
    fn lanes(&self) -> usize {
        LANES
    }

    fn arg(&mut self, i: usize) -> R<P> {
        Ok(self.pointer(self.args[i]))
    }

    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P> {
        let value = self.load_type(I64, base, disp);
        Ok(self.pointer(value))
    }

    fn copy_ptr(&mut self, p: &P) -> R<P> {
        let value = self.address(p);
        Ok(self.pointer(value))
    }

    fn advance(&mut self, p: &P, bytes: i64) {
        if bytes != 0 {
            let value = self.address(p);
            let value = self.b.ins().iadd_imm_s(value, bytes);
            self.b.def_var(Variable::from_u32(p.0), value);
        }
    }

    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R {
        let (value, count) = (self.address(p), self.address(count));
        let bytes = self.b.ins().imul_imm_s(count, scale);
        let value = self.b.ins().iadd(value, bytes);
        self.b.def_var(Variable::from_u32(p.0), value);
        Ok(())
    }

    fn difference(&mut self, a: &P, b: &P) -> R<P> {
        let (a, b) = (self.address(a), self.address(b));
        let value = self.b.ins().isub(a, b);
        Ok(self.pointer(value))
    }

    fn at_most(&mut self, p: &P, limit: i64) -> R {
        let value = self.address(p);
        let limit = self.b.ins().iconst(I64, limit);
        let value = self.b.ins().smin(value, limit);
        self.b.def_var(Variable::from_u32(p.0), value);
        Ok(())
    }

    fn at_most_of(&mut self, p: &P, most: &P) -> R {
        let (value, most) = (self.address(p), self.address(most));
        let value = self.b.ins().smin(value, most);
        self.b.def_var(Variable::from_u32(p.0), value);
        Ok(())
    }

    fn at_least(&mut self, p: &P, limit: i64) -> R {
        let value = self.address(p);
        let limit = self.b.ins().iconst(I64, limit);
        let value = self.b.ins().smax(value, limit);
        self.b.def_var(Variable::from_u32(p.0), value);
        Ok(())
    }

    fn load_index(&mut self, base: &P, disp: i32, wide: bool) -> R<P> {
        let value = self.load_type(if wide { I64 } else { I32 }, base, disp);
        let value = if wide { value } else { self.b.ins().sextend(I64, value) };
        Ok(self.pointer(value))
    }

    fn load_byte(&mut self, base: &P, disp: i32) -> R<P> {
        let value = self.load_type(I8, base, disp);
        let value = self.b.ins().uextend(I64, value);
        Ok(self.pointer(value))
    }

    fn load_short(&mut self, base: &P, disp: i32) -> R<P> {
        let value = self.load_type(I16, base, disp);
        let value = self.b.ins().uextend(I64, value);
        Ok(self.pointer(value))
    }

    fn shift_down(&mut self, p: &P, bits: u8) {
        let value = self.address(p);
        let bits = self.b.ins().iconst(I64, i64::from(bits));
        let value = self.b.ins().ushr(value, bits);
        self.b.def_var(Variable::from_u32(p.0), value);
    }

    fn wrap(&mut self, p: &P, extent: i64) -> R {
        let value = self.address(p);
        let zero = self.b.ins().iconst(I64, 0);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, value, zero);
        let wrapped = self.b.ins().iadd_imm_s(value, extent);
        let value = self.b.ins().select(negative, wrapped, value);
        self.b.def_var(Variable::from_u32(p.0), value);
        Ok(())
    }

    fn store_word(&mut self, base: &P, disp: i32, word: i32) {
        let word = self.b.ins().iconst(I64, i64::from(word));
        self.store_value(word, base, disp);
    }

    fn free_ptr(&mut self, p: P) {
        self.free_pointers.push(Variable::from_u32(p.0));
    }

    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        match count {
            0 => Ok(()),
            1 => body(self),
            _ => {
                let count = self.b.ins().iconst(I64, i64::from(count));
                self.trips(count, body)
            }
        }
    }

    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let value = self.address(&count);
        let (some, done) = (self.b.create_block(), self.b.create_block());
        let zero = self.b.ins().iconst(I64, 0);
        let positive = self.b.ins().icmp(IntCC::SignedGreaterThan, value, zero);
        self.b.ins().brif(positive, some, &[], done, &[]);
        self.b.switch_to_block(some);
        self.b.seal_block(some);
        self.trips(value, body)?;
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        self.free_ptr(count);
        Ok(())
    }

    fn when_any(&mut self, mask: &V, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let mask = self.get(mask);
        let mask = self.cast(I32X4, mask);
        let any = self.b.ins().vhigh_bits(I32, mask);
        let (some, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(any, some, &[], done, &[]);
        self.b.switch_to_block(some);
        self.b.seal_block(some);
        body(self)?;
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        Ok(())
    }

    fn either(&mut self, mask: V, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        let value = self.get(&mask);
        let value = self.cast(I32X4, value);
        self.free(mask);
        let any = self.b.ins().vhigh_bits(I32, value);
        let blocks = [(); 3].map(|()| self.b.create_block());
        self.b.ins().brif(any, blocks[0], &[], blocks[1], &[]);
        self.b.set_cold_block(blocks[0]);
        self.enter(blocks[1]);
        none(self)?;
        self.b.ins().jump(blocks[2], &[]);
        self.enter(blocks[0]);
        some(self)?;
        self.b.ins().jump(blocks[2], &[]);
        self.enter(blocks[2]);
        Ok(())
    }

    fn when_below(&mut self, p: &P, limit: i64, inside: Block<'_, Self>, outside: Block<'_, Self>) -> R {
        let value = self.address(p);
        let blocks = [(); 3].map(|()| self.b.create_block());
        let limit = self.b.ins().iconst(I64, limit);
        // Negative numbers are large unsigned ones.
        let below = self.b.ins().icmp(IntCC::UnsignedLessThan, value, limit);
        self.b.ins().brif(below, blocks[0], &[], blocks[1], &[]);
        self.b.set_cold_block(blocks[1]);
        self.enter(blocks[0]);
        inside(self)?;
        self.b.ins().jump(blocks[2], &[]);
        self.enter(blocks[1]);
        outside(self)?;
        self.b.ins().jump(blocks[2], &[]);
        self.enter(blocks[2]);
        Ok(())
    }

    fn splat(&mut self, value: f32) -> R<V> {
        let value = self.splat_f32(value);
        Ok(self.vector(value))
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let value = match n {
            1 => {
                let element = self.load_type(F32, p, disp);
                self.b.ins().scalar_to_vector(F32X4, element)
            }
            2 | 3 => {
                let pair = self.load_type(F64, p, disp);
                let pair = self.b.ins().scalar_to_vector(F64X2, pair);
                let pair = self.cast(F32X4, pair);
                if n == 3 {
                    let third = self.load_type(F32, p, disp + 8);
                    self.b.ins().insertlane(pair, third, 2)
                } else {
                    pair
                }
            }
            _ => self.load_type(F32X4, p, disp),
        };
        Ok(self.vector(value))
    }

    fn load_strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        self.strided(p, disp, stride, n)
    }

    fn load_indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        self.indexed(p, disp, indices, at, short, n)
    }

    // Cranelift has no such instruction.
    fn prefetch(&mut self, _: &P, _: i32) {}

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        let value = self.source(Src::Splat(p, disp));
        Ok(self.vector(value))
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let value = self.get(v);
        Ok(self.vector(value))
    }

    fn swap_halves(&mut self, d: &V) -> R {
        let value = self.get(d);
        let value = self.shuffle(value, value, [2, 3, 0, 1]);
        self.set(d, value);
        Ok(())
    }

    fn assign(&mut self, d: &V, s: &V) {
        let value = self.get(s);
        self.set(d, value);
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let value = self.get(v);
        match n {
            1 => {
                let element = self.b.ins().extractlane(value, 0);
                self.store_value(element, p, disp);
            }
            2 | 3 => {
                let pairs = self.cast(F64X2, value);
                let pair = self.b.ins().extractlane(pairs, 0);
                self.store_value(pair, p, disp);
                if n == 3 {
                    let third = self.b.ins().extractlane(value, 2);
                    self.store_value(third, p, disp + 8);
                }
            }
            _ => self.store_value(value, p, disp),
        }
        Ok(())
    }

    fn free(&mut self, v: V) {
        self.free_vectors.push(Variable::from_u32(v.0));
    }

    fn spare(&self) -> usize {
        usize::MAX
    }

    fn park(&mut self, v: V) -> R<Parked> {
        Ok(Parked(v.0))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        Ok(V(parked.0))
    }

    fn peek(&mut self, parked: &Parked) -> R<V> {
        self.copy(&V(parked.0))
    }

    fn forget(&mut self, _parked: Parked) {}

    fn op1(&mut self, op: Op1, d: &V) -> R {
        let x = self.get(d);
        let value = match op {
            Op1::Sqrt => self.b.ins().sqrt(x),
            Op1::Abs => {
                let sign_bit = self.splat_bits(0x8000_0000);
                self.b.ins().band_not(x, sign_bit)
            }
            Op1::Neg => {
                let sign_bit = self.splat_bits(0x8000_0000);
                self.b.ins().bxor(x, sign_bit)
            }
            Op1::Floor if self.rounds => self.b.ins().floor(x),
            Op1::Ceil if self.rounds => self.b.ins().ceil(x),
            Op1::Round if self.rounds => self.b.ins().nearest(x),
            Op1::Floor | Op1::Ceil | Op1::Round => self.round_by_magic(op, x),
            Op1::ToInt => {
                let magic = self.splat_f32(ROUNDING_MAGIC);
                let shifted = self.b.ins().fadd(x, magic);
                let (shifted, magic) = (self.cast(I32X4, shifted), self.cast(I32X4, magic));
                let int = self.b.ins().isub(shifted, magic);
                self.cast(F32X4, int)
            }
            Op1::ToFloat => {
                let int = self.cast(I32X4, x);
                self.b.ins().fcvt_from_sint(F32X4, int)
            }
            Op1::Shl(_) | Op1::Shr(_) | Op1::Sar(_) => return self.typed_op1(Lane::U32, op, d),
        };
        self.set(d, value);
        Ok(())
    }

    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R {
        if let Op2::Shl | Op2::Shr = op {
            return self.typed_op2(Lane::U32, op, d, s);
        }
        let x = self.get(d);
        let s = match op {
            Op2::Lt | Op2::Le | Op2::Eq => self.compared(s),
            _ => self.source(s),
        };
        let value = match op {
            Op2::Add => self.b.ins().fadd(x, s),
            Op2::Sub => self.b.ins().fsub(x, s),
            Op2::Mul => self.b.ins().fmul(x, s),
            Op2::Div => self.b.ins().fdiv(x, s),
            Op2::Min => self.extreme(false, x, s),
            Op2::Max => self.extreme(true, x, s),
            Op2::MinNan => self.extreme_nan(false, x, s),
            Op2::MaxNan => self.extreme_nan(true, x, s),
            Op2::And => self.b.ins().band(x, s),
            Op2::Or => self.b.ins().bor(x, s),
            Op2::Xor => self.b.ins().bxor(x, s),
            Op2::AndNot => self.b.ins().band_not(s, x),
            Op2::Lt => self.compare(FloatCC::LessThan, x, s),
            Op2::Le => self.compare(FloatCC::LessThanOrEqual, x, s),
            Op2::Eq => self.compare(FloatCC::Equal, x, s),
            Op2::IntAdd | Op2::IntSub => {
                let (a, b) = (self.cast(I32X4, x), self.cast(I32X4, s));
                let value = match op {
                    Op2::IntAdd => self.b.ins().iadd(a, b),
                    _ => self.b.ins().isub(a, b),
                };
                self.cast(F32X4, value)
            }
            Op2::Shl | Op2::Shr => unreachable!("handled above"),
        };
        self.set(d, value);
        Ok(())
    }

    fn fuses(&self) -> bool {
        self.fma
    }

    fn raise(&mut self, d: &V, s: Src<'_>) -> R {
        let (x, y) = (self.get(d), self.source(s));
        let above = self.compare(FloatCC::GreaterThan, x, y);
        let value = self.select(above, x, y);
        self.set(d, value);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (acc, a, b) = (self.get(d), self.get(a), self.source(b));
        let value = self.multiply_add(a, b, acc);
        self.set(d, value);
        Ok(())
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        let (x, a, c) = (self.get(d), self.get(a), self.source(c));
        let value = self.multiply_add(x, a, c);
        self.set(d, value);
        Ok(())
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (acc, b, a) = (self.get(d), self.get(b), self.get(a));
        let splat = self.shuffle(a, a, [lane as u8; LANES]);
        let value = self.multiply_add(b, splat, acc);
        self.set(d, value);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        let (x, mask, s) = (self.get(d), self.get(mask), self.source(s));
        let value = self.select(mask, x, s);
        self.set(d, value);
        Ok(())
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n < LANES {
            let mask = self.constant(std::array::from_fn(|lane| if lane < n { u32::MAX } else { 0 }));
            let (x, other) = (self.get(d), self.splat_f32(value));
            let value = self.select(mask, x, other);
            self.set(d, value);
        }
        Ok(())
    }

    fn across_as(&mut self, ty: Lane, op: Across, d: &V) -> R {
        self.typed_across(ty, op, d)
    }

    fn load_quarter(&mut self, _d: &V, _quarter: usize, _p: &P, _disp: i32, _n: usize) -> R {
        Err(Refusal::unsupported("a second quarter of 128 bits"))
    }

    fn interleave(&mut self, bits: u8, upper: bool, d: &V, s: &V) -> R {
        let (a, b) = (self.get(d), self.get(s));
        let size = bits / 8;
        let start = if upper { 8 } else { 0 };
        // Bytes of the second operand count from 16.
        let bytes = (0..16).map(|i| {
            let (element, byte) = (i / size, i % size);
            16 * (element % 2) + start + element / 2 * size + byte
        });
        let value = self.shuffle_bytes(a, b, bytes.collect());
        self.set(d, value);
        Ok(())
    }

    fn op1_as(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        self.typed_op1(ty, op, d)
    }

    fn op2_as(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        self.typed_op2(ty, op, d, s)
    }

    fn fma_as(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        self.typed_fma(ty, d, a, b)
    }

    fn mul_add_as(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        self.typed_mul_add(ty, d, a, c)
    }

    fn first(&mut self, n: usize) -> R<V> {
        let value = self.constant(std::array::from_fn(|lane| if lane < n { u32::MAX } else { 0 }));
        Ok(self.vector(value))
    }

    fn splat_wide(&mut self, bits: u64) -> R<V> {
        let value = self.wide_bits(bits);
        Ok(self.vector(value))
    }

    fn ramp(&mut self, wide: bool) -> R<V> {
        let value = self.constant(if wide { [0, 0, 1, 0] } else { [0, 1, 2, 3] });
        Ok(self.vector(value))
    }

    fn splat_index(&mut self, p: &P, disp: i32) -> R<V> {
        let value = self.address(p);
        let value = self.b.ins().iadd_imm_s(value, i64::from(disp));
        let value = self.b.ins().splat(I64X2, value);
        let value = self.cast(F32X4, value);
        Ok(self.vector(value))
    }

    fn load_splat_wide(&mut self, p: &P, disp: i32) -> R<V> {
        Ok(self.load_splat_64(p, disp))
    }

    fn convert_directly(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        self.direct_conversion(from, to, d)
    }

    fn madd_words(&mut self, d: &V, s: Src<'_>) -> R {
        self.multiply_words(d, s);
        Ok(())
    }

    fn look_up_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        if !self.shuffles_bytes {
            return Err(Refusal::unsupported("tables of bytes without SSSE3"));
        }
        self.entries_of_part(d, p, disp);
        Ok(())
    }

    fn load_words(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        Ok(self.extended_bytes(p, disp, signed))
    }

    fn add_words(&mut self, d: &V, s: &V, minus: bool) -> R {
        self.sum_of_words(d, s, minus);
        Ok(())
    }

    fn max_bytes(&mut self, d: &V, s: &V) -> R {
        self.greater_bytes(d, s);
        Ok(())
    }

    fn shift_words(&mut self, d: &V, by: u8) -> R {
        self.shifted_words(d, by);
        Ok(())
    }

    fn load_narrow(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        Ok(self.load_short(e, p, disp, n))
    }

    fn load_apart(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_elements(apart, p, disp, n)
    }

    fn load_dense(&mut self, apart: Apart, p: &P, disp: i32) -> R<Option<V>> {
        self.load_side_by_side(apart, p, disp).map(Some)
    }

    fn load_splat_narrow(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        Ok(self.load_short_splat(e, p, disp))
    }

    fn store_narrow(&mut self, e: Narrow, overflow: Overflow, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_short(e, overflow, p, disp, v, n)
    }
}
