//! `MaxUnpool`: elements back where `MaxPool` found them, zeros elsewhere.
//!
//! Spec: ONNX MaxUnpool, versions 9, 11 and 22. `indices` are those of `MaxPool`, into a tensor of the inferred extents
//! `stride * (in - 1) + kernel - pads`, and those of a plane lie in it; a larger `output_shape` has zeros at the ends, by `Pad`.
//!
//! Lowering: a procedure for each plane, which is filled with zeros before elements are put into it.
//!
//! Unsupported: an output shape that is computed at run time, or one of open extents.

use std::sync::Arc;

use super::composed::{self, Composed, Composer, Value, required};
use super::elements::{Builder, Elements};
use super::nest::{NestBuilder, mul, sub};
use super::spatial::Spatial;
use super::{movement, operand, pad};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::Patch;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Expr, Form, LoopId, Lowering, Scalar};
use crate::op::{Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

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

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        if inputs.get(2).copied().flatten().is_some() {
            return composed::infer(self, inputs);
        }
        let x = operand::fact(inputs, 0)?;
        let (shape, _) = self.planes(x, operand::fact(inputs, 1)?)?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        if inputs.get(2).copied().flatten().is_some() {
            return composed::eval(self, inputs);
        }
        let (x, indices) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let (shape, planes) = self.planes(&Fact::of(x), &Fact::of(indices))?;
        let (shape, planes) = (operand::constant(shape)?, planes.as_usize().unwrap_or(0));
        let elements = Elements::raw(x);
        let mut bits = vec![0u64; shape.iter().product()];
        let (pixels, given) = (bits.len() / planes, x.elements() / planes);
        for (i, at) in indices.to_i64s()?.into_iter().enumerate() {
            let plane = i / given * pixels;
            match usize::try_from(at).ok().filter(|at| (plane..plane + pixels).contains(at)) {
                Some(at) => bits[at] = elements.bits(i),
                None => return Err(Error::index_out_of_range(at - plane as i64, pixels as i64)),
            }
        }
        let mut y = Builder::new(x.dtype, &shape);
        bits.into_iter().for_each(|b| y.push_bits(b));
        Ok(vec![y.finish()?])
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        if node.inputs.get(2).copied().flatten().is_none() {
            return Ok(None);
        }
        composed::decompose(self, node)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (shape, planes) = self.planes(cx.fact(0)?, cx.fact(1)?)?;
        let dtype = cx.fact(0)?.dtype;
        let elements = |shape: &Shape| Shape(shape[2..].to_vec()).elements();
        let (pixels, given) = (elements(&shape), elements(&cx.fact(0)?.shape));
        let few = Shape(vec![planes.clone(), given.clone()]);
        let (data, indices) =
            (movement::folded_input(cx, 0, "data", &few)?, movement::folded_input(cx, 1, "given", &few)?);
        let sparse = movement::folded_output(cx, &Shape(vec![planes.clone(), pixels.clone()]))?;
        let mut nest = NestBuilder::default();
        let plane = nest.parallel("plane", &planes);
        let (all, i, at) =
            (nest.reduce("all", &pixels), nest.reduce("i", &given), nest.reduce("at", &pixels));
        let first = nest.reduce("first", &(planes.clone() * pixels.clone()));
        let access = |buffer, l: LoopId| Access::new(buffer, vec![plane.into(), l.into()]);
        let mut steps = Steps::default();
        steps.each(all, |steps| -> Result<()> {
            steps.store(access(sparse, all), Expr::Const(Scalar { dtype, bits: 0 }));
            Ok(())
        })?;
        steps.set(first, mul(Expr::Loop(plane), Expr::size(DType::I64, &pixels)));
        steps.each(i, |steps| -> Result<()> {
            steps.set(at, sub(Expr::Load(access(indices, i)), Expr::Loop(first)));
            steps.store(access(sparse, at), Expr::Load(access(data, i)));
            Ok(())
        })?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        let to = cx.output(0)?;
        if sparse != to {
            movement::reshape(cx, sparse, to);
        }
        Ok(())
    }
}

impl MaxUnpool {
    /// The inferred extents, and how many planes there are.
    fn planes(&self, x: &Fact, indices: &Fact) -> Result<(Shape, Dim)> {
        operand::movable(x.dtype)?;
        let shape = &x.shape;
        if indices.shape != *shape || indices.dtype != DType::I64 {
            bail_invalid!("indices {} must be i64 of shape {shape}", indices.ty());
        }
        let rank = self.spatial.kernel.len();
        let or = |list: &[i64], i: usize, default| list.get(i).copied().unwrap_or(default);
        let s = &self.spatial;
        let lists = [(&s.strides, rank), (&s.pads, 2 * rank)];
        if shape.rank() != rank + 2 || lists.iter().any(|(list, n)| !list.is_empty() && list.len() != *n) {
            bail_invalid!("an image of shape {shape} does not fit a kernel of {:?}", s.kernel);
        }
        let extent = |i: usize| {
            let pads = or(&s.pads, i, 0).saturating_add(or(&s.pads, rank + i, 0));
            let rest = s.kernel[i].saturating_sub(pads);
            let stride = or(&s.strides, i, 1);
            match shape[i + 2].as_const() {
                Some(n) => Dim::Const(stride.saturating_mul(n - 1).saturating_add(rest)),
                None => (shape[i + 2].clone() - Dim::Const(1)) * Dim::Const(stride) + Dim::Const(rest),
            }
        };
        let inferred: Vec<Dim> = shape[..2].iter().cloned().chain((0..rank).map(extent)).collect();
        let known = inferred.iter().filter_map(Dim::as_const);
        let size = known.map(|e| e.max(0)).try_fold(1i64, i64::checked_mul);
        if size.filter(|n| *n <= crate::limits::MAX_ELEMENTS && *n > 0).is_none() {
            bail_invalid!("the result would have the shape {}", Shape(inferred));
        }
        Ok((Shape(inferred), shape[0].clone() * shape[1].clone()))
    }
}

impl Composed for MaxUnpool {
    /// The inferred extents, and zeros at the ends.
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
        let y = cx.node(Arc::new(self.clone()), &[Some(x), Some(indices)])?;
        let (Some(&y), Some(wanted)) = (y.first(), inputs.get(2).copied().flatten()) else { return Ok(y) };
        let inferred = cx.extents(y, "an image")?;
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
        let op = parse("MaxUnpool", 11, &list, 2, 1).unwrap();
        let y = run(&*op, &[&x, &indices], &[]).unwrap();
        assert_eq!(y[0].to_f64s().unwrap()[8..12], [5.0, 0.0, 6.0, 0.0]);
        let outside = Tensor::from_vec(&[2, 2, 2], vec![0i64, 3, 5, 6, 8, 10, 13, 3]);
        assert!(op.eval(&[Some(&x), Some(&outside)]).unwrap_err().message.contains("index"));
    }
}
