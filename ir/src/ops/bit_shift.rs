//! `BitShift`: shifts the bits of unsigned integers.
//!
//! Spec: ONNX BitShift, version 11. `z = x << y` or `x >> y` (logical) over the broadcast of both; bits shifted
//! out are lost, and a shift by at least the width gives 0.

use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `BitShift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitShift {
    /// Towards the most significant bit.
    pub left: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    match node.string("direction")?.as_deref() {
        Some("LEFT") => Ok(Box::new(BitShift { left: true })),
        Some("RIGHT") => Ok(Box::new(BitShift { left: false })),
        other => bail_invalid!("attribute 'direction' must be LEFT or RIGHT, found {other:?}"),
    }
}

/// `BitShift`.
pub const DEF: OpDef = OpDef { name: "BitShift", domain: "", since: (11, 11), parse, unsupported: "" };

impl Op for BitShift {
    fn name(&self) -> &'static str {
        "BitShift"
    }

    fn attrs(&self) -> Attrs {
        let direction = if self.left { "LEFT" } else { "RIGHT" };
        Attrs::from([("direction".to_owned(), Attr::Str(direction.to_owned()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, y) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let dtype = operand::same_types(&[x, y])?;
        if !dtype.is_unsigned_int() {
            bail_invalid!("takes unsigned integers, found {dtype}");
        }
        Ok(vec![Fact::new(dtype, operand::checked(broadcast::shapes([&x.shape, &y.shape])?)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let operands = [operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?];
        let width = operands[0].dtype.bits() as i128;
        let y = broadcast::map(operands[0].dtype, &operands, |v| match (v[0].int(), v[1].int()) {
            (_, by) if by >= width => Number::Int(0),
            (x, by) if self.left => Number::Int(x << by),
            (x, by) => Number::Int(x >> by),
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let op = if self.left { BinaryOp::Shl } else { BinaryOp::Shr };
        cx.pointwise(|operands| {
            let [a, b] = <[Expr; 2]>::try_from(operands).map_err(|_| Error::internal("needs 2 inputs"))?;
            Ok(Expr::binary(op, a, b))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_shifted_out_are_lost() {
        let x = Tensor::from_vec(&[4], vec![16u8, 4, 1, 255]);
        let y = Tensor::from_vec(&[4], vec![1u8, 2, 3, 8]);
        let eval = |left| BitShift { left }.eval(&[Some(&x), Some(&y)]).unwrap().swap_remove(0);
        assert_eq!(eval(true), Tensor::from_vec(&[4], vec![32u8, 16, 8, 0]));
        assert_eq!(eval(false), Tensor::from_vec(&[4], vec![8u8, 1, 0, 0]));
    }
}
