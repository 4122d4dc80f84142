//! Floats of 16 bits: F16C's instructions, which AVX-512 has at 512 bits.

use iced_x86::{Code, Instruction, Register};

use super::elements::low_32;
use super::lane_codes::{F16_TO_F32, F32_TO_F16, LOAD_4};
use super::{Encoder, Encoding, masked, memory};
use crate::simd::{P, R, Simd as _, V};

/// To nearest, halves to even, whatever the processor's mode.
const TO_NEAREST: u32 = 0;
/// A factor that doubles a number of 16 bits.
const TWICE: u32 = 0x0001_0001;

impl Encoder {
    pub(super) fn load_f16(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let code = self.pick(&F16_TO_F32);
        let m = memory(p, disp, false);
        if n >= self.lanes() || self.encoding == Encoding::Evex512 {
            let v = self.vector()?;
            let instruction = Instruction::with2(code, self.reg(&v), m);
            if n >= self.lanes() {
                self.emit(instruction);
            } else {
                let k = self.lane_mask(n)?;
                self.emit(masked(instruction, k, true));
            }
            return Ok(v);
        }
        let v = self.load_bytes(p, disp, 2 * n)?;
        self.emit(Instruction::with2(code, self.reg(&v), Self::xmm(&v)));
        Ok(v)
    }

    pub(super) fn load_splat_f16(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let element = self.pointer()?;
        let r = low_32(&element);
        self.emit(Instruction::with2(Code::Movzx_r32_rm16, r, memory(p, disp, false)));
        self.emit(Instruction::with3(Code::Imul_r32_rm32_imm32, r, r, TWICE));
        if self.encoding == Encoding::Evex512 {
            self.emit(Instruction::with2(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, self.reg(&v), r));
        } else {
            let x = Self::xmm(&v);
            self.emit(Instruction::with2(self.pick(&LOAD_4), x, r));
            self.emit(Instruction::with3(Code::VEX_Vpermilps_xmm_xmmm128_imm8, x, x, 0u32));
        }
        self.free_ptr(element);
        self.widen_f16(&v);
        Ok(v)
    }

    pub(super) fn store_f16(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let code = self.pick(&F32_TO_F16);
        let whole = n >= self.lanes();
        if whole || self.encoding == Encoding::Evex512 {
            let instruction = Instruction::with3(code, memory(p, disp, false), self.reg(v), TO_NEAREST);
            if whole {
                self.emit(instruction);
            } else {
                let k = self.lane_mask(n)?;
                self.emit(masked(instruction, k, false));
            }
            return Ok(());
        }
        self.narrow_f16(v);
        self.store_bytes(p, disp, v, 2 * n)
    }

    pub(super) fn round_f16(&mut self, d: &V) {
        self.narrow_f16(d);
        self.widen_f16(d);
    }

    /// Lanes become elements in the low half of the register.
    fn narrow_f16(&mut self, d: &V) {
        let (code, short) = (self.pick(&F32_TO_F16), self.short(d));
        self.emit(Instruction::with3(code, short, self.reg(d), TO_NEAREST));
    }

    fn widen_f16(&mut self, d: &V) {
        let (code, short) = (self.pick(&F16_TO_F32), self.short(d));
        self.emit(Instruction::with2(code, self.reg(d), short));
    }

    /// The register that holds as many elements of 16 bits as there are lanes.
    fn short(&self, d: &V) -> Register {
        match self.encoding {
            Encoding::Evex512 => self.half(d),
            _ => Self::xmm(d),
        }
    }
}
