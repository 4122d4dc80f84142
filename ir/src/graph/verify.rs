//! Checks the invariants of a graph.
//!
//! Checked, for the graph and every subgraph:
//! - names of values are unique and lead back to their value;
//! - every operand, result and output of the graph exists;
//! - a node's results name that node and position as their source, and no other value does;
//! - the graph's inputs name their position as their source;
//! - no node is part of a cycle;
//! - constants have the type that their fact says;
//! - the operator accepts its operands, and what it infers has the types that the results' facts say;
//! - once a node's operands are typed, so are its results.
//!
//! Not checked: elements that facts claim to know (the interpreter does), bounds of symbols, attributes beyond what
//! inference looks at.

use std::collections::{BTreeMap, BTreeSet};

use super::print::node_text;
use super::{Graph, NodeId, Source};
use crate::error::{Error, Result};

/// Checks everything in the list above; the first broken rule is an *internal* error that names the entity and
/// shows its text.
pub fn verify(graph: &Graph) -> Result<()> {
    check(graph, true)
}

/// Checks what does not depend on types: the list above without its last two lines. Before inference has compared
/// them with the operators, the types of results are what a model claims, and claims that are wrong are no bug.
pub fn verify_structure(graph: &Graph) -> Result<()> {
    check(graph, false)
}

fn check(graph: &Graph, typed: bool) -> Result<()> {
    values(graph)?;
    for id in graph.node_ids() {
        node(graph, id)?;
    }
    graph.topological_order()?;
    for id in graph.node_ids() {
        if typed {
            types(graph, id)?;
        }
        let node = graph.node(id);
        for subgraph in node.op.subgraphs() {
            check(&subgraph, typed).map_err(|e| e.at(&node.name, node.op.name()))?;
        }
    }
    Ok(())
}

fn values(graph: &Graph) -> Result<()> {
    let broken =
        |name: &str, rule: String| Err(Error::internal(format!("graph verifier: value '{name}' {rule}")));
    let mut names = BTreeMap::new();
    let mut sources = BTreeSet::new();
    let nodes: BTreeSet<NodeId> = graph.node_ids().collect();
    for (id, value) in graph.values() {
        if names.insert(&value.name, id).is_some() {
            return broken(&value.name, "has a name that another value has too".to_owned());
        }
        if graph.find(&value.name) != Some(id) {
            return broken(&value.name, "is not found under its name".to_owned());
        }
        match &value.source {
            Source::Input(i) if graph.inputs().get(*i) == Some(&id) => {}
            Source::Input(i) => return broken(&value.name, format!("says it is input {i}, which it is not")),
            Source::Const(tensor) => {
                if let Some(fact) = &value.fact
                    && fact.ty() != tensor.ty()
                {
                    let (found, said) = (tensor.ty(), fact.ty());
                    return broken(&value.name, format!("is a constant {found}, its fact says {said}"));
                }
            }
            Source::Node(node, i) => {
                if !nodes.contains(node) {
                    return broken(&value.name, "comes from a node that does not exist".to_owned());
                }
                if graph.node(*node).outputs.get(*i) != Some(&id) {
                    let name = &graph.node(*node).name;
                    return broken(
                        &value.name,
                        format!("says it is result {i} of '{name}', which it is not"),
                    );
                }
                if !sources.insert((*node, *i)) {
                    return broken(&value.name, "shares its source with another value".to_owned());
                }
            }
        }
    }
    for (&id, name) in graph.outputs().iter().zip(graph.output_names()) {
        if !graph.has(id) {
            return broken(name, "is an output of the graph and does not exist".to_owned());
        }
    }
    if graph.outputs().len() != graph.output_names().len() {
        return Err(Error::internal("graph verifier: outputs and their names differ in number"));
    }
    Ok(())
}

fn broken(graph: &Graph, id: NodeId, rule: &str) -> Error {
    let node = graph.node(id);
    Error::internal(format!("graph verifier: {rule}, in `{}`", node_text(graph, id, "", true)))
        .at(&node.name, node.op.name())
}

fn node(graph: &Graph, id: NodeId) -> Result<()> {
    let node = graph.node(id);
    for (i, value) in node.inputs.iter().enumerate() {
        if value.is_some_and(|v| !graph.has(v)) {
            return Err(Error::internal(format!("graph verifier: operand {i} does not exist"))
                .at(&node.name, node.op.name()));
        }
    }
    for (i, &value) in node.outputs.iter().enumerate() {
        let source = graph.has(value).then(|| &graph.value(value).source);
        if !matches!(source, Some(Source::Node(n, j)) if *n == id && *j == i) {
            return Err(Error::internal(format!("graph verifier: result {i} does not come from its node"))
                .at(&node.name, node.op.name()));
        }
    }
    Ok(())
}

fn types(graph: &Graph, id: NodeId) -> Result<()> {
    let node = graph.node(id);
    let facts: Vec<_> = node.inputs.iter().map(|v| v.map(|v| graph.value(v).fact.as_ref())).collect();
    // An operand that is there and untyped: inference has not been here yet.
    if facts.contains(&Some(None)) || node.outputs.iter().all(|v| graph.value(*v).fact.is_none()) {
        return Ok(());
    }
    let facts: Vec<_> = facts.into_iter().map(Option::flatten).collect();
    let inferred =
        node.op.infer(&facts).map_err(|e| broken(graph, id, &format!("operands are refused: {e}")))?;
    if inferred.len() < node.outputs.len() {
        let (n, m) = (inferred.len(), node.outputs.len());
        return Err(broken(graph, id, &format!("the operator has {n} results and the node {m}")));
    }
    for (&value, inferred) in node.outputs.iter().zip(inferred) {
        let inferred = inferred.within(&graph.bounds, &graph.counted);
        let value = graph.value(value);
        match &value.fact {
            None => return Err(broken(graph, id, &format!("result '{}' is not typed", value.name))),
            Some(fact) if fact.ty() != inferred.ty() => {
                let (said, is) = (fact.ty(), inferred.ty());
                return Err(broken(
                    graph,
                    id,
                    &format!("result '{}' is {is}, its fact says {said}", value.name),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
