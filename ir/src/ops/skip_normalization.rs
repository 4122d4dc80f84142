//! `SkipLayerNormalization`, `SkipSimplifiedLayerNormalization` and `SimplifiedLayerNormalization` of ONNX Runtime.
//!
//! Spec: contrib operators of `com.microsoft`, version 1; `SimplifiedLayerNormalization` is in the default domain too.
//!
//! ```text
//! s = input + skip + bias           SimplifiedLayerNormalization: s = input
//! y = LayerNormalization(s) * gamma + beta       of the last axis
//! y = RMSNormalization(s) * gamma                the simplified ones
//! ```
//!
//! Inputs: input, skip, gamma, beta (not the simplified ones), bias; beta and bias may be left out, and skip may broadcast.
//! Results: y, mean, one over the deviation, s; those of `SimplifiedLayerNormalization`: y, one over the root of the mean
//! square.
//!
//! Numerics: as the normalisations; s in the element type.

use super::composed::{Composed, Composer, Value, composed, required};
use super::layer_normalization::{LayerNormalization, attrs, parse_attrs};
use super::rms_normalization::RmsNormalization;
use super::{binary, reduce, unary};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Fact, MICROSOFT, NodeProto, Op, OpDef};
use crate::types::DType;
use std::sync::Arc;

/// `com.microsoft::SkipLayerNormalization`.
pub const SKIP: OpDef = OpDef {
    name: "SkipLayerNormalization",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse(Kind::Skip, node),
    unsupported: "",
};

/// `com.microsoft::SkipSimplifiedLayerNormalization`.
pub const SKIP_SIMPLIFIED: OpDef = OpDef {
    name: "SkipSimplifiedLayerNormalization",
    parse: |node| parse(Kind::SkipSimplified, node),
    ..SKIP
};

/// `com.microsoft::SimplifiedLayerNormalization`.
pub const SIMPLIFIED: OpDef = OpDef {
    name: "SimplifiedLayerNormalization",
    parse: |node| parse(Kind::Simplified(MICROSOFT), node),
    ..SKIP
};

/// `SimplifiedLayerNormalization` of the default domain.
pub const SIMPLIFIED_DEFAULT: OpDef =
    OpDef { domain: "", parse: |node| parse(Kind::Simplified(""), node), ..SIMPLIFIED };

/// Which operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Skip,
    SkipSimplified,
    /// Of a domain.
    Simplified(&'static str),
}

/// A normalisation of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkipNormalization {
    kind: Kind,
    /// First axis of a group, negative from the end.
    axis: i64,
    /// Added to the variance or mean square.
    epsilon: f32,
    /// Type of the statistics.
    stash: DType,
    /// Number of results.
    outputs: usize,
}

fn parse(kind: Kind, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let outputs = node.outputs;
    if let Kind::Simplified(_) = kind {
        node.arity(2..=2, 1..=2)?;
        let (axis, epsilon, stash) = parse_attrs(node)?;
        return Ok(Box::new(SkipNormalization { kind, axis, epsilon, stash, outputs }));
    }
    node.arity(if kind == Kind::Skip { 3..=5 } else { 3..=4 }, 1..=4)?;
    let epsilon = node.float("epsilon")?.unwrap_or(1e-12);
    Ok(Box::new(SkipNormalization { kind, axis: -1, epsilon, stash: DType::F32, outputs }))
}

impl Op for SkipNormalization {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Skip => SKIP.name,
            Kind::SkipSimplified => SKIP_SIMPLIFIED.name,
            Kind::Simplified(_) => SIMPLIFIED.name,
        }
    }

    fn domain(&self) -> &'static str {
        match self.kind {
            Kind::Simplified(domain) => domain,
            _ => MICROSOFT,
        }
    }

    fn attrs(&self) -> Attrs {
        match self.kind {
            Kind::Simplified(_) => attrs(self.axis, self.epsilon, self.stash),
            _ => Attrs::from([("epsilon".to_owned(), Attr::Float(self.epsilon))]),
        }
    }

    composed!();
}

impl Composed for SkipNormalization {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let x = required(inputs, 0)?;
        if let Kind::Simplified(_) = self.kind {
            let y = self.normalised(cx, x, required(inputs, 1)?)?;
            let all = if self.outputs > 1 { vec![y, self.statistics(cx, x)?.1] } else { vec![y] };
            return Ok(all);
        }
        let (gamma, beta, bias) = match self.kind {
            Kind::Skip => (required(inputs, 2)?, optional(3), optional(4)),
            _ => (required(inputs, 2)?, None, optional(3)),
        };
        let mut sum = cx.apply(&binary::ADD, &[], &[x, required(inputs, 1)?])?;
        if let Some(bias) = bias {
            sum = cx.apply(&binary::ADD, &[], &[sum, bias])?;
        }
        let shape = |fact: &Fact| fact.shape.clone();
        if shape(cx.fact(sum)) != shape(cx.fact(x)) {
            bail_invalid!("skip and bias do not broadcast to the input {}", cx.fact(x).shape);
        }
        if self.kind == Kind::SkipSimplified {
            let y = self.normalised(cx, sum, gamma)?;
            if self.outputs == 1 {
                return Ok(vec![y]);
            }
            let (mean, inverse) = self.statistics(cx, sum)?;
            return Ok([y, mean, inverse, sum][..self.outputs].to_vec());
        }
        let outputs = self.outputs.min(3);
        let op = LayerNormalization { axis: self.axis, epsilon: self.epsilon, stash: self.stash, outputs };
        let mut all = cx.node(Arc::new(op), &[Some(sum), Some(gamma), beta])?;
        all.push(sum);
        Ok(if self.outputs == 4 { all } else { all[..self.outputs].to_vec() })
    }
}

impl SkipNormalization {
    /// RMSNormalization.
    fn normalised(&self, cx: &mut Composer<'_>, x: Value, scale: Value) -> Result<Value> {
        let op = RmsNormalization { axis: self.axis, epsilon: self.epsilon, stash: self.stash };
        let all = cx.node(Arc::new(op), &[Some(x), Some(scale)])?;
        all.first().copied().ok_or_else(|| Error::internal("normalisation without a result"))
    }

    /// The mean, and one over the root of the mean square.
    fn statistics(&self, cx: &mut Composer<'_>, x: Value) -> Result<(Value, Value)> {
        let x = cx.cast(x, self.stash)?;
        let rank = cx.fact(x).shape.rank();
        let first = cx.fact(x).shape.axis(self.axis)? as i64;
        let axes = cx.integers(&(first..rank as i64).collect::<Vec<_>>());
        let mean = cx.apply(&reduce::MEAN, &[], &[x, axes])?;
        let square = cx.apply(&binary::MUL, &[], &[x, x])?;
        let square = cx.apply(&reduce::MEAN, &[], &[square, axes])?;
        let epsilon = cx.number(self.stash, self.epsilon.into())?;
        let shifted = cx.apply(&binary::ADD, &[], &[square, epsilon])?;
        let root = cx.apply(&unary::SQRT, &[], &[shifted])?;
        Ok((mean, cx.apply(&unary::RECIPROCAL, &[], &[root])?))
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{assert_close, parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn sums_are_normalised() {
        let (x, skip, v) = (sample(&[2, 3, 4], 5), sample(&[1, 3, 4], 3), |i| sample(&[4], i));
        let epsilon = [("epsilon", Attr::Float(1e-3))];
        let all = [&x, &skip, &v(2), &v(3), &v(7)];
        let (xs, ss, b) =
            (x.to_f64s().unwrap(), skip.to_f64s().unwrap(), [v(2), v(3), v(7)].map(|t| t.to_f64s().unwrap()));
        let sums: Vec<f64> = (0..24).map(|i| xs[i] + ss[i % 12] + b[2][i % 4]).collect();
        let mean = |i: usize, f: &dyn Fn(f64) -> f64| {
            sums[i / 4 * 4..][..4].iter().map(|v| f(*v)).sum::<f64>() / 4.0
        };
        let want =
            |f: &dyn Fn(usize) -> f64| Tensor::from_vec(&[2, 3, 4], (0..24).map(|i| f(i) as f32).collect());
        let op = parse("com.microsoft::SkipLayerNormalization", 1, &epsilon, 5, 4).unwrap();
        let y = run(&*op, &all, &[]).unwrap();
        let centre = |i: usize| mean(i, &|v| v);
        let deviation = |i: usize| (mean(i, &|v| (v - centre(i)).powi(2)) + 1e-3).sqrt();
        let normal = |i: usize| (sums[i] - centre(i)) / deviation(i) * b[0][i % 4] + b[1][i % 4];
        assert_close(&y[0], &want(&normal), 1e-5);
        assert_close(&y[3], &want(&|i| sums[i]), 1e-6);
        assert_eq!(y[1].shape, [2, 3, 1]);
        let op = parse("com.microsoft::SkipSimplifiedLayerNormalization", 1, &epsilon, 4, 4).unwrap();
        let y = run(&*op, &[&x, &skip, &v(2), &v(7)], &[]).unwrap();
        let root = |i: usize| (mean(i, &|v| v * v) + 1e-3).sqrt();
        assert_close(&y[0], &want(&|i| sums[i] / root(i) * b[0][i % 4]), 1e-5);
        assert_close(&y[3], &want(&|i| sums[i]), 1e-6);
        for outputs in 1..=3 {
            let op = parse("com.microsoft::SkipLayerNormalization", 1, &epsilon, 3, outputs).unwrap();
            assert_eq!(run(&*op, &[&x, &skip, &v(2)], &[]).unwrap().len(), outputs);
            let op =
                parse("com.microsoft::SkipSimplifiedLayerNormalization", 1, &epsilon, 3, outputs).unwrap();
            assert_eq!(run(&*op, &[&x, &skip, &v(2)], &[]).unwrap().len(), outputs);
        }
    }

    #[test]
    fn simplified_in_either_domain() {
        let (x, scale) = (sample(&[3, 4], 5), sample(&[4], 3));
        let want = run(&*parse("RMSNormalization", 23, &[], 2, 1).unwrap(), &[&x, &scale], &[]).unwrap();
        for name in ["SimplifiedLayerNormalization", "com.microsoft::SimplifiedLayerNormalization"] {
            let op = parse(name, 1, &[("axis", Attr::Int(-1))], 2, 2).unwrap();
            let y = run(&*op, &[&x, &scale], &[]).unwrap();
            assert_eq!(y[0], want[0]);
            assert_eq!(y[1].shape, [3, 1]);
        }
    }
}
