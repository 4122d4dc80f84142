//! What can be said of a tensor in a line.

use kiln_ir::Tensor;

/// Statistics of the elements that are numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    /// The least.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
    /// The average.
    pub(crate) mean: f64,
    /// The deviation from it.
    pub(crate) std: f64,
    /// Elements that are no numbers.
    pub(crate) nans: usize,
    /// Infinite ones.
    pub(crate) infinite: usize,
    /// Zeros.
    pub(crate) zeros: usize,
    /// All.
    pub(crate) count: usize,
}

impl Stats {
    /// Those of a tensor; nothing where its elements are no numbers.
    pub(crate) fn of(tensor: &Tensor) -> Option<Self> {
        let values = tensor.to_f64s().ok()?;
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let count = finite().count();
        let mean = finite().sum::<f64>() / count.max(1) as f64;
        let square = finite().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count.max(1) as f64;
        Some(Self {
            min: finite().fold(f64::INFINITY, f64::min),
            max: finite().fold(f64::NEG_INFINITY, f64::max),
            mean,
            std: square.sqrt(),
            nans: values.iter().filter(|v| v.is_nan()).count(),
            infinite: values.iter().filter(|v| v.is_infinite()).count(),
            zeros: values.iter().filter(|v| **v == 0.0).count(),
            count: values.len(),
        })
    }

    /// In words.
    pub(crate) fn text(&self, precision: usize) -> String {
        let number = |v: f64| short(v, precision);
        let mut parts = Vec::new();
        if self.min <= self.max {
            parts.push(format!("{} to {}", number(self.min), number(self.max)));
            parts.push(format!("mean {}, deviation {}", number(self.mean), number(self.std)));
        } else if self.count == 0 {
            parts.push("empty".to_owned());
        }
        parts.push(if self.nans == 0 { "no NaN".to_owned() } else { format!("{} NaN", self.nans) });
        if self.infinite > 0 {
            parts.push(format!("{} infinite", self.infinite));
        }
        if self.count > 0 && self.zeros > 0 {
            parts.push(format!("{:.1} % zeros", 100.0 * self.zeros as f64 / self.count as f64));
        }
        parts.join(", ")
    }
}

/// A number with so many digits behind the point; in powers of ten where that would leave too few or too many.
pub(crate) fn short(value: f64, precision: usize) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    if value.fract() == 0.0 && size < 1e9 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e6).contains(&size) {
        format!("{value:.precision$e}")
    } else {
        format!("{value:.precision$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_do_not_count() {
        let tensor = Tensor::from_vec(&[5], vec![1.0f32, f32::NAN, 0.0, f32::INFINITY, -3.0]);
        let stats = Stats::of(&tensor).unwrap();
        assert_eq!((stats.min, stats.max, stats.nans, stats.infinite, stats.zeros), (-3.0, 1.0, 1, 1, 1));
        assert!(stats.text(2).starts_with("-3 to 1, mean -0.67"), "{}", stats.text(2));
        assert!(Stats::of(&Tensor::from_vec(&[0], Vec::<f32>::new())).unwrap().text(2).contains("empty"));
    }
}
