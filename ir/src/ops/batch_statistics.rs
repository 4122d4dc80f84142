//! `BatchNormalization` by the statistics of its input: training mode (ONNX, since 14).
//!
//! ```text
//! y            = (x - mean) / sqrt(var + epsilon) * scale + b     mean and var of each channel of the batch
//! running_mean = input_mean * momentum + mean * (1 - momentum)
//! running_var  = input_var * momentum + var * (1 - momentum)
//! ```
//!
//! Shapes: x `[N, C, ...]`, the others `[C]`. Numerics: in the element type of x; var is the mean of squares.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, reduce, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, Op};

/// ONNX `BatchNormalization` in training mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BatchStatistics {
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of the running statistics stays.
    pub momentum: f32,
    /// Number of results.
    pub outputs: usize,
}

impl Op for BatchStatistics {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("epsilon".to_owned(), Attr::Float(self.epsilon)),
            ("momentum".to_owned(), Attr::Float(self.momentum)),
            ("training_mode".to_owned(), Attr::Int(1)),
        ])
    }

    composed!();
}

impl Composed for BatchStatistics {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let (dtype, shape) = (cx.fact(x).dtype, cx.fact(x).shape.clone());
        if shape.rank() < 2 || !dtype.is_float() {
            bail_invalid!("the input must be floats with batch and channels, found {dtype} {shape}");
        }
        let behind: Vec<i64> = (1..shape.rank() as i64 - 1).collect();
        let mut wide = Vec::new();
        for i in 1..5 {
            let own = required(inputs, i)?;
            let fact = cx.fact(own).clone();
            let differs = |(a, b)| a != b;
            if fact.shape.rank() != 1
                || fact.shape[0].as_const().zip(shape[1].as_const()).is_some_and(differs)
            {
                bail_invalid!(
                    "input {i} must have one element of each of {} channels, found {}",
                    shape[1],
                    fact.shape
                );
            }
            wide.push(own);
        }
        let along = |cx: &mut Composer<'_>, value: Value| -> Result<Value> {
            let value = cx.cast(value, dtype)?;
            if behind.is_empty() { Ok(value) } else { cx.unsqueeze(value, &behind) }
        };
        let (scale, bias) = (along(cx, wide[0])?, along(cx, wide[1])?);
        let axes: Vec<i64> = (0..shape.rank() as i64).filter(|i| *i != 1).collect();
        let axes = cx.integers(&axes);
        let mean = cx.apply(&reduce::MEAN, &[], &[x, axes])?;
        let centred = cx.apply(&binary::SUB, &[], &[x, mean])?;
        let square = cx.apply(&binary::MUL, &[], &[centred, centred])?;
        let variance = cx.apply(&reduce::MEAN, &[], &[square, axes])?;
        let epsilon = cx.number(dtype, self.epsilon.into())?;
        let shifted = cx.apply(&binary::ADD, &[], &[variance, epsilon])?;
        let deviation = cx.apply(&unary::SQRT, &[], &[shifted])?;
        let normal = cx.apply(&binary::DIV, &[], &[centred, deviation])?;
        let scaled = cx.apply(&binary::MUL, &[], &[normal, scale])?;
        let mut results = vec![cx.apply(&binary::ADD, &[], &[scaled, bias])?];
        for (old, new) in wide[2..].iter().zip([mean, variance]) {
            let kind = cx.fact(*old).dtype;
            let new = cx.reshape(new, &[-1])?;
            let new = cx.cast(new, kind)?;
            let kept = cx.number(kind, self.momentum.into())?;
            let added = cx.number(kind, 1.0 - f64::from(self.momentum))?;
            let kept = cx.apply(&binary::MUL, &[], &[*old, kept])?;
            let added = cx.apply(&binary::MUL, &[], &[new, added])?;
            results.push(cx.apply(&binary::ADD, &[], &[kept, added])?);
        }
        results.truncate(self.outputs);
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn statistics_of_the_batch() {
        let x = Tensor::from_vec(&[2, 2, 2], vec![1f32, 3.0, 4.0, 4.0, 5.0, 7.0, 8.0, 0.0]);
        let v = |a: f32, b: f32| Tensor::from_vec(&[2], vec![a, b]);
        let list =
            [("training_mode", Attr::Int(1)), ("momentum", Attr::Float(0.75)), ("epsilon", Attr::Float(0.0))];
        let op = parse("BatchNormalization", 15, &list, 5, 3).unwrap();
        let y = run(&*op, &[&x, &v(2.0, 1.0), &v(1.0, 0.0), &v(8.0, 4.0), &v(0.0, 4.0)], &[]).unwrap();
        // Channels 1 3 5 7 and 4 4 8 0: means 4 and 4, variances 5 and 8.
        let normal = |i: usize, v: f32| {
            if i == 0 { (v - 4.0) / 5f32.sqrt() * 2.0 + 1.0 } else { (v - 4.0) / 8f32.sqrt() }
        };
        let xs = x.to_f64s().unwrap();
        let want = (0..8).map(|i| normal(i / 2 % 2, xs[i] as f32)).collect();
        assert_close(&y[0], &Tensor::from_vec(&[2, 2, 2], want), 1e-6);
        assert_close(&y[1], &v(7.0, 4.0), 1e-6);
        assert_close(&y[2], &v(1.25, 5.0), 1e-6);
        let op = parse("BatchNormalization", 15, &list[..1], 5, 1).unwrap();
        let v = sample(&[3], 3);
        run(&*op, &[&sample(&[4, 3], 5), &v, &v, &v, &v], &[]).unwrap();
        assert!(refusal(&*op, &[&[4, 3], &[3], &[3], &[3], &[2]]).contains("input 4 must have"));
    }
}
