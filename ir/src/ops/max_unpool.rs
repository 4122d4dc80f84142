//! `MaxUnpool`: elements back where `MaxPool` found them, zeros elsewhere.
//!
//! Spec: ONNX MaxUnpool, versions 9, 11 and 22. `indices` are those of `MaxPool`, into a tensor of the inferred extents
//! `stride * (in - 1) + kernel - pads`; a larger `output_shape` has zeros at the ends. Made of `ScatterElements`.
//!
//! Unsupported: an output shape that is computed at run time; open extents.

use super::composed::{Composed, Composer, Value, composed, required};
use super::spatial::Spatial;
use super::{operand, pad, scatter};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `MaxUnpool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxUnpool {
    spatial: Spatial,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let spatial = Spatial::parse(node)?;
    if spatial.kernel.is_empty() {
        bail_invalid!("attribute 'kernel_shape' is missing");
    }
    Ok(Box::new(MaxUnpool { spatial }))
}

/// `MaxUnpool`.
pub const DEF: OpDef = OpDef {
    name: "MaxUnpool",
    domain: "",
    since: (9, 22),
    parse,
    unsupported: "an output shape computed at run time",
};

impl Op for MaxUnpool {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        self.spatial.attrs()
    }

    composed!(product);
}

impl Composed for MaxUnpool {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
        let shape = cx.extents(x, "an image")?;
        if cx.fact(indices).shape != cx.fact(x).shape || cx.dtype(indices) != DType::I64 {
            bail_invalid!("indices {} must be i64 of shape {shape:?}", cx.fact(indices).ty());
        }
        let rank = self.spatial.kernel.len();
        let or = |list: &[i64], i: usize, default| list.get(i).copied().unwrap_or(default);
        let s = &self.spatial;
        let lists = [(&s.strides, rank), (&s.pads, 2 * rank)];
        if shape.len() != rank + 2 || lists.iter().any(|(list, n)| !list.is_empty() && list.len() != *n) {
            bail_invalid!("an image of shape {shape:?} does not fit a kernel of {:?}", s.kernel);
        }
        let extent = |i: usize| {
            let reach = or(&s.strides, i, 1).saturating_mul(shape[i + 2] - 1).saturating_add(s.kernel[i]);
            reach - or(&s.pads, i, 0) - or(&s.pads, rank + i, 0)
        };
        let inferred: Vec<i64> = shape[..2].iter().copied().chain((0..rank).map(extent)).collect();
        let size = inferred.iter().try_fold(1i64, |n, e| n.checked_mul((*e).max(0)));
        let total = match size.filter(|n| *n <= crate::limits::MAX_ELEMENTS && *n > 0) {
            Some(total) => total,
            None => bail_invalid!("the result would have the shape {inferred:?}"),
        };
        // The elements of a plane stay in it.
        let planes = shape[0] * shape[1];
        let (pixels, given) = (total / planes, shape[2..].iter().product::<i64>());
        let base: Vec<i64> = (0..planes).map(|p| p * pixels).collect();
        let base = cx.constant(Tensor::from_vec(&[planes as usize, 1], base));
        let indices = cx.reshape(indices, &[planes, given])?;
        let indices = cx.sub(indices, base)?;
        let values = cx.reshape(x, &[planes, given])?;
        let zeros = cx.constant(Tensor::zeros(cx.dtype(x), &[planes as usize, pixels as usize]));
        let y = cx.apply(&scatter::ELEMENTS, &[("axis", Attr::Int(1))], &[zeros, indices, values])?;
        let y = cx.reshape(y, &inferred)?;
        let Some(wanted) = inputs.get(2).copied().flatten() else { return Ok(vec![y]) };
        let wanted = operand::ints(cx.fact(wanted), "the output shape")?;
        if wanted.len() != inferred.len() || wanted.iter().zip(&inferred).any(|(a, b)| a < b) {
            bail_invalid!("an output shape of {wanted:?} is less than {inferred:?}");
        }
        let ends = wanted.iter().zip(&inferred).map(|(a, b)| a - b);
        let pads: Vec<i64> = vec![0; wanted.len()].into_iter().chain(ends).collect();
        let pads = cx.integers(&pads);
        Ok(vec![cx.apply(&pad::DEF, &[], &[y, pads])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run};

    #[test]
    fn the_example_of_the_specification() {
        let list = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
        let x = Tensor::from_vec(&[1, 1, 2, 2], vec![5f32, 6.0, 7.0, 8.0]);
        let indices = Tensor::from_vec(&[1, 1, 2, 2], vec![5i64, 7, 13, 15]);
        let y = run(&*parse("MaxUnpool", 11, &list, 2, 1).unwrap(), &[&x, &indices], &[]).unwrap();
        let mut want = vec![0f32; 16];
        (want[5], want[7], want[13], want[15]) = (5.0, 6.0, 7.0, 8.0);
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 4, 4], want));
        let shape = Tensor::from_vec(&[4], vec![1i64, 1, 5, 5]);
        let op = parse("MaxUnpool", 11, &list, 3, 1).unwrap();
        let y = run(&*op, &[&x, &indices, &shape], &[2]).unwrap();
        assert_eq!(y[0].to_f64s().unwrap()[6..9], [5.0, 0.0, 6.0]);
    }

    #[test]
    fn planes_keep_their_own() {
        let list = [("kernel_shape", ints(&[2])), ("strides", ints(&[2]))];
        let x = Tensor::from_vec(&[2, 2, 2], (1..9).map(|v| v as f32).collect());
        let indices = Tensor::from_vec(&[2, 2, 2], vec![0i64, 3, 5, 6, 8, 10, 13, 15]);
        let y = run(&*parse("MaxUnpool", 11, &list, 2, 1).unwrap(), &[&x, &indices], &[]).unwrap();
        assert_eq!(y[0].to_f64s().unwrap()[8..12], [5.0, 0.0, 6.0, 0.0]);
    }
}
