//! `IsInf`: which elements are infinite.
//!
//! Spec: ONNX IsInf, versions 10 to 24. `detect_negative` and `detect_positive` (default 1) select the
//! infinities. The result is bool.

use super::elementwise::{lt, num, un};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr, Lowering, Scalar, UnaryOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `IsInf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsInf {
    /// Whether negative infinity counts.
    pub negative: bool,
    /// Whether positive infinity counts.
    pub positive: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let (negative, positive) = (node.flag("detect_negative", true)?, node.flag("detect_positive", true)?);
    Ok(Box::new(IsInf { negative, positive }))
}

/// `IsInf`.
pub const DEF: OpDef = OpDef { name: "IsInf", domain: "", since: (10, 20), parse, unsupported: "" };

impl Op for IsInf {
    fn name(&self) -> &'static str {
        "IsInf"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("detect_negative".to_owned(), Attr::Int(self.negative.into())),
            ("detect_positive".to_owned(), Attr::Int(self.positive.into())),
        ])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !x.dtype.is_float() {
            bail_invalid!("takes floats, found {}", x.dtype);
        }
        Ok(vec![Fact::new(DType::Bool, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let counts = |x: f64| if x < 0.0 { self.negative } else { self.positive };
        Ok(vec![broadcast::map_floats(DType::Bool, &[x], |v| (v[0].is_infinite() && counts(v[0])).into())?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        cx.pointwise(|operands| {
            let x = operands.into_iter().next().ok_or_else(|| Error::internal("needs 1 input"))?;
            let zero = num(dtype, 0.0);
            let sided = |x: Expr, side: Expr| Expr::binary(BinaryOp::And, un(UnaryOp::IsInf, x), side);
            Ok(match (self.negative, self.positive) {
                (true, true) => un(UnaryOp::IsInf, x),
                (true, false) => sided(x.clone(), lt(x, zero)),
                (false, true) => sided(x.clone(), lt(zero, x)),
                (false, false) => Expr::Const(Scalar::int(DType::Bool, 0)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_counts_where_asked() {
        let x = Tensor::from_vec(&[4], vec![1.2f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let eval =
            |negative, positive| IsInf { negative, positive }.eval(&[Some(&x)]).unwrap().swap_remove(0);
        assert_eq!(eval(true, true), Tensor::from_bools(&[4], [false, false, true, true]));
        assert_eq!(eval(true, false), Tensor::from_bools(&[4], [false, false, false, true]));
        assert_eq!(eval(false, true), Tensor::from_bools(&[4], [false, false, true, false]));
    }
}
