//! Constants: behind the code, or in a register throughout; and copies, which often are no instruction.

use iced_x86::Register;

use super::codes::{Encoding, MOVE};
use super::{Encoder, Place};
use crate::simd::Simd as _;

impl Encoder {
    pub(super) fn constant(&mut self, bytes: &[u8]) -> usize {
        self.pool.iter().position(|(known, _)| known == bytes).unwrap_or_else(|| {
            self.pool.push((bytes.to_vec(), Vec::new()));
            self.pool.len() - 1
        })
    }

    /// The register of a constant that is kept.
    pub(super) fn kept(&self, bits: u32) -> Option<Register> {
        self.kept.iter().find(|(known, _)| *known == bits).map(|(_, v)| self.reg(v))
    }

    /// A constant in every lane as an operand: a register, a whole vector, or one element for an embedded broadcast.
    pub(super) fn splat_operand(&mut self, bits: u32) -> Place {
        match self.encoding {
            _ if let Some(r) = self.kept(bits) => Place::Reg(r),
            Encoding::Evex512 => Place::Pool(self.constant(&bits.to_le_bytes()), true),
            _ => Place::Pool(self.constant(&bits.to_le_bytes().repeat(self.lanes())), false),
        }
    }

    /// A constant in every lane of 64 bits, as a whole vector.
    pub(super) fn wide_operand(&mut self, bits: u64) -> Place {
        Place::Pool(self.constant(&bits.to_le_bytes().repeat(self.lanes() / 2)), false)
    }

    /// `to = from`.
    pub(super) fn move_to(&mut self, to: Register, from: Register) {
        let begin = self.code.len();
        self.two(&MOVE, to, &Place::Reg(from));
        self.copied = Some((begin, self.code.len(), to, from));
    }

    /// The operands of `d = a op place`: where `a` is `d` and the instruction before made it a copy, that is taken back, and
    /// what was copied is the operand.
    pub(super) fn before_copy(&mut self, d: Register, a: Register, place: &Place) -> (Register, Place) {
        match self.copied.take() {
            Some((begin, end, to, from))
                if end == self.code.len()
                    && d == to
                    && a == to
                    && !self.dry
                    && self.encoding != Encoding::Legacy =>
            {
                self.code.truncate(begin);
                (from, if matches!(place, Place::Reg(r) if *r == to) { Place::Reg(from) } else { *place })
            }
            _ => (a, *place),
        }
    }
}
