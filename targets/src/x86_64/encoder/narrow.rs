//! What 128 bits do in their own way: parts of vectors, and what SSE2 has no instruction for.

use iced_x86::Instruction;

use super::codes::{
    ADD, AND, AND_NOT, HIGH_HALVES, LOAD_1, LOAD_2, LOW_HALVES, MOVE, OR, STORE_1, STORE_2, SUB,
};
use super::pieces::CMP_LT;
use super::{Encoder, Place, Register, memory};
use crate::simd::{Op1, P, R, Simd, Src, V};

/// From here on every number is an integer; added to a smaller one it rounds it.
const ALL_INTEGERS: f32 = 8_388_608.0; // 2^23
const SIGN: u32 = 0x8000_0000;

impl Encoder {
    /// The first 1, 2 or 3 elements, the others 0.
    pub(super) fn load_part(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        let v = self.vector()?;
        let r = self.reg(&v);
        self.two(if n == 1 { &LOAD_1 } else { &LOAD_2 }, r, &Place::Mem(memory(p, disp, false)));
        if n == 3 {
            let third = self.vector()?;
            let t = self.reg(&third);
            self.two(&LOAD_1, t, &Place::Mem(memory(p, disp + 8, false)));
            self.three(&LOW_HALVES, r, r, &Place::Reg(t));
            self.free(third);
        }
        Ok(v)
    }

    /// Writes the first 1, 2 or 3 elements. In pieces: masked stores take a dozen cycles on AMD's processors.
    pub(super) fn store_part(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let r = self.reg(v);
        let code = self.pick(if n == 1 { &STORE_1 } else { &STORE_2 });
        self.emit(Instruction::with2(code, memory(p, disp, false), r));
        if n == 3 {
            let third = self.vector()?;
            let t = self.reg(&third);
            self.three(&HIGH_HALVES, t, r, &Place::Reg(r));
            self.emit(Instruction::with2(self.pick(&STORE_1), memory(p, disp + 8, false), t));
            self.free(third);
        }
        Ok(())
    }

    /// `d = (d & mask) | (s & !mask)`.
    pub(super) fn blend_by_bits(&mut self, d: Register, mask: Register, s: Src<'_>) -> R {
        let (place, temporary) = self.place(s)?;
        let other = self.vector()?;
        let o = self.reg(&other);
        self.three(&AND_NOT, o, mask, &place);
        self.three(&AND, d, d, &Place::Reg(mask));
        self.three(&OR, d, d, &Place::Reg(o));
        self.free(other);
        self.release(temporary);
        Ok(())
    }

    /// `floor`, `ceil` or `round` by adding and subtracting 2^23 with the number's sign.
    pub(super) fn round_by_magic(&mut self, op: Op1, d: &V) -> R {
        let (first, second) = (self.vector()?, self.vector()?);
        let (x, r, t) = (self.reg(d), self.reg(&first), self.reg(&second));
        let sign = self.splat_operand(SIGN);
        let integers = self.splat_operand(ALL_INTEGERS.to_bits());
        let one = self.splat_operand(1f32.to_bits());
        self.three(&AND, t, x, &sign);
        self.three(&OR, t, t, &integers);
        self.three(&ADD, r, x, &Place::Reg(t));
        self.three(&SUB, r, r, &Place::Reg(t));
        match op {
            Op1::Floor => {
                self.compare(t, x, &Place::Reg(r), CMP_LT);
                self.three(&AND, t, t, &one);
                self.three(&SUB, r, r, &Place::Reg(t));
            }
            Op1::Ceil => {
                self.compare(t, r, &Place::Reg(x), CMP_LT);
                self.three(&AND, t, t, &one);
                self.three(&ADD, r, r, &Place::Reg(t));
            }
            _ => {}
        }
        // -0.3 rounds to -0.
        self.three(&AND, t, x, &sign);
        self.three(&OR, r, r, &Place::Reg(t));
        // What is an integer already stays, and so does NaN, which compares false.
        let magnitude = self.splat_operand(!SIGN);
        self.three(&AND, t, x, &magnitude);
        self.compare(t, t, &integers, CMP_LT);
        self.three(&AND, r, r, &Place::Reg(t));
        self.three(&AND_NOT, t, t, &Place::Reg(x));
        self.three(&OR, t, t, &Place::Reg(r));
        self.two(&MOVE, x, &Place::Reg(t));
        self.free(first);
        self.free(second);
        Ok(())
    }
}
