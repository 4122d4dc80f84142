//! `com.microsoft::MatMulIntegerToFloat` and `DynamicQuantizeMatMul`: products of quantised matrices as real numbers.
//!
//! Spec: ONNX Runtime's contrib operators, version 1.
//!
//! ```text
//! y = f32(sum of (a - a_zero) * (b - b_zero)) * (a_scale * b_scale) + bias
//! ```
//!
//! `DynamicQuantizeMatMul` has an a of f32, which it quantises by its range as `DynamicQuantizeLinear` does. Inputs: a, b,
//! a_scale, b_scale, a_zero, b_zero, bias; or a, b, b_scale, b_zero, bias. Zero points and bias may be left out; scales and
//! zero points of b are one, or one for each column. The bias is f32 `[N]`.
//!
//! Numerics: an exact sum, f32 for the rest.

use super::binary;
use super::composed::{Composed, Composer, Value, composed, required};
use super::dynamic_quantize_linear::dynamic_quantize;
use super::qlinear_matmul::{combined_scale, product};
use super::requantize::scaled;
use crate::error::Result;
use crate::op::{Attrs, MICROSOFT, NodeProto, Op, OpDef};

/// `com.microsoft::MatMulIntegerToFloat`.
pub const DEF: OpDef = OpDef {
    name: "MatMulIntegerToFloat",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse(false, node),
    unsupported: "",
};

/// `com.microsoft::DynamicQuantizeMatMul`.
pub const DYNAMIC: OpDef = OpDef { name: "DynamicQuantizeMatMul", parse: |node| parse(true, node), ..DEF };

/// A product of quantised matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulIntegerToFloat {
    /// Whether the left operand is quantised here.
    pub dynamic: bool,
}

fn parse(dynamic: bool, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(if dynamic { 3..=5 } else { 4..=7 }, 1..=1)?;
    Ok(Box::new(MatMulIntegerToFloat { dynamic }))
}

impl Op for MatMulIntegerToFloat {
    fn name(&self) -> &'static str {
        if self.dynamic { DYNAMIC.name } else { DEF.name }
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!(product);
}

impl Composed for MatMulIntegerToFloat {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (a, b) = (required(inputs, 0)?, required(inputs, 1)?);
        let (a, a_scale, a_zero, b_scale, b_zero, bias) = if self.dynamic {
            let [a, scale, zero] = dynamic_quantize(cx, a)?;
            (a, scale, Some(zero), required(inputs, 2)?, optional(3), optional(4))
        } else {
            (a, required(inputs, 2)?, optional(4), required(inputs, 3)?, optional(5), optional(6))
        };
        let sum = product(cx, [a, b], [a_zero, b_zero])?;
        let factor = combined_scale(cx, [a, b], [a_scale, b_scale])?;
        let y = scaled(cx, sum, factor)?;
        Ok(vec![match bias {
            Some(bias) => cx.apply(&binary::ADD, &[], &[y, bias])?,
            None => y,
        }])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{bytes, parse, run, sample};
    use crate::tensor::Tensor;
    use crate::types::DType;

    #[test]
    fn with_and_without_what_may_be_left_out() {
        let (a, b) = (bytes(DType::U8, &[2, 3, 20], 1), bytes(DType::I8, &[20, 5], 2));
        let (za, zb) = (bytes(DType::U8, &[], 3), bytes(DType::I8, &[5], 4));
        let sb = Tensor::from_vec(&[5], vec![0.01f32, 0.02, 0.03, 0.04, 0.05]);
        let all = [&a, &b, &Tensor::scalar(0.1f32), &sb, &za, &zb, &sample(&[5], 3)];
        for n in 4..=7 {
            let op = parse("com.microsoft::MatMulIntegerToFloat", 1, &[], n, 1).unwrap();
            run(&*op, &all[..n], &[]).unwrap();
            run(&*op, &all[..n], &(1..n).collect::<Vec<_>>()).unwrap();
        }
        let all = [&sample(&[2, 3, 20], 5), &b, &sb, &zb, &sample(&[5], 3)];
        for n in 3..=5 {
            let op = parse("com.microsoft::DynamicQuantizeMatMul", 1, &[], n, 1).unwrap();
            run(&*op, &all[..n], &[]).unwrap();
            run(&*op, &all[..n], &(1..n).collect::<Vec<_>>()).unwrap();
        }
    }
}
