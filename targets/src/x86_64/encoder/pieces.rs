//! Pieces that several operations of the builder share: masks, minimum and maximum, comparisons, counters.

use iced_x86::{Code, Instruction, Register};

use super::{Encoder, FIRST_LANE_MASK, LANE_MASKS, Operand, Place, SLOTS, Width, general, masked};
use crate::simd::{Across, Op2, P, R, Refusal, Simd, Src, V};

/// Predicates of `vcmpps`: ordered, quiet.
pub(super) const CMP_EQ: u32 = 0x00;
const CMP_UNORDERED: u32 = 0x03;
pub(super) const CMP_LT: u32 = 0x11;
pub(super) const CMP_LE: u32 = 0x12;

impl Encoder {
    /// The mask register of the first `n` lanes.
    pub(super) fn lane_mask(&mut self, n: usize) -> R<Register> {
        let i = match self.lane_masks.iter().position(|known| *known == n) {
            Some(i) => i,
            None if self.lane_masks.len() < LANE_MASKS => {
                self.lane_masks.push(n);
                self.lane_masks.len() - 1
            }
            None => return Err(Refusal::OutOfRegisters),
        };
        Ok(Register::K0 + FIRST_LANE_MASK + i as u32)
    }

    /// A vector whose first `n` lanes are all ones.
    pub(super) fn lane_mask_vector(&mut self, n: usize) -> R<V> {
        let bytes: Vec<u8> = (0..8).flat_map(|lane| if lane < n { [0xff; 4] } else { [0; 4] }).collect();
        let index = self.constant(&bytes);
        let v = self.vector()?;
        let r = self.reg(&v);
        self.with_place(&Place::Pool(index, false), |operand| match operand {
            Operand::Reg(s) => Instruction::with2(Code::VEX_Vmovups_ymm_ymmm256, r, s),
            Operand::Mem(m) => Instruction::with2(Code::VEX_Vmovups_ymm_ymmm256, r, m),
        });
        Ok(v)
    }

    /// `d = s < d ? s : d` or `d = s > d ? s : d`; a NaN in `d` stays.
    pub(super) fn extreme(&mut self, max: bool, d: Register, s: Register) {
        let code = if max {
            self.pick(Code::VEX_Vmaxps_ymm_ymm_ymmm256, Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae)
        } else {
            self.pick(Code::VEX_Vminps_ymm_ymm_ymmm256, Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae)
        };
        self.emit(Instruction::with3(code, d, s, d));
    }

    /// The same; a NaN in `s` wins too.
    pub(super) fn extreme_nan(&mut self, max: bool, d: Register, s: Register) -> R {
        self.extreme(max, d, s);
        match self.width {
            Width::Bits256 => {
                let mask = self.vector()?;
                let m = self.reg(&mask);
                self.emit(Instruction::with4(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, m, s, s, CMP_UNORDERED));
                self.emit(Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, d, d, s, m));
                self.free(mask);
            }
            Width::Bits512 => {
                let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.emit(Instruction::with4(code, Register::K1, s, s, CMP_UNORDERED));
                self.emit(masked(
                    Instruction::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, d, s),
                    Register::K1,
                    false,
                ));
            }
        }
        Ok(())
    }

    pub(super) fn compare(&mut self, d: Register, place: &Place, predicate: u32) {
        match self.width {
            Width::Bits256 => self.three_imm(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, d, d, place, predicate),
            Width::Bits512 => {
                let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.three_imm(code, Register::K1, d, place, predicate);
                self.emit(Instruction::with2(Code::EVEX_Vpmovm2d_zmm_kr, d, Register::K1));
            }
        }
    }

    pub(super) fn combine(&mut self, op: Across, d: &V, t: &V) -> R {
        match op {
            Across::Sum => self.op2(Op2::Add, d, Src::Reg(t)),
            Across::Prod => self.op2(Op2::Mul, d, Src::Reg(t)),
            Across::Max => self.op2(Op2::MaxNan, d, Src::Reg(t)),
            Across::Min => self.op2(Op2::MinNan, d, Src::Reg(t)),
        }
    }

    /// `p += bytes` for any number of bytes.
    pub(super) fn add_immediate(&mut self, r: Register, bytes: i64) {
        if let Ok(imm) = i8::try_from(bytes) {
            self.emit(Instruction::with2(Code::Add_rm64_imm8, r, i32::from(imm)));
        } else if let Ok(imm) = i32::try_from(bytes) {
            self.emit(Instruction::with2(Code::Add_rm64_imm32, r, imm));
        } else {
            // Far away: in halves, which happens once per pointer at most.
            self.add_immediate(r, bytes / 2);
            self.add_immediate(r, bytes - bytes / 2);
        }
    }

    pub(super) fn limit(&mut self, p: &P, limit: i64, cmov: Code) -> R {
        let temporary = self.pointer()?;
        let (r, t) = (general(p), general(&temporary));
        self.emit(Instruction::with2(Code::Mov_r64_imm64, t, limit));
        self.emit(Instruction::with2(Code::Cmp_r64_rm64, r, t));
        self.emit(Instruction::with2(cmov, r, t));
        self.free_ptr(temporary);
        Ok(())
    }

    /// Jumps back to `to` unless the last result was zero.
    pub(super) fn loop_back(&mut self, to: usize) {
        let here = self.code.len();
        let code = if here - to < 120 { Code::Jne_rel8_64 } else { Code::Jne_rel32_64 };
        self.emit_at(Instruction::with_branch(code, to as u64), here as u64);
    }

    pub(super) fn take_slot(&mut self) -> R<usize> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.slots == SLOTS {
            return Err(Refusal::OutOfRegisters);
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }
}
