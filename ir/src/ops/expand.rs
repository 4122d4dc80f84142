//! `Expand`: repeats axes of extent 1.
//!
//! Spec: ONNX Expand, versions 8 to 24. The result's shape is the broadcast of the input's shape and of the
//! second input; an extent of 1 there keeps the input's. Lowered to one copy in which the repeated axes stand
//! still.
//!
//! A shape that is computed at run time needs a bound, and axes that are not 1 keep their extents.

use super::counted::Chain;
use super::{broadcast, concat, declared, operand, shape, variadic};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::graph::PatchValue;
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Expand))
}

/// `Expand`.
pub const DEF: OpDef = OpDef { name: "Expand", domain: "", since: (8, 13), parse, unsupported: "" };

fn missing() -> Error {
    Error::internal("an operand is left out")
}

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

    /// To the shape that it has.
    fn hands_on(&self) -> bool {
        true
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
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

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let (x, wanted) = (node.fact(0)?, node.fact(1)?);
        let given = node.inputs[1].filter(|v| node.graph.producer(*v).is_none());
        let (Some(_), Some(rank), None) = (given, wanted.shape.elements().as_usize(), wanted.dims()) else {
            return Ok(None);
        };
        if wanted.dtype != DType::I64 || rank == 0 {
            return Ok(None);
        }
        // What an argument asks for may be 1 where the operand has more.
        let own = x.shape.rank();
        let told = node.told(0);
        let list =
            (0..rank.max(own)).map(|axis| Ok((format!("{}_{axis}", told.name), counts.needed(&told, axis)?)));
        let list = list.collect::<Result<Vec<_>>>()?;
        let mut chain = Chain::new(node);
        let data = chain.input(0)?;
        let shape = chain.apply(&shape::DEF, &[], &[data])?;
        let mut longer = |value: PatchValue, missing: usize| {
            let ones = chain.integers(&vec![1; missing]);
            chain.apply(&concat::DEF, &[("axis", Attr::Int(0))], &[ones, value])
        };
        let shape = longer(shape, rank.saturating_sub(own))?;
        let wanted =
            longer(node.inputs[1].map(PatchValue::from).ok_or_else(missing)?, own.saturating_sub(rank))?;
        let wanted = chain.apply(&variadic::MAX, &[], &[wanted, shape])?;
        let wanted = chain.sizes(counts, wanted, &list);
        let y = chain.apply(&DEF, &[], &[data, wanted])?;
        Ok(Some(chain.finish(&[y])))
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
