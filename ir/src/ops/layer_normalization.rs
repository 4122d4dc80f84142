//! `LayerNormalization`: normalisation over the last axes (ONNX `LayerNormalization`, since 17).
//!
//! ```text
//! y = (x - mean) / sqrt(variance + epsilon) * scale + bias
//! ```
//!
//! with mean and variance over `axis` and all later axes; scale and bias broadcast to x. The optional results Mean
//! and InvStdDev keep the reduced axes with extent 1 and have the type of `stash_type`.
//!
//! Numerics: statistics are computed in the type of x (f64 by `eval`), which is at least as exact as `stash_type`.
//!
//! Lowering: two `Reduce`s and a `Map`, as `super::norm` says.
//!
//! Unsupported: scale of another type than x.
//! f16 and bf16 are computed in f32.

use super::nest::{add, indices, mul};
use super::norm::{Norm, check_broadcast, statistics};
use super::operand::{fact, tensor};
use super::reduce::groups;
use super::values::{float, from_f64s};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Expr, Form, Lowering, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, axis_of};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "LayerNormalization",
    domain: "",
    since: (17, 17),
    parse,
    unsupported: "scale of another type than the input",
};

/// ONNX `LayerNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormalization {
    /// First axis of a group, negative from the end.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// Type of the statistics.
    pub stash: DType,
    /// Number of results.
    pub outputs: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=3)?;
    let (axis, epsilon, stash) = parse_attrs(node)?;
    Ok(Box::new(LayerNormalization { axis, epsilon, stash, outputs: node.outputs }))
}

/// The attributes that layer and RMS normalisation share: axis, epsilon, type of the statistics.
pub(super) fn parse_attrs(node: &mut NodeProto<'_>) -> Result<(i64, f32, DType)> {
    let axis = node.int("axis")?.unwrap_or(-1);
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    let stash = node.int("stash_type")?.unwrap_or(1);
    let dtype = i32::try_from(stash).ok().and_then(|n| DType::from_onnx(n).ok()).filter(|d| d.is_float());
    match dtype {
        Some(dtype) => Ok((axis, epsilon, dtype)),
        None => bail_invalid!("attribute 'stash_type' must name a floating-point type, found {stash}"),
    }
}

/// The attributes that `parse_attrs` reads.
pub(super) fn attrs(axis: i64, epsilon: f32, stash: DType) -> Attrs {
    let mut attrs =
        Attrs::from([("axis".to_owned(), Attr::Int(axis)), ("epsilon".to_owned(), Attr::Float(epsilon))]);
    if stash != DType::F32 {
        attrs.insert("stash_type".into(), Attr::Int(stash.to_onnx().into()));
    }
    attrs
}

/// Which axes a group spans.
pub(super) fn reduced(axis: i64, rank: usize) -> Result<Vec<bool>> {
    let axis = axis_of(axis, rank)?;
    Ok((0..rank).map(|i| i >= axis).collect())
}

/// Element `i` of a tensor that broadcasts to `shape`: the position in it for each position of `shape`.
pub(super) fn broadcast_positions(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let padded: Vec<usize> =
        vec![1; shape.len() - own.len()].into_iter().chain(own.iter().copied()).collect();
    groups(shape, &padded)
}

impl Op for LayerNormalization {
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
        let reduced = reduced(self.axis, x.shape.rank())?;
        let kept = |(d, r): (&Dim, &bool)| if *r { Dim::Const(1) } else { d.clone() };
        let kept: Shape = x.shape.iter().zip(&reduced).map(kept).collect();
        let mut facts = vec![Fact::new(dtype, x.shape.clone())];
        facts.resize(self.outputs, Fact::new(self.stash, kept));
        Ok(facts)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let bias = inputs.get(2).copied().flatten();
        let reduced = reduced(self.axis, x.shape.len())?;
        let kept: Vec<usize> = x.shape.iter().zip(&reduced).map(|(&e, &r)| if r { 1 } else { e }).collect();
        let groups = groups(&x.shape, &kept);
        let mut values = x.to_f64s()?;
        let (mean, inv) = statistics(&values, &groups, kept.iter().product(), self.epsilon, true);
        let (factors, at_factor) = (scale.to_f64s()?, broadcast_positions(&scale.shape, &x.shape));
        let bias = match bias {
            Some(b) => Some((b.to_f64s()?, broadcast_positions(&b.shape, &x.shape))),
            None => None,
        };
        for (i, v) in values.iter_mut().enumerate() {
            let g = groups[i];
            let shift = bias.as_ref().map_or(0.0, |(b, at)| b[at[i]]);
            *v = (*v - mean[g]) * inv[g] * factors[at_factor[i]] + shift;
        }
        let mut results = vec![from_f64s(x.dtype, &x.shape, values)?];
        for statistic in [mean, inv].into_iter().take(self.outputs.saturating_sub(1)) {
            results.push(from_f64s(self.stash, &kept, statistic)?);
        }
        Ok(results)
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
            centred: true,
        };
        let statistics = norm.lower(cx, |cx, ids, value| {
            let scale = Expr::Load(cx.broadcast(cx.input(1)?, &x.shape, ids));
            let scaled = mul(value, scale);
            Ok(match cx.has_input(2) {
                true => add(scaled, Expr::Load(cx.broadcast(cx.input(2)?, &x.shape, ids))),
                false => scaled,
            })
        })?;
        for (i, from) in [(1, statistics.mean), (2, Some(statistics.inv))] {
            let Some(from) = from.filter(|_| i < self.outputs) else { continue };
            let (loops, ids) = Lowering::loops_over(&cx.ty(from).shape.clone());
            let mut value = Expr::Load(Access::new(from, indices(&ids)));
            if self.stash != x.dtype {
                value = Expr::cast(self.stash, value);
            }
            let store = Store { to: Access::new(cx.output(i)?, indices(&ids)), value };
            cx.emit(loops, Form::Map { stores: vec![store] });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};

    #[test]
    fn groups_of_all_ranks() {
        let x = sample(&[2, 3, 5], 5);
        for (axis, scale) in [(-1, vec![5]), (1, vec![3, 5]), (-3, vec![2, 3, 5]), (2, vec![])] {
            let op = parse("LayerNormalization", 17, &[("axis", Attr::Int(axis))], 3, 3).unwrap();
            run(&*op, &[&x, &sample(&scale, 3), &sample(&scale, 7)], &[]).unwrap();
        }
    }

    #[test]
    fn by_hand() {
        let op = parse("LayerNormalization", 17, &[("epsilon", Attr::Float(1.0))], 2, 3).unwrap();
        let x = Tensor::from_vec(&[1, 2], vec![1f32, 5.0]);
        let y = run(&*op, &[&x, &Tensor::from_vec(&[2], vec![1f32, 2.0])], &[]).unwrap();
        let inv = 1.0 / 5f32.sqrt();
        assert_close(&y[0], &Tensor::from_vec(&[1, 2], vec![-2.0 * inv, 4.0 * inv]), 1e-6);
        assert_eq!(y[1], Tensor::from_vec(&[1, 1], vec![3f32]));
        assert_close(&y[2], &Tensor::from_vec(&[1, 1], vec![inv]), 1e-6);
    }

    #[test]
    fn refusals() {
        let op = parse("LayerNormalization", 17, &[("axis", Attr::Int(-4))], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[3]]).contains("axis -4 is outside"));
        let op = parse("LayerNormalization", 17, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[4]]).contains("do not broadcast"));
        assert!(parse("LayerNormalization", 17, &[("stash_type", Attr::Int(7))], 2, 1).is_err());
    }
}
