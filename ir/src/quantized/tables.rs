//! Functions of one quantised value whose result is quantised again: a table of 256 entries.
//!
//! ```text
//!   Q(Mul(DQ(x), DQ(Q(Sigmoid(DQ(x))))))       Gather(table, Cast(x) to i32)
//! ```
//!
//! The table is made by the operators' own definitions, so nothing changes in what the graph means.

use std::collections::HashMap;

use super::dequantized::{DEQUANTIZE, add, cast};
use crate::error::Result;
use crate::graph::{Graph, Node, Patch, Source, ValueId};
use crate::op::{Attr, Attrs};
use crate::tensor::Tensor;
use crate::types::DType;

/// Operators of one element that take many operations: without one of them there is no table.
const LONG: &[&str] = &[
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Log",
    "Mish",
    "Pow",
    "Reciprocal",
    "Selu",
    "Sigmoid",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
];
/// Operators of one element that take few.
const SHORT: &[&str] =
    &["Abs", "Add", "Clip", "Div", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg", "Relu", "Sub"];

/// Whether an operator of one element takes so many operations that a table of 256 entries is worth it, where its operand
/// and its result are bytes.
pub fn is_long(name: &str) -> bool {
    LONG.contains(&name)
}

/// Nodes that one table stands for at most.
const MOST_NODES: usize = 64;

/// Nodes between a quantised value and the value that depends on it alone.
struct Cone {
    /// The quantised value, and its type.
    source: (ValueId, DType),
    /// Whether a long operator is among the nodes.
    long: bool,
    nodes: usize,
}

/// The table for a QuantizeLinear.
pub(super) fn lookup(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let Some(dtype) = zero(graph, node) else { return Ok(None) };
    let Some(cone) =
        node.inputs[0].and_then(|v| cone(graph, v, 0)).filter(|c| c.long && c.nodes <= MOST_NODES)
    else {
        return Ok(None);
    };
    let (source, of) = cone.source;
    // A number without sign or with one for each byte; an index below 0 counts from the table's end.
    let bytes = Tensor { dtype: of, ..Tensor::from_vec::<u8>(&[256], (0..=255).collect()) };
    let mut known = HashMap::from([(source, bytes)]);
    let table = value(graph, node.outputs[0], &mut known)?;
    if table.dtype != dtype || table.elements() != 256 {
        return Ok(None);
    }
    let mut patch = Patch::new();
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let table = patch.constant(&name("table"), Tensor { shape: vec![256], ..table });
    let index = cast(&mut patch, &name("index"), source.into(), DType::I32)?;
    let axis = Attrs::from([("axis".to_owned(), Attr::Int(0))]);
    let y = add(&mut patch, &node.name, "Gather", axis, &[Some(table), Some(index)])?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}

/// The type of bytes of a node with constant parameters, one for all elements.
fn zero(graph: &Graph, node: &Node) -> Option<DType> {
    let constant = |i: usize| node.inputs.get(i).copied().flatten().and_then(|v| graph.constant(v));
    let (scale, zero) = (constant(1)?, constant(2)?);
    let single = scale.elements() == 1 && zero.elements() == 1 && scale.dtype == DType::F32;
    (single && matches!(zero.dtype, DType::U8 | DType::I8)).then_some(zero.dtype)
}

fn cone(graph: &Graph, v: ValueId, depth: usize) -> Option<Cone> {
    let node = graph.node(graph.producer(v)?);
    let name = node.op.name();
    if depth > MOST_NODES || node.outputs.len() != 1 {
        return None;
    }
    if name == DEQUANTIZE {
        let dtype = zero(graph, node)?;
        let x = node.inputs[0]?;
        // Through a table that was made already, or a QuantizeLinear with a function behind it.
        if let Some(source) = looked_up(graph, x) {
            return Some(Cone { source, long: true, nodes: 2 });
        }
        let behind = graph.producer(x).map(|id| graph.node(id)).filter(|q| q.op.name() == "QuantizeLinear");
        let through =
            behind.filter(|q| zero(graph, q).is_some()).and_then(|q| cone(graph, q.inputs[0]?, depth + 1));
        if let Some(cone) = through.filter(|c| c.long) {
            return Some(Cone { nodes: cone.nodes + 2, ..cone });
        }
        return graph.constant(x).is_none().then_some(Cone { source: (x, dtype), long: false, nodes: 1 });
    }
    let long = is_long(name);
    if !long && !SHORT.contains(&name) {
        return None;
    }
    let mut all = Cone { source: (v, DType::U8), long, nodes: 1 };
    let mut found = false;
    for input in node.inputs.iter().flatten() {
        if let Source::Const(tensor) = &graph.value(*input).source {
            if tensor.elements() != 1 {
                return None;
            }
            continue;
        }
        let part = cone(graph, *input, depth + 1)?;
        if found && all.source != part.source {
            return None;
        }
        all = Cone { source: part.source, long: all.long || part.long, nodes: all.nodes + part.nodes };
        found = true;
    }
    found.then_some(all)
}

/// What a table is indexed by, if a value comes out of one.
fn looked_up(graph: &Graph, v: ValueId) -> Option<(ValueId, DType)> {
    let input = |node: &Node, i: usize| node.inputs.get(i).copied().flatten();
    let gather = graph.node(graph.producer(v)?);
    if gather.op.name() != "Gather" || graph.constant(input(gather, 0)?)?.shape != [256] {
        return None;
    }
    let index = graph.node(graph.producer(input(gather, 1)?)?);
    let source = input(index, 0).filter(|_| index.op.name() == "Cast")?;
    let made = graph.producer(source).map(|id| graph.node(id));
    let quantized = made.filter(|q| q.op.name() == "QuantizeLinear").and_then(|q| zero(graph, q));
    let known = graph.value(source).fact.as_ref().map(|f| f.dtype);
    let dtype = quantized.or(known).filter(|t| matches!(t, DType::U8 | DType::I8))?;
    Some((source, dtype))
}

/// A value for every byte of the source.
fn value(graph: &Graph, v: ValueId, known: &mut HashMap<ValueId, Tensor>) -> Result<Tensor> {
    if let Some(tensor) = known.get(&v).or(graph.constant(v)) {
        return Ok(tensor.clone());
    }
    let Some(node) = graph.producer(v).map(|id| graph.node(id)) else {
        return Err(crate::error::Error::internal("a table of a value without a source"));
    };
    let inputs: Vec<Option<Tensor>> =
        node.inputs.iter().map(|i| i.map(|i| value(graph, i, known)).transpose()).collect::<Result<_>>()?;
    let borrowed: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let result = node.op.eval(&borrowed)?.swap_remove(0);
    known.insert(v, result.clone());
    Ok(result)
}
