//! How much of each layer is removed, and which blocks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::trace::Trace;

/// The next block of a trace, the cheapest by its size first.
#[derive(Debug, PartialEq)]
struct Next {
    cost: f64,
    at: (usize, usize),
}

impl Eq for Next {}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        other.cost.total_cmp(&self.cost).then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The traces of a layer, and how many weights each block has: by trace and block of columns.
#[derive(Clone, Copy)]
pub(crate) struct Sized<'a> {
    pub(crate) traces: &'a [Trace],
    pub(crate) size: &'a dyn Fn(usize, usize) -> usize,
}

impl Sized<'_> {
    /// The cost of the next block of a trace for each of its weights.
    fn next(&self, trace: usize, at: usize) -> Option<f64> {
        let (block, cost) = self.traces[trace].get(at)?;
        Some(cost / (self.size)(trace, *block as usize).max(1) as f64)
    }
}

/// Removes the cheapest blocks of all layers' traces, each trace from its beginning, until `wanted` weights are gone: what is
/// nearer, with the last block or without it. Gives how many blocks each trace loses, and the cost of each layer.
pub(crate) fn cheapest(layers: &[Sized<'_>], wanted: f64) -> (Vec<Vec<usize>>, Vec<f64>) {
    let mut counts: Vec<Vec<usize>> = layers.iter().map(|l| vec![0; l.traces.len()]).collect();
    let mut costs = vec![0.0; layers.len()];
    let mut heap = BinaryHeap::new();
    for (l, layer) in layers.iter().enumerate() {
        let firsts = (0..layer.traces.len()).filter_map(|t| Some((t, layer.next(t, 0)?)));
        heap.extend(firsts.map(|(t, cost)| Next { cost, at: (l, t) }));
    }
    let mut gone = 0.0;
    while let Some(Next { at: (l, t), .. }) = heap.pop() {
        let (block, cost) = layers[l].traces[t][counts[l][t]];
        let size = (layers[l].size)(t, block as usize) as f64;
        if gone + size / 2.0 > wanted {
            break;
        }
        gone += size;
        counts[l][t] += 1;
        costs[l] += cost;
        if let Some(cost) = layers[l].next(t, counts[l][t]) {
            heap.push(Next { cost, at: (l, t) });
        }
    }
    (counts, costs)
}

/// How many blocks each trace of a layer loses for a part of `blocks` of columns to be gone from each, and what that costs.
pub(crate) fn evenly(traces: &[Trace], part: f64, blocks: usize) -> (Vec<usize>, f64) {
    let count = (part * blocks as f64).round() as usize;
    let counts: Vec<usize> = traces.iter().map(|t| count.min(t.len())).collect();
    let cost = traces.iter().zip(&counts).map(|(t, n)| t[..*n].iter().map(|(_, c)| c).sum::<f64>()).sum();
    (counts, cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_go_first_and_traces_keep_their_order() {
        // What comes second in the first trace is cheap, but not before what comes first.
        let traces: Vec<Trace> =
            vec![vec![(7, 3.0), (1, 0.5), (2, 9.0)], vec![(0, 1.0), (3, 2.0)], Vec::new()];
        let one = |_: usize, _: usize| 1;
        let sized = |traces| Sized { traces, size: &one };
        let found = |n: f64| cheapest(&[sized(&traces[..])], n);
        assert_eq!(found(0.0).0[0], [0, 0, 0]);
        assert_eq!(found(2.0).0[0], [0, 2, 0]);
        assert_eq!(found(4.0), (vec![vec![2, 2, 0]], vec![6.5]));
        // More than there is: all of it.
        assert_eq!(found(9.0).0[0], [3, 2, 0]);
        assert_eq!(evenly(&traces, 0.5, 2), (vec![1, 1, 0], 4.0));
        let layers = [sized(&traces[..1]), sized(&traces[1..])];
        assert_eq!(cheapest(&layers, 3.0), (vec![vec![1], vec![2, 0]], vec![3.0, 3.0]));
        // A block of four is cheaper than one of one that costs a third.
        let size = |t: usize, _: usize| if t == 0 { 4 } else { 1 };
        let layer = Sized { traces: &traces, size: &size };
        assert_eq!(cheapest(&[layer], 4.0).0[0], [1, 0, 0]);
    }
}
