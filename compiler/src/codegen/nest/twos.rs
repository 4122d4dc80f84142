//! Results of windows of bytes, two vectors at a time: short integers of both are packed by the same instructions.

use kiln_ir::DType;
use kiln_targets::simd::{Overflow, R, Refusal, Simd, V};

use super::super::typed;
use super::super::vexpr::At;
use super::super::vroom::Waiting;
use super::{Generator, Work};

impl Generator<'_> {
    /// Whether the results of a window of bytes are short integers that are clamped where they are stored.
    pub(super) fn stores_by_twos<S: Simd>(&self, s: &S) -> bool {
        let dot = matches!(self.work, Work::Dot { .. }) && self.acc == DType::I32;
        dot && self.stores.len() == 1
            && matches!(self.epilogue.overflow(s, 0), Overflow::Saturate | Overflow::Byte)
    }

    /// Epilogue and stores of the vectors of two iterations of the tiled loop.
    pub(super) fn finish_two<S: Simd>(&mut self, s: &mut S, tiles: [i64; 2], first: V, second: Waiting) -> R {
        let ahead = tiles.map(|t| {
            let tiled = self.nest.tile.map(|(l, _)| (l, t));
            std::iter::once((self.nest.vector, 0)).chain(tiled).collect::<Vec<_>>()
        });
        let at = |ahead| At { walk: &self.walk, lane: self.nest.vector, ahead, n: self.lanes };
        let places = [at(&ahead[0]), at(&ahead[1])];
        typed::round(s, self.acc, &first)?;
        let mut values = self.epilogue.eval(s, &places[0], Some(first))?;
        let second = second.fetch(s)?;
        typed::round(s, self.acc, &second)?;
        values.extend(self.epilogue.eval(s, &places[1], Some(second))?);
        let pair =
            <[V; 2]>::try_from(values).map_err(|_| Refusal::unsupported("results of more than one store"))?;
        let overflow = self.epilogue.overflow(s, 0);
        At::store_two(s, [&places[0], &places[1]], self.stores[0], pair, overflow)
    }
}
