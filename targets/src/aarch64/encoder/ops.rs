//! The operations of the builder in instructions.

use super::address::{ASK, LOAD_I32, LOAD_LONG, LOAD_U8, LOAD_U16, STORE_LONG};
use super::parts::{first_lanes, longs, words};
use super::{Encoder, LANES, NUMBER, RESERVE, STACK, ZERO};
use crate::aarch64::isa::*;
use crate::simd::{
    Across, Apart, Block, Lane, Narrow, Op1, Op2, Overflow, P, Parked, R, Refusal, Simd, Src, V,
};

/// Conditions of a choice.
const LESS_OR_EQUAL: i64 = 13;
const GREATER_OR_EQUAL: i64 = 10;
const LESS: i64 = 11;

impl Simd for Encoder {
    fn lanes(&self) -> usize {
        LANES
    }

    fn arg(&mut self, i: usize) -> R<P> {
        let p = self.pointer()?;
        self.put(LDR_X, &[p.0.into(), STACK.into(), 8 * i as i64]);
        Ok(p)
    }

    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.transfer(LOAD_LONG, p.0, base, disp);
        Ok(p)
    }

    fn copy_ptr(&mut self, p: &P) -> R<P> {
        let copy = self.pointer()?;
        self.put(ORR, &[copy.0.into(), ZERO.into(), p.0.into(), 0]);
        Ok(copy)
    }

    fn advance(&mut self, p: &P, bytes: i64) {
        self.add_number(p.0, p.0, bytes);
        self.changed(p.0);
    }

    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R {
        let (r, c) = (i64::from(p.0), i64::from(count.0));
        if scale > 0 && scale.count_ones() == 1 {
            self.put(ADD, &[r, r, c, scale.trailing_zeros().into()]);
        } else {
            self.number(NUMBER, scale);
            self.put(MADD, &[r, c, NUMBER.into(), r]);
        }
        self.changed(p.0);
        Ok(())
    }

    fn difference(&mut self, a: &P, b: &P) -> R<P> {
        let p = self.pointer()?;
        self.put(SUB, &[p.0.into(), a.0.into(), b.0.into(), 0]);
        Ok(p)
    }

    fn at_most(&mut self, p: &P, limit: i64) -> R {
        self.number(NUMBER, limit);
        self.limit(p, NUMBER, LESS_OR_EQUAL);
        Ok(())
    }

    fn at_least(&mut self, p: &P, limit: i64) -> R {
        self.number(NUMBER, limit);
        self.limit(p, NUMBER, GREATER_OR_EQUAL);
        Ok(())
    }

    fn at_most_of(&mut self, p: &P, most: &P) -> R {
        self.limit(p, most.0, LESS_OR_EQUAL);
        Ok(())
    }

    fn load_index(&mut self, base: &P, disp: i32, wide: bool) -> R<P> {
        let p = self.pointer()?;
        self.transfer(if wide { LOAD_LONG } else { LOAD_I32 }, p.0, base, disp);
        Ok(p)
    }

    fn load_byte(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.transfer(LOAD_U8, p.0, base, disp);
        Ok(p)
    }

    fn load_short(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.transfer(LOAD_U16, p.0, base, disp);
        Ok(p)
    }

    fn shift_down(&mut self, p: &P, bits: u8) {
        if bits > 0 {
            self.put(UBFM, &[p.0.into(), p.0.into(), bits.into(), 63]);
            self.changed(p.0);
        }
    }

    fn wrap(&mut self, p: &P, extent: i64) -> R {
        self.add_number(NUMBER, p.0, extent);
        self.put(SUBS_IMM, &[ZERO.into(), p.0.into(), 0]);
        self.put(CSEL, &[p.0.into(), NUMBER.into(), p.0.into(), LESS]);
        self.changed(p.0);
        Ok(())
    }

    fn store_word(&mut self, base: &P, disp: i32, word: i32) {
        let register = if word == 0 { ZERO } else { NUMBER };
        if word != 0 {
            self.number(NUMBER, word.into());
        }
        self.transfer(STORE_LONG, register, base, disp);
    }

    fn free_ptr(&mut self, p: P) {
        self.general |= 1 << p.0;
    }

    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        match count {
            0 => Ok(()),
            1 => body(self),
            _ => match self.pointer() {
                Ok(counter) => {
                    self.number(counter.0, count.into());
                    self.counted(counter, body)
                }
                Err(_) => {
                    self.number(NUMBER, count.into());
                    self.counted_in_frame(NUMBER, body)
                }
            },
        }
    }

    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        self.put(SUBS_IMM, &[ZERO.into(), count.0.into(), 0]);
        let none = self.jump_ahead(B_LE, 0);
        // What others need of registers this loop would hold on to.
        if self.general.count_ones() > FEW {
            self.counted(count, body)?;
        } else {
            self.general |= 1 << count.0;
            self.counted_in_frame(count.0, body)?;
        }
        self.land(&none);
        Ok(())
    }

    fn when_any(&mut self, mask: &V, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let any = self.any(mask);
        let none = self.jump_ahead(CBZ, any);
        body(self)?;
        self.land(&none);
        Ok(())
    }

    fn either(&mut self, mask: V, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        let any = self.any(&mask);
        self.free(mask);
        let found = self.jump_ahead(CBNZ, any);
        none(self)?;
        let done = self.jump_ahead(B, 0);
        self.land(&found);
        some(self)?;
        self.land(&done);
        Ok(())
    }

    fn when_below(&mut self, p: &P, limit: i64, inside: Block<'_, Self>, outside: Block<'_, Self>) -> R {
        self.compare(p.0, limit);
        // Negative numbers are large unsigned ones.
        let beyond = self.jump_ahead(B_HS, 0);
        inside(self)?;
        let done = self.jump_ahead(B, 0);
        self.land(&beyond);
        outside(self)?;
        self.land(&done);
        Ok(())
    }

    fn prepare_constant(&mut self, bits: u32) -> R {
        let v = self.constant(words(bits))?;
        self.kept.push((bits, v));
        Ok(())
    }

    fn drop_constant(&mut self, bits: u32) {
        if let Some(i) = self.kept.iter().position(|(known, _)| *known == bits) {
            let (_, v) = self.kept.swap_remove(i);
            self.free(v);
        }
    }

    fn keeps(&self, bits: u32) -> bool {
        self.kept.iter().any(|(known, _)| *known == bits)
    }

    fn splat(&mut self, value: f32) -> R<V> {
        self.constant(words(value.to_bits()))
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_lanes(p, disp, n)
    }

    fn load_strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        self.strided(p, disp, stride, n)
    }

    fn load_indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        self.indexed(p, disp, indices, at, short, n)
    }

    fn load_quarter(&mut self, _d: &V, _quarter: usize, _p: &P, _disp: i32, _n: usize) -> R {
        Err(Refusal::unsupported("a second quarter of 128 bits"))
    }

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        self.load_first_lane(p, disp)
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let copy = self.vector()?;
        let from = self.reg(v);
        self.move_to(copy.0, from);
        Ok(copy)
    }

    fn swap_halves(&mut self, d: &V) -> R {
        let r = i64::from(self.reg(d));
        self.put(EXT, &[r, r, r, 8]);
        Ok(())
    }

    fn assign(&mut self, d: &V, s: &V) {
        if d.0 != s.0 {
            let from = self.reg(s);
            self.first_lanes &= !(1 << d.0);
            self.move_to(d.0, from);
        }
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_lanes(p, disp, v, n);
        Ok(())
    }

    fn prefetch(&mut self, p: &P, disp: i32) {
        self.transfer(ASK, ZERO, p, disp);
    }

    fn free(&mut self, v: V) {
        self.first_lanes &= !(1 << v.0);
        self.vectors |= 1 << v.0;
    }

    fn spare(&self) -> usize {
        self.vectors.count_ones().saturating_sub(RESERVE) as usize
    }

    fn park(&mut self, v: V) -> R<Parked> {
        let i = self.free_parking.pop().unwrap_or_else(|| {
            self.parking += 1;
            self.parking - 1
        });
        let register = self.reg(&v);
        self.parking_place(true, register, i);
        self.free(v);
        Ok(Parked(i))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        let v = self.peek(&parked)?;
        self.forget(parked);
        Ok(v)
    }

    fn peek(&mut self, parked: &Parked) -> R<V> {
        let v = self.vector()?;
        self.parking_place(false, v.0, parked.0);
        Ok(v)
    }

    fn forget(&mut self, parked: Parked) {
        self.free_parking.push(parked.0);
    }

    fn op1(&mut self, op: Op1, d: &V) -> R {
        self.typed_op1(Lane::F32, op, d)
    }

    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R {
        self.typed_op2(Lane::F32, op, d, s)
    }

    fn raise(&mut self, d: &V, s: Src<'_>) -> R {
        let above = self.vector()?;
        let (s, temporary) = self.operand(s)?;
        let (d, a) = (self.reg(d), above.0);
        self.put(FCMGT_4S, &[a.into(), d.into(), s.into()]);
        self.put(BIF, &[d.into(), s.into(), a.into()]);
        self.release(temporary);
        self.free(above);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        self.multiply_add(d, a, b)
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        self.typed_mul_add(Lane::F32, d, a, c)
    }

    fn fuses(&self) -> bool {
        true
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (d, b, a) = (self.reg(d), self.reg(b), self.reg(a));
        self.put(FMLA_LANE, &[d.into(), b.into(), a.into(), lane as i64]);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        let (s, temporary) = self.operand(s)?;
        let (d, mask) = (self.reg(d), self.reg(mask));
        self.put(BIF, &[d.into(), s.into(), mask.into()]);
        self.release(temporary);
        Ok(())
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n >= LANES {
            return Ok(());
        }
        let (mask, held) = self.constant_operand(first_lanes(n))?;
        let r = self.reg(d);
        if value.to_bits() == 0 {
            self.three(AND_V, r, r, mask);
        } else {
            let (other, temporary) = self.operand(Src::Const(value))?;
            self.put(BIF, &[r.into(), other.into(), mask.into()]);
            self.release(temporary);
        }
        self.release(held);
        Ok(())
    }

    fn across_as(&mut self, ty: Lane, op: Across, d: &V) -> R {
        self.typed_across(ty, op, d)
    }

    fn interleave(&mut self, bits: u8, upper: bool, d: &V, s: &V) -> R {
        let op = match (bits, upper) {
            (8, false) => ZIP1_16B,
            (16, false) => ZIP1_8H,
            (32, false) => ZIP1_4S,
            (_, false) => ZIP1_2D,
            (8, true) => ZIP2_16B,
            (16, true) => ZIP2_8H,
            (32, true) => ZIP2_4S,
            (_, true) => ZIP2_2D,
        };
        let (d, s) = (self.reg(d), self.reg(s));
        self.three(op, d, d, s);
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
        self.constant(first_lanes(n))
    }

    fn splat_wide(&mut self, bits: u64) -> R<V> {
        self.constant(longs(bits))
    }

    fn ramp(&mut self, wide: bool) -> R<V> {
        self.constant(if wide { 1 << 64 } else { 3 << 96 | 2 << 64 | 1 << 32 })
    }

    fn splat_index(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let number = self.address(p, disp);
        self.put(DUP_X, &[v.0.into(), number.into()]);
        Ok(v)
    }

    fn load_splat_wide(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let base = self.address(p, disp);
        self.put(LD1R_2D, &[v.0.into(), base.into()]);
        Ok(v)
    }

    fn convert_directly(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        self.direct_conversion(from, to, d)
    }

    fn has_halves(&self) -> bool {
        true
    }

    fn load_halves(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_f16(p, disp, n)
    }

    fn load_splat_half(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.load_splat_narrow(Narrow { two: true, signed: false }, p, disp)?;
        // Two of 16 bits in each lane, of which the upper one is 0: those of the lower half become lanes of 32 bits.
        self.put(XTN_4H, &[v.0.into(), v.0.into()]);
        self.put(FCVTL_4S, &[v.0.into(), v.0.into()]);
        Ok(v)
    }

    fn store_halves(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_f16(p, disp, v, n);
        Ok(())
    }

    fn round_to_halves(&mut self, d: &V) -> R {
        self.round_f16(d);
        Ok(())
    }

    fn multiplies_halves(&self) -> bool {
        self.long_halves
    }

    fn load_factors(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.low_vector()?;
        self.transfer(super::address::LOAD_16, v.0, p, disp);
        Ok(v)
    }

    fn fma_halves(&mut self, upper: bool, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (d, b, a) = (self.reg(d), self.reg(b), self.reg(a));
        let op = if upper { FMLAL2_LANE } else { FMLAL_LANE };
        self.put(op, &[d.into(), b.into(), a.into(), lane as i64]);
        Ok(())
    }

    fn has_dot4(&self) -> bool {
        self.mixed_dots
    }

    fn dot4(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        self.dot_bytes(d, a, b)
    }

    fn dot4_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (d, b, a) = (self.reg(d), self.reg(b), self.reg(a));
        self.put(SUDOT_LANE, &[d.into(), b.into(), a.into(), lane as i64]);
        Ok(())
    }

    fn has_dot8(&self) -> bool {
        self.blocks_of_dots
    }

    fn dot8(&mut self, d: &V, a: &V, b: &V) -> R {
        self.dot_blocks(d, a, b)
    }

    fn halves_together(&mut self, a: V, b: V) -> R<[V; 2]> {
        self.zip_halves(a, b)
    }

    fn has_signed_dot4(&self) -> bool {
        self.signed_dots
    }

    fn signed_dot4(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (b, temporary) = self.operand(b)?;
        let d = self.reg(d);
        // An element that was loaded into the first lane is multiplied from there.
        if self.is_first_lane(a) {
            self.put(SDOT_LANE, &[d.into(), b.into(), a.0.into(), 0]);
        } else {
            self.three_of_all(SDOT, d, a.0, b);
        }
        self.release(temporary);
        Ok(())
    }

    fn signed_dot4_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let (d, b, a) = (self.reg(d), self.reg(b), self.reg(a));
        self.put(SDOT_LANE, &[d.into(), b.into(), a.into(), lane as i64]);
        Ok(())
    }

    fn madd_words(&mut self, d: &V, s: Src<'_>) -> R {
        self.multiply_words(d, s)
    }

    fn fma_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        self.add_products_of_words(d, a, b)
    }

    fn multiplies_long(&self) -> bool {
        true
    }

    fn fma_long(&mut self, [low, high]: [&V; 2], a: &V, b: &V) -> R {
        let (a, b) = (self.reg(a), self.reg(b));
        let (low, high) = (self.reg(low), self.reg(high));
        self.three_of_all(SMLAL_4S, low, a, b);
        self.three_of_all(SMLAL2_4S, high, a, b);
        Ok(())
    }

    fn fma_pairs(&mut self, d: &[V], b: &[[V; 2]], a: &[V], lane: usize) -> R {
        self.add_pairs_of_bytes(d, b, a, lane)
    }

    fn converts_to_nearest(&self) -> bool {
        true
    }

    fn look_up_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        self.entries_of_part(d, p, disp)
    }

    fn load_words(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        self.extended_bytes(p, disp, signed)
    }

    fn add_words(&mut self, d: &V, s: &V, minus: bool) -> R {
        let (d, s) = (self.reg(d), self.reg(s));
        self.three(if minus { SUB_8H } else { ADD_8H }, d, d, s);
        Ok(())
    }

    fn max_bytes(&mut self, d: &V, s: &V) -> R {
        let (d, s) = (self.reg(d), self.reg(s));
        self.three(UMAX_16B, d, d, s);
        Ok(())
    }

    fn shift_words(&mut self, d: &V, by: u8) -> R {
        let r = i64::from(self.reg(d));
        self.put(SHL_8H, &[r, r, by.into()]);
        Ok(())
    }

    fn load_narrow(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        Encoder::load_short(self, e, p, disp, n)
    }

    fn load_splat_narrow(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        self.load_short_splat(e, p, disp)
    }

    fn load_apart(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_elements(apart, p, disp, n)
    }

    fn load_dense(&mut self, apart: Apart, p: &P, disp: i32) -> R<Option<V>> {
        self.load_side_by_side(apart, p, disp)
    }

    fn store_together(&mut self, p: &P, disp: i32, all: &[V], overflow: Overflow) -> R<bool> {
        match overflow {
            Overflow::Wrap | Overflow::Byte => Ok(false),
            _ => self.store_bytes_together(p, disp, all, overflow == Overflow::Moved),
        }
    }

    fn store_narrow(&mut self, e: Narrow, overflow: Overflow, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_short(e, overflow, p, disp, v, n)
    }
}

/// With so many general registers left over a counter is in the frame instead.
const FEW: u32 = 6;
