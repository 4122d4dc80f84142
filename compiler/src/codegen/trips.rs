//! Loops in code: as many iterations as are known, as a size says, or a share of them.
//!
//! Pointers of a [`Walk`] move on per iteration; an open loop brings them back by the number that it ran.

use kiln_ir::Dim;
use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{P, R, Refusal, Simd};

use super::walk::Walk;

/// A generator that owns a [`Walk`].
pub(super) trait Walks {
    /// Its walk.
    fn walk(&mut self) -> &mut Walk;
}

/// What a loop does in a step of so many iterations.
pub(super) type InSteps<'b, T, S> = &'b mut dyn FnMut(&mut T, &mut S, i64) -> R;

/// What a loop does per iteration.
pub(super) type Body<'b, T, S> = &'b mut dyn FnMut(&mut T, &mut S) -> R;

/// `count` iterations of `step` counts of loop `l`; the counter stands behind them afterwards.
pub(super) fn trips<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    count: i64,
    step: i64,
    body: Body<'_, T, S>,
) -> R {
    if let Some(extent) = this.walk().open_extent(l) {
        if step != 1 || count != this.walk().extent(l) {
            return Err(Refusal::unsupported("part of an open loop"));
        }
        counted(this, s, l, &extent, 1, body)?;
        return back(this, s, l, &extent);
    }
    known_trips(this, s, l, count, step, body)
}

/// The same of a known number of iterations, be they all or some of an open loop's.
pub(super) fn known_trips<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    count: i64,
    step: i64,
    body: Body<'_, T, S>,
) -> R {
    match count {
        ..=0 => Ok(()),
        1 => {
            body(this, s)?;
            this.walk().skip(l, step);
            Ok(())
        }
        _ => {
            let before = this.walk().drifts();
            let count =
                u32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^32 iterations"))?;
            s.repeat(count, &mut |s| {
                body(this, s)?;
                this.walk().step(s, l, step, &before)
            })?;
            this.walk().step_sized(s, l, -step * i64::from(count))
        }
    }
}

/// An open loop in steps of a power of two: whole ones, then what is left in one step at most of each smaller power. `body` is
/// told how many iterations its step has. The counter stands where it began afterwards.
pub(super) fn stepped<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    extent: &Dim,
    step: i64,
    body: InSteps<'_, T, S>,
) -> R {
    for part in powers(step)? {
        let count = parts_of(this.walk(), s, extent, part, step)?;
        repeated(this, s, l, count, part, &mut |this, s| body(this, s, part))?;
    }
    back(this, s, l, extent)?;
    let most = this.walk().extent(l);
    this.walk().rewind(l, most);
    Ok(())
}

/// The same for the steps from `begin` to `end` alone, the last of which has what whole steps leave.
pub(super) fn stepped_share<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    extent: &Dim,
    step: i64,
    body: InSteps<'_, T, S>,
) -> R {
    let parts = powers(step)?;
    let (begin, end) = (s.arg(1)?, s.arg(2)?);
    this.walk().jump(s, l, &begin, step)?;
    let last = parts_of(this.walk(), s, extent, step, step)?;
    s.at_most_of(&last, &end)?;
    let count = s.difference(&last, &begin)?;
    s.free_ptr(begin);
    repeated(this, s, l, count, step, &mut |this, s| body(this, s, step))?;
    let more = s.difference(&end, &last)?;
    s.free_ptr(end);
    // Once or not at all: the pointers come back to where the rest begins.
    repeated(this, s, l, more, 0, &mut |this, s| {
        for &part in &parts[1..] {
            let count = parts_of(this.walk(), s, extent, part, step)?;
            repeated(this, s, l, count, part, &mut |this, s| body(this, s, part))?;
        }
        let rest = this.walk().size(s, extent)?;
        let whole = parts_of(this.walk(), s, extent, step, step)?;
        s.advance_by(&rest, &whole, -step)?;
        s.free_ptr(whole);
        this.walk().jump(s, l, &rest, -1)?;
        s.free_ptr(rest);
        Ok(())
    })?;
    this.walk().jump(s, l, &last, -step)?;
    s.free_ptr(last);
    Ok(())
}

/// A step and every smaller power of two, falling.
fn powers(step: i64) -> R<Vec<i64>> {
    if step < 1 || !step.unsigned_abs().is_power_of_two() {
        return Err(Refusal::unsupported(format!("an open loop in steps of {step}")));
    }
    Ok((0..=step.trailing_zeros()).rev().map(|bit| 1 << bit).collect())
}

/// As many iterations of `step` counts of an open loop as a size says: the pointers move on as in [`trips`], by a number that
/// nothing after knows. [`back`] brings them to where they were.
pub(super) fn counted<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    count: &Dim,
    step: i64,
    body: Body<'_, T, S>,
) -> R {
    let count = this.walk().size(s, count)?;
    repeated(this, s, l, count, step, body)
}

/// The same for a number in a register.
pub(super) fn repeated<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    l: LoopId,
    count: P,
    step: i64,
    body: Body<'_, T, S>,
) -> R {
    let before = this.walk().drifts();
    s.repeat_ptr(count, &mut |s| {
        body(this, s)?;
        this.walk().step(s, l, step, &before)
    })
}

/// The pointers go back by all iterations of an open loop; for the code that follows its counter stands behind the most that
/// there can be, as behind a loop that is not open.
pub(super) fn back<T: Walks, S: Simd>(this: &mut T, s: &mut S, l: LoopId, extent: &Dim) -> R {
    let count = this.walk().size(s, extent)?;
    this.walk().jump(s, l, &count, -1)?;
    s.free_ptr(count);
    let most = this.walk().extent(l);
    this.walk().skip(l, most);
    Ok(())
}

/// How many steps of a part of `step` an open loop has: whole ones, then one at most of each smaller power of two.
fn parts_of<S: Simd>(walk: &Walk, s: &mut S, extent: &Dim, part: i64, step: i64) -> R<P> {
    let count = walk.size(s, extent)?;
    let bits = part.trailing_zeros() as u8;
    s.shift_down(&count, bits);
    if part < step {
        let twice = walk.size(s, extent)?;
        s.shift_down(&twice, bits + 1);
        s.advance_by(&count, &twice, -2)?;
        s.free_ptr(twice);
    }
    Ok(count)
}
