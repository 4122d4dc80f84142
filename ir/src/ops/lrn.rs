//! `LRN`: local response normalisation across channels (ONNX `LRN`, since 1 and 13).
//!
//! ```text
//! y[n, c, q] = x[n, c, q] / (bias + alpha / size * sum over k of x[n, c + k - (size - 1)/2, q]^2)^beta
//! ```
//!
//! for k from 0 to size - 1, over the channels inside x.
//!
//! Numerics: in the element type; `eval` computes in f64.
//!
//! Lowering: a `Reduce` over k of squares, zero outside; the powers 1/2 and 3/4 by square roots.
//!
//! f16 and bf16 are computed in f32.

use super::nest::{NestBuilder, add, constant, div, indices, mul};
use super::operand::{fact, tensor};
use super::values::{float, from_f64s};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{
    Access, Affine, BinaryOp, Expr, Form, Index, Lowering, ReduceOp, Scalar, Store, UnaryOp,
};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// The definition.
pub const DEF: OpDef = OpDef { name: "LRN", domain: "", since: (1, 13), parse, unsupported: "" };

/// ONNX `LRN`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Factor of the mean square.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Addend of the mean square.
    pub bias: f32,
    /// Number of channels.
    pub size: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let mut float = |name: &str, default| Ok::<_, crate::Error>(node.float(name)?.unwrap_or(default));
    let (alpha, beta, bias) = (float("alpha", 1e-4)?, float("beta", 0.75)?, float("bias", 1.0)?);
    match node.int("size")? {
        Some(size) if (1..=i64::from(i32::MAX)).contains(&size) => {
            Ok(Box::new(Lrn { alpha, beta, bias, size }))
        }
        Some(size) => bail_invalid!("attribute 'size' must be from 1 to {}, found {size}", i32::MAX),
        None => bail_invalid!("attribute 'size' is missing"),
    }
}

impl Op for Lrn {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("alpha".to_owned(), Attr::Float(self.alpha)),
            ("beta".to_owned(), Attr::Float(self.beta)),
            ("bias".to_owned(), Attr::Float(self.bias)),
            ("size".to_owned(), Attr::Int(self.size)),
        ])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        if x.shape.rank() < 2 {
            bail_invalid!("the input must have batch and channels, found {}", x.shape);
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let (channels, plane) = (x.shape[1] as i64, x.shape[2..].iter().product::<usize>());
        let values = x.to_f64s()?;
        let result = values.iter().enumerate().map(|(i, v)| {
            let c = (i / plane) as i64 % channels;
            let from = (c - (self.size - 1) / 2).max(0);
            let to = (c - (self.size - 1) / 2 + self.size).min(channels);
            let at = |other: i64| values[(i as i64 + (other - c) * plane as i64) as usize];
            let squares: f64 = (from..to).map(|other| at(other).powi(2)).sum();
            let scale = f64::from(self.alpha) / self.size as f64;
            v / (f64::from(self.bias) + scale * squares).powf(self.beta.into())
        });
        Ok(vec![from_f64s(x.dtype, &x.shape, result.collect())?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let dtype = x.dtype;
        let (loops, ids) = Lowering::loops_over(&x.shape);
        let mut nest = NestBuilder { loops };
        let k = nest.reduce("k", &self.size.into());
        let mut index: Vec<Index> = indices(&ids);
        index[1] = Affine::of(ids[1]).plus(k, 1i64).shifted(-((self.size - 1) / 2)).into();
        let neighbour = Access {
            buffer: cx.input(0)?,
            index,
            otherwise: (self.size > 1).then(|| Scalar::of(dtype, 0.0)),
        };
        let neighbour = Expr::Load(neighbour);
        let scale = constant(dtype, f64::from(self.alpha) / self.size as f64);
        let base = add(constant(dtype, self.bias.into()), mul(Expr::Acc, scale));
        let root = |x: Expr| Expr::unary(UnaryOp::Sqrt, x);
        // The powers that are in use without logarithms.
        let power = match self.beta {
            0.5 => root(base),
            0.75 => mul(root(base.clone()), root(root(base))),
            beta => Expr::binary(BinaryOp::Pow, base, constant(dtype, beta.into())),
        };
        let element = Expr::Load(Access::new(cx.input(0)?, indices(&ids)));
        let store = Store { to: Access::new(cx.output(0)?, indices(&ids)), value: div(element, power) };
        let value = mul(neighbour.clone(), neighbour);
        cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value, store });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, run, sample};

    #[test]
    fn by_hand_and_by_size() {
        let list = [("size", Attr::Int(2)), ("alpha", Attr::Float(2.0)), ("beta", Attr::Float(1.0))];
        let op = parse("LRN", 13, &list, 1, 1).unwrap();
        // An even window reaches further to the later channels.
        let y = run(&*op, &[&Tensor::from_vec(&[1, 3], vec![1f32, 2.0, 3.0])], &[]).unwrap();
        let expected = vec![1.0 / 6.0, 2.0 / 14.0, 3.0f32 / 10.0];
        assert_close(&y[0], &Tensor::from_vec(&[1, 3], expected), 1e-6);
        for size in [1, 3, 4, 9] {
            for beta in [0.75, 0.5, 1.0, 0.6] {
                let list =
                    [("size", Attr::Int(size)), ("beta", Attr::Float(beta)), ("alpha", Attr::Float(0.5))];
                let op = parse("LRN", 13, &list, 1, 1).unwrap();
                run(&*op, &[&sample(&[2, 5, 2, 3], 5)], &[]).unwrap();
            }
        }
        assert!(parse("LRN", 13, &[("size", Attr::Int(0))], 1, 1).is_err());
    }
}
