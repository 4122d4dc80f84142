//! Operators that are made of simpler ones are replaced by them.

use kiln_ir::graph::{Graph, ValueId};
use kiln_ir::{NodeView, Result, bail_internal};

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
        if let Some(patch) = node.op.decompose(&view).map_err(at)? {
            let (name, op) = (node.name.clone(), node.op.name());
            graph.apply(patch).map_err(|e| e.at(&name, op))?;
            changed = true;
        }
    }
    Ok(changed)
}
