//! Interpreter of the Graph IR: every node by its operator's own definition, in topological order.

use std::collections::HashMap;

use super::bind;
use crate::error::{Error, Result};
use crate::graph::{Graph, Source, Value, ValueId};
use crate::op::{Flow, Known};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// Runs a graph; the results are in the order of its outputs.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// [`run`], showing every node's results as they are made.
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    observer: &mut dyn FnMut(&Value, &Tensor),
) -> Result<Vec<Tensor>> {
    let mut go_on = |value: &Value, tensor: &Tensor| {
        observer(value, tensor);
        true
    };
    run_while(graph, inputs, &mut go_on)?.ok_or_else(|| Error::internal("the run ended early"))
}

/// [`run_with`] for as long as the observer says so; nothing if it ended the run.
pub fn run_while(
    graph: &Graph,
    inputs: &[Tensor],
    observer: &mut dyn FnMut(&Value, &Tensor) -> bool,
) -> Result<Option<Vec<Tensor>>> {
    let mut values = arguments(graph, inputs)?;
    // What fails is an error where it is needed: a branch that is not taken may.
    let mut failed: HashMap<ValueId, Error> = HashMap::new();
    let order = graph.topological_order()?;
    let choices = order.iter().any(|id| matches!(graph.node(*id).op.flow(), Some(Flow::Choice)));
    // By value: the position of its last reader.
    let mut last_use = HashMap::new();
    for (position, &id) in order.iter().enumerate() {
        for value in graph.node(id).inputs.iter().flatten() {
            last_use.insert(*value, position);
        }
    }
    for &value in graph.outputs() {
        last_use.insert(value, usize::MAX);
    }
    for (position, &id) in order.iter().enumerate() {
        let node = graph.node(id);
        let at = |e: Error| e.at(&node.name, node.op.name());
        let choice = matches!(node.op.flow(), Some(Flow::Choice));
        let lost = node.inputs.iter().flatten().filter(|v| !choice || Some(**v) == node.inputs[0]);
        if let Some(error) = lost.filter_map(|v| failed.get(v)).next().cloned() {
            failed.extend(node.outputs.iter().map(|v| (*v, error.clone())));
            continue;
        }
        let operands: Vec<Option<Tensor>> = node
            .inputs
            .iter()
            .map(|v| v.filter(|v| !failed.contains_key(v)).map(|v| operand(graph, &values, v)).transpose())
            .collect::<Result<_>>()
            .map_err(at)?;
        for value in node.inputs.iter().flatten().filter(|v| last_use[v] == position) {
            values.remove(value);
        }
        let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
        let results = match node.op.eval(&operands) {
            Ok(results) => results,
            Err(error) if choices => {
                // A choice of something that has failed fails as that does.
                let first = node.inputs.iter().flatten().find_map(|v| failed.get(v)).cloned();
                let error = first.unwrap_or_else(|| at(error));
                failed.extend(node.outputs.iter().map(|v| (*v, error.clone())));
                continue;
            }
            Err(error) => return Err(at(error)),
        };
        if results.len() < node.outputs.len() {
            let (made, needed) = (results.len(), node.outputs.len());
            return Err(at(Error::internal(format!("made {made} results, the node has {needed}"))));
        }
        for (&id, tensor) in node.outputs.iter().zip(results) {
            let value = graph.value(id);
            check(value, &tensor).map_err(at)?;
            if !observer(value, &tensor) {
                return Ok(None);
            }
            values.insert(id, tensor);
        }
    }
    if let Some(error) = graph.outputs().iter().find_map(|id| failed.get(id)) {
        return Err(error.clone());
    }
    graph.outputs().iter().map(|&id| operand(graph, &values, id)).collect::<Result<_>>().map(Some)
}

/// The arguments in their values' places.
fn arguments(graph: &Graph, inputs: &[Tensor]) -> Result<HashMap<ValueId, Tensor>> {
    let types: Vec<(&str, TensorType)> = graph
        .inputs()
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            let fact = value.fact.as_ref();
            let fact = fact.ok_or_else(|| Error::internal(format!("input '{}' has no type", value.name)))?;
            Ok((value.name.as_str(), fact.ty()))
        })
        .collect::<Result<_>>()?;
    let declared: Vec<(&str, &TensorType)> = types.iter().map(|(name, ty)| (*name, ty)).collect();
    bind(&declared, inputs, &graph.bounds)?;
    Ok(graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect())
}

fn operand(graph: &Graph, values: &HashMap<ValueId, Tensor>, id: ValueId) -> Result<Tensor> {
    let value = graph.value(id);
    if let Source::Const(tensor) = &value.source {
        return Ok(tensor.clone());
    }
    values.get(&id).cloned().ok_or_else(|| Error::internal(format!("'{}' has no value yet", value.name)))
}

/// Whether a result is what inference says of it: an operator that disagrees with itself is found here.
fn check(value: &Value, tensor: &Tensor) -> Result<()> {
    let Some(fact) = &value.fact else { return Ok(()) };
    let fits = tensor.dtype == fact.dtype
        && tensor.shape.len() == fact.shape.rank()
        && tensor.shape.iter().zip(fact.shape.iter()).all(|(e, d)| d.as_usize().is_none_or(|d| d == *e));
    if !fits {
        let (name, found, ty) = (&value.name, tensor.ty(), fact.ty());
        return Err(Error::internal(format!("'{name}' is {found}, inference says {ty}")));
    }
    match &fact.known {
        Some(Known::Tensor(known)) if known != tensor && !known.dtype.is_float() => {
            Err(Error::internal(format!("'{}' is {tensor:?}, inference says {known:?}", value.name)))
        }
        _ => Ok(()),
    }
}
