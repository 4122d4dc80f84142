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
use super::lane_codes::{
    MAX_WORDS, MIN_WORDS, PACK_I32, PACK_LANES, PACK_WORDS, PERMUTE_LANES, SHIFT_BYTES, STORE_4, STORE_8,
    STORE_16, STORE_UPPER_8,
};
use super::{Encoder, Place, memory};
use crate::simd::{Overflow, P, R, Refusal, Simd as _, V};

/// Of a0 b0 a1 b1, 64 bits each, the order a0 a1 b0 b1.
const MIDDLES_TURNED: u32 = 0b11_01_10_00;

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

    /// Lanes of two registers as words, the nearest bytes.
    pub(super) fn store_words_together(&mut self, p: &P, disp: i32, all: &[V]) -> R<bool> {
        if self.encoding == Encoding::Evex512 {
            return Ok(false);
        }
        for (i, pair) in all.chunks_exact(2).enumerate() {
            let (a, b) = (self.reg(&pair[0]), self.reg(&pair[1]));
            self.three(&PACK_LANES, a, a, &Place::Reg(b));
            if self.encoding == Encoding::Vex256 {
                self.emit(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, a, a, MIDDLES_TURNED));
            }
            self.clamp_words(a);
            let m = memory(p, disp + (i * 4 * self.lanes()) as i32, false);
            self.emit(Instruction::with2(self.pick(&STORE), m, a));
        }
        Ok(true)
    }

    /// The first lanes as words, the nearest bytes.
    pub(super) fn store_clamped_words(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        if self.encoding == Encoding::Evex512 {
            return Err(Refusal::unsupported("bytes as words"));
        }
        let lanes = self.copy(v)?;
        let x = Self::xmm(&lanes);
        if self.encoding == Encoding::Vex256 {
            let upper = self.vector()?;
            let u = Self::xmm(&upper);
            self.emit(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, u, self.reg(&lanes), 1u32));
            self.three(&PACK_I32, x, x, &Place::Reg(u));
            self.free(upper);
        } else {
            self.three(&PACK_I32, x, x, &Place::Reg(x));
        }
        self.clamp_words(self.reg(&lanes));
        self.store_bytes(p, disp, &lanes, 2 * n)?;
        self.free(lanes);
        Ok(())
    }

    /// [`Simd::store_two`](crate::simd::Simd::store_two).
    pub(super) fn store_to_two_places(
        &mut self,
        p: &P,
        disps: [i32; 2],
        [first, second]: [&V; 2],
        overflow: Overflow,
    ) -> R<bool> {
        let bytes = match overflow {
            Overflow::Saturate => true,
            Overflow::Byte => false,
            Overflow::Wrap | Overflow::Moved => return Ok(false),
        };
        let wide = self.encoding == Encoding::Vex256;
        if self.encoding == Encoding::Evex512 {
            return Ok(false);
        }
        let (a, b, x) = (self.reg(first), self.reg(second), Self::xmm(first));
        let [near, far] = disps.map(|disp| memory(p, disp, false));
        self.three(&PACK_LANES, a, a, &Place::Reg(b));
        match (bytes, wide) {
            (true, true) => {
                self.three(&PACK_WORDS, a, a, &Place::Reg(a));
                let order: Vec<u8> =
                    [0u32, 4, 1, 5, 2, 6, 3, 7].iter().flat_map(|i| i.to_le_bytes()).collect();
                let order = Place::Pool(self.constant(&order), false);
                self.two(&LOAD, b, &order);
                self.three(&PERMUTE_LANES, a, b, &Place::Reg(a));
                self.emit(Instruction::with2(self.pick(&STORE_8), near, x));
                self.emit(Instruction::with2(self.pick(&STORE_UPPER_8), far, x));
            }
            (true, false) => {
                self.three(&PACK_WORDS, a, a, &Place::Reg(a));
                self.emit(Instruction::with2(self.pick(&STORE_4), near, x));
                self.shift(&SHIFT_BYTES, x, 4);
                self.emit(Instruction::with2(self.pick(&STORE_4), far, x));
            }
            (false, true) => {
                self.emit(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, a, a, MIDDLES_TURNED));
                self.clamp_words(a);
                self.emit(Instruction::with2(self.pick(&STORE_16), near, x));
                self.emit(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, far, a, 1u32));
            }
            (false, false) => {
                self.clamp_words(a);
                self.emit(Instruction::with2(self.pick(&STORE_8), near, x));
                self.emit(Instruction::with2(self.pick(&STORE_UPPER_8), far, x));
            }
        }
        Ok(true)
    }

    /// The nearest bytes without a sign. No register is needed for that.
    fn clamp_words(&mut self, words: Register) {
        for (codes, limit) in [(&MIN_WORDS, 255u16), (&MAX_WORDS, 0)] {
            let limits: Vec<u8> = (0..2 * self.lanes()).flat_map(|_| limit.to_le_bytes()).collect();
            let limits = Place::Pool(self.constant(&limits), false);
            self.three(codes, words, words, &limits);
        }
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
