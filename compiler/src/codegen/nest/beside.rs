//! Several vectors side by side: long values wait for themselves less when others are computed between their steps.

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Op2, R, Simd, Src, V};

use super::super::vexpr::{At, Dag};
use super::{Generator, Work};

impl Generator<'_> {
    /// Constants of long values are loaded once.
    pub(super) fn keep_constants<S: Simd>(&self, s: &mut S) -> R {
        let vectors = self.nest.vectors.max(1) as usize;
        match &self.work {
            Work::Map => self.epilogue.keep_constants(s, vectors, 0),
            Work::Reduce { value, .. } if self.across.is_some() => {
                let after = self.epilogue.registers().of(1);
                value.keep_constants(s, vectors, self.accumulators(s, vectors) + after)
            }
            _ => Ok(()),
        }
    }

    /// Accumulators of so many vectors whose lanes are combined at the end: one where a value's operations hide its latency
    /// and need the room of the others.
    pub(super) fn accumulators<S: Simd>(&self, s: &S, vectors: usize) -> usize {
        match &self.work {
            Work::Reduce { value, .. } if value.has_chain() && !value.has_room(s, vectors) => 1,
            _ => vectors,
        }
    }

    /// Values of several vectors, computed side by side, into the accumulators in turn.
    pub(super) fn accumulate_all<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        t: i64,
        widths: &[usize],
        (op, value): (Op2, &Dag),
    ) -> R {
        let together = value.side_by_side(s, widths.len());
        for (i, widths) in widths.chunks(together).enumerate() {
            let first = i * together;
            let ahead = self.ahead(t, first, widths.len());
            for (j, v) in
                value.eval_all(s, &self.places(&ahead, widths), None)?.into_iter().flatten().enumerate()
            {
                if widths[j] < self.lanes {
                    self.keep_first(s, &v, widths[j])?;
                }
                s.op2_as(self.lane(), op, &acc[(first + j) % acc.len()], Src::Reg(&v))?;
                s.free(v);
            }
        }
        Ok(())
    }

    /// How far ahead of the current iteration vectors are, from the `first`th on.
    pub(super) fn ahead(&self, t: i64, first: usize, vectors: usize) -> Vec<Vec<(LoopId, i64)>> {
        let along = |j: usize| (self.nest.vector, (j * self.lanes) as i64);
        let tiled = self.nest.tile.map(|(l, _)| (l, t));
        (first..first + vectors).map(|j| std::iter::once(along(j)).chain(tiled).collect()).collect()
    }

    pub(super) fn places<'a>(&'a self, ahead: &'a [Vec<(LoopId, i64)>], widths: &[usize]) -> Vec<At<'a>> {
        let at =
            |(ahead, &n): (&'a Vec<_>, &usize)| At { walk: &self.walk, lane: self.nest.vector, ahead, n };
        ahead.iter().zip(widths).map(at).collect()
    }

    /// Values and stores of several vectors, so many of them side by side.
    pub(super) fn map<S: Simd>(&self, s: &mut S, t: i64, widths: &[usize], together: usize) -> R {
        for (i, widths) in widths.chunks(together).enumerate() {
            let ahead = self.ahead(t, i * together, widths.len());
            let places = self.places(&ahead, widths);
            let values = self.epilogue.eval_all(s, &places, None)?;
            for (i, (to, values)) in self.stores.iter().zip(values).enumerate() {
                At::store_all(s, &places, *to, values, self.epilogue.overflow(s, i))?;
            }
        }
        Ok(())
    }
}
