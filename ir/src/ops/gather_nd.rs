//! `GatherND`: slices by index tuples.
//!
//! Spec: ONNX GatherND, versions 11 to 13. The last axis of the indices holds tuples, each of which names positions of the
//! first axes of `x` behind the `batch_dims` that both have in common:
//! `y[b.., i.., s..] = x[b.., indices[b.., i.., 0], indices[b.., i.., 1], .., s..]`. A negative index counts from the end.
//! Constant indices are checked here, others at run time. Lowered to one copy whose indices are read from the tuples.

use super::elements::Elements;
use super::{movement, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Access, Affine, Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `GatherND`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatherNd {
    /// Leading axes that data and indices have in common.
    pub batch_dims: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    match node.int("batch_dims")?.unwrap_or(0) {
        batch @ 0..=0xff => Ok(Box::new(GatherNd { batch_dims: batch as usize })),
        other => bail_invalid!("attribute 'batch_dims' must not be negative, found {other}"),
    }
}

/// `GatherND`.
pub const DEF: OpDef = OpDef { name: "GatherND", domain: "", since: (11, 13), parse, unsupported: "" };

/// The axes of a node.
struct Axes {
    /// Numbers of a tuple.
    tuple: usize,
    /// Axes of the indices without that of the tuples.
    places: usize,
    output: Shape,
}

impl GatherNd {
    fn axes(&self, x: &Shape, indices: &Shape) -> Result<Axes> {
        let batch = self.batch_dims;
        if indices.rank() <= batch || x.rank() <= batch {
            bail_invalid!("{x} and indices {indices} need more axes than 'batch_dims', which is {batch}");
        }
        if (0..batch).any(|i| x[i].as_const().zip(indices[i].as_const()).is_some_and(|(a, b)| a != b)) {
            bail_invalid!("{x} and indices {indices} differ in their first {batch} axes");
        }
        let places = indices.rank() - 1;
        let tuple = indices[places].as_usize().filter(|n| (1..=x.rank() - batch).contains(n));
        let Some(tuple) = tuple else {
            bail_invalid!("tuples of {} indices do not fit {x} behind {batch} axes", indices[places])
        };
        let dims = indices[..places].iter().chain(&x[batch + tuple..]);
        Ok(Axes { tuple, places, output: operand::checked(dims.cloned().collect())? })
    }
}

impl Op for GatherNd {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("batch_dims".to_owned(), Attr::Int(self.batch_dims as i64))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, indices) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        operand::movable(x.dtype)?;
        if indices.dtype != DType::I64 {
            bail_invalid!("indices must be i64, found {}", indices.dtype);
        }
        let axes = self.axes(&x.shape, &indices.shape)?;
        if let Some(indices) = indices.tensor() {
            for (i, index) in indices.to_i64s()?.into_iter().enumerate() {
                if let Some(extent) = x.shape[self.batch_dims + i % axes.tuple].as_const() {
                    operand::wrapped(index, extent)?;
                }
            }
        }
        Ok(vec![Fact::new(x.dtype, axes.output)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let batch = self.batch_dims;
        let axes = self.axes(&Shape::of(&x.shape), &Shape::of(&indices.shape))?;
        let (shape, elements) = (operand::constant(axes.output)?, Elements::new(indices)?);
        let mut from = vec![0; x.shape.len()];
        let y = movement::gather(x, &shape, &[], |i| {
            let first = movement::position(&indices.shape[..axes.places], &i[..axes.places]) * axes.tuple;
            from[..batch].copy_from_slice(&i[..batch]);
            for c in 0..axes.tuple {
                let index = elements.number(first + c).int() as i64;
                from[batch + c] = operand::wrapped(index, x.shape[batch + c] as i64)? as usize;
            }
            from[batch + axes.tuple..].copy_from_slice(&i[axes.places..]);
            Ok(Some(movement::position(&x.shape, &from)))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let shape = cx.ty(x).shape.clone();
        let axes = self.axes(&shape, &cx.fact(1)?.shape)?;
        let indices = operand::indices(cx, 1, |n| shape[self.batch_dims + n % axes.tuple].clone())?;
        movement::copy_to(cx, y, x, |loops| {
            let mut from = movement::each(&loops[..self.batch_dims]);
            from.extend((0..axes.tuple).map(|c| {
                let mut at = movement::each(&loops[..axes.places]);
                at.push(Affine::constant(c as i64).into());
                Index::Gathered(Box::new(Access::new(indices, at)))
            }));
            from.extend(movement::each(&loops[axes.places..]));
            from
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};

    #[test]
    fn the_examples_of_the_specification() {
        // Shape of x, axes in common, shape of indices and these, shape of y and that.
        type Case =
            (&'static [usize], i64, &'static [usize], &'static [i64], &'static [usize], &'static [f32]);
        let cases: [Case; 6] = [
            (&[2, 2], 0, &[2, 2], &[0, 0, 1, 1], &[2], &[0.0, 3.0]),
            (&[2, 2], 0, &[2, 1], &[1, 0], &[2, 2], &[2.0, 3.0, 0.0, 1.0]),
            (&[2, 2, 2], 0, &[2, 2], &[0, 1, 1, 0], &[2, 2], &[2.0, 3.0, 4.0, 5.0]),
            (&[2, 2, 2], 0, &[2, 1, 2], &[0, 1, 1, 0], &[2, 1, 2], &[2.0, 3.0, 4.0, 5.0]),
            (&[2, 2, 2], 1, &[2, 1], &[1, 0], &[2, 2], &[2.0, 3.0, 4.0, 5.0]),
            (&[2, 2, 2], 1, &[2, 2, 2], &[-1, -2, 0, 1, 1, -1, -2, 0], &[2, 2], &[2.0, 1.0, 7.0, 4.0]),
        ];
        for (x, batch, of_indices, indices, of_y, y) in cases {
            let x = Tensor::from_vec(x, (0..x.iter().product()).map(|i: usize| i as f32).collect());
            let indices = Tensor::from_vec(of_indices, indices.to_vec());
            let op = parse("GatherND", 13, &[("batch_dims", Attr::Int(batch))], 2, 1).unwrap();
            for known in [&[][..], &[1]] {
                let found = run(&*op, &[&x, &indices], known).unwrap();
                assert_eq!(found[0], Tensor::from_vec(of_y, y.to_vec()));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_invalid() {
        let x = Fact::new(DType::F32, Shape::of(&[2, 3]));
        let refused = |batch_dims, shape: &[usize], at: i64| {
            let indices = Tensor::from_vec(shape, vec![at; shape.iter().product()]);
            GatherNd { batch_dims }.infer(&[Some(&x), Some(&Fact::of(&indices))]).unwrap_err().message
        };
        assert!(refused(0, &[1, 3], 0).contains("tuples of 3 indices do not fit"));
        assert!(refused(0, &[1, 0], 0).contains("tuples of 0 indices"));
        assert!(refused(1, &[1, 1], 0).contains("differ in their first 1 axes"));
        assert!(refused(2, &[2, 3, 1], 0).contains("more axes than 'batch_dims'"));
        assert!(refused(0, &[1, 1], 2).contains('2'));
        assert!(refused(0, &[1, 2], -3).contains("-3"));
        let parsed = parse("GatherND", 13, &[("batch_dims", Attr::Int(-1))], 2, 1);
        assert!(parsed.unwrap_err().message.contains("must not be negative"));
    }
}
