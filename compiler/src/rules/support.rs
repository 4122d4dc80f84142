//! What several rules ask of a graph.

use std::sync::Arc;

use kiln_ir::graph::{Graph, Node, Patch, PatchValue, Source, ValueId};
use kiln_ir::op::NEWEST_OPSET;
use kiln_ir::{Attr, Attrs, Error, Fact, NodeProto, Op, Result, Shape, Tensor, ops};

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
    graph.reader_count(id) == 1 && !graph.is_output(id)
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
