//! The only way a built graph changes.
//!
//! A rule builds a [`Patch`]: new constants and nodes on top of existing values, then replacements of existing
//! values by new ones. [`Graph::apply`] checks that types stay and removes what became dead.

use std::collections::HashMap;

use super::graph::{Graph, Operator, Source, ValueId};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::fact::Fact;
use crate::tensor::Tensor;

/// A value inside a patch: one of the graph's, or one that the patch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchValue {
    /// An existing value.
    Old(ValueId),
    /// A value made by this patch.
    New(usize),
}

impl From<ValueId> for PatchValue {
    fn from(id: ValueId) -> Self {
        Self::Old(id)
    }
}

#[derive(Debug)]
enum New {
    Const { name: String, tensor: Tensor },
    Output { node: usize, index: usize },
}

#[derive(Debug)]
struct NewNode<O> {
    name: String,
    op: O,
    inputs: Vec<Option<PatchValue>>,
}

/// A change of a graph, not yet made.
#[derive(Debug)]
pub struct Patch<O> {
    values: Vec<New>,
    /// `None` for results whose types are left to inference.
    facts: Vec<Option<Fact>>,
    nodes: Vec<NewNode<O>>,
    replacements: Vec<(ValueId, PatchValue)>,
}

impl<O> Default for Patch<O> {
    fn default() -> Self {
        Self { values: Vec::new(), facts: Vec::new(), nodes: Vec::new(), replacements: Vec::new() }
    }
}

impl<O: Operator> Patch<O> {
    /// A patch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a constant; `name` is a stem.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> PatchValue {
        self.facts.push(Some(Fact::of(&tensor)));
        self.values.push(New::Const { name: name.to_owned(), tensor });
        PatchValue::New(self.values.len() - 1)
    }

    /// What is known of a value that the patch reads or makes.
    pub fn fact<'a>(&'a self, graph: &'a Graph<O>, value: PatchValue) -> Result<&'a Fact> {
        match value {
            PatchValue::Old(id) => {
                let value = graph.value(id);
                value
                    .fact
                    .as_ref()
                    .ok_or_else(|| Error::internal(format!("'{}' has no inferred type", value.name)))
            }
            PatchValue::New(i) => self.facts[i]
                .as_ref()
                .ok_or_else(|| Error::internal("a value of the patch has no inferred type")),
        }
    }

    /// Adds a node named `name` and infers its results, which it returns.
    pub fn shared_node(
        &mut self,
        graph: &Graph<O>,
        name: &str,
        op: O,
        inputs: &[Option<PatchValue>],
    ) -> Result<Vec<PatchValue>> {
        let facts =
            inputs.iter().map(|v| v.map(|v| self.fact(graph, v)).transpose()).collect::<Result<Vec<_>>>()?;
        let outputs = op.infer(&facts).map_err(|e| e.at(name, op.name()))?;
        let node = self.nodes.len();
        self.nodes.push(NewNode { name: name.to_owned(), op, inputs: inputs.to_vec() });
        let first = self.values.len();
        for (index, fact) in outputs.into_iter().enumerate() {
            self.values.push(New::Output { node, index });
            self.facts.push(Some(fact.within(&graph.bounds, &graph.counted)));
        }
        Ok((first..self.values.len()).map(PatchValue::New).collect())
    }

    /// Adds a node whose results get their types from the next inference.
    pub fn untyped_node(
        &mut self,
        name: &str,
        op: O,
        inputs: &[Option<PatchValue>],
        outputs: usize,
    ) -> Vec<PatchValue> {
        let (node, first) = (self.nodes.len(), self.values.len());
        self.nodes.push(NewNode { name: name.to_owned(), op, inputs: inputs.to_vec() });
        self.values.extend((0..outputs).map(|index| New::Output { node, index }));
        self.facts.extend((0..outputs).map(|_| None));
        (first..self.values.len()).map(PatchValue::New).collect()
    }

    /// Adds the constants and nodes of a graph, on `arguments` in place of its inputs, and gives its results, whose types
    /// are left to the next inference. Names start with `stem`.
    pub fn splice(
        &mut self,
        body: &Graph<O>,
        arguments: &[PatchValue],
        stem: &str,
    ) -> Result<Vec<PatchValue>> {
        if arguments.len() != body.inputs().len() {
            let (n, m) = (arguments.len(), body.inputs().len());
            return Err(Error::internal(format!("{n} arguments for a graph of {m} inputs")));
        }
        let mut made: HashMap<ValueId, PatchValue> =
            body.inputs().iter().copied().zip(arguments.iter().copied()).collect();
        for (id, value) in body.values() {
            if let Source::Const(tensor) = &value.source {
                made.insert(id, self.constant(&format!("{stem}/{}", value.name), tensor.clone()));
            }
        }
        for id in body.topological_order()? {
            let node = body.node(id);
            let inputs: Vec<_> = node.inputs.iter().map(|v| v.map(|v| made[&v])).collect();
            let name = format!("{stem}/{}", node.name);
            let results = self.untyped_node(&name, node.op.clone(), &inputs, node.outputs.len());
            made.extend(node.outputs.iter().copied().zip(results));
        }
        Ok(body.outputs().iter().map(|v| made[v]).collect())
    }

    /// Whether it makes nothing new: it lets values be read in the place of others.
    pub fn only_replaces(&self) -> bool {
        self.values.is_empty()
    }

    /// Makes all readers of `old` read `new`.
    pub fn replace(&mut self, old: ValueId, new: impl Into<PatchValue>) {
        self.replacements.push((old, new.into()));
    }
}

impl<O: Operator> Graph<O> {
    /// Makes the change, or leaves the graph as it was when a replacement's type differs (an internal error).
    pub fn apply(&mut self, patch: Patch<O>) -> Result<()> {
        for (old, new) in &patch.replacements {
            // What is not inferred yet is checked against what the old value was declared to be.
            let untyped = match new {
                PatchValue::New(i) => patch.facts[*i].is_none(),
                PatchValue::Old(id) => self.value(*id).fact.is_none(),
            };
            if untyped {
                continue;
            }
            let (from, to) = (self.value(*old).fact.as_ref(), patch.fact(self, *new)?);
            // What a model declares of two values may name one extent twice, and an extent that is open for one operand may be
            // known for another.
            let known = |(a, b): (&Dim, &Dim)| a == b || a.as_const().is_some() != b.as_const().is_some();
            let fits = |from: &Fact| match new {
                PatchValue::Old(_) => from.check_declared("", to).is_ok(),
                PatchValue::New(_) => {
                    from.check_declared("", to).is_ok() && from.shape.iter().zip(to.shape.iter()).all(known)
                }
            };
            if let Some(from) = from
                && !fits(from)
            {
                return Err(Error::internal(format!(
                    "a patch replaces '{}' of type {} by type {}",
                    self.value(*old).name,
                    from.ty(),
                    to.ty()
                )));
            }
        }
        let clean = self.is_clean();
        let mut ids: Vec<Option<ValueId>> = vec![None; patch.values.len()];
        let resolve = |ids: &[Option<ValueId>], v: PatchValue| match v {
            PatchValue::Old(id) => Ok(id),
            PatchValue::New(i) => {
                ids[i].ok_or_else(|| Error::internal("a patch reads a value before it is made"))
            }
        };
        let mut facts = patch.facts;
        for (i, value) in patch.values.iter().enumerate() {
            if let New::Const { name, tensor } = value {
                let name = self.fresh_name(name);
                ids[i] = Some(self.add_const(&name, tensor.clone())?);
            }
        }
        let mut results: Vec<Vec<usize>> = vec![Vec::new(); patch.nodes.len()];
        for (i, value) in patch.values.iter().enumerate() {
            if let New::Output { node, .. } = value {
                results[*node].push(i);
            }
        }
        for (node, outputs) in patch.nodes.into_iter().zip(results) {
            let inputs = node
                .inputs
                .iter()
                .map(|v| v.map(|v| resolve(&ids, v)).transpose())
                .collect::<Result<Vec<_>>>()?;
            let mut names = Vec::new();
            for &i in &outputs {
                let New::Output { index, .. } = patch.values[i] else { continue };
                let stem = if index == 0 {
                    format!("{}.out", node.name)
                } else {
                    format!("{}.out{index}", node.name)
                };
                let mut name = self.fresh_name(&stem);
                while names.contains(&name) {
                    name.push('_');
                }
                names.push(name);
            }
            let id = self.add_node(&node.name, node.op, inputs, &names)?;
            for (&i, value) in outputs.iter().zip(self.node(id).outputs.clone()) {
                ids[i] = Some(value);
                if let Some(fact) = facts[i].take() {
                    self.set_fact(value, fact);
                }
            }
        }
        let mut unread: Vec<ValueId> = ids.iter().copied().flatten().collect();
        for (old, new) in patch.replacements {
            let new = resolve(&ids, new)?;
            if old == new {
                continue;
            }
            if self.value(new).fact.is_none()
                && let Some(declared) = self.value(old).fact.clone()
            {
                self.set_fact(new, declared);
            }
            if let Some(most) = self.most.get(&self.value(old).name).cloned() {
                self.most.entry(self.value(new).name.clone()).or_insert(most);
            }
            self.redirect(old, new);
            unread.push(old);
        }
        if clean {
            self.remove_unread(unread);
        } else {
            self.remove_dead();
        }
        Ok(())
    }
}
