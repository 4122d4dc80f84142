//! Convolutions and matrix products with constant weights, and what they take in of what follows them.

use kiln_ir::graph::{Graph, Node, Patch, ValueId};
use kiln_ir::{Attr, DType, Error, Result, Tensor, TensorType};

use super::rule::Outcome;
use super::support::{fact, made_by, only_use};

/// A convolution or matrix product whose result is `x` of the rules below.
pub(super) struct Product<'g> {
    node: &'g Node,
    weights: &'g Tensor,
    /// The axis of the weights that runs over output channels.
    weights_axis: usize,
    /// Type of the result, and its axis of channels.
    ty: TensorType,
    axis: usize,
}

/// Why there is no product.
pub(super) enum NoProduct {
    /// The nodes are others.
    No,
    /// They are the right ones, but for this.
    Missed(String),
}

impl From<NoProduct> for Outcome {
    fn from(no: NoProduct) -> Self {
        match no {
            NoProduct::No => Outcome::No,
            NoProduct::Missed(why) => Outcome::Missed(why),
        }
    }
}

impl<'g> Product<'g> {
    /// The product that makes `x`, if it is one of `ops` and nothing but `reader` needs its result.
    pub(super) fn behind(
        graph: &'g Graph,
        x: ValueId,
        reader: &Node,
        ops: &[&str],
    ) -> Result<std::result::Result<Self, NoProduct>> {
        let Some(node) = made_by(graph, x, ops) else { return Ok(Err(NoProduct::No)) };
        let what = format!("{} '{}'", node.op.name(), node.name);
        let missed = |why: String| Ok(Err(NoProduct::Missed(why)));
        if !only_use(graph, x) {
            return missed(format!("the result of {what} is used elsewhere too"));
        }
        let ty = fact(graph, x)?.ty();
        if fact(graph, reader.outputs[0])?.ty() != ty {
            return missed(format!("the constant enlarges the result of {what}"));
        }
        let Some(weights) = node.inputs.get(1).copied().flatten().and_then(|w| graph.constant(w)) else {
            return missed(format!("the weights of {what} are not constant"));
        };
        if !matches!(ty.dtype, DType::F32 | DType::F64) {
            return missed(format!("{what} computes in {}", ty.dtype));
        }
        let rank = ty.shape.rank();
        let (axis, weights_axis) = match node.op.name() {
            "Conv" => (1, 0),
            "Gemm" => (1, usize::from(node.op.attrs().get("transB") != Some(&Attr::Int(1)))),
            _ if weights.shape.len() == 2 && rank >= 2 => (rank - 1, 1),
            _ => return missed(format!("the weights of {what} have rank {}, not 2", weights.shape.len())),
        };
        Ok(Ok(Self { node, weights, weights_axis, ty, axis }))
    }

    /// Output channels.
    pub(super) fn channels(&self) -> usize {
        self.weights.shape[self.weights_axis]
    }

    fn what(&self) -> String {
        format!("{} '{}'", self.node.op.name(), self.node.name)
    }

    /// One number a channel, when that is what the constant is after broadcasting.
    pub(super) fn per_channel(&self, constant: &Tensor) -> Result<std::result::Result<Vec<f64>, NoProduct>> {
        let values = per_channel(constant, self.ty.shape.rank(), self.axis, self.channels())?;
        Ok(values.filter(|v| v.iter().all(|v| v.is_finite())).ok_or_else(|| {
            NoProduct::Missed(format!(
                "the constant {} is not one finite number a channel of {}",
                constant.ty(),
                self.ty
            ))
        }))
    }

    /// Makes the product compute `factor * result + addend` for each channel, in place of `reader`.
    pub(super) fn take(
        &self,
        graph: &Graph,
        reader: &Node,
        factors: Option<&[f64]>,
        addends: Option<&[f64]>,
    ) -> Result<Outcome> {
        let node = self.node;
        let beta = node.op.attrs().get("beta").cloned();
        if let (Some(Attr::Float(beta)), Some(_)) = (beta, addends)
            && beta != 1.0
        {
            return Ok(Outcome::Missed(format!("{} multiplies its bias by {beta}", self.what())));
        }
        let bias = match node.inputs.get(2).copied().flatten() {
            None => None,
            Some(id) => match graph.constant(id) {
                Some(bias) => Some(widen_bias(bias, self.channels())?),
                None => return Ok(Outcome::Missed(format!("the bias of {} is not constant", self.what()))),
            },
        };
        let bias = match (bias, addends) {
            (None, None) => None,
            (None, Some(addends)) => Some(vector(self.ty.dtype, addends)),
            (Some(bias), _) => {
                let f = |v, c: usize| factors.map_or(v, |f| f[c] * v) + addends.map_or(0.0, |a| a[c]);
                let new = map_along(&bias, bias.shape.len() - 1, f)?;
                if overflows(&bias, &new)? {
                    return Ok(Outcome::Missed(format!("the bias of {} would overflow", self.what())));
                }
                Some(new)
            }
        };
        let mut patch = Patch::new();
        let mut inputs = vec![node.inputs[0].map(Into::into), node.inputs[1].map(Into::into)];
        if let Some(factors) = factors {
            let name = node.inputs[1].map_or("", |id| &graph.value(id).name);
            let scaled = map_along(self.weights, self.weights_axis, |v, c| v * factors[c])?;
            if overflows(self.weights, &scaled)? {
                return Ok(Outcome::Missed(format!("the weights of {} would overflow", self.what())));
            }
            inputs[1] = Some(patch.constant(&format!("{name}.scaled"), scaled));
        }
        if let Some(bias) = bias {
            inputs.push(Some(patch.constant(&format!("{}.bias", node.name), bias)));
        }
        let new = patch.shared_node(graph, &node.name, node.op.clone(), &inputs)?[0];
        patch.replace(reader.outputs[0], new);
        Ok(Outcome::Fire(patch))
    }
}

/// The constant operand of a node of two, and the other one; `second` demands the constant on the right.
pub(super) fn with_constant<'g>(
    graph: &'g Graph,
    node: &Node,
    second: bool,
) -> Option<(ValueId, &'g Tensor)> {
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    match (graph.constant(a), graph.constant(b)) {
        (None, Some(constant)) => Some((a, constant)),
        (Some(constant), None) if !second => Some((b, constant)),
        _ => None,
    }
}

fn vector(dtype: DType, values: &[f64]) -> Tensor {
    match dtype {
        DType::F64 => Tensor::from_vec(&[values.len()], values.to_vec()),
        _ => Tensor::from_vec(&[values.len()], values.iter().map(|&v| v as f32).collect()),
    }
}

/// Whether scaling made numbers infinite: results that are scaled instead may well be finite.
fn overflows(before: &Tensor, after: &Tensor) -> Result<bool> {
    Ok(before.to_f64s()?.iter().zip(after.to_f64s()?).any(|(v, scaled)| v.is_finite() && !scaled.is_finite()))
}

/// One number for each position along `axis` of a tensor of `rank` axes and `extent` there, when that is what
/// the constant is after broadcasting.
fn per_channel(constant: &Tensor, rank: usize, axis: usize, extent: usize) -> Result<Option<Vec<f64>>> {
    let Some(lead) = rank.checked_sub(constant.shape.len()) else { return Ok(None) };
    let fits = |(i, &e): (usize, &usize)| e == 1 || i + lead == axis && e == extent;
    if !constant.shape.iter().enumerate().all(fits) {
        return Ok(None);
    }
    let values = constant.to_f64s()?;
    Ok(Some(if values.len() == 1 { vec![values[0]; extent] } else { values }))
}

/// A tensor with `f(element, position along axis)` in place of each element, rounded once.
fn map_along(tensor: &Tensor, axis: usize, f: impl Fn(f64, usize) -> f64) -> Result<Tensor> {
    let extent = tensor.shape[axis].max(1);
    let inner = tensor.shape[axis + 1..].iter().product::<usize>().max(1);
    Ok(match tensor.dtype {
        DType::F32 => {
            let values = tensor.as_slice::<f32>()?;
            let map = |(i, &v): (usize, &f32)| f(v.into(), i / inner % extent) as f32;
            Tensor::from_vec(&tensor.shape, values.iter().enumerate().map(map).collect())
        }
        DType::F64 => {
            let values = tensor.as_slice::<f64>()?;
            let map = |(i, &v): (usize, &f64)| f(v, i / inner % extent);
            Tensor::from_vec(&tensor.shape, values.iter().enumerate().map(map).collect())
        }
        other => return Err(Error::internal(format!("weights of {other} are not rewritten"))),
    })
}

/// A bias of any shape that Gemm allows, with an axis of `channels` at its end.
fn widen_bias(bias: &Tensor, channels: usize) -> Result<Tensor> {
    let rows = match bias.shape[..] {
        [] | [_] => 1,
        [rows, _] => rows,
        _ => return Err(Error::internal(format!("a bias of shape {:?}", bias.shape))),
    };
    let shape = if rows == 1 { vec![channels] } else { vec![rows, channels] };
    if bias.shape.last() == Some(&channels) {
        return bias.reshaped(&shape);
    }
    let values = bias.to_f64s()?;
    let wide = values.iter().flat_map(|v| std::iter::repeat_n(*v, channels));
    Ok(match bias.dtype {
        DType::F32 => Tensor::from_vec(&shape, wide.map(|v| v as f32).collect()),
        _ => Tensor::from_vec(&shape, wide.collect::<Vec<f64>>()),
    })
}
