//! The range of numbers that 256 steps stand for.

use crate::histogram::{BINS, Histogram, Range};
use crate::options::Method;

/// Steps of an activation, one less than its numbers.
const STEPS: f64 = 255.0;

/// The part of the elements that `percentile` keeps.
const KEPT: f64 = 0.9999;

/// Candidates of `mse` and `entropy`: parts of the whole range.
const PARTS: std::ops::RangeInclusive<u32> = 10..=100;

/// How activations are numbered: `x = scale * (q - zero)`, with q in 0..=255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
}

impl Numbers {
    /// Over a range that holds 0, which is one of the numbers.
    pub(crate) fn over(range: Range) -> Self {
        let span = (f64::from(range.hi) - f64::from(range.lo)) / STEPS;
        // Elements that are all 0 need some scale; one that is no normal number would not be exact.
        let scale = if (span as f32).is_normal() { span } else { 1.0 / STEPS };
        let zero = (-f64::from(range.lo) / scale).round().clamp(0.0, STEPS) as u8;
        Self { scale: scale as f32, zero }
    }

    /// The least and the largest number.
    #[cfg(test)]
    pub(crate) fn ends(self) -> (f32, f32) {
        let at = |q: f32| self.scale * (q - f32::from(self.zero));
        (at(0.0), at(255.0))
    }
}

/// The range that a method takes for elements that fall so.
pub(crate) fn choose(histogram: &Histogram, method: Method) -> Range {
    if histogram.width() <= 0.0 || histogram.total() == 0 {
        return histogram.range;
    }
    match method {
        Method::MinMax => histogram.range,
        Method::Percentile => percentile(histogram),
        Method::Mse => search(histogram, &squared_error),
        Method::Entropy => search(&evened(histogram), &divergence),
    }
}

fn percentile(histogram: &Histogram) -> Range {
    let total = histogram.total() as f64;
    // As much is cut at each end; zeros, which ends hold, are kept by the range itself.
    let cut = (1.0 - KEPT) / 2.0 * total;
    let beyond = |seen: &mut f64, bin: usize| {
        *seen += histogram.counts[bin] as f64;
        *seen > cut
    };
    let (mut below, mut above) = (0.0, 0.0);
    let first = (0..BINS).find(|b| beyond(&mut below, *b));
    let last = (0..BINS).rev().find(|b| beyond(&mut above, *b));
    let edge = |bin: usize| (f64::from(histogram.range.lo) + bin as f64 * histogram.width()) as f32;
    let lo = first.map_or(histogram.range.lo, edge);
    let hi = last.map_or(histogram.range.hi, |b| edge(b + 1));
    Range { lo: lo.max(histogram.range.lo).min(0.0), hi: hi.min(histogram.range.hi).max(0.0) }
}

/// The part of the range with the least cost: both ends by one part first, then each by itself.
fn search(histogram: &Histogram, cost: &dyn Fn(&Histogram, Range) -> f64) -> Range {
    let whole = histogram.range;
    let at = |lo: u32, hi: u32| Range { lo: whole.lo * lo as f32 / 100.0, hi: whole.hi * hi as f32 / 100.0 };
    let best = |of: &dyn Fn(u32) -> Range| {
        PARTS.min_by(|a, b| cost(histogram, of(*a)).total_cmp(&cost(histogram, of(*b)))).unwrap_or(100)
    };
    let both = best(&|p| at(p, p));
    if whole.lo == 0.0 || whole.hi == 0.0 {
        return at(both, both);
    }
    let hi = best(&|p| at(both, p));
    at(best(&|p| at(p, hi)), hi)
}

/// The sum of the squares of what numbering changes.
fn squared_error(histogram: &Histogram, range: Range) -> f64 {
    let Numbers { scale, zero } = Numbers::over(range);
    let (scale, zero) = (f64::from(scale), f64::from(zero));
    // Elements are spread within their bin.
    let inside = histogram.width() * histogram.width() / 12.0;
    let bins = histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0);
    bins.map(|(bin, &count)| {
        let x = histogram.middle(bin);
        let q = ((x / scale).round() + zero).clamp(0.0, STEPS);
        let error = x - scale * (q - zero);
        let spread = if scale > histogram.width() { 0.0 } else { inside };
        count as f64 * (error * error + spread)
    })
    .sum()
}

/// A histogram for comparing distributions. Zeros, which are many behind a Relu, are exact in every numbering and do not count;
/// no other bin counts for more than an even share of a number has: where an image is empty all elements of a channel are the
/// same, and one spike would be all there is to see.
fn evened(histogram: &Histogram) -> Histogram {
    let mut out = histogram.clone();
    let zero = (-f64::from(histogram.range.lo) / histogram.width()) as usize;
    out.counts[zero.min(BINS - 1)] = 0;
    let most = (out.total() as f64 / (STEPS + 1.0)).ceil() as u64;
    out.counts.iter_mut().for_each(|c| *c = (*c).min(most));
    out
}

/// The Kullback-Leibler divergence of what numbering leaves of the distribution from the distribution itself, whose elements
/// outside of the range count at its ends.
fn divergence(histogram: &Histogram, range: Range) -> f64 {
    let width = histogram.width();
    let bin = |v: f32| (((f64::from(v) - f64::from(histogram.range.lo)) / width).round() as usize).min(BINS);
    let (from, to) = (bin(range.lo), bin(range.hi));
    if to < from + 2 {
        return f64::INFINITY;
    }
    let mut p: Vec<f64> = histogram.counts[from..to].iter().map(|c| *c as f64).collect();
    let inner = p.clone();
    p[0] += histogram.counts[..from].iter().sum::<u64>() as f64;
    let last = p.len() - 1;
    p[last] += histogram.counts[to..].iter().sum::<u64>() as f64;
    // Each number's share, spread over the bins that hold something.
    let numbers = (STEPS as usize + 1).min(p.len());
    let mut q = vec![0.0; p.len()];
    for n in 0..numbers {
        let (a, b) = (n * p.len() / numbers, (n + 1) * p.len() / numbers);
        let share: f64 = inner[a..b].iter().sum();
        let held = p[a..b].iter().filter(|v| **v > 0.0).count();
        (a..b).filter(|i| p[*i] > 0.0).for_each(|i| q[i] = share / held as f64);
    }
    let (total_p, total_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
    if total_q <= 0.0 {
        return f64::INFINITY;
    }
    let least = 1e-9;
    let each = p.iter().zip(&q).filter(|(p, _)| **p > 0.0);
    each.map(|(p, q)| (p / total_p) * ((p / total_p) / (q / total_q).max(least)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(elements: &[f32]) -> Histogram {
        let mut range = Range::default();
        range.see(elements);
        let mut histogram = Histogram::over(range);
        histogram.see(elements);
        histogram
    }

    #[test]
    fn zero_is_a_number() {
        for (lo, hi) in [(-1.0, 3.0), (0.0, 6.0), (-0.37, 0.0), (0.0, 0.0), (-1e-3, 1e5)] {
            let numbers = Numbers::over(Range { lo, hi });
            assert!(numbers.scale.is_normal());
            let (least, largest) = numbers.ends();
            let step = numbers.scale;
            assert!(least <= lo + step && largest >= hi - step, "{lo} {hi}: {least} {largest}");
        }
        assert_eq!(Numbers::over(Range { lo: 0.0, hi: 255.0 }), Numbers { scale: 1.0, zero: 0 });
    }

    #[test]
    fn outliers_are_cut_by_all_methods_but_one() {
        // A hundred thousand elements up to 1, and a single one far away.
        let product = |i: usize| (i as f32 * 0.618_034).fract() * (i as f32 * 0.754_878).fract();
        let mut elements: Vec<f32> = (0..100_000).map(product).collect();
        elements.push(20.0);
        let histogram = histogram(&elements);
        assert_eq!(choose(&histogram, Method::MinMax), Range { lo: 0.0, hi: 20.0 });
        for (method, most) in [(Method::Percentile, 1.1), (Method::Mse, 19.0), (Method::Entropy, 19.0)] {
            let range = choose(&histogram, method);
            assert!(range.lo == 0.0 && range.hi > 0.8 && range.hi < most, "{method:?}: {range:?}");
        }
    }

    #[test]
    fn many_zeros_do_not_hide_the_rest() {
        let some = (0..20_000).map(|i| (i as f32 * 0.618_034).fract() + (i as f32 * 0.414_214).fract());
        let elements: Vec<f32> = some.chain(std::iter::repeat_n(0.0, 200_000)).collect();
        for method in [Method::Mse, Method::Entropy] {
            let range = choose(&histogram(&elements), method);
            assert!(range.hi > 1.6, "{method:?}: {range:?}");
        }
    }

    #[test]
    fn what_is_spread_evenly_is_kept() {
        let elements: Vec<f32> = (0..50_000).map(|i| (i as f32 * 0.618_034).fract() * 4.0 - 1.0).collect();
        let histogram = histogram(&elements);
        for method in [Method::Percentile, Method::Mse] {
            let range = choose(&histogram, method);
            assert!(range.lo < -0.9 && range.hi > 2.8, "{method:?}: {range:?}");
        }
    }
}
