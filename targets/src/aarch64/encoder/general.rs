//! General registers: numbers, and branches.

use super::{Encoder, NUMBER, OTHER, SLOTS, STACK, ZERO};
use crate::aarch64::isa::*;
use crate::simd::{P, R, Refusal, V};

/// A branch ahead whose distance is not known yet.
pub(super) struct Jump {
    at: usize,
    field: Field,
}

impl Encoder {
    /// A general register is written.
    pub(super) fn changed(&mut self, register: u32) {
        if self.near.is_some_and(|(base, _)| base == register) {
            self.near = None;
        }
    }

    /// `register = number`.
    pub(super) fn number(&mut self, register: u32, number: i64) {
        let part = |i: u32| (number >> (16 * i)) & 0xffff;
        // From zeros or from ones, whichever leave less to write.
        let ones = (0..4).filter(|i| part(*i) == 0xffff).count();
        let zeros = (0..4).filter(|i| part(*i) == 0).count();
        let (background, op) = if ones > zeros { (0xffff, MOVN) } else { (0, MOVZ) };
        let mut parts = (0..4).filter(|i| part(*i) != background);
        let first = parts.next().unwrap_or(0);
        let value = if op == MOVN { !part(first) & 0xffff } else { part(first) };
        self.put(op, &[register.into(), value, first.into()]);
        for i in parts {
            self.put(MOVK, &[register.into(), part(i), i.into()]);
        }
    }

    /// `d = n + number`.
    pub(super) fn add_number(&mut self, d: u32, n: u32, number: i64) {
        let size = number.unsigned_abs();
        let (near, far) = if number < 0 { (SUB_IMM, SUB_IMM_12) } else { (ADD_IMM, ADD_IMM_12) };
        if size >= 1 << 24 {
            self.number(OTHER, number);
            return self.put(ADD, &[d.into(), n.into(), OTHER.into(), 0]);
        }
        let (high, low) = (size as i64 >> 12, size as i64 & 0xfff);
        let mut from = n;
        if high > 0 {
            self.put(far, &[d.into(), from.into(), high]);
            from = d;
        }
        if low > 0 || high == 0 && d != n {
            self.put(near, &[d.into(), from.into(), low]);
        }
    }

    /// `p = limit` unless the condition says that `p` stays.
    pub(super) fn limit(&mut self, p: &P, limit: u32, stays: i64) {
        self.put(SUBS, &[ZERO.into(), p.0.into(), limit.into(), 0]);
        self.put(CSEL, &[p.0.into(), p.0.into(), limit.into(), stays]);
        self.changed(p.0);
    }

    /// Compares with a number.
    pub(super) fn compare(&mut self, register: u32, number: i64) {
        if (0..1 << 12).contains(&number) {
            return self.put(SUBS_IMM, &[ZERO.into(), register.into(), number]);
        }
        self.number(NUMBER, number);
        self.put(SUBS, &[ZERO.into(), register.into(), NUMBER.into(), 0]);
    }

    /// Everything that is only known in straight code is made known, or forgotten.
    pub(super) fn settle(&mut self) {
        while self.first_lanes != 0 {
            self.fill(self.first_lanes.trailing_zeros());
        }
        (self.copied, self.access, self.near) = (None, None, None);
    }

    /// The same at the end of straight code.
    fn end_block(&mut self) {
        self.settle();
        self.close_block();
    }

    /// Here a loop begins.
    pub(super) fn head(&mut self) -> usize {
        self.end_block();
        self.depth += 1;
        self.code.len()
    }

    /// Counts down and jumps back to `to` unless that was the last time.
    pub(super) fn loop_back(&mut self, counter: u32, to: usize) {
        self.settle();
        self.depth -= 1;
        self.put(SUBS_IMM, &[counter.into(), counter.into(), 1]);
        self.close_block();
        let distance = to as i64 - self.code.len() as i64;
        let bits = self.label(Field::Label19, distance);
        self.code.push(B_NE.bits | bits);
        self.open_block();
    }

    /// A branch to a place that [`Encoder::land`] will name; `register` is what it looks at, if anything.
    pub(super) fn jump_ahead(&mut self, op: Op, register: u32) -> Jump {
        self.end_block();
        let at = self.code.len();
        let field = op.fields.last().copied().unwrap_or(Field::Label26);
        self.code.push(op.bits | if op.fields.len() > 1 { register } else { 0 });
        self.open_block();
        Jump { at, field }
    }

    /// Here is where the branch leads.
    pub(super) fn land(&mut self, jump: &Jump) {
        self.end_block();
        let distance = self.code.len() as i64 - jump.at as i64;
        let bits = self.label(jump.field, distance);
        self.code[jump.at] |= bits;
    }

    /// A register that is 0 unless a lane of the mask is set.
    pub(super) fn any(&mut self, mask: &V) -> u32 {
        let mask = i64::from(self.reg(mask));
        self.put(UMOV_X, &[NUMBER.into(), mask, 0]);
        self.put(UMOV_X, &[OTHER.into(), mask, 1]);
        self.put(ORR, &[NUMBER.into(), NUMBER.into(), OTHER.into(), 0]);
        NUMBER
    }

    pub(super) fn take_slot(&mut self) -> R<usize> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.slots == SLOTS {
            return Err(Refusal::OutOfRegisters);
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    /// A loop whose counter holds how often its body runs, at least once.
    pub(super) fn counted(&mut self, counter: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let head = self.head();
        body(self)?;
        self.loop_back(counter.0, head);
        self.general |= 1 << counter.0;
        Ok(())
    }

    /// The same with a counter in the frame.
    pub(super) fn counted_in_frame(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        let slot = self.take_slot()?;
        let place = 8 * slot as i64;
        self.put(STR_X, &[count.into(), STACK.into(), place]);
        let head = self.head();
        body(self)?;
        self.settle();
        self.put(LDR_X, &[NUMBER.into(), STACK.into(), place]);
        self.put(SUB_IMM, &[NUMBER.into(), NUMBER.into(), 1]);
        self.put(STR_X, &[NUMBER.into(), STACK.into(), place]);
        self.close_block();
        self.depth -= 1;
        let distance = head as i64 - self.code.len() as i64;
        let bits = self.label(Field::Label19, distance);
        self.code.push(CBNZ.bits | NUMBER | bits);
        self.open_block();
        self.free_slots.push(slot);
        Ok(())
    }
}
