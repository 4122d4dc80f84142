//! `Pow`: powers.
//!
//! Spec: ONNX Pow, versions 1 to 24. `z = x ^ y` over the broadcast of both, in the type of `x`; the exponent may
//! have another type from 12 on. Floats follow IEEE 754 `pow`. Integer powers wrap; negative integer exponents
//! round the exact result towards zero, and 0 to a negative power, which is undefined, gives 0. An integer to a
//! float power is computed in f64 and converted as `Cast` does.
//!
//! Constant exponents 0.5, 1, 2, 3 and -1 become a square root, products and a quotient.

use super::aligned::aligned;
use super::elementwise::{div, mul, num, un};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr, Lowering, UnaryOp};
use crate::numerics::{Number, int_pow};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `Pow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pow;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    aligned(node, Pow)
}

/// `Pow`.
pub const DEF: OpDef = OpDef { name: "Pow", domain: "", since: (1, 15), parse, unsupported: "" };

impl Op for Pow {
    fn name(&self) -> &'static str {
        "Pow"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, y) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        for fact in [x, y] {
            if !fact.dtype.is_float() && !fact.dtype.is_int() {
                bail_invalid!("takes numbers, found {}", fact.dtype);
            }
        }
        Ok(vec![Fact::new(x.dtype, operand::checked(broadcast::shapes([&x.shape, &y.shape])?)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, y) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let z = broadcast::map(x.dtype, &[x, y], |v| match (v[0], v[1]) {
            (Number::Int(a), Number::Int(b)) => Number::Int(int_pow(a, b)),
            (a, b) => Number::Float(a.float().powf(b.float())),
        })?;
        Ok(vec![z])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (base, exponent) = (cx.fact(0)?.dtype, cx.fact(1)?.dtype);
        cx.pointwise(|operands| {
            let [x, y] = <[Expr; 2]>::try_from(operands).map_err(|_| Error::internal("needs 2 inputs"))?;
            let constant = match &y {
                Expr::Const(c) => Some(c.to_f64()),
                _ => None,
            };
            Ok(match constant {
                Some(1.0) => x,
                Some(2.0) => mul(x.clone(), x),
                Some(3.0) => mul(mul(x.clone(), x.clone()), x),
                Some(-1.0) if base.is_float() => div(num(base, 1.0), x),
                // pow(-0, 0.5) is 0 and pow(-inf, 0.5) is inf where the root gives -0 and NaN.
                Some(0.5) if base.is_float() => un(UnaryOp::Sqrt, x),
                _ if base.is_int() && exponent.is_float() => {
                    let (x, y) = (Expr::cast(DType::F64, x), Expr::cast(DType::F64, y));
                    Expr::cast(base, Expr::binary(BinaryOp::Pow, x, y))
                }
                _ => {
                    let y = if base == exponent { y } else { Expr::cast(base, y) };
                    Expr::binary(BinaryOp::Pow, x, y)
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_integers_and_mixtures() {
        let eval = |x: &Tensor, y: &Tensor| Pow.eval(&[Some(x), Some(y)]).unwrap().swap_remove(0);
        let x = Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]);
        let y = Tensor::from_vec(&[3], vec![4i64, 5, 6]);
        assert_eq!(eval(&x, &y), Tensor::from_vec(&[3], vec![1f32, 32.0, 729.0]));
        let i = Tensor::from_vec(&[3], vec![2i32, -1, 0]);
        assert_eq!(eval(&i, &Tensor::scalar(-1i32)), Tensor::from_vec(&[3], vec![0i32, -1, 0]));
        assert_eq!(eval(&i, &Tensor::scalar(0.5f32)), Tensor::from_vec(&[3], vec![1i32, 0, 0]));
        assert_eq!(eval(&Tensor::scalar(3u8), &Tensor::scalar(i64::MAX)), Tensor::scalar(171u8));
    }
}
