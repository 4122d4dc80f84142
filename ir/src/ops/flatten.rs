//! `Flatten`: merges the axes before and from an axis into two.
//!
//! Spec: ONNX Flatten, versions 1 to 24. `axis` (default 1) may equal the rank, and count from the end from 11
//! on. The result has rank 2 with an extent of 1 where there is nothing to merge.

use super::operand;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;

/// `Flatten`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The first axis of the second group.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Flatten { axis: node.int("axis")?.unwrap_or(1) }))
}

/// `Flatten`.
pub const DEF: OpDef = OpDef { name: "Flatten", domain: "", since: (1, 24), parse, unsupported: "" };

impl Flatten {
    fn target(self, from: &Shape) -> Result<Shape> {
        let rank = from.rank() as i64;
        if self.axis < -rank || self.axis > rank {
            bail_invalid!("axis {} is outside [-{rank}, {rank}] of a tensor of rank {rank}", self.axis);
        }
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis } as usize;
        let product = |dims: &[Dim]| dims.iter().fold(Dim::Const(1), |n, d| n * d.clone());
        Ok(Shape(vec![product(&from[..axis]), product(&from[axis..])]))
    }
}

impl Op for Flatten {
    fn name(&self) -> &'static str {
        "Flatten"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        Ok(vec![Fact::new(x.dtype, self.target(&x.shape)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let shape = operand::constant(self.target(&Shape::of(&x.shape))?)?;
        Ok(vec![x.reshaped(&shape)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        super::reshape::lower(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(axis: i64) -> Option<Vec<usize>> {
        Flatten { axis }.target(&Shape::of(&[2, 3, 4])).ok()?.as_const()
    }

    #[test]
    fn merges_before_and_from_the_axis() {
        assert_eq!(target(0), Some(vec![1, 24]));
        assert_eq!(target(2), Some(vec![6, 4]));
        assert_eq!(target(3), Some(vec![24, 1]));
        assert_eq!(target(-1), Some(vec![6, 4]));
        assert_eq!((target(4), target(-100_000)), (None, None));
    }
}
