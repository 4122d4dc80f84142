//! `Compress`: the elements along an axis, or all of them, for which a condition holds.
//!
//! Spec: ONNX Compress, versions 9 and 11. The condition may be shorter than the axis, and ends it then. How many elements are
//! left is counted when the model runs. Made of `NonZero` of the condition, and `Gather`.

use super::counted::{self, Chain};
use super::non_zero::positions;
use super::{gather, movement, operand, reshape, slice, squeeze};
use crate::bail_invalid;
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};

/// `Compress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// The axis; all elements in order when left out.
    pub axis: Option<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Compress { axis: node.int("axis")? }))
}

/// `Compress`.
pub const DEF: OpDef = OpDef { name: "Compress", domain: "", since: (9, 11), parse, unsupported: "" };

impl Compress {
    /// The shape that elements are taken from, and the axis.
    fn source(self, x: &Shape) -> Result<(Shape, usize)> {
        match self.axis {
            Some(axis) => Ok((x.clone(), x.axis(axis)?)),
            None => Ok((Shape(vec![x.elements()]), 0)),
        }
    }

    fn check(condition: &Fact) -> Result<()> {
        if condition.dtype != DType::Bool || condition.shape.rank() != 1 {
            bail_invalid!("the condition must be a vector of bools, found {}", condition.ty());
        }
        Ok(())
    }
}

/// Where a condition holds.
fn kept(condition: &Tensor) -> Result<Vec<i64>> {
    Ok(counted::found(condition)?.into_iter().map(|place| place[0]).collect())
}

impl Op for Compress {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        self.axis.map(|axis| ("axis".to_owned(), Attr::Int(axis))).into_iter().collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, condition) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        operand::movable(x.dtype)?;
        Self::check(condition)?;
        let (mut shape, axis) = self.source(&x.shape)?;
        // With data of a run it is made of others, whatever the condition is.
        let Some(known) = condition.tensor().filter(|_| x.tensor().is_some()) else {
            return Err(Error::unsupported(
                "how much is left is counted at run time, which a body of control flow does not support",
            ));
        };
        shape.0[axis] = Dim::from(kept(known)?.len());
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, condition) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let (shape, axis) = self.source(&Shape::of(&x.shape))?;
        let mut shape = operand::constant(shape)?;
        let kept = kept(condition)?;
        if kept.iter().any(|i| *i >= shape[axis] as i64) {
            bail_invalid!("the condition holds behind the {} elements of the axis", shape[axis]);
        }
        let strides = row_major(&shape);
        shape[axis] = kept.len();
        let y = movement::gather(x, &shape, &[], |index| {
            let at = |(a, i): (usize, &usize)| if a == axis { kept[*i] as usize } else { *i };
            Ok(Some(index.iter().enumerate().map(at).zip(&strides).map(|(i, stride)| i * stride).sum()))
        })?;
        Ok(vec![y])
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let (x, condition) = (node.fact(0)?, node.fact(1)?);
        Self::check(condition)?;
        let (from, axis) = self.source(&x.shape)?;
        let mut chain = Chain::new(node);
        let (mut data, mut holds) = (chain.input(0)?, chain.input(1)?);
        if self.axis.is_none() {
            let all = chain.integers(&[-1]);
            data = chain.apply(&reshape::DEF, &[], &[data, all])?;
        }
        let mut all = counts.most(&condition.shape.elements())?.min(counts.most(&from[axis])?);
        if let (Some(given), Some(extent)) = (condition.shape[0].as_const(), from[axis].as_const())
            && given > extent
        {
            let (zero, end) = (chain.integers(&[0]), chain.integers(&[extent]));
            holds = chain.apply(&slice::DEF, &[], &[holds, zero, end])?;
        }
        all = counts.given(&node.told(0), axis).map_or(all, |most| most.min(all));
        let result = &node.graph.value(node.outputs[0]).name;
        let kept = match condition.tensor() {
            Some(known) => {
                let kept = kept(known)?;
                chain.integers(&kept)
            }
            None => {
                let (places, n) = positions(&mut chain, counts, holds, result, all);
                let found = chain.prefix(places, n, 1);
                let row = chain.integers(&[0]);
                chain.apply(&squeeze::SQUEEZE, &[], &[found, row])?
            }
        };
        let y = chain.apply(&gather::DEF, &[("axis", Attr::Int(axis as i64))], &[data, kept])?;
        Ok(Some(chain.finish(&[y])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn along_an_axis_and_of_all() {
        let x = Tensor::from_vec(&[3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let of = |axis, condition: &[bool]| {
            let condition = Tensor::from_bools(&[condition.len()], condition.iter().copied());
            Compress { axis }.eval(&[Some(&x), Some(&condition)]).map(|y| y[0].clone())
        };
        assert_eq!(
            of(Some(0), &[false, true, true]).unwrap(),
            Tensor::from_vec(&[2, 2], vec![3f32, 4.0, 5.0, 6.0])
        );
        assert_eq!(of(Some(-1), &[false, true]).unwrap(), Tensor::from_vec(&[3, 1], vec![2f32, 4.0, 6.0]));
        assert_eq!(
            of(None, &[false, true, false, false, true]).unwrap(),
            Tensor::from_vec(&[2], vec![2f32, 5.0])
        );
        assert!(of(Some(1), &[false, false, true]).is_err());
    }
}
