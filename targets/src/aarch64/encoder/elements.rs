//! Elements of 8 and 16 bits in memory.

use super::address::{LOAD_I8, LOAD_I16, LOAD_U8, LOAD_U16};
use super::{Encoder, LANES, NUMBER, words};
use crate::aarch64::isa::*;
use crate::simd::{Narrow, Overflow, P, R, Refusal, Simd as _, V};

/// The highest bit of every byte.
const SIGNS: u32 = 0x8080_8080;

impl Encoder {
    pub(super) fn load_short(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V> {
        let v = self.load_bytes(p, disp, n.min(LANES) * e.bytes())?;
        let r = i64::from(v.0);
        if !e.two {
            self.put(if e.signed { SSHLL_8H } else { USHLL_8H }, &[r, r, 0]);
        }
        self.put(if e.signed { SSHLL_4S } else { USHLL_4S }, &[r, r, 0]);
        Ok(v)
    }

    pub(super) fn load_short_splat(&mut self, e: Narrow, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        self.short_number(e, p, disp);
        self.put(DUP_W, &[v.0.into(), NUMBER.into()]);
        Ok(v)
    }

    /// An element in [`NUMBER`], extended to 32 bits.
    pub(super) fn short_number(&mut self, e: Narrow, p: &P, disp: i32) {
        let form = match (e.two, e.signed) {
            (false, false) => LOAD_U8,
            (false, true) => LOAD_I8,
            (true, false) => LOAD_U16,
            (true, true) => LOAD_I16,
        };
        self.transfer(form, NUMBER, p, disp);
    }

    pub(super) fn store_short(
        &mut self,
        e: Narrow,
        overflow: Overflow,
        p: &P,
        disp: i32,
        v: &V,
        n: usize,
    ) -> R {
        let short = self.vector()?;
        let (r, s) = (i64::from(self.reg(v)), i64::from(short.0));
        // Numbers have a sign until the first step that saturates has taken it from them.
        let (words, bytes) = match (overflow, e.signed) {
            (Overflow::Byte, _) => return Err(Refusal::unsupported("bytes as words")),
            (Overflow::Wrap, _) => (XTN_4H, XTN_8B),
            (Overflow::Saturate | Overflow::Moved, true) => (SQXTN_4H, SQXTN_8B),
            (Overflow::Saturate | Overflow::Moved, false) => (SQXTUN_4H, UQXTN_8B),
        };
        self.put(words, &[s, r]);
        if !e.two {
            self.put(bytes, &[s, s]);
        }
        if overflow == Overflow::Moved {
            self.turn_signs(short.0)?;
        }
        self.store_bytes(p, disp, short.0, n.min(LANES) * e.bytes());
        self.free(short);
        Ok(())
    }

    /// [`Simd::store_together`](crate::simd::Simd::store_together).
    pub(super) fn store_bytes_together(&mut self, p: &P, disp: i32, all: &[V], moved: bool) -> R<bool> {
        if !matches!(all.len(), 2 | 4) {
            return Ok(false);
        }
        let registers: Vec<i64> = all.iter().map(|v| i64::from(self.reg(v))).collect();
        for pair in registers.chunks_exact(2) {
            self.put(SQXTUN_4H, &[pair[0], pair[0]]);
            self.put(SQXTUN_8H, &[pair[0], pair[1]]);
        }
        let first = registers[0];
        self.put(UQXTN_8B, &[first, first]);
        if let Some(third) = registers.get(2) {
            self.put(UQXTN_16B, &[first, *third]);
        }
        if moved {
            self.turn_signs(first as u32)?;
        }
        self.store_bytes(p, disp, first as u32, LANES * all.len());
        Ok(true)
    }

    /// Takes half of their range from bytes.
    fn turn_signs(&mut self, register: u32) -> R {
        let (half, temporary) = self.constant_operand(words(SIGNS))?;
        self.put(EOR_V, &[register.into(), register.into(), half.into()]);
        self.release(temporary);
        Ok(())
    }
}
