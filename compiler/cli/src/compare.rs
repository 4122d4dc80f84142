//! Whether a result is the expected one.

use kiln_ir::numerics::small_float;
use kiln_ir::{Result, Tensor};

/// How far a result may be from the expected one: `|a - b| <= atol + rtol * |b|`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// Relative to the expected value.
    pub(super) rtol: f64,
    /// Absolute.
    pub(super) atol: f64,
}

/// The largest errors of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// `|a - b|`.
    pub(super) abs: f64,
    /// `|a - b| / |b|`, where `b` is not 0.
    pub(super) rel: f64,
}

/// Compares; the reason is given when it is not the expected one.
pub(super) fn compare(
    found: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
) -> Result<(Difference, Option<String>)> {
    let mut difference = Difference::default();
    if found.dtype != expected.dtype || found.shape != expected.shape {
        let reason = format!("is {}, expected {}", found.ty(), expected.ty());
        return Ok((difference, Some(reason)));
    }
    if !found.dtype.is_float() {
        let same_small = |(a, b): (&u8, &u8)| {
            let value = |byte: &u8| small_float(found.dtype, (*byte).into());
            a == b || value(a).is_some_and(f64::is_nan) && value(b).is_some_and(f64::is_nan)
        };
        let small = found.dtype.is_small() && found.data.iter().zip(&expected.data).all(same_small);
        if small || found.data == expected.data {
            return Ok((difference, None));
        }
        let (Ok(a), Ok(b)) = (found.to_i64s(), expected.to_i64s()) else {
            return Ok((difference, Some("differs from what is expected".to_owned())));
        };
        for (a, b) in a.iter().zip(&b) {
            difference.see(a.wrapping_sub(*b) as f64, *b as f64);
        }
        let wrong = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        let first = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(0);
        let reason = format!(
            "{wrong} of {} elements differ, the first at {first}: {}, expected {}",
            a.len(),
            a[first],
            b[first]
        );
        return Ok((difference, Some(reason)));
    }
    let (a, b) = (found.to_f64s()?, expected.to_f64s()?);
    let mut wrong = Vec::new();
    for (i, (&a, &b)) in a.iter().zip(&b).enumerate() {
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        let close = (a - b).abs() <= tolerance.atol + tolerance.rtol * b.abs();
        if a.is_finite() && b.is_finite() {
            difference.see(a - b, b);
        }
        if !close || !b.is_finite() {
            wrong.push(i);
        }
    }
    let reason = wrong.first().map(|&i| {
        format!(
            "{} of {} elements are off, the first at {i}: {}, expected {}",
            wrong.len(),
            a.len(),
            a[i],
            b[i]
        )
    });
    Ok((difference, reason))
}

impl Difference {
    fn see(&mut self, error: f64, expected: f64) {
        self.abs = self.abs.max(error.abs());
        if expected != 0.0 {
            self.rel = self.rel.max((error / expected).abs());
        }
    }

    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { abs: self.abs.max(other.abs), rel: self.rel.max(other.rel) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-5 };

    fn floats(a: &[f32], b: &[f32]) -> (Difference, Option<String>) {
        let tensor = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec());
        compare(&tensor(a), &tensor(b), TOLERANCE).unwrap()
    }

    #[test]
    fn floats_may_be_close() {
        assert_eq!(floats(&[1.0005, f32::NAN, f32::INFINITY], &[1.0, f32::NAN, f32::INFINITY]).1, None);
        assert!(floats(&[1.002], &[1.0]).1.unwrap().contains("1 of 1"));
        assert!(floats(&[1.0], &[f32::NAN]).1.is_some());
        assert!(floats(&[1.0], &[f32::INFINITY]).1.is_some());
        assert!(floats(&[f32::NEG_INFINITY], &[f32::INFINITY]).1.is_some());
        assert!(floats(&[f32::NAN], &[0.0]).1.is_some());
        assert_eq!(floats(&[2.0], &[4.0]).0, Difference { abs: 2.0, rel: 0.5 });
    }

    #[test]
    fn integers_are_exact() {
        let tensor = |v: i64| Tensor::scalar(v);
        assert_eq!(compare(&tensor(5), &tensor(5), TOLERANCE).unwrap().1, None);
        assert!(compare(&tensor(1_000_001), &tensor(1_000_000), TOLERANCE).unwrap().1.is_some());
        assert!(compare(&tensor(1), &Tensor::scalar(1i32), TOLERANCE).unwrap().1.is_some());
    }
}
