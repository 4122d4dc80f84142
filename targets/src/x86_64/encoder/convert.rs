//! Conversions between numbers that are instructions.

use iced_x86::{Code, Instruction, Register};

use super::codes::{Encoding, PERMUTE, TO_FLOAT};
use super::lane_codes::*;
use super::pieces::{CMP_EQ, CMP_LE, Width};
use super::{Encoder, Place};
use crate::simd::{Lane, Op1, Op2, R, Simd, Src, V};

impl Encoder {
    /// Half of a register, where lanes of 32 bits lie beside wide ones.
    pub(super) fn half(&self, v: &V) -> Register {
        match self.encoding {
            Encoding::Evex512 => Register::YMM0 + v.0,
            _ => Self::xmm(v),
        }
    }

    pub(super) fn direct_conversion(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        use Lane::{F32, F64, I32, I64, U32, U64};
        let (r, half) = (self.reg(d), self.half(d));
        match (from, to) {
            (I32, I64) | (U32, U64) => self.widen(from == I32, d)?,
            (I64, I32) => self.narrow(d)?,
            (F32, F64) => self.two(&F32_TO_F64, r, &Place::Reg(half)),
            (F64, F32) => self.two(&F64_TO_F32, half, &Place::Reg(r)),
            (I32, F64) => self.two(&I32_TO_F64, r, &Place::Reg(half)),
            (I32, F32) => self.two(&TO_FLOAT, r, &Place::Reg(r)),
            (F32, I32) => self.truncate(Width::F32, d)?,
            _ if self.encoding != Encoding::Evex512 => return Ok(false),
            (U32, F32) => self.emit(Instruction::with2(Code::EVEX_Vcvtudq2ps_zmm_k1z_zmmm512b32_er, r, r)),
            (U32, F64) => self.emit(Instruction::with2(Code::EVEX_Vcvtudq2pd_zmm_k1z_ymmm256b32_er, r, half)),
            (I64, F64) => self.emit(Instruction::with2(Code::EVEX_Vcvtqq2pd_zmm_k1z_zmmm512b64_er, r, r)),
            (U64, F64) => self.emit(Instruction::with2(Code::EVEX_Vcvtuqq2pd_zmm_k1z_zmmm512b64_er, r, r)),
            (I64, F32) => self.emit(Instruction::with2(Code::EVEX_Vcvtqq2ps_ymm_k1z_zmmm512b64_er, half, r)),
            (U64, F32) => self.emit(Instruction::with2(Code::EVEX_Vcvtuqq2ps_ymm_k1z_zmmm512b64_er, half, r)),
            (F64, I64) => self.truncate(Width::F64, d)?,
            (F32, I64) => {
                self.two(&F32_TO_F64, r, &Place::Reg(half));
                self.truncate(Width::F64, d)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lanes of 32 bits become lanes of 64.
    fn widen(&mut self, signed: bool, d: &V) -> R {
        let (r, half) = (self.reg(d), self.half(d));
        if self.encoding != Encoding::Legacy || self.rounds {
            self.two(if signed { &EXTEND_I32 } else { &EXTEND_U32 }, r, &Place::Reg(half));
            return Ok(());
        }
        let high = if signed { self.copy(d)? } else { self.splat(0.0)? };
        if signed {
            self.op1(Op1::Sar(31), &high)?;
        }
        self.three(&UNPACK_I32, r, r, &Place::Reg(self.reg(&high)));
        self.free(high);
        Ok(())
    }

    /// The low halves of lanes of 64 bits become lanes of 32.
    fn narrow(&mut self, d: &V) -> R {
        let (r, half) = (self.reg(d), self.half(d));
        match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => {
                self.emit(Instruction::with3(self.pick(&PERMUTE), r, r, 0x88_u32));
            }
            Encoding::Vex256 => {
                let upper = self.vector()?;
                let u = Self::xmm(&upper);
                self.emit(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, u, r, 1u32));
                let code = Code::VEX_Vshufps_xmm_xmm_xmmm128_imm8;
                self.emit(Instruction::with4(code, half, half, u, 0x88_u32));
                self.free(upper);
            }
            Encoding::Evex512 => {
                self.emit(Instruction::with2(Code::EVEX_Vpmovqd_ymmm256_k1z_zmm, half, r));
            }
        }
        Ok(())
    }

    /// Floats to signed integers of their width. The instruction gives the least integer for what it cannot
    /// convert: its complement is the greatest one, and NaN becomes 0 before.
    fn truncate(&mut self, width: Width, d: &V) -> R {
        let (ty, limit) = match width {
            Width::F32 => (Lane::F32, Src::Const(2_147_483_648.0)),
            Width::F64 => (Lane::F64, Src::Wide(9_223_372_036_854_775_808f64.to_bits())),
        };
        let (number, limit) = (self.vector()?, self.register(limit)?);
        let (r, n) = (self.reg(d), self.reg(&number));
        self.compare_as(width, n, r, &Place::Reg(r), CMP_EQ);
        self.op2(Op2::And, d, Src::Reg(&number))?;
        self.compare_as(width, n, limit.0, &Place::Reg(r), CMP_LE);
        self.release(limit.1);
        match ty {
            Lane::F32 => self.two(&TRUNCATE, r, &Place::Reg(r)),
            _ => self.emit(Instruction::with2(Code::EVEX_Vcvttpd2qq_zmm_k1z_zmmm512b64_sae, r, r)),
        }
        self.op2(Op2::Xor, d, Src::Reg(&number))?;
        self.free(number);
        Ok(())
    }
}
