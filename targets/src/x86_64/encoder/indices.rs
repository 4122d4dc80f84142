//! Indices and counts: in general registers, compared with the extent of their axis, and in lanes.

use iced_x86::{Code, Instruction, Register};

use super::codes::{Encoding, LOAD};
use super::lane_codes::{TEST, UNPACK_I64};
use super::{Encoder, Place, general};
use crate::simd::{Block, Lane, Op2, P, R, Simd, Src, V, sequences};

impl Encoder {
    pub(super) fn branch_below(
        &mut self,
        p: &P,
        limit: i64,
        inside: Block<'_, Self>,
        outside: Block<'_, Self>,
    ) -> R {
        let r = general(p);
        match i32::try_from(limit) {
            Ok(limit) => self.emit(Instruction::with2(Code::Cmp_rm64_imm32, r, limit)),
            Err(_) => {
                let far = self.pointer()?;
                self.emit(Instruction::with2(Code::Mov_r64_imm64, general(&far), limit));
                self.emit(Instruction::with2(Code::Cmp_r64_rm64, r, general(&far)));
                self.free_ptr(far);
            }
        }
        // Negative numbers are large unsigned ones.
        let otherwise = self.jump_ahead(Code::Jae_rel32_64);
        inside(self)?;
        let done = self.jump_ahead(Code::Jmp_rel32_64);
        self.land(otherwise)?;
        outside(self)?;
        self.land(done)
    }

    /// Runs `some` where the flags are not zero, else `none`.
    pub(super) fn some_or_none(&mut self, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        let found = self.jump_ahead(Code::Jne_rel32_64);
        none(self)?;
        let done = self.jump_ahead(Code::Jmp_rel32_64);
        self.land(found)?;
        some(self)?;
        self.land(done)
    }

    /// Sets the flags: zero where no lane has one of these bits.
    pub(super) fn test_bits(&mut self, v: &V, bits: u32) -> R {
        if let Encoding::Vex128 | Encoding::Vex256 = self.encoding {
            let operand = self.splat_operand(bits);
            self.two(&TEST, self.reg(v), &operand);
            return Ok(());
        }
        self.op2(Op2::And, v, Src::Bits(bits))?;
        if self.encoding == Encoding::Legacy {
            self.op2_as(Lane::I32, Op2::Eq, v, Src::Bits(0))?;
            sequences::invert(self, v)?;
        }
        self.test_any(v)
    }

    /// Sets the flags: zero where no lane of the mask is set.
    pub(super) fn test_any(&mut self, mask: &V) -> R {
        let r = self.reg(mask);
        match self.encoding {
            Encoding::Legacy => {
                let bits = self.pointer()?;
                let b = general(&bits);
                self.emit(Instruction::with2(Code::Movmskps_r64_xmm, b, r));
                self.emit(Instruction::with2(Code::Test_rm64_r64, b, b));
                self.free_ptr(bits);
            }
            Encoding::Vex128 => self.emit(Instruction::with2(Code::VEX_Vptest_xmm_xmmm128, r, r)),
            Encoding::Vex256 => self.emit(Instruction::with2(Code::VEX_Vptest_ymm_ymmm256, r, r)),
            Encoding::Evex512 => {
                let test = Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32;
                self.emit(Instruction::with3(test, Register::K1, r, r));
                self.emit(Instruction::with2(Code::VEX_Kortestw_kr_kr, Register::K1, Register::K1));
            }
        }
        Ok(())
    }

    pub(super) fn lane_numbers(&mut self, wide: bool) -> R<V> {
        let lanes = self.lanes() as u32;
        let bytes: Vec<u8> = match wide {
            true => (0..u64::from(lanes / 2)).flat_map(u64::to_le_bytes).collect(),
            false => (0..lanes).flat_map(u32::to_le_bytes).collect(),
        };
        let numbers = Place::Pool(self.constant(&bytes), false);
        let v = self.vector()?;
        self.two(&LOAD, self.reg(&v), &numbers);
        Ok(v)
    }

    pub(super) fn splat_number(&mut self, p: &P, disp: i32) -> R<V> {
        let number = self.copy_ptr(p)?;
        self.advance(&number, disp.into());
        let v = self.vector()?;
        let (n, r, x) = (general(&number), self.reg(&v), Self::xmm(&v));
        match self.encoding {
            Encoding::Legacy => {
                self.emit(Instruction::with2(Code::Movq_xmm_rm64, x, n));
                self.three(&UNPACK_I64, x, x, &Place::Reg(x));
            }
            Encoding::Vex128 => {
                self.emit(Instruction::with2(Code::VEX_Vmovq_xmm_rm64, x, n));
                self.three(&UNPACK_I64, x, x, &Place::Reg(x));
            }
            Encoding::Vex256 => {
                self.emit(Instruction::with2(Code::VEX_Vmovq_xmm_rm64, x, n));
                self.emit(Instruction::with2(Code::VEX_Vpbroadcastq_ymm_xmmm64, r, x));
            }
            Encoding::Evex512 => self.emit(Instruction::with2(Code::EVEX_Vpbroadcastq_zmm_k1z_r64, r, n)),
        }
        self.free_ptr(number);
        Ok(v)
    }

    pub(super) fn wrap_negative(&mut self, p: &P, extent: i64) -> R {
        let wrapped = self.copy_ptr(p)?;
        let (r, t) = (general(p), general(&wrapped));
        self.add_immediate(t, extent);
        self.emit(Instruction::with2(Code::Test_rm64_r64, r, r));
        self.emit(Instruction::with2(Code::Cmovs_r64_rm64, r, t));
        self.free_ptr(wrapped);
        Ok(())
    }
}
