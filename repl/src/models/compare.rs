//! How far two tensors are from each other: in units of the last place, and in their own.

use half::{bf16, f16};
use kiln_ir::{DType, Tensor};

use crate::fault::{Fault, Result};

/// The largest differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// Numbers between the two that are farthest apart in this: 1 for neighbours.
    pub(crate) ulp: u64,
    /// The largest absolute difference.
    pub(crate) abs: f64,
    /// Relative to the largest element.
    pub(crate) rel: f64,
    /// Where the largest absolute difference is.
    pub(crate) at: Vec<usize>,
    /// Elements that differ in their bits.
    pub(crate) differing: usize,
    /// All elements.
    pub(crate) count: usize,
    /// Elements of which one is a number and the other is not.
    pub(crate) no_numbers: usize,
}

/// Beyond this, relative to the largest element, floats differ by more than the order of sums explains.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// Compares two tensors.
///
/// # Errors
///
/// Where their types or shapes differ.
pub(crate) fn compare(a: &Tensor, b: &Tensor) -> Result<Difference> {
    if a.dtype != b.dtype || a.shape != b.shape {
        return Err(Fault::new(format!("one is {}, the other {}", a.ty(), b.ty())));
    }
    let (x, y) = (a.to_f64s()?, b.to_f64s()?);
    let mut out = Difference { count: x.len(), ..Difference::default() };
    let mut at = None;
    for (i, (x, y)) in x.iter().zip(&y).enumerate() {
        if x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan() {
            continue;
        }
        out.differing += 1;
        if !x.is_finite() || !y.is_finite() {
            out.no_numbers += usize::from(x != y);
            at = at.or(Some(i));
            continue;
        }
        if (x - y).abs() > out.abs || at.is_none() {
            out.abs = (x - y).abs();
            at = Some(i);
        }
        out.ulp = out.ulp.max(apart(*x, *y, a.dtype));
    }
    let largest = y.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    out.rel = if out.abs == 0.0 { 0.0 } else { out.abs / largest.max(f64::MIN_POSITIVE) };
    out.at = at.map_or_else(Vec::new, |i| index(i, &a.shape));
    Ok(out)
}

impl Difference {
    /// Whether more differs than the order of sums explains; whole numbers may not differ at all.
    pub(crate) fn is_beyond(&self, dtype: DType, tolerance: f64) -> bool {
        let tolerance = if dtype.is_float() { tolerance } else { 0.0 };
        self.no_numbers > 0 || self.rel > tolerance
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        if self.differing == 0 {
            return format!("equal in every bit, {} elements", self.count);
        }
        let no_numbers = match self.no_numbers {
            0 => String::new(),
            n => format!(", {n} of them a number in one alone"),
        };
        format!(
            "{} of {} elements differ, by {} ULP at most{no_numbers}; the largest error is {:.3e} ({:.1e} of the largest \
             element) at {:?}",
            self.differing, self.count, self.ulp, self.abs, self.rel, self.at
        )
    }
}

fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::new();
    for extent in shape.iter().rev() {
        out.push(at % extent.max(&1));
        at /= extent.max(&1);
    }
    out.reverse();
    out
}

/// How many numbers of a type lie between two of them, the second one counted.
fn apart(a: f64, b: f64, dtype: DType) -> u64 {
    // Floats as integers that keep their order.
    let ordered = |v: f64| -> i128 {
        let (bits, width) = match dtype {
            DType::F64 => (v.to_bits(), 64),
            DType::F16 => (u64::from(f16::from_f64(v).to_bits()), 16),
            DType::BF16 => (u64::from(bf16::from_f64(v).to_bits()), 16),
            DType::F32 => (u64::from((v as f32).to_bits()), 32),
            _ => return v as i128,
        };
        let sign = 1u64 << (width - 1);
        let size = i128::from(bits & (sign - 1));
        if bits & sign == 0 { size } else { -size }
    };
    u64::try_from((ordered(a) - ordered(b)).abs()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_last_place() {
        let of = |a: f32, b: f32| compare(&Tensor::scalar(a), &Tensor::scalar(b)).unwrap().ulp;
        assert_eq!(of(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(of(-0.0, 0.0), 0);
        assert_eq!(of(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(apart(1.0, 1.0 + f64::EPSILON, DType::F64), 1);
        assert_eq!(apart(2048.0, 2050.0, DType::F16), 1);
        assert_eq!(apart(3.0, 7.0, DType::I64), 4);
    }

    #[test]
    fn where_and_how_much() {
        let a = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, f32::NAN]);
        let b = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.5, 3.0, f32::NAN]);
        let found = compare(&a, &b).unwrap();
        assert_eq!((found.differing, found.abs, &*found.at), (1, 0.5, &[0, 1][..]));
        assert!(found.is_beyond(DType::F32, TOLERANCE) && !found.is_beyond(DType::F32, 0.2));
        assert!(compare(&a, &a).unwrap().text().starts_with("equal in every bit"));
        let no_number = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        assert_eq!(compare(&a, &no_number).unwrap().no_numbers, 1);
        assert!(compare(&a, &Tensor::scalar(1.0f32)).is_err());
    }
}
