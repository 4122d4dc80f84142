//! Products of bytes and of words, and tables of bytes.

use iced_x86::{Code, Instruction, Register};

use super::codes::{Codes, Encoding, MOVE};
use super::lane_codes::{
    ADD_BYTES_SATURATING, ADD_WORDS, DOT_BYTES, DOT_WORDS, EXTEND_BYTES, EXTEND_UNSIGNED_BYTES, LOAD_8,
    LOAD_QUARTERS, MADD_BYTES, MADD_WORDS, MAX_BYTES, SHIFT_WORDS_LEFT, SHIFT_WORDS_SIGNED, SHUFFLE_BYTES,
    SUB_WORDS, UNPACK_BYTES,
};
use super::{Encoder, Place, masked, memory};
use crate::simd::{Op2, P, R, Refusal, Simd, Src, V};

impl Encoder {
    /// [`Simd::dot4`](crate::simd::Simd::dot4).
    pub(super) fn dot_bytes(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (place, temporary) = self.place(b)?;
        let (d, a) = (self.reg(d), self.reg(a));
        self.three(&DOT_BYTES, d, a, &place);
        self.release(temporary);
        Ok(())
    }

    /// [`Simd::fma_words`](crate::simd::Simd::fma_words).
    pub(super) fn dot_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        if self.dot4 {
            let (place, temporary) = self.place(b)?;
            let (d, a) = (self.reg(d), self.reg(a));
            self.three(&DOT_WORDS, d, a, &place);
            self.release(temporary);
            return Ok(());
        }
        self.need_short_elements()?;
        let (b, temporary) = self.register(b)?;
        let product = self.vector()?;
        let p = self.reg(&product);
        self.three(&MADD_WORDS, p, self.reg(a), &Place::Reg(b));
        self.op2(Op2::IntAdd, d, Src::Reg(&product))?;
        self.free(product);
        self.release(temporary);
        Ok(())
    }

    /// [`Simd::madd_bytes`](crate::simd::Simd::madd_bytes).
    pub(super) fn multiply_bytes(&mut self, d: &V, s: Src<'_>) -> R {
        if self.encoding == Encoding::Legacy {
            return Err(Refusal::unsupported("sums of products of bytes in 16 bits without AVX"));
        }
        self.by_words(&MADD_BYTES, d, d, s)
    }

    /// [`Simd::products_of_bytes`](crate::simd::Simd::products_of_bytes).
    pub(super) fn multiplied_bytes(&mut self, a: &V, s: Src<'_>) -> R<V> {
        if self.encoding == Encoding::Legacy {
            return Err(Refusal::unsupported("sums of products of bytes in 16 bits without AVX"));
        }
        let d = self.vector()?;
        self.by_words(&MADD_BYTES, &d, a, s)?;
        Ok(d)
    }

    /// [`Simd::products_of_words`](crate::simd::Simd::products_of_words).
    pub(super) fn word_products(&mut self, a: &V, s: Src<'_>) -> R<V> {
        let d = self.vector()?;
        self.by_words(&MADD_WORDS, &d, a, s)?;
        Ok(d)
    }

    /// [`Simd::madd_words`](crate::simd::Simd::madd_words).
    pub(super) fn multiply_words(&mut self, d: &V, s: Src<'_>) -> R {
        self.by_words(&MADD_WORDS, d, d, s)
    }

    /// `d = a op s` of an instruction on words.
    fn by_words(&mut self, codes: &Codes, d: &V, a: &V, s: Src<'_>) -> R {
        self.need_short_elements()?;
        // There is no broadcast of 32 bits among operations on words.
        let (place, temporary) = match s {
            Src::Mem(p, disp) if self.encoding != Encoding::Legacy => {
                (Place::Mem(memory(p, disp, false)), None)
            }
            s => {
                let (register, temporary) = self.register(s)?;
                (Place::Reg(register), temporary)
            }
        };
        let (d, a) = (self.reg(d), self.reg(a));
        self.three(codes, d, a, &place);
        self.release(temporary);
        Ok(())
    }

    /// [`Simd::load_words`](crate::simd::Simd::load_words).
    pub(super) fn extended_bytes(&mut self, p: &P, disp: i32, signed: bool) -> R<V> {
        self.need_short_elements()?;
        let v = self.vector()?;
        let from = memory(p, disp, false);
        if self.encoding != Encoding::Legacy || self.rounds {
            let code = self.pick(if signed { &EXTEND_BYTES } else { &EXTEND_UNSIGNED_BYTES });
            self.emit(Instruction::with2(code, self.reg(&v), from));
            return Ok(v);
        }
        let r = Self::xmm(&v);
        self.emit(Instruction::with2(self.pick(&LOAD_8), r, from));
        self.extend_lower(&v, signed)?;
        Ok(v)
    }

    /// [`Simd::load_byte_pairs`](crate::simd::Simd::load_byte_pairs) in up to 256 bits.
    pub(super) fn pairs_of_bytes(&mut self, p: &P, disps: [i32; 2], signed: bool, n: usize) -> R<V> {
        let v = self.load_bytes(p, disps[0], n)?;
        let above = self.load_bytes(p, disps[1], n)?;
        let (r, x) = (self.reg(&v), Self::xmm(&v));
        self.three(&UNPACK_BYTES, x, x, &Place::Reg(Self::xmm(&above)));
        self.free(above);
        if self.encoding != Encoding::Legacy || self.rounds {
            let codes = if signed { &EXTEND_BYTES } else { &EXTEND_UNSIGNED_BYTES };
            self.two(codes, r, &Place::Reg(x));
        } else {
            self.extend_lower(&v, signed)?;
        }
        Ok(v)
    }

    /// The lower bytes of 128 bits become numbers of 16 bits, without the instruction for that.
    fn extend_lower(&mut self, v: &V, signed: bool) -> R {
        let r = Self::xmm(v);
        if signed {
            // The byte in the upper half of its word, then moved down with its sign.
            self.three(&UNPACK_BYTES, r, r, &Place::Reg(r));
            self.shift(&SHIFT_WORDS_SIGNED, r, 8);
        } else {
            let zero = self.splat(0.0)?;
            self.three(&UNPACK_BYTES, r, r, &Place::Reg(self.reg(&zero)));
            self.free(zero);
        }
        Ok(())
    }

    /// [`Simd::add_words`](crate::simd::Simd::add_words).
    pub(super) fn sum_of_words(&mut self, d: &V, s: &V, minus: bool) -> R {
        self.need_short_elements()?;
        let (d, s) = (self.reg(d), self.reg(s));
        self.three(if minus { &SUB_WORDS } else { &ADD_WORDS }, d, d, &Place::Reg(s));
        Ok(())
    }

    /// [`Simd::max_bytes`](crate::simd::Simd::max_bytes).
    pub(super) fn greater_bytes(&mut self, d: &V, s: &V) -> R {
        self.need_short_elements()?;
        let (d, s) = (self.reg(d), self.reg(s));
        self.three(&MAX_BYTES, d, d, &Place::Reg(s));
        Ok(())
    }

    /// [`Simd::shift_words`](crate::simd::Simd::shift_words).
    pub(super) fn shifted_words(&mut self, d: &V, by: u8) -> R {
        self.need_short_elements()?;
        self.shift(&SHIFT_WORDS_LEFT, self.reg(d), by);
        Ok(())
    }

    /// [`Simd::load_table`].
    pub(super) fn table_quarters(&mut self, p: &P, disp: i32) -> R<Vec<V>> {
        if !self.byte_permutes {
            return Ok(Vec::new());
        }
        let lanes = self.lanes();
        (0..4).map(|i| self.load(p, disp + 64 * i, lanes)).collect()
    }

    /// [`Simd::look_up_in`]: in each half of the table by the lower seven bits, then by the eighth.
    pub(super) fn entries(&mut self, d: &V, table: [&V; 4]) -> R {
        let upper = self.copy(d)?;
        let [a, b, c, e] = table.map(|v| self.reg(v));
        let (low, high) = (self.reg(d), self.reg(&upper));
        self.emit(Instruction::with2(Code::EVEX_Vpmovb2m_kr_zmm, Register::K1, low));
        let permute = Code::EVEX_Vpermi2b_zmm_k1z_zmm_zmmm512;
        self.emit(Instruction::with3(permute, low, a, b));
        self.emit(Instruction::with3(permute, high, c, e));
        let moved = Instruction::with2(Code::EVEX_Vmovdqu8_zmm_k1z_zmmm512, low, high);
        self.emit(masked(moved, Register::K1, false));
        self.free(upper);
        Ok(())
    }

    /// [`Simd::look_up_part`]: the instruction gives 0 where the highest bit is set, which a sum that saturates sets.
    pub(super) fn entries_of_part(&mut self, d: &V, p: &P, disp: i32) -> R {
        self.need_short_elements()?;
        if self.encoding == Encoding::Legacy && !self.shuffles_bytes {
            return Err(Refusal::unsupported("tables of bytes without SSSE3"));
        }
        let table = self.vector()?;
        let (d, t) = (self.reg(d), self.reg(&table));
        self.emit(Instruction::with2(self.pick(&LOAD_QUARTERS), t, memory(p, disp, false)));
        let beyond = Place::Pool(self.constant(&[0x70; 64][..4 * self.lanes()]), false);
        self.three(&ADD_BYTES_SATURATING, d, d, &beyond);
        self.three(&SHUFFLE_BYTES, t, t, &Place::Reg(d));
        self.two(&MOVE, d, &Place::Reg(t));
        self.free(table);
        Ok(())
    }

    fn need_short_elements(&self) -> R {
        if self.encoding == Encoding::Evex512 && !self.short_elements {
            return Err(Refusal::unsupported("products of words in 512 bits without AVX-512 BW"));
        }
        Ok(())
    }
}
