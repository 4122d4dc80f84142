//! Elements with gaps between them, in one vector.

use super::address::{LOAD_4, LOAD_8, LOAD_16, LOAD_U16, LOAD_WORD};
use super::{Encoder, LANES, NEAR, NUMBER, OTHER};
use crate::aarch64::isa::*;
use crate::simd::{Apart, Narrow, P, R, Refusal, Simd as _, V};

/// Bytes of two elements.
const EVERY_OTHER: i32 = 8;

impl Encoder {
    /// See [`Simd::load_strided`](crate::simd::Simd::load_strided).
    pub(super) fn strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        if stride == EVERY_OTHER && n == LANES {
            // The second vector ends at the last element: moved down by one, its own are the even ones too.
            let (low, high) = (self.vector()?, self.vector()?);
            self.transfer(LOAD_16, low.0, p, disp);
            self.transfer(LOAD_16, high.0, p, disp + 12);
            let (l, h) = (i64::from(low.0), i64::from(high.0));
            self.put(EXT, &[h, h, h, 4]);
            self.put(UZP1_4S, &[l, l, h]);
            self.free(high);
            return Ok(low);
        }
        self.load_elements(Apart { bytes: 4, signed: false, stride: stride.into() }, p, disp, n)
    }

    /// One element after the other, each into its lane.
    pub(super) fn load_elements(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        let n = n.min(if apart.bytes == 8 { 2 } else { LANES });
        if n == 0 {
            return self.constant(0);
        }
        let v = self.vector()?;
        if apart.bytes < 4 {
            let e = Narrow { two: apart.bytes == 2, signed: apart.signed };
            if n < LANES {
                self.make(v.0, 0);
            }
            for i in 0..n {
                self.short_number(e, p, apart.disp(disp, i)?);
                if i == 0 && n == LANES {
                    self.put(DUP_W, &[v.0.into(), NUMBER.into()]);
                } else {
                    self.put(INS_W, &[v.0.into(), i as i64, NUMBER.into()]);
                }
            }
            return Ok(v);
        }
        let (form, lane, next) =
            if apart.bytes == 8 { (LOAD_8, LD1_D, None) } else { (LOAD_4, LD1_S, Some(LD1_S_NEXT)) };
        self.transfer(form, v.0, p, disp);
        if let (Some(next), true) = (next, n > 2) {
            // An address that goes on by itself.
            let second = apart.disp(disp, 1)?;
            apart.disp(disp, n - 1)?;
            self.add_number(NUMBER, p.0, second.into());
            self.number(OTHER, apart.stride);
            for i in 1..n - 1 {
                self.put(next, &[v.0.into(), i as i64, NUMBER.into(), OTHER.into()]);
            }
            self.put(lane, &[v.0.into(), n as i64 - 1, NUMBER.into()]);
            return Ok(v);
        }
        for i in 1..n {
            self.lane_transfer(lane, v.0, i, p, apart.disp(disp, i)?);
        }
        Ok(v)
    }

    /// One element after the other, each into its bytes.
    pub(super) fn load_side_by_side(&mut self, apart: Apart, p: &P, disp: i32) -> R<Option<V>> {
        let (count, next) = match apart.bytes {
            1 => (16, LD1_B_NEXT),
            2 => (8, LD1_H_NEXT),
            _ => return Ok(None),
        };
        apart.disp(disp, count - 1)?;
        let v = self.constant(0)?;
        self.add_number(NUMBER, p.0, disp.into());
        self.number(OTHER, apart.stride);
        for i in 0..count {
            self.put(next, &[v.0.into(), i as i64, NUMBER.into(), OTHER.into()]);
        }
        Ok(Some(v))
    }

    /// See [`Simd::load_indexed`](crate::simd::Simd::load_indexed).
    pub(super) fn indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        let n = n.min(LANES);
        if n == 0 {
            return self.constant(0);
        }
        let v = self.vector()?;
        let (form, size) = if short { (LOAD_U16, 2) } else { (LOAD_WORD, 4) };
        let base = if disp == 0 { p.0 } else { NEAR };
        for i in 0..n {
            let place = at.checked_add(size * i as i32).ok_or(Refusal::FarDisplacement)?;
            self.transfer(form, NUMBER, indices, place);
            // An index that is far away takes the register.
            if base == NEAR && self.near != Some((p.0, disp.into())) {
                self.add_number(NEAR, p.0, disp.into());
                self.near = Some((p.0, disp.into()));
            }
            if i == 0 {
                self.put(LDR_S_INDEXED, &[v.0.into(), base.into(), NUMBER.into()]);
            } else {
                self.put(ADD, &[NUMBER.into(), base.into(), NUMBER.into(), 2]);
                self.put(LD1_S, &[v.0.into(), i as i64, NUMBER.into()]);
            }
        }
        Ok(v)
    }
}
