//! Positions of extreme values: beside each value the count at which it was found.
//!
//! A NaN compares as neither less nor greater, so it never takes another value's place; and what comes first stays when it
//! is one.

use kiln_targets::simd::sequences::{bits, keep_first, splat_bits};
use kiln_targets::simd::{Across, Lane, Op2, R, Refusal, Simd, SimdExt as _, Src, V};

use super::super::trips::trips;
use super::super::vexpr::{At, Dag};
use super::arg::{Arg, NONE_SO_FAR};
use super::{Generator, Work, widths};

/// The best value so far and where it was found, per lane.
struct Best {
    value: V,
    place: V,
}

impl Best {
    /// Takes `item`, found at `count`, where `mask` says so.
    fn take<S: Simd>(&self, s: &mut S, item: V, mask: V, count: &V) -> R {
        s.keep_where(&item, &mask, Src::Reg(&self.value))?;
        s.assign(&self.value, &item);
        s.assign(&item, count);
        s.keep_where(&item, &mask, Src::Reg(&self.place))?;
        s.assign(&self.place, &item);
        s.free(mask);
        s.free(item);
        Ok(())
    }
}

impl Generator<'_> {
    fn arg(&self) -> R<(Arg, &Dag)> {
        match &self.work {
            Work::Arg { arg, value } => Ok((*arg, value)),
            _ => Err(Refusal::unsupported("no position is asked for")),
        }
    }

    /// The values of a vector `offset` elements ahead.
    fn item<S: Simd>(&self, s: &mut S, offset: i64, n: usize) -> R<V> {
        let ahead = [(self.nest.vector, offset)];
        let at = At { walk: &self.walk, lane: self.nest.vector, ahead: &ahead, n };
        let values = self.arg()?.1.eval(s, &at, None)?;
        values.into_iter().next().ok_or_else(|| Refusal::unsupported("no value to compare"))
    }

    /// Vectors beside each other: every lane is a result.
    pub(super) fn arg_block<S: Simd>(&mut self, s: &mut S, widths: &[usize]) -> R {
        let arg = self.arg()?.0;
        let (l, count) = (arg.along, arg.count());
        self.walk.set_range(l, (0, 1));
        let mut found = Vec::with_capacity(widths.len());
        for (j, &n) in widths.iter().enumerate() {
            let value = self.item(s, (j * self.lanes) as i64, n)?;
            found.push(Best { value, place: splat_bits(s, count, 0)? });
        }
        self.walk.set_range(l, (0, self.walk.extent(l)));
        let at = splat_bits(s, count, 0)?;
        let last = self.reduced.len();
        self.reduce(s, 0, last, &mut |this, s| {
            for ((j, &n), best) in widths.iter().enumerate().zip(&found) {
                let item = this.item(s, (j * this.lanes) as i64, n)?;
                let mask = arg.better(s, &best.value, &item)?;
                best.take(s, item, mask, &at)?;
            }
            s.op2_as(count, Op2::Add, &at, bits(count, 1))
        })?;
        s.free(at);
        for (j, Best { value, place }) in found.into_iter().enumerate() {
            s.free(value);
            s.convert(count, Lane::I64, &place)?;
            self.finish(s, 0, (j * self.lanes) as i64, widths[j], Some(place))?;
        }
        Ok(())
    }

    /// Lanes along the positions: each vector of a block has its best values, with the counts of their blocks.
    pub(super) fn arg_across<S: Simd>(&mut self, s: &mut S) -> R {
        let arg = self.arg()?.0;
        let (l, block, count, value) = (arg.along, self.block(), arg.count(), arg.lane());
        let vectors = (self.walk.extent(l).min(block) as usize).div_ceil(self.lanes).max(1);
        // Values that are as bad as can be count only where the last of equal ones is wanted.
        let none = if arg.last { NONE_SO_FAR as u64 } else { 0 };
        let mut found = Vec::with_capacity(vectors);
        for _ in 0..vectors {
            let worst = splat_bits(s, value, arg.worst())?;
            found.push(Best { value: worst, place: splat_bits(s, count, none)? });
        }
        let at = splat_bits(s, count, 0)?;
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            let whole = widths(block, self.lanes);
            trips(self, s, l, (to - from) / block, block, &mut |this, s| {
                this.arg_step(s, &found, &at, &whole)?;
                s.op2_as(count, Op2::Add, &at, bits(count, block as u64))
            })?;
            let rest = (to - from) % block;
            if rest > 0 {
                self.arg_step(s, &found, &at, &widths(rest, self.lanes))?;
                s.op2_as(count, Op2::Add, &at, bits(count, rest as u64))?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        s.free(at);
        let place = self.arg_combined(s, found)?;
        self.walk.set_range(l, (0, 1));
        // Where the first value is no number, nothing took its place.
        if arg.dtype.is_float() {
            let first = self.item(s, 0, 1)?;
            let number = s.copy(&first)?;
            s.op2_as(value, Op2::Eq, &number, Src::Reg(&first))?;
            s.op2(Op2::And, &place, Src::Reg(&number))?;
            s.free(number);
            s.free(first);
        }
        self.walk.set_range(l, (0, self.walk.extent(l)));
        s.convert(count, Lane::I64, &place)?;
        self.finish(s, 0, 0, 1, Some(place))
    }

    /// A block of values, found at the counts `at`.
    fn arg_step<S: Simd>(&self, s: &mut S, found: &[Best], at: &V, widths: &[usize]) -> R {
        let arg = self.arg()?.0;
        for ((j, &n), best) in widths.iter().enumerate().zip(found) {
            let item = self.item(s, (j * self.lanes) as i64, n)?;
            let mask = arg.better(s, &best.value, &item)?;
            if n < self.lanes {
                let there = s.first(if arg.lane().is_wide() { 2 * n } else { n })?;
                s.op2(Op2::And, &mask, Src::Reg(&there))?;
                s.free(there);
            }
            best.take(s, item, mask, at)?;
        }
        Ok(())
    }

    /// The position of the best of all lanes, in every lane.
    fn arg_combined<S: Simd>(&self, s: &mut S, found: Vec<Best>) -> R<V> {
        let arg = self.arg()?.0;
        let (value, count) = (arg.lane(), arg.count());
        let across = if arg.max { Across::Max } else { Across::Min };
        let (nowhere, nearest) =
            if arg.last { (NONE_SO_FAR, Across::Max) } else { (-NONE_SO_FAR, Across::Min) };
        let best = splat_bits(s, value, arg.worst())?;
        for one in &found {
            s.op2_as(value, across.op2(), &best, Src::Reg(&one.value))?;
        }
        // Beside wide lanes only half of the register is of consequence.
        let halved = !value.is_wide() && self.lanes < s.lanes();
        if halved {
            keep_first(s, value, &best, self.lanes, arg.worst())?;
        }
        s.across_as(value, across, &best)?;
        let place = splat_bits(s, count, nowhere as u64)?;
        for (j, one) in found.into_iter().enumerate() {
            s.op2_as(value, Op2::Eq, &one.value, Src::Reg(&best))?;
            let lanes = s.ramp(count.is_wide())?;
            s.op2_as(count, Op2::Add, &one.place, Src::Reg(&lanes))?;
            s.op2_as(count, Op2::Add, &one.place, bits(count, (j * self.lanes) as u64))?;
            s.free(lanes);
            s.keep_where(&one.place, &one.value, Src::Reg(&place))?;
            s.op2_as(count, nearest.op2(), &place, Src::Reg(&one.place))?;
            s.free(one.value);
            s.free(one.place);
        }
        s.free(best);
        if halved {
            keep_first(s, count, &place, self.lanes, nowhere as u64)?;
        }
        s.across_as(count, nearest, &place)?;
        // None was found: then it is the first.
        s.op2_as(count, Op2::MaxNan, &place, bits(count, 0))?;
        Ok(place)
    }
}
