//! `PRelu`: a leaky rectifier with a slope per element.
//!
//! Spec: ONNX PRelu, versions 1 to 24. `y = x < 0 ? slope * x : x`; the slope broadcasts to `x`, not the other
//! way. Floats and, from 9 on, integers of 32 and 64 bits, which wrap.

use super::aligned::aligned;
use super::elementwise::{lt, mul, num};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `PRelu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PRelu;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    aligned(node, PRelu)
}

/// `PRelu`.
pub const DEF: OpDef = OpDef { name: "PRelu", domain: "", since: (1, 16), parse, unsupported: "" };

impl Op for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, slope) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let dtype = operand::same_types(&[x, slope])?;
        if !dtype.is_float() && !dtype.is_int() {
            bail_invalid!("takes numbers, found {dtype}");
        }
        let shape = broadcast::shapes([&x.shape, &slope.shape])?;
        let grows = shape.iter().zip(x.shape.iter()).any(|(a, b)| b.is(1) && !a.is(1));
        if shape.rank() != x.shape.rank() || grows {
            bail_invalid!("a slope of shape {} does not broadcast to {}", slope.shape, x.shape);
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let operands = [operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?];
        let y = broadcast::map(operands[0].dtype, &operands, |v| match (v[0], v[1]) {
            (Number::Int(x), Number::Int(slope)) if x < 0 => Number::Int(x.wrapping_mul(slope)),
            (Number::Float(x), Number::Float(slope)) if x < 0.0 => Number::Float(x * slope),
            (x, _) => x,
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        cx.pointwise(|operands| {
            let [x, slope] =
                <[Expr; 2]>::try_from(operands).map_err(|_| Error::internal("needs 2 inputs"))?;
            Ok(Expr::select(lt(x.clone(), num(dtype, 0.0)), mul(x.clone(), slope), x))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DType, Shape};

    #[test]
    fn slopes_broadcast_to_the_input_only() {
        let x = Tensor::from_vec(&[2, 2], vec![-1f32, 2.0, -3.0, 4.0]);
        let slope = Tensor::from_vec(&[2, 1], vec![0.5f32, 2.0]);
        let y = PRelu.eval(&[Some(&x), Some(&slope)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 2], vec![-0.5f32, 2.0, -6.0, 4.0]));
        let (small, big) = (Fact::new(DType::F32, Shape::of(&[1])), Fact::new(DType::F32, Shape::of(&[3])));
        assert!(PRelu.infer(&[Some(&small), Some(&big)]).is_err());
        assert!(PRelu.infer(&[Some(&big), Some(&small)]).is_ok());
    }
}
