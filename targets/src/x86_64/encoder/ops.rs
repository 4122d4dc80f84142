//! The operations of the builder in instructions.

use iced_x86::{Code, Instruction};

use super::pieces::{CMP_EQ, CMP_LE, CMP_LT};
use super::{Encoder, Operand, Place, Width, general, masked, memory, parking, slot};
use crate::simd::{Across, Op1, Op2, P, Parked, R, Refusal, Simd, Src, V};

impl Simd for Encoder {
    fn lanes(&self) -> usize {
        if self.width == Width::Bits256 { 8 } else { 16 }
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
            let head = self.code.len();
            body(self)?;
            self.emit(Instruction::with2(Code::Sub_rm64_imm8, r, 1));
            self.loop_back(head);
            self.free_ptr(counter);
        } else {
            let slot_index = self.take_slot()?;
            let count =
                i32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^31 iterations"))?;
            self.emit(Instruction::with2(Code::Mov_rm64_imm32, slot(slot_index), count));
            let head = self.code.len();
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
        let here = self.code.len() as u64;
        self.emit_at(Instruction::with_branch(Code::Jle_rel32_64, here), here);
        let patch = self.code.len();
        self.free_ptr(count);
        let head = self.code.len();
        body(self)?;
        self.emit(Instruction::with2(Code::Sub_rm64_imm8, slot(slot_index), 1));
        self.loop_back(head);
        let distance = i32::try_from(self.code.len() - patch).map_err(|_| Refusal::FarDisplacement)?;
        self.code[patch - 4..patch].copy_from_slice(&distance.to_le_bytes());
        self.free_slots.push(slot_index);
        Ok(())
    }

    fn splat(&mut self, value: f32) -> R<V> {
        let v = self.vector()?;
        let r = self.reg(&v);
        if value.to_bits() == 0 {
            let x = Self::xmm(&v);
            let code = if v.0 < 16 {
                Code::VEX_Vxorps_xmm_xmm_xmmm128
            } else {
                Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32
            };
            let d = if v.0 < 16 { x } else { r };
            self.emit(Instruction::with3(code, d, d, d));
        } else {
            let index = self.constant(&value.to_bits().to_le_bytes());
            let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
            self.with_place(&Place::Pool(index, false), |operand| match operand {
                Operand::Reg(s) => Instruction::with2(code, r, s),
                Operand::Mem(m) => Instruction::with2(code, r, m),
            });
        }
        Ok(v)
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        if self.width == Width::Bits256 && ![1, 4, self.lanes()].contains(&n) {
            // The mask's register becomes the result.
            let v = self.lane_mask_vector(n)?;
            let (r, m) = (self.reg(&v), memory(p, disp, false));
            self.emit(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, r, r, m));
            return Ok(v);
        }
        let v = self.vector()?;
        let (r, m) = (self.reg(&v), memory(p, disp, false));
        if n == self.lanes() {
            let code = self.pick(Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512);
            self.emit(Instruction::with2(code, r, m));
        } else if self.width == Width::Bits512 {
            let k = self.lane_mask(n)?;
            self.emit(masked(Instruction::with2(Code::EVEX_Vmovups_zmm_k1z_zmmm512, r, m), k, true));
        } else if n == 1 {
            self.emit(Instruction::with2(Code::VEX_Vmovss_xmm_m32, Self::xmm(&v), m));
        } else {
            self.emit(Instruction::with2(Code::VEX_Vmovups_xmm_xmmm128, Self::xmm(&v), m));
        }
        Ok(v)
    }

    fn prefetch(&mut self, p: &P, disp: i32) {
        self.emit(Instruction::with1(Code::Prefetcht1_m8, memory(p, disp, false)));
    }

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
        self.emit(Instruction::with2(code, self.reg(&v), memory(p, disp, false)));
        Ok(v)
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let copy = self.vector()?;
        self.assign(&copy, v);
        Ok(copy)
    }

    fn assign(&mut self, d: &V, s: &V) {
        if d.0 != s.0 {
            let code = self.pick(Code::VEX_Vmovaps_ymm_ymmm256, Code::EVEX_Vmovaps_zmm_k1z_zmmm512);
            self.emit(Instruction::with2(code, self.reg(d), self.reg(s)));
        }
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let (r, m) = (self.reg(v), memory(p, disp, false));
        if n == self.lanes() {
            let code = self.pick(Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
            self.emit(Instruction::with2(code, m, r));
        } else if self.width == Width::Bits512 {
            let k = self.lane_mask(n)?;
            self.emit(masked(Instruction::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, m, r), k, false));
        } else if n == 1 {
            self.emit(Instruction::with2(Code::VEX_Vmovss_m32_xmm, m, Self::xmm(v)));
        } else if n == 4 {
            self.emit(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, m, Self::xmm(v)));
        } else {
            let mask = self.lane_mask_vector(n)?;
            self.emit(Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, m, self.reg(&mask), r));
            self.free(mask);
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
        let code = self.pick(Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
        self.emit(Instruction::with2(code, parking(i, lanes), self.reg(&v)));
        self.free(v);
        Ok(Parked(i))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        let v = self.vector()?;
        let lanes = self.lanes();
        let code = self.pick(Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512);
        self.emit(Instruction::with2(code, self.reg(&v), parking(parked.0, lanes)));
        self.free_parking.push(parked.0);
        Ok(v)
    }

    fn op1(&mut self, op: Op1, d: &V) -> R {
        let r = self.reg(d);
        let (code, imm) = match op {
            Op1::Abs => return self.op2(Op2::And, d, Src::Bits(0x7fff_ffff)),
            Op1::Neg => return self.op2(Op2::Xor, d, Src::Bits(0x8000_0000)),
            Op1::Sqrt => {
                (self.pick(Code::VEX_Vsqrtps_ymm_ymmm256, Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::ToInt => {
                (self.pick(Code::VEX_Vcvtps2dq_ymm_ymmm256, Code::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::ToFloat => {
                (self.pick(Code::VEX_Vcvtdq2ps_ymm_ymmm256, Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::Floor | Op1::Ceil | Op1::Round => {
                let code = self.pick(
                    Code::VEX_Vroundps_ymm_ymmm256_imm8,
                    Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
                );
                let mode = match op {
                    Op1::Floor => 9, // without an exception for inexact results
                    Op1::Ceil => 10,
                    _ => 8,
                };
                (code, Some(mode))
            }
            Op1::Shl(n) => (
                self.pick(Code::VEX_Vpslld_ymm_ymm_imm8, Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8),
                Some(n.into()),
            ),
            Op1::Shr(n) => (
                self.pick(Code::VEX_Vpsrld_ymm_ymm_imm8, Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8),
                Some(n.into()),
            ),
        };
        match imm {
            None => self.emit(Instruction::with2(code, r, r)),
            Some(imm) => self.emit(Instruction::with3::<_, _, u32>(code, r, r, imm)),
        }
        Ok(())
    }

    fn scales(&self) -> bool {
        self.width == Width::Bits512
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
            match op {
                Op2::Min => self.extreme(false, r, s),
                Op2::Max => self.extreme(true, r, s),
                Op2::MinNan => self.extreme_nan(false, r, s)?,
                _ => self.extreme_nan(true, r, s)?,
            }
            self.release(temporary);
            return Ok(());
        }
        let (place, temporary) = self.place(s)?;
        let code = match op {
            Op2::Add => {
                self.pick(Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Sub => {
                self.pick(Code::VEX_Vsubps_ymm_ymm_ymmm256, Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Mul => {
                self.pick(Code::VEX_Vmulps_ymm_ymm_ymmm256, Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Div => {
                self.pick(Code::VEX_Vdivps_ymm_ymm_ymmm256, Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::And => self.pick(Code::VEX_Vandps_ymm_ymm_ymmm256, Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32),
            Op2::Or => self.pick(Code::VEX_Vorps_ymm_ymm_ymmm256, Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
            Op2::Xor => self.pick(Code::VEX_Vxorps_ymm_ymm_ymmm256, Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32),
            Op2::AndNot => {
                self.pick(Code::VEX_Vandnps_ymm_ymm_ymmm256, Code::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::IntAdd => {
                self.pick(Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::IntSub => {
                self.pick(Code::VEX_Vpsubd_ymm_ymm_ymmm256, Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::Lt | Op2::Le | Op2::Eq => {
                let predicate = match op {
                    Op2::Lt => CMP_LT,
                    Op2::Le => CMP_LE,
                    _ => CMP_EQ,
                };
                self.compare(r, &place, predicate);
                self.release(temporary);
                return Ok(());
            }
            Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan => unreachable!("handled above"),
        };
        self.three(code, r, r, &place);
        self.release(temporary);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (place, temporary) = self.place(b)?;
        let code = self
            .pick(Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er);
        self.three(code, self.reg(d), self.reg(a), &place);
        self.release(temporary);
        Ok(())
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        let (place, temporary) = self.place(c)?;
        let code = self
            .pick(Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er);
        self.three(code, self.reg(d), self.reg(a), &place);
        self.release(temporary);
        Ok(())
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let t = self.vector()?;
        let (r, x) = (self.reg(&t), Self::xmm(&t));
        let within = lane as u32 * 0x55;
        match self.width {
            Width::Bits256 => {
                self.emit(Instruction::with3(Code::VEX_Vpermilps_xmm_xmmm128_imm8, x, Self::xmm(a), within));
                self.emit(Instruction::with2(Code::VEX_Vbroadcastss_ymm_xmm, r, x));
            }
            Width::Bits512 => {
                let code = Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8;
                self.emit(Instruction::with3(code, r, self.reg(a), within));
                self.emit(Instruction::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, r, x));
            }
        }
        self.fma(d, b, Src::Reg(&t))?;
        self.free(t);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        let (r, m) = (self.reg(d), self.reg(mask));
        match self.width {
            Width::Bits256 => {
                let (s, temporary) = self.register(s)?;
                self.emit(Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, r, s, r, m));
                self.release(temporary);
            }
            Width::Bits512 => {
                let (place, temporary) = self.place(s)?;
                // mask ? d : s, bit by bit.
                self.three_imm(Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8, r, m, &place, 0xe2);
                self.release(temporary);
            }
        }
        Ok(())
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n >= self.lanes() {
            return Ok(());
        }
        if self.width == Width::Bits256 {
            let mask = self.lane_mask_vector(n)?;
            self.keep_where(d, &mask, Src::Const(value))?;
            self.free(mask);
        } else {
            let other = self.splat(value)?;
            let k = self.lane_mask(n)?;
            let (r, o) = (self.reg(d), self.reg(&other));
            let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
            self.emit(masked(Instruction::with3(code, r, o, r), k, false));
            self.free(other);
        }
        Ok(())
    }

    fn across(&mut self, op: Across, d: &V) -> R {
        let t = self.vector()?;
        let (r, s) = (self.reg(d), self.reg(&t));
        // Halves of vectors, then of 128 bits.
        let halves: &[u32] = if self.width == Width::Bits256 { &[0x01] } else { &[0x4e, 0xb1] };
        let code = self.pick(
            Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
            Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8,
        );
        for imm in halves {
            self.emit(Instruction::with4(code, s, r, r, *imm));
            self.combine(op, d, &t)?;
        }
        let code =
            self.pick(Code::VEX_Vpermilps_ymm_ymmm256_imm8, Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8);
        for imm in [0x4e_u32, 0xb1] {
            self.emit(Instruction::with3(code, s, r, imm));
            self.combine(op, d, &t)?;
        }
        self.free(t);
        Ok(())
    }

    fn transpose(&mut self, _: [&V; 4]) -> R {
        Err(Refusal::unsupported("transposes are done in 128 bits"))
    }
}
