//! Nodes in an order in which sizes are counted before anything has a shape that follows from them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kiln_ir::graph::{Graph, NodeId, ValueId};
use kiln_ir::{Dim, Known, Result};

/// The nodes of a graph: readers behind what they read, and behind the nodes that count what their operands and results speak
/// of. The topological order where nothing is counted.
pub(super) fn run(graph: &Graph) -> Result<Vec<NodeId>> {
    let order = graph.topological_order()?;
    let mut counting: HashMap<Arc<str>, usize> = HashMap::new();
    for (i, id) in order.iter().enumerate() {
        counting.extend(graph.node(*id).op.counts().iter().map(|name| (name.clone(), i)));
    }
    if counting.is_empty() {
        return Ok(order);
    }
    let position: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
    let mut waiting = vec![0usize; order.len()];
    for (i, id) in order.iter().enumerate() {
        let node = graph.node(*id);
        let values = || node.inputs.iter().flatten().chain(&node.outputs);
        let mut needed: BTreeSet<usize> =
            values().filter_map(|v| graph.producer(*v)).filter_map(|n| position.get(&n).copied()).collect();
        let sizes = values().flat_map(|v| symbols(graph, *v));
        needed.extend(sizes.filter_map(|name| counting.get(&name).copied()));
        needed.remove(&i);
        waiting[i] = needed.len();
        needed.into_iter().for_each(|n| readers[n].push(i));
    }
    // As near to the topological order as that allows.
    let mut ready: BTreeSet<usize> = (0..order.len()).filter(|i| waiting[*i] == 0).collect();
    let mut sorted = Vec::with_capacity(order.len());
    while let Some(next) = ready.pop_first() {
        sorted.push(order[next]);
        for reader in &readers[next] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    if sorted.len() < order.len() {
        kiln_ir::bail_internal!("a size is counted by what has a shape that follows from it");
    }
    Ok(sorted)
}

/// What a value's shape, and the integers known of it, follow from.
fn symbols(graph: &Graph, value: ValueId) -> Vec<Arc<str>> {
    let Some(fact) = &graph.value(value).fact else { return Vec::new() };
    let known: &[Dim] = if let Some(Known::Dims(dims)) = &fact.known { dims } else { &[] };
    fact.shape.iter().chain(known).flat_map(Dim::symbols).collect()
}
