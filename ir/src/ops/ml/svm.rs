//! `ai.onnx.ml.SVMRegressor` and `SVMClassifier`: sums over support vectors.
//!
//! Spec: version 1 of each, with libsvm's meaning. Kernels of a sample x and a vector v:
//!
//! ```text
//! LINEAR x.v    POLY (gamma x.v + coef0)^degree    RBF exp(-gamma |x - v|^2)    SIGMOID tanh(gamma x.v + coef0)
//! ```
//!
//! A regressor is `sum of coefficient * kernel + rho`; with `one_class` its sign. A classifier decides between every two classes
//! and takes the one that wins most often, or without vectors has one linear score for each class.
//!
//! Unsupported: labels that are strings; probabilities of more than two classes.

use super::{DOMAIN, PostTransform, best, labels, matrix, read, table, take};
use crate::error::Result;
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::ops::composed::{Composed, Composer, Value, composed, required};
use crate::ops::{matmul, pow, reduce, unary};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

const NAMES: &[&str] = &[
    "classlabels_ints",
    "classlabels_strings",
    "coefficients",
    "kernel_params",
    "kernel_type",
    "n_supports",
    "one_class",
    "post_transform",
    "prob_a",
    "prob_b",
    "rho",
    "support_vectors",
    "vectors_per_class",
];

/// A similarity of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

/// A support vector machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Svm {
    name: &'static str,
    attrs: Attrs,
    kernel: Kernel,
    /// gamma, coef0 and degree.
    params: [f64; 3],
    coefficients: Vec<f64>,
    vectors: Vec<f64>,
    rho: Vec<f64>,
    transform: PostTransform,
    one_class: bool,
    supports: i64,
    prob: [Vec<f64>; 2],
    per_class: Vec<i64>,
    /// Of a classifier.
    labels: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str, classifier: bool) -> Result<Box<dyn Op>> {
    let outputs = if classifier { 2 } else { 1 };
    node.arity(1..=1, outputs..=outputs)?;
    let attrs = take(node, NAMES);
    let op = read(&attrs, node.inputs, |node| {
        let floats = |node: &mut NodeProto<'_>, name: &str| {
            Ok::<_, crate::Error>(
                node.floats(name)?.unwrap_or_default().into_iter().map(f64::from).collect::<Vec<f64>>(),
            )
        };
        let kernel = match node.string("kernel_type")?.as_deref() {
            None | Some("LINEAR") => Kernel::Linear,
            Some("POLY") => Kernel::Poly,
            Some("RBF") => Kernel::Rbf,
            Some("SIGMOID") => Kernel::Sigmoid,
            Some(other) => bail_invalid!("attribute 'kernel_type' is '{other}'"),
        };
        let params = floats(node, "kernel_params")?;
        let labels = if classifier { Some(labels(node, "classlabels_ints")?) } else { None };
        Ok(Svm {
            name,
            attrs: attrs.clone(),
            kernel,
            params: [0, 1, 2].map(|i| params.get(i).copied().unwrap_or(0.0)),
            coefficients: floats(node, "coefficients")?,
            vectors: floats(node, "support_vectors")?,
            rho: floats(node, "rho")?,
            transform: PostTransform::parse(node)?,
            one_class: node.flag("one_class", false)?,
            supports: node.int("n_supports")?.unwrap_or(0),
            prob: [floats(node, "prob_a")?, floats(node, "prob_b")?],
            per_class: node.ints("vectors_per_class")?.unwrap_or_default(),
            labels,
        })
    })?;
    Ok(Box::new(op))
}

/// `ai.onnx.ml.SVMRegressor`.
pub const REGRESSOR: OpDef = OpDef {
    name: "SVMRegressor",
    domain: DOMAIN,
    since: (1, 1),
    parse: |node| parse(node, "SVMRegressor", false),
    unsupported: "",
};

/// `ai.onnx.ml.SVMClassifier`.
pub const CLASSIFIER: OpDef = OpDef {
    name: "SVMClassifier",
    parse: |node| parse(node, "SVMClassifier", true),
    unsupported: "labels that are strings; probabilities of more than 2 classes",
    ..REGRESSOR
};

impl Op for Svm {
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

impl Composed for Svm {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, [_, columns]) = matrix(cx, required(inputs, 0)?)?;
        let columns = columns.max(1) as usize;
        match &self.labels {
            None => self.regress(cx, x, columns),
            Some(labels) => self.classify(cx, x, columns, labels),
        }
    }
}

impl Svm {
    /// `x` times the transposed rows of a matrix.
    fn product(cx: &mut Composer<'_>, x: Value, columns: usize, rows: &[f64]) -> Result<Value> {
        let count = rows.len() / columns;
        let turned = (0..rows.len()).map(|i| rows[i % count * columns + i / count]).collect();
        let weights = table(cx, x, [columns, count], turned)?;
        cx.apply(&matmul::DEF, &[], &[x, weights])
    }

    /// The kernel of every sample and vector, `[N, vectors]`.
    fn kernels(&self, cx: &mut Composer<'_>, x: Value, columns: usize) -> Result<Value> {
        let [gamma, shift, degree] = self.params;
        if self.kernel == Kernel::Rbf {
            // |x - v|^2 by the difference, which keeps its digits.
            let [rows, _] = cx.extents(x, "samples")?[..] else { bail_invalid!("no matrix") };
            let count = self.vectors.len() / columns;
            let samples = cx.reshape(x, &[rows, 1, columns as i64])?;
            let vectors =
                super::super::values::from_f64s(cx.dtype(x), &[1, count, columns], self.vectors.clone())?;
            let vectors = cx.constant(vectors);
            let difference = cx.sub(samples, vectors)?;
            let square = cx.reduce(&reduce::SUM_SQUARE, difference, &[2])?;
            let power = cx.times(square, -gamma)?;
            return cx.apply(&unary::EXP, &[], &[power]);
        }
        let product = Self::product(cx, x, columns, &self.vectors)?;
        if self.kernel == Kernel::Linear {
            return Ok(product);
        }
        let scaled = cx.times(product, gamma)?;
        let moved = cx.plus(scaled, shift)?;
        match self.kernel {
            Kernel::Sigmoid => cx.apply(&unary::TANH, &[], &[moved]),
            _ => {
                let degree = cx.number_like(moved, degree)?;
                cx.apply(&pow::DEF, &[], &[moved, degree])
            }
        }
    }

    fn rho(&self, i: usize) -> f64 {
        self.rho.get(i).copied().unwrap_or(0.0)
    }

    fn regress(&self, cx: &mut Composer<'_>, x: Value, columns: usize) -> Result<Vec<Value>> {
        let sum = if self.supports > 0 {
            let count = self.vectors.len() / columns;
            if count as i64 != self.supports
                || !self.vectors.len().is_multiple_of(columns)
                || self.coefficients.len() != count
            {
                bail_invalid!("{} support vectors of {columns} columns do not fit", self.supports);
            }
            let kernels = self.kernels(cx, x, columns)?;
            Self::product(cx, kernels, count, &self.coefficients)?
        } else {
            if self.coefficients.len() != columns {
                bail_invalid!("{} coefficients for {columns} columns", self.coefficients.len());
            }
            Self::product(cx, x, columns, &self.coefficients)?
        };
        let mut y = cx.plus(sum, self.rho(0))?;
        if self.one_class {
            let zero = cx.number_like(y, 0.0)?;
            let above = cx.less(zero, y)?;
            let (one, minus) = (cx.number_like(y, 1.0)?, cx.number_like(y, -1.0)?);
            y = cx.choose(above, one, minus)?;
        }
        let y = self.transform.apply(cx, y)?;
        Ok(vec![cx.cast(y, DType::F32)?])
    }

    fn classify(
        &self,
        cx: &mut Composer<'_>,
        x: Value,
        columns: usize,
        labels: &[i64],
    ) -> Result<Vec<Value>> {
        let classes = labels.len().max(1);
        let total = self.per_class.iter().try_fold(0usize, |n, c| n.checked_add(usize::try_from(*c).ok()?));
        let Some(total) = total else {
            bail_invalid!("vectors_per_class {:?} is out of range", self.per_class)
        };
        if total == 0 {
            if self.coefficients.len() != classes * columns {
                bail_invalid!(
                    "{} coefficients for {classes} classes of {columns} columns",
                    self.coefficients.len()
                );
            }
            let scores = Self::product(cx, x, columns, &self.coefficients)?;
            let scores = cx.plus(scores, self.rho(0))?;
            let scores = self.transform.apply(cx, scores)?;
            let scores = cx.cast(scores, DType::F32)?;
            return Ok(vec![best(cx, scores, labels)?, scores]);
        }
        let pairs = classes * (classes - 1) / 2;
        if self.per_class.len() != classes
            || classes < 2
            || self.vectors.len() != total.saturating_mul(columns)
            || self.coefficients.len() != total.saturating_mul(classes - 1)
            || self.rho.len() != pairs
        {
            bail_invalid!("{total} support vectors of {columns} columns do not fit {classes} classes");
        }
        // A column of coefficients for each pair of classes.
        let starts: Vec<usize> =
            (0..classes).map(|c| self.per_class[..c].iter().sum::<i64>() as usize).collect();
        let (mut rows, mut votes) = (Vec::new(), vec![0.0; 2 * pairs * classes]);
        for i in 0..classes {
            for j in i + 1..classes {
                let mut row = vec![0.0; total];
                for (class, other) in [(i, j - 1), (j, i)] {
                    let range = starts[class]..starts[class] + self.per_class[class] as usize;
                    row[range.clone()].copy_from_slice(&self.coefficients[other * total..][range]);
                }
                let pair = rows.len() / total;
                votes[pair * classes + i] = 1.0;
                votes[(pairs + pair) * classes + j] = 1.0;
                rows.extend(row);
            }
        }
        let kernels = self.kernels(cx, x, columns)?;
        let decisions = Self::product(cx, kernels, total, &rows)?;
        let rho = table(cx, x, [1, pairs], self.rho.clone())?;
        let decisions = cx.add(decisions, rho)?;
        let zero = cx.number_like(decisions, 0.0)?;
        let first = cx.less(zero, decisions)?;
        let second = cx.apply(&unary::NOT, &[], &[first])?;
        let [first, second] = [first, second].map(|v| cx.cast(v, DType::F32));
        let won = cx.concat(&[first?, second?], 1)?;
        let votes = table(cx, won, [2 * pairs, classes], votes)?;
        let votes = cx.apply(&matmul::DEF, &[], &[won, votes])?;
        let scores = if self.prob[0].is_empty() {
            if classes == 2 {
                // Both classes' points of view.
                let minus = cx.times(decisions, -1.0)?;
                let both = cx.concat(&[minus, decisions], 1)?;
                self.transform.apply(cx, both)?
            } else {
                self.transform.apply(cx, decisions)?
            }
        } else {
            if classes != 2 || self.prob.iter().any(|p| p.len() != 1) {
                bail_unsupported!("probabilities of {classes} classes are not supported");
            }
            let inner = cx.times(decisions, self.prob[0][0])?;
            let inner = cx.plus(inner, self.prob[1][0])?;
            let inner = cx.times(inner, -1.0)?;
            let p = cx.apply(&unary::SIGMOID, &[], &[inner])?;
            let p = cx.clamp(p, 1e-7, 1.0 - 1e-7)?;
            let rest = cx.number_less(1.0, p)?;
            cx.concat(&[p, rest], 1)?
        };
        let scores = cx.cast(scores, DType::F32)?;
        let decided = if self.prob[0].is_empty() { votes } else { scores };
        Ok(vec![best(cx, decided, labels)?, scores])
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Attr;
    use crate::ops::testing::{parse, run, sample};

    #[test]
    fn every_kernel_of_a_regressor() {
        for kernel in ["LINEAR", "POLY", "RBF", "SIGMOID"] {
            let list = [
                ("kernel_type", Attr::Str(kernel.into())),
                ("kernel_params", Attr::Floats(vec![0.4, 0.5, 3.0])),
                ("support_vectors", Attr::Floats(vec![1.0, 0.5, -1.0, 0.25, 2.0, 1.5])),
                ("coefficients", Attr::Floats(vec![1.0, -0.5, 0.25])),
                ("rho", Attr::Floats(vec![0.75])),
                ("n_supports", Attr::Int(3)),
            ];
            let op = parse("ai.onnx.ml::SVMRegressor", 1, &list, 1, 1).unwrap();
            let y = run(&*op, &[&sample(&[4, 2], 3)], &[]).unwrap();
            assert_eq!(y[0].shape, [4, 1]);
        }
    }

    #[test]
    fn classifiers_of_two_and_three_classes() {
        for (labels, per_class, prob) in [
            (vec![0i64, 1], vec![2i64, 1], vec![]),
            (vec![4, 7], vec![1, 2], vec![-1.5f32]),
            (vec![0, 1, 2], vec![1, 1, 1], vec![]),
        ] {
            let classes = labels.len();
            let pairs = classes * (classes - 1) / 2;
            let list = [
                ("kernel_type", Attr::Str("RBF".into())),
                ("kernel_params", Attr::Floats(vec![0.4, 0.0, 0.0])),
                ("support_vectors", Attr::Floats(vec![1.0, 0.5, -1.0, 0.25, 2.0, 1.5])),
                (
                    "coefficients",
                    Attr::Floats((0..3 * (classes - 1)).map(|i| 1.0 - 0.4 * i as f32).collect()),
                ),
                ("rho", Attr::Floats(vec![0.1; pairs])),
                ("vectors_per_class", Attr::Ints(per_class)),
                ("prob_a", Attr::Floats(prob.clone())),
                ("prob_b", Attr::Floats(prob)),
                ("classlabels_ints", Attr::Ints(labels)),
            ];
            let op = parse("ai.onnx.ml::SVMClassifier", 1, &list, 1, 2).unwrap();
            let y = run(&*op, &[&sample(&[4, 2], 3)], &[]).unwrap();
            assert_eq!(y[0].shape, [4]);
        }
    }
}
