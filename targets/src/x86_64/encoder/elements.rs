//! Elements of 8 and 16 bits in memory.
//!
//! AVX-512 extends and narrows between memory and registers under a mask. Elsewhere parts of vectors go through the low
//! 128 bits of a register in pieces of 8, 4, 2 and 1 bytes.

use iced_x86::{Code, Instruction, Register};

use super::codes::{Encoding, PERMUTE};
use super::lane_codes::*;
use super::{Encoder, Place, general, masked, memory};
use crate::simd::{Lane, Narrow, Op1, Op2, Overflow, P, R, Refusal, Simd, Src, V};

impl Encoder {
    pub(super) fn load_short(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        let codes = match (e.two, e.signed) {
            (false, false) => &EXTEND_U8,
            (false, true) => &EXTEND_I8,
            (true, false) => &EXTEND_U16,
            (true, true) => &EXTEND_I16,
        };
        let whole = n >= self.lanes();
        let m = memory(p, disp, false);
        let extends = self.encoding != Encoding::Legacy || self.rounds;
        if self.encoding == Encoding::Evex512 {
            let v = self.vector()?;
            let instruction = Instruction::with2(self.pick(codes), self.reg(&v), m);
            if whole {
                self.emit(instruction);
            } else {
                let k = self.lane_mask(n)?;
                self.emit(masked(instruction, k, true));
            }
            return Ok(v);
        }
        if whole && extends {
            let v = self.vector()?;
            self.two(codes, self.reg(&v), &Place::Mem(m));
            return Ok(v);
        }
        let v = self.load_bytes(p, disp, n * e.bytes())?;
        let (r, x) = (self.reg(&v), Self::xmm(&v));
        if extends {
            self.two(codes, r, &Place::Reg(x));
            return Ok(v);
        }
        // Each doubled until it fills its lane, then shifted down.
        if !e.two {
            self.three(&UNPACK_BYTES, x, x, &Place::Reg(x));
        }
        self.three(&UNPACK_WORDS, x, x, &Place::Reg(x));
        let by = 32 - 8 * e.bytes() as u8;
        self.op1(if e.signed { Op1::Sar(by) } else { Op1::Shr(by) }, &v)?;
        Ok(v)
    }

    /// The first bytes, up to 15, in the low 128 bits; the rest of these is 0.
    pub(super) fn load_bytes(&mut self, p: &P, disp: i32, bytes: usize) -> R<V> {
        let v = self.vector()?;
        let x = Self::xmm(&v);
        let at = |offset: usize| memory(p, disp + offset as i32, false);
        let mut done = 0;
        if bytes >= 8 {
            self.emit(Instruction::with2(self.pick(&LOAD_8), x, at(0)));
            done = 8;
        } else if bytes >= 4 {
            self.emit(Instruction::with2(self.pick(&LOAD_4), x, at(0)));
            done = 4;
        } else {
            self.three(&CLEAR, x, x, &Place::Reg(x));
        }
        while bytes - done >= 2 {
            self.insert_word(x, Place::Mem(at(done)), done / 2);
            done += 2;
        }
        if bytes > done {
            let last = self.pointer()?;
            let r = low_32(&last);
            self.emit(Instruction::with2(Code::Movzx_r32_rm8, r, at(done)));
            self.insert_word(x, Place::Reg(r), done / 2);
            self.free_ptr(last);
        }
        Ok(v)
    }

    fn insert_word(&mut self, x: Register, word: Place, i: usize) {
        let (code, i) = (self.pick(&LOAD_WORD), i as u32);
        let legacy = self.encoding == Encoding::Legacy;
        self.emit(match (word, legacy) {
            (Place::Mem(m), true) => Instruction::with3(code, x, m, i),
            (Place::Mem(m), false) => Instruction::with4(code, x, x, m, i),
            (Place::Reg(r), true) => Instruction::with3(code, x, r, i),
            (Place::Reg(r), false) => Instruction::with4(code, x, x, r, i),
            (Place::Pool(..), _) => return self.failed = true,
        });
    }

    pub(super) fn load_short_splat(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let element = self.pointer()?;
        let (r, m) = (low_32(&element), memory(p, disp, false));
        let code = match (e.two, e.signed) {
            (false, false) => Code::Movzx_r32_rm8,
            (false, true) => Code::Movsx_r32_rm8,
            (true, false) => Code::Movzx_r32_rm16,
            (true, true) => Code::Movsx_r32_rm16,
        };
        self.emit(Instruction::with2(code, r, m));
        let (d, x) = (self.reg(&v), Self::xmm(&v));
        if self.encoding == Encoding::Evex512 {
            self.emit(Instruction::with2(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, d, r));
        } else {
            self.emit(Instruction::with2(self.pick(&LOAD_4), x, r));
            if self.encoding == Encoding::Vex256 {
                self.emit(Instruction::with2(Code::VEX_Vpbroadcastd_ymm_xmmm32, d, x));
            } else {
                self.emit(Instruction::with3(self.pick(&PERMUTE), d, x, 0u32));
            }
        }
        self.free_ptr(element);
        Ok(v)
    }

    pub(super) fn store_short(
        &mut self,
        e: Narrow,
        overflow: Overflow,
        p: &P,
        disp: i32,
        v: &V,
        n: usize,
    ) -> R {
        if overflow == Overflow::Moved {
            return Err(Refusal::unsupported("bytes less half of their range"));
        }
        if overflow == Overflow::Byte {
            return self.store_clamped_words(p, disp, v, n);
        }
        let saturates = overflow == Overflow::Saturate;
        let lanes = self.copy(v)?;
        if saturates && e.two && !e.signed {
            // No instruction of SSE2 for this one.
            let (least, most) = e.range();
            self.op2_as(Lane::I32, Op2::Max, &lanes, Src::Bits(least as u32))?;
            self.op2_as(Lane::I32, Op2::Min, &lanes, Src::Bits(most as u32))?;
        }
        if self.encoding == Encoding::Evex512 {
            if saturates && !e.signed && !e.two {
                self.op2_as(Lane::I32, Op2::Max, &lanes, Src::Bits(0))?;
            }
            let code = match (e.two, saturates, e.signed) {
                (false, false, _) => Code::EVEX_Vpmovdb_xmmm128_k1z_zmm,
                (false, true, false) => Code::EVEX_Vpmovusdb_xmmm128_k1z_zmm,
                (false, true, true) => Code::EVEX_Vpmovsdb_xmmm128_k1z_zmm,
                (true, true, true) => Code::EVEX_Vpmovsdw_ymmm256_k1z_zmm,
                (true, ..) => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
            };
            let instruction = Instruction::with2(code, memory(p, disp, false), self.reg(&lanes));
            if n >= self.lanes() {
                self.emit(instruction);
            } else {
                let k = self.lane_mask(n)?;
                self.emit(masked(instruction, k, false));
            }
        } else {
            self.pack(e, saturates, &lanes)?;
            self.store_bytes(p, disp, &lanes, n * e.bytes())?;
        }
        self.free(lanes);
        Ok(())
    }

    /// Lanes become elements in the low 128 bits. The instructions saturate; what wraps is brought into their range.
    fn pack(&mut self, e: Narrow, saturates: bool, v: &V) -> R {
        if !e.two && !saturates {
            self.op2(Op2::And, v, Src::Bits(0xff))?;
        } else if e.two && !(saturates && e.signed) {
            self.op1(Op1::Shl(16), v)?;
            self.op1(Op1::Sar(16), v)?;
        }
        let x = Self::xmm(v);
        if self.encoding == Encoding::Vex256 {
            let upper = self.vector()?;
            let u = Self::xmm(&upper);
            self.emit(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, u, self.reg(v), 1u32));
            self.three(&PACK_I32, x, x, &Place::Reg(u));
            self.free(upper);
        } else {
            self.three(&PACK_I32, x, x, &Place::Reg(x));
        }
        if !e.two {
            self.three(if saturates && e.signed { &PACK_I16 } else { &PACK_U8 }, x, x, &Place::Reg(x));
        }
        Ok(())
    }

    /// Writes the first bytes of the low 128 bits, up to 16, which are used up.
    pub(super) fn store_bytes(&mut self, p: &P, disp: i32, v: &V, bytes: usize) -> R {
        let x = Self::xmm(v);
        let at = |offset: usize| memory(p, disp + offset as i32, false);
        let mut done = 0;
        for (piece, codes) in [(16, &STORE_16), (8, &STORE_8), (4, &STORE_4)] {
            if bytes - done >= piece {
                self.emit(Instruction::with2(self.pick(codes), at(done), x));
                done += piece;
                if piece < 16 && bytes > done {
                    self.shift(&SHIFT_BYTES, x, piece as u8);
                }
            }
        }
        if bytes > done {
            let rest = self.pointer()?;
            let r = low_32(&rest);
            if bytes - done >= 2 {
                self.emit(Instruction::with3(self.pick(&TAKE_WORD), r, x, 0u32));
                self.emit(Instruction::with2(Code::Mov_rm16_r16, at(done), low_16(&rest)));
                done += 2;
                if bytes > done {
                    self.emit(Instruction::with3(self.pick(&TAKE_WORD), r, x, 1u32));
                }
            } else {
                self.emit(Instruction::with3(self.pick(&TAKE_WORD), r, x, 0u32));
            }
            if bytes > done {
                self.emit(Instruction::with2(Code::Mov_rm8_r8, at(done), low_8(&rest)));
            }
            self.free_ptr(rest);
        }
        Ok(())
    }
}

pub(super) fn low_32(p: &P) -> Register {
    // The rows of the table of registers are in the order of their numbers.
    Register::EAX + (general(p) as u32 - Register::RAX as u32)
}

pub(super) fn low_16(p: &P) -> Register {
    Register::AX + (general(p) as u32 - Register::RAX as u32)
}

fn low_8(p: &P) -> Register {
    match general(p) {
        Register::RAX => Register::AL,
        Register::RCX => Register::CL,
        Register::RDX => Register::DL,
        Register::RBX => Register::BL,
        Register::RBP => Register::BPL,
        Register::RSI => Register::SIL,
        Register::RDI => Register::DIL,
        other => Register::R8L + (other as u32 - Register::R8 as u32),
    }
}
