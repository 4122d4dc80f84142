//! What several rules ask of a graph.

use std::sync::Arc;

use kiln_ir::graph::{Graph, Node, Patch, PatchValue, Source, ValueId};
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Attr, Attrs, DType, Error, Fact, NodeProto, Op, Result, Shape, Tensor, ops};

/// The type of a value; every value has one when rules run.
pub(super) fn fact(graph: &Graph, id: ValueId) -> Result<&Fact> {
    let value = graph.value(id);
    value.fact.as_ref().ok_or_else(|| Error::internal(format!("'{}' has no inferred type", value.name)))
}

/// The node that makes a value, if it is one of the given operators.
pub(super) fn made_by<'g>(graph: &'g Graph, id: ValueId, ops: &[&str]) -> Option<&'g Node> {
    graph.producer(id).map(|n| graph.node(n)).filter(|n| ops.contains(&n.op.name()))
}

/// Whether a value has the one reader that is being looked at, so that rewriting leaves nothing behind.
pub(super) fn only_use(graph: &Graph, id: ValueId) -> bool {
    !graph.is_output(id) && graph.uses(id).len() == 1
}

/// Whether readers of `old` may read `new` instead: a result of the graph has to have a node of its own.
pub(super) fn may_alias(graph: &Graph, old: ValueId, new: ValueId) -> bool {
    !graph.is_output(old) || matches!(graph.value(new).source, Source::Node(..)) && !graph.is_output(new)
}

/// An operator of the default domain from its attributes.
pub(super) fn operator(name: &str, mut attrs: Attrs, inputs: usize) -> Result<Arc<dyn Op>> {
    let def = ops::find("", name).ok_or_else(|| Error::internal(format!("there is no operator {name}")))?;
    let present = vec![true; inputs];
    let mut node = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs: &present, outputs: 1 };
    Ok(Arc::from((def.parse)(&mut node)?))
}

/// An INTS attribute.
pub(super) fn ints(op: &dyn Op, name: &str) -> Option<Vec<i64>> {
    match op.attrs().remove(name) {
        Some(Attr::Ints(values)) => Some(values),
        _ => None,
    }
}

/// `source` under another shape of as many elements; `None` where a Reshape cannot say the shape.
pub(super) fn reshape(
    graph: &Graph,
    patch: &mut Patch,
    name: &str,
    source: ValueId,
    shape: &Shape,
) -> Result<Option<PatchValue>> {
    let extents: Vec<i64> = shape.iter().map(|d| d.as_const().unwrap_or(-1)).collect();
    // 0 means "as in the operand", and only one extent may be left to be found.
    if extents.contains(&0) || extents.iter().filter(|e| **e == -1).count() > 1 {
        return Ok(None);
    }
    let target = patch.constant(&format!("{name}.shape"), Tensor::from_vec(&[extents.len()], extents));
    let op = operator("Reshape", Attrs::new(), 2)?;
    let new = patch.shared_node(graph, name, op, &[Some(source.into()), Some(target)])?[0];
    Ok((patch.fact(graph, new)?.shape == *shape).then_some(new))
}

/// One number for each position along `axis` of a tensor of `rank` axes and `extent` there, when that is what
/// the constant is after broadcasting.
pub(super) fn per_channel(
    constant: &Tensor,
    rank: usize,
    axis: usize,
    extent: usize,
) -> Result<Option<Vec<f64>>> {
    let Some(lead) = rank.checked_sub(constant.shape.len()) else { return Ok(None) };
    let fits = |(i, &e): (usize, &usize)| e == 1 || i + lead == axis && e == extent;
    if !constant.shape.iter().enumerate().all(fits) {
        return Ok(None);
    }
    let values = constant.to_f64s()?;
    Ok(Some(if values.len() == 1 { vec![values[0]; extent] } else { values }))
}

/// A tensor with `f(element, position along axis)` in place of each element, rounded once.
pub(super) fn map_along(tensor: &Tensor, axis: usize, f: impl Fn(f64, usize) -> f64) -> Result<Tensor> {
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

/// A product with constant weights followed by an operator on one constant: what scales and shifts start from.
pub(super) struct Tail<'g> {
    /// The convolution or matrix product.
    pub(super) product: &'g Node,
    /// Its weights, as a constant.
    pub(super) weights: &'g Tensor,
    /// The axis of the weights that runs over output channels.
    pub(super) weights_axis: usize,
    /// The other constant, one number per output channel.
    pub(super) values: Vec<f64>,
}

/// Why there is no tail.
pub(super) enum NoTail {
    /// The nodes are others.
    No,
    /// They are the right ones, but for this.
    Missed(String),
}

/// The tail that `node`, an operator of two operands, ends; `second` demands the constant on the right.
pub(super) fn tail<'g>(
    graph: &'g Graph,
    node: &Node,
    products: &[&str],
    second: bool,
) -> Result<std::result::Result<Tail<'g>, NoTail>> {
    let [Some(a), Some(b)] = node.inputs[..] else { return Ok(Err(NoTail::No)) };
    let (x, constant) = match (graph.constant(a), graph.constant(b)) {
        (None, Some(constant)) => (a, constant),
        (Some(constant), None) if !second => (b, constant),
        _ => return Ok(Err(NoTail::No)),
    };
    let Some(product) = made_by(graph, x, products) else { return Ok(Err(NoTail::No)) };
    let missed = |why: String| Ok(Err(NoTail::Missed(why)));
    let what = format!("{} '{}'", product.op.name(), product.name);
    if !only_use(graph, x) {
        return missed(format!("the result of {what} is used elsewhere too"));
    }
    let ty = fact(graph, x)?.ty();
    if fact(graph, node.outputs[0])?.ty() != ty {
        return missed(format!("the constant enlarges the result of {what}"));
    }
    let Some(weights) = product.inputs.get(1).copied().flatten().and_then(|w| graph.constant(w)) else {
        return missed(format!("the weights of {what} are not constant"));
    };
    if !matches!(ty.dtype, DType::F32 | DType::F64) {
        return missed(format!("{what} computes in {}", ty.dtype));
    }
    let rank = ty.shape.rank();
    let (axis, weights_axis) = match product.op.name() {
        "Conv" => (1, 0),
        "Gemm" => (1, usize::from(product.op.attrs().get("transB") != Some(&Attr::Int(1)))),
        _ if weights.shape.len() == 2 && rank >= 2 => (rank - 1, 1),
        _ => return missed(format!("the weights of {what} have rank {}, not 2", weights.shape.len())),
    };
    let values = per_channel(constant, rank, axis, weights.shape[weights_axis])?;
    match values.filter(|v| v.iter().all(|v| v.is_finite())) {
        Some(values) => Ok(Ok(Tail { product, weights, weights_axis, values })),
        None => missed(format!("the constant {} is not one finite number a channel of {ty}", constant.ty())),
    }
}

/// The bias of a convolution or Gemm; `None` when it is there and not constant.
pub(super) fn bias<'g>(graph: &'g Graph, product: &Node) -> Option<Option<&'g Tensor>> {
    match product.inputs.get(2).copied().flatten() {
        None => Some(None),
        Some(bias) => graph.constant(bias).map(Some),
    }
}

/// A bias of any shape that Gemm allows, with an axis of `channels` at its end.
pub(super) fn widen_bias(bias: &Tensor, channels: usize) -> Result<Tensor> {
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
