//! `ai.onnx.ml`'s `Scaler`, `Normalizer`, `Binarizer` and `Imputer`: columns prepared for a model.
//!
//! Spec: version 1 of each.
//!
//! ```text
//! Scaler        y = (x - offset) * scale            one of each, or one for each column
//! Normalizer    y = x / norm of its row             MAX (of magnitudes), L1 or L2; at least 1e-30
//! Binarizer     y = 1 where x > threshold, else 0
//! Imputer       y = value where x is the one that stands for a missing value, else x
//! ```

use super::{DOMAIN, numbers, table};
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::ops::composed::{Composed, Composer, Value, composed, required};
use crate::ops::{binary, reduce, unary, variadic};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Norm {
    Max,
    L1,
    L2,
}

/// One of the four.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Scaler { offset: Vec<f32>, scale: Vec<f32> },
    Normalizer(Norm),
    Binarizer(f32),
    ImputeFloats { values: Vec<f32>, missing: f32 },
    ImputeInts { values: Vec<i64>, missing: i64 },
}

/// An operator on columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    name: &'static str,
    kind: Kind,
}

fn boxed(node: &mut NodeProto<'_>, name: &'static str, kind: Kind) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Scaling { name, kind }))
}

fn scaler(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let offset = node.floats("offset")?.unwrap_or_else(|| vec![0.0]);
    let scale = node.floats("scale")?.unwrap_or_else(|| vec![1.0]);
    boxed(node, SCALER.name, Kind::Scaler { offset, scale })
}

fn normalizer(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let norm = match node.string("norm")?.as_deref() {
        None | Some("MAX") => Norm::Max,
        Some("L1") => Norm::L1,
        Some("L2") => Norm::L2,
        Some(other) => bail_invalid!("attribute 'norm' must be MAX, L1 or L2, found '{other}'"),
    };
    boxed(node, NORMALIZER.name, Kind::Normalizer(norm))
}

fn binarizer(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let threshold = node.float("threshold")?.unwrap_or(0.0);
    boxed(node, BINARIZER.name, Kind::Binarizer(threshold))
}

fn imputer(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let floats = node.floats("imputed_value_floats")?.unwrap_or_default();
    let ints = node.ints("imputed_value_int64s")?.unwrap_or_default();
    let (missing, missing_int) =
        (node.float("replaced_value_float")?.unwrap_or(0.0), node.int("replaced_value_int64")?.unwrap_or(0));
    let kind = match (floats.is_empty(), ints.is_empty()) {
        (false, true) => Kind::ImputeFloats { values: floats, missing },
        (true, false) => Kind::ImputeInts { values: ints, missing: missing_int },
        _ => bail_invalid!("either imputed_value_floats or imputed_value_int64s is needed"),
    };
    boxed(node, IMPUTER.name, kind)
}

/// `ai.onnx.ml.Scaler`.
pub const SCALER: OpDef =
    OpDef { name: "Scaler", domain: DOMAIN, since: (1, 1), parse: scaler, unsupported: "" };

/// `ai.onnx.ml.Normalizer`.
pub const NORMALIZER: OpDef = OpDef { name: "Normalizer", parse: normalizer, ..SCALER };

/// `ai.onnx.ml.Binarizer`.
pub const BINARIZER: OpDef = OpDef { name: "Binarizer", parse: binarizer, ..SCALER };

/// `ai.onnx.ml.Imputer`.
pub const IMPUTER: OpDef = OpDef { name: "Imputer", parse: imputer, ..SCALER };

impl Op for Scaling {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        let list: Vec<(&str, Attr)> = match &self.kind {
            Kind::Scaler { offset, scale } => {
                vec![("offset", Attr::Floats(offset.clone())), ("scale", Attr::Floats(scale.clone()))]
            }
            Kind::Normalizer(norm) => {
                let name = match norm {
                    Norm::Max => "MAX",
                    Norm::L1 => "L1",
                    Norm::L2 => "L2",
                };
                vec![("norm", Attr::Str(name.to_owned()))]
            }
            Kind::Binarizer(threshold) => vec![("threshold", Attr::Float(*threshold))],
            Kind::ImputeFloats { values, missing } => vec![
                ("imputed_value_floats", Attr::Floats(values.clone())),
                ("replaced_value_float", Attr::Float(*missing)),
            ],
            Kind::ImputeInts { values, missing } => vec![
                ("imputed_value_int64s", Attr::Ints(values.clone())),
                ("replaced_value_int64", Attr::Int(*missing)),
            ],
        };
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    composed!();
}

impl Composed for Scaling {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let given = required(inputs, 0)?;
        let dtype = cx.dtype(given);
        let x = match &self.kind {
            Kind::ImputeInts { .. } | Kind::Binarizer(_) => given,
            _ => numbers(cx, given)?,
        };
        let shape = cx.extents(x, "columns")?;
        let columns = shape.last().copied().unwrap_or(1);
        let row = |cx: &mut Composer<'_>, values: Vec<f64>, what: &str| {
            if values.len() != 1 && values.len() as i64 != columns {
                bail_invalid!("{} values of {what} for {columns} columns", values.len());
            }
            table(cx, x, [1, values.len()], values)
        };
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let y = match &self.kind {
            Kind::Scaler { offset, scale } => {
                let (offset, scale) = (row(cx, wide(offset), "offset")?, row(cx, wide(scale), "scale")?);
                let offset = flat(cx, offset, &shape)?;
                let scale = flat(cx, scale, &shape)?;
                let difference = cx.sub(x, offset)?;
                let y = cx.mul(difference, scale)?;
                cx.cast(y, DType::F32)?
            }
            Kind::Normalizer(norm) => {
                if shape.is_empty() {
                    bail_unsupported!("the norm of a single number is not supported");
                }
                let list = [("keepdims", Attr::Int(1))];
                let axes = cx.integers(&[-1]);
                let size = match norm {
                    Norm::Max => {
                        let magnitude = cx.apply(&unary::ABS, &[], &[x])?;
                        cx.apply(&reduce::MAX, &list, &[magnitude, axes])?
                    }
                    Norm::L1 => cx.apply(&reduce::L1, &list, &[x, axes])?,
                    Norm::L2 => cx.apply(&reduce::L2, &list, &[x, axes])?,
                };
                let least = cx.number_like(size, 1e-30)?;
                let size = cx.apply(&variadic::MAX, &[], &[size, least])?;
                let y = cx.div(x, size)?;
                cx.cast(y, DType::F32)?
            }
            Kind::Binarizer(threshold) => {
                let threshold = cx.number_like(x, (*threshold).into())?;
                let above = cx.less(threshold, x)?;
                cx.cast(above, dtype)?
            }
            Kind::ImputeFloats { values, missing } => {
                let values = row(cx, wide(values), "imputed values")?;
                let values = flat(cx, values, &shape)?;
                let gone = if missing.is_nan() {
                    cx.apply(&unary::IS_NAN, &[], &[x])?
                } else {
                    let missing = cx.number_like(x, (*missing).into())?;
                    cx.apply(&binary::EQUAL, &[], &[x, missing])?
                };
                cx.choose(gone, values, x)?
            }
            Kind::ImputeInts { values, missing } => {
                if dtype != DType::I64 {
                    bail_invalid!("imputed integers are i64, and the input is {dtype}");
                }
                let values = row(cx, values.iter().map(|v| *v as f64).collect(), "imputed values")?;
                let values = flat(cx, values, &shape)?;
                let missing = cx.number_like(x, *missing as f64)?;
                let gone = cx.apply(&binary::EQUAL, &[], &[x, missing])?;
                cx.choose(gone, values, x)?
            }
        };
        Ok(vec![y])
    }
}

/// A row of a table for an operand of any rank.
fn flat(cx: &mut Composer<'_>, row: Value, shape: &[i64]) -> Result<Value> {
    let count: i64 = cx.extents(row, "a row")?.iter().product();
    match shape.len() {
        0 => cx.reshape(row, &[]),
        1 => cx.reshape(row, &[count]),
        _ => Ok(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    fn of(name: &str, list: &[(&str, Attr)], x: &Tensor) -> Tensor {
        let op = parse(&format!("ai.onnx.ml::{name}"), 1, list, 1, 1).unwrap();
        run(&*op, &[x], &[]).unwrap().remove(0)
    }

    #[test]
    fn each_of_them() {
        let x = Tensor::from_vec(&[2, 2], vec![1f32, -2.0, 3.0, 4.0]);
        let list = [("offset", Attr::Floats(vec![1.0, 0.0])), ("scale", Attr::Floats(vec![2.0, 0.5]))];
        assert_eq!(of("Scaler", &list, &x), Tensor::from_vec(&[2, 2], vec![0f32, -1.0, 4.0, 2.0]));
        assert_eq!(
            of("Normalizer", &[("norm", Attr::Str("L2".into()))], &x).to_f64s().unwrap()[2..],
            [f64::from(0.6f32), f64::from(0.8f32)]
        );
        for norm in ["MAX", "L1"] {
            of("Normalizer", &[("norm", Attr::Str(norm.into()))], &sample(&[3, 5], 3));
        }
        let y = of("Binarizer", &[("threshold", Attr::Float(1.0))], &x);
        assert_eq!(y, Tensor::from_vec(&[2, 2], vec![0f32, 0.0, 1.0, 1.0]));
        let gone = Tensor::from_vec(&[2, 2], vec![1f32, f32::NAN, f32::NAN, 4.0]);
        let list = [
            ("imputed_value_floats", Attr::Floats(vec![7.0, 8.0])),
            ("replaced_value_float", Attr::Float(f32::NAN)),
        ];
        assert_eq!(of("Imputer", &list, &gone), Tensor::from_vec(&[2, 2], vec![1f32, 8.0, 7.0, 4.0]));
        let list = [("imputed_value_int64s", Attr::Ints(vec![9])), ("replaced_value_int64", Attr::Int(-1))];
        let y = of("Imputer", &list, &Tensor::from_vec(&[1, 2], vec![-1i64, 3]));
        assert_eq!(y, Tensor::from_vec(&[1, 2], vec![9i64, 3]));
    }
}
