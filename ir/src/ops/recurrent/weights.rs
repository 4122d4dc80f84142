//! Weights of a recurrent network.

use crate::error::{Error, Result};
use crate::op::Attr;
use crate::ops::composed::{Composer, Value};
use crate::ops::{matmul, matmul_integer_to_float, matmul_nbits};
use crate::tensor::Tensor;

/// A matrix `[from, gates * hidden]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights {
    Floats(Value),
    Quantised {
        value: Value,
        scale: Value,
        zero: Value,
    },
    /// `u8[columns, blocks, block]` with 128 as zero, and as many scales as blocks.
    Bytes {
        value: Value,
        scales: Value,
        from: i64,
        columns: i64,
        block: i64,
    },
}

impl Weights {
    /// `a` times the matrix.
    pub(super) fn product(self, cx: &mut Composer<'_>, a: Value) -> Result<Value> {
        match self {
            Self::Floats(value) => cx.apply(&matmul::DEF, &[], &[a, value]),
            Self::Quantised { value, scale, zero } => {
                cx.apply(&matmul_integer_to_float::DYNAMIC, &[], &[a, value, scale, zero])
            }
            Self::Bytes { value, scales, from, columns, block } => {
                let list = [("K", from), ("N", columns), ("bits", 8), ("block_size", block)];
                cx.apply(&matmul_nbits::DEF, &list.map(|(name, n)| (name, Attr::Int(n))), &[a, value, scales])
            }
        }
    }

    /// The values that it is made of.
    pub(super) fn values(&mut self) -> Vec<&mut Value> {
        match self {
            Self::Floats(value) => vec![value],
            Self::Quantised { value, scale, zero } => vec![value, scale, zero],
            Self::Bytes { value, scales, .. } => vec![value, scales],
        }
    }

    /// The columns of some gates.
    pub(super) fn columns(self, cx: &mut Composer<'_>, range: (i64, i64)) -> Result<Self> {
        match self {
            Self::Floats(value) => Ok(Self::Floats(cx.slice(value, 1, range, 1)?)),
            Self::Quantised { .. } => Err(Error::internal("quantised columns")),
            Self::Bytes { value, scales, from, block, .. } => {
                let (blocks, columns) = ((from + block - 1) / block, range.1 - range.0);
                let [low, high] = [range.0, range.1].map(|v| v as usize);
                let value = known(cx, value, (low, high), &[columns, blocks, block])?;
                let scaled = (low * blocks as usize, high * blocks as usize);
                let scales = known(cx, scales, scaled, &[columns * blocks])?;
                Ok(Self::Bytes { value, scales, from, columns, block })
            }
        }
    }
}

/// Part of the first axis of a value, in another shape; of a constant a constant, as products whose weights stay bytes need it.
pub(super) fn known(
    cx: &mut Composer<'_>,
    value: Value,
    (from, to): (usize, usize),
    shape: &[i64],
) -> Result<Value> {
    let Some(tensor) = cx.fact(value).tensor() else {
        let part = cx.slice(value, 0, (from as i64, to as i64), 1)?;
        return cx.reshape(part, shape);
    };
    let each = tensor.data.len() / tensor.shape.first().copied().unwrap_or(1).max(1);
    if to * each > tensor.data.len() {
        return Err(Error::internal("a part of a constant that it does not have"));
    }
    let shape = shape.iter().map(|n| *n as usize).collect();
    let part = Tensor::new(tensor.dtype, shape, tensor.data.slice(from * each..to * each))?;
    Ok(cx.constant(part))
}
