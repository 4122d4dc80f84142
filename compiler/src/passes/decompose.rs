//! Operators that are made of simpler ones are replaced by them; those that compute in f32 get f16 and bf16 converted.

use kiln_ir::graph::{Graph, Patch, ValueId};
use kiln_ir::ops::cast;
use kiln_ir::{DType, NodeView, Op, Result, bail_internal};

/// Operators made of operators made of operators; more than any chain of them takes.
const MAX_ROUNDS: usize = 32;

/// Decomposes until nothing is left to. Facts must have been inferred; patches infer those of new values.
pub fn run(graph: &mut Graph) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if !round(graph)? {
            return Ok(());
        }
    }
    bail_internal!("decomposition does not end")
}

/// What takes the node's place, if anything does.
fn simpler(node: &NodeView<'_>, op: &dyn Op) -> Result<Option<Patch>> {
    if !op.takes_short_floats() {
        let widened = |_, dtype| matches!(dtype, DType::F16 | DType::BF16).then_some(DType::F32);
        if let Some(patch) = cast::around(node, widened)? {
            return Ok(Some(patch));
        }
    }
    op.decompose(node)
}

fn round(graph: &mut Graph) -> Result<bool> {
    // A patch takes nodes away and gives their ids to others; values keep theirs.
    let order = graph.topological_order()?;
    let work: Vec<ValueId> =
        order.into_iter().filter_map(|id| graph.node(id).outputs.first().copied()).collect();
    let mut changed = false;
    for value in work {
        if !graph.has(value) {
            continue;
        }
        let Some(id) = graph.producer(value) else { continue };
        let node = graph.node(id);
        let view = NodeView { graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
        let at = |e: kiln_ir::Error| e.at(&node.name, node.op.name());
        if let Some(patch) = simpler(&view, &*node.op).map_err(at)? {
            let (name, op) = (node.name.clone(), node.op.name());
            graph.apply(patch).map_err(|e| e.at(&name, op))?;
            changed = true;
        }
    }
    Ok(changed)
}
