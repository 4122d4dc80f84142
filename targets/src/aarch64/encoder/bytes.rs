//! Products of bytes and of words, and tables of bytes.

use super::Encoder;
use super::address::{LOAD_8, LOAD_16};
use crate::aarch64::isa::*;
use crate::simd::{P, R, Refusal, Simd as _, Src, V};

impl Encoder {
    /// [`Simd::dot4`](crate::simd::Simd::dot4).
    pub(super) fn dot_bytes(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        if !self.mixed_dots {
            return Err(Refusal::unsupported("products of four bytes by an instruction"));
        }
        let to = self.reg(d);
        if self.is_first_lane(a) {
            // The signed ones are the vector's here.
            let (b, temporary) = self.operand(b)?;
            self.put(SUDOT_LANE, &[to.into(), b.into(), a.0.into(), 0]);
            self.release(temporary);
            return Ok(());
        }
        let a = self.reg(a);
        let (b, temporary) = match b {
            Src::Reg(b) => (b.0, None),
            Src::Splat(p, disp) => {
                let b = self.load_first_lane(p, disp)?;
                (b.0, Some(b))
            }
            b => self.operand(b)?,
        };
        if self.first_lanes >> b & 1 == 1 {
            self.put(USDOT_LANE, &[to.into(), a.into(), b.into(), 0]);
        } else {
            self.three_of_all(USDOT, to, a, b);
        }
        self.release(temporary);
        Ok(())
    }

    /// [`Simd::madd_words`](crate::simd::Simd::madd_words).
    pub(super) fn multiply_words(&mut self, d: &V, s: Src<'_>) -> R {
        let low = self.vector()?;
        let (s, temporary) = self.operand(s)?;
        let (d, l) = (self.reg(d), low.0);
        self.put(SMULL_4S, &[l.into(), d.into(), s.into()]);
        self.put(SMULL2_4S, &[d.into(), d.into(), s.into()]);
        self.put(ADDP_4S, &[d.into(), l.into(), d.into()]);
        self.release(temporary);
        self.free(low);
        Ok(())
    }

    /// [`Simd::fma_words`](crate::simd::Simd::fma_words).
    pub(super) fn add_products_of_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (low, high) = (self.vector()?, self.vector()?);
        let (b, temporary) = self.operand(b)?;
        let (d, a) = (i64::from(self.reg(d)), i64::from(self.reg(a)));
        let (l, h) = (i64::from(low.0), i64::from(high.0));
        self.put(SMULL_4S, &[l, a, b.into()]);
        self.put(SMULL2_4S, &[h, a, b.into()]);
        self.put(ADDP_4S, &[l, l, h]);
        self.put(ADD_4S, &[d, d, l]);
        self.release(temporary);
        self.free(high);
        self.free(low);
        Ok(())
    }

    /// [`Simd::look_up_part`](crate::simd::Simd::look_up_part): the instruction gives 0 beyond the table's end.
    pub(super) fn entries_of_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        let table = self.vector()?;
        self.transfer(LOAD_16, table.0, p, disp);
        let d = self.reg(d);
        self.put(TBL_1, &[d.into(), table.0.into(), d.into()]);
        self.free(table);
        Ok(())
    }

    /// [`Simd::load_words`](crate::simd::Simd::load_words).
    pub(super) fn extended_bytes(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        let v = self.vector()?;
        self.transfer(LOAD_8, v.0, p, disp);
        self.put(if signed { SSHLL_8H } else { USHLL_8H }, &[v.0.into(), v.0.into(), 0]);
        Ok(v)
    }
}
