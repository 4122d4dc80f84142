//! Scan outputs of a number of turns that only a run can tell: the loop has room for the most, a state counts the turns, and
//! what is read of the scan outputs are their first elements, as many as were counted.

use std::sync::Arc;

use super::{Loop, Turns};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::graph::{Graph, PatchValue, ValueId};
use crate::op::{Fact, NodeView, Patch};
use crate::ops::counted::Chain;
use crate::ops::{binary, body};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

impl Loop {
    /// The loop with room; nothing where it has no need of some.
    pub(super) fn counted(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let inputs = facts(node);
        if self.most.is_some() || self.outputs <= self.states || self.certain(&inputs)?.is_some() {
            return Ok(None);
        }
        let scanned = self.states..self.outputs;
        let own = scanned.clone().filter_map(|i| counts.given(&node.told(i), 0)).max();
        let most = match (self.most_turns(node, &inputs, counts)?, own) {
            (Some(a), Some(b)) => a.min(b),
            (Some(most), None) | (None, Some(most)) => most,
            (None, None) => counts.needed(&node.told(self.states), 0)?,
        };
        let body = self.extended(
            &self.arguments(&inputs)?,
            &[("turns".to_owned(), Fact::new(DType::I64, Shape::of(&[1])))],
            &mut |_, _, _| Ok(()),
            &mut |graph, turn, _| {
                let name = graph.fresh_name("one");
                let one = graph.add_const(&name, Tensor::from_vec(&[1], vec![1i64]))?;
                let op = super::operator(&binary::ADD, &[], 2)?;
                let name = graph.fresh_name("turns_so_far");
                let node =
                    graph.add_node(&name, op, vec![Some(turn), Some(one)], std::slice::from_ref(&name))?;
                Ok(graph.node(node).outputs.clone())
            },
        )?;
        let mut chain = Chain::new(node);
        let none = chain.integers(&[0]);
        let each = Loop {
            most: Some(most),
            rooms: self.rooms.clone(),
            ..Loop::new(Arc::new(body), self.captures, self.states + 1, self.outputs + 1)?
        };
        let inputs = with_states(node, self.states, &[none]);
        let mut results = chain.optional(each, &inputs, self.outputs + 1);
        let turns = results.remove(self.states);
        let stem = format!("{}_count", node.told(self.states).name);
        let turns = chain.sizes(counts, turns, &[(stem, most)]);
        for result in &mut results[self.states..] {
            *result = chain.prefix(*result, turns, 0);
        }
        Ok(Some(chain.finish(&results)))
    }

    /// How many turns there are at most, where that is known or was given.
    pub(super) fn most_turns(
        &self,
        node: &NodeView<'_>,
        inputs: &[Option<&Fact>],
        counts: &Counts<'_>,
    ) -> Result<Option<i64>> {
        if let Some(turns) = Turns::known(inputs) {
            return counts.most(&turns).map(Some);
        }
        let count = node.inputs.first().copied().flatten();
        Ok(count.and_then(|v| counts.bound_of(&node.graph.value(v).name, 0)))
    }

    /// The body with further states behind its own: `before` may give the body others in their place, `after` makes the
    /// further ones of the next turn from the turn's number and the results of the body, which it may replace.
    #[allow(clippy::type_complexity)]
    pub(super) fn extended(
        &self,
        arguments: &[Fact],
        further: &[(String, Fact)],
        before: &mut dyn FnMut(&mut Graph, &mut [ValueId], &[ValueId]) -> Result<()>,
        after: &mut dyn FnMut(&mut Graph, ValueId, &mut [ValueId]) -> Result<Vec<ValueId>>,
    ) -> Result<Graph> {
        let old = &*self.body;
        let mut graph = Graph::new(&old.name);
        graph.opsets = old.opsets.clone();
        (graph.bounds, graph.counted) = (old.bounds.clone(), old.counted.clone());
        let own = |i: usize| old.value(old.inputs()[i]).name.clone();
        let mut values = Vec::new();
        for (i, fact) in arguments[..2 + self.states].iter().enumerate() {
            values.push(graph.add_input(&own(i), fact.clone())?);
        }
        let mut made = Vec::new();
        for (stem, fact) in further {
            let taken = |name: &str| old.inputs().iter().any(|v| old.value(*v).name == name);
            let mut name = graph.fresh_name(stem);
            while taken(&name) {
                name.push('_');
            }
            made.push(graph.add_input(&name, fact.clone())?);
        }
        for (i, fact) in arguments.iter().enumerate().skip(2 + self.states) {
            values.push(graph.add_input(&own(i), fact.clone())?);
        }
        let turn = values[0];
        before(&mut graph, &mut values[2..2 + self.states], &made)?;
        let mut results = body::copy_into(&mut graph, old, &values)?;
        let further = after(&mut graph, turn, &mut results)?;
        let (first, scanned) = results.split_at(1 + self.states);
        for (i, result) in first.iter().chain(&further).chain(scanned).enumerate() {
            graph.add_output_named(*result, &format!("result{i}"));
        }
        Ok(graph)
    }
}

/// What is known of the operands.
pub(super) fn facts<'g>(node: &NodeView<'g>) -> Vec<Option<&'g Fact>> {
    node.inputs.iter().map(|v| v.and_then(|v| node.graph.value(v).fact.as_ref())).collect()
}

/// The operands with further states behind these.
pub(super) fn with_states(
    node: &NodeView<'_>,
    states: usize,
    further: &[PatchValue],
) -> Vec<Option<PatchValue>> {
    let mut inputs: Vec<Option<PatchValue>> = node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
    let at = 2 + states;
    inputs.splice(at..at, further.iter().map(|v| Some(*v)));
    inputs
}

impl Loop {
    /// A state in its room, with zeros behind what it holds.
    pub(super) fn in_room(&self, state: usize, held: Tensor) -> Result<Tensor> {
        let shape = self.room(state, &Shape::of(&held.shape))?;
        let room = shape.as_const().ok_or_else(|| Error::internal("an open shape"))?;
        if room == held.shape {
            return Ok(held);
        }
        if room.iter().zip(&held.shape).any(|(room, held)| room < held) {
            return Err(Error::invalid(format!(
                "state {state} has the shape {:?}, with room for {room:?}",
                held.shape
            )));
        }
        let size = held.dtype.size();
        let mut all = vec![0; room.iter().product::<usize>() * size];
        // Row by row of the last axis.
        let rank = room.len();
        let (wide, run) = (room[rank - 1] * size, held.shape[rank - 1] * size);
        let rows: usize = held.shape[..rank - 1].iter().product();
        let mut index = vec![0; rank - 1];
        for row in 0..rows {
            let at = index.iter().zip(&room).fold(0, |at, (i, n)| at * n + i) * wide;
            all[at..at + run].copy_from_slice(&held.data[row * run..][..run]);
            for axis in (0..rank - 1).rev() {
                index[axis] += 1;
                if index[axis] < held.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Tensor::new(held.dtype, room, all.into())
    }
}
