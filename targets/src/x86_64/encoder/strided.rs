//! Elements that lie apart, in one vector: every other one by a permutation of two vectors, else one by one.

use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::codes::{Codes, Encoding, LOAD, LOW_HALVES, UNPACK_LOW};
use super::elements::{low_16, low_32};
use super::{Encoder, Place, general, memory, scaled};
use crate::simd::{P, R, Refusal, Simd, V};

/// Bytes of two elements.
const EVERY_OTHER: i32 = 8;
/// Indices of 16 bits in a word of a general register.
const FOUR: usize = 4;
/// Elements 0 and 2 of a vector, then 1 and 3 of another, within 128 bits; of halves the first and third, then the
/// second and fourth.
const EVEN_THEN_ODD: u32 = 0b11_01_10_00;

const SHUFFLE: Codes = [
    Code::Shufps_xmm_xmmm128_imm8,
    Code::VEX_Vshufps_xmm_xmm_xmmm128_imm8,
    Code::VEX_Vshufps_ymm_ymm_ymmm256_imm8,
    Code::INVALID,
];
/// Elements of two vectors by numbers; they take the place of the numbers, or of the first vector.
const PICK_OVER_PLACES: Codes =
    [Code::INVALID, Code::INVALID, Code::INVALID, Code::EVEX_Vpermi2ps_zmm_k1z_zmm_zmmm512b32];
const PICK_OVER_FIRST: Codes =
    [Code::INVALID, Code::INVALID, Code::INVALID, Code::EVEX_Vpermt2ps_zmm_k1z_zmm_zmmm512b32];
const LOAD_ONE: Codes = [
    Code::Movss_xmm_xmmm32,
    Code::VEX_Vmovss_xmm_m32,
    Code::VEX_Vmovss_xmm_m32,
    Code::EVEX_Vmovss_xmm_k1z_m32,
];
const INSERT_ONE: Codes = [
    Code::INVALID,
    Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8,
    Code::VEX_Vinsertps_xmm_xmm_xmmm32_imm8,
    Code::EVEX_Vinsertps_xmm_xmm_xmmm32_imm8,
];
/// 128 bits into a wider register.
const INSERT_FOUR: Codes = [
    Code::INVALID,
    Code::INVALID,
    Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
    Code::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8,
];

/// Brings element `i` into a register by an instruction, with the byte that says which lane where it has one.
type Element<'a> = &'a mut dyn FnMut(&mut Encoder, Code, Register, Option<u32>, usize) -> R;

impl Encoder {
    /// See [`Simd::pick_from`].
    pub(super) fn picked(&mut self, d: &V, p: &P, disp: i32) -> R {
        if self.encoding != Encoding::Evex512 {
            return Err(Refusal::unsupported("elements by their numbers without AVX-512"));
        }
        let lanes = self.lanes();
        let behind = disp.checked_add(4 * lanes as i32).ok_or(Refusal::FarDisplacement)?;
        let low = self.load(p, disp, lanes)?;
        let (d, first) = (self.reg(d), self.reg(&low));
        self.three(&PICK_OVER_PLACES, d, first, &Place::Mem(memory(p, behind, false)));
        self.free(low);
        Ok(())
    }

    /// See [`Simd::load_strided`].
    pub(super) fn strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        match n {
            0 => self.splat(0.0),
            1 => self.load(p, disp, 1),
            _ if stride == EVERY_OTHER => self.every_other(p, disp, n),
            _ => self.one_by_one(p, disp, stride, n),
        }
    }

    /// Of the `2 n - 1` elements from the first to the last, those at even places: `low` holds as many of them as a
    /// vector has lanes, `high` those from the vector's last lane on, so that it ends with the last one.
    fn every_other(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let lanes = self.lanes();
        let low = self.load(p, disp, lanes.min(2 * n - 1))?;
        let behind = disp.checked_add(4 * (lanes as i32 - 1)).ok_or(Refusal::FarDisplacement)?;
        let whole = n == lanes && self.encoding != Encoding::Legacy;
        let part = match (2 * n).saturating_sub(lanes) {
            _ if whole => None,
            0 => None,
            part => Some(self.load(p, behind, part)?),
        };
        let high = match &part {
            Some(part) => Place::Reg(self.reg(part)),
            None if whole => Place::Mem(memory(p, behind, false)),
            None => Place::Reg(self.reg(&low)),
        };
        let d = match self.encoding {
            Encoding::Evex512 => match &self.every_other {
                Some(places) => {
                    let places = self.reg(places);
                    self.three_of_all(&PICK_OVER_FIRST, self.reg(&low), places, &high);
                    low
                }
                None => {
                    let d = self.places()?;
                    self.three_of_all(&PICK_OVER_PLACES, self.reg(&d), self.reg(&low), &high);
                    self.free(low);
                    d
                }
            },
            Encoding::Legacy => {
                let (code, r) = (self.pick(&SHUFFLE), self.reg(&low));
                self.three_imm_legacy(code, r, &high);
                low
            }
            Encoding::Vex128 | Encoding::Vex256 => {
                let (code, r) = (self.pick(&SHUFFLE), self.reg(&low));
                self.three_imm(code, r, r, &high, EVEN_THEN_ODD);
                if self.encoding == Encoding::Vex256 {
                    let halves = Instruction::with3(Code::VEX_Vpermpd_ymm_ymmm256_imm8, r, r, EVEN_THEN_ODD);
                    self.emit(halves);
                }
                low
            }
        };
        if let Some(part) = part {
            self.free(part);
        }
        Ok(d)
    }

    /// Where AVX-512 finds the elements: numbers from that of the lanes on are those of the second vector, which begins a
    /// lane early.
    fn places(&mut self) -> R<V> {
        let lanes = self.lanes();
        let place = |i: usize| (if i < lanes / 2 { 2 * i } else { 2 * i + 1 }) as u32;
        let places: Vec<u8> = (0..lanes).flat_map(|i| place(i).to_le_bytes()).collect();
        let places = Place::Pool(self.constant(&places), false);
        let v = self.vector()?;
        self.two(&LOAD, self.reg(&v), &places);
        Ok(v)
    }

    /// See [`Simd::prepare_strided`].
    pub(super) fn prepare_every_other(&mut self, stride: i32) -> R {
        if stride == EVERY_OTHER && self.encoding == Encoding::Evex512 && self.every_other.is_none() {
            self.every_other = Some(self.places()?);
        }
        Ok(())
    }

    /// `d = shufps d, high`.
    fn three_imm_legacy(&mut self, code: Code, d: Register, high: &Place) {
        match high {
            Place::Reg(high) => self.emit(Instruction::with3(code, d, *high, EVEN_THEN_ODD)),
            Place::Mem(_) | Place::Pool(..) => self.failed = true,
        }
    }

    fn one_by_one(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        let at = |i: usize| {
            let ahead = i32::try_from(i).ok().and_then(|i| i.checked_mul(stride));
            ahead.and_then(|ahead| disp.checked_add(ahead)).ok_or(Refusal::FarDisplacement)
        };
        let places = (0..n).map(at).collect::<R<Vec<i32>>>()?;
        self.by_fours(n, &mut |this, code, x, insert, i| {
            this.put_in_lane(code, x, insert, memory(p, places[i], false));
            Ok(())
        })
    }

    /// See [`Simd::load_indexed`].
    pub(super) fn indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        if n == 0 {
            return self.splat(0.0);
        }
        let (code, size) = if short { (Code::Movzx_r32_rm16, 2) } else { (Code::Mov_r32_rm32, 4) };
        let place = |i: usize| at.checked_add(size * i as i32).ok_or(Refusal::FarDisplacement);
        // Four short indices are one load: loads are what there is least of.
        let mut four: Option<P> = None;
        self.by_fours(n, &mut |this, load, x, insert, i| {
            if short && i % FOUR == 0 && n - i >= FOUR {
                let word = this.pointer()?;
                this.emit(Instruction::with2(
                    Code::Mov_r64_rm64,
                    general(&word),
                    memory(indices, place(i)?, false),
                ));
                four = Some(word);
            }
            let index = match four.take() {
                Some(word) if i % FOUR == FOUR - 1 => word,
                Some(word) => {
                    let index = this.pointer()?;
                    this.emit(Instruction::with2(code, low_32(&index), low_16(&word)));
                    this.shift_down(&word, 16);
                    four = Some(word);
                    index
                }
                None => {
                    let index = this.pointer()?;
                    this.emit(Instruction::with2(code, low_32(&index), memory(indices, place(i)?, false)));
                    index
                }
            };
            this.put_in_lane(load, x, insert, scaled(p, disp, &index, 4));
            this.free_ptr(index);
            Ok(())
        })
    }

    /// An element from memory in the lane of a register that an instruction's byte says, or in the first one.
    fn put_in_lane(&mut self, code: Code, x: Register, insert: Option<u32>, at: MemoryOperand) {
        self.emit(match insert {
            None => Instruction::with2(code, x, at),
            Some(byte) => Instruction::with4(code, x, x, at, byte),
        });
    }

    /// `n` elements in the first lanes, 128 bits at a time; the others are 0.
    fn by_fours(&mut self, n: usize, element: Element<'_>) -> R<V> {
        let mut whole: Option<V> = None;
        for (i, first) in (0..n).step_by(4).enumerate() {
            let v = self.four(first, (n - first).min(4), element)?;
            whole = Some(match whole {
                None => v,
                Some(before) => {
                    let (code, r, x) = (self.pick(&INSERT_FOUR), self.reg(&before), Self::xmm(&v));
                    self.emit(Instruction::with4(code, r, r, x, i as u32));
                    self.free(v);
                    before
                }
            });
        }
        whole.ok_or_else(|| Refusal::unsupported("a vector of no elements"))
    }

    /// Up to four elements in the low 128 bits.
    fn four(&mut self, first: usize, n: usize, element: Element<'_>) -> R<V> {
        let v = self.vector()?;
        let x = Self::xmm(&v);
        let load = self.pick(&LOAD_ONE);
        element(self, load, x, None, first)?;
        if self.encoding != Encoding::Legacy {
            let insert = self.pick(&INSERT_ONE);
            for i in 1..n {
                element(self, insert, x, Some((i as u32) << 4), first + i)?;
            }
            return Ok(v);
        }
        // Pairs, then both of them.
        let second = self.vector()?;
        let t = Self::xmm(&second);
        if n > 1 {
            element(self, load, t, None, first + 1)?;
            self.three(&UNPACK_LOW, x, x, &Place::Reg(t));
        }
        if n > 2 {
            element(self, load, t, None, first + 2)?;
            if n > 3 {
                let third = self.vector()?;
                let u = Self::xmm(&third);
                element(self, load, u, None, first + 3)?;
                self.three(&UNPACK_LOW, t, t, &Place::Reg(u));
                self.free(third);
            }
            self.three(&LOW_HALVES, x, x, &Place::Reg(t));
        }
        self.free(second);
        Ok(v)
    }
}
