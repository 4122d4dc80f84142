//! Nodes that own bodies, and those with the bodies changed.

use std::sync::Arc;

use kiln_ir::graph::{Graph, Patch, PatchValue};
use kiln_ir::{Fact, NodeView, Op, Result};

/// The operator without bodies that do not accept its operands; nothing where all do.
pub(super) fn possible(
    node: &NodeView<'_>,
    op: &Arc<dyn Op>,
    accept: &mut dyn FnMut(&mut Graph) -> Result<()>,
) -> Result<Option<Arc<dyn Op>>> {
    op.possible(&facts(node), &mut |mut body| {
        body.bounds = node.graph.all_bounds();
        accept(&mut body)
    })
}

fn facts<'g>(node: &NodeView<'g>) -> Vec<Option<&'g Fact>> {
    node.inputs.iter().map(|v| v.and_then(|v| node.graph.value(v).fact.as_ref())).collect()
}

/// The node with its body changed; nothing where that leaves it as it was.
pub(super) fn changed(
    node: &NodeView<'_>,
    op: &Arc<dyn Op>,
    change: &mut dyn FnMut(&mut Graph) -> Result<()>,
) -> Result<Option<Patch>> {
    let facts = facts(node);
    let before = op.subgraphs();
    let new = op.with_body(&facts, &mut |mut body| {
        // What the body captures may have open extents.
        body.bounds = node.graph.all_bounds();
        change(&mut body)?;
        Ok(body)
    })?;
    let Some(new) = new else { return Ok(None) };
    let same = |(a, b): (&Arc<Graph>, &Arc<Graph>)| a == b && facts_of(a) == facts_of(b);
    if before.iter().zip(&new.subgraphs()).all(same) {
        return Ok(None);
    }
    let mut patch = Patch::new();
    let inputs: Vec<Option<PatchValue>> = node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
    let results = patch.untyped_node(node.name, new, &inputs, node.outputs.len());
    node.outputs.iter().zip(results).for_each(|(old, new)| patch.replace(*old, new));
    Ok(Some(patch))
}

fn facts_of(graph: &Graph) -> Vec<Option<&Fact>> {
    graph.values().map(|(_, value)| value.fact.as_ref()).collect()
}
