//! The prologue and the epilogue, and what debuggers are told of them.
//!
//! ```text
//! sub sp, sp, saved; stp x19, x20, [sp]; ..; stp d8, d9, [sp, ..]
//! sub sp, sp, frame
//! stp x0, x1, [sp]; str x2, [sp, 16]
//! ...
//! add sp, sp, frame
//! ldp ..; add sp, sp, saved
//! ret
//! ```

use gimli::Register;
use gimli::write::CallFrameInstruction as Rule;

use super::{Encoder, FIRST_SAVED, SLOTS, STACK, VECTOR_BYTES, ZERO};
use crate::aarch64::isa::*;
use crate::unwind::Unwind;

/// Frames of more bytes than an immediate has are whole numbers of so many.
const FAR: i64 = 4096;
/// DWARF's number of the first vector register.
const FIRST_VECTOR: u16 = 64;

/// Registers of the caller's that a function saves.
pub(super) struct Saved {
    general: Vec<u32>,
    /// Of vector registers the low halves.
    vectors: Vec<u32>,
}

impl Saved {
    fn bytes(&self) -> i64 {
        8 * (self.general.len() + self.vectors.len()).next_multiple_of(2) as i64
    }

    /// DWARF's numbers, and where each is saved.
    fn places(&self) -> impl Iterator<Item = (Register, i64)> {
        let general = self.general.iter().map(|r| Register(*r as u16));
        let vectors = self.vectors.iter().map(|r| Register(FIRST_VECTOR + *r as u16));
        general.chain(vectors).enumerate().map(|(i, r)| (r, 8 * i as i64))
    }
}

impl Encoder {
    /// Those that were handed out.
    pub(super) fn saved(&self) -> Saved {
        Saved {
            general: (FIRST_SAVED..ZERO).filter(|r| self.used_general >> r & 1 == 1).collect(),
            vectors: (8..16).filter(|r| self.used >> r & 1 == 1).collect(),
        }
    }

    /// Bytes of slots and of vectors that are parked.
    fn frame_bytes(&self) -> i64 {
        let bytes = match self.parking {
            0 => 8 * self.slots.next_multiple_of(2) as i64,
            n => 8 * SLOTS as i64 + VECTOR_BYTES * i64::from(n),
        };
        if bytes < FAR { bytes } else { (bytes + FAR - 1) / FAR * FAR }
    }

    /// Appends the prologue. What is told holds behind so many bytes of code.
    pub(super) fn prologue(&mut self, saved: &Saved) -> Vec<(u32, Rule)> {
        let (bytes, frame) = (saved.bytes(), self.frame_bytes());
        let mut told = Vec::new();
        if bytes > 0 {
            self.add_number(STACK, STACK, -bytes);
            told.push((self.end(), Rule::CfaOffset(bytes as i32)));
            self.transfer_saved(saved, true);
            told.extend(saved.places().map(|(r, at)| (self.end(), Rule::Offset(r, (at - bytes) as i32))));
        }
        self.add_number(STACK, STACK, -frame);
        told.push((self.end(), Rule::CfaOffset((bytes + frame) as i32)));
        self.put(STP_X, &[0, 1, STACK.into(), 0]);
        self.put(STR_X, &[2, STACK.into(), 16]);
        told
    }

    /// Appends the epilogue.
    pub(super) fn epilogue(&mut self, saved: &Saved, mut told: Vec<(u32, Rule)>) -> Unwind {
        let bytes = saved.bytes();
        self.add_number(STACK, STACK, self.frame_bytes());
        told.push((self.end(), Rule::CfaOffset(bytes as i32)));
        if bytes > 0 {
            self.transfer_saved(saved, false);
            told.extend(saved.places().map(|(r, _)| (self.end(), Rule::Restore(r))));
            self.add_number(STACK, STACK, bytes);
            told.push((self.end(), Rule::CfaOffset(0)));
        }
        self.put(RET, &[]);
        Unwind::Dwarf(told)
    }

    /// Bytes of code so far.
    fn end(&self) -> u32 {
        4 * self.code.len() as u32
    }

    /// Saves registers of the caller's on the stack, or brings them back.
    fn transfer_saved(&mut self, saved: &Saved, store: bool) {
        let codes = if store { [(STP_X, STR_X), (STP_D, STR_D)] } else { [(LDP_X, LDR_X), (LDP_D, LDR_D)] };
        let mut at = 0;
        for (registers, (pair, single)) in [&saved.general, &saved.vectors].into_iter().zip(codes) {
            for two in registers.chunks(2) {
                match *two {
                    [a, b] => self.put(pair, &[a.into(), b.into(), STACK.into(), at]),
                    [a] => self.put(single, &[a.into(), STACK.into(), at]),
                    _ => {}
                }
                at += 8 * two.len() as i64;
            }
        }
    }
}
