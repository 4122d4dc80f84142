//! Pointwise evaluation of operands that broadcast: the loop that all elementwise interpreters share.

use super::elements::{Builder, Elements};
use super::operand;
use crate::error::Result;
use crate::numerics::Number;
use crate::tensor::{Tensor, row_major};
use crate::types::{self, DType, Shape};

/// ONNX's multidirectional broadcast of any number of shapes.
pub(crate) fn shapes<'a>(all: impl IntoIterator<Item = &'a Shape>) -> Result<Shape> {
    all.into_iter().try_fold(Shape::default(), |shape, next| types::broadcast(&shape, next))
}

/// `f` of the operands' elements at every position of their common shape, as a tensor of type `out`.
pub(crate) fn map(
    out: DType,
    operands: &[&Tensor],
    mut f: impl FnMut(&[Number]) -> Number,
) -> Result<Tensor> {
    let (shape, strides) = aligned(operands)?;
    let elements = operands.iter().map(|t| Elements::new(t)).collect::<Result<Vec<_>>>()?;
    let mut builder = Builder::new(out, &shape);
    let mut values = vec![Number::Int(0); operands.len()];
    for_each_position(&shape, &strides, |positions| {
        for ((value, e), &position) in values.iter_mut().zip(&elements).zip(positions) {
            *value = e.number(position);
        }
        builder.push(f(&values));
    });
    builder.finish()
}

/// [`map`] in f64.
pub(crate) fn map_floats(
    out: DType,
    operands: &[&Tensor],
    mut f: impl FnMut(&[f64]) -> f64,
) -> Result<Tensor> {
    let mut wide = vec![0.0; operands.len()];
    map(out, operands, |values| {
        wide.iter_mut().zip(values).for_each(|(w, v)| *w = v.float());
        Number::Float(f(&wide))
    })
}

/// The common shape of operands, and for each its strides over it.
pub(crate) fn aligned(operands: &[&Tensor]) -> Result<(Vec<usize>, Vec<Vec<usize>>)> {
    let own: Vec<Shape> = operands.iter().map(|t| Shape::of(&t.shape)).collect();
    let shape = operand::constant(shapes(&own)?)?;
    let strides = operands.iter().map(|t| strides(&t.shape, &shape)).collect();
    Ok((shape, strides))
}

/// Strides of an operand of shape `own` over `shape`, 0 where it stands still.
pub(crate) fn strides(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let skip = shape.len() - own.len();
    let strides = row_major(own);
    (0..shape.len()).map(|i| if i < skip || own[i - skip] == 1 { 0 } else { strides[i - skip] }).collect()
}

/// Calls `f` in row-major order of `shape` with one linear position per operand, following its strides.
pub(crate) fn for_each_position(shape: &[usize], strides: &[Vec<usize>], mut f: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut counter = vec![0; shape.len()];
    let mut positions = vec![0; strides.len()];
    loop {
        f(&positions);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            counter[axis] += 1;
            for (p, s) in positions.iter_mut().zip(strides) {
                *p += s[axis];
            }
            if counter[axis] < shape[axis] {
                break;
            }
            for (p, s) in positions.iter_mut().zip(strides) {
                *p -= s[axis] * shape[axis];
            }
            counter[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_align_at_the_end() {
        let a = Tensor::from_vec(&[2, 1], vec![10i32, 20]);
        let b = Tensor::from_vec(&[3], vec![1i32, 2, 3]);
        let sum = map(DType::I32, &[&a, &b], |v| Number::Int(v[0].int() + v[1].int())).unwrap();
        assert_eq!(sum, Tensor::from_vec(&[2, 3], vec![11i32, 12, 13, 21, 22, 23]));
    }

    #[test]
    fn empty_and_scalar_operands() {
        let empty = Tensor::from_vec::<f32>(&[0, 3], vec![]);
        let one = Tensor::scalar(1f32);
        let sum = map_floats(DType::F32, &[&empty, &one], |v| v[0] + v[1]).unwrap();
        assert_eq!(sum.shape, [0, 3]);
        let sum = map_floats(DType::F32, &[&one, &one], |v| v[0] + v[1]).unwrap();
        assert_eq!(sum, Tensor::scalar(2f32));
    }

    #[test]
    fn extents_that_differ_are_invalid() {
        let (a, b) = (Tensor::from_vec(&[2], vec![0u8; 2]), Tensor::from_vec(&[3], vec![0u8; 3]));
        assert!(map(DType::U8, &[&a, &b], |v| v[0]).unwrap_err().message.contains("do not broadcast"));
    }
}
