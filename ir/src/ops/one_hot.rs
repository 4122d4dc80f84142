//! `OneHot`: a row with one element on for each index.
//!
//! Spec: ONNX OneHot, versions 9 and 11. `y[i.., d, ..] = values[1]` where `d` is the index, `values[0]` elsewhere; the new axis
//! of `depth` elements is inserted at `axis`. A negative index counts from the end; one outside turns nothing on. One `Map`.
//!
//! A depth that is computed at run time needs a bound, and to be an integer.

use super::elements::{Builder, Elements};
use super::nest::add;
use super::{declared, movement, operand};
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Affine, BinaryOp, Expr, Form, Index, Lowering, Store};
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, axis_of};
use crate::{bail_invalid, bail_unsupported};

/// `OneHot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneHot {
    /// Where the new axis is.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    Ok(Box::new(OneHot { axis: node.int("axis")?.unwrap_or(-1) }))
}

/// `OneHot`.
pub const DEF: OpDef = OpDef { name: "OneHot", domain: "", since: (9, 11), parse, unsupported: "" };

impl OneHot {
    /// The position of the new axis and its extent.
    fn new_axis(&self, indices: &Shape, depth: &Fact) -> Result<(usize, Dim)> {
        let axis = axis_of(self.axis, indices.rank() + 1)?;
        if let Some(dims) = operand::known_dims(depth).filter(|dims| dims.len() == 1) {
            return Ok((axis, dims[0].clone()));
        }
        match depth.tensor() {
            Some(t) if t.elements() == 1 => {
                let number = Elements::new(t)?.number(0).int();
                match i64::try_from(number) {
                    Ok(depth) => Ok((axis, depth.into())),
                    Err(_) => bail_invalid!("the depth {number} is too large"),
                }
            }
            Some(t) => bail_invalid!("the depth must be a single number, found shape {:?}", t.shape),
            None => bail_unsupported!("a depth that is computed at run time is not supported"),
        }
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (indices, values) = (operand::fact(inputs, 0)?, operand::fact(inputs, 2)?);
        if !(indices.dtype.is_int() || indices.dtype.is_float()) {
            bail_invalid!("indices must be numbers, found {}", indices.dtype);
        }
        operand::movable(values.dtype)?;
        if values.shape != Shape::of(&[2]) {
            bail_invalid!("values must be off and on, found shape {}", values.shape);
        }
        let (axis, depth) = self.new_axis(&indices.shape, operand::fact(inputs, 1)?)?;
        let mut shape = indices.shape.clone();
        shape.0.insert(axis, depth);
        Ok(vec![Fact::new(values.dtype, operand::checked(shape)?)])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (depth, extents) = (inputs.get(1).copied().flatten()?, declared::extents(outputs, 0)?);
        let extent = extents[axis_of(self.axis, extents.len()).ok()?];
        Some(Declared { operand: 1, value: declared::constant(depth, &[extent])?, check: Check::Equal })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (indices, values) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 2)?);
        let depth = Fact::of(operand::tensor(inputs, 1)?);
        let (axis, depth) = self.new_axis(&Shape::of(&indices.shape), &depth)?;
        let mut shape = Shape::of(&indices.shape);
        shape.0.insert(axis, depth);
        let shape = operand::constant(shape)?;
        let (elements, choices) = (Elements::new(indices)?, Elements::raw(values));
        let mut y = Builder::new(values.dtype, &shape);
        movement::for_each_index(&shape, |i| {
            let mut from = i.to_vec();
            let d = from.remove(axis) as i128;
            let at = elements.number(movement::position(&indices.shape, &from)).int();
            let on = at == d || at.saturating_add(shape[axis] as i128) == d;
            y.push_bits(choices.bits(on.into()));
            true
        });
        Ok(vec![y.finish()?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (indices, values, y) = (cx.input(0)?, cx.input(2)?, cx.output(0)?);
        let shape = cx.ty(y).shape.clone();
        let axis = axis_of(self.axis, shape.rank())?;
        let (loops, ids) = Lowering::loops_over(&shape);
        let mut from = ids.clone();
        let d = from.remove(axis);
        let index = Expr::Load(Access::new(indices, movement::each(&from)));
        let index = if cx.ty(indices).dtype == DType::I64 { index } else { Expr::cast(DType::I64, index) };
        let choice = |i: i64| Expr::Load(Access::new(values, vec![Index::Affine(Affine::constant(i))]));
        let is = |index: Expr| Expr::binary(BinaryOp::Eq, index, Expr::Loop(d));
        let depth = Expr::size(DType::I64, &shape[axis]);
        let on = Expr::binary(BinaryOp::Or, is(index.clone()), is(add(index, depth)));
        let value = Expr::select(on, choice(1), choice(0));
        cx.emit(loops, Form::Map { stores: vec![Store { to: Access::new(y, movement::each(&ids)), value }] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};

    #[test]
    fn along_any_axis_with_indices_of_any_type() {
        let values = Tensor::from_vec(&[2], vec![2f32, 5.0]);
        let depth = Tensor::scalar(3i64);
        let last = parse("OneHot", 11, &[], 3, 1).unwrap();
        let first = parse("OneHot", 11, &[("axis", Attr::Int(0))], 3, 1).unwrap();
        for indices in [
            Tensor::from_vec(&[3], vec![0i64, -1, 7]),
            Tensor::from_vec(&[3], vec![0i8, -1, 7]),
            Tensor::from_vec(&[3], vec![0f32, -1.0, 7.0]),
        ] {
            let y = run(&*last, &[&indices, &depth, &values], &[1]).unwrap();
            let want = vec![5f32, 2., 2., 2., 2., 5., 2., 2., 2.];
            assert_eq!(y[0], Tensor::from_vec(&[3, 3], want.clone()));
            let y = run(&*first, &[&indices, &depth, &values], &[1, 2]).unwrap();
            let turned = (0..9).map(|i| want[i % 3 * 3 + i / 3]).collect();
            assert_eq!(y[0], Tensor::from_vec(&[3, 3], turned));
        }
    }
}
