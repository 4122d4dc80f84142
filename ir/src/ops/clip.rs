//! `Clip`: limits elements to an interval.
//!
//! Spec: ONNX Clip, versions 1, 6, 11, 12 and 13. `y = min(max(x, low), high)`; where `low > high` all elements
//! become `high`. The limits are attributes up to version 6 and optional scalar inputs from 11; a limit left out
//! does not limit. The output has the type of `x`. NaN stays NaN. Integers too.

use super::elementwise::{max, min, nan_max, nan_min, num};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{BinaryOp, Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `Clip`. Limits that are inputs are `None` here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// The lower limit, as an attribute.
    pub min: Option<f32>,
    /// The upper limit, as an attribute.
    pub max: Option<f32>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=3, 1..=1)?;
    let op = Clip { min: node.float("min")?, max: node.float("max")? };
    if node.inputs.len() > 1 && op != Clip::default() {
        bail_invalid!("has its limits both as attributes and as inputs");
    }
    Ok(Box::new(op))
}

/// `Clip`.
pub const DEF: OpDef = OpDef { name: "Clip", domain: "", since: (1, 13), parse, unsupported: "" };

impl Op for Clip {
    fn name(&self) -> &'static str {
        "Clip"
    }

    fn attrs(&self) -> Attrs {
        let attr = |name: &str, v: Option<f32>| v.map(|v| (name.to_owned(), Attr::Float(v)));
        [attr("min", self.min), attr("max", self.max)].into_iter().flatten().collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !x.dtype.is_float() && !x.dtype.is_int() {
            bail_invalid!("takes numbers, found {}", x.dtype);
        }
        for (limit, name) in inputs[1..].iter().zip(["min", "max"]) {
            let Some(limit) = limit else { continue };
            // Exporters write [1] for [] often enough that every runtime takes it.
            if limit.dtype != x.dtype || !limit.shape.elements().is(1) {
                bail_invalid!("{name} must be a scalar of type {}, found {limit:?}", x.dtype);
            }
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let limit = |i: usize, attr: Option<f32>| -> Result<Option<Tensor>> {
            match inputs.get(i).copied().flatten() {
                Some(t) => Ok(Some(t.reshaped(&[])?)),
                None => Ok(attr.map(Tensor::scalar)),
            }
        };
        let limits = [limit(1, self.min)?, limit(2, self.max)?];
        let bounds = limits.map(|t| t.map(|t| super::elements::Elements::new(&t).map(|e| e.number(0))));
        let [low, high] = bounds.map(Option::transpose);
        let (low, high) = (low?, high?);
        let y = if x.dtype.is_float() {
            let (low, high) = (low.map(Number::float), high.map(Number::float));
            broadcast::map_floats(x.dtype, &[x], |v| {
                let raised = low.map_or(v[0], |l| nan_max(v[0], l));
                high.map_or(raised, |h| nan_min(raised, h))
            })
        } else {
            let (low, high) = (low.map(Number::int), high.map(Number::int));
            broadcast::map(x.dtype, &[x], |v| {
                let raised = low.map_or(v[0].int(), |l| v[0].int().max(l));
                Number::Int(high.map_or(raised, |h| raised.min(h)))
            })
        };
        Ok(vec![y?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        let present = [cx.has_input(1), cx.has_input(2)];
        cx.pointwise(|operands| {
            let mut operands = operands.into_iter();
            let mut y = operands.next().unwrap_or(Expr::Acc);
            let attrs = [self.min, self.max].map(|v| v.map(|v| num(dtype, v.into())));
            for ((input, attr), op) in present.into_iter().zip(attrs).zip([BinaryOp::Max, BinaryOp::Min]) {
                if let Some(limit) = if input { operands.next() } else { attr } {
                    y = if op == BinaryOp::Max { max(y, limit) } else { min(y, limit) };
                }
            }
            Ok(y)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DType;

    #[test]
    fn limits_from_inputs_or_attributes() {
        let x = Tensor::from_vec(&[3], vec![-2f32, 0.0, 2.0]);
        let (low, high) = (Tensor::scalar(-1f32), Tensor::scalar(1f32));
        let y = Clip::default().eval(&[Some(&x), Some(&low), Some(&high)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3], vec![-1f32, 0.0, 1.0]));
        let y = Clip::default().eval(&[Some(&x), None, Some(&low)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3], vec![-2f32, -1.0, -1.0]));
        let y = Clip { min: Some(0.0), max: Some(6.0) }.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3], vec![0f32, 0.0, 2.0]));
        // min above max: everything is max.
        let y = Clip::default().eval(&[Some(&x), Some(&high), Some(&low)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3], vec![-1f32; 3]));
    }

    #[test]
    fn limits_must_be_scalars_of_the_type() {
        let x = Fact::new(DType::F32, crate::types::Shape::of(&[3]));
        let wrong = Fact::new(DType::F32, crate::types::Shape::of(&[3]));
        assert!(Clip::default().infer(&[Some(&x), Some(&wrong)]).is_err());
        let wrong = Fact::new(DType::I32, crate::types::Shape::default());
        assert!(Clip::default().infer(&[Some(&x), Some(&wrong)]).is_err());
    }
}
