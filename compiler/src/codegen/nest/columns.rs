//! Windows whose neighbouring results share inputs: every input column is loaded once.
//!
//! ```text
//!   3 x 3 window of step 1, four results      for each row of the window:
//!                                               w0 w1 w2: the row's weights, in registers
//!     x0 x1 x2 x3 x4 x5                         x0 -> acc0                w0
//!     '--+--'  |     |                          x1 -> acc0 w1, acc1       w0
//!        '-----+     |   acc0..acc3             x2 -> acc0 w2, acc1 w1, acc2 w0
//!            ...-----'                          ...
//! ```
//!
//! Without this every result loads its own nine inputs, and loads, not arithmetic, are the limit of a core.
//!
//! Bytes are multiplied as words, two rows of the window at a time: a lane holds the same column of both, and a multiplication
//! of words in pairs adds both products.

use std::collections::BTreeMap;

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Element, Narrow, R, Refusal, Simd, Src, V};

use super::super::vexpr::{At, Operand};
use super::super::walk::AccessId;
use super::{Generator, Work, typed};

impl Generator<'_> {
    /// The loop along the window's rows, when the schedule asks for shared columns and no padding is among what is
    /// read here.
    pub(super) fn column_loop(&self, tile: i64) -> Option<LoopId> {
        let input = match &self.work {
            Work::Dot { input, .. } | Work::Window { input, .. } | Work::Greatest { input } => *input,
            Work::Map
            | Work::Bytes
            | Work::Copy { .. }
            | Work::Repeat { .. }
            | Work::LookUp { .. }
            | Work::Reduce { .. }
            | Work::Arg { .. } => {
                return None;
            }
        };
        let last = *self.reduced.last()?;
        let asked = self.nest.columns && self.nest.unrolled.contains(&last) && self.across.is_none();
        (asked && tile > 1 && self.walk.outside(input) == Ok(None)).then_some(last)
    }

    /// One row of the window, along the loop `row`, for all accumulators.
    pub(super) fn accumulate_columns<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        widths: &[usize],
        tile: i64,
        row: LoopId,
    ) -> R {
        let (input, weight) = match self.work {
            Work::Dot { input, weight } => (input, Some(weight)),
            Work::Window { input, .. } | Work::Greatest { input } => (input, None),
            Work::Map
            | Work::Bytes
            | Work::Copy { .. }
            | Work::Repeat { .. }
            | Work::LookUp { .. }
            | Work::Reduce { .. }
            | Work::Arg { .. } => {
                return Ok(());
            }
        };
        let Some((tiled, _)) = self.nest.tile else { return Ok(()) };
        let columns = self.columns(input, tiled, tile, row);
        for (j, &n) in widths.iter().enumerate() {
            let along = |t: i64, k: i64| [(self.nest.vector, (j * self.lanes) as i64), (tiled, t), (row, k)];
            let load = |s: &mut S, a: AccessId, ahead: &[(LoopId, i64)]| {
                let at = At { walk: &self.walk, lane: self.nest.vector, ahead, n };
                match self.work {
                    Work::Greatest { .. } => self.load_unsigned(s, &at, a).map(Operand::Reg),
                    _ => at.load(s, a),
                }
            };
            let weights = match weight {
                None => Vec::new(),
                Some(w) => (0..self.walk.extent(row))
                    .map(|k| load(s, w, &along(0, k))?.into_reg(s, &self.walk))
                    .collect::<R<Vec<_>>>()?,
            };
            for users in columns.values() {
                let mut x = load(s, input, &along(users[0].0, users[0].1))?;
                if users.len() > 1 {
                    x = Operand::Reg(x.into_reg(s, &self.walk)?);
                }
                for &(t, k) in users {
                    let acc = &acc[t as usize * widths.len() + j];
                    match (&self.work, &x) {
                        (Work::Greatest { .. }, Operand::Reg(x)) => s.max_bytes(acc, x)?,
                        (Work::Window { op, .. }, x) => s.op2_as(self.lane(), *op, acc, x.src(&self.walk))?,
                        (_, x) => self.add_product(s, acc, &weights[k as usize], x.src(&self.walk))?,
                    }
                }
                x.free(s);
            }
            weights.into_iter().for_each(|w| s.free(w));
        }
        Ok(())
    }

    /// The loop from row to row of a window of bytes, where its rows go by twos.
    pub(super) fn rows_by_twos<S: Simd>(&self, s: &S) -> Option<LoopId> {
        let [.., rows, _] = self.reduced[..] else { return None };
        let apart = matches!(self.work, Work::Dot { input, .. } if self.walk.is_sized(input, rows));
        let whole = self.nest.unrolled.contains(&rows) && self.walk.extent(rows) > 1 && !apart;
        (self.words && self.are_bytes_beside() && whole && !s.has_dot4()).then_some(rows)
    }

    /// Whether a window of bytes takes one channel at a time: where lanes are registers of their own, as many results share what
    /// is read as there is room for, instead of channels that share nothing.
    pub(super) fn takes_single_channels<S: Simd>(&self, s: &S) -> bool {
        let blocks = self.share.is_some_and(|share| share.along == self.nest.vector);
        s.multiplies_lanes() && !blocks && self.nest.columns && self.rows_by_twos(s).is_some()
    }

    /// Epilogues of all results, then their stores: what the results share is read once where nothing is stored in between.
    pub(super) fn finish_together<S: Simd>(&self, s: &mut S, acc: Vec<V>, widths: &[usize], tile: i64) -> R {
        let ahead: Vec<_> = (0..tile).flat_map(|t| self.ahead(t, 0, widths.len())).collect();
        let widths = widths.repeat(tile as usize);
        let places = self.places(&ahead, &widths);
        for acc in &acc {
            typed::round(s, self.acc, acc)?;
        }
        let values = self.epilogue.eval_all(s, &places, Some(acc))?;
        for (i, (to, values)) in self.stores.iter().zip(values).enumerate() {
            At::store_all(s, &places, *to, values, self.epilogue.overflow(s, i))?;
        }
        Ok(())
    }

    /// Whether bytes that lie side by side along the vectors are multiplied by such weights, which the tile's results share.
    pub(super) fn are_bytes_beside(&self) -> bool {
        let Work::Dot { input, weight } = &self.work else { return false };
        let element = |a: AccessId| self.walk.element(a);
        let bytes = matches!(element(*input), Element::U8 | Element::I8);
        let bytes = bytes && element(*weight) == Element::I8;
        let still = self.nest.tile.is_some_and(|(tiled, _)| self.walk.stride(*weight, tiled) == 0);
        let mut both = [*input, *weight].into_iter();
        let beside =
            both.all(|a| self.walk.stride(a, self.nest.vector) == self.walk.element(a).bytes() as i64);
        bytes && still && beside
    }

    /// All rows of the window, along the loop `rows`, for all accumulators.
    pub(super) fn accumulate_twos<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        widths: &[usize],
        tile: i64,
        [rows, row]: [LoopId; 2],
    ) -> R {
        let (Work::Dot { input, weight }, Some((tiled, _))) = (&self.work, self.nest.tile) else {
            return Err(Refusal::unsupported("rows by twos of what is no window of products"));
        };
        let columns = self.columns(*input, tiled, tile, row);
        let extent = self.walk.extent(rows);
        for (j, &n) in widths.iter().enumerate() {
            for at in (0..extent).step_by(2) {
                let load = |s: &mut S, a: AccessId, t: i64, k: i64| {
                    let signed = self.walk.element(a) == Element::I8;
                    let disp = |at: i64| {
                        let ahead =
                            [(self.nest.vector, (j * self.lanes) as i64), (tiled, t), (row, k), (rows, at)];
                        self.walk.disp(a, &ahead, 0)
                    };
                    let p = self.walk.ptr(a);
                    if at + 1 < extent {
                        return s.load_byte_pairs(p, [disp(at)?, disp(at + 1)?], signed, n);
                    }
                    s.load_narrow(Narrow { two: false, signed }, p, disp(at)?, n)
                };
                let weights =
                    (0..self.walk.extent(row)).map(|k| load(s, *weight, 0, k)).collect::<R<Vec<_>>>()?;
                for users in columns.values() {
                    let x = load(s, *input, users[0].0, users[0].1)?;
                    for &(t, k) in users {
                        s.fma_words(&acc[t as usize * widths.len() + j], &weights[k as usize], Src::Reg(&x))?;
                    }
                    s.free(x);
                }
                weights.into_iter().for_each(|w| s.free(w));
            }
        }
        Ok(())
    }

    /// Results `t` and window positions `k` by the input column that they meet at, in order.
    pub(super) fn columns(
        &self,
        input: AccessId,
        tiled: LoopId,
        tile: i64,
        row: LoopId,
    ) -> BTreeMap<i64, Vec<(i64, i64)>> {
        let (by_result, by_position) = (self.walk.stride(input, tiled), self.walk.stride(input, row));
        let mut columns: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for t in 0..tile {
            for k in 0..self.walk.extent(row) {
                columns.entry(t * by_result + k * by_position).or_default().push((t, k));
            }
        }
        columns
    }
}
