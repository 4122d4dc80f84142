//! Bytes of several registers written at once, and lanes that are moved so that bytes interleave in order.
//!
//! Packing works within 128 bits, so that of four registers the parts of 128 bits come one after the other:
//!
//! ```text
//!   a: a0 a1 a2 a3   b: b0 b1 ..       a0 b0 c0 d0   a1 b1 c1 d1   a2 ..       four bytes each
//!                                      a0 a1 a2 a3   b0 b1 b2 b3   c0 ..       the same, moved to where they belong
//! ```

use iced_x86::{Code, Instruction, Register};

use super::codes::{Encoding, LOAD, STORE};
use super::lane_codes::{PACK_LANES, PACK_WORDS, PERMUTE_LANES};
use super::{Encoder, Place, memory};
use crate::simd::{P, R, Refusal, Simd as _, V};

impl Encoder {
    /// [`Simd::store_together`](crate::simd::Simd::store_together).
    pub(super) fn store_bytes_together(&mut self, p: &P, disp: i32, all: &[V]) -> R<bool> {
        if self.encoding == Encoding::Evex512 && !self.short_elements {
            return Ok(false);
        }
        let [first, second, rest @ ..] = all else { return Ok(false) };
        let (a, b) = (self.reg(first), self.reg(second));
        let other = match rest {
            [] => a,
            [third, fourth] => {
                let (c, d) = (self.reg(third), self.reg(fourth));
                self.three(&PACK_LANES, c, c, &Place::Reg(d));
                c
            }
            _ => return Ok(false),
        };
        self.three(&PACK_LANES, a, a, &Place::Reg(b));
        self.three(&PACK_WORDS, a, a, &Place::Reg(other));
        let parts = self.lanes() / 4;
        if parts > 1 {
            // Of two registers each part comes twice.
            let places: Vec<u8> =
                (0..self.lanes()).flat_map(|i| ((i % parts * 4 + i / parts) as u32).to_le_bytes()).collect();
            let places = Place::Pool(self.constant(&places), false);
            self.two(&LOAD, b, &places);
            self.three(&PERMUTE_LANES, a, b, &Place::Reg(a));
        }
        self.store_first(p, disp, first, self.lanes() * all.len())?;
        Ok(true)
    }

    /// Writes the first bytes of a register: 8, 16, 32 or 64.
    fn store_first(&mut self, p: &P, disp: i32, v: &V, bytes: usize) -> R {
        if bytes == 4 * self.lanes() {
            self.emit(Instruction::with2(self.pick(&STORE), memory(p, disp, false), self.reg(v)));
            return Ok(());
        }
        if self.encoding == Encoding::Evex512 {
            let half = Register::YMM0 + v.0;
            let code = Code::EVEX_Vmovups_ymmm256_k1z_ymm;
            self.emit(Instruction::with2(code, memory(p, disp, false), half));
            return Ok(());
        }
        self.store_bytes(p, disp, v, bytes)
    }

    /// [`Simd::prepare_turned`](crate::simd::Simd::prepare_turned).
    pub(super) fn prepare_turned_lanes(&mut self) -> R {
        if self.encoding == Encoding::Evex512 && self.turned.is_none() {
            let v = self.vector()?;
            let places: Vec<u8> = (0..16u32).flat_map(|i| (i % 4 * 4 + i / 4).to_le_bytes()).collect();
            let places = Place::Pool(self.constant(&places), false);
            self.two(&LOAD, self.reg(&v), &places);
            self.turned = Some(v);
        }
        Ok(())
    }

    /// [`Simd::load_turned`](crate::simd::Simd::load_turned).
    pub(super) fn turned_lanes(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        self.prepare_turned_lanes()?;
        let Some(places) = self.turned.as_ref().map(|v| self.reg(v)) else {
            return Err(Refusal::unsupported("lanes as a matrix that is turned"));
        };
        if n == self.lanes() {
            let v = self.vector()?;
            self.three_of_all(&PERMUTE_LANES, self.reg(&v), places, &Place::Mem(memory(p, disp, false)));
            return Ok(v);
        }
        let v = self.load(p, disp, n)?;
        self.three_of_all(&PERMUTE_LANES, self.reg(&v), places, &Place::Reg(self.reg(&v)));
        Ok(v)
    }
}
