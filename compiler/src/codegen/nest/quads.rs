//! Windows of bytes by dot products of four: a lane holds four neighbouring columns of a channel.
//!
//! ```text
//!   3 x 3 window of step 1:   lane: x0 x1 x2 x3       a row of the window for two results:
//!                                                       acc0 += x0 w0 + x1 w1 + x2 w2 + x3 0
//!                                                       acc1 += x0 0  + x1 w0 + x2 w1 + x3 w2
//! ```
//!
//! Bytes of the same channels at four columns are interleaved in registers: two columns byte by byte, two pairs word by
//! word, within 128 bits each. So that channels come out in order, groups of four are moved first, as rows of a 4 x 4 matrix
//! become its columns. Fours begin at every even column; what a result does not read of one meets zeros among the weights,
//! which are interleaved alike, once for a row of results, and wait in the frame.

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Parked, R, Refusal, Simd, Src, V};

use super::super::trips::{stepped, trips};
use super::super::vexpr::{At, Dag};
use super::super::walk::AccessId;
use super::{Generator, Work, widths};

/// Columns of a lane.
const COLUMNS: i64 = 4;

/// Weights of a row of the window, by how far the first column of four is behind the first that the result reads, and by
/// vector.
type Row = BTreeMap<i64, Vec<Parked>>;

/// What a window of bytes is made of.
#[derive(Clone, Copy)]
struct Parts {
    input: AccessId,
    weight: AccessId,
    /// The loop along the window's row, and its extent.
    row: LoopId,
    taps: i64,
    /// Columns from one result to the next.
    step: i64,
}

impl Parts {
    /// The first columns of the fours that a result reads, which is `t` results behind the first, and of how many columns
    /// each is behind the first column that it reads.
    fn fours(&self, t: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let first = t * self.step;
        let end = first + self.taps;
        (first & !1..end).step_by(COLUMNS as usize).map(move |four| (four, four - first))
    }
}

impl Generator<'_> {
    /// The loop along a row of results, in blocks of channels.
    pub(super) fn quads<S: Simd>(&mut self, s: &mut S, along: LoopId, tile: i64) -> R {
        let parts = self.parts_of_quads(along)?;
        let (l, block) = (self.nest.vector, self.block());
        let extent = self.walk.extent(l);
        trips(self, s, l, extent / block, block, &mut |this, s| this.channels(s, along, tile, block, parts))?;
        let rest = extent % block;
        if rest > 0 {
            self.channels(s, along, tile, rest, parts)?;
            self.walk.skip(l, rest);
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    fn parts_of_quads(&self, along: LoopId) -> R<Parts> {
        let (Work::Dot { input, weight }, Some(row), true) = (&self.work, self.reduced.last(), self.words)
        else {
            return Err(Refusal::unsupported("columns by fours of what is no window of bytes"));
        };
        let (from, to) = (self.walk.stride(*input, *row), self.walk.stride(*input, along));
        let (input, weight, row) = (*input, *weight, *row);
        let fits = from > 0 && to > 0 && to % from == 0 && !self.walk.is_guarded(input);
        let all = self.reduced.iter().all(|l| self.nest.unrolled.contains(l));
        if !fits
            || !all
            || self.walk.stride(weight, along) != 0
            || self.walk.extent(self.nest.vector) % 4 != 0
        {
            return Err(Refusal::unsupported("columns by fours of such a window"));
        }
        Ok(Parts { input, weight, row, taps: self.walk.extent(row), step: to / from })
    }

    /// All results of a row in a block of channels.
    fn channels<S: Simd>(&mut self, s: &mut S, along: LoopId, tile: i64, count: i64, parts: Parts) -> R {
        let mut weights: Vec<Row> = Vec::new();
        let last = self.reduced.len() - 1;
        self.reduce(s, 0, last, &mut |this, s| {
            weights.push(this.weights_of_row(s, tile, count, parts)?);
            Ok(())
        })?;
        if let Some(extent) = self.walk.open_extent(along) {
            stepped(self, s, along, &extent, tile, &mut |this, s, n| {
                this.results(s, n, count, parts, &weights)
            })?;
        } else {
            let extent = self.walk.extent(along);
            trips(self, s, along, extent / tile, tile, &mut |this, s| {
                this.results(s, tile, count, parts, &weights)
            })?;
            let rest = extent % tile;
            if rest > 0 {
                self.results(s, rest, count, parts, &weights)?;
                self.walk.skip(along, rest);
            }
            self.walk.rewind(along, extent);
        }
        weights.into_iter().flat_map(BTreeMap::into_values).flatten().for_each(|parked| s.forget(parked));
        Ok(())
    }

    /// The weights of the current row of the window.
    fn weights_of_row<S: Simd>(&self, s: &mut S, tile: i64, count: i64, parts: Parts) -> R<Row> {
        let vectors = (count as usize).div_ceil(self.lanes);
        let behind: BTreeSet<i64> =
            (0..tile).flat_map(|t| parts.fours(t)).map(|(_, behind)| behind).collect();
        let mut row = Row::new();
        for behind in behind {
            let bytes = (behind..behind + COLUMNS)
                .map(|tap| match (0..parts.taps).contains(&tap) {
                    true => self.turned(s, parts.weight, &[(parts.row, tap)], count),
                    false => s.splat(0.0),
                })
                .collect::<R<Vec<V>>>()?;
            let [a, b, c, d] = <[V; 4]>::try_from(bytes).map_err(|_| Refusal::unsupported("four columns"))?;
            let (low, high) = (interleaved(s, a, b, vectors)?, interleaved(s, c, d, vectors)?);
            let fours = joined(s, &low, &high)?;
            low.into_iter().chain(high).for_each(|v| s.free(v));
            row.insert(behind, fours.into_iter().take(vectors).map(|v| s.park(v)).collect::<R<_>>()?);
        }
        Ok(row)
    }

    /// Bytes of `count` channels, in groups of four that are moved.
    fn turned<S: Simd>(&self, s: &mut S, a: AccessId, ahead: &[(LoopId, i64)], count: i64) -> R<V> {
        let disp = self.walk.disp(a, ahead, 0)?;
        s.load_turned(self.walk.ptr(a), disp, (count / 4) as usize)
    }

    /// `tile` results beside each other.
    fn results<S: Simd>(&mut self, s: &mut S, tile: i64, count: i64, parts: Parts, weights: &[Row]) -> R {
        let widths = widths(count, self.lanes);
        let acc = self.beginnings(s, tile, &widths)?;
        let (mut rows, last) = (weights.iter(), self.reduced.len() - 1);
        self.reduce(s, 0, last, &mut |this, s| {
            let row = rows.next().ok_or_else(|| Refusal::unsupported("a row of a window without weights"))?;
            this.row_of_fours(s, &acc, tile, count, parts, row)
        })?;
        let mut waiting = self.epilogue.make_room(s, acc)?.into_iter();
        let held = self.epilogue.hold_constants(s)?;
        for t in 0..tile {
            let ahead = self.ahead(t, 0, widths.len());
            let places = self.places(&ahead, &widths);
            let mut results: Vec<Vec<V>> = self.stores.iter().map(|_| Vec::new()).collect();
            for (at, acc) in places.iter().zip(waiting.by_ref()) {
                let acc = acc.fetch(s)?;
                let values = self.epilogue.eval(s, at, Some(acc))?;
                results.iter_mut().zip(values).for_each(|(all, v)| all.push(v));
            }
            for (i, (to, all)) in self.stores.iter().zip(results).enumerate() {
                At::store_all(s, &places, *to, all, self.epilogue.overflow(s, i))?;
            }
        }
        Dag::drop_constants(s, held);
        Ok(())
    }

    /// A row of the window for all accumulators.
    fn row_of_fours<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        tile: i64,
        count: i64,
        parts: Parts,
        weights: &Row,
    ) -> R {
        let vectors = (count as usize).div_ceil(self.lanes);
        let end = (tile - 1) * parts.step + parts.taps;
        let firsts: BTreeSet<i64> = (0..tile).flat_map(|t| parts.fours(t)).map(|(first, _)| first).collect();
        // Pairs of columns; beyond the last one are zeros among the weights, whatever is there.
        let mut pairs: BTreeMap<i64, Vec<V>> = BTreeMap::new();
        let mut fours: BTreeMap<i64, Vec<V>> = BTreeMap::new();
        let pair = |s: &mut S, first: i64| {
            let a = self.turned(s, parts.input, &[(parts.row, first)], count)?;
            let b = match first + 1 < end {
                true => self.turned(s, parts.input, &[(parts.row, first + 1)], count)?,
                false => s.copy(&a)?,
            };
            interleaved(s, a, b, vectors)
        };
        for &first in &firsts {
            for at in [first, first + 2] {
                if at < end && !pairs.contains_key(&at) {
                    let made = pair(s, at)?;
                    pairs.insert(at, made);
                }
            }
            let low = &pairs[&first];
            let all = joined(s, low, pairs.get(&(first + 2)).unwrap_or(low))?;
            let (needed, rest) = all.into_iter().enumerate().partition::<Vec<_>, _>(|(i, _)| *i < vectors);
            rest.into_iter().for_each(|(_, v)| s.free(v));
            fours.insert(first, needed.into_iter().map(|(_, v)| v).collect());
            let next = firsts.range(first + 1..).next().copied().unwrap_or(end);
            let done: Vec<i64> = pairs.range(..next).map(|(at, _)| *at).collect();
            for at in done {
                pairs.remove(&at).into_iter().flatten().for_each(|v| s.free(v));
            }
        }
        pairs.into_values().flatten().for_each(|v| s.free(v));
        for (behind, row) in weights {
            for (j, weight) in row.iter().enumerate() {
                let users = (0..tile).flat_map(|t| parts.fours(t).map(move |(four, by)| (t, four, by)));
                let users: Vec<_> = users.filter(|(_, _, by)| by == behind).collect();
                if users.is_empty() {
                    continue;
                }
                let weight = s.peek(weight)?;
                for (t, four, _) in users {
                    s.dot4(&acc[t as usize * vectors + j], &fours[&four][j], Src::Reg(&weight))?;
                }
                s.free(weight);
            }
        }
        fours.into_values().flatten().for_each(|v| s.free(v));
        Ok(())
    }
}

/// Two columns byte by byte: the halves of each 128 bits that `vectors` vectors of fours need.
fn interleaved<S: Simd>(s: &mut S, a: V, b: V, vectors: usize) -> R<Vec<V>> {
    let upper = if vectors > 2 { Some(s.copy(&a)?) } else { None };
    s.interleave(8, false, &a, &b)?;
    if let Some(upper) = &upper {
        s.interleave(8, true, upper, &b)?;
    }
    s.free(b);
    Ok([a].into_iter().chain(upper).collect())
}

/// Two pairs of columns word by word.
fn joined<S: Simd>(s: &mut S, low: &[V], high: &[V]) -> R<Vec<V>> {
    let mut all = Vec::new();
    for (low, high) in low.iter().zip(high) {
        for upper in [false, true] {
            let v = s.copy(low)?;
            s.interleave(16, upper, &v, high)?;
            all.push(v);
        }
    }
    Ok(all)
}
