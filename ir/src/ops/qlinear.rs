//! Operators of `com.microsoft` that dequantise their operands, apply an operator of ONNX, and quantise its result:
//! `QLinearAdd`, `QLinearAveragePool`, `QLinearConcat`, `QLinearGlobalAveragePool`, `QLinearLeakyRelu`, `QLinearMul`,
//! `QLinearSigmoid` and `QLinearSoftmax`.
//!
//! Spec: ONNX Runtime's contrib operators, version 1. An operand is three inputs: the elements (u8 or i8), their scale (f32)
//! and their zero point, which may be left out. Scale and zero point of the result follow the operands, or precede them
//! for `QLinearConcat`. All are single numbers. Attributes are those of the ONNX operator; `channels_last` of pools tells that
//! channels are the last axis, and `opset` of `QLinearSoftmax` whose Softmax is meant.
//!
//! Numerics: by this definition, in f32. A result next to a half may differ by one from a runtime that rounds otherwise in
//! between; that of `QLinearAdd` also on machines that add products without rounding them.

use std::sync::Arc;

use super::composed::{Composed, Composer, Value, composed, required};
use super::requantize::scalar;
use super::{
    activation, average_pool, binary, concat, dequantize_linear, global_average_pool, quantize_linear,
    softmax, transpose, unary,
};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, MICROSOFT, NEWEST_OPSET, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// Where the parameters of the result are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

/// An operator on quantised tensors.
#[derive(Clone, Debug)]
pub struct QLinear {
    name: &'static str,
    /// The operator between dequantising and quantising.
    inner: Arc<dyn Op>,
    /// Whether channels are the last axis for a pool, which wants them second.
    channels_last: bool,
    /// The opset whose Softmax is meant.
    opset: Option<i64>,
}

macro_rules! operators {
    ($($constant:ident $name:literal of $inner:expr, $operands:literal;)*) => {
        $(
            #[doc = concat!("`com.microsoft::", $name, "`.")]
            pub const $constant: OpDef = OpDef {
                name: $name,
                domain: MICROSOFT,
                since: (1, 1),
                parse: |node| parse($name, &$inner, $operands, node),
                unsupported: "",
            };
        )*
    };
}
operators! {
    ADD "QLinearAdd" of binary::ADD, 2;
    AVERAGE_POOL "QLinearAveragePool" of average_pool::DEF, 1;
    CONCAT "QLinearConcat" of concat::DEF, 0;
    GLOBAL_AVERAGE_POOL "QLinearGlobalAveragePool" of global_average_pool::DEF, 1;
    LEAKY_RELU "QLinearLeakyRelu" of activation::LEAKY_RELU, 1;
    MUL "QLinearMul" of binary::MUL, 2;
    SIGMOID "QLinearSigmoid" of unary::SIGMOID, 1;
    SOFTMAX "QLinearSoftmax" of softmax::SOFTMAX, 1;
}

/// Reads an operator of so many operands; 0 for any number, behind the parameters of the result.
fn parse(
    name: &'static str,
    inner: &OpDef,
    operands: usize,
    node: &mut NodeProto<'_>,
) -> Result<Box<dyn Op>> {
    match operands {
        0 => node.arity(4..=usize::MAX, 1..=1)?,
        n => node.arity(3 * n + 1..=3 * n + 2, 1..=1)?,
    }
    let channels_last = inner.name.ends_with("Pool") && node.flag("channels_last", false)?;
    let opset = if inner.name == "Softmax" { node.int("opset")? } else { None };
    let count = if operands == 0 { node.inputs.len().saturating_sub(2).div_ceil(3) } else { operands };
    let present = vec![true; count];
    let opset_of_inner = opset.unwrap_or(NEWEST_OPSET);
    let mut inside =
        NodeProto { attrs: &mut *node.attrs, opset: opset_of_inner, inputs: &present, outputs: 1 };
    let inner: Arc<dyn Op> = Arc::from((inner.parse)(&mut inside)?);
    Ok(Box::new(QLinear { name, inner, channels_last, opset }))
}

impl Op for QLinear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.inner.attrs();
        if self.channels_last {
            attrs.insert("channels_last".into(), Attr::Int(1));
        }
        if let Some(opset) = self.opset {
            attrs.insert("opset".into(), Attr::Int(opset));
        }
        attrs
    }

    composed!();
}

impl Composed for QLinear {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let place = if self.name == CONCAT.name { Place::First } else { Place::Last };
        let operands = inputs.len().saturating_sub(1) / 3;
        let (first, y) = match place {
            Place::First => (2, 0),
            Place::Last => (0, 3 * operands),
        };
        let mut real = Vec::with_capacity(operands);
        let mut dtype = None;
        for i in 0..operands {
            let at = first + 3 * i;
            let x = required(inputs, at)?;
            let found = cx.fact(x).dtype;
            if !matches!(found, DType::U8 | DType::I8) || dtype.is_some_and(|t| t != found) {
                bail_invalid!("operands must be all u8 or all i8, found {found}");
            }
            dtype = Some(found);
            real.push(dequantized(cx, [Some(x), Some(required(inputs, at + 1)?), optional(inputs, at + 2)])?);
        }
        let dtype = dtype.ok_or_else(|| Error::invalid("needs an operand"))?;
        let result = if self.channels_last { self.pooled(cx, real[0])? } else { self.apply(cx, &real)? };
        Ok(vec![quantized(cx, result, required(inputs, y)?, optional(inputs, y + 1), dtype)?])
    }
}

impl QLinear {
    fn apply(&self, cx: &mut Composer<'_>, operands: &[Value]) -> Result<Value> {
        let operands: Vec<_> = operands.iter().copied().map(Some).collect();
        let results = cx.node(self.inner.clone(), &operands)?;
        results.first().copied().ok_or_else(|| Error::internal("operator without a result"))
    }

    /// The operator on channels that are the second axis for it.
    fn pooled(&self, cx: &mut Composer<'_>, x: Value) -> Result<Value> {
        let rank = cx.fact(x).shape.rank() as i64;
        if rank < 3 {
            bail_invalid!("the input must have batch, channels and at least one spatial axis");
        }
        let first: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let last: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let x = cx.apply(&transpose::DEF, &[("perm", Attr::Ints(first))], &[x])?;
        let y = self.apply(cx, &[x])?;
        cx.apply(&transpose::DEF, &[("perm", Attr::Ints(last))], &[y])
    }
}

fn optional(inputs: &[Option<Value>], i: usize) -> Option<Value> {
    inputs.get(i).copied().flatten()
}

/// The real numbers of a quantised tensor with one scale.
fn dequantized(cx: &mut Composer<'_>, [x, scale, zero]: [Option<Value>; 3]) -> Result<Value> {
    let scale = scale.map(|scale| scalar(cx, scale, "a scale")).transpose()?;
    let zero = zero.map(|zero| scalar(cx, zero, "a zero point")).transpose()?;
    cx.apply_optional(&dequantize_linear::DEF, &[], &[x, scale, zero])
}

/// A tensor quantised with one scale, as `dtype`.
fn quantized(
    cx: &mut Composer<'_>,
    x: Value,
    scale: Value,
    zero: Option<Value>,
    dtype: DType,
) -> Result<Value> {
    let scale = scalar(cx, scale, "the scale of the result")?;
    let zero = match zero {
        Some(zero) if cx.fact(zero).dtype != dtype => {
            bail_unsupported!("a result of {} for operands of {dtype} is not supported", cx.fact(zero).dtype)
        }
        Some(zero) => scalar(cx, zero, "the zero point of the result")?,
        None => cx.constant(Tensor::new(dtype, vec![], vec![0].into())?),
    };
    cx.apply(&quantize_linear::DEF, &[], &[x, scale, zero])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::{dequantize, quantize};
    use crate::ops::testing::{bytes, ints, parse, run};

    fn f(value: f32) -> Tensor {
        Tensor::scalar(value)
    }

    /// A result on constant and on run-time parameters.
    fn both(name: &str, list: &[(&str, Attr)], inputs: &[&Tensor], data: &[usize]) -> Tensor {
        let op = super::super::testing::parse(&format!("com.microsoft::{name}"), 1, list, inputs.len(), 1);
        let op = op.unwrap();
        let known: Vec<usize> = (0..inputs.len()).filter(|i| !data.contains(i)).collect();
        run(&*op, inputs, &[]).unwrap();
        run(&*op, inputs, &known).unwrap().remove(0)
    }

    #[test]
    fn sums_and_products_are_those_of_the_real_numbers() {
        // Of these scales no sum lies on a half.
        for dtype in [DType::U8, DType::I8] {
            let (a, b) = (bytes(dtype, &[3, 20], 1), bytes(dtype, &[20], 2));
            let (za, zb, zy) = (bytes(dtype, &[], 3), bytes(dtype, &[], 4), bytes(dtype, &[], 5));
            let inputs = [&a, &f(0.0231), &za, &b, &f(0.0417), &zb, &f(0.0533), &zy];
            let n = |t: &Tensor, i: usize| t.to_i64s().unwrap()[i] as f64;
            for (name, op) in
                [("QLinearAdd", (|a, b| a + b) as fn(f32, f32) -> f32), ("QLinearMul", |a, b| a * b)]
            {
                let y = both(name, &[], &inputs, &[0, 3]);
                for i in 0..60 {
                    let real = op(
                        dequantize(n(&a, i) - n(&za, 0), f64::from(0.0231f32)) as f32,
                        dequantize(n(&b, i % 20) - n(&zb, 0), f64::from(0.0417f32)) as f32,
                    );
                    let q = quantize(real.into(), f64::from(0.0533f32), n(&zy, 0), DType::F32, dtype);
                    assert_eq!(n(&y, i), q as f64, "{name} {i}");
                }
            }
        }
    }

    #[test]
    fn one_operand() {
        for (name, list) in [
            ("QLinearSigmoid", vec![]),
            ("QLinearLeakyRelu", vec![("alpha", Attr::Float(0.2))]),
            ("QLinearSoftmax", vec![("axis", Attr::Int(-1)), ("opset", Attr::Int(13))]),
            ("QLinearSoftmax", vec![("axis", Attr::Int(1)), ("opset", Attr::Int(11))]),
            ("QLinearGlobalAveragePool", vec![]),
            ("QLinearGlobalAveragePool", vec![("channels_last", Attr::Int(1))]),
            ("QLinearAveragePool", vec![("kernel_shape", ints(&[2, 3])), ("pads", ints(&[1, 1, 0, 1]))]),
            ("QLinearAveragePool", vec![("kernel_shape", ints(&[2, 3])), ("channels_last", Attr::Int(1))]),
        ] {
            for dtype in [DType::U8, DType::I8] {
                let (x, zx, zy) =
                    (bytes(dtype, &[1, 5, 4, 7], 1), bytes(dtype, &[], 3), bytes(dtype, &[], 4));
                // No mean of a few elements lies on a half of it: means are floats, and may differ in their last digit.
                let scale = if name == "QLinearSoftmax" { 1.0 / 256.0 } else { 0.0517 };
                let y = both(name, &list, &[&x, &f(0.03), &zx, &f(scale), &zy], &[0]);
                assert_eq!(y.dtype, dtype);
                let y = both(name, &list, &[&x, &f(0.03), &zx, &f(scale)], &[0]);
                assert_eq!(y.dtype, dtype, "without a zero point");
            }
        }
    }

    #[test]
    fn parts_of_their_own_scales() {
        let (a, b) = (bytes(DType::U8, &[2, 3], 1), bytes(DType::U8, &[2, 2], 2));
        let (zero, other) = (Tensor::scalar(100u8), Tensor::scalar(7u8));
        let list = [("axis", Attr::Int(1))];
        let inputs = [&f(0.5), &zero, &a, &f(0.5), &zero, &b, &f(0.25), &other];
        let y = both("QLinearConcat", &list, &inputs, &[2, 5]).to_i64s().unwrap();
        let n = |t: &Tensor, i: usize| t.to_i64s().unwrap()[i];
        // A part with the scale of the result is copied.
        assert_eq!([y[0], y[1], y[2]], [n(&a, 0), n(&a, 1), n(&a, 2)]);
        let half = ((n(&b, 0) - 7) as f64 / 2.0).round_ties_even() as i64 + 100;
        assert_eq!(y[3], half.min(255));
    }

    #[test]
    fn refusals() {
        let op = parse("com.microsoft::QLinearAdd", 1, &[], 8, 1).unwrap();
        let fact = |t: DType, shape: &[usize]| crate::op::Fact::new(t, crate::types::Shape::of(shape));
        let (x, s) = (fact(DType::U8, &[4]), fact(DType::F32, &[]));
        let refused = |facts: [&crate::op::Fact; 8]| op.infer(&facts.map(Some)).unwrap_err().message;
        let (z, i, many) = (fact(DType::U8, &[]), fact(DType::I8, &[4]), fact(DType::F32, &[4]));
        assert!(refused([&x, &s, &z, &i, &s, &z, &s, &z]).contains("all u8 or all i8, found i8"));
        assert!(refused([&x, &many, &z, &x, &s, &z, &s, &z]).contains("a scale must be a single number"));
        assert!(parse("com.microsoft::QLinearAdd", 1, &[], 6, 1).is_err());
    }
}
