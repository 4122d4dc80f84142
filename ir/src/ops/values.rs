//! Whole tensors as f64 or i128, the arithmetic in which the interpreters of reducing operators work.
//!
//! f64 holds every product of two f32 exactly, so a reference accumulated in it is closer to the true result than
//! any kernel. i128 holds the sums and comparisons of every integer type; results are truncated to their type,
//! which is the wrap-around that integer kernels have.

use crate::error::{Error, Result};
use crate::numerics::saturate;
use crate::op::Fact;
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// Demands a float type.
pub(crate) fn float(fact: &Fact, what: &str) -> Result<DType> {
    if !fact.dtype.is_float() {
        bail_invalid!("{what} must be floating-point, found {}", fact.dtype);
    }
    Ok(fact.dtype)
}

/// Float elements, rounded to `dtype`; for integer types truncated towards zero, at most the ends of the type.
pub(crate) fn from_f64s(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<Tensor> {
    if shape.iter().product::<usize>() != values.len() {
        return Err(Error::internal(format!("{} values for shape {shape:?}", values.len())));
    }
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(shape, values.into_iter().map(|v| v as f32).collect()),
        DType::F64 => Tensor::from_vec(shape, values),
        DType::F16 => Tensor::from_vec(shape, values.into_iter().map(half::f16::from_f64).collect()),
        DType::BF16 => Tensor::from_vec(shape, values.into_iter().map(half::bf16::from_f64).collect()),
        _ => return from_i128s(dtype, shape, values.into_iter().map(|v| saturate(v, dtype)).collect()),
    })
}

/// The elements of a tensor of integers or bools.
pub(crate) fn to_i128s(tensor: &Tensor) -> Result<Vec<i128>> {
    Ok(match tensor.dtype {
        DType::U64 => tensor.as_slice::<u64>()?.iter().map(|&v| v.into()).collect(),
        _ => tensor.to_i64s()?.into_iter().map(i128::from).collect(),
    })
}

/// Integer elements, truncated to `dtype`.
pub(crate) fn from_i128s(dtype: DType, shape: &[usize], values: Vec<i128>) -> Result<Tensor> {
    if shape.iter().product::<usize>() != values.len() {
        return Err(Error::internal(format!("{} values for shape {shape:?}", values.len())));
    }
    macro_rules! narrow {
        ($t:ty) => {
            Tensor::from_vec(shape, values.into_iter().map(|v| v as $t).collect())
        };
    }
    Ok(match dtype {
        DType::I8 => narrow!(i8),
        DType::I16 => narrow!(i16),
        DType::I32 => narrow!(i32),
        DType::I64 => narrow!(i64),
        DType::U8 => narrow!(u8),
        DType::U16 => narrow!(u16),
        DType::U32 => narrow!(u32),
        DType::U64 => narrow!(u64),
        DType::Bool => Tensor::from_bools(shape, values.into_iter().map(|v| v != 0)),
        other => bail_unsupported!("integer arithmetic with results of type {other} is not supported"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_floats_round() {
        assert_eq!(
            from_i128s(DType::U8, &[2], vec![257, -1]).unwrap(),
            Tensor::from_vec(&[2], vec![1u8, 255])
        );
        let wide = Tensor::from_vec(&[1], vec![u64::MAX]);
        assert_eq!(from_i128s(DType::U64, &[1], to_i128s(&wide).unwrap()).unwrap(), wide);
        assert_eq!(from_f64s(DType::F32, &[], vec![0.1]).unwrap(), Tensor::scalar(0.1f32));
        assert_eq!(from_f64s(DType::I32, &[], vec![-1.7]).unwrap(), Tensor::scalar(-1i32));
        assert_eq!(from_f64s(DType::U8, &[], vec![256.0]).unwrap(), Tensor::scalar(255u8));
    }
}
