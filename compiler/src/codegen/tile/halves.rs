//! Steps of tiles of floats of 16 bits whose products are added to f32 by instructions: eight steps of depth at a time.
//!
//! ```text
//!   a: eight steps of a row     b: eight columns of a step, side by side in the panel
//!   acc[2 j]     += b[0..4] * a[step]
//!   acc[2 j + 1] += b[4..8] * a[step]
//! ```
//!
//! Products are exact and each sum is rounded once, as where both become f32 first.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Element, R, Simd, V};

use super::{Extent, Generator, HALVES};

/// Vectors of sums that a vector of columns is for.
const BESIDE: usize = 2;

impl Generator<'_> {
    /// Whether steps are such. Panels are read beyond the tile's last column.
    pub(super) fn is_halves<S: Simd>(&self, s: &S) -> bool {
        let element = |access| self.walk.element(access) == Element::F16;
        let panels = self.tile.rhs_padded && self.column == 1 && self.tile.panel == self.tile.nr;
        s.multiplies_halves() && panels && element(self.lhs) && element(self.rhs)
    }

    pub(super) fn steps_of_halves<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let a = (0..tile.rows)
            .map(|r| {
                s.load_factors(self.walk.ptr(self.lhs), self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)
            })
            .collect::<R<Vec<_>>>()?;
        // The next step's columns before these are multiplied, where registers are left.
        let groups = vectors.div_ceil(BESIDE);
        let ahead = s.spare() >= 2 * groups;
        let mut next = None;
        for step in 0..HALVES {
            let b = match next.take() {
                Some(b) => b,
                None => self.columns_of_halves(s, (l, k + step), vectors, tile)?,
            };
            if ahead && step + 1 < HALVES {
                next = Some(self.columns_of_halves(s, (l, k + step + 1), vectors, tile)?);
            }
            for (j, b) in b.into_iter().enumerate() {
                let beside = (vectors - BESIDE * j).min(BESIDE);
                for (half, from) in (BESIDE * j..).take(beside).enumerate() {
                    for (acc, a) in acc[from..].iter().step_by(vectors).zip(&a) {
                        s.fma_halves(half > 0, acc, &b, a, step as usize)?;
                    }
                }
                s.free(b);
            }
        }
        a.into_iter().for_each(|a| s.free(a));
        Ok(())
    }

    /// A step of the panel, eight columns to a vector.
    fn columns_of_halves<S: Simd>(
        &self,
        s: &mut S,
        (l, k): (Option<LoopId>, i64),
        vectors: usize,
        tile: Extent,
    ) -> R<Vec<V>> {
        let load = |j: usize| {
            let disp = self.rhs_at(l, k, j, tile)?.0;
            // Of a single vector half a register.
            let lanes = if j + 1 < vectors { self.lanes } else { self.lanes / BESIDE };
            s.load(self.walk.ptr(self.rhs), disp, lanes)
        };
        (0..vectors).step_by(BESIDE).map(load).collect()
    }
}
