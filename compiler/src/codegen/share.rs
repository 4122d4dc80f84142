//! The part of the shared loop that a caller asks for: the prologue of every vector kernel that has one.

use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::Shared;
use kiln_targets::simd::{P, R, Refusal, Simd};

use super::trips::{Walks, stepped_share};
use super::walk::Walk;

/// Consecutive steps with the same code.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// First step.
    from: i64,
    /// Behind the last one.
    to: i64,
    /// What the loop's counter runs through.
    range: (i64, i64),
    /// Iterations of the loop in a step.
    width: i64,
}

/// The steps `begin..end` of the shared loop; `body` is told how many iterations a step has. `rewind`: the pointers go
/// back to where they were, for a loop inside others.
pub(super) fn shared<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    shared: Shared,
    rewind: bool,
    body: &mut dyn FnMut(&mut T, &mut S, i64) -> R,
) -> R {
    let (l, step) = (shared.along, i64::from(shared.step));
    if let Some(extent) = this.walk().open_extent(l).filter(|_| step != 1) {
        return stepped_share(this, s, l, &extent, step, body);
    }
    let range = (s.arg(1)?, s.arg(2)?);
    between(this, s, shared, range, rewind, body)
}

/// The steps of the shared loop from one to another, which registers have.
pub(super) fn between<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    shared: Shared,
    (begin, end): (P, P),
    rewind: bool,
    body: &mut dyn FnMut(&mut T, &mut S, i64) -> R,
) -> R {
    let (l, step) = (shared.along, i64::from(shared.step));
    let shares = shares(this.walk(), l, step)?;
    this.walk().jump(s, l, &begin, step)?;
    for share in &shares {
        this.walk().set_range(l, share.range);
        let count = if shares.len() == 1 {
            s.difference(&end, &begin)?
        } else {
            let to = s.copy_ptr(&end)?;
            s.at_most(&to, share.to)?;
            let from = s.copy_ptr(&begin)?;
            s.at_least(&from, share.from)?;
            let count = s.difference(&to, &from)?;
            s.free_ptr(to);
            s.free_ptr(from);
            count
        };
        let before = this.walk().drifts();
        s.repeat_ptr(count, &mut |s| {
            body(this, s, share.width)?;
            this.walk().step(s, l, step, &before)
        })?;
    }
    if rewind {
        this.walk().jump(s, l, &end, -step)?;
        let extent = this.walk().extent(l);
        this.walk().set_range(l, (0, extent));
    }
    s.free_ptr(begin);
    s.free_ptr(end);
    Ok(())
}

/// Single iterations are split where padding changes; longer steps are whole ones and what is left.
fn shares(walk: &Walk, l: LoopId, step: i64) -> R<Vec<Share>> {
    let parts = walk.parts(l);
    if step == 1 {
        let share = |(from, to)| Share { from, to, range: (from, to), width: 1 };
        return Ok(parts.into_iter().map(share).collect());
    }
    if step < 1 || parts.len() > 1 {
        return Err(Refusal::unsupported("padding along a shared loop of blocks"));
    }
    let extent = walk.extent(l);
    let full = extent / step;
    let whole = Share { from: 0, to: full, range: (0, extent), width: step };
    let rest = Share { from: full, to: full + 1, range: (0, extent), width: extent % step };
    Ok([whole, rest].into_iter().filter(|share| share.to > share.from && share.width > 0).collect())
}
