//! Steps of tiles of bytes: four steps of depth at a time.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::bytes::{self, Bytes};
use kiln_targets::simd::{R, Simd, V};

use super::{Extent, Generator};

impl Generator<'_> {
    /// The panel's vectors stay in registers, rows pass by one at a time.
    pub(super) fn step_of_bytes<S: Simd>(
        &mut self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        // Behind the pairs of the panel's columns are those of the odd steps.
        let half = 2 * self.tile.panel as i32;
        let b = (0..vectors)
            .map(|j| bytes::load(s, rhs, self.rhs_at(l, k, j, tile)?.0, half))
            .collect::<R<Vec<Bytes>>>()?;
        for r in 0..tile.rows {
            let a = bytes::load_splat(s, lhs, self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)?;
            for (acc, b) in acc[r as usize * vectors..][..vectors].iter().zip(&b) {
                bytes::add_products(s, acc, &a, b)?;
            }
            a.free(s);
        }
        b.into_iter().for_each(|b| b.free(s));
        Ok(())
    }
}
