//! `RMSNormalization`: division by the root of the mean square over the last axes (ONNX, since 23).
//!
//! ```text
//! y = x / sqrt(mean of x^2 + epsilon) * scale
//! ```
//!
//! over `axis` and all later axes; scale broadcasts to x.
//!
//! Numerics: the mean is computed in the type of x (f64 by `eval`), which is at least as exact as `stash_type`.
//!
//! Lowering: a `Reduce` and a `Map`, as `super::norm` says.
//!
//! Unsupported: scale of another type than x.
//! f16 and bf16 are computed in f32.

use super::layer_normalization::{attrs, broadcast_positions, parse_attrs, reduced};
use super::nest::{indices, mul};
use super::norm::{Norm, check_broadcast, statistics};
use super::operand::{fact, tensor};
use super::reduce::groups;
use super::values::{float, from_f64s};
use crate::error::Result;
use crate::kernel::{Expr, Lowering};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "RMSNormalization",
    domain: "",
    since: (23, 23),
    parse,
    unsupported: "scale of another type than the input",
};

/// ONNX `RMSNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormalization {
    /// First axis of a group, negative from the end.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f32,
    /// Type in which ONNX computes the mean at least.
    pub stash: DType,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    let (axis, epsilon, stash) = parse_attrs(node)?;
    Ok(Box::new(RmsNormalization { axis, epsilon, stash }))
}

impl Op for RmsNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        attrs(self.axis, self.epsilon, self.stash)
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        fact(inputs, 1)?;
        check_broadcast(inputs, 1)?;
        reduced(self.axis, x.shape.rank())?;
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let reduced = reduced(self.axis, x.shape.len())?;
        let kept: Vec<usize> = x.shape.iter().zip(&reduced).map(|(&e, &r)| if r { 1 } else { e }).collect();
        let groups = groups(&x.shape, &kept);
        let mut values = x.to_f64s()?;
        let (_, inv) = statistics(&values, &groups, kept.iter().product(), self.epsilon, false);
        let (factors, at) = (scale.to_f64s()?, broadcast_positions(&scale.shape, &x.shape));
        values.iter_mut().enumerate().for_each(|(i, v)| *v *= inv[groups[i]] * factors[at[i]]);
        Ok(vec![from_f64s(x.dtype, &x.shape, values)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let norm = Norm {
            shape: x.shape.clone(),
            reduced: reduced(self.axis, x.shape.rank())?,
            index: &|ids| indices(ids),
            dtype: x.dtype,
            epsilon: self.epsilon,
            centred: false,
        };
        norm.lower(cx, |cx, ids, value| {
            Ok(mul(value, Expr::Load(cx.broadcast(cx.input(1)?, &x.shape, ids))))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Attr;
    use crate::ops::testing::{assert_close, parse, run, sample};

    #[test]
    fn by_hand_and_by_rank() {
        let op = parse("RMSNormalization", 23, &[("epsilon", Attr::Float(1.5))], 2, 1).unwrap();
        let x = Tensor::from_vec(&[1, 2], vec![3f32, 4.0]);
        let y = run(&*op, &[&x, &Tensor::from_vec(&[2], vec![1f32, 2.0])], &[]).unwrap();
        let inv = 1.0 / 14f32.sqrt();
        assert_close(&y[0], &Tensor::from_vec(&[1, 2], vec![3.0 * inv, 8.0 * inv]), 1e-6);
        for axis in [-1, 1, 0] {
            let op = parse("RMSNormalization", 23, &[("axis", Attr::Int(axis))], 2, 1).unwrap();
            run(&*op, &[&sample(&[2, 3, 5], 5), &sample(&[5], 3)], &[]).unwrap();
        }
    }
}
