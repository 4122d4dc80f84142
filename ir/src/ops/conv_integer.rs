//! `ConvInteger`: convolution of quantised tensors (ONNX `ConvInteger`, since 10).
//!
//! ```text
//! y[n, o, q] = sum over c, k of (x[..] - zx) * (w[o, c, k] - zw[o])
//! ```
//!
//! in integers of 32 bits, for u8 and i8 of either side; indices and shapes are those of [`super::conv`]. Padding adds
//! nothing: it has the value zx. The zero point of x is one, that of w one or one for each output channel.
//!
//! Numerics: exact, but for sums beyond 32 bits, which wrap.
//!
//! Lowering: the forms of `Conv` over x as it is, padded with zx, and the weights less their zero points, and a term of the
//! sums of these (`factor.rs`). Where zx is computed at run time and there is padding, over x less zx in 16 bits.
//! Depthwise with weights or padding that are known at run time only over both less their zero points in f32, while it holds
//! every sum exactly, else in i32.
//!
//! Unsupported: more than three spatial axes.

use super::conv::{Conv, Factors};
use super::factor::{Factor, exact_type};
use super::operand::fact;
use super::quantization::single;
use super::spatial::Axis;
use super::values::from_i128s;
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Expr, Index, Lowering, Scalar};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "ConvInteger",
    domain: "",
    since: (10, 10),
    parse,
    unsupported: "more than 3 spatial axes",
};

/// ONNX `ConvInteger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvInteger {
    /// Window and groups.
    pub conv: Conv,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=4, 1..=1)?;
    Ok(Box::new(ConvInteger { conv: Conv::parse(node)? }))
}

/// The operands. The input's only zero point has no axis.
const X: Factor = Factor { input: 0, zeros: 2, axis: 1, summed: 1 };
const W: Factor = Factor { input: 1, zeros: 3, axis: 0, summed: 1 };

impl Op for ConvInteger {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        self.conv.attrs()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, w) = (fact(inputs, 0)?, fact(inputs, 1)?);
        let output = self.conv.geometry(&x.shape, &w.shape)?.output;
        X.check(inputs)?;
        W.check(inputs)?;
        check_channels("zero points", inputs.get(2).copied().flatten(), inputs.get(3).copied().flatten())?;
        Ok(vec![Fact::new(DType::I32, output)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let wide = |factor: Factor| -> Result<Tensor> {
            let less = factor.eval(inputs)?;
            Ok(Tensor::from_vec(&less.shape, less.to_f64s()?))
        };
        // f64 holds the sums of 2^37 products.
        let y = self.conv.eval(&[Some(&wide(X)?), Some(&wide(W)?)])?.swap_remove(0);
        let sums = y.to_f64s()?.into_iter().map(|v| v as i128).collect();
        Ok(vec![from_i128s(DType::I32, &y.shape, sums)?])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, w) = (cx.fact(0)?.clone(), cx.fact(1)?.shape.clone());
        let pads = self.conv.geometry(&x.shape, &w)?.axes.iter().any(Axis::overhangs);
        let (known, symmetric) = (X.known_zero(cx)?, X.is_symmetric(cx));
        let later = cx.fact(1)?.tensor().is_none() || known.is_none() && pads;
        if self.conv.is_depthwise(&w) && later {
            let products = w[2..].iter().fold(crate::dim::Dim::Const(1), |n, d| n * d.clone());
            let dtype = exact_type(&products);
            let (x, w) = (X.centred(cx, Some(dtype))?, W.centred(cx, Some(dtype))?);
            let factors = Factors { x: x.buffer, w: w.buffer, outside: Scalar::int(dtype, 0), acc: dtype };
            return self.conv.emit(cx, factors, |_| match dtype {
                DType::I32 => Expr::Acc,
                _ => Expr::cast(DType::I32, Expr::Acc),
            });
        }
        let centred = W.centred(cx, None)?;
        let (mut input, mut outside) = (cx.input(0)?, Scalar::int(x.dtype, known.unwrap_or(0)));
        let mut terms = None;
        if known.is_none() && pads {
            input = X.centred(cx, None)?.buffer;
            outside = Scalar::int(cx.ty(input).dtype, 0);
        } else if !symmetric {
            terms = Some((centred.terms(cx, &X, &[0])?, X.zero(cx, &[])?));
        }
        let factors = Factors { x: input, w: centred.buffer, outside, acc: DType::I32 };
        self.conv.emit(cx, factors, |channel: Index| match terms {
            Some((terms, zero)) => terms.corrected(vec![channel], zero),
            None => Expr::Acc,
        })
    }
}

/// Demands one parameter for the input, and one or one for each output channel for the weights.
pub(super) fn check_channels(what: &str, x: Option<&Fact>, w: Option<&Fact>) -> Result<()> {
    if let Some(x) = x.filter(|x| !single(&x.shape)) {
        bail_invalid!("{what} of the input must be a single one, found shape {}", x.shape);
    }
    if let Some(w) = w.filter(|w| w.shape.rank() > 1) {
        bail_invalid!("{what} of the weights must be a vector, found shape {}", w.shape);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Attr;
    use crate::ops::testing::{bytes, ints, parse, run};
    use crate::types::Shape;

    #[test]
    fn same_as_onnx() {
        // Node cases `convinteger_without_padding` and `convinteger_with_padding`.
        let x = Tensor::from_vec(&[1, 1, 3, 3], (2u8..11).collect());
        let (w, zero) = (Tensor::from_vec(&[1, 1, 2, 2], vec![1u8; 4]), Tensor::scalar(1u8));
        let y = run(&*parse("ConvInteger", 10, &[], 3, 1).unwrap(), &[&x, &w, &zero], &[1, 2]).unwrap();
        assert_eq!(y, [Tensor::from_vec(&[1, 1, 2, 2], vec![12i32, 16, 24, 28])]);
        let list = [("pads", ints(&[1, 1, 1, 1]))];
        let y = run(&*parse("ConvInteger", 10, &list, 3, 1).unwrap(), &[&x, &w, &zero], &[1, 2]).unwrap();
        let expected = vec![1i32, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9];
        assert_eq!(y, [Tensor::from_vec(&[1, 1, 4, 4], expected)]);
    }

    #[test]
    fn every_kind_with_every_zero_point() {
        use DType::{I8, U8};
        let cases: &[(&[usize], &[usize], i64)] = &[
            (&[2, 3, 9], &[4, 3, 3], 1),
            (&[1, 4, 6, 7], &[4, 1, 3, 2], 4),
            (&[1, 3, 6, 7], &[6, 1, 3, 3], 3),
            (&[1, 4, 6, 7], &[6, 2, 1, 3], 2),
            (&[1, 2, 4, 5, 4], &[3, 2, 2, 3, 1], 1),
            (&[1, 19, 5, 6], &[33, 19, 3, 3], 1),
            (&[1, 2, 20, 17], &[2, 1, 17, 17], 2),
        ];
        for (i, (x, w, group)) in cases.iter().enumerate() {
            let rank = x.len() - 2;
            for (stride, dilation, pad) in [(1, 1, 0), (2, 1, 1)] {
                let list = [
                    ("group", Attr::Int(*group)),
                    ("strides", ints(&vec![stride; rank])),
                    ("dilations", ints(&vec![dilation; rank])),
                    ("pads", ints(&vec![pad; 2 * rank])),
                ];
                let types = [[U8, I8], [I8, U8], [U8, U8], [I8, I8]];
                let (tx, tw) = (types[i % 4][0], types[i % 4][1]);
                let (x, w) = (bytes(tx, x, 1), bytes(tw, w, 2));
                let op = parse("ConvInteger", 10, &list, 4, 1).unwrap();
                let zero = bytes(tx, &[], 3);
                for zw in [bytes(tw, &[], 4), bytes(tw, &w.shape[..1], 5)] {
                    for known in [&[][..], &[1, 3], &[1, 2, 3]] {
                        run(&*op, &[&x, &w, &zero, &zw], known).unwrap();
                    }
                }
                run(&*parse("ConvInteger", 10, &list, 2, 1).unwrap(), &[&x, &w], &[1]).unwrap();
            }
        }
    }

    #[test]
    fn refusals() {
        let op = parse("ConvInteger", 10, &[], 4, 1).unwrap();
        let refused = |zx: &[usize], zw: &[usize]| {
            let shapes = [&[1, 3, 8, 8], &[4, 3, 3, 3], zx, zw];
            let facts = shapes.map(|s| Fact::new(DType::I8, Shape::of(s)));
            op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).unwrap_err().message
        };
        assert!(refused(&[3], &[]).contains("zero points of shape [3] do not fit"));
        assert!(refused(&[], &[3]).contains("zero points of shape [3] do not fit"));
        assert!(refused(&[], &[4, 1, 1, 1]).contains("must be a vector"));
    }
}
