//! Which of several times is clearly the best.

/// A candidate must be faster than the cost model's choice by this factor to replace it.
const LEAST_GAIN: f64 = 1.03;

/// The candidate that is clearly faster than the first, and by what factor.
pub(super) fn winner(seconds: &[f64]) -> Option<(usize, f64)> {
    let base = *seconds.first()?;
    let (best, time) = seconds.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let gain = base / time.max(1e-12);
    (best > 0 && gain >= LEAST_GAIN).then_some((best, gain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardly_faster_does_not_win() {
        assert_eq!(winner(&[1.0, 0.99, 2.0]), None);
        assert_eq!(winner(&[0.5, 1.0]), None);
        assert_eq!(winner(&[1.0, 0.8, 0.5]), Some((2, 2.0)));
        assert_eq!(winner(&[]), None);
    }
}
