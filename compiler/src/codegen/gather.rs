//! Rows that indices read at run time lead to: the index is read, checked and followed outside the loops along the row.
//!
//! ```text
//! loops that the index depends on
//!   index; where it counts from the end, wrapped
//!   inside its axis: the access's pointer moves to the row
//!     loops along the row
//!   else: nothing is read or written, the status tells
//! ```

use kiln_ir::kernel::LoopId;
use kiln_runtime::abi::frame as words;
use kiln_runtime::status::Status;
use kiln_targets::simd::{R, Simd};

use super::trips::{Body, Walks};
use super::walk::{Gathered, Walk};

impl Gathered {
    /// How many of the loops, outermost first, its index is inside of; `None` where it depends on another.
    pub(super) fn depth(&self, walk: &Walk, loops: &[LoopId]) -> Option<usize> {
        let moves = |l: &LoopId| walk.stride(self.index, *l) != 0;
        let count = walk.loops().filter(moves).count();
        let inside = loops.iter().filter(|l| moves(l)).count();
        (inside == count).then(|| loops.iter().rposition(moves).map_or(0, |i| i + 1))
    }
}

/// Runs `body` where all these indices are inside their axes, with the pointers moved to what they lead to.
pub(super) fn gathered<T: Walks, S: Simd>(
    this: &mut T,
    s: &mut S,
    gathers: &[Gathered],
    body: Body<'_, T, S>,
) -> R {
    let Some((gather, rest)) = gathers.split_first() else { return body(this, s) };
    let walk = this.walk();
    let disp = walk.disp(gather.index, &[], 0)?;
    let index = s.load_index(walk.ptr(gather.index), disp, gather.wide)?;
    s.wrap(&index, gather.extent)?;
    let before = walk.drifts();
    s.when_below(
        &index,
        gather.extent,
        &mut |s| {
            let old = this.walk().enter(s, gather.cursor, &index, gather.bytes)?;
            gathered(this, s, rest, body)?;
            this.walk().leave(s, gather.cursor, old);
            this.walk().settle(s, &before);
            Ok(())
        },
        &mut |s| {
            let frame = s.arg(0)?;
            s.store_word(&frame, words::STATUS, Status::IndexOutOfRange as i32);
            s.free_ptr(frame);
            Ok(())
        },
    )?;
    s.free_ptr(index);
    Ok(())
}
