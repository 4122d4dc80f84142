//! `Expand`: repeats axes of extent 1.
//!
//! Spec: ONNX Expand, versions 8 to 24. The result's shape is the broadcast of the input's shape and of the
//! second input; an extent of 1 there keeps the input's. Lowered to one copy in which the repeated axes stand
//! still.
//!
//! Unsupported: a shape that is computed at run time.

use super::{broadcast, declared, operand};
use crate::error::Result;
use crate::kernel::Lowering;
use crate::op::{Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;

/// `Expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Expand))
}

/// `Expand`.
pub const DEF: OpDef =
    OpDef { name: "Expand", domain: "", since: (8, 13), parse, unsupported: "a shape computed at run time" };

fn target(from: &Shape, to: &Fact) -> Result<Shape> {
    let wanted = operand::checked(Shape(operand::dims(to, "the shape")?))?;
    operand::checked(broadcast::shapes([from, &wanted])?)
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let shape = target(&x.shape, operand::fact(inputs, 1)?)?;
        let known = operand::known_dims(x).filter(|_| shape.rank() <= 1).and_then(|dims| {
            let count = shape.elements().as_usize().filter(|&n| n <= 1024)?;
            Some(if dims.len() == 1 { vec![dims[0].clone(); count] } else { dims })
        });
        Ok(vec![operand::with_dims(x.dtype, shape, known)])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (shape, all) = (inputs.get(1).copied().flatten()?, declared::extents(outputs, 0)?);
        let last = all.len().checked_sub(shape.shape.elements().as_usize()?)?;
        let value = declared::constant(shape, &all[last..])?;
        Some(Declared { operand: 1, value, check: Check::EqualOrAtMost(1) })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let shape = operand::constant(target(&Shape::of(&x.shape), &Fact::of(operand::tensor(inputs, 1)?))?)?;
        let strides = broadcast::strides(&x.shape, &shape);
        let at = |i: &[usize]| i.iter().zip(&strides).map(|(i, s)| i * s).sum();
        Ok(vec![super::movement::gather(x, &shape, &[], |i| Ok(Some(at(i))))?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let shape = cx.ty(y).shape.clone();
        let (loops, ids) = Lowering::loops_over(&shape);
        let (from, to) = (cx.broadcast(x, &shape, &ids), cx.broadcast(y, &shape, &ids));
        cx.copy(loops, from, to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::types::DType;

    #[test]
    fn repeats_axes_of_one() {
        let x = Tensor::from_vec(&[3, 1], vec![1f32, 2.0, 3.0]);
        let shape = Tensor::from_vec(&[3], vec![2i64, 1, 2]);
        let y = Expand.eval(&[Some(&x), Some(&shape)]).unwrap();
        let half = [1f32, 1.0, 2.0, 2.0, 3.0, 3.0];
        assert_eq!(y[0], Tensor::from_vec(&[2, 3, 2], [half, half].concat()));
    }

    #[test]
    fn absurd_and_negative_extents_are_invalid() {
        let x = Fact::new(DType::F32, Shape::of(&[1]));
        for extents in [vec![i64::MAX], vec![1 << 31, 1 << 31], vec![-1]] {
            let shape = Fact::of(&Tensor::from_vec(&[extents.len()], extents));
            assert!(Expand.infer(&[Some(&x), Some(&shape)]).is_err());
        }
        let open = Fact::of_dims(vec![Dim::symbol("n"), Dim::Const(4)]);
        let y = Expand.infer(&[Some(&x), Some(&open)]).unwrap();
        assert_eq!(y[0].shape, Shape(vec![Dim::symbol("n"), Dim::Const(4)]));
    }
}
