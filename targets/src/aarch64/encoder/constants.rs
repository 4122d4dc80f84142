//! Constants: made by an instruction, behind the code, or in a register throughout.

use super::Encoder;
use super::parts::{longs, words};
use crate::aarch64::disassemble::float;
use crate::aarch64::isa::{
    FMOV_2D, FMOV_4S, LDR_Q_LITERAL, MOVI_2D, MOVI_4S, MOVI_4S_8, MOVI_4S_16, MOVI_4S_24, MOVI_8H, MOVI_8H_8,
    MOVI_16B, MVNI_4S, MVNI_4S_8, MVNI_4S_16, MVNI_4S_24, Op,
};
use crate::simd::{R, V};

/// What an operand that is used once more in a loop costs in it.
const LOOP: u64 = 8;
/// Loops that count.
const MOST_LOOPS: u32 = 8;

/// The instruction that makes a constant, and its operand.
pub(super) fn immediate(bits: u128) -> Option<(Op, u32)> {
    let long = bits as u64;
    if longs(long) != bits {
        return None;
    }
    let bytes = long.to_le_bytes();
    if bytes.iter().all(|b| matches!(b, 0 | 0xff)) {
        let byte = |all, (i, b): (usize, &u8)| all | u32::from(b & 1) << i;
        return Some((MOVI_2D, bytes.iter().enumerate().fold(0, byte)));
    }
    let floats = |double: bool| {
        (0..256).find(|i| {
            let value = float(*i);
            if double { value.to_bits() == long } else { words((value as f32).to_bits()) == bits }
        })
    };
    let word = long as u32;
    if words(word) != bits {
        return floats(true).map(|i| (FMOV_2D, i as u32));
    }
    let half = word as u16;
    if word == u32::from(half) << 16 | u32::from(half) {
        if half >> 8 == half & 0xff {
            return Some((MOVI_16B, u32::from(half & 0xff)));
        }
        match (half >> 8, half & 0xff) {
            (0, low) => return Some((MOVI_8H, low.into())),
            (high, 0) => return Some((MOVI_8H_8, high.into())),
            _ => {}
        }
    }
    let moves = [MOVI_4S, MOVI_4S_8, MOVI_4S_16, MOVI_4S_24];
    let inverses = [MVNI_4S, MVNI_4S_8, MVNI_4S_16, MVNI_4S_24];
    for (i, (plain, inverse)) in moves.into_iter().zip(inverses).enumerate() {
        if word & !(0xff << (8 * i)) == 0 {
            return Some((plain, word >> (8 * i)));
        }
        if !word & !(0xff << (8 * i)) == 0 {
            return Some((inverse, !word >> (8 * i)));
        }
    }
    floats(false).map(|i| (FMOV_4S, i as u32))
}

impl Encoder {
    /// Brings a constant into a register.
    pub(super) fn make(&mut self, register: u32, bits: u128) {
        if let Some((op, value)) = immediate(bits) {
            return self.put(op, &[register.into(), value.into()]);
        }
        let index = self.pool.iter().position(|(known, _)| *known == bits).unwrap_or_else(|| {
            self.pool.push((bits, Vec::new()));
            self.pool.len() - 1
        });
        self.pool[index].1.push(self.code.len());
        self.put(LDR_Q_LITERAL, &[register.into(), 0]);
    }

    /// The register that holds a constant, if there is one.
    pub(super) fn held(&self, bits: u128) -> Option<u32> {
        let throughout = self.throughout.iter().find(|(known, _)| *known == bits).map(|(_, r)| *r);
        let kept = || self.kept.iter().find(|(known, _)| words(*known) == bits).map(|(_, v)| v.0);
        throughout.or_else(kept)
    }

    /// Notes that a constant had better be in a register.
    fn want(&mut self, bits: u128) {
        if self.depth > 0 {
            let cost = if immediate(bits).is_some() { 1 } else { 2 };
            *self.wanted.entry(bits).or_default() += cost * LOOP.pow(self.depth.min(MOST_LOOPS));
        }
    }

    /// A constant in a register that is only read; a temporary, if it is in none.
    pub(super) fn constant_operand(&mut self, bits: u128) -> R<(u32, Option<V>)> {
        if let Some(register) = self.held(bits) {
            return Ok((register, None));
        }
        self.want(bits);
        let v = self.vector()?;
        self.make(v.0, bits);
        Ok((v.0, Some(v)))
    }

    /// A constant in a register of its own.
    pub(super) fn constant(&mut self, bits: u128) -> R<V> {
        let v = self.vector()?;
        match self.held(bits) {
            _ if immediate(bits).is_some() => self.make(v.0, bits),
            Some(held) => self.move_to(v.0, held),
            None => {
                self.want(bits);
                self.make(v.0, bits);
            }
        }
        Ok(v)
    }
}
