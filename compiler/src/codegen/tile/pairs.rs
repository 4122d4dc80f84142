//! Steps of tiles of bytes whose products fit 16 bits two by two, as their weights prove: four steps of depth at a time.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Op2, R, Simd, Src, V};

use super::{Extent, Generator};

/// Elements from a column to the next one where four steps of depth lie together.
const FOURS: i64 = 4;
/// Two words of 1.
const ONES: u32 = 0x0001_0001;

impl Generator<'_> {
    /// Makes the constant of [`Generator::step_of_pairs`], before any tile.
    pub(super) fn prepare_pairs<S: Simd>(s: &mut S) -> R {
        s.prepare_constant(ONES)
    }

    /// Whether the panels are those of an instruction for four bytes that the machine does not have.
    pub(super) fn in_pairs<S: Simd>(&self, s: &S) -> bool {
        self.tile.quad.is_some() && self.column == FOURS && !s.has_dot4()
    }

    /// Rows pass by one at a time; the panel's vectors are operands in memory.
    pub(super) fn step_of_pairs<S: Simd>(
        &mut self,
        s: &mut S,
        l: Option<LoopId>,
        k: i64,
        acc: &[V],
        tile: Extent,
    ) -> R {
        let vectors = acc.len() / tile.rows as usize;
        let (lhs, rhs) = (self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        for r in 0..tile.rows {
            let a = s.load_splat(lhs, self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?)?;
            for (j, acc) in acc[r as usize * vectors..][..vectors].iter().enumerate() {
                let product = s.copy(&a)?;
                s.madd_bytes(&product, Src::Mem(rhs, self.rhs_at(l, k, j, tile)?.0))?;
                s.madd_words(&product, Src::Bits(ONES))?;
                s.op2(Op2::IntAdd, acc, Src::Reg(&product))?;
                s.free(product);
            }
            s.free(a);
        }
        Ok(())
    }
}
