//! Comparing tensors: floats within a tolerance that is relative to the largest magnitude, the rest exactly.

use kiln_ir::{DType, Tensor};

use crate::Outcome;

/// How far apart floats may be: `|a - b| <= rtol * |b| + atol * max|b|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Relative to the element.
    pub rtol: f64,
    /// Relative to the largest magnitude of the tensor.
    pub atol: f64,
}

/// Against another runtime, which adds in another order.
pub const ACROSS_RUNTIMES: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-4 };

/// Between stages of Kiln, which round in other places and fold constants into weights.
pub const ACROSS_STAGES: Tolerance = Tolerance { rtol: 1e-4, atol: 1e-5 };

impl Tolerance {
    /// For elements of a type: floats of 16 bits may differ by two of their units, and by one of the largest magnitude,
    /// since sums that differ in their last place may be rounded to neighbours.
    fn of(self, dtype: DType) -> Self {
        let unit: f64 = match dtype {
            DType::F16 => 1.0 / 1024.0,
            DType::BF16 => 1.0 / 128.0,
            _ => 0.0,
        };
        Self { rtol: self.rtol.max(2.0 * unit), atol: self.atol.max(unit) }
    }
}

/// Whether the tensors of two lists agree; the error names the first that does not and its worst element.
pub fn close(found: &[Tensor], expected: &[Tensor], tolerance: Tolerance) -> Outcome {
    if found.len() != expected.len() {
        return Err(format!("{} outputs instead of {}", found.len(), expected.len()));
    }
    found.iter().zip(expected).enumerate().try_for_each(|(i, (found, expected))| {
        close_tensor(found, expected, tolerance).map_err(|e| format!("output {i}: {e}"))
    })
}

fn close_tensor(found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Outcome {
    if found.ty() != expected.ty() {
        return Err(format!("{} instead of {}", found.ty(), expected.ty()));
    }
    if !expected.dtype.is_float() {
        let same = found.data == expected.data;
        return if same { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) };
    }
    let tolerance = tolerance.of(found.dtype);
    let (a, b) = (found.to_f64s().map_err(crate::text)?, expected.to_f64s().map_err(crate::text)?);
    let largest = b.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let excess = |i: usize| match (a[i], b[i]) {
        (a, b) if a == b || a.is_nan() && b.is_nan() => 0.0,
        (a, b) if !a.is_finite() || !b.is_finite() => f64::INFINITY,
        (a, b) => (a - b).abs() / (tolerance.rtol * b.abs() + tolerance.atol * largest),
    };
    let wrong = (0..a.len()).filter(|i| excess(*i) > 1.0).count();
    match (0..a.len()).max_by(|i, j| excess(*i).total_cmp(&excess(*j))) {
        Some(i) if wrong > 0 => Err(format!(
            "{wrong} of {} elements differ, the worst at {i}: {} instead of {} ({:.1} times the tolerance)",
            a.len(),
            a[i],
            b[i],
            excess(i)
        )),
        _ => Ok(()),
    }
}

/// Whether the tensors of two lists have the same bits.
pub fn same_bits(found: &[Tensor], expected: &[Tensor]) -> Outcome {
    if found == expected
        || found.len() == expected.len()
            && found.iter().map(with_one_nan).eq(expected.iter().map(with_one_nan))
    {
        return Ok(());
    }
    close(found, expected, Tolerance { rtol: 0.0, atol: 0.0 })?;
    Err("the bits differ although the values are equal, or nearly so".to_owned())
}

/// The same with one pattern for every NaN: which sign and payload an operation gives to one is up to the machine (IEEE
/// 754-2019, 6.2 and 6.3; the root of a negative number has its sign set on x86-64, and not on RISC-V).
fn with_one_nan(tensor: &Tensor) -> Tensor {
    // All ones in infinities and NaNs.
    let exponent: u64 = match tensor.dtype {
        DType::F16 => 0x7c00,
        DType::BF16 => 0x7f80,
        DType::F32 => 0x7f80_0000,
        DType::F64 => 0x7ff0 << 48,
        _ => return tensor.clone(),
    };
    let size = tensor.dtype.size();
    let magnitude = (1u64 << (8 * size - 1)) - 1;
    let mut data = tensor.data.to_vec();
    for element in data.chunks_exact_mut(size) {
        let bits = element.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        if bits & magnitude > exponent {
            element.fill(0xff);
        }
    }
    Tensor { data: data.into(), ..tensor.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerance_is_relative_to_the_largest_magnitude() {
        let of = |values: [f32; 2]| [Tensor::from_vec(&[2], values.to_vec())];
        let check = |a, b| close(&of(a), &of(b), Tolerance { rtol: 0.0, atol: 1e-3 });
        assert!(check([100.05, 0.05], [100.0, 0.0]).is_ok());
        assert!(
            check([100.0, 0.2], [100.0, 0.0]).unwrap_err().contains("1 of 2 elements differ, the worst at 1")
        );
        assert!(check([f32::NAN, 1.0], [f32::NAN, 1.0]).is_ok());
        assert!(check([f32::NAN, 1.0], [0.0, 1.0]).is_err());
        assert!(check([f32::INFINITY, 1.0], [f32::INFINITY, 1.0]).is_ok());
        assert!(same_bits(&of([f32::NAN, 1.0]), &of([-f32::NAN, 1.0])).is_ok());
        assert!(same_bits(&of([f32::INFINITY, 1.0]), &of([f32::NAN, 1.0])).is_err());
        assert!(same_bits(&of([0.0, 1.0]), &of([-0.0, 1.0])).unwrap_err().contains("bits differ"));
    }
}
