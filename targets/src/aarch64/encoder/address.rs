//! Addresses, and vectors and parts of them in memory.

use super::parts::Access;
use super::{Encoder, LANES, NEAR, NUMBER};
use crate::aarch64::isa::*;
use crate::simd::{P, R, V};

/// An instruction with a displacement in units of its size, and the one with a displacement in bytes.
#[derive(Clone, Copy)]
pub(super) struct Form {
    scaled: Op,
    near: Op,
}

pub(super) const LOAD_16: Form = Form { scaled: LDR_Q, near: LDUR_Q };
pub(super) const LOAD_8: Form = Form { scaled: LDR_D, near: LDUR_D };
pub(super) const LOAD_4: Form = Form { scaled: LDR_S, near: LDUR_S };
pub(super) const LOAD_2: Form = Form { scaled: LDR_H, near: LDUR_H };
pub(super) const LOAD_1: Form = Form { scaled: LDR_B, near: LDUR_B };
pub(super) const STORE_16: Form = Form { scaled: STR_Q, near: STUR_Q };
pub(super) const STORE_8: Form = Form { scaled: STR_D, near: STUR_D };
pub(super) const STORE_4: Form = Form { scaled: STR_S, near: STUR_S };
pub(super) const STORE_2: Form = Form { scaled: STR_H, near: STUR_H };
pub(super) const STORE_1: Form = Form { scaled: STR_B, near: STUR_B };
/// Into general registers.
pub(super) const LOAD_LONG: Form = Form { scaled: LDR_X, near: LDUR_X };
pub(super) const LOAD_WORD: Form = Form { scaled: LDR_W, near: LDUR_W };
pub(super) const LOAD_I32: Form = Form { scaled: LDRSW, near: LDURSW };
pub(super) const LOAD_U8: Form = Form { scaled: LDRB, near: LDURB };
pub(super) const LOAD_I8: Form = Form { scaled: LDRSB, near: LDURSB };
pub(super) const LOAD_U16: Form = Form { scaled: LDRH, near: LDURH };
pub(super) const LOAD_I16: Form = Form { scaled: LDRSH, near: LDURSH };
pub(super) const STORE_LONG: Form = Form { scaled: STR_X, near: STUR_X };
pub(super) const ASK: Form = Form { scaled: PRFM, near: PRFUM };

impl Form {
    fn unit(self) -> i64 {
        let unit = |field: &Field| if let Field::Mem(unit) = field { Some(i64::from(*unit)) } else { None };
        self.scaled.fields.iter().find_map(unit).unwrap_or(1)
    }

    /// The instruction for a displacement.
    fn fitting(self, disp: i64) -> Option<Op> {
        let unit = self.unit();
        if disp >= 0 && disp % unit == 0 && disp / unit < 1 << 12 {
            Some(self.scaled)
        } else if (-256..256).contains(&disp) {
            Some(self.near)
        } else {
            None
        }
    }
}

impl Encoder {
    /// A base and a displacement that an instruction can have, and which instruction that is.
    fn place(&mut self, form: Form, p: &P, disp: i32) -> (Op, u32, i64) {
        let disp = i64::from(disp);
        if let Some(op) = form.fitting(disp) {
            return (op, p.0, disp);
        }
        if let Some((base, ahead)) = self.near
            && base == p.0
            && let Some(op) = form.fitting(disp - ahead)
        {
            return (op, NEAR, disp - ahead);
        }
        // One addition if what is left is near.
        let (high, low) = (disp & !0xfff, disp & 0xfff);
        let ahead = match form.fitting(low) {
            Some(_) if disp.abs() >= 1 << 12 => high,
            _ => disp,
        };
        self.add_number(NEAR, p.0, ahead);
        self.near = Some((p.0, ahead));
        (form.fitting(disp - ahead).unwrap_or(form.scaled), NEAR, disp - ahead)
    }

    /// Loads or stores a register.
    pub(super) fn transfer(&mut self, form: Form, register: u32, p: &P, disp: i32) {
        let (op, base, disp) = self.place(form, p, disp);
        if op == PRFM || op == PRFUM {
            return self.put(op, &[base.into(), disp]);
        }
        let store = match form.scaled {
            LDR_Q => false,
            STR_Q => true,
            _ => return self.put(op, &[register.into(), base.into(), disp]),
        };
        let access = Access { at: self.code.len(), store, register, base, disp };
        if let Some(before) = self.access.filter(|before| before.at + 1 == access.at)
            && (before.store, before.base, before.disp + 16) == (store, base, disp)
            && before.disp % 16 == 0
            // In order, a pair takes as long as two, and nothing beside it starts.
            && (store || !self.in_order)
            && (-1024..1024).contains(&before.disp)
        {
            self.code.pop();
            let op = if store { STP_Q } else { LDP_Q };
            self.put(op, &[before.register.into(), register.into(), base.into(), before.disp]);
            self.access = None;
            return;
        }
        self.put(op, &[register.into(), base.into(), disp]);
        self.access = Some(access);
    }

    /// A register that holds `p + disp`, until the next operation.
    pub(super) fn address(&mut self, p: &P, disp: i32) -> u32 {
        match disp {
            0 => p.0,
            _ => {
                self.add_number(NUMBER, p.0, disp.into());
                NUMBER
            }
        }
    }

    /// One element of a register, to or from `p + disp`.
    pub(super) fn lane_transfer(&mut self, op: Op, v: u32, lane: usize, p: &P, disp: i32) {
        let base = self.address(p, disp);
        self.put(op, &[v.into(), lane as i64, base.into()]);
    }

    /// The first `n` lanes, the others 0.
    pub(super) fn load_lanes(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        if n == 0 {
            return self.constant(0);
        }
        let v = self.vector()?;
        match n {
            1 => self.transfer(LOAD_4, v.0, p, disp),
            2 => self.transfer(LOAD_8, v.0, p, disp),
            3 => {
                self.transfer(LOAD_8, v.0, p, disp);
                self.lane_transfer(LD1_S, v.0, 2, p, disp + 8);
            }
            _ => self.transfer(LOAD_16, v.0, p, disp),
        }
        Ok(v)
    }

    pub(super) fn store_lanes(&mut self, p: &P, disp: i32, v: &V, n: usize) {
        let r = if n == 1 { v.0 } else { self.reg(v) };
        match n {
            0 => {}
            1 => self.transfer(STORE_4, r, p, disp),
            2 => self.transfer(STORE_8, r, p, disp),
            3 => {
                self.transfer(STORE_8, r, p, disp);
                self.lane_transfer(ST1_S, r, 2, p, disp + 8);
            }
            _ => self.transfer(STORE_16, r, p, disp),
        }
    }

    /// An element in every lane; until something else than a product asks for them, in the first one.
    pub(super) fn load_first_lane(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        if LOAD_4.fitting(disp.into()).is_none() && self.near.is_none_or(|(base, _)| base != p.0) {
            let base = self.address(p, disp);
            self.put(LD1R_4S, &[v.0.into(), base.into()]);
            return Ok(v);
        }
        self.transfer(LOAD_4, v.0, p, disp);
        self.first_lanes |= 1 << v.0;
        Ok(v)
    }

    /// Whether only the first lane of a register is there.
    pub(super) fn is_first_lane(&self, v: &V) -> bool {
        self.first_lanes >> v.0 & 1 == 1
    }

    /// Brings the first lane into all of them where it stands for them.
    pub(super) fn fill(&mut self, register: u32) {
        if self.first_lanes >> register & 1 == 1 {
            self.first_lanes &= !(1 << register);
            self.put(DUP_S, &[register.into(), register.into(), 0]);
        }
    }

    pub(super) fn parking_place(&mut self, store: bool, register: u32, i: u32) {
        let at = 8 * super::SLOTS as i64 + super::VECTOR_BYTES * i64::from(i);
        self.put(if store { STR_Q } else { LDR_Q }, &[register.into(), super::STACK.into(), at]);
    }

    /// The first bytes, up to 8, in the low half of a register; the rest is 0.
    pub(super) fn load_bytes(&mut self, p: &P, disp: i32, bytes: usize) -> R<V> {
        if bytes == 0 {
            return self.constant(0);
        }
        let v = self.vector()?;
        let mut done = [8, 4, 2, 1].into_iter().find(|size| *size <= bytes).unwrap_or(1);
        let forms = [LOAD_1, LOAD_2, LOAD_4, LOAD_8];
        self.transfer(forms[done.trailing_zeros() as usize], v.0, p, disp);
        for (size, op) in [(4, LD1_S), (2, LD1_H), (1, LD1_B)] {
            if bytes - done >= size {
                self.lane_transfer(op, v.0, done / size, p, disp + done as i32);
                done += size;
            }
        }
        Ok(v)
    }

    /// Writes the first bytes of a register, up to 16.
    pub(super) fn store_bytes(&mut self, p: &P, disp: i32, register: u32, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut done = [16, 8, 4, 2, 1].into_iter().find(|size| *size <= bytes).unwrap_or(1);
        let forms = [STORE_1, STORE_2, STORE_4, STORE_8, STORE_16];
        self.transfer(forms[done.trailing_zeros() as usize], register, p, disp);
        for (size, op) in [(4, ST1_S), (2, ST1_H), (1, ST1_B)] {
            if bytes - done >= size {
                self.lane_transfer(op, register, done / size, p, disp + done as i32);
                done += size;
            }
        }
    }
}

const _: () = assert!(LANES == 4);
