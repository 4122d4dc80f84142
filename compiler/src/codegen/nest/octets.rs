//! Windows of bytes where words of a whole register are multiplied into two: eight channels at a time.
//!
//! ```text
//!   weights: 8 bytes of a window's position   ->  8 words, for a row of results
//!   input:   8 bytes of a column              ->  8 words, for all results that it is part of
//!   acc[2 j], acc[2 j + 1] += low and high half of their products
//! ```

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Element, R, Refusal, Simd, V};

use super::super::vexpr::At;
use super::super::walk::AccessId;
use super::{Generator, Work, typed};

impl Generator<'_> {
    /// Whether a block is pairs of whole vectors of such bytes.
    pub(super) fn octets<S: Simd>(&self, s: &S, widths: &[usize]) -> bool {
        let pairs = widths.len().is_multiple_of(2) && widths.iter().all(|n| *n == s.lanes());
        s.multiplies_long() && pairs && self.are_bytes_beside()
    }

    /// One row of the window, along the loop `row`, for all accumulators.
    pub(super) fn accumulate_octets<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        widths: &[usize],
        tile: i64,
        row: LoopId,
    ) -> R {
        let (Work::Dot { input, weight }, Some((tiled, _))) = (&self.work, self.nest.tile) else {
            return Err(Refusal::unsupported("eight channels of what is no window of products"));
        };
        let columns = self.columns(*input, tiled, tile, row);
        for j in (0..widths.len()).step_by(2) {
            let load = |s: &mut S, a: AccessId, t: i64, k: i64| {
                let ahead = [(self.nest.vector, (j * self.lanes) as i64), (tiled, t), (row, k)];
                let signed = self.walk.element(a) == Element::I8;
                s.load_words(self.walk.ptr(a), self.walk.disp(a, &ahead, 0)?, signed)
            };
            let weights =
                (0..self.walk.extent(row)).map(|k| load(s, *weight, 0, k)).collect::<R<Vec<_>>>()?;
            for users in columns.values() {
                let x = load(s, *input, users[0].0, users[0].1)?;
                for &(t, k) in users {
                    let at = t as usize * widths.len() + j;
                    s.fma_long([&acc[at], &acc[at + 1]], &weights[k as usize], &x)?;
                }
                s.free(x);
            }
            weights.into_iter().for_each(|w| s.free(w));
        }
        Ok(())
    }

    /// Epilogues of all accumulators; what lies side by side is stored together.
    pub(super) fn finish_rows<S: Simd>(&self, s: &mut S, acc: Vec<V>, widths: &[usize], tile: i64) -> R {
        let mut waiting = self.epilogue.make_room(s, acc)?.into_iter();
        let held = self.epilogue.hold_constants(s)?;
        for t in 0..tile {
            let ahead = self.ahead(t, 0, widths.len());
            let places = self.places(&ahead, widths);
            let mut rows: Vec<Vec<V>> = self.stores.iter().map(|_| Vec::new()).collect();
            for (at, acc) in places.iter().zip(waiting.by_ref()) {
                let acc = acc.fetch(s)?;
                typed::round(s, self.acc, &acc)?;
                let values = self.epilogue.eval(s, at, Some(acc))?;
                rows.iter_mut().zip(values).for_each(|(row, v)| row.push(v));
            }
            for (i, (to, row)) in self.stores.iter().zip(rows).enumerate() {
                At::store_all(s, &places, *to, row, self.epilogue.overflow(s, i))?;
            }
        }
        super::super::vexpr::Dag::drop_constants(s, held);
        Ok(())
    }
}
