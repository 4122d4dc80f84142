//! `NegativeLogLikelihoodLoss` and `SoftmaxCrossEntropyLoss`: how far predictions are from labels (ONNX, since 12, 13 and 22).
//!
//! ```text
//! p      = x                          NegativeLogLikelihoodLoss: logarithms of probabilities
//! p      = LogSoftmax(x) over axis 1  SoftmaxCrossEntropyLoss; the optional second result
//! l[n,q] = -p[n, t[n,q], q] * w[t[n,q]]          0 where t is ignore_index
//! y      = l, the sum of l, or the sum of l over the sum of the weights that it has
//! ```
//!
//! for `reduction` none, sum and mean. Shapes: x `[N, C, ...]`, labels t `[N, ...]`, weights w `[C]`, or left out for 1.
//!
//! Numerics: in the element type. A mean over nothing is NaN. A label outside `[0, C)` that is not ignored is an index
//! outside its axis.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, gather, gather_elements, reduce, softmax, squeeze, unary, where_};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `NegativeLogLikelihoodLoss`.
pub const NEGATIVE_LOG_LIKELIHOOD: OpDef = OpDef {
    name: "NegativeLogLikelihoodLoss",
    domain: "",
    since: (12, 22),
    parse: |node| parse(false, node),
    unsupported: "",
};

/// `SoftmaxCrossEntropyLoss`.
pub const SOFTMAX_CROSS_ENTROPY: OpDef = OpDef {
    name: "SoftmaxCrossEntropyLoss",
    domain: "",
    since: (12, 13),
    parse: |node| parse(true, node),
    unsupported: "",
};

/// What becomes of the losses of all labels.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    None,
    Sum,
    Mean,
}

/// A loss of predictions against labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whether predictions are scores, of which LogSoftmax makes logarithms of probabilities.
    pub softmax: bool,
    /// What becomes of the losses.
    pub reduction: Reduction,
    /// The label without a loss.
    pub ignore: Option<i64>,
    /// Number of results.
    pub outputs: usize,
}

fn parse(softmax: bool, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=if softmax { 2 } else { 1 })?;
    let reduction = match node.string("reduction")?.as_deref() {
        None | Some("mean") => Reduction::Mean,
        Some("sum") => Reduction::Sum,
        Some("none") => Reduction::None,
        Some(other) => bail_invalid!("attribute 'reduction' must be none, sum or mean, found '{other}'"),
    };
    let ignore = node.int("ignore_index")?;
    Ok(Box::new(Loss { softmax, reduction, ignore, outputs: node.outputs }))
}

impl Op for Loss {
    fn name(&self) -> &'static str {
        if self.softmax { SOFTMAX_CROSS_ENTROPY.name } else { NEGATIVE_LOG_LIKELIHOOD.name }
    }

    fn attrs(&self) -> Attrs {
        let reduction = match self.reduction {
            Reduction::None => "none",
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
        };
        let reduction = ("reduction".to_owned(), Attr::Str(reduction.into()));
        let ignore = self.ignore.map(|label| ("ignore_index".to_owned(), Attr::Int(label)));
        std::iter::once(reduction).chain(ignore).collect()
    }

    composed!();
}

impl Composed for Loss {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, labels) = (required(inputs, 0)?, required(inputs, 1)?);
        let dtype = self.check(cx, x, labels)?;
        let logs = match self.softmax {
            true => cx.apply(&softmax::LOG_SOFTMAX, &[("axis", Attr::Int(1))], &[x])?,
            false => x,
        };
        let zero = cx.number(dtype, 0.0)?;
        let ignored = self.ignored(cx, labels)?;
        let kind = cx.fact(labels).dtype;
        let class = match ignored {
            Some(ignored) => {
                let first = cx.number(kind, 0.0)?;
                cx.apply(&where_::DEF, &[], &[ignored, first, labels])?
            }
            None => labels,
        };
        let at = cx.unsqueeze(class, &[1])?;
        let picked = cx.apply(&gather_elements::DEF, &[("axis", Attr::Int(1))], &[logs, at])?;
        let axis = cx.integers(&[1]);
        let picked = cx.apply(&squeeze::SQUEEZE, &[], &[picked, axis])?;
        let mut loss = cx.apply(&unary::NEG, &[], &[picked])?;
        let mut weight = match inputs.get(2).copied().flatten() {
            Some(weights) => {
                if cx.fact(weights).dtype != dtype || cx.fact(weights).shape.rank() != 1 {
                    bail_invalid!("weights must be one {dtype} of each class, found {:?}", cx.fact(weights));
                }
                Some(cx.apply(&gather::DEF, &[], &[weights, class])?)
            }
            None => None,
        };
        if let Some(weight) = weight {
            loss = cx.apply(&binary::MUL, &[], &[loss, weight])?;
        }
        if let Some(ignored) = ignored {
            loss = cx.apply(&where_::DEF, &[], &[ignored, zero, loss])?;
            let counted = match weight {
                Some(weight) => weight,
                None => cx.number(dtype, 1.0)?,
            };
            weight = Some(cx.apply(&where_::DEF, &[], &[ignored, zero, counted])?);
        }
        let y = match (self.reduction, weight) {
            (Reduction::None, _) => loss,
            (Reduction::Sum, _) => total(cx, &reduce::SUM, loss)?,
            (Reduction::Mean, None) => total(cx, &reduce::MEAN, loss)?,
            (Reduction::Mean, Some(weight)) => {
                let (sum, weights) = (total(cx, &reduce::SUM, loss)?, total(cx, &reduce::SUM, weight)?);
                cx.apply(&binary::DIV, &[], &[sum, weights])?
            }
        };
        Ok([y, logs][..self.outputs].to_vec())
    }
}

impl Loss {
    /// The element type of predictions.
    fn check(&self, cx: &Composer<'_>, x: Value, labels: Value) -> Result<DType> {
        let (x, labels) = (cx.fact(x), cx.fact(labels));
        if !x.dtype.is_float() {
            bail_invalid!("predictions must be floats, found {}", x.dtype);
        }
        if !matches!(labels.dtype, DType::I32 | DType::I64) {
            bail_invalid!("labels must be i32 or i64, found {}", labels.dtype);
        }
        let expected: Vec<_> = x.shape.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, d)| d).collect();
        let differ = |(a, b): (&&crate::dim::Dim, &crate::dim::Dim)| {
            a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b)
        };
        let same_rank = x.shape.rank() >= 2 && expected.len() == labels.shape.rank();
        if !same_rank || expected.iter().zip(labels.shape.iter()).any(differ) {
            bail_invalid!("labels of shape {} do not fit predictions of {}", labels.shape, x.shape);
        }
        Ok(x.dtype)
    }

    /// Which labels have no loss.
    fn ignored(&self, cx: &mut Composer<'_>, labels: Value) -> Result<Option<Value>> {
        let Some(ignore) = self.ignore else { return Ok(None) };
        let label = match cx.fact(labels).dtype {
            DType::I32 => match i32::try_from(ignore) {
                Ok(label) => Tensor::scalar(label),
                Err(_) => return Ok(None),
            },
            _ => Tensor::scalar(ignore),
        };
        let label = cx.constant(label);
        cx.apply(&binary::EQUAL, &[], &[labels, label]).map(Some)
    }
}

/// All elements in one number.
fn total(cx: &mut Composer<'_>, def: &OpDef, x: Value) -> Result<Value> {
    cx.apply(def, &[("keepdims", Attr::Int(0))], &[x])
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    fn reduced(how: &str) -> (&'static str, Attr) {
        ("reduction", Attr::Str(how.into()))
    }

    #[test]
    fn the_examples_of_the_spec() {
        let x = [1.0f32, 2.0, 2.0, 2.0, 3.0, 2.0, 0.0, 1.0, 2.0, 2.0, 1.0, 2.0];
        let x = Tensor::from_vec(&[2, 3, 2], x.to_vec());
        let labels = Tensor::from_vec(&[2, 2], vec![2i64, 1, 0, 2]);
        let weights = Tensor::from_vec(&[3], vec![0.2f32, 0.3, 0.1]);
        let loss = |how, inputs: &[&Tensor]| {
            let op = parse("NegativeLogLikelihoodLoss", 13, &[reduced(how)], inputs.len(), 1).unwrap();
            run(&*op, inputs, &[]).unwrap().swap_remove(0)
        };
        let each = Tensor::from_vec(&[2, 2], vec![-3.0f32, -2.0, 0.0, -2.0]);
        assert_close(&loss("none", &[&x, &labels]), &each, 1e-6);
        assert_close(&loss("sum", &[&x, &labels, &weights]), &Tensor::scalar(-1.1f32), 1e-6);
        assert_close(&loss("mean", &[&x, &labels, &weights]), &Tensor::scalar(-1.1f32 / 0.7), 1e-6);
    }

    #[test]
    fn every_option() {
        let x = sample(&[2, 5, 3, 2], 5);
        let wide = Tensor::from_vec(&[2, 3, 2], vec![2i64, 1, 0, 4, -7, 3, 1, -7, 4, 4, 0, 2]);
        let narrow = Tensor::from_vec(&[2, 3, 2], vec![2i32, 1, 0, 4, -7, 3, 1, -7, 4, 4, 0, 2]);
        let weights = Tensor::from_vec(&[5], vec![0.5f32, 1.0, 2.0, 0.25, 3.0]);
        for name in ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"] {
            for how in ["none", "sum", "mean"] {
                let list = [reduced(how), ("ignore_index", Attr::Int(-7))];
                for labels in [&wide, &narrow] {
                    let op = parse(name, 13, &list, 2, 1).unwrap();
                    run(&*op, &[&x, labels], &[]).unwrap();
                    let op = parse(name, 13, &list, 3, 1).unwrap();
                    run(&*op, &[&x, labels, &weights], &[]).unwrap();
                }
            }
        }
        let list = [("ignore_index", Attr::Int(-7))];
        let op = parse("SoftmaxCrossEntropyLoss", 12, &list, 2, 2).unwrap();
        let y = run(&*op, &[&x, &wide], &[]).unwrap();
        assert_eq!(y[1].shape, [2, 5, 3, 2]);
    }

    #[test]
    fn refusals() {
        let op = parse("NegativeLogLikelihoodLoss", 13, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[2]]).contains("labels must be i32 or i64"));
        assert!(parse("NegativeLogLikelihoodLoss", 13, &[reduced("most")], 2, 1).is_err());
    }
}
