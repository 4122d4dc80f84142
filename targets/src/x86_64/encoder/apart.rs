//! Elements with gaps between them, one after the other into lanes: 128 bits at a time.

use iced_x86::{Code, Instruction, Register};

use super::codes::Encoding;
use super::elements::low_32;
use super::lane_codes::{CLEAR, LOAD_4, LOAD_8, UNPACK_I32, UNPACK_I64};
use super::{Encoder, Place, memory};
use crate::simd::{Apart, P, R, Simd, V};

impl Encoder {
    pub(super) fn load_elements(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        let v = self.vector()?;
        let (r, x) = (self.reg(&v), Self::xmm(&v));
        if n == 0 {
            self.three(&CLEAR, x, x, &Place::Reg(x));
            return Ok(v);
        }
        let per_block = if apart.bytes == 8 { 2 } else { 4 };
        for first in (0..n).step_by(per_block) {
            let disps = (first..n.min(first + per_block)).map(|i| apart.disp(disp, i));
            let disps = disps.collect::<R<Vec<i32>>>()?;
            if first == 0 {
                self.load_block(apart, p, &disps, x)?;
                continue;
            }
            let block = self.vector()?;
            let b = Self::xmm(&block);
            self.load_block(apart, p, &disps, b)?;
            let at = (first / per_block) as u32;
            let code = match self.encoding {
                Encoding::Evex512 => Code::EVEX_Vinserti32x4_zmm_k1z_zmm_xmmm128_imm8,
                _ => Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
            };
            self.emit(Instruction::with4(code, r, r, b, at));
            self.free(block);
        }
        Ok(v)
    }

    /// Up to 128 bits of lanes; what lies above becomes 0.
    fn load_block(&mut self, apart: Apart, p: &P, disps: &[i32], x: Register) -> R {
        if self.encoding == Encoding::Legacy {
            return self.load_block_legacy(apart, p, disps, x);
        }
        let wide = apart.bytes == 8;
        let (first, others) = match (self.encoding, wide) {
            (Encoding::Evex512, false) => (Code::EVEX_Vmovd_xmm_rm32, Code::EVEX_Vpinsrd_xmm_xmm_rm32_imm8),
            (Encoding::Evex512, true) => (Code::EVEX_Vmovq_xmm_rm64, Code::EVEX_Vpinsrq_xmm_xmm_rm64_imm8),
            (_, false) => (Code::VEX_Vmovd_xmm_rm32, Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8),
            (_, true) => (Code::VEX_Vmovq_xmm_rm64, Code::VEX_Vpinsrq_xmm_xmm_rm64_imm8),
        };
        for (i, &disp) in disps.iter().enumerate() {
            let at = i as u32;
            match self.short_element(apart, p, disp)? {
                Some(element) => {
                    let e = low_32(&element);
                    self.emit(match i {
                        0 => Instruction::with2(first, x, e),
                        _ => Instruction::with4(others, x, x, e, at),
                    });
                    self.free_ptr(element);
                }
                None => {
                    let m = memory(p, disp, false);
                    self.emit(match i {
                        0 => Instruction::with2(first, x, m),
                        _ => Instruction::with4(others, x, x, m, at),
                    });
                }
            }
        }
        Ok(())
    }

    /// By pairs, and pairs of pairs.
    fn load_block_legacy(&mut self, apart: Apart, p: &P, disps: &[i32], x: Register) -> R {
        if let [disp] = disps {
            match self.short_element(apart, p, *disp)? {
                Some(element) => {
                    self.emit(Instruction::with2(self.pick(&LOAD_4), x, low_32(&element)));
                    self.free_ptr(element);
                }
                None => {
                    let code = self.pick(if apart.bytes == 8 { &LOAD_8 } else { &LOAD_4 });
                    self.emit(Instruction::with2(code, x, memory(p, *disp, false)));
                }
            }
            return Ok(());
        }
        // Four of 32 bits are two pairs; the last of three stands alone.
        let half = disps.len().div_ceil(2);
        let other = self.vector()?;
        let o = Self::xmm(&other);
        self.load_block_legacy(apart, p, &disps[..half], x)?;
        self.load_block_legacy(apart, p, &disps[half..], o)?;
        let unpack = if half == 2 || apart.bytes == 8 { &UNPACK_I64 } else { &UNPACK_I32 };
        self.three(unpack, x, x, &Place::Reg(o));
        self.free(other);
        Ok(())
    }

    /// An element of 1 or 2 bytes in a general register; `None` of longer ones.
    fn short_element(&mut self, apart: Apart, p: &P, disp: i32) -> R<Option<P>> {
        let code = match (apart.bytes, apart.signed) {
            (1, false) => Code::Movzx_r32_rm8,
            (1, true) => Code::Movsx_r32_rm8,
            (2, false) => Code::Movzx_r32_rm16,
            (2, true) => Code::Movsx_r32_rm16,
            _ => return Ok(None),
        };
        let element = self.pointer()?;
        self.emit(Instruction::with2(code, low_32(&element), memory(p, disp, false)));
        Ok(Some(element))
    }
}
