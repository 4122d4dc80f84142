//! The numeric operators of `ai.onnx.ml`: what converters make of scikit-learn's models and of forests.
//!
//! Strings, maps and sequences of maps are not among them: labels must be integers, and `ZipMap` is an option of converters.

pub mod extractor;
mod forest;
pub mod linear;
pub mod scaling;
pub mod svm;
pub mod trees;

use super::composed::{Composer, Value};
use super::{softmax, unary, variadic};
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// The domain.
pub const DOMAIN: &str = "ai.onnx.ml";

/// `post_transform`: what scores become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    const ALL: [(Self, &'static str); 5] = [
        (Self::None, "NONE"),
        (Self::Softmax, "SOFTMAX"),
        (Self::Logistic, "LOGISTIC"),
        (Self::SoftmaxZero, "SOFTMAX_ZERO"),
        (Self::Probit, "PROBIT"),
    ];

    pub(super) fn parse(node: &mut NodeProto<'_>) -> Result<Self> {
        let name = node.string("post_transform")?.unwrap_or_else(|| "NONE".to_owned());
        match Self::ALL.into_iter().find(|(_, known)| *known == name) {
            Some((found, _)) => Ok(found),
            None => bail_invalid!("attribute 'post_transform' is '{name}'"),
        }
    }

    /// By its number, in the operators that have one.
    pub(super) fn numbered(number: i64) -> Result<Self> {
        match usize::try_from(number).ok().and_then(|i| Self::ALL.get(i)) {
            Some((found, _)) => Ok(*found),
            None => bail_invalid!("attribute 'post_transform' is {number}"),
        }
    }

    /// Of scores `[N, C]`.
    pub(super) fn apply(self, cx: &mut Composer<'_>, scores: Value) -> Result<Value> {
        match self {
            Self::None => Ok(scores),
            Self::Softmax => cx.apply(&softmax::SOFTMAX, &[("axis", Attr::Int(1))], &[scores]),
            Self::Logistic => cx.apply(&unary::SIGMOID, &[], &[scores]),
            Self::SoftmaxZero => softmax_zero(cx, scores),
            Self::Probit => probit(cx, scores),
        }
    }
}

/// A softmax in which zeros stay zeros.
fn softmax_zero(cx: &mut Composer<'_>, scores: Value) -> Result<Value> {
    let shape = cx.extents(scores, "scores")?;
    let most = cx.reduce(&super::reduce::MAX, scores, &[1])?;
    let most = cx.reshape(most, &[shape[0], 1])?;
    let difference = cx.sub(scores, most)?;
    let power = cx.apply(&unary::EXP, &[], &[difference])?;
    let magnitude = cx.apply(&unary::ABS, &[], &[scores])?;
    let least = cx.number_like(scores, 1e-7)?;
    let counts = cx.less(least, magnitude)?;
    let minus = cx.apply(&unary::NEG, &[], &[most])?;
    let scale = cx.apply(&unary::EXP, &[], &[minus])?;
    let small = cx.mul(scores, scale)?;
    let power = cx.choose(counts, power, small)?;
    let sum = cx.sum(power, &[1])?;
    let sum = cx.reshape(sum, &[shape[0], 1])?;
    let zero = cx.number_like(sum, 0.0)?;
    let empty = cx.apply(&super::binary::EQUAL, &[], &[sum, zero])?;
    let one = cx.number_like(sum, 1.0)?;
    let divisor = cx.choose(empty, one, sum)?;
    let quotient = cx.div(power, divisor)?;
    let half = cx.number_like(sum, 0.5)?;
    cx.choose(empty, half, quotient)
}

/// The inverse of the normal distribution's integral, by Winitzki's inverse of the error function.
fn probit(cx: &mut Composer<'_>, scores: Value) -> Result<Value> {
    const A: f64 = 0.147;
    let twice = cx.times(scores, 2.0)?;
    let x = cx.plus(twice, -1.0)?;
    let square = cx.mul(x, x)?;
    let rest = cx.number_less(1.0, square)?;
    let log = cx.apply(&unary::LOG, &[], &[rest])?;
    let half = cx.times(log, 0.5)?;
    let v = cx.plus(half, 2.0 / (std::f64::consts::PI * A))?;
    let squared = cx.mul(v, v)?;
    let part = cx.times(log, 1.0 / A)?;
    let inside = cx.sub(squared, part)?;
    let root = cx.apply(&unary::SQRT, &[], &[inside])?;
    let difference = cx.sub(root, v)?;
    let zero = cx.number_like(difference, 0.0)?;
    let difference = cx.apply(&variadic::MAX, &[], &[difference, zero])?;
    let magnitude = cx.apply(&unary::SQRT, &[], &[difference])?;
    let sign = cx.apply(&unary::SIGN, &[], &[x])?;
    let value = cx.mul(sign, magnitude)?;
    cx.times(value, std::f64::consts::SQRT_2)
}

/// An operand as numbers to compute with: f64 stays, everything else is f32.
pub(super) fn numbers(cx: &mut Composer<'_>, x: Value) -> Result<Value> {
    let dtype = cx.dtype(x);
    if !(dtype.is_float() || dtype.is_int()) {
        bail_invalid!("does not take elements of type {dtype}");
    }
    cx.cast(x, if dtype == DType::F64 { DType::F64 } else { DType::F32 })
}

/// An operand as a matrix: a vector is one row.
pub(super) fn matrix(cx: &mut Composer<'_>, x: Value) -> Result<(Value, [i64; 2])> {
    let x = numbers(cx, x)?;
    match cx.extents(x, "a matrix")?[..] {
        [columns] => Ok((cx.reshape(x, &[1, columns])?, [1, columns])),
        [rows, columns] => Ok((x, [rows, columns])),
        ref shape => bail_invalid!("a matrix of samples needed, found shape {shape:?}"),
    }
}

/// A matrix of numbers, row by row, of the type of `like`.
pub(super) fn table(
    cx: &mut Composer<'_>,
    like: Value,
    shape: [usize; 2],
    values: Vec<f64>,
) -> Result<Value> {
    let table = super::values::from_f64s(cx.dtype(like), &shape, values)?;
    Ok(cx.constant(table))
}

/// Labels by the position of the largest score; strings are refused.
pub(super) fn labels(attrs: &mut NodeProto<'_>, ints: &str) -> Result<Vec<i64>> {
    if attrs.strings("classlabels_strings")?.is_some_and(|labels| !labels.is_empty()) {
        bail_unsupported!("labels that are strings are not supported: convert the model with integer labels");
    }
    Ok(attrs.ints(ints)?.unwrap_or_default())
}

/// The label of the largest score of each row of `[N, C]`.
pub(super) fn best(cx: &mut Composer<'_>, scores: Value, labels: &[i64]) -> Result<Value> {
    let list = [("axis", Attr::Int(1)), ("keepdims", Attr::Int(0))];
    let position = cx.apply(&super::arg::MAX, &list, &[scores])?;
    if labels.iter().enumerate().all(|(i, label)| *label == i as i64) {
        return Ok(position);
    }
    let labels = cx.constant(Tensor::from_vec(&[labels.len()], labels.to_vec()));
    cx.gather(labels, position, 0)
}

/// Takes attributes of these names, as they are.
pub(super) fn take(node: &mut NodeProto<'_>, names: &[&str]) -> Attrs {
    names.iter().filter_map(|name| node.attrs.remove_entry(*name)).collect()
}

/// Reads attributes that were taken.
pub(super) fn read<T>(
    attrs: &Attrs,
    inputs: &[bool],
    f: impl FnOnce(&mut NodeProto<'_>) -> Result<T>,
) -> Result<T> {
    let mut copy = attrs.clone();
    f(&mut NodeProto { attrs: &mut copy, opset: 1, inputs, outputs: 1 })
}
