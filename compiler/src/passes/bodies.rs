//! Bodies of loops: passes on a graph are passes on those too.

use kiln_ir::graph::{Graph, ValueId};
use kiln_ir::{NodeView, Result};

use super::{body, infer};

/// Runs a pass on the bodies of all loops, inner ones first. Facts must have been inferred, and are up to date afterwards.
pub fn run(graph: &mut Graph, pass: &mut dyn FnMut(&mut Graph) -> Result<()>) -> Result<()> {
    // A patch takes nodes away and gives their ids to others; values keep theirs.
    let work: Vec<ValueId> = graph
        .topological_order()?
        .into_iter()
        .filter(|id| !graph.node(*id).op.subgraphs().is_empty())
        .filter_map(|id| graph.node(id).outputs.first().copied())
        .collect();
    let mut any = false;
    for value in work {
        let Some(id) = graph.has(value).then(|| graph.producer(value)).flatten() else { continue };
        let node = graph.node(id);
        let view = NodeView { graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
        let at = |e: kiln_ir::Error| e.at(&node.name, node.op.name());
        let patch = body::changed(&view, &node.op, &mut |body| {
            infer::run(body)?;
            run(body, pass)?;
            pass(body)
        });
        if let Some(patch) = patch.map_err(at)? {
            let (name, op) = (node.name.clone(), node.op.name());
            graph.apply(patch).map_err(|e| e.at(&name, op))?;
            any = true;
        }
    }
    if any { infer::run(graph) } else { Ok(()) }
}
