//! `Concat`: joins tensors along an axis.
//!
//! Spec: ONNX Concat, versions 1 to 24. All inputs have one type and the same extents on the other axes. Known
//! integers stay known. Lowered to one copy per input; layout lets producers write into the result where it can.

use super::{movement, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Affine, Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{Shape, axis_of};

/// `Concat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which the inputs follow each other.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=usize::MAX, 1..=1)?;
    let Some(axis) = node.int("axis")? else { bail_invalid!("attribute 'axis' is missing") };
    Ok(Box::new(Concat { axis }))
}

/// `Concat`.
pub const DEF: OpDef = OpDef { name: "Concat", domain: "", since: (1, 13), parse, unsupported: "" };

impl Concat {
    fn target(self, shapes: &[&Shape]) -> Result<Shape> {
        let mut to = shapes[0].clone();
        let axis = to.axis(self.axis)?;
        for (i, shape) in shapes.iter().enumerate().skip(1) {
            let conflict = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Const(a), Dim::Const(b)) if a != b);
            let mut others = to.iter().zip(shape.iter()).enumerate().filter(|(k, _)| *k != axis);
            if shape.rank() != to.rank() || others.any(|(_, pair)| conflict(pair)) {
                bail_invalid!("input {i} of shape {shape} does not join {} on axis {axis}", shapes[0]);
            }
            for (k, extent) in shape.iter().enumerate() {
                if k == axis {
                    to.0[k] = to[k].clone() + extent.clone();
                } else if extent.as_const().is_some() {
                    to.0[k] = extent.clone();
                }
            }
        }
        operand::checked(to)
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let facts = operand::all(inputs)?;
        let dtype = operand::same_types(&facts)?;
        operand::movable(dtype)?;
        let shapes: Vec<&Shape> = facts.iter().map(|f| &f.shape).collect();
        let shape = self.target(&shapes)?;
        let known: Option<Vec<Vec<Dim>>> = facts.iter().map(|f| operand::known_dims(f)).collect();
        Ok(vec![operand::with_dims(dtype, shape, known.map(|parts| parts.concat()))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let parts = operand::all(inputs)?;
        let shapes: Vec<Shape> = parts.iter().map(|t| Shape::of(&t.shape)).collect();
        let shape = operand::constant(self.target(&shapes.iter().collect::<Vec<_>>())?)?;
        let axis = axis_of(self.axis, shape.len())?;
        // Each input contributes one run of bytes per index of the axes before.
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product::<usize>() * parts[0].dtype.size();
        let mut data = Vec::with_capacity(outer * shape[axis] * inner);
        for o in 0..outer {
            for part in &parts {
                let run = part.shape[axis] * inner;
                data.extend_from_slice(&part.data[o * run..][..run]);
            }
        }
        Ok(vec![Tensor::new(parts[0].dtype, shape, data.into())?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let axis = cx.ty(y).shape.axis(self.axis)?;
        let mut start = Dim::Const(0);
        for i in 0..cx.input_count() {
            let x = cx.input(i)?;
            let shape = cx.ty(x).shape.clone();
            let (loops, ids) = Lowering::loops_over(&shape);
            let mut to = movement::each(&ids);
            to[axis] = Index::Affine(Affine::of(ids[axis]).shifted(start.clone()));
            cx.copy(loops, Access::new(x, movement::each(&ids)), Access::new(y, to));
            start = start + shape[axis].clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DType;

    #[test]
    fn joins_along_any_axis() {
        let a = Tensor::from_vec(&[2, 2], vec![1f32, 2.0, 3.0, 4.0]);
        let b = Tensor::from_vec(&[2, 1], vec![5f32, 6.0]);
        let y = Concat { axis: -1 }.eval(&[Some(&a), Some(&b)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 5.0, 3.0, 4.0, 6.0]));
        let y = Concat { axis: 0 }.eval(&[Some(&a), Some(&a)]).unwrap();
        assert_eq!(y[0].shape, [4, 2]);
    }

    #[test]
    fn extents_join() {
        let n = Fact::of_dims(vec![Dim::symbol("n")]);
        let c = Fact::of(&Tensor::from_vec(&[2], vec![-1i64, 8]));
        let y = Concat { axis: 0 }.infer(&[Some(&n), Some(&c)]).unwrap().swap_remove(0);
        assert_eq!(y.dims(), Some(vec![Dim::symbol("n"), Dim::Const(-1), Dim::Const(8)]));
    }

    #[test]
    fn what_does_not_fit_is_invalid() {
        let fact = |dims: &[usize]| Fact::new(DType::F32, Shape::of(dims));
        let infer = |axis, a: &Fact, b: &Fact| Concat { axis }.infer(&[Some(a), Some(b)]);
        assert!(infer(0, &fact(&[2, 2]), &fact(&[2, 3])).is_err());
        assert!(infer(0, &fact(&[2, 2]), &fact(&[2])).is_err());
        assert!(infer(2, &fact(&[2, 2]), &fact(&[2, 2])).is_err());
        assert!(infer(0, &fact(&[]), &fact(&[])).is_err());
        assert!(Concat { axis: 0 }.infer(&[Some(&fact(&[2])), None]).is_err());
        let big = Fact::new(DType::F32, Shape(vec![Dim::Const(i64::MAX)]));
        assert!(infer(0, &big, &big).is_err());
    }
}
