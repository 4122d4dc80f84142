//! States that change their size from turn to turn. Such a state has room for the most; how much it holds is a state of its
//! own, which the body makes a size of before it takes the first so many elements:
//!
//! ```text
//!   %room, %n = Loop(.., %x, %size_of_x) {kiln.rooms = [state, axis, most], body = {
//!       input %room  input %n
//!       %size = Sizes(%n) {names = ["n"]}   %s = Prefix(%room, %size)   ..   %next_n = Shape(%next)
//!       output %next  output %next_n }}
//!   %count = Sizes(%n)   %y = Prefix(%room, %count)
//! ```
//!
//! A result of the body whose size each turn counts anew, and which the body declares to have a known one, is held to that
//! instead.

use std::sync::Arc;

use super::scanned::{facts, with_states};
use super::{Loop, Room};
use crate::counts::Counts;
use crate::dim::{Bound, Bounds, Dim};
use crate::error::{Error, Result};
use crate::graph::{Graph, PatchValue, ValueId};
use crate::op::{Attr, Fact, NodeView, Op, Patch};
use crate::ops::counted::{Chain, Prefix, Sizes};
use crate::ops::{body, concat, reshape, shape};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// An axis along which a state changes.
struct Axis {
    state: usize,
    axis: usize,
    /// What the body calls its size.
    symbol: Arc<str>,
    /// The most that it may be when a turn begins.
    most: i64,
    /// What each turn adds, where the most follows from that.
    step: Option<Dim>,
}

impl Loop {
    /// The loop whose states have room; nothing where none changes its size.
    pub(super) fn grown(
        &self,
        node: &NodeView<'_>,
        counts: &mut Counts<'_>,
        infer: &mut dyn FnMut(&mut Graph) -> Result<()>,
    ) -> Result<Option<Patch>> {
        let inputs = facts(node);
        let arguments = self.arguments(&inputs)?;
        if !self.rooms.is_empty() || self.keeps_sizes(&arguments) {
            return Ok(None);
        }
        let mut axes: Vec<Axis> = Vec::new();
        let (results, bounds) = loop {
            let mut body = body::typed(&self.body, &with_sizes(&arguments, &axes));
            body.bounds = node.graph.all_bounds();
            body.bounds.extend(axes.iter().map(|a| (a.symbol.clone(), Bound::from((0, a.most)))));
            match infer(&mut body) {
                Ok(()) => {}
                // Without a size that changes it is refused as any body is.
                Err(_) if axes.is_empty() => return Ok(None),
                Err(e) => return Err(e),
            }
            let result = |id: &ValueId| body.value(*id).fact.clone();
            let results: Option<Vec<Fact>> = body.outputs().iter().map(result).collect();
            let results = results.ok_or_else(|| Error::internal("a result without a type"))?;
            let bounds = body.all_bounds();
            if axes.is_empty() {
                let pins = self.pins(&body, &results);
                if pins.iter().any(Option::is_some) {
                    return self.pinned(node, &arguments, &pins).map(Some);
                }
            }
            if !self.more(node, &arguments, &results, &mut axes, &bounds, counts)? {
                break (results, bounds);
            }
        };
        if axes.is_empty() {
            return Ok(None);
        }
        let mut rooms = Vec::with_capacity(axes.len());
        for a in &axes {
            let next = &results[1 + a.state].shape[a.axis];
            let steady = a.step.as_ref().is_none_or(|step| *step == next.clone() - Dim::symbol(&a.symbol));
            if !steady {
                counts.needed(&node.told(a.state), a.axis)?;
            }
            let most = |dim: &Dim| dim.most(&bounds).ok_or_else(|| no_bounds(a.state, dim));
            let extent = most(next)?.max(most(&arguments[2 + a.state].shape[a.axis])?).max(a.most);
            rooms.push(Room { state: a.state, axis: a.axis, extent });
        }
        self.with_rooms(node, &axes, rooms, counts).map(Some)
    }

    /// The shapes of those results of the body that it counts anew in each turn, and declares.
    fn pins(&self, inferred: &Graph, results: &[Fact]) -> Vec<Option<Vec<usize>>> {
        let counted = |extent: &Dim| extent.symbols().iter().any(|name| inferred.counted.contains_key(name));
        let declared =
            self.body.outputs().iter().map(|id| self.body.value(*id).fact.as_ref()?.shape.as_const());
        let pin = |(found, declared): (&Fact, Option<Vec<usize>>)| {
            declared.filter(|d| d.len() == found.shape.rank() && found.shape.iter().any(counted))
        };
        results.iter().zip(declared).map(pin).collect()
    }

    /// The loop whose body is held to what it declares of its results: a run in which they have another size ends with a
    /// status.
    fn pinned(&self, node: &NodeView<'_>, arguments: &[Fact], pins: &[Option<Vec<usize>>]) -> Result<Patch> {
        let body = self.extended(arguments, &[], &mut |_, _, _| Ok(()), &mut |graph, _, results| {
            for (result, shape) in results.iter_mut().zip(pins) {
                let Some(shape) = shape else { continue };
                let list: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
                let name = graph.fresh_name("declared");
                let wanted = graph.add_const(&name, Tensor::from_vec(&[list.len()], list))?;
                let op = super::operator(&reshape::DEF, &[("allowzero", Attr::Int(1))], 2)?;
                *result = shared(graph, "as_declared", op, &[*result, wanted])?;
            }
            Ok(Vec::new())
        })?;
        let mut chain = Chain::new(node);
        let each = Loop { body: Arc::new(body), ..self.clone() };
        let inputs = with_states(node, self.states, &[]);
        let results = chain.optional(each, &inputs, self.outputs);
        Ok(chain.finish(&results))
    }

    /// Whether states certainly are what they were after a turn.
    fn keeps_sizes(&self, arguments: &[Fact]) -> bool {
        let results = match body::inferred(&self.body, arguments) {
            Some(results) => Ok(results),
            None => body::infer(&self.body, arguments.to_vec()),
        };
        results.is_ok_and(|r| (0..self.states).all(|i| r[1 + i].ty() == arguments[2 + i].ty()))
    }

    /// Adds the axes along which a turn changes a state; whether there are any.
    fn more(
        &self,
        node: &NodeView<'_>,
        arguments: &[Fact],
        results: &[Fact],
        axes: &mut Vec<Axis>,
        bounds: &Bounds,
        counts: &mut Counts<'_>,
    ) -> Result<bool> {
        let before = with_sizes(arguments, axes);
        let known = axes.len();
        for i in 0..self.states {
            let (before, after) = (&before[2 + i], &results[1 + i]);
            // Inference refuses it.
            if before.dtype != after.dtype || before.shape.rank() != after.shape.rank() {
                axes.clear();
                return Ok(false);
            }
            for axis in 0..before.shape.rank() {
                let (old, new) = (&before.shape[axis], &after.shape[axis]);
                if old == new || axes[..known].iter().any(|a| a.state == i && a.axis == axis) {
                    continue;
                }
                let first = old.most(bounds).ok_or_else(|| no_bounds(i, old))?;
                let told = node.told(i);
                let step = new.clone() - old.clone();
                let derived = match (step.range(bounds), self.most_turns(node, &facts(node), counts)?) {
                    (Some((_, most)), _) if most <= 0 => Some(first),
                    (Some((_, most)), Some(turns)) => {
                        most.checked_mul(turns).and_then(|n| n.checked_add(first))
                    }
                    _ => None,
                };
                let bound = counts.bound_of(told.name, axis);
                let (most, step) = match (bound, derived) {
                    (Some(most), _) => (most, None),
                    (None, Some(most)) => (most, Some(step)),
                    (None, None) => (counts.needed(&told, axis)?, None),
                };
                let most = most.max(first);
                let symbol = counts.inner(&format!("{}_{axis}_before_a_turn", told.name), most);
                axes.push(Axis { state: i, axis, symbol, most, step });
            }
        }
        Ok(axes.len() > known)
    }

    fn with_rooms(
        &self,
        node: &NodeView<'_>,
        axes: &[Axis],
        rooms: Vec<Room>,
        counts: &mut Counts<'_>,
    ) -> Result<Patch> {
        let mut each = Loop { rooms, ..self.clone() };
        let given = each.arguments(&facts(node))?;
        let size = || Fact::new(DType::I64, Shape::of(&[1]));
        let further: Vec<(String, Fact)> =
            axes.iter().map(|a| (format!("{}_in", a.symbol), size())).collect();
        let mut body = each.extended(
            &given,
            &further,
            &mut |graph, states, sizes| {
                for (i, value) in states.iter_mut().enumerate() {
                    let (own, mut given): (Vec<&Axis>, Vec<ValueId>) = axes
                        .iter()
                        .zip(sizes)
                        .filter(|(a, _)| a.state == i)
                        .map(|(a, size)| (a, *size))
                        .unzip();
                    if own.is_empty() {
                        continue;
                    }
                    if given.len() > 1 {
                        let op = super::operator(&concat::DEF, &[("axis", Attr::Int(0))], given.len())?;
                        given = vec![shared(graph, "sizes", op, &given)?];
                    }
                    let op = Sizes { names: own.iter().map(|a| a.symbol.clone()).collect() };
                    let n = only(graph, &own[0].symbol, op, &given)?;
                    let axes = own.iter().map(|a| a.axis as i64).collect();
                    *value = only(graph, "held", Prefix { axes }, &[*value, n])?;
                }
                Ok(())
            },
            &mut |graph, _, results| {
                let shape = |a: &Axis| {
                    let (start, end) = (a.axis as i64, a.axis as i64 + 1);
                    let op = super::operator(
                        &shape::DEF,
                        &[("start", Attr::Int(start)), ("end", Attr::Int(end))],
                        1,
                    )?;
                    shared(graph, "size", op, &[results[1 + a.state]])
                };
                axes.iter().map(shape).collect()
            },
        )?;
        body.counted.extend(axes.iter().map(|a| (a.symbol.clone(), Bound::from((0, a.most)))));
        let mut chain = Chain::new(node);
        let mut first: Vec<PatchValue> = Vec::with_capacity(axes.len());
        for a in axes {
            let (start, end) = (a.axis as i64, a.axis as i64 + 1);
            let value = chain.input(2 + a.state)?;
            first.push(chain.apply(
                &shape::DEF,
                &[("start", Attr::Int(start)), ("end", Attr::Int(end))],
                &[value],
            )?);
        }
        let inputs = with_states(node, self.states, &first);
        each.states += axes.len();
        each.outputs = each.states + self.outputs.saturating_sub(self.states);
        each.body = Arc::new(body);
        let outputs = each.outputs;
        let results = chain.optional(each, &inputs, outputs);
        let (states, rest) = results.split_at(self.states);
        let (sizes, scanned) = rest.split_at(axes.len());
        let mut states = states.to_vec();
        for (i, value) in states.iter_mut().enumerate() {
            let (own, mut given): (Vec<&Axis>, Vec<PatchValue>) =
                axes.iter().zip(sizes).filter(|(a, _)| a.state == i).map(|(a, size)| (a, *size)).unzip();
            if own.is_empty() {
                continue;
            }
            if given.len() > 1 {
                given = vec![chain.apply(&concat::DEF, &[("axis", Attr::Int(0))], &given)?];
            }
            let name = |a: &&Axis| (format!("{}_{}", node.told(i).name, a.axis), a.most);
            let n = chain.sizes(counts, given[0], &own.iter().map(name).collect::<Vec<_>>());
            let axes = own.iter().map(|a| a.axis as i64).collect();
            *value = chain.node(Prefix { axes }, &[*value, n], 1)[0];
        }
        states.extend(scanned);
        Ok(chain.finish(&states))
    }
}

/// What the body is given, with the names of sizes that change.
fn with_sizes(arguments: &[Fact], axes: &[Axis]) -> Vec<Fact> {
    let mut facts = arguments.to_vec();
    for a in axes {
        facts[2 + a.state].shape.0[a.axis] = Dim::symbol(&a.symbol);
    }
    facts
}

fn no_bounds(state: usize, dim: &Dim) -> Error {
    Error::unsupported(format!("state {state} has the size {dim}, which has no bounds"))
        .hint("give it some with --dim")
}

fn only(graph: &mut Graph, stem: &str, op: impl Op, inputs: &[ValueId]) -> Result<ValueId> {
    shared(graph, stem, Arc::new(op), inputs)
}

fn shared(graph: &mut Graph, stem: &str, op: Arc<dyn Op>, inputs: &[ValueId]) -> Result<ValueId> {
    let name = graph.fresh_name(stem);
    let node =
        graph.add_node(&name, op, inputs.iter().copied().map(Some).collect(), std::slice::from_ref(&name))?;
    Ok(graph.node(node).outputs[0])
}
