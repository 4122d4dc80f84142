//! `Scan`: a body for each element of sequences.
//!
//! Spec: ONNX Scan, versions 9 to 24 (that of opset 8, with a batch and lengths, is another). Inputs: initial states, then
//! sequences. The body takes the states and one element of each sequence, along an axis of its own, forwards or backwards, and
//! gives the next states and elements of scan outputs. Outer values that the body reads are further inputs of node and body.
//!
//! Made of a `Loop` whose body gathers the elements; scan outputs are turned around and their axes put in place behind it.

use std::sync::Arc;

use super::loop_::{CAPTURES, Loop, operator};
use super::{binary, body, gather, operand, shape, slice, squeeze, transpose};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::graph::{Graph, Patch, PatchValue, ValueId};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Scan`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    body: Arc<Graph>,
    captures: usize,
    states: usize,
    sequences: usize,
    /// Of sequences and scan outputs: axes, and whether they run backwards.
    input_axes: Vec<i64>,
    input_backward: Vec<bool>,
    output_axes: Vec<i64>,
    output_backward: Vec<bool>,
    outputs: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=usize::MAX, 1..=usize::MAX)?;
    let captures = usize::try_from(node.int(CAPTURES)?.unwrap_or(0)).unwrap_or(usize::MAX);
    let body = node.graph("body")?.ok_or_else(|| Error::invalid("attribute 'body' is missing"))?;
    let own = node.inputs.len().saturating_sub(captures);
    let sequences = node.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok());
    let Some(sequences) = sequences.filter(|n| (1..=own).contains(n)) else {
        bail_invalid!("attribute 'num_scan_inputs' is missing or not between 1 and {own}")
    };
    let states = own - sequences;
    let (inputs, results) = (body.inputs().len(), body.outputs().len());
    if inputs != node.inputs.len() || results < states || node.outputs > results {
        bail_invalid!(
            "attribute 'body' is a graph of {inputs} inputs and {results} results, which does not fit {} inputs and \
             {} outputs",
            node.inputs.len(),
            node.outputs
        );
    }
    let mut list = |name: &str, count: usize| -> Result<Vec<i64>> {
        let given = node.ints(name)?.unwrap_or_else(|| vec![0; count]);
        if given.len() != count {
            bail_invalid!("attribute '{name}' has {} elements for {count}", given.len());
        }
        Ok(given)
    };
    let scanned = results - states;
    let input_axes = list("scan_input_axes", sequences)?;
    let output_axes = list("scan_output_axes", scanned)?;
    let mut backward = |name: &str, count: usize| -> Result<Vec<bool>> {
        let given = list(name, count)?;
        if given.iter().any(|d| !matches!(d, 0 | 1)) {
            bail_invalid!("attribute '{name}' must be 0s and 1s, found {given:?}");
        }
        Ok(given.into_iter().map(|d| d == 1).collect())
    };
    let input_backward = backward("scan_input_directions", sequences)?;
    let output_backward = backward("scan_output_directions", scanned)?;
    let outputs = node.outputs;
    Ok(Box::new(Scan {
        body,
        captures,
        states,
        sequences,
        input_axes,
        input_backward,
        output_axes,
        output_backward,
        outputs,
    }))
}

/// `Scan`.
pub const DEF: OpDef = OpDef { name: "Scan", domain: "", since: (9, 24), parse, unsupported: "" };

impl Scan {
    /// The axis of each sequence, and the extent that all have there.
    fn axes(&self, inputs: &[Option<&Fact>]) -> Result<(Vec<usize>, crate::dim::Dim)> {
        let mut axes = Vec::new();
        let mut turns = None;
        for (i, axis) in self.input_axes.iter().enumerate() {
            let fact = operand::fact(inputs, self.states + i)?;
            let axis = fact.shape.axis(*axis)?;
            let extent = fact.shape[axis].clone();
            match &turns {
                None => turns = Some(extent),
                Some(known) if *known != extent => {
                    bail_invalid!("sequence {i} has {extent} elements, the first {known}")
                }
                _ => {}
            }
            axes.push(axis);
        }
        Ok((axes, turns.ok_or_else(|| Error::invalid("needs a sequence"))?))
    }

    /// The loop, for sequences of so many elements: its states are those of the scan, and it captures sequences and what the
    /// scan captures.
    fn as_loop(&self, inputs: &[Option<&Fact>]) -> Result<Loop> {
        let (axes, turns) = self.axes(inputs)?;
        let mut graph = Graph::new(&self.body.name);
        graph.opsets = self.body.opsets.clone();
        let turn = graph.add_input("turn", Fact::new(DType::I64, Shape::default()))?;
        let go = graph.add_input("go", Fact::new(DType::Bool, Shape::default()))?;
        let mut arguments = Vec::new();
        for i in 0..self.states {
            let fact = Fact { known: None, ..operand::fact(inputs, i)?.clone() };
            arguments.push(graph.add_input(&format!("state{i}"), fact)?);
        }
        let mut elements = Vec::new();
        for i in 0..self.sequences {
            let fact = operand::fact(inputs, self.states + i)?.clone();
            elements.push(graph.add_input(&format!("sequence{i}"), fact)?);
        }
        let mut captured = Vec::new();
        for i in 0..self.captures {
            let fact = operand::fact(inputs, self.states + self.sequences + i)?.clone();
            captured.push(graph.add_input(&format!("outer{i}"), fact)?);
        }
        for (i, sequence) in elements.into_iter().enumerate() {
            let mut at = turn;
            if self.input_backward[i] {
                let last = match turns.as_const() {
                    Some(turns) => {
                        graph.add_const(&format!("last{i}"), Tensor::from_vec(&[], vec![turns - 1]))?
                    }
                    None => last_of(&mut graph, i, sequence, axes[i])?,
                };
                let op = operator(&binary::SUB, &[], 2)?;
                let node = graph.add_node(
                    &format!("from_end{i}"),
                    op,
                    vec![Some(last), Some(turn)],
                    &[format!("from_end{i}")],
                )?;
                at = graph.node(node).outputs[0];
            }
            let op = operator(&gather::DEF, &[("axis", Attr::Int(axes[i] as i64))], 2)?;
            let name = format!("element{i}");
            let node =
                graph.add_node(&name, op, vec![Some(sequence), Some(at)], std::slice::from_ref(&name))?;
            arguments.push(graph.node(node).outputs[0]);
        }
        arguments.extend(captured);
        let results = body::copy_into(&mut graph, &self.body, &arguments)?;
        graph.add_output_named(go, "go");
        for (i, result) in results.into_iter().enumerate() {
            graph.add_output_named(result, &format!("result{i}"));
        }
        let outputs = self.body.outputs().len();
        Loop::new(Arc::new(graph), self.sequences + self.captures, self.states, outputs)
    }

    /// Where a scan output of a loop, with the turns first, has its axes: the order to transpose by.
    fn order(&self, i: usize, rank: usize) -> Result<Vec<i64>> {
        let axis = Shape::of(&vec![1; rank]).axis(self.output_axes[i])?;
        let mut order: Vec<i64> = (1..rank as i64).collect();
        order.insert(axis, 0);
        Ok(order)
    }
}

impl Op for Scan {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn attrs(&self) -> Attrs {
        let flags = |list: &[bool]| Attr::Ints(list.iter().map(|b| i64::from(*b)).collect());
        Attrs::from([
            ("body".to_owned(), Attr::Graph(self.body.clone())),
            (CAPTURES.to_owned(), Attr::Int(self.captures as i64)),
            ("num_scan_inputs".to_owned(), Attr::Int(self.sequences as i64)),
            ("scan_input_axes".to_owned(), Attr::Ints(self.input_axes.clone())),
            ("scan_input_directions".to_owned(), flags(&self.input_backward)),
            ("scan_output_axes".to_owned(), Attr::Ints(self.output_axes.clone())),
            ("scan_output_directions".to_owned(), flags(&self.output_backward)),
        ])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (_, turns) = self.axes(inputs)?;
        let each = self.as_loop(inputs)?;
        let count = Fact { shape: Shape::default(), ..Fact::of_dims(vec![turns]) };
        let all: Vec<Option<&Fact>> =
            [Some(&count), None].into_iter().chain(inputs.iter().copied()).collect();
        let mut facts = each.infer(&all)?;
        for (i, fact) in facts.iter_mut().skip(self.states).enumerate() {
            let order = self.order(i, fact.shape.rank())?;
            fact.shape = order.iter().map(|axis| fact.shape[*axis as usize].clone()).collect();
        }
        facts.truncate(self.outputs);
        Ok(facts)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let facts: Vec<Option<Fact>> =
            inputs.iter().map(|t| t.map(|t| Fact { known: None, ..Fact::of(t) })).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let (_, turns) = self.axes(&facts)?;
        let count = Tensor::from_vec(&[], vec![turns.as_const().unwrap_or(0)]);
        let all: Vec<Option<&Tensor>> =
            [Some(&count), None].into_iter().chain(inputs.iter().copied()).collect();
        let mut results = self.as_loop(&facts)?.eval(&all)?;
        for (i, result) in results.iter_mut().skip(self.states).enumerate() {
            if self.output_backward[i] {
                let [start, end, axis, step] =
                    [-1, i64::MIN + 1, 0, -1].map(|v| Tensor::from_vec(&[1], vec![v]));
                let op = operator(&slice::DEF, &[], 5)?;
                *result =
                    only(op.eval(&[Some(result), Some(&start), Some(&end), Some(&axis), Some(&step)])?)?;
            }
            let order = self.order(i, result.shape.len())?;
            let op = operator(&transpose::DEF, &[("perm", Attr::Ints(order))], 1)?;
            *result = only(op.eval(&[Some(result)])?)?;
        }
        results.truncate(self.outputs);
        Ok(results)
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let facts: Vec<Option<&Fact>> =
            node.inputs.iter().map(|v| v.and_then(|v| node.graph.value(v).fact.as_ref())).collect();
        let (axes, turns) = self.axes(&facts)?;
        let each = self.as_loop(&facts)?;
        let results = self.body.outputs().len();
        let mut patch = Patch::new();
        let count = match turns.as_const() {
            Some(turns) => {
                patch.constant(&format!("{}/turns", node.name), Tensor::from_vec(&[], vec![turns]))
            }
            None => {
                let axis = axes[0] as i64;
                let range = [("start", Attr::Int(axis)), ("end", Attr::Int(axis + 1))];
                let sequence = node.inputs[self.states].map(PatchValue::from);
                let name = format!("{}/turns", node.name);
                patch.untyped_node(&name, operator(&shape::DEF, &range, 1)?, &[sequence], 1)[0]
            }
        };
        let outer = node.inputs.iter().map(|v| v.map(PatchValue::from));
        let inputs: Vec<Option<PatchValue>> = [Some(count), None].into_iter().chain(outer).collect();
        let mut values = patch.untyped_node(node.name, Arc::new(each), &inputs, results);
        let of_body = self.scanned_ranks(&facts)?;
        for i in 0..results - self.states {
            let value = &mut values[self.states + i];
            let name = format!("{}/scan{i}", node.name);
            if self.output_backward[i] {
                let mut operands = vec![Some(*value)];
                for v in [-1, i64::MIN + 1, 0, -1] {
                    operands.push(Some(patch.constant(&name, Tensor::from_vec(&[1], vec![v]))));
                }
                *value = patch.untyped_node(&name, operator(&slice::DEF, &[], 5)?, &operands, 1)[0];
            }
            let order = self.order(i, of_body[i] + 1)?;
            if !order.is_sorted() {
                let op = operator(&transpose::DEF, &[("perm", Attr::Ints(order))], 1)?;
                *value = patch.untyped_node(&name, op, &[Some(*value)], 1)[0];
            }
        }
        node.outputs.iter().zip(values).for_each(|(old, new)| patch.replace(*old, new));
        Ok(Some(patch))
    }

    fn subgraphs(&self) -> Vec<Arc<Graph>> {
        vec![self.body.clone()]
    }

    fn work(&self, _: u128, _: u128) -> u128 {
        u128::MAX
    }
}

impl Scan {
    /// Ranks of the elements of scan outputs.
    fn scanned_ranks(&self, inputs: &[Option<&Fact>]) -> Result<Vec<usize>> {
        let (_, turns) = self.axes(inputs)?;
        let count = Fact { shape: Shape::default(), ..Fact::of_dims(vec![turns]) };
        let all: Vec<Option<&Fact>> =
            [Some(&count), None].into_iter().chain(inputs.iter().copied()).collect();
        let facts = self.as_loop(inputs)?.infer(&all)?;
        Ok(facts[self.states..].iter().map(|fact| fact.shape.rank() - 1).collect())
    }
}

/// The last index along an axis of open extent.
fn last_of(graph: &mut Graph, i: usize, sequence: ValueId, axis: usize) -> Result<ValueId> {
    let mut add = |stem: &str, op: Arc<dyn Op>, inputs: &[ValueId]| -> Result<ValueId> {
        let name = format!("{stem}{i}");
        let inputs = inputs.iter().copied().map(Some).collect();
        let node = graph.add_node(&name, op, inputs, std::slice::from_ref(&name))?;
        Ok(graph.node(node).outputs[0])
    };
    let range = [("start", Attr::Int(axis as i64)), ("end", Attr::Int(axis as i64 + 1))];
    let size = add("extent", operator(&shape::DEF, &range, 1)?, &[sequence])?;
    let size = add("turns", operator(&squeeze::SQUEEZE, &[], 1)?, &[size])?;
    let one = graph.add_const(&format!("one{i}"), Tensor::from_vec(&[], vec![1i64]))?;
    let name = format!("last{i}");
    let node = graph.add_node(
        &name,
        operator(&binary::SUB, &[], 2)?,
        vec![Some(size), Some(one)],
        std::slice::from_ref(&name),
    )?;
    Ok(graph.node(node).outputs[0])
}

fn only(results: Vec<Tensor>) -> Result<Tensor> {
    results.into_iter().next().ok_or_else(|| Error::internal("an operator without a result"))
}
