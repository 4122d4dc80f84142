//! `Tile`: repeats a tensor along its axes.
//!
//! Spec: ONNX Tile, versions 6 to 24. `y[i..] = x[i % extent..]`; the second input holds one count per axis.
//! Lowered to one copy in which each repeated axis has two loops, over the repetitions and over the input.
//!
//! Counts that are computed at run time need a bound.

use super::{declared, movement, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Affine, Index, LoopId, Lowering};
use crate::op::{Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;

/// `Tile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Tile))
}

/// `Tile`.
pub const DEF: OpDef = OpDef { name: "Tile", domain: "", since: (6, 13), parse, unsupported: "" };

fn counts(x: &Shape, repeats: &Fact) -> Result<Vec<Dim>> {
    let counts = operand::dims(repeats, "the list of repeats")?;
    if counts.len() != x.rank() {
        bail_invalid!("{} repeats for a tensor of rank {}", counts.len(), x.rank());
    }
    if let Some(count) = counts.iter().find(|c| c.as_const().is_some_and(|c| c < 0)) {
        bail_invalid!("a repeat of {count}");
    }
    Ok(counts)
}

fn target(x: &Shape, counts: &[Dim]) -> Result<Shape> {
    operand::checked(x.iter().zip(counts).map(|(e, c)| e.clone() * c.clone()).collect())
}

impl Op for Tile {
    fn name(&self) -> &'static str {
        "Tile"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let counts = counts(&x.shape, operand::fact(inputs, 1)?)?;
        Ok(vec![Fact::new(x.dtype, target(&x.shape, &counts)?)])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (x, repeats) = (inputs.first().copied().flatten()?, inputs.get(1).copied().flatten()?);
        let (from, to) = (x.shape.as_const()?, declared::extents(outputs, 0)?);
        let count = |(from, to): (&usize, &i64)| {
            to.checked_rem(*from as i64).filter(|r| *r == 0).map(|_| to / *from as i64)
        };
        let counts: Vec<i64> = from.iter().zip(&to).map(count).collect::<Option<_>>()?;
        Some(Declared { operand: 1, value: declared::constant(repeats, &counts)?, check: Check::Equal })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let own = Shape::of(&x.shape);
        let counts = counts(&own, &Fact::of(operand::tensor(inputs, 1)?))?;
        let shape = operand::constant(target(&own, &counts)?)?;
        let y = movement::gather(x, &shape, &[], |i| {
            let from: Vec<usize> = i.iter().zip(&x.shape).map(|(i, e)| i % e).collect();
            Ok(Some(movement::position(&x.shape, &from)))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let own = cx.ty(x).shape.clone();
        let counts = counts(&own, cx.fact(1)?)?;
        let (mut loops, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, (extent, count)) in own.iter().zip(&counts).enumerate() {
            let mut at = Affine::constant(0i64);
            if !count.is(1) {
                at = at.plus(LoopId(loops.len() as u16), extent.clone());
                loops.push(movement::parallel(format!("r{axis}"), count));
            }
            let id = LoopId(loops.len() as u16);
            loops.push(movement::parallel(format!("i{axis}"), extent));
            from.push(id.into());
            to.push(Index::Affine(at.plus(id, 1i64)));
        }
        cx.copy(loops, Access::new(x, from), Access::new(y, to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_along_axes() {
        let x = Tensor::from_vec(&[2, 2], vec![0i32, 1, 2, 3]);
        let repeats = Tensor::from_vec(&[2], vec![2i64, 2]);
        let y = Tile.eval(&[Some(&x), Some(&repeats)]).unwrap();
        let rows = [0, 1, 0, 1, 2, 3, 2, 3];
        assert_eq!(y[0], Tensor::from_vec(&[4, 4], [rows, rows].concat()));
    }

    #[test]
    fn wrong_counts_are_invalid() {
        let x = Fact::of(&Tensor::from_vec(&[2], vec![0f32; 2]));
        for counts in [vec![-1], vec![i64::MAX], vec![1, 1]] {
            let counts = Fact::of(&Tensor::from_vec(&[counts.len()], counts));
            assert!(Tile.infer(&[Some(&x), Some(&counts)]).is_err());
        }
    }
}
