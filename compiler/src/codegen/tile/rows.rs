//! Tiles of an open number of rows: whole ones, then one or two of what is left.

use kiln_ir::Dim;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::Shared;
use kiln_ir::kernel::sizes::{rest, tiles};
use kiln_targets::simd::{R, Simd};

use super::{Extent, Generator};
use crate::codegen::trips::{back, counted, repeated};

impl Generator<'_> {
    /// All rows.
    pub(super) fn rows<S: Simd>(
        &mut self,
        s: &mut S,
        i: usize,
        share: Option<Shared>,
        at: Extent,
        l: LoopId,
        extent: &Dim,
    ) -> R {
        for (rows, count) in tiles(extent, self.tile.mr) {
            let rows = i64::from(rows);
            counted(self, s, l, &count, rows, &mut |this, s| this.inside(s, i, share, at, rows))?;
        }
        back(self, s, l, extent)?;
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// The steps `begin..end` of the shared loop, each a tile: the last has the rows that are left.
    pub(super) fn shared_rows<S: Simd>(
        &mut self,
        s: &mut S,
        i: usize,
        at: Extent,
        l: LoopId,
        extent: &Dim,
    ) -> R {
        let mr = i64::from(self.tile.mr);
        let mut list = tiles(extent, self.tile.mr).into_iter();
        let Some((_, whole)) = list.next() else { return Ok(()) };
        let (begin, end) = (s.arg(1)?, s.arg(2)?);
        self.walk.jump(s, l, &begin, mr)?;
        let last = self.walk.size(s, &whole)?;
        s.at_most_of(&last, &end)?;
        let count = s.difference(&last, &begin)?;
        s.free_ptr(begin);
        repeated(self, s, l, count, mr, &mut |this, s| this.inside(s, i, None, at, mr))?;
        let more = s.difference(&end, &last)?;
        s.free_ptr(end);
        let parts: Vec<(u32, Dim)> = list.collect();
        let left = rest(extent, self.tile.mr);
        if parts.is_empty() {
            s.free_ptr(more);
            self.walk.jump(s, l, &last, -mr)?;
            s.free_ptr(last);
            return Ok(());
        }
        // Once or not at all: the pointers come back to where the rest begins.
        repeated(self, s, l, more, 0, &mut |this, s| {
            for (rows, count) in &parts {
                let rows = i64::from(*rows);
                counted(this, s, l, count, rows, &mut |this, s| this.inside(s, i, None, at, rows))?;
            }
            let count = this.walk.size(s, &left)?;
            this.walk.jump(s, l, &count, -1)?;
            s.free_ptr(count);
            Ok(())
        })?;
        self.walk.jump(s, l, &last, -mr)?;
        s.free_ptr(last);
        Ok(())
    }
}
