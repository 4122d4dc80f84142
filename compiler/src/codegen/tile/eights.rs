//! Steps of tiles of bytes whose rows and columns are multiplied two by two, eight steps of depth at a time.
//!
//! ```text
//!   a: row 0 | row 1      b: column 0 | column 1      sums: 0 x 0 | 0 x 1 | 1 x 0 | 1 x 1
//! ```
//!
//! So the sums of two rows and a vector of columns are two blocks instead of two rows. Rows that lie far from each other
//! are loaded sixteen bytes at a time, whose halves are put side by side. A row that has none beside it has zeros there,
//! whose sums nobody reads.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{R, Simd, V};

use super::{Extent, Generator};

/// Bytes of a column in a vector of two columns are half of it.
const COLUMNS: usize = 2;
/// Bytes of a vector of two columns.
const BLOCK: i32 = 16;
/// Eights of a row that are loaded together.
const TOGETHER: i64 = 2;

impl Generator<'_> {
    /// The sums of rows as blocks, where they are such: by pairs of rows, then by vectors of columns, two for each.
    pub(super) fn open_blocks<S: Simd>(&self, s: &mut S, rows: Vec<V>, tile: Extent) -> R<Vec<V>> {
        if self.tile.eight.is_none() {
            return Ok(rows);
        }
        let vectors = rows.len() / tile.rows as usize;
        let mut rows = rows.into_iter();
        let mut blocks = Vec::new();
        while rows.len() > 0 {
            let upper: Vec<V> = rows.by_ref().take(vectors).collect();
            for a in upper.into_iter().zip(next_row(s, &mut rows, vectors)?) {
                // Zeros are zeros either way.
                blocks.extend(if self.start.is_some() { s.halves_together(a.0, a.1)? } else { [a.0, a.1] });
            }
        }
        Ok(blocks)
    }

    /// The sums of rows again.
    pub(super) fn close_blocks<S: Simd>(&self, s: &mut S, blocks: Vec<V>, tile: Extent) -> R<Vec<V>> {
        if self.tile.eight.is_none() {
            return Ok(blocks);
        }
        let vectors = blocks.len() / (tile.rows as usize).next_multiple_of(2);
        let mut blocks = blocks.into_iter();
        let mut rows = Vec::new();
        while blocks.len() > 0 {
            let mut lower = Vec::new();
            for _ in 0..vectors {
                let [Some(a), Some(b)] = [blocks.next(), blocks.next()] else { break };
                let [first, second] = s.halves_together(a, b)?;
                rows.push(first);
                lower.push(second);
            }
            if rows.len() < tile.rows as usize * vectors {
                rows.append(&mut lower);
            }
            lower.into_iter().for_each(|v| s.free(v));
        }
        Ok(rows)
    }

    /// `count` times eight steps of the innermost depth loop.
    pub(super) fn steps_of_eights<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        count: i64,
        blocks: &[V],
        tile: Extent,
    ) -> R {
        for k in (0..count).step_by(TOGETHER as usize) {
            let together = (count - k).min(TOGETHER);
            let a = self.pairs_of_rows(s, (l, k), together, tile)?;
            let vectors = blocks.len() / a.len() / COLUMNS;
            for eight in 0..together {
                for j in 0..vectors {
                    let (p, at) = (self.walk.ptr(self.rhs), self.rhs_at(l, k + eight, j, tile)?.0);
                    let b = [s.load(p, at, self.lanes)?, s.load(p, at + BLOCK, self.lanes)?];
                    for (a, blocks) in a.iter().zip(blocks.chunks_exact(vectors * COLUMNS)) {
                        for (b, sums) in b.iter().zip(&blocks[j * COLUMNS..]) {
                            s.dot8(sums, &a[eight as usize], b)?;
                        }
                    }
                    b.into_iter().for_each(|b| s.free(b));
                }
            }
            a.into_iter().flatten().for_each(|a| s.free(a));
        }
        Ok(())
    }

    /// One or two eights of each two rows.
    fn pairs_of_rows<S: Simd>(
        &self,
        s: &mut S,
        (l, k): (Option<LoopId>, i64),
        together: i64,
        tile: Extent,
    ) -> R<Vec<Vec<V>>> {
        let (p, half) = (self.walk.ptr(self.lhs), self.lanes / TOGETHER as usize);
        let at = |r: i64, eight: i64| self.walk.disp(self.lhs, &self.ahead(l, k + eight, r), 0);
        let lanes = half * together as usize;
        let mut pairs = Vec::new();
        for r in (0..tile.rows).step_by(COLUMNS) {
            if r + 1 == tile.rows {
                pairs.push((0..together).map(|eight| s.load(p, at(r, eight)?, half)).collect::<R<_>>()?);
                continue;
            }
            let (upper, lower) = (s.load(p, at(r, 0)?, lanes)?, s.load(p, at(r + 1, 0)?, lanes)?);
            let [first, second] = s.halves_together(upper, lower)?;
            let mut pair = vec![first];
            if together == TOGETHER {
                pair.push(second);
            } else {
                s.free(second);
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// The sums of the next row, or zeros where there is none.
fn next_row<S: Simd>(s: &mut S, rows: &mut std::vec::IntoIter<V>, vectors: usize) -> R<Vec<V>> {
    if rows.len() == 0 {
        return (0..vectors).map(|_| s.splat(0.0)).collect();
    }
    Ok(rows.take(vectors).collect())
}
