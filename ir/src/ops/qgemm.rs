//! `com.microsoft::QGemm`: a matrix product of quantised matrices with a bias.
//!
//! Spec: ONNX Runtime's contrib operators, version 1.
//!
//! ```text
//! y = alpha * a_scale * b_scale * f32(sum of (a' - a_zero) * (b' - b_zero) + c)     a', b' transposed as attributes say
//! ```
//!
//! quantised with the scale and zero point of y where there are these, else f32. Inputs: a `[M, K]`, its scale and zero point,
//! b `[K, N]`, its scale and zero point (one, or one for each column), an i32 bias c that broadcasts, y's scale and zero point.
//!
//! Numerics: [`crate::numerics::requantize`], with the factor `alpha * a_scale * b_scale / y_scale` in f32.

use super::composed::{Composed, Composer, Value, composed, required};
use super::qlinear_matmul::{combined_scale, product};
use super::requantize::{requantize, scalar, scaled};
use super::{binary, transpose};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef { name: "QGemm", domain: MICROSOFT, since: (1, 1), parse, unsupported: "" };

/// `com.microsoft::QGemm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QGemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether a is `[K, M]`.
    pub trans_a: bool,
    /// Whether b is `[N, K]`.
    pub trans_b: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(6..=9, 1..=1)?;
    Ok(Box::new(QGemm {
        alpha: node.float("alpha")?.unwrap_or(1.0),
        trans_a: node.flag("transA", false)?,
        trans_b: node.flag("transB", false)?,
    }))
}

impl Op for QGemm {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        if self.alpha != 1.0 {
            attrs.insert("alpha".into(), Attr::Float(self.alpha));
        }
        for (name, flag) in [("transA", self.trans_a), ("transB", self.trans_b)] {
            if flag {
                attrs.insert(name.into(), Attr::Int(1));
            }
        }
        attrs
    }

    composed!(product);
}

impl Composed for QGemm {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut matrix = |i: usize, transposed: bool| -> Result<Value> {
            let value = required(inputs, i)?;
            let shape = cx.fact(value).shape.clone();
            if shape.rank() != 2 {
                bail_invalid!("operands must be matrices, found {shape}");
            }
            if transposed {
                cx.apply(&transpose::DEF, &[("perm", Attr::Ints(vec![1, 0]))], &[value])
            } else {
                Ok(value)
            }
        };
        let (a, b) = (matrix(0, self.trans_a)?, matrix(3, self.trans_b)?);
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let mut sum = product(cx, [a, b], [optional(2), optional(5)])?;
        if let Some(bias) = optional(6) {
            let fact = cx.fact(bias);
            if fact.dtype != DType::I32 {
                bail_invalid!("the bias must be i32, found {}", fact.ty());
            }
            let shape = cx.fact(sum).shape.clone();
            sum = cx.apply(&binary::ADD, &[], &[sum, bias])?;
            if cx.fact(sum).shape != shape {
                bail_invalid!("a bias of shape {} does not fit {shape}", cx.fact(bias).shape);
            }
        }
        let mut factor = combined_scale(cx, [a, b], [required(inputs, 1)?, required(inputs, 4)?])?;
        if self.alpha != 1.0 {
            let alpha = cx.constant(Tensor::scalar(self.alpha));
            factor = cx.apply(&binary::MUL, &[], &[alpha, factor])?;
        }
        let Some(y_scale) = optional(7) else { return Ok(vec![scaled(cx, sum, factor)?]) };
        let y_scale = scalar(cx, y_scale, "the scale of the result")?;
        let factor = cx.apply(&binary::DIV, &[], &[factor, y_scale])?;
        let zero = match optional(8) {
            Some(zero) => scalar(cx, zero, "the zero point of the result")?,
            None => {
                let dtype = cx.fact(a).dtype;
                cx.constant(Tensor::new(dtype, vec![], vec![0].into())?)
            }
        };
        Ok(vec![requantize(cx, sum, factor, zero)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{bytes, parse, run};

    #[test]
    fn quantised_and_real_results() {
        let (sa, sy) = (Tensor::scalar(0.02f32), Tensor::scalar(1.3f32));
        let sb = Tensor::from_vec(&[5], vec![0.01f32, 0.02, 0.03, 0.04, 0.05]);
        let bias = Tensor::from_vec(&[5], vec![100i32, -2000, 0, 77, 3000]);
        for (i, (a, b)) in [([3, 20], [20, 5]), ([20, 3], [20, 5]), ([3, 20], [5, 20]), ([20, 3], [5, 20])]
            .iter()
            .enumerate()
        {
            let list = [
                ("transA", Attr::Int((i % 2) as i64)),
                ("transB", Attr::Int((i / 2) as i64)),
                ("alpha", Attr::Float(if i == 0 { 1.0 } else { 0.7 })),
            ];
            let (a, b) = (bytes(DType::U8, a, 1), bytes(DType::I8, b, 2));
            let (za, zb, zy) =
                (bytes(DType::U8, &[], 3), bytes(DType::I8, &[5], 4), bytes(DType::U8, &[], 5));
            let all = [&a, &sa, &za, &b, &sb, &zb, &bias, &sy, &zy];
            for inputs in [&all[..], &all[..8], &all[..7], &all[..6]] {
                let op = parse("com.microsoft::QGemm", 1, &list, inputs.len(), 1).unwrap();
                let known: Vec<usize> = (1..inputs.len()).collect();
                let y = run(&*op, inputs, &known).unwrap();
                assert_eq!(y[0].dtype, if inputs.len() > 7 { DType::U8 } else { DType::F32 });
                run(&*op, inputs, &[]).unwrap();
            }
        }
    }
}
