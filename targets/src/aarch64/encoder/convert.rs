//! Numbers of one type as another: between floats and integers the machine's conversions mean what `Cast` means.

use super::{Encoder, NUMBER, OTHER};
use crate::aarch64::isa::*;
use crate::simd::{Lane, P, R, Simd as _, V};

impl Encoder {
    pub(super) fn direct_conversion(&mut self, from: Lane, to: Lane, d: &V) -> R<bool> {
        use Lane::{F32, F64, I32, I64, U32, U64};
        let steps: &[Op] = match (from, to) {
            (I32, I64 | U64) => &[SSHLL_2D],
            (U32, I64 | U64) => &[USHLL_2D],
            (I64 | U64, I32 | U32) => &[XTN_2S],
            (F32, F64) => &[FCVTL_2D],
            (F64, F32) => &[FCVTN_2S],
            (I32, F32) => &[SCVTF_4S],
            (U32, F32) => &[UCVTF_4S],
            (I32, F64) => &[SSHLL_2D, SCVTF_2D],
            (U32, F64) => &[USHLL_2D, UCVTF_2D],
            (I64, F64) => &[SCVTF_2D],
            (U64, F64) => &[UCVTF_2D],
            (F32, I32) => &[FCVTZS_4S],
            (F32, U32) => &[FCVTZU_4S],
            (F32, I64) => &[FCVTL_2D, FCVTZS_2D],
            (F32, U64) => &[FCVTL_2D, FCVTZU_2D],
            (F64, I64) => &[FCVTZS_2D],
            (F64, U64) => &[FCVTZU_2D],
            // What 64 bits cannot hold 32 cannot either.
            (F64, I32) => &[FCVTZS_2D, SQXTN_2S],
            (F64, U32) => &[FCVTZU_2D, UQXTN_2S],
            (I64 | U64, F32) => {
                self.longs_to_f32(from == I64, d)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let r = self.reg(d);
        for op in steps {
            let (from, _) = self.before_copy(r, r, r);
            let widens = matches!(*op, SSHLL_2D | USHLL_2D);
            self.put(*op, &[r.into(), from.into(), 0][..if widens { 3 } else { 2 }]);
        }
        Ok(true)
    }

    /// One after the other, by way of general registers: from those the machine rounds to f32 at once.
    fn longs_to_f32(&mut self, signed: bool, d: &V) -> R {
        let upper = self.vector()?;
        let (r, u) = (i64::from(self.reg(d)), i64::from(upper.0));
        let op = if signed { SCVTF_S_X } else { UCVTF_S_X };
        self.put(UMOV_X, &[NUMBER.into(), r, 0]);
        self.put(UMOV_X, &[OTHER.into(), r, 1]);
        self.put(op, &[r, NUMBER.into()]);
        self.put(op, &[u, OTHER.into()]);
        self.put(INS_S, &[r, 1, u, 0]);
        self.free(upper);
        Ok(())
    }

    /// Floats of 16 bits from memory.
    pub(super) fn load_f16(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let v = self.load_bytes(p, disp, 2 * n.min(super::LANES))?;
        self.put(FCVTL_4S, &[v.0.into(), v.0.into()]);
        Ok(v)
    }

    pub(super) fn store_f16(&mut self, p: &P, disp: i32, v: &V, n: usize) {
        let r = self.reg(v);
        self.put(FCVTN_4H, &[r.into(), r.into()]);
        self.store_bytes(p, disp, r, 2 * n.min(super::LANES));
    }

    pub(super) fn round_f16(&mut self, d: &V) {
        let r = self.reg(d);
        self.two(FCVTN_4H, r, r);
        self.put(FCVTL_4S, &[r.into(), r.into()]);
    }
}
