//! Bodies of control flow: graphs whose arguments get their types from the node that owns them.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::eval;
use crate::graph::{Graph, Source, ValueId};
use crate::op::Fact;
use crate::tensor::Tensor;

/// The facts of a body's results, for facts of its arguments.
pub(super) fn infer(body: &Graph, arguments: Vec<Fact>) -> Result<Vec<Fact>> {
    let mut facts: HashMap<ValueId, Fact> = body.inputs().iter().copied().zip(arguments).collect();
    for (id, value) in body.values() {
        if let Source::Const(tensor) = &value.source {
            facts.insert(id, Fact::of(tensor));
        }
    }
    for id in body.topological_order()? {
        let node = body.node(id);
        let operands: Vec<_> = node.inputs.iter().map(|v| v.and_then(|v| facts.get(&v))).collect();
        let results = node.op.infer(&operands).map_err(|e| e.at(&node.name, node.op.name()))?;
        facts.extend(node.outputs.iter().copied().zip(results));
    }
    let result = |id| facts.get(id).cloned().ok_or_else(|| Error::internal("a result without a type"));
    body.outputs().iter().map(result).collect()
}

/// The facts of a body's results, where its arguments have these types and everything in it is inferred.
pub(super) fn inferred(body: &Graph, arguments: &[Fact]) -> Option<Vec<Fact>> {
    let same = |(id, fact): (&ValueId, &Fact)| body.value(*id).fact.as_ref() == Some(fact);
    let typed = body.values().all(|(_, value)| value.fact.is_some());
    let fits = typed && body.inputs().iter().zip(arguments).all(same);
    fits.then(|| body.outputs().iter().filter_map(|id| body.value(*id).fact.clone()).collect())
}

/// A body with the types of its arguments.
pub(super) fn typed(body: &Graph, arguments: &[Fact]) -> Graph {
    let mut body = body.clone();
    for (id, fact) in body.inputs().to_vec().into_iter().zip(arguments) {
        body.set_fact(id, fact.clone());
    }
    body
}

/// Runs a body.
pub(super) fn run(body: &Graph, arguments: &[Tensor]) -> Result<Vec<Tensor>> {
    let facts: Vec<Fact> = arguments.iter().map(|t| Fact { known: None, ..Fact::of(t) }).collect();
    eval::graph::run(&typed(body, &facts), arguments)
}

/// Adds constants and nodes of a body to another graph, on `arguments` in place of its inputs; gives its results.
pub(super) fn copy_into(graph: &mut Graph, body: &Graph, arguments: &[ValueId]) -> Result<Vec<ValueId>> {
    let mut made: HashMap<ValueId, ValueId> =
        body.inputs().iter().copied().zip(arguments.iter().copied()).collect();
    for (id, value) in body.values() {
        if let Source::Const(tensor) = &value.source {
            let name = graph.fresh_name(&value.name);
            made.insert(id, graph.add_const(&name, tensor.clone())?);
        }
    }
    for id in body.topological_order()? {
        let node = body.node(id);
        let inputs = node.inputs.iter().map(|v| v.map(|v| made[&v])).collect();
        let mut names: Vec<String> = Vec::new();
        for output in &node.outputs {
            names.push(graph.fresh_name(&body.value(*output).name));
        }
        let new = graph.add_node(&node.name, node.op.clone(), inputs, &names)?;
        made.extend(node.outputs.iter().copied().zip(graph.node(new).outputs.clone()));
    }
    Ok(body.outputs().iter().map(|v| made[v]).collect())
}
