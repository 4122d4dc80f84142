//! `ai.onnx.ml.LinearRegressor` and `LinearClassifier`: a product with weights that are attributes.
//!
//! Spec: version 1 of each. `scores = x coefficients^T + intercepts`, transformed by `post_transform`; a classifier with one row of
//! coefficients and two labels has the scores `-s, s`. Its label is that of the largest score; with a single label it is that one
//! or 0, by the threshold 0, or 0.5 of what was transformed.
//!
//! Unsupported: labels that are strings.

use super::{DOMAIN, PostTransform, best, labels, matrix, read, table, take};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::ops::composed::{Composed, Composer, Value, composed, required};
use crate::ops::matmul;
use crate::types::DType;

const NAMES: &[&str] = &[
    "coefficients",
    "intercepts",
    "targets",
    "post_transform",
    "multi_class",
    "classlabels_ints",
    "classlabels_strings",
];

/// A linear model.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    name: &'static str,
    attrs: Attrs,
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    transform: PostTransform,
    /// Of a regressor.
    targets: i64,
    /// Of a classifier.
    labels: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str, classifier: bool) -> Result<Box<dyn Op>> {
    let outputs = if classifier { 2 } else { 1 };
    node.arity(1..=1, outputs..=outputs)?;
    let attrs = take(node, NAMES);
    let op = read(&attrs, node.inputs, |node| {
        let labels = if classifier { Some(labels(node, "classlabels_ints")?) } else { None };
        Ok(Linear {
            name,
            attrs: attrs.clone(),
            coefficients: node.floats("coefficients")?.unwrap_or_default(),
            intercepts: node.floats("intercepts")?.unwrap_or_default(),
            transform: PostTransform::parse(node)?,
            targets: node.int("targets")?.unwrap_or(1),
            labels,
        })
    })?;
    Ok(Box::new(op))
}

/// `ai.onnx.ml.LinearRegressor`.
pub const REGRESSOR: OpDef = OpDef {
    name: "LinearRegressor",
    domain: DOMAIN,
    since: (1, 1),
    parse: |node| parse(node, "LinearRegressor", false),
    unsupported: "",
};

/// `ai.onnx.ml.LinearClassifier`.
pub const CLASSIFIER: OpDef = OpDef {
    name: "LinearClassifier",
    parse: |node| parse(node, "LinearClassifier", true),
    unsupported: "labels that are strings",
    ..REGRESSOR
};

impl Op for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        self.attrs.clone()
    }

    composed!(product);
}

impl Composed for Linear {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, [_, columns]) = matrix(cx, required(inputs, 0)?)?;
        let columns = columns.max(1) as usize;
        let rows = match &self.labels {
            None => usize::try_from(self.targets).unwrap_or(0),
            Some(_) => self.coefficients.len() / columns,
        };
        if rows == 0 || self.coefficients.len() != rows * columns {
            bail_invalid!("{} coefficients for {rows} targets of {columns} columns", self.coefficients.len());
        }
        if !matches!(self.intercepts.len(), 0 | 1) && self.intercepts.len() != rows {
            bail_invalid!("{} intercepts for {rows} targets", self.intercepts.len());
        }
        let turned = (0..columns * rows).map(|i| f64::from(self.coefficients[i % rows * columns + i / rows]));
        let weights = table(cx, x, [columns, rows], turned.collect())?;
        let mut scores = cx.apply(&matmul::DEF, &[], &[x, weights])?;
        if !self.intercepts.is_empty() {
            let values = self.intercepts.iter().map(|v| f64::from(*v)).collect();
            let intercepts = table(cx, x, [1, self.intercepts.len()], values)?;
            scores = cx.add(scores, intercepts)?;
        }
        scores = cx.cast(scores, DType::F32)?;
        let Some(labels) = &self.labels else { return Ok(vec![self.transform.apply(cx, scores)?]) };
        if rows == 1 && labels.len() == 2 {
            let minus = cx.times(scores, -1.0)?;
            scores = cx.concat(&[minus, scores], 1)?;
        }
        scores = self.transform.apply(cx, scores)?;
        let count = cx.extents(scores, "scores")?[1];
        if count > 1 {
            if labels.len() as i64 != count {
                bail_invalid!("{} labels for {count} scores", labels.len());
            }
            return Ok(vec![best(cx, scores, labels)?, scores]);
        }
        let threshold =
            cx.number_like(scores, if self.transform == PostTransform::None { 0.0 } else { 0.5 })?;
        let below = cx.less(scores, threshold)?;
        let below = cx.reshape(below, &[cx.extents(scores, "scores")?[0]])?;
        let (zero, label) = (cx.number(DType::I64, 0.0)?, *labels.first().unwrap_or(&1));
        let label = cx.number(DType::I64, label as f64)?;
        Ok(vec![cx.choose(below, zero, label)?, scores])
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn a_regressor_of_two_targets() {
        let list = [
            ("coefficients", Attr::Floats(vec![1.0, 2.0, -1.0, 0.5])),
            ("intercepts", Attr::Floats(vec![0.5, 1.0])),
            ("targets", Attr::Int(2)),
        ];
        let op = parse("ai.onnx.ml::LinearRegressor", 1, &list, 1, 1).unwrap();
        let y = run(&*op, &[&Tensor::from_vec(&[2, 2], vec![1f32, 2.0, 0.0, -2.0])], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 2], vec![5.5f32, 1.0, -3.5, 0.0]));
    }

    #[test]
    fn classifiers_and_their_transforms() {
        let x = Tensor::from_vec(&[3, 2], vec![0.5f32, -1.0, 2.0, 0.25, -1.0, 1.0]);
        for transform in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"] {
            for (rows, labels) in [(3, vec![7i64, 8, 9]), (1, vec![0, 1]), (1, vec![5])] {
                let list = [
                    ("coefficients", Attr::Floats((0..2 * rows).map(|i| 0.2 * i as f32 - 0.3).collect())),
                    ("intercepts", Attr::Floats(vec![0.5; rows])),
                    ("classlabels_ints", Attr::Ints(labels)),
                    ("post_transform", Attr::Str(transform.into())),
                ];
                let op = parse("ai.onnx.ml::LinearClassifier", 1, &list, 1, 2).unwrap();
                run(&*op, &[&x], &[]).unwrap();
            }
        }
        let list = [("classlabels_strings", Attr::Strs(vec!["a".into()]))];
        assert!(
            parse("ai.onnx.ml::LinearClassifier", 1, &list, 1, 2).unwrap_err().message.contains("strings")
        );
    }
}
