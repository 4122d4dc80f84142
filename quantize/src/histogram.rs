//! How often a value's elements are how large.

/// Bins of a histogram.
pub(crate) const BINS: usize = 2048;
/// Elements that are looked at side by side.
const LANES: usize = 16;

/// The least and the largest of a value's elements, 0 included: it is to be a quantised number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) lo: f32,
    pub(crate) hi: f32,
}

impl Default for Range {
    fn default() -> Self {
        Self { lo: 0.0, hi: 0.0 }
    }
}

impl Range {
    /// Takes in elements; the first that is no number, if there is one.
    pub(crate) fn see(&mut self, elements: &[f32]) -> Option<f32> {
        // Lanes of their own, since a single sum would have to wait for the element before.
        let (mut lo, mut hi, mut sum) = ([self.lo; LANES], [self.hi; LANES], [0.0f32; LANES]);
        let mut lane = |lane: usize, v: f32| {
            // No number is taken for nothing by comparisons, and found by the sum: infinities and NaN make NaN of it.
            lo[lane] = if v < lo[lane] { v } else { lo[lane] };
            hi[lane] = if v > hi[lane] { v } else { hi[lane] };
            sum[lane] += v * 0.0;
        };
        let (whole, rest) = elements.as_chunks::<LANES>();
        for chunk in whole {
            (0..LANES).for_each(|i| lane(i, chunk[i]));
        }
        rest.iter().enumerate().for_each(|(i, v)| lane(i, *v));
        (self.lo, self.hi) = (lo.into_iter().fold(self.lo, f32::min), hi.into_iter().fold(self.hi, f32::max));
        if sum.iter().any(|s| s.is_nan()) { elements.iter().copied().find(|v| !v.is_finite()) } else { None }
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

/// Counts of elements in bins of equal width over a range.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    pub(crate) range: Range,
    pub(crate) counts: Vec<u64>,
}

impl Histogram {
    pub(crate) fn over(range: Range) -> Self {
        Self { range, counts: vec![0; BINS] }
    }

    /// The width of a bin.
    pub(crate) fn width(&self) -> f64 {
        (f64::from(self.range.hi) - f64::from(self.range.lo)) / BINS as f64
    }

    /// The middle of a bin.
    pub(crate) fn middle(&self, bin: usize) -> f64 {
        f64::from(self.range.lo) + (bin as f64 + 0.5) * self.width()
    }

    /// Counts elements of the range.
    pub(crate) fn see(&mut self, elements: &[f32]) {
        let width = self.width() as f32;
        if width <= 0.0 {
            self.counts[0] += elements.len() as u64;
            return;
        }
        let factor = 1.0 / width;
        for &v in elements {
            let bin = ((v - self.range.lo) * factor) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Both together, over the range of both.
    pub(crate) fn with(&self, other: &Self) -> Self {
        let mut sum = Self::over(self.range.with(other.range));
        for part in [self, other] {
            if part.range == sum.range {
                sum.counts.iter_mut().zip(&part.counts).for_each(|(a, b)| *a += b);
                continue;
            }
            let width = sum.width();
            for (bin, &count) in part.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
                let at = if width > 0.0 { (part.middle(bin) - f64::from(sum.range.lo)) / width } else { 0.0 };
                sum.counts[(at as usize).min(BINS - 1)] += count;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_zero_and_refuse_what_is_no_number() {
        let mut range = Range::default();
        assert_eq!(range.see(&[2.0, 5.0]), None);
        assert_eq!(range, Range { lo: 0.0, hi: 5.0 });
        assert_eq!(range.see(&[1.0, f32::INFINITY]), Some(f32::INFINITY));
        assert!(range.see(&[f32::NAN]).is_some_and(f32::is_nan));
        // Wherever they are among others, in whole chunks and behind them.
        for at in [0, 15, 16, 40] {
            let mut elements: Vec<f32> = (0..41).map(|i| (i % 7) as f32).collect();
            elements[at] = -3.0;
            let mut range = Range::default();
            assert_eq!(range.see(&elements), None);
            assert_eq!(range, Range { lo: -3.0, hi: 6.0 });
            elements[at] = f32::NEG_INFINITY;
            assert_eq!(range.see(&elements), Some(f32::NEG_INFINITY));
        }
    }

    #[test]
    fn sums_of_histograms_keep_the_counts() {
        let mut a = Histogram::over(Range { lo: -1.0, hi: 1.0 });
        a.see(&[-1.0, 0.0, 0.5, 1.0]);
        let mut b = Histogram::over(Range { lo: 0.0, hi: 3.0 });
        b.see(&[3.0, 0.1]);
        let both = a.with(&b);
        assert_eq!((both.total(), both.range), (6, Range { lo: -1.0, hi: 3.0 }));
        assert_eq!(both.counts[0], 1);
        assert_eq!(both.counts[BINS - 1], 1);
    }
}
