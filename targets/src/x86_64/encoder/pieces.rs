//! Pieces that several operations of the builder share: masks, minimum and maximum, comparisons, counters.

use iced_x86::{Code, Instruction, Register};

use super::codes::{BLEND, COMPARE, Encoding, LOAD, MAX, MIN, MOVE, OR};
use super::lane_codes::{COMPARE_F64, MAX_F64, MIN_F64};
use super::{Encoder, FIRST_LANE_MASK, LANE_MASKS, Operand, Place, SLOTS, general, masked, memory};
use crate::simd::{Across, Lane, P, R, Refusal, Simd, Src, V};

/// Widths of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    F32,
    F64,
}

/// Predicates of `vcmpps`: ordered, quiet. The three low bits alone are those of `cmpps`: the same results, other
/// exceptions.
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

    /// What loads and stores the first lanes of a register without a mask, for some numbers of them, and the part of the
    /// register that they are. Instructions with VEX make the rest 0, and name the lower half of AVX-512's registers.
    pub(super) fn part(v: &V, n: usize) -> Option<(Code, Code, Register)> {
        let (load, store, first) = match n {
            1 => (Code::VEX_Vmovss_xmm_m32, Code::VEX_Vmovss_m32_xmm, Register::XMM0),
            2 => (Code::VEX_Vmovsd_xmm_m64, Code::VEX_Vmovsd_m64_xmm, Register::XMM0),
            4 => (Code::VEX_Vmovups_xmm_xmmm128, Code::VEX_Vmovups_xmmm128_xmm, Register::XMM0),
            8 => (Code::VEX_Vmovups_ymm_ymmm256, Code::VEX_Vmovups_ymmm256_ymm, Register::YMM0),
            _ => return None,
        };
        (v.0 < 16).then(|| (load, store, first + v.0))
    }

    /// Writes the first 3 lanes, or the first 5 to 7 of eight: masked stores of AVX take a dozen cycles on AMD's processors,
    /// those of AVX-512 four.
    pub(super) fn store_pieces(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let (whole, rest) = (n / 4, n % 4);
        let upper = if whole > 0 { Some(self.vector()?) } else { None };
        let mut at = disp;
        if let Some(upper) = &upper {
            let x = Self::xmm(upper);
            self.emit(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, memory(p, at, false), Self::xmm(v)));
            self.emit(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, x, self.reg(v), 1u32));
            at += 16;
        }
        let x = Self::xmm(upper.as_ref().unwrap_or(v));
        let code = if rest == 1 { Code::VEX_Vmovss_m32_xmm } else { Code::VEX_Vmovsd_m64_xmm };
        self.emit(Instruction::with2(code, memory(p, at, false), x));
        if rest == 3 {
            let third = memory(p, at + 8, false);
            self.emit(Instruction::with3(Code::VEX_Vextractps_rm32_xmm_imm8, third, x, 2u32));
        }
        self.release(upper);
        Ok(())
    }

    /// The constant whose first `n` lanes are all ones.
    pub(super) fn lane_mask_constant(&mut self, n: usize) -> Place {
        let bytes: Vec<u8> =
            (0..self.lanes()).flat_map(|lane| if lane < n { [0xff; 4] } else { [0; 4] }).collect();
        Place::Pool(self.constant(&bytes), false)
    }

    /// The same in a register.
    pub(super) fn lane_mask_vector(&mut self, n: usize) -> R<V> {
        let mask = self.lane_mask_constant(n);
        let v = self.vector()?;
        self.two(&LOAD, self.reg(&v), &mask);
        Ok(v)
    }

    /// `d = s < d ? s : d` or `d = s > d ? s : d`; a NaN in `d` stays. `s` may be overwritten if it is `owned`.
    pub(super) fn extreme(&mut self, width: Width, max: bool, d: Register, s: Register, owned: bool) -> R {
        let op = match (width, max) {
            (Width::F32, false) => &MIN,
            (Width::F32, true) => &MAX,
            (Width::F64, false) => &MIN_F64,
            (Width::F64, true) => &MAX_F64,
        };
        if self.encoding != Encoding::Legacy {
            self.three(op, d, s, &Place::Reg(d));
            return Ok(());
        }
        let temporary = if owned { None } else { Some(self.vector()?) };
        let t = temporary.as_ref().map_or(s, |t| self.reg(t));
        self.three(op, t, s, &Place::Reg(d));
        self.two(&MOVE, d, &Place::Reg(t));
        self.release(temporary);
        Ok(())
    }

    /// The same; a NaN in `s` wins too, and `s` stays.
    pub(super) fn extreme_nan(&mut self, width: Width, max: bool, d: Register, s: Register) -> R {
        self.extreme(width, max, d, s, false)?;
        if self.encoding == Encoding::Evex512 {
            let (compare, copy) = match width {
                Width::F32 => (self.pick(&COMPARE), self.pick(&MOVE)),
                Width::F64 => (self.pick(&COMPARE_F64), Code::EVEX_Vmovapd_zmm_k1z_zmmm512),
            };
            self.emit(Instruction::with4(compare, Register::K1, s, s, CMP_UNORDERED));
            let moved = Instruction::with2(copy, d, s);
            self.emit(masked(moved, Register::K1, false));
            return Ok(());
        }
        // All ones are a NaN, whatever else there is.
        let mask = self.vector()?;
        let m = self.reg(&mask);
        self.compare_as(width, m, s, &Place::Reg(s), CMP_UNORDERED);
        self.three(&OR, d, d, &Place::Reg(m));
        self.free(mask);
        Ok(())
    }

    /// `d = a compared with place`: all ones or 0.
    pub(super) fn compare(&mut self, d: Register, a: Register, place: &Place, predicate: u32) {
        self.compare_as(Width::F32, d, a, place, predicate);
    }

    /// The same for floats of a width.
    pub(super) fn compare_as(
        &mut self,
        width: Width,
        d: Register,
        a: Register,
        place: &Place,
        predicate: u32,
    ) {
        let code = self.pick(if width == Width::F32 { &COMPARE } else { &COMPARE_F64 });
        match self.encoding {
            Encoding::Legacy => {
                if d != a {
                    self.two(&MOVE, d, &Place::Reg(a));
                }
                self.with_place(place, |operand| match operand {
                    Operand::Reg(r) => Instruction::with3(code, d, r, predicate & 7),
                    Operand::Mem(m) => Instruction::with3(code, d, m, predicate & 7),
                });
            }
            Encoding::Vex128 | Encoding::Vex256 => self.three_imm(code, d, a, place, predicate),
            Encoding::Evex512 => {
                self.three_imm(code, Register::K1, a, place, predicate);
                self.mask_to_vector(width == Width::F64, d);
            }
        }
    }

    /// The result of a comparison of AVX-512 as lanes of all ones or 0.
    pub(super) fn mask_to_vector(&mut self, wide: bool, d: Register) {
        let code = if wide { Code::EVEX_Vpmovm2q_zmm_kr } else { Code::EVEX_Vpmovm2d_zmm_kr };
        self.emit(Instruction::with2(code, d, Register::K1));
    }

    /// `d = mask ? d : s` with a mask of whole lanes in a register.
    pub(super) fn blend(&mut self, d: Register, mask: Register, s: Src<'_>) -> R {
        if self.encoding == Encoding::Evex512 {
            let (place, temporary) = self.place(s)?;
            // Bit by bit.
            self.three_imm(Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8, d, mask, &place, 0xe2);
            self.release(temporary);
            return Ok(());
        }
        if self.encoding == Encoding::Legacy {
            return self.blend_by_bits(d, mask, s);
        }
        let (s, temporary) = self.register(s)?;
        self.emit(Instruction::with4(self.pick(&BLEND), d, s, d, mask));
        self.release(temporary);
        Ok(())
    }

    pub(super) fn combine(&mut self, ty: Lane, op: Across, d: &V, t: &V) -> R {
        self.op2_as(ty, op.op2(), d, Src::Reg(t))
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

    /// Here a loop begins.
    pub(super) fn head(&mut self) -> usize {
        self.copied = None;
        self.code.len()
    }

    /// Jumps back to `to` unless the last result was zero.
    pub(super) fn loop_back(&mut self, to: usize) {
        let here = self.code.len();
        let code = if here - to < 120 { Code::Jne_rel8_64 } else { Code::Jne_rel32_64 };
        self.emit_at(Instruction::with_branch(code, to as u64), here as u64);
    }

    /// A jump to a place that [`Encoder::land`] will name.
    pub(super) fn jump_ahead(&mut self, code: Code) -> usize {
        let here = self.code.len() as u64;
        self.emit_at(Instruction::with_branch(code, here), here);
        self.code.len()
    }

    /// Here is where the jump leads.
    pub(super) fn land(&mut self, jump: usize) -> R {
        if self.dry {
            return Ok(());
        }
        self.copied = None;
        let distance = i32::try_from(self.code.len() - jump).map_err(|_| Refusal::FarDisplacement)?;
        self.code[jump - 4..jump].copy_from_slice(&distance.to_le_bytes());
        Ok(())
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
