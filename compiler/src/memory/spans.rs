//! Ranges of bytes.

use std::collections::BTreeMap;

/// Ranges of bytes, end by start, that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(BTreeMap<usize, usize>);

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes in all of them.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The end of the last span that reaches into `start..end`: nothing of that size fits before it.
    pub(super) fn in_the_way(&self, start: usize, end: usize) -> Option<usize> {
        self.0.range(..end).next_back().map(|(_, to)| *to).filter(|to| *to > start)
    }

    /// How many bytes from `start` to `end` are in none.
    pub(super) fn new_bytes(&self, start: usize, end: usize) -> usize {
        let reach = self.0.range(..start).next_back().into_iter().chain(self.0.range(start..end.max(start)));
        let known = reach.map(|(from, to)| (*to).min(end).saturating_sub((*from).max(start)));
        end.saturating_sub(start) - known.sum::<usize>()
    }

    /// Adds a range, which may overlap others, or be empty.
    pub(super) fn add(&mut self, mut start: usize, mut end: usize) {
        if start >= end {
            return;
        }
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
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
                assert_eq!(spans.bytes(), bytes.iter().filter(|b| **b).count());
            }
        }
    }

    #[test]
    fn spans_that_touch_are_one() {
        let mut spans = Spans::default();
        spans.add(0, 64);
        spans.add(128, 192);
        assert_eq!(spans.in_the_way(64, 128), None);
        spans.add(64, 128);
        assert_eq!(spans.0.len(), 1);
        assert_eq!(spans.in_the_way(10, 20), Some(192));
    }
}
