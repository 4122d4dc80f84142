//! Steps of tiles of bytes that all have signs, where products are of whole registers: two pairs of steps at a time.
//!
//! ```text
//!   b0: pairs of steps 0, 1 of 8 columns     b1: of steps 2, 3     a0, a1: a row's pairs, eight times each
//!   16 bits = b0 * a0 + b1 * a1              which fits unless both factors are -128 (`passes::signed`)
//!   acc    += the sums of neighbours         a column of 32 bits
//! ```

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Element, R, Refusal, Simd, V};

use super::{Extent, Generator};

/// Columns of a multiplication, in vectors.
const BESIDE: usize = 2;

impl Generator<'_> {
    /// Whether factors are such bytes.
    pub(super) fn is_long<S: Simd>(&self, s: &S) -> bool {
        let signed = self.tile.quad.is_some() && self.walk.element(self.lhs) == Element::I8;
        signed && !s.has_signed_dot4() && s.multiplies_long()
    }

    /// Four steps of depth for each of so many lanes; where there are several, those of a row are a register.
    pub(super) fn steps_of_signs<S: Simd>(
        &self,
        s: &mut S,
        (l, k): (Option<LoopId>, i64),
        acc: &[V],
        tile: Extent,
        lanes: i64,
    ) -> R {
        let loaded = if lanes == 1 { 1 } else { self.lanes };
        let a = self.rows_of_bytes(s, l, k, tile, loaded)?;
        for lane in 0..lanes {
            self.add_pairs(s, (l, k + lane), acc, tile, &a, lane as usize)?;
        }
        a.into_iter().for_each(|a| s.free(a));
        Ok(())
    }

    fn rows_of_bytes<S: Simd>(
        &self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        tile: Extent,
        lanes: usize,
    ) -> R<Vec<V>> {
        let row = |s: &mut S, r| {
            let disp = self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?;
            s.load(self.walk.ptr(self.lhs), disp, lanes)
        };
        (0..tile.rows).map(|r| row(s, r)).collect()
    }

    /// Products of one lane of each row.
    fn add_pairs<S: Simd>(
        &self,
        s: &mut S,
        (l, k): (Option<LoopId>, i64),
        acc: &[V],
        tile: Extent,
        a: &[V],
        lane: usize,
    ) -> R {
        if !self.is_long(s) {
            return Err(Refusal::unsupported("products of bytes that all have signs"));
        }
        let vectors = acc.len() / tile.rows as usize;
        let behind = 2 * self.tile.panel as i32;
        let mut b = Vec::new();
        for j in (0..vectors).step_by(BESIDE) {
            let disp = self.rhs_at(l, k, j, tile)?.0;
            // Of a single vector half a register.
            let lanes = if j + 1 < vectors { self.lanes } else { self.lanes / BESIDE };
            let p = self.walk.ptr(self.rhs);
            b.push([s.load(p, disp, lanes)?, s.load(p, disp + behind, lanes)?]);
        }
        s.fma_pairs(acc, &b, a, lane)?;
        b.into_iter().flatten().for_each(|v| s.free(v));
        Ok(())
    }
}
