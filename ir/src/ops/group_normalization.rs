//! `GroupNormalization`: normalisation of groups of channels of each instance (ONNX, since 18 and 21).
//!
//! ```text
//! y[n, c, q] = (x[n, c, q] - mean[n, g]) / sqrt(variance[n, g] + epsilon) * scale[s] + bias[s]
//! ```
//!
//! with mean and variance over the channels of group `g = c / (C / num_groups)` and the spatial axes. Since 21 scale
//! and bias have one element per channel (`s = c`), before one per group (`s = g`).
//!
//! Numerics: in the element type; `eval` computes in f64.
//!
//! Lowering: two `Reduce`s and a `Map`, as `super::norm` says, with the channels as two loops.
//!
//! f16 and bf16 are computed in f32.

use super::nest::{add, indices, mul};
use super::norm::{Norm, check_vectors, statistics};
use super::operand::{fact, tensor};
use super::values::{float, from_f64s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Expr, Index, LoopId, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "GroupNormalization", domain: "", since: (18, 21), parse, unsupported: "" };

/// ONNX `GroupNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormalization {
    /// Number of groups.
    pub groups: i64,
    /// Added to the variance.
    pub epsilon: f32,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    // The statistics are at least as exact as this type.
    node.int("stash_type")?;
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    match node.int("num_groups")? {
        Some(groups) if groups >= 1 => Ok(Box::new(GroupNormalization { groups, epsilon })),
        Some(groups) => bail_invalid!("attribute 'num_groups' must be positive, found {groups}"),
        None => bail_invalid!("attribute 'num_groups' is missing"),
    }
}

impl GroupNormalization {
    /// Channels per group.
    fn size(&self, x: &Shape) -> Result<i64> {
        if x.rank() < 2 {
            bail_invalid!("the input must have batch and channels, found {x}");
        }
        match x[1].as_const() {
            Some(channels) if channels % self.groups == 0 => Ok(channels / self.groups),
            Some(channels) => bail_invalid!("{channels} channels do not divide into {} groups", self.groups),
            None => {
                bail_unsupported!("an open number of channels in {x} is not supported: bind it with --dim")
            }
        }
    }
}

impl Op for GroupNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("num_groups".to_owned(), Attr::Int(self.groups)),
            ("epsilon".to_owned(), Attr::Float(self.epsilon)),
        ])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        self.size(&x.shape)?;
        check_vectors(inputs, &[x.shape[1].clone(), self.groups.into()])?;
        if fact(inputs, 1)?.shape != fact(inputs, 2)?.shape {
            bail_invalid!("scale and bias must have one length");
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let (scale, bias) = (tensor(inputs, 1)?.to_f64s()?, tensor(inputs, 2)?.to_f64s()?);
        let size = self.size(&Shape::of(&x.shape))? as usize;
        let (channels, plane) = (x.shape[1], x.shape[2..].iter().product::<usize>().max(1));
        let mut values = x.to_f64s()?;
        let groups: Vec<usize> = (0..values.len()).map(|i| i / (plane * size)).collect();
        let (mean, inv) = statistics(&values, &groups, x.shape[0] * self.groups as usize, self.epsilon, true);
        for (i, (v, &g)) in values.iter_mut().zip(&groups).enumerate() {
            let c = i / plane % channels;
            let s = if scale.len() == channels { c } else { c / size };
            *v = (*v - mean[g]) * inv[g] * scale[s] + bias[s];
        }
        Ok(vec![from_f64s(x.dtype, &x.shape, values)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let size = self.size(&x.shape)?;
        let mut shape = vec![x.shape[0].clone(), self.groups.into(), size.into()];
        shape.extend(x.shape[2..].iter().cloned());
        let channel = |ids: &[LoopId]| Affine::of(ids[2]).plus(ids[1], Dim::Const(size));
        let index = |ids: &[LoopId]| -> Vec<Index> {
            let mut out = vec![ids[0].into(), channel(ids).into()];
            out.extend(indices(&ids[3..]));
            out
        };
        let norm = Norm {
            reduced: (0..shape.len()).map(|i| i >= 2).collect(),
            shape: Shape(shape),
            index: &index,
            dtype: x.dtype,
            epsilon: self.epsilon,
            centred: true,
        };
        norm.lower(cx, |cx, ids, value| {
            let per_channel = cx.fact(1)?.shape[0] == x.shape[1];
            let at: Index = if per_channel { channel(ids).into() } else { ids[1].into() };
            let operand = |i| Ok::<_, Error>(Expr::Load(Access::new(cx.input(i)?, vec![at.clone()])));
            Ok(add(mul(value, operand(1)?), operand(2)?))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};

    #[test]
    fn scales_by_group_and_by_channel() {
        let op = parse("GroupNormalization", 18, &[("num_groups", Attr::Int(2))], 3, 1).unwrap();
        let x = sample(&[2, 6, 2, 3], 5);
        let by_group = run(&*op, &[&x, &sample(&[2], 3), &sample(&[2], 7)], &[]).unwrap();
        let spread = |t: Tensor| {
            let v = t.to_f64s().unwrap();
            Tensor::from_vec(&[6], (0..6).map(|i| v[i / 3] as f32).collect())
        };
        let by_channel = run(&*op, &[&x, &spread(sample(&[2], 3)), &spread(sample(&[2], 7))], &[]).unwrap();
        assert_close(&by_channel[0], &by_group[0], 1e-6);
    }

    #[test]
    fn refusals() {
        let op = parse("GroupNormalization", 21, &[("num_groups", Attr::Int(4))], 3, 1).unwrap();
        assert!(refusal(&*op, &[&[1, 6, 2], &[6], &[6]]).contains("do not divide into 4 groups"));
        assert!(parse("GroupNormalization", 21, &[("num_groups", Attr::Int(0))], 3, 1).is_err());
        assert!(parse("GroupNormalization", 21, &[], 3, 1).is_err());
    }
}
