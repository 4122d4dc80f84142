//! Rows that indices read at run time lead to: among which loops each index is known.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{R, Refusal, Simd};

use super::super::gather::gathered;
use super::super::trips::Body;
use super::Generator;

impl Generator<'_> {
    /// Where among the parallel loops each index read at run time is known.
    pub(super) fn find_rows(&mut self) -> R {
        let tiled = self.nest.tile.map(|(l, _)| l);
        let untiled: Vec<LoopId> = self.parallel.iter().copied().filter(|l| Some(*l) != tiled).collect();
        self.rows = vec![Vec::new(); self.parallel.len() + 1];
        for gather in self.walk.gathers.clone() {
            let depth = gather.depth(&self.walk, &untiled).and(gather.depth(&self.walk, &self.parallel));
            let depth = depth.ok_or_else(|| Refusal::unsupported("an index for each lane"))?;
            self.rows[depth].push(gather);
        }
        Ok(())
    }

    /// Runs `body` inside the `depth` outermost parallel loops, at the rows that indices known there lead to.
    pub(super) fn at_rows<S: Simd>(&mut self, s: &mut S, depth: usize, body: Body<'_, Self, S>) -> R {
        let gathers = self.rows[depth].clone();
        gathered(self, s, &gathers, body)
    }
}
