//! `InstanceNormalization`: normalisation of each channel of each instance (ONNX, since 1, 6 and 22).
//!
//! ```text
//! y[n, c, q] = (x[n, c, q] - mean[n, c]) / sqrt(variance[n, c] + epsilon) * scale[c] + b[c]
//! ```
//!
//! with mean and variance over the spatial axes. Shapes: x `[N, C, ...]`, scale and b `[C]`.
//!
//! Numerics: in the element type; `eval` computes in f64.
//!
//! Lowering: two `Reduce`s and a `Map`, as `super::norm` says.
//!
//! f16 and bf16 are computed in f32.

use super::nest::{add, indices, mul};
use super::norm::{Norm, check_vectors, statistics};
use super::operand::{fact, tensor};
use super::values::{float, from_f64s};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Access, Expr, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "InstanceNormalization", domain: "", since: (1, 22), parse, unsupported: "" };

/// ONNX `InstanceNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    Ok(Box::new(InstanceNormalization { epsilon: node.float("epsilon")?.unwrap_or(1e-5) }))
}

impl Op for InstanceNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("epsilon".to_owned(), Attr::Float(self.epsilon))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        if x.shape.rank() < 3 {
            bail_invalid!(
                "the input must have batch, channels and at least one spatial axis, found {}",
                x.shape
            );
        }
        check_vectors(inputs, &x.shape[1..2])?;
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let (scale, bias) = (tensor(inputs, 1)?.to_f64s()?, tensor(inputs, 2)?.to_f64s()?);
        let (channels, plane) = (x.shape[1], x.shape[2..].iter().product::<usize>().max(1));
        let mut values = x.to_f64s()?;
        let groups: Vec<usize> = (0..values.len()).map(|i| i / plane).collect();
        let (mean, inv) = statistics(&values, &groups, x.shape[0] * channels, self.epsilon, true);
        for (v, &g) in values.iter_mut().zip(&groups) {
            *v = (*v - mean[g]) * inv[g] * scale[g % channels] + bias[g % channels];
        }
        Ok(vec![from_f64s(x.dtype, &x.shape, values)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let norm = Norm {
            shape: x.shape.clone(),
            reduced: (0..x.shape.rank()).map(|i| i >= 2).collect(),
            index: &|ids| indices(ids),
            dtype: x.dtype,
            epsilon: self.epsilon,
            centred: true,
        };
        norm.lower(cx, |cx, ids, value| {
            let of_channel =
                |i| Ok::<_, crate::Error>(Expr::Load(Access::new(cx.input(i)?, indices(&ids[1..2]))));
            Ok(add(mul(value, of_channel(1)?), of_channel(2)?))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};

    #[test]
    fn same_as_onnx() {
        // Node case `instancenorm_example`.
        let x = Tensor::from_vec(&[1, 2, 1, 3], vec![-1f32, 0.0, 1.0, 2.0, 3.0, 4.0]);
        let scale = Tensor::from_vec(&[2], vec![1f32, 1.5]);
        let bias = Tensor::from_vec(&[2], vec![0f32, 1.0]);
        let op = parse("InstanceNormalization", 22, &[], 3, 1).unwrap();
        let y = run(&*op, &[&x, &scale, &bias], &[1, 2]).unwrap();
        let expected = [-1.2247357, 0.0, 1.2247357, -0.8371035, 1.0, 2.8371034f32];
        assert_close(&y[0], &Tensor::from_vec(&[1, 2, 1, 3], expected.to_vec()), 1e-6);
        run(&*op, &[&sample(&[2, 3, 2, 2, 3], 5), &sample(&[3], 2), &sample(&[3], 7)], &[]).unwrap();
        assert!(refusal(&*op, &[&[1, 3, 4], &[3], &[2]]).contains("input 2 must be a vector"));
    }
}
