//! Which bytes of the arena are taken, and when.
//!
//! A segment tree over time. A slot is noted at the few nodes that its lifetime is made of, and above them; to find
//! room for a lifetime, the spans of a logarithmic number of nodes are looked at, in which slots that lie side by
//! side are one span.

use super::spans::Spans;

/// The taken bytes over a number of moments.
pub(super) struct Occupied {
    leaves: usize,
    /// By node: what is taken during all of its time.
    own: Vec<Spans>,
    /// By node: what is taken during some of its time by slots noted at it or below.
    below: Vec<Spans>,
}

impl Occupied {
    /// Nothing is taken at moments `0..moments`.
    pub(super) fn new(moments: usize) -> Self {
        let leaves = moments.next_power_of_two();
        let empty = vec![Spans::default(); 2 * leaves];
        Self { leaves, own: empty.clone(), below: empty }
    }

    /// The lowest offset from `least` on at which `bytes` are free from the first to the last moment of `live`.
    pub(super) fn lowest(&self, live: (usize, usize), bytes: usize, least: usize) -> usize {
        let above = self.path(live.0).chain(self.path(live.1)).map(|node| &self.own[node]);
        let within = self.made_of(live).into_iter().map(|node| &self.below[node]);
        let spans: Vec<&Spans> = above.chain(within).filter(|s| !s.is_empty()).collect();
        let mut offset = least;
        loop {
            let before = offset;
            for spans in &spans {
                while let Some(end) = spans.in_the_way(offset, offset + bytes) {
                    offset = end;
                }
            }
            if offset == before {
                return offset;
            }
        }
    }

    /// Takes the bytes from `start` to `end` during `live`.
    pub(super) fn take(&mut self, live: (usize, usize), start: usize, end: usize) {
        if start == end {
            return;
        }
        for node in self.made_of(live) {
            self.own[node].add(start, end);
            self.below[node].add(start, end);
        }
        for node in self.path(live.0).chain(self.path(live.1)).collect::<Vec<_>>() {
            self.below[node].add(start, end);
        }
    }

    /// A moment's leaf and all nodes above it.
    fn path(&self, moment: usize) -> impl Iterator<Item = usize> + use<> {
        std::iter::successors(Some(self.leaves + moment), |node| Some(node / 2).filter(|n| *n > 0))
    }

    /// The largest nodes that a lifetime is made of.
    fn made_of(&self, live: (usize, usize)) -> Vec<usize> {
        let (mut from, mut to) = (self.leaves + live.0, self.leaves + live.1 + 1);
        let mut nodes = Vec::new();
        while from < to {
            if from % 2 == 1 {
                nodes.push(from);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                nodes.push(to);
            }
            (from, to) = (from / 2, to / 2);
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small numbers, the same every time.
    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    #[test]
    fn the_first_gap_is_that_of_looking_at_all() {
        for seed in 0..40 {
            let mut next = numbers(seed);
            let moments = 1 + next(40);
            let mut occupied = Occupied::new(moments);
            let mut slots: Vec<((usize, usize), usize, usize)> = Vec::new();
            for _ in 0..80 {
                let first = next(moments);
                let live = (first, (first + next(8)).min(moments - 1));
                let bytes = 64 * next(4);
                slots.sort_by_key(|s| s.1);
                let mut offset = 0;
                for (_, start, end) in slots.iter().filter(|s| s.0.0 <= live.1 && live.0 <= s.0.1) {
                    if offset + bytes <= *start {
                        break;
                    }
                    offset = offset.max(*end);
                }
                assert_eq!(occupied.lowest(live, bytes, 0), offset, "seed {seed}");
                occupied.take(live, offset, offset + bytes);
                slots.push((live, offset, offset + bytes));
            }
        }
    }
}
