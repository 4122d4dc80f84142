//! `DynamicQuantizeLinear`: bytes for real numbers by their range (ONNX `DynamicQuantizeLinear`, since 11).
//!
//! ```text
//! low, high    = min(0, min(x)), max(0, max(x))
//! y_scale      = (high - low) / 255           1 where that is 0
//! y_zero_point = saturate(round(-low / y_scale))
//! y            = saturate(round(x / y_scale) + y_zero_point)
//! ```
//!
//! Shapes: x and y any, scale (f32) and zero point (u8) scalars.
//!
//! Numerics: f32, halves to even.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, quantize_linear, reduce, unary, variadic, where_};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "DynamicQuantizeLinear", domain: "", since: (11, 11), parse, unsupported: "" };

/// ONNX `DynamicQuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicQuantizeLinear;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 3..=3)?;
    Ok(Box::new(DynamicQuantizeLinear))
}

impl Op for DynamicQuantizeLinear {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!();
}

impl Composed for DynamicQuantizeLinear {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        dynamic_quantize(cx, required(inputs, 0)?).map(Vec::from)
    }
}

/// The bytes, their scale and their zero point.
pub(super) fn dynamic_quantize(cx: &mut Composer<'_>, x: Value) -> Result<[Value; 3]> {
    if cx.fact(x).dtype != DType::F32 {
        bail_invalid!("the input must be f32, found {}", cx.fact(x).dtype);
    }
    let zero = cx.constant(Tensor::scalar(0f32));
    let all = [("keepdims", Attr::Int(0))];
    let most = cx.apply(&reduce::MAX, &all, &[x])?;
    let least = cx.apply(&reduce::MIN, &all, &[x])?;
    let (high, low) =
        (cx.apply(&variadic::MAX, &[], &[most, zero])?, cx.apply(&variadic::MIN, &[], &[least, zero])?);
    let range = cx.apply(&binary::SUB, &[], &[high, low])?;
    let (steps, one) = (cx.constant(Tensor::scalar(255f32)), cx.constant(Tensor::scalar(1f32)));
    let quotient = cx.apply(&binary::DIV, &[], &[range, steps])?;
    let nothing = cx.apply(&binary::EQUAL, &[], &[range, zero])?;
    let scale = cx.apply(&where_::DEF, &[], &[nothing, one, quotient])?;
    let below = cx.apply(&unary::NEG, &[], &[low])?;
    let zero_point = cx.apply(&quantize_linear::DEF, &[], &[below, scale])?;
    let y = cx.apply(&quantize_linear::DEF, &[], &[x, scale, zero_point])?;
    Ok([y, scale, zero_point])
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn same_as_onnx() {
        // The node cases, and what has no range.
        let op = parse("DynamicQuantizeLinear", 11, &[], 1, 3).unwrap();
        let cases: [(&[f32], &[u8], f32, u8); 4] = [
            (&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5], &[153, 255, 0, 26, 221, 179], 0.019_607_844, 153),
            (&[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0], &[191, 121, 172, 96, 42, 0], 0.015_686_275, 255),
            (&[1.0, 2.1, 1.3, 2.5, 3.34, 4.0], &[64, 134, 83, 159, 213, 255], 0.015_686_275, 0),
            (&[0.0, 0.0], &[0, 0], 1.0, 0),
        ];
        for (x, y, scale, zero) in cases {
            let results = run(&*op, &[&Tensor::from_vec(&[x.len()], x.to_vec())], &[]).unwrap();
            let expected =
                [Tensor::from_vec(&[y.len()], y.to_vec()), Tensor::scalar(scale), Tensor::scalar(zero)];
            assert_eq!(results, expected);
        }
    }
}
