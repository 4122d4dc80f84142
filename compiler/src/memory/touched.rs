//! What a run of less than the greatest sizes touches of the arena.

use std::collections::BTreeMap;

use kiln_ir::dim::Symbols;
use kiln_ir::kernel::{BufferId, Program};

/// The bytes of each buffer that a run touches whose open dimensions are between the least and what is typical: its first ones.
pub(super) struct Touched {
    bytes: Vec<usize>,
}

impl Touched {
    /// Of the buffers of a program.
    pub(super) fn of(program: &Program) -> Self {
        let middle =
            program.bounds.iter().map(|(name, b)| (name.clone(), b.lo + (b.typical - b.lo).max(0) / 2));
        let sizes: Symbols = middle.collect();
        let bytes = |id: BufferId| {
            let ty = &program.buffer(id).ty;
            let extent = |n: usize, d: &kiln_ir::Dim| n.checked_mul(usize::try_from(d.eval(&sizes)?).ok()?);
            let elements = ty.shape.iter().try_fold(1, extent);
            elements.map_or(usize::MAX, |n| ty.dtype.bytes_of(n))
        };
        Self { bytes: program.buffer_ids().map(bytes).collect() }
    }

    /// Of one buffer.
    pub(super) fn bytes_of(&self, id: BufferId) -> usize {
        self.bytes.get(id.0 as usize).copied().unwrap_or(usize::MAX)
    }

    /// Of an arena of so many bytes in which buffers begin at these.
    pub(super) fn of_all(&self, offsets: &BTreeMap<BufferId, usize>, arena: usize) -> usize {
        let mut spans = Spans::default();
        for (id, offset) in offsets {
            let bytes = self.bytes_of(*id).min(arena.saturating_sub(*offset));
            spans.add(*offset, *offset + bytes);
        }
        spans.0.iter().map(|(start, end)| end - start).sum()
    }
}

/// Bytes in spans that are apart, by their first.
#[derive(Default)]
pub(super) struct Spans(BTreeMap<usize, usize>);

impl Spans {
    /// How many bytes from `start` to `end` are in none.
    pub(super) fn new_bytes(&self, start: usize, end: usize) -> usize {
        let reach = self.0.range(..start).next_back().into_iter().chain(self.0.range(start..end.max(start)));
        let known = reach.map(|(from, to)| (*to).min(end).saturating_sub((*from).max(start)));
        end.saturating_sub(start) - known.sum::<usize>()
    }

    /// Those bytes are in one.
    pub(super) fn add(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let (mut from, mut to) = (start, end);
        if let Some((before, its_end)) = self.0.range(..=start).next_back().filter(|(_, e)| **e >= start) {
            (from, to) = (*before, to.max(*its_end));
        }
        let met: Vec<usize> = self.0.range(from..=to).map(|(at, _)| *at).collect();
        for at in met {
            to = self.0.remove(&at).map_or(to, |its_end| to.max(its_end));
        }
        self.0.insert(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_the_bytes_that_were_added() {
        let (mut spans, mut bytes, mut state) = (Spans::default(), [false; 200], 7usize);
        for _ in 0..400 {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
            let (start, length) = (state / 16 % 180, state / 4096 % 20);
            let fresh = bytes[start..start + length].iter().filter(|b| !**b).count();
            assert_eq!(spans.new_bytes(start, start + length), fresh);
            if state % 3 == 0 {
                spans.add(start, start + length);
                bytes[start..start + length].fill(true);
                let all: usize = spans.0.iter().map(|(a, b)| b - a).sum();
                assert_eq!(all, bytes.iter().filter(|b| **b).count());
            }
        }
    }
}
