//! `RandomUniform`, `RandomNormal`, these two `Like` a tensor, `Bernoulli` and `Multinomial`: random numbers.
//!
//! Spec: RandomUniform, RandomNormal and their variants, versions 1 and 22; Bernoulli, 15 and 22; Multinomial, 7 and 22.
//!
//! ```text
//! RandomUniform    low + (high - low) * u           RandomNormal    mean + scale * n
//! Bernoulli        u < x, as 1 and 0                Multinomial     the first class up to which probabilities exceed u
//! ```
//!
//! Numerics: number i of a result is [`crate::numerics::random_uniform`] or `random_normal` of the bits of `seed`, a float (0 if
//! left out), and i. They are constants of the compiled model: every run has the same ones, on every machine.
//!
//! Results of open shape have the numbers of the greatest shape at their places.
//!
//! Unsupported: choices of open shape.

use super::composed::{Composed, Composer, Value, composed, required};
use super::counted::Chain;
use super::values::from_f64s;
use super::{cum_sum, gather, operand, shape, softmax};
use crate::bail_invalid;
use crate::counts::Counts;
use crate::error::Result;
use crate::numerics::{random_normal, random_uniform};
use crate::op::{Attr, Attrs, NodeProto, NodeView, Op, OpDef, Patch};
use crate::types::DType;

/// Which operator.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Uniform { low: f32, high: f32 },
    Normal { mean: f32, scale: f32 },
    Bernoulli,
    Multinomial { samples: i64 },
}

/// An operator with random numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Random {
    name: &'static str,
    kind: Kind,
    dtype: Option<DType>,
    seed: Option<f32>,
    /// Of an operator without inputs.
    shape: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str) -> Result<Box<dyn Op>> {
    let alone = matches!(name, "RandomUniform" | "RandomNormal");
    let inputs = if alone { 0 } else { 1 };
    node.arity(inputs..=inputs, 1..=1)?;
    let mut float = |name: &str, default: f32| Ok::<_, crate::Error>(node.float(name)?.unwrap_or(default));
    let kind = match name {
        "RandomUniform" | "RandomUniformLike" => {
            Kind::Uniform { low: float("low", 0.0)?, high: float("high", 1.0)? }
        }
        "RandomNormal" | "RandomNormalLike" => {
            Kind::Normal { mean: float("mean", 0.0)?, scale: float("scale", 1.0)? }
        }
        "Bernoulli" => Kind::Bernoulli,
        _ => Kind::Multinomial { samples: node.int("sample_size")?.unwrap_or(1) },
    };
    let dtype =
        node.int("dtype")?.map(|n| DType::from_onnx(i32::try_from(n).unwrap_or(i32::MAX))).transpose()?;
    let shape = if alone {
        let Some(shape) = node.ints("shape")? else { bail_invalid!("attribute 'shape' is missing") };
        Some(shape)
    } else {
        None
    };
    Ok(Box::new(Random { name, kind, dtype, seed: node.float("seed")?, shape }))
}

macro_rules! defs {
    ($($def:ident $name:literal $since:literal;)*) => { $(
        #[doc = concat!("`", $name, "`.")]
        pub const $def: OpDef = OpDef {
            name: $name,
            domain: "",
            since: ($since, 22),
            parse: |node| parse(node, $name),
            unsupported: "",
        };
    )* };
}
defs! {
    BERNOULLI "Bernoulli" 15;
    MULTINOMIAL "Multinomial" 7;
    NORMAL "RandomNormal" 1;
    NORMAL_LIKE "RandomNormalLike" 1;
    UNIFORM "RandomUniform" 1;
    UNIFORM_LIKE "RandomUniformLike" 1;
}

impl Op for Random {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        let mut list: Vec<(&str, Attr)> = match self.kind {
            Kind::Uniform { low, high } => vec![("low", Attr::Float(low)), ("high", Attr::Float(high))],
            Kind::Normal { mean, scale } => vec![("mean", Attr::Float(mean)), ("scale", Attr::Float(scale))],
            Kind::Bernoulli => vec![],
            Kind::Multinomial { samples } => vec![("sample_size", Attr::Int(samples))],
        };
        list.extend(self.dtype.map(|t| ("dtype", Attr::Int(t.to_onnx().into()))));
        list.extend(self.seed.map(|s| ("seed", Attr::Float(s))));
        list.extend(self.shape.clone().map(|s| ("shape", Attr::Ints(s))));
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    composed!();

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let name = match self.kind {
            Kind::Uniform { .. } => UNIFORM.name,
            Kind::Normal { .. } => NORMAL.name,
            _ => return Ok(None),
        };
        if self.shape.is_some() || node.fact(0)?.shape.as_const().is_some() {
            return Ok(None);
        }
        let x = node.fact(0)?;
        let most = x.shape.iter().map(|d| counts.most(d)).collect::<Result<Vec<_>>>()?;
        let all =
            Random { name, dtype: Some(self.dtype.unwrap_or(x.dtype)), shape: Some(most), ..self.clone() };
        let mut chain = Chain::new(node);
        let mut y = chain.node(all, &[], 1)[0];
        let own = chain.input(0)?;
        let extents = chain.apply(&shape::DEF, &[], &[own])?;
        for axis in (0..x.shape.rank()).filter(|a| x.shape[*a].as_const().is_none()) {
            let which = chain.integers(&[axis as i64]);
            let n = chain.apply(&gather::DEF, &[], &[extents, which])?;
            y = chain.prefix(y, n, axis as i64);
        }
        Ok(Some(chain.finish(&[y])))
    }
}

impl Random {
    /// Random numbers of a shape.
    fn numbers(
        &self,
        cx: &mut Composer<'_>,
        dtype: DType,
        shape: &[i64],
        of: impl Fn(u64, u64) -> f64,
    ) -> Result<Value> {
        let dims = shape.iter().map(|d| (*d).into()).collect();
        let extents = operand::constant(dims)?;
        let (seed, count) =
            (u64::from(self.seed.unwrap_or(0.0).to_bits()), extents.iter().product::<usize>());
        let values = (0..count as u64).map(|i| of(seed, i)).collect();
        Ok(cx.constant(from_f64s(dtype, &extents, values)?))
    }
}

impl Composed for Random {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (shape, like) = match &self.shape {
            Some(shape) => (shape.clone(), DType::F32),
            None => {
                let x = required(inputs, 0)?;
                (cx.extents(x, "a random tensor")?, cx.dtype(x))
            }
        };
        let dtype = self.dtype.unwrap_or(like);
        let float = |dtype: DType| match dtype.is_float() {
            true => Ok(dtype),
            false => bail_invalid!("random numbers are floats, not {dtype}"),
        };
        let y = match self.kind {
            Kind::Uniform { low, high } => {
                let (low, high) = (f64::from(low), f64::from(high));
                let of = |seed, i| low + (high - low) * random_uniform(seed, i);
                self.numbers(cx, float(dtype)?, &shape, of)?
            }
            Kind::Normal { mean, scale } => {
                let (mean, scale) = (f64::from(mean), f64::from(scale));
                self.numbers(cx, float(dtype)?, &shape, |seed, i| mean + scale * random_normal(seed, i))?
            }
            Kind::Bernoulli => {
                let x = required(inputs, 0)?;
                let numbers = self.numbers(cx, float(like)?, &shape, random_uniform)?;
                let on = cx.less(numbers, x)?;
                cx.cast(on, dtype)?
            }
            Kind::Multinomial { samples } => {
                let dtype = self.dtype.unwrap_or(DType::I32);
                let ([batch, classes], true) = (&shape[..], matches!(dtype, DType::I32 | DType::I64)) else {
                    bail_invalid!("log probabilities [N, C] become i32 or i64, found {shape:?} and {dtype}")
                };
                if *classes < 1 || !(0..1 << 31).contains(&samples) {
                    bail_invalid!("{samples} samples of {classes} classes");
                }
                let x = required(inputs, 0)?;
                float(like)?;
                let x = cx.widened(x)?;
                let p = cx.apply(&softmax::SOFTMAX, &[("axis", Attr::Int(1))], &[x])?;
                let axis = cx.number(DType::I64, 1.0)?;
                let up_to = cx.apply(&cum_sum::DEF, &[], &[p, axis])?;
                let up_to = cx.reshape(up_to, &[*batch, 1, *classes])?;
                let numbers = self.numbers(cx, cx.dtype(x), &[*batch, samples, 1], random_uniform)?;
                let below = cx.apply(&super::binary::LESS_OR_EQUAL, &[], &[up_to, numbers])?;
                let below = cx.cast(below, DType::I32)?;
                let class = cx.sum(below, &[2])?;
                let class = cx.clamp(class, 0.0, (*classes - 1) as f64)?;
                cx.cast(class, dtype)?
            }
        };
        Ok(vec![y])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn distributions_and_types() {
        let list = [("shape", ints(&[40, 50])), ("low", Attr::Float(2.0)), ("high", Attr::Float(4.0))];
        let y = run(&*parse("RandomUniform", 22, &list, 0, 1).unwrap(), &[], &[]).unwrap().remove(0);
        let values = y.to_f64s().unwrap();
        assert!(values.iter().all(|v| (2.0..=4.0).contains(v)));
        assert!((values.iter().sum::<f64>() / 2000.0 - 3.0).abs() < 0.05);
        let x = Tensor::zeros(DType::F16, &[3, 4]);
        let list = [("seed", Attr::Float(5.0)), ("dtype", Attr::Int(DType::F64.to_onnx().into()))];
        let y = run(&*parse("RandomNormalLike", 22, &list, 1, 1).unwrap(), &[&x], &[]).unwrap();
        let again = run(&*parse("RandomNormalLike", 1, &list, 1, 1).unwrap(), &[&x], &[]).unwrap();
        assert_eq!((y[0].dtype, &y), (DType::F64, &again));
    }

    #[test]
    fn choices_by_probability() {
        let p = Tensor::from_vec(&[3, 1000], (0..3000).map(|i| [0f32, 0.25, 1.0][i / 1000]).collect());
        let y = run(&*parse("Bernoulli", 22, &[], 1, 1).unwrap(), &[&p], &[]).unwrap().remove(0);
        let sums: Vec<f64> = y.to_f64s().unwrap().chunks(1000).map(|row| row.iter().sum()).collect();
        assert!(sums[0] == 0.0 && (200.0..300.0).contains(&sums[1]) && sums[2] == 1000.0, "{sums:?}");
        let logs = Tensor::from_vec(&[1, 3], vec![0.5f32.ln(), f32::NEG_INFINITY, 0.5f32.ln()]);
        let op = parse("Multinomial", 22, &[("sample_size", Attr::Int(1000))], 1, 1).unwrap();
        let classes = run(&*op, &[&logs], &[]).unwrap().remove(0).to_i64s().unwrap();
        let of = |c: i64| classes.iter().filter(|x| **x == c).count();
        assert!(of(1) == 0 && (400..600).contains(&of(0)) && of(0) + of(2) == 1000);
    }
}
