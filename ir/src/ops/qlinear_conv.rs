//! `QLinearConv`: convolution of quantised tensors, quantised (ONNX `QLinearConv`, since 10).
//!
//! ```text
//! y = saturate(round(f32(sum of (x - x_zero) * (w - w_zero) + bias) * (x_scale * w_scale / y_scale)) + y_zero)
//! ```
//!
//! Inputs: x, its scale and zero point, w, its scale and zero point, y's scale and zero point, and an i32 bias `[O]` whose
//! scale is `x_scale * w_scale`. Scales and zero points of w are one, or one for each output channel; the others are one.
//! Sums, shapes and padding are those of [`super::conv_integer`].
//!
//! Numerics: [`crate::numerics::requantize`]: an exact sum, a factor in f32, a product in f32, halves to even.
//!
//! Unsupported: more than three spatial axes.

use std::sync::Arc;

use super::binary;
use super::composed::{Composed, Composer, Value, composed, required};
use super::conv::Conv;
use super::conv_integer::{ConvInteger, check_channels};
use super::quantization::single;
use super::requantize::{requantize, scalar};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "QLinearConv",
    domain: "",
    since: (10, 10),
    parse,
    unsupported: "more than 3 spatial axes",
};

/// ONNX `QLinearConv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QLinearConv {
    /// Window and groups.
    pub conv: Conv,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(8..=9, 1..=1)?;
    Ok(Box::new(QLinearConv { conv: Conv::parse(node)? }))
}

impl Op for QLinearConv {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        self.conv.attrs()
    }

    composed!(product);
}

impl Composed for QLinearConv {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let all: Vec<Value> = (0..8).map(|i| required(inputs, i)).collect::<Result<_>>()?;
        let [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero] = all[..] else {
            return Err(Error::internal("eight inputs"));
        };
        for scale in [x_scale, w_scale, y_scale] {
            if cx.fact(scale).dtype != DType::F32 {
                bail_invalid!("scales must be f32, found {}", cx.fact(scale).dtype);
            }
        }
        check_channels("scales", Some(cx.fact(x_scale)), Some(cx.fact(w_scale)))?;
        let op = Arc::new(ConvInteger { conv: self.conv.clone() });
        let sums = cx.node(op, &[Some(x), Some(w), Some(x_zero), Some(w_zero)])?;
        let mut sum = *sums.first().ok_or_else(|| Error::internal("no sums"))?;
        // Of one element for each channel: as many axes as the result has behind it.
        let (rank, channels) = (cx.fact(x).shape.rank(), cx.fact(w).shape[0].clone());
        let per_channel: Vec<i64> = [-1].into_iter().chain((2..rank).map(|_| 1)).collect();
        if let Some(bias) = inputs.get(8).copied().flatten() {
            let fact = cx.fact(bias);
            if fact.dtype != DType::I32 || fact.shape.rank() != 1 || fact.shape[0] != channels {
                bail_invalid!("the bias must be i32[{channels}], found {}", fact.ty());
            }
            let bias = cx.reshape(bias, &per_channel)?;
            sum = cx.apply(&binary::ADD, &[], &[sum, bias])?;
        }
        let x_scale = scalar(cx, x_scale, "the scale of the input")?;
        let w_scale = match single(&cx.fact(w_scale).shape) {
            true => scalar(cx, w_scale, "the scale of the weights")?,
            false if cx.fact(w_scale).shape[0] == channels => cx.reshape(w_scale, &per_channel)?,
            false => {
                bail_invalid!("{} scales do not fit {channels} output channels", cx.fact(w_scale).shape[0])
            }
        };
        let y_scale = scalar(cx, y_scale, "the scale of the result")?;
        let product = cx.apply(&binary::MUL, &[], &[x_scale, w_scale])?;
        let factor = cx.apply(&binary::DIV, &[], &[product, y_scale])?;
        let y_zero = scalar(cx, y_zero, "the zero point of the result")?;
        Ok(vec![requantize(cx, sum, factor, y_zero)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Attr;
    use crate::ops::testing::{bytes, ints, parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn one_weight_is_a_scale() {
        // Of one channel and one weight: each element by itself.
        let x = bytes(DType::U8, &[1, 1, 7, 7], 1);
        let w = Tensor::from_vec(&[1, 1, 1, 1], vec![0u8]);
        let scale = |v: f32| Tensor::scalar(v);
        let (sx, sw, sy) =
            (scale(0.003_692_04), Tensor::from_vec(&[1], vec![0.001_727_94f32]), scale(0.001_624_7));
        let (zx, zw, zy) =
            (Tensor::scalar(132u8), Tensor::from_vec(&[1], vec![255u8]), Tensor::scalar(123u8));
        let op = parse("QLinearConv", 10, &[], 8, 1).unwrap();
        let y = run(&*op, &[&x, &sx, &zx, &w, &sw, &zw, &sy, &zy], &[1, 2, 3, 4, 5, 6, 7]).unwrap().remove(0);
        let factor = 0.003_692_04f32 * 0.001_727_94 / 0.001_624_7;
        for (x, y) in x.to_i64s().unwrap().into_iter().zip(y.to_i64s().unwrap()) {
            let sum = (x as i32 - 132) * -255;
            assert_eq!(i128::from(y), crate::numerics::requantize(sum, factor, 123.0, DType::U8));
        }
    }

    #[test]
    fn every_kind_with_scales_by_channel() {
        use DType::{I8, U8};
        let cases: &[(&[usize], &[usize], i64)] = &[
            (&[2, 3, 9], &[4, 3, 3], 1),
            (&[1, 20, 6, 7], &[20, 1, 3, 2], 20),
            (&[1, 4, 6, 7], &[6, 2, 1, 3], 2),
            (&[1, 19, 5, 6], &[33, 19, 3, 3], 1),
        ];
        for (x, w, group) in cases {
            let list = [("group", Attr::Int(*group)), ("pads", ints(&vec![1; 2 * (x.len() - 2)]))];
            let outputs = w[0];
            for (tx, tw) in [(U8, I8), (U8, U8), (I8, I8)] {
                let (x, w) = (bytes(tx, x, 1), bytes(tw, w, 2));
                let scales =
                    Tensor::from_vec(&[outputs], (0..outputs).map(|i| 0.01 + i as f32 / 1e3).collect());
                let zeros = bytes(tw, &[outputs], 3);
                let bias =
                    Tensor::from_vec(&[outputs], (0..outputs).map(|i| i as i32 * 777 - 2000).collect());
                let (sx, sy) = (Tensor::scalar(0.02f32), Tensor::scalar(0.7f32));
                let (zx, zy) = (bytes(tx, &[], 4), bytes(tx, &[], 5));
                let inputs = [&x, &sx, &zx, &w, &scales, &zeros, &sy, &zy, &bias];
                let op = parse("QLinearConv", 10, &list, 9, 1).unwrap();
                run(&*op, &inputs, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
                run(&*op, &inputs, &[]).unwrap();
            }
        }
    }
}
