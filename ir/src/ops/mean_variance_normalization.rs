//! `MeanVarianceNormalization`: zero mean and unit variance over some axes (ONNX, since 9 and 13).
//!
//! ```text
//! y = (x - mean) / (sqrt(mean of (x - mean)^2) + 1e-9)        over `axes`, 0, 2 and 3 if they are left out
//! ```
//!
//! Numerics: in the element type.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, reduce, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "MeanVarianceNormalization", domain: "", since: (9, 13), parse, unsupported: "" };

/// Added to the deviation.
const EPSILON: f64 = 1e-9;

/// ONNX `MeanVarianceNormalization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanVarianceNormalization {
    /// The axes, negative from the end.
    pub axes: Vec<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(MeanVarianceNormalization { axes: node.ints("axes")?.unwrap_or(vec![0, 2, 3]) }))
}

impl Op for MeanVarianceNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axes".to_owned(), Attr::Ints(self.axes.clone()))])
    }

    composed!();
}

impl Composed for MeanVarianceNormalization {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let dtype = cx.fact(x).dtype;
        if !dtype.is_float() {
            bail_invalid!("takes floats, found {dtype}");
        }
        let axes = cx.integers(&self.axes);
        let mean = cx.apply(&reduce::MEAN, &[], &[x, axes])?;
        let centred = cx.apply(&binary::SUB, &[], &[x, mean])?;
        let square = cx.apply(&binary::MUL, &[], &[centred, centred])?;
        let variance = cx.apply(&reduce::MEAN, &[], &[square, axes])?;
        let deviation = cx.apply(&unary::SQRT, &[], &[variance])?;
        let epsilon = cx.number(dtype, EPSILON)?;
        let deviation = cx.apply(&binary::ADD, &[], &[deviation, epsilon])?;
        Ok(vec![cx.apply(&binary::DIV, &[], &[centred, deviation])?])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{assert_close, ints, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn channels_and_rows() {
        let x = sample(&[2, 3, 4, 2], 5);
        let y = run(&*parse("MeanVarianceNormalization", 13, &[], 1, 1).unwrap(), &[&x], &[]).unwrap();
        let y = y[0].to_f64s().unwrap();
        for c in 0..3 {
            let own: Vec<f64> = (0..48).filter(|i| i / 8 % 3 == c).map(|i| y[i]).collect();
            let mean: f64 = own.iter().sum::<f64>() / 16.0;
            let square: f64 = own.iter().map(|v| v * v).sum::<f64>() / 16.0;
            assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
        }
        let op = parse("MeanVarianceNormalization", 9, &[("axes", ints(&[-1]))], 1, 1).unwrap();
        let y = run(&*op, &[&Tensor::from_vec(&[1, 2], vec![1f32, 3.0])], &[]).unwrap();
        assert_close(&y[0], &Tensor::from_vec(&[1, 2], vec![-1f32, 1.0]), 1e-6);
        assert!(refusal(&*op, &[&[]]).contains("axis"));
    }
}
