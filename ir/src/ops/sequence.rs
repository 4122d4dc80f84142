//! Sequences of tensors: `SequenceEmpty`, `SequenceConstruct`, `SequenceInsert`, `SequenceErase` and `SplitToSequence` make them,
//! `SequenceAt`, `SequenceLength` and `ConcatFromSequence` take from them.
//!
//! Spec: ONNX, version 11, SplitToSequence also 24. No kernel has sequences. How long they are is known when the model is
//! compiled, and what takes from one is replaced, during inference, by nodes on the tensors in it; then nothing reads the
//! sequence any more. Places are constants, too. Sequences that are inputs or results, or what bodies of control flow are handed,
//! are unsupported.

use super::counted::Chain;
use super::{concat, identity, operand, slice, squeeze};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, PatchValue, ValueId};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// The longest sequence, in tensors and in nodes that make it.
const MOST: usize = 1024;

/// What makes a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    name: &'static str,
    /// Of `SplitToSequence`: along which axis, and whether parts of one element keep it.
    axis: i64,
    keepdims: bool,
}

/// What takes from a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    name: &'static str,
    /// Of `ConcatFromSequence`: along which axis, and whether that is a new one.
    axis: i64,
    new_axis: bool,
}

/// The fewest and the most operands of each.
fn arity(name: &str) -> (usize, usize) {
    match name {
        "SequenceEmpty" => (0, 0),
        "SequenceConstruct" => (1, MOST),
        "SequenceInsert" => (2, 3),
        "SequenceErase" | "SplitToSequence" => (1, 2),
        "SequenceAt" => (2, 2),
        _ => (1, 1),
    }
}

fn maker(node: &mut NodeProto<'_>, name: &'static str) -> Result<Box<dyn Op>> {
    let (least, most) = arity(name);
    node.arity(least..=most, 1..=1)?;
    // The type of the tensors that are not there.
    node.int("dtype")?;
    let (axis, keepdims) = match name {
        "SplitToSequence" => (node.int("axis")?.unwrap_or(0), node.flag("keepdims", true)?),
        _ => (0, true),
    };
    Ok(Box::new(Maker { name, axis, keepdims }))
}

fn taker(node: &mut NodeProto<'_>, name: &'static str) -> Result<Box<dyn Op>> {
    let (least, most) = arity(name);
    node.arity(least..=most, 1..=1)?;
    let (axis, new_axis) = match name {
        "ConcatFromSequence" => {
            let Some(axis) = node.int("axis")? else { bail_invalid!("attribute 'axis' is missing") };
            (axis, node.flag("new_axis", false)?)
        }
        _ => (0, false),
    };
    Ok(Box::new(Taker { name, axis, new_axis }))
}

/// `SequenceEmpty`.
pub const EMPTY: OpDef = OpDef {
    name: "SequenceEmpty",
    domain: "",
    since: (11, 11),
    parse: |node| maker(node, "SequenceEmpty"),
    unsupported: "sequences that are inputs or results, or whose length is not known",
};
/// `SequenceConstruct`.
pub const CONSTRUCT: OpDef =
    OpDef { name: "SequenceConstruct", parse: |node| maker(node, "SequenceConstruct"), ..EMPTY };
/// `SequenceInsert`.
pub const INSERT: OpDef =
    OpDef { name: "SequenceInsert", parse: |node| maker(node, "SequenceInsert"), ..EMPTY };
/// `SequenceErase`.
pub const ERASE: OpDef = OpDef { name: "SequenceErase", parse: |node| maker(node, "SequenceErase"), ..EMPTY };
/// `SplitToSequence`.
pub const SPLIT: OpDef =
    OpDef { name: "SplitToSequence", since: (11, 24), parse: |node| maker(node, "SplitToSequence"), ..EMPTY };
/// `SequenceAt`.
pub const AT: OpDef = OpDef { name: "SequenceAt", parse: |node| taker(node, "SequenceAt"), ..EMPTY };
/// `SequenceLength`.
pub const LENGTH: OpDef =
    OpDef { name: "SequenceLength", parse: |node| taker(node, "SequenceLength"), ..EMPTY };
/// `ConcatFromSequence`.
pub const CONCAT: OpDef =
    OpDef { name: "ConcatFromSequence", parse: |node| taker(node, "ConcatFromSequence"), ..EMPTY };

/// A tensor of a sequence.
#[derive(Clone, Copy, Debug)]
enum Item {
    Tensor(ValueId),
    /// Elements of a tensor along an axis, which stays or not.
    Part {
        of: ValueId,
        axis: i64,
        begin: i64,
        end: i64,
        keep: bool,
    },
}

/// The tensors of a sequence, as far as the nodes that make it tell.
fn items(graph: &Graph, sequence: ValueId) -> Result<Vec<Item>> {
    // From the last node that changes it to what it is made of.
    let mut changes = Vec::new();
    let mut value = sequence;
    let mut list = loop {
        let Some(node) = graph.producer(value).map(|id| graph.node(id)) else {
            bail_unsupported!("a sequence that no node makes is not supported");
        };
        let before = node.inputs.first().copied().flatten();
        match (node.op.name(), before) {
            ("SequenceEmpty", _) => break Vec::new(),
            ("SequenceConstruct", _) => {
                break node.inputs.iter().flatten().copied().map(Item::Tensor).collect();
            }
            ("SplitToSequence", Some(of)) => break parts(graph, node, of)?,
            ("SequenceInsert" | "SequenceErase", Some(before)) => {
                changes.push(node);
                value = before;
            }
            ("Identity", Some(before)) => value = before,
            (other, _) => bail_unsupported!("a sequence that {other} makes is not supported"),
        }
        if changes.len() > MOST {
            bail_unsupported!("a sequence that more than {MOST} nodes change is not supported");
        }
    };
    for node in changes.into_iter().rev() {
        let operand = |i: usize| node.inputs.get(i).copied().flatten();
        if node.op.name() == "SequenceErase" {
            let last = list.len().checked_sub(1);
            let Some(at) = operand(1).map_or(Ok(last), |at| place(graph, at, list.len()).map(Some))? else {
                bail_invalid!("there is nothing to erase from a sequence without tensors");
            };
            list.remove(at);
        } else {
            // A place behind the last is one, too.
            let at = operand(2).map_or(Ok(list.len()), |at| inserted(graph, at, list.len()))?;
            let Some(tensor) = operand(1) else {
                bail_invalid!("there is no tensor to insert into a sequence")
            };
            list.insert(at, Item::Tensor(tensor));
        }
    }
    Ok(list)
}

fn number(graph: &Graph, value: ValueId) -> Result<i64> {
    let known = graph.value(value).fact.as_ref().and_then(operand::known_dims);
    match known.as_deref() {
        Some([dim]) if dim.as_const().is_some() => Ok(dim.as_const().unwrap_or(0)),
        _ => bail_unsupported!("a place in a sequence that is computed at run time is not supported"),
    }
}

fn place(graph: &Graph, at: ValueId, length: usize) -> Result<usize> {
    Ok(operand::wrapped(number(graph, at)?, length as i64)? as usize)
}

fn inserted(graph: &Graph, at: ValueId, length: usize) -> Result<usize> {
    let (at, length) = (number(graph, at)?, length as i64);
    if at == length { Ok(length as usize) } else { Ok(operand::wrapped(at, length)? as usize) }
}

/// The parts of a tensor that is split.
fn parts(graph: &Graph, node: &Node, of: ValueId) -> Result<Vec<Item>> {
    let (axis, keepdims) = match (node.op.attrs().get("axis"), node.op.attrs().get("keepdims")) {
        (Some(Attr::Int(axis)), Some(Attr::Int(keep))) => (*axis, *keep != 0),
        _ => bail_invalid!("SplitToSequence has no axis"),
    };
    let Some(fact) = &graph.value(of).fact else {
        bail_unsupported!("a sequence of what has no type is not supported")
    };
    let axis = operand::wrapped(axis, fact.shape.rank() as i64)?;
    let Some(extent) = fact.shape[axis as usize].as_const() else {
        bail_unsupported!("a sequence whose length is only known at run time is not supported");
    };
    let split = node.inputs.get(1).copied().flatten();
    let list = match split {
        None => vec![1; extent.max(0) as usize],
        Some(value) => {
            let fact = graph.value(value).fact.as_ref();
            let known = fact.and_then(operand::known_dims);
            let list: Option<Vec<i64>> = known.and_then(|d| d.iter().map(crate::Dim::as_const).collect());
            let Some(list) = list else {
                bail_unsupported!("a sequence whose parts are computed at run time is not supported");
            };
            match (fact.map_or(0, |f| f.shape.rank()), &list[..]) {
                (0, &[each]) if each > 0 => {
                    let count = (extent.max(0) as usize).div_ceil(each as usize) as i64;
                    (0..count).map(|i| each.min(extent - i * each)).collect()
                }
                (1, parts) if parts.iter().all(|n| *n >= 0) && parts.iter().sum::<i64>() == extent => list,
                _ => bail_invalid!("{extent} elements are not split into {list:?}"),
            }
        }
    };
    if list.len() > MOST {
        bail_unsupported!("a sequence of {} tensors is not supported, only of {MOST}", list.len());
    }
    let keep = keepdims || split.is_some();
    let mut begin = 0;
    let mut part = |length: i64| {
        begin += length;
        Item::Part { of, axis, begin: begin - length, end: begin, keep }
    };
    Ok(list.into_iter().map(&mut part).collect())
}

/// The tensor itself.
fn tensor(chain: &mut Chain<'_>, item: Item) -> Result<PatchValue> {
    let (of, axis, begin, end, keep) = match item {
        Item::Tensor(value) => return chain.apply(&identity::DEF, &[], &[value.into()]),
        Item::Part { of, axis, begin, end, keep } => (of, axis, begin, end, keep),
    };
    let operands = [of.into(), chain.integers(&[begin]), chain.integers(&[end]), chain.integers(&[axis])];
    let part = chain.apply(&slice::DEF, &[], &operands)?;
    if keep {
        return Ok(part);
    }
    let axes = chain.integers(&[axis]);
    chain.apply(&squeeze::SQUEEZE, &[], &[part, axes])
}

fn not_computed(name: &str) -> Error {
    Error::unsupported(format!("{name} on a sequence that is there at run time is not supported"))
}

impl Op for Maker {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        if self.name != SPLIT.name {
            return Attrs::new();
        }
        let keep = Attr::Int(self.keepdims.into());
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis)), ("keepdims".to_owned(), keep)])
    }

    /// No tensor has this value; something must be said of it until nothing reads it.
    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let dtype = inputs.iter().flatten().next().map_or(DType::F32, |f| f.dtype);
        Ok(vec![Fact::new(dtype, Shape::of(&[0]))])
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(not_computed(self.name))
    }
}

impl Op for Taker {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        if self.name != CONCAT.name {
            return Attrs::new();
        }
        let new_axis = Attr::Int(self.new_axis.into());
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis)), ("new_axis".to_owned(), new_axis)])
    }

    fn infer(&self, _: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        Err(not_computed(self.name))
    }

    fn eval(&self, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(not_computed(self.name))
    }

    fn count(&self, node: &NodeView<'_>, _: &mut Counts<'_>) -> Result<Option<Patch>> {
        let Some(sequence) = node.inputs.first().copied().flatten() else {
            bail_invalid!("there is no sequence")
        };
        let list = items(node.graph, sequence)?;
        let mut chain = Chain::new(node);
        let result = match self.name {
            "SequenceLength" => chain.constant(Tensor::from_vec(&[], vec![list.len() as i64])),
            "SequenceAt" => {
                let Some(at) = node.inputs.get(1).copied().flatten() else {
                    bail_invalid!("there is no place")
                };
                let at = place(node.graph, at, list.len())?;
                tensor(&mut chain, list[at])?
            }
            _ => {
                if list.is_empty() {
                    bail_invalid!("there is nothing to join in a sequence without tensors");
                }
                let mut parts = Vec::with_capacity(list.len());
                for item in list {
                    let mut part = tensor(&mut chain, item)?;
                    if self.new_axis {
                        let axes = chain.integers(&[self.axis]);
                        part = chain.apply(&squeeze::UNSQUEEZE, &[], &[part, axes])?;
                    }
                    parts.push(part);
                }
                chain.apply(&concat::DEF, &[("axis", Attr::Int(self.axis))], &parts)?
            }
        };
        Ok(Some(chain.finish(&[result])))
    }
}
