//! The operations of the builder in instructions.

use iced_x86::{Code, Instruction};

use super::codes::{
    ADD, AND, AND_NOT, BROADCAST, DIV, Encoding, FMA_213, FMA_231, INT_ADD, INT_SUB, LOAD, MAX, MOVE, MUL,
    OR, PERMUTE, ROUND, SQRT, STORE, SUB, TO_FLOAT, TO_INT, XOR,
};
use super::lane_codes::{BROADCAST_64, UNPACK, UNPACK_I64};
use super::pieces::{CMP_EQ, CMP_LE, CMP_LT, Width};
use super::{Encoder, Place, general, masked, memory, parking, scaled, slot};
use crate::simd::{
    Across, Apart, Block, Lane, Narrow, Op1, Op2, Overflow, P, Parked, R, Refusal, Simd, Src, V,
};

impl Simd for Encoder {
    fn lanes(&self) -> usize {
        match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => 4,
            Encoding::Vex256 => 8,
            Encoding::Evex512 => 16,
        }
    }

    fn arg(&mut self, i: usize) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&p), slot(i)));
        Ok(p)
    }

    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&p), memory(base, disp, false)));
        Ok(p)
    }

    fn copy_ptr(&mut self, p: &P) -> R<P> {
        let copy = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&copy), general(p)));
        Ok(copy)
    }

    fn advance(&mut self, p: &P, bytes: i64) {
        if bytes != 0 {
            self.add_immediate(general(p), bytes);
        }
    }

    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R {
        let scale = i32::try_from(scale).map_err(|_| Refusal::FarDisplacement)?;
        if matches!(scale, 1 | 2 | 4 | 8) {
            let at = scaled(p, 0, count, scale as u32);
            self.emit(Instruction::with2(Code::Lea_r64_m, general(p), at));
            return Ok(());
        }
        let temporary = self.pointer()?;
        let t = general(&temporary);
        self.emit(Instruction::with3(Code::Imul_r64_rm64_imm32, t, general(count), scale));
        self.emit(Instruction::with2(Code::Add_r64_rm64, general(p), t));
        self.free_ptr(temporary);
        Ok(())
    }

    fn difference(&mut self, a: &P, b: &P) -> R<P> {
        let p = self.copy_ptr(a)?;
        self.emit(Instruction::with2(Code::Sub_r64_rm64, general(&p), general(b)));
        Ok(p)
    }

    fn at_most(&mut self, p: &P, limit: i64) -> R {
        self.limit(p, limit, Code::Cmovg_r64_rm64)
    }

    fn at_least(&mut self, p: &P, limit: i64) -> R {
        self.limit(p, limit, Code::Cmovl_r64_rm64)
    }

    fn at_most_of(&mut self, p: &P, most: &P) -> R {
        self.emit(Instruction::with2(Code::Cmp_r64_rm64, general(p), general(most)));
        self.emit(Instruction::with2(Code::Cmovg_r64_rm64, general(p), general(most)));
        Ok(())
    }

    fn load_index(&mut self, base: &P, disp: i32, wide: bool) -> R<P> {
        let p = self.pointer()?;
        let code = if wide { Code::Mov_r64_rm64 } else { Code::Movsxd_r64_rm32 };
        self.emit(Instruction::with2(code, general(&p), memory(base, disp, false)));
        Ok(p)
    }

    fn load_byte(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Movzx_r64_rm8, general(&p), memory(base, disp, false)));
        Ok(p)
    }

    fn load_short(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Movzx_r64_rm16, general(&p), memory(base, disp, false)));
        Ok(p)
    }

    fn shift_down(&mut self, p: &P, bits: u8) {
        self.emit(Instruction::with2(Code::Shr_rm64_imm8, general(p), u32::from(bits)));
    }

    fn wrap(&mut self, p: &P, extent: i64) -> R {
        self.wrap_negative(p, extent)
    }

    fn store_word(&mut self, base: &P, disp: i32, word: i32) {
        self.emit(Instruction::with2(Code::Mov_rm64_imm32, memory(base, disp, false), word));
    }

    fn free_ptr(&mut self, p: P) {
        self.general |= 1 << p.0;
    }

    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        match count {
            0 => return Ok(()),
            1 => return body(self),
            _ => {}
        }
        if let Ok(counter) = self.pointer() {
            let r = general(&counter);
            let count =
                i32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^31 iterations"))?;
            self.emit(Instruction::with2(Code::Mov_rm64_imm32, r, count));
            let head = self.head();
            body(self)?;
            self.emit(Instruction::with2(Code::Sub_rm64_imm8, r, 1));
            self.loop_back(head);
            self.free_ptr(counter);
        } else {
            let slot_index = self.take_slot()?;
            let count =
                i32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^31 iterations"))?;
            self.emit(Instruction::with2(Code::Mov_rm64_imm32, slot(slot_index), count));
            let head = self.head();
            body(self)?;
            self.emit(Instruction::with2(Code::Sub_rm64_imm8, slot(slot_index), 1));
            self.loop_back(head);
            self.free_slots.push(slot_index);
        }
        Ok(())
    }

    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        // Counted in the frame, so that the range of a thread costs no register.
        let slot_index = self.take_slot()?;
        let r = general(&count);
        self.emit(Instruction::with2(Code::Mov_rm64_r64, slot(slot_index), r));
        self.emit(Instruction::with2(Code::Test_rm64_r64, r, r));
        let patch = self.jump_ahead(Code::Jle_rel32_64);
        self.free_ptr(count);
        let head = self.head();
        body(self)?;
        self.emit(Instruction::with2(Code::Sub_rm64_imm8, slot(slot_index), 1));
        self.loop_back(head);
        self.free_slots.push(slot_index);
        self.land(patch)
    }

    fn when_any(&mut self, mask: &V, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        self.test_any(mask)?;
        let patch = self.jump_ahead(Code::Je_rel32_64);
        body(self)?;
        self.land(patch)
    }

    fn either(&mut self, mask: V, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        self.test_any(&mask)?;
        self.free(mask);
        self.some_or_none(some, none)
    }

    fn either_of_bits(&mut self, v: V, bits: u32, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        self.test_bits(&v, bits)?;
        self.free(v);
        self.some_or_none(some, none)
    }

    fn when_below(&mut self, p: &P, limit: i64, inside: Block<'_, Self>, outside: Block<'_, Self>) -> R {
        self.branch_below(p, limit, inside, outside)
    }

    fn prepare_constant(&mut self, bits: u32) -> R {
        let v = self.splat(f32::from_bits(bits))?;
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
        self.kept(bits).is_some()
    }

    fn splat(&mut self, value: f32) -> R<V> {
        let v = self.vector()?;
        let r = self.reg(&v);
        if let Some(kept) = self.kept(value.to_bits()) {
            self.move_to(r, kept);
        } else if value.to_bits() == 0 {
            // The shortest that clears the whole register.
            if self.encoding == Encoding::Legacy || v.0 >= 16 {
                self.three(&XOR, r, r, &Place::Reg(r));
            } else {
                let x = Self::xmm(&v);
                self.emit(Instruction::with3(Code::VEX_Vxorps_xmm_xmm_xmmm128, x, x, x));
            }
        } else if self.encoding == Encoding::Legacy {
            let constant = self.splat_operand(value.to_bits());
            self.two(&MOVE, r, &constant);
        } else {
            let index = self.constant(&value.to_bits().to_le_bytes());
            self.two(&BROADCAST, r, &Place::Pool(index, false));
        }
        Ok(v)
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let m = memory(p, disp, false);
        if n < self.lanes() {
            match self.encoding {
                Encoding::Legacy | Encoding::Vex128 => return self.load_part(p, disp, n),
                Encoding::Vex256 if ![1, 2, 4].contains(&n) => {
                    // The mask's register becomes the result.
                    let v = self.lane_mask_vector(n)?;
                    let r = self.reg(&v);
                    self.emit(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, r, r, m));
                    return Ok(v);
                }
                _ => {}
            }
        }
        let v = self.vector()?;
        let r = self.reg(&v);
        if n == self.lanes() {
            self.two(&LOAD, r, &Place::Mem(m));
        } else if let Some((load, _, part)) = Self::part(&v, n) {
            self.emit(Instruction::with2(load, part, m));
        } else {
            let k = self.lane_mask(n)?;
            self.emit(masked(Instruction::with2(self.pick(&LOAD), r, m), k, true));
        }
        Ok(v)
    }

    fn load_quarter(&mut self, d: &V, quarter: usize, p: &P, disp: i32, n: usize) -> R {
        let code = match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => return Err(Refusal::unsupported("a quarter of 128 bits")),
            Encoding::Vex256 => Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
            Encoding::Evex512 => Code::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8,
        };
        let r = self.reg(d);
        if n == 4 {
            self.three_imm(code, r, r, &Place::Mem(memory(p, disp, false)), quarter as u32);
            return Ok(());
        }
        let part = self.load(p, disp, n)?;
        self.three_imm(code, r, r, &Place::Reg(Self::xmm(&part)), quarter as u32);
        self.free(part);
        Ok(())
    }

    fn load_strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        self.strided(p, disp, stride, n)
    }

    fn load_indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        self.indexed(p, disp, indices, at, short, n)
    }

    fn pick_from(&mut self, d: &V, p: &P, disp: i32) -> R {
        self.picked(d, p, disp)
    }

    fn prepare_strided(&mut self, stride: i32) -> R {
        self.prepare_every_other(stride)
    }

    fn prefetch(&mut self, p: &P, disp: i32) {
        self.emit(Instruction::with1(Code::Prefetcht1_m8, memory(p, disp, false)));
    }

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let (r, m) = (self.reg(&v), memory(p, disp, false));
        if self.encoding == Encoding::Legacy {
            self.emit(Instruction::with2(Code::Movss_xmm_xmmm32, r, m));
            self.emit(Instruction::with3(Code::Shufps_xmm_xmmm128_imm8, r, r, 0u32));
        } else {
            self.two(&BROADCAST, r, &Place::Mem(m));
        }
        Ok(v)
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let copy = self.vector()?;
        self.assign(&copy, v);
        Ok(copy)
    }

    fn swap_halves(&mut self, d: &V) -> R {
        let r = self.reg(d);
        self.emit(match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => Instruction::with3(self.pick(&PERMUTE), r, r, 0x4e_u32),
            Encoding::Vex256 => {
                Instruction::with4(Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, r, r, r, 0x01_u32)
            }
            Encoding::Evex512 => {
                Instruction::with4(Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, r, r, r, 0x4e_u32)
            }
        });
        Ok(())
    }

    fn assign(&mut self, d: &V, s: &V) {
        if d.0 != s.0 {
            self.move_to(self.reg(d), self.reg(s));
        }
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let (r, m) = (self.reg(v), memory(p, disp, false));
        if n == self.lanes() {
            self.emit(Instruction::with2(self.pick(&STORE), m, r));
            return Ok(());
        }
        if let (Encoding::Vex256 | Encoding::Evex512, Some((_, store, part))) =
            (self.encoding, Self::part(v, n))
        {
            self.emit(Instruction::with2(store, m, part));
            return Ok(());
        }
        match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => self.store_part(p, disp, v, n)?,
            Encoding::Evex512 if n == 3 && v.0 < 16 => self.store_pieces(p, disp, v, n)?,
            Encoding::Evex512 => {
                let k = self.lane_mask(n)?;
                self.emit(masked(Instruction::with2(self.pick(&STORE), m, r), k, false));
            }
            Encoding::Vex256 => self.store_pieces(p, disp, v, n)?,
        }
        Ok(())
    }

    fn free(&mut self, v: V) {
        self.vectors |= 1 << v.0;
    }

    fn spare(&self) -> usize {
        self.vectors.count_ones() as usize
    }

    fn park(&mut self, v: V) -> R<Parked> {
        let i = self.free_parking.pop().unwrap_or_else(|| {
            self.parking += 1;
            self.parking - 1
        });
        let lanes = self.lanes();
        self.emit(Instruction::with2(self.pick(&STORE), parking(i, lanes), self.reg(&v)));
        self.free(v);
        Ok(Parked(i))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        let v = self.vector()?;
        let place = Place::Mem(parking(parked.0, self.lanes()));
        self.two(&LOAD, self.reg(&v), &place);
        self.free_parking.push(parked.0);
        Ok(v)
    }

    fn peek(&mut self, parked: &Parked) -> R<V> {
        let v = self.vector()?;
        let place = Place::Mem(parking(parked.0, self.lanes()));
        self.two(&LOAD, self.reg(&v), &place);
        Ok(v)
    }

    fn forget(&mut self, parked: Parked) {
        self.free_parking.push(parked.0);
    }

    fn op1(&mut self, op: Op1, d: &V) -> R {
        let r = self.reg(d);
        match op {
            Op1::Abs => return self.op2(Op2::And, d, Src::Bits(0x7fff_ffff)),
            Op1::Neg => return self.op2(Op2::Xor, d, Src::Bits(0x8000_0000)),
            Op1::Floor | Op1::Ceil | Op1::Round if !self.rounds => return self.round_by_magic(op, d),
            Op1::Sqrt => self.two(&SQRT, r, &Place::Reg(r)),
            Op1::ToInt => self.two(&TO_INT, r, &Place::Reg(r)),
            Op1::ToFloat => self.two(&TO_FLOAT, r, &Place::Reg(r)),
            // Without an exception for inexact results.
            Op1::Floor => self.emit(Instruction::with3(self.pick(&ROUND), r, r, 9u32)),
            Op1::Ceil => self.emit(Instruction::with3(self.pick(&ROUND), r, r, 10u32)),
            Op1::Round => self.emit(Instruction::with3(self.pick(&ROUND), r, r, 8u32)),
            Op1::Shl(_) | Op1::Shr(_) | Op1::Sar(_) => return self.typed_op1(Lane::U32, op, d),
        }
        Ok(())
    }

    fn scales(&self) -> bool {
        self.encoding == Encoding::Evex512
    }

    fn scale(&mut self, d: &V, n: &V) -> R {
        let (d, n) = (self.reg(d), self.reg(n));
        self.emit(Instruction::with3(Code::EVEX_Vscalefps_zmm_k1z_zmm_zmmm512b32_er, d, d, n));
        Ok(())
    }

    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R {
        let r = self.reg(d);
        if let Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan = op {
            // The second operand survives a NaN, so `s` comes first and has to be a register.
            let (s, temporary) = self.register(s)?;
            let max = matches!(op, Op2::Max | Op2::MaxNan);
            if let Op2::Min | Op2::Max = op {
                self.extreme(Width::F32, max, r, s, temporary.is_some())?;
            } else {
                self.extreme_nan(Width::F32, max, r, s)?;
            }
            self.release(temporary);
            return Ok(());
        }
        if let Op2::Shl | Op2::Shr = op {
            return self.typed_op2(Lane::U32, op, d, s);
        }
        let (place, temporary) = self.place(s)?;
        match op {
            Op2::Add => self.three(&ADD, r, r, &place),
            Op2::Sub => self.three(&SUB, r, r, &place),
            Op2::Mul => self.three(&MUL, r, r, &place),
            Op2::Div => self.three(&DIV, r, r, &place),
            Op2::And => self.three(&AND, r, r, &place),
            Op2::Or => self.three(&OR, r, r, &place),
            Op2::Xor => self.three(&XOR, r, r, &place),
            Op2::AndNot => self.three(&AND_NOT, r, r, &place),
            Op2::IntAdd => self.three(&INT_ADD, r, r, &place),
            Op2::IntSub => self.three(&INT_SUB, r, r, &place),
            Op2::Lt => self.compare(r, r, &place, CMP_LT),
            Op2::Le => self.compare(r, r, &place, CMP_LE),
            Op2::Eq => self.compare(r, r, &place, CMP_EQ),
            Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan | Op2::Shl | Op2::Shr => {
                unreachable!("handled above")
            }
        }
        self.release(temporary);
        Ok(())
    }

    fn fuses(&self) -> bool {
        self.fma
    }

    fn raise(&mut self, d: &V, s: Src<'_>) -> R {
        let (place, temporary) = self.place(s)?;
        let r = self.reg(d);
        // Where a comparison with NaN is false the instruction gives the second operand.
        self.three(&MAX, r, r, &place);
        self.release(temporary);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (place, temporary) = self.place(b)?;
        if let Some(b) = temporary {
            return self.fma_last(d, a, b);
        }
        let (d, a) = (self.reg(d), self.reg(a));
        if self.fma {
            self.three_of_all(&FMA_231, d, a, &place);
            return Ok(());
        }
        let product = self.vector()?;
        let p = self.reg(&product);
        self.three(&MUL, p, a, &place);
        self.three(&ADD, d, d, &Place::Reg(p));
        self.free(product);
        Ok(())
    }

    fn fma_last(&mut self, d: &V, a: &V, b: V) -> R {
        let (to, factor, p) = (self.reg(d), self.reg(a), self.reg(&b));
        if self.fma {
            self.three_of_all(&FMA_231, to, factor, &Place::Reg(p));
        } else {
            self.three(&MUL, p, p, &Place::Reg(factor));
            self.three(&ADD, to, to, &Place::Reg(p));
        }
        self.free(b);
        Ok(())
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        let (place, temporary) = self.place(c)?;
        let (d, a) = (self.reg(d), self.reg(a));
        if self.fma {
            self.three_of_all(&FMA_213, d, a, &place);
        } else {
            self.three(&MUL, d, d, &Place::Reg(a));
            self.three(&ADD, d, d, &place);
        }
        self.release(temporary);
        Ok(())
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let t = self.vector()?;
        let (r, x) = (self.reg(&t), Self::xmm(&t));
        let within = lane as u32 * 0x55;
        match self.encoding {
            Encoding::Vex256 => {
                self.emit(Instruction::with3(Code::VEX_Vpermilps_xmm_xmmm128_imm8, x, Self::xmm(a), within));
                self.emit(Instruction::with2(Code::VEX_Vbroadcastss_ymm_xmm, r, x));
            }
            _ => self.emit(Instruction::with3(self.pick(&PERMUTE), r, self.reg(a), within)),
        }
        if self.encoding == Encoding::Evex512 {
            self.emit(Instruction::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, r, x));
        }
        self.fma(d, b, Src::Reg(&t))?;
        self.free(t);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        self.blend(self.reg(d), self.reg(mask), s)
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n >= self.lanes() {
            return Ok(());
        }
        let r = self.reg(d);
        if self.encoding == Encoding::Evex512 {
            let other = self.splat(value)?;
            let k = self.lane_mask(n)?;
            let o = self.reg(&other);
            let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
            self.emit(masked(Instruction::with3(code, r, o, r), k, false));
            self.free(other);
        } else if value.to_bits() == 0 {
            let mask = self.lane_mask_constant(n);
            self.three(&AND, r, r, &mask);
        } else {
            let mask = self.lane_mask_vector(n)?;
            self.blend(r, self.reg(&mask), Src::Const(value))?;
            self.free(mask);
        }
        Ok(())
    }

    fn across_as(&mut self, ty: Lane, op: Across, d: &V) -> R {
        let t = self.vector()?;
        let (r, s) = (self.reg(d), self.reg(&t));
        // Halves of vectors, then of 128 bits.
        let (code, halves): (_, &[u32]) = match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => (Code::INVALID, &[]),
            Encoding::Vex256 => (Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, &[0x01]),
            Encoding::Evex512 => (Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, &[0x4e, 0xb1]),
        };
        for imm in halves {
            self.emit(Instruction::with4(code, s, r, r, *imm));
            self.combine(ty, op, d, &t)?;
        }
        let within: &[u32] = if ty.is_wide() { &[0x4e] } else { &[0x4e, 0xb1] };
        for imm in within {
            self.emit(Instruction::with3(self.pick(&PERMUTE), s, r, *imm));
            self.combine(ty, op, d, &t)?;
        }
        self.free(t);
        Ok(())
    }

    fn interleave(&mut self, bits: u8, upper: bool, d: &V, s: &V) -> R {
        if self.lanes() != 4 && bits < 32 && !(self.lanes() == 16 && self.short_elements) {
            return Err(Refusal::unsupported("short elements are interleaved in 128 bits"));
        }
        let codes = &UNPACK[usize::from(upper)][(bits / 8).trailing_zeros() as usize];
        self.three(codes, self.reg(d), self.reg(d), &Place::Reg(self.reg(s)));
        Ok(())
    }

    fn op1_as(&mut self, ty: Lane, op: Op1, d: &V) -> R {
        self.typed_op1(ty, op, d)
    }

    fn op2_as(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R {
        self.typed_op2(ty, op, d, s)
    }

    fn fma_as(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        if ty == Lane::F32 { self.fma(d, a, b) } else { self.typed_fma(ty, d, a, b) }
    }

    fn mul_add_as(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        if ty == Lane::F32 { self.mul_add(d, a, c) } else { self.typed_mul_add(ty, d, a, c) }
    }

    fn first(&mut self, n: usize) -> R<V> {
        self.lane_mask_vector(n)
    }

    fn splat_wide(&mut self, bits: u64) -> R<V> {
        self.splat_64(bits)
    }

    fn ramp(&mut self, wide: bool) -> R<V> {
        self.lane_numbers(wide)
    }

    fn splat_index(&mut self, p: &P, disp: i32) -> R<V> {
        self.splat_number(p, disp)
    }

    fn load_splat_wide(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let (r, m) = (self.reg(&v), memory(p, disp, false));
        if self.encoding == Encoding::Legacy {
            self.emit(Instruction::with2(Code::Movsd_xmm_xmmm64, r, m));
            self.three(&UNPACK_I64, r, r, &Place::Reg(r));
        } else {
            self.two(&BROADCAST_64, r, &Place::Mem(m));
        }
        Ok(v)
    }

    fn convert_directly(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        self.direct_conversion(from, to, d)
    }

    fn has_halves(&self) -> bool {
        self.halves
    }

    fn load_halves(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_f16(p, disp, n)
    }

    fn load_splat_half(&mut self, p: &P, disp: i32) -> R<V> {
        self.load_splat_f16(p, disp)
    }

    fn store_halves(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_f16(p, disp, v, n)
    }

    fn round_to_halves(&mut self, d: &V) -> R {
        self.round_f16(d);
        Ok(())
    }

    fn has_dot4(&self) -> bool {
        self.dot4
    }

    fn dot4(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        self.dot_bytes(d, a, b)
    }

    fn madd_bytes(&mut self, d: &V, s: Src<'_>) -> R {
        self.multiply_bytes(d, s)
    }

    fn products_of_bytes(&mut self, a: &V, s: Src<'_>) -> R<V> {
        self.multiplied_bytes(a, s)
    }

    fn products_of_words(&mut self, a: &V, s: Src<'_>) -> R<V> {
        self.word_products(a, s)
    }

    fn madd_words(&mut self, d: &V, s: Src<'_>) -> R {
        self.multiply_words(d, s)
    }

    fn fma_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        self.dot_words(d, a, b)
    }

    fn load_table(&mut self, p: &P, disp: i32) -> R<Vec<V>> {
        self.table_quarters(p, disp)
    }

    fn look_up_in(&mut self, d: &V, table: [&V; 4]) -> R {
        self.entries(d, table)
    }

    fn look_up_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        self.entries_of_part(d, p, disp)
    }

    fn prepare_turned(&mut self) -> R {
        self.prepare_turned_lanes()
    }

    fn load_turned(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        self.turned_lanes(p, disp, n)
    }

    fn load_words(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        self.extended_bytes(p, disp, signed)
    }

    fn load_byte_pairs(&mut self, p: &P, disps: [i32; 2], signed: bool, n: usize) -> R<V> {
        if self.encoding == Encoding::Evex512 {
            let byte = Narrow { two: false, signed };
            let v = self.load_narrow(byte, p, disps[0], n)?;
            let above = self.load_narrow(byte, p, disps[1], n)?;
            self.op1_as(Lane::I32, Op1::Shl(16), &above)?;
            self.op2(Op2::And, &v, Src::Bits(0xffff))?;
            self.op2(Op2::Or, &v, Src::Reg(&above))?;
            self.free(above);
            return Ok(v);
        }
        self.pairs_of_bytes(p, disps, signed, n)
    }

    fn add_words(&mut self, d: &V, s: &V, minus: bool) -> R {
        self.sum_of_words(d, s, minus)
    }

    fn max_bytes(&mut self, d: &V, s: &V) -> R {
        self.greater_bytes(d, s)
    }

    fn shift_words(&mut self, d: &V, by: u8) -> R {
        self.shifted_words(d, by)
    }

    fn load_narrow(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_short(e, p, disp, n)
    }

    fn load_apart(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        self.load_elements(apart, p, disp, n)
    }

    fn load_splat_narrow(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        self.load_short_splat(e, p, disp)
    }

    fn converts_far(&self) -> bool {
        true
    }

    fn clamps_words(&self) -> bool {
        self.encoding != Encoding::Evex512
    }

    fn store_together(&mut self, p: &P, disp: i32, all: &[V], overflow: Overflow) -> R<bool> {
        match overflow {
            Overflow::Saturate => self.store_bytes_together(p, disp, all),
            Overflow::Byte => self.store_words_together(p, disp, all),
            Overflow::Wrap | Overflow::Moved => Ok(false),
        }
    }

    fn store_two(&mut self, p: &P, disps: [i32; 2], pair: [&V; 2], overflow: Overflow) -> R<bool> {
        self.store_to_two_places(p, disps, pair, overflow)
    }

    fn store_narrow(&mut self, e: Narrow, overflow: Overflow, p: &P, disp: i32, v: &V, n: usize) -> R {
        self.store_short(e, overflow, p, disp, v, n)
    }
}
