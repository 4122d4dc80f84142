//! `ai.onnx.preview.training`'s `Adagrad`, `Adam` and `Momentum`: steps of optimisers, which elementwise operators make up.
//!
//! Spec: version 1 of each. Inputs: a learning rate r and a count of steps t, then n tensors x, their n gradients g, and n of each
//! state; results: the new x, then the new states. With `g' = norm_coefficient * x + g`:
//!
//! ```text
//! Adagrad     h' = h + g'^2       x' = x - r / (1 + t * decay_factor) * g' / (sqrt(h') + epsilon)
//! Adam        v' = alpha v + (1 - alpha) g'     h' = beta h + (1 - beta) g'^2
//!             x' = (1 - norm_coefficient_post) (x - r sqrt(1 - beta^t) / (1 - alpha^t) * v' / (sqrt(h') + epsilon))
//! Momentum    v' = alpha v + (beta if t > 0 else 1) g'        x' = x - r v', nesterov: x - r (g' + alpha v')
//! ```
//!
//! At t = 0 Adam's rate is r.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{pow, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};

/// The domain.
pub const DOMAIN: &str = "ai.onnx.preview.training";

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Adagrad { decay: f32, epsilon: f32 },
    Adam { alpha: f32, beta: f32, epsilon: f32, post: f32 },
    Momentum { alpha: f32, beta: f32, nesterov: bool },
}

/// A step of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    kind: Kind,
    norm: f32,
}

fn parse(node: &mut NodeProto<'_>, name: &str) -> Result<Box<dyn Op>> {
    let mut float = |name: &str, default: f32| Ok::<_, crate::Error>(node.float(name)?.unwrap_or(default));
    let norm = float("norm_coefficient", 0.0)?;
    let kind = match name {
        "Adagrad" => Kind::Adagrad { decay: float("decay_factor", 0.0)?, epsilon: float("epsilon", 1e-6)? },
        "Adam" => Kind::Adam {
            alpha: float("alpha", 0.9)?,
            beta: float("beta", 0.999)?,
            epsilon: float("epsilon", 1e-6)?,
            post: float("norm_coefficient_post", 0.0)?,
        },
        _ => {
            let (alpha, beta) = (float("alpha", 0.9)?, float("beta", 1.0)?);
            let nesterov = match node.string("mode")?.as_deref() {
                None | Some("standard") => false,
                Some("nesterov") => true,
                Some(other) => {
                    bail_invalid!("attribute 'mode' must be standard or nesterov, found '{other}'")
                }
            };
            Kind::Momentum { alpha, beta, nesterov }
        }
    };
    let op = Optimizer { kind, norm };
    let per = op.lists();
    if node.inputs.len() < 2 + per
        || !(node.inputs.len() - 2).is_multiple_of(per)
        || node.inputs.contains(&false)
    {
        bail_invalid!("needs a rate, a count and {per} lists of tensors, found {} inputs", node.inputs.len());
    }
    Ok(Box::new(op))
}

/// `Adagrad`.
pub const ADAGRAD: OpDef = OpDef {
    name: "Adagrad",
    domain: DOMAIN,
    since: (1, 1),
    parse: |node| parse(node, "Adagrad"),
    unsupported: "",
};

/// `Adam`.
pub const ADAM: OpDef = OpDef { name: "Adam", parse: |node| parse(node, "Adam"), ..ADAGRAD };

/// `Momentum`.
pub const MOMENTUM: OpDef = OpDef { name: "Momentum", parse: |node| parse(node, "Momentum"), ..ADAGRAD };

impl Op for Optimizer {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Adagrad { .. } => ADAGRAD.name,
            Kind::Adam { .. } => ADAM.name,
            Kind::Momentum { .. } => MOMENTUM.name,
        }
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        let mut list = vec![("norm_coefficient", self.norm)];
        match self.kind {
            Kind::Adagrad { decay, epsilon } => list.extend([("decay_factor", decay), ("epsilon", epsilon)]),
            Kind::Adam { alpha, beta, epsilon, post } => list.extend([
                ("alpha", alpha),
                ("beta", beta),
                ("epsilon", epsilon),
                ("norm_coefficient_post", post),
            ]),
            Kind::Momentum { alpha, beta, .. } => list.extend([("alpha", alpha), ("beta", beta)]),
        }
        let mut attrs: Attrs =
            list.into_iter().map(|(name, value)| (name.to_owned(), Attr::Float(value))).collect();
        if let Kind::Momentum { nesterov, .. } = self.kind {
            let mode = if nesterov { "nesterov" } else { "standard" };
            attrs.insert("mode".to_owned(), Attr::Str(mode.to_owned()));
        }
        attrs
    }

    composed!();
}

impl Optimizer {
    /// Tensors, gradients and states.
    fn lists(&self) -> usize {
        if matches!(self.kind, Kind::Adam { .. }) { 4 } else { 3 }
    }
}

impl Composed for Optimizer {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (rate, count) = (required(inputs, 0)?, required(inputs, 1)?);
        let n = (inputs.len() - 2) / self.lists();
        let mut results = vec![Vec::new(); self.lists() - 1];
        for i in 0..n {
            let list: Vec<Value> =
                (0..self.lists()).map(|l| required(inputs, 2 + l * n + i)).collect::<Result<_>>()?;
            for (results, made) in results.iter_mut().zip(self.step(cx, rate, count, &list)?) {
                results.push(made);
            }
        }
        Ok(results.concat())
    }
}

impl Optimizer {
    fn step(&self, cx: &mut Composer<'_>, rate: Value, count: Value, list: &[Value]) -> Result<Vec<Value>> {
        let (x, g) = (list[0], list[1]);
        super::values::float(cx.fact(x), "what is trained")?;
        let rate = cx.cast(rate, cx.dtype(x))?;
        let steps = cx.cast(count, cx.dtype(x))?;
        let part = cx.times(x, self.norm.into())?;
        let g = cx.add(part, g)?;
        let zero = cx.number_like(steps, 0.0)?;
        let begun = cx.less(zero, steps)?;
        Ok(match self.kind {
            Kind::Adagrad { decay, epsilon } => {
                let slower = cx.times(steps, decay.into())?;
                let slower = cx.plus(slower, 1.0)?;
                let rate = cx.div(rate, slower)?;
                let square = cx.mul(g, g)?;
                let h = cx.add(list[2], square)?;
                let step = scaled(cx, g, h, epsilon)?;
                let step = cx.mul(rate, step)?;
                vec![cx.sub(x, step)?, h]
            }
            Kind::Adam { alpha, beta, epsilon, post } => {
                let mix = |cx: &mut Composer<'_>, old: Value, new: Value, kept: f32| {
                    let (old, new) = (cx.times(old, kept.into())?, cx.times(new, f64::from(1.0 - kept))?);
                    cx.add(old, new)
                };
                let v = mix(cx, list[2], g, alpha)?;
                let square = cx.mul(g, g)?;
                let h = mix(cx, list[3], square, beta)?;
                let rest = |cx: &mut Composer<'_>, base: f32| {
                    let base = cx.number_like(steps, base.into())?;
                    let power = cx.apply(&pow::DEF, &[], &[base, steps])?;
                    cx.number_less(1.0, power)
                };
                let (of_h, of_v) = (rest(cx, beta)?, rest(cx, alpha)?);
                let root = cx.apply(&unary::SQRT, &[], &[of_h])?;
                let corrected = cx.mul(rate, root)?;
                let corrected = cx.div(corrected, of_v)?;
                let rate = cx.choose(begun, corrected, rate)?;
                let step = scaled(cx, v, h, epsilon)?;
                let step = cx.mul(rate, step)?;
                let moved = cx.sub(x, step)?;
                vec![cx.times(moved, f64::from(1.0 - post))?, v, h]
            }
            Kind::Momentum { alpha, beta, nesterov } => {
                let (later, first) = (cx.number_like(steps, beta.into())?, cx.number_like(steps, 1.0)?);
                let factor = cx.choose(begun, later, first)?;
                let (kept, new) = (cx.times(list[2], alpha.into())?, cx.mul(factor, g)?);
                let v = cx.add(kept, new)?;
                let direction = match nesterov {
                    true => {
                        let ahead = cx.times(v, alpha.into())?;
                        cx.add(g, ahead)?
                    }
                    false => v,
                };
                let step = cx.mul(rate, direction)?;
                vec![cx.sub(x, step)?, v]
            }
        })
    }
}

/// `value / (sqrt(h) + epsilon)`.
fn scaled(cx: &mut Composer<'_>, value: Value, h: Value, epsilon: f32) -> Result<Value> {
    let root = cx.apply(&unary::SQRT, &[], &[h])?;
    let root = cx.plus(root, epsilon.into())?;
    cx.div(value, root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn every_optimiser_of_two_tensors() {
        let squares = |step: usize| {
            let values = sample(&[2, 3], step).to_f64s().unwrap();
            Tensor::from_vec(&[2, 3], values.into_iter().map(|v| (v * v) as f32 + 0.1).collect())
        };
        for (name, lists) in [("Adagrad", 3), ("Adam", 4), ("Momentum", 3)] {
            for t in [0i64, 3] {
                let mut inputs = vec![Tensor::scalar(0.1f32), Tensor::scalar(t)];
                inputs.extend((0..2 * lists).map(|i| squares(i + 3)));
                let list = [("norm_coefficient", Attr::Float(0.01))];
                let name = format!("ai.onnx.preview.training::{name}");
                let op = parse(&name, 1, &list, inputs.len(), 2 * (lists - 1)).unwrap();
                run(&*op, &inputs.iter().collect::<Vec<_>>(), &[]).unwrap();
            }
        }
    }
}
