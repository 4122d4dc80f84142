//! Nodes, values and the graph around them.
//!
//! petgraph serves traversal (order, cycles, reachability) and is named in this file only. The order of a
//! node's operands is kept in the node; edges merely mirror it.

use std::collections::BTreeMap;
use std::fmt;

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use crate::dim::Bounds;
use crate::error::{Error, Result};
use crate::fact::Fact;
use crate::tensor::Tensor;

/// A node of one graph. Not kept across a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(NodeIndex);

/// A value of one graph: an input, a constant or a node's output. Stays valid across patches as long as the
/// value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

/// What a graph has to know of the operators that it holds. It holds any kind of them, since operators hold graphs
/// (the bodies of control flow) and give patches themselves: [`crate::op`] ties the knot.
pub trait Operator: Clone + fmt::Debug {
    /// What messages call it.
    fn name(&self) -> &'static str;
    /// Types (and known elements) of the results.
    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>>;
    /// Whether a node stays although nobody reads what it makes.
    fn stays(&self) -> bool {
        false
    }
}

/// An operator applied to values.
#[derive(Clone, Debug)]
pub struct Node<O> {
    /// The name in the model, or one derived from it.
    pub name: String,
    /// The operator.
    pub op: O,
    /// Operands in order; `None` for optional ones left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results in order.
    pub outputs: Vec<ValueId>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Argument of the graph, by position.
    Input(usize),
    /// Output of a node, by position.
    Node(NodeId, usize),
    /// A constant.
    Const(Tensor),
}

/// A tensor that flows through the graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// The name in the model, unique in the graph.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// What is known of it; `None` until inferred.
    pub fact: Option<Fact>,
}

/// A graph of operators.
///
/// It is built with the `add_*` methods; afterwards it changes only through [`Patch`](super::Patch).
#[derive(Clone, Debug)]
pub struct Graph<O> {
    /// The name in the model.
    pub name: String,
    /// Versions of the operator domains that it was written for.
    pub opsets: BTreeMap<String, i64>,
    /// Bounds of the symbolic dimensions.
    pub bounds: Bounds,
    /// Bounds of the sizes that nodes count when the graph runs.
    pub counted: Bounds,
    /// The most elements along each axis, or along every one, of values whose sizes a run counts, by name.
    pub most: BTreeMap<String, Vec<i64>>,
    nodes: StableDiGraph<Node<O>, ValueId>,
    // Values removed by a patch stay as holes, so that ids keep their meaning.
    values: Vec<Option<Value>>,
    /// By value: operands of nodes and results of the graph that it is.
    readers: Vec<u32>,
    names: BTreeMap<String, ValueId>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    output_names: Vec<String>,
    /// Whether every node and constant is known to be needed, as it is after a patch.
    clean: bool,
}

impl<O> Default for Graph<O> {
    fn default() -> Self {
        Self {
            name: String::new(),
            opsets: BTreeMap::new(),
            bounds: Bounds::default(),
            counted: Bounds::default(),
            most: BTreeMap::new(),
            nodes: StableDiGraph::default(),
            values: Vec::new(),
            readers: Vec::new(),
            names: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            output_names: Vec::new(),
            clean: false,
        }
    }
}

impl<O: Operator> Graph<O> {
    /// Bounds of the symbolic dimensions, and of the sizes that nodes count.
    pub fn all_bounds(&self) -> Bounds {
        self.bounds.iter().chain(&self.counted).map(|(name, bound)| (name.clone(), *bound)).collect()
    }

    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds an argument.
    pub fn add_input(&mut self, name: &str, fact: Fact) -> Result<ValueId> {
        let position = self.inputs.len();
        let id = self.add_value(name, Source::Input(position), Some(fact))?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        let fact = Fact::of(&tensor);
        self.add_value(name, Source::Const(tensor), Some(fact))
    }

    /// Adds a node whose outputs have the given names. The operands must exist; facts are left to inference.
    pub fn add_node(
        &mut self,
        name: &str,
        op: O,
        inputs: Vec<Option<ValueId>>,
        outputs: &[String],
    ) -> Result<NodeId> {
        let node = Node { name: name.to_owned(), op, inputs: inputs.clone(), outputs: Vec::new() };
        let id = self.nodes.add_node(node);
        for (i, output) in outputs.iter().enumerate() {
            let value = self.add_value(output, Source::Node(NodeId(id), i), None)?;
            self.nodes[id].outputs.push(value);
        }
        for value in inputs.into_iter().flatten() {
            self.readers[value.0 as usize] += 1;
            if let Source::Node(producer, _) = self.value(value).source {
                self.nodes.add_edge(producer.0, id, value);
            }
        }
        self.clean = false;
        Ok(NodeId(id))
    }

    /// Makes a value a result of the graph, under the name that it has now: a patch may put another value in
    /// its place, the result's name stays.
    pub fn add_output(&mut self, value: ValueId) {
        let name = self.value(value).name.clone();
        self.add_output_named(value, &name);
    }

    /// [`Graph::add_output`] under another name than the value's.
    pub fn add_output_named(&mut self, value: ValueId, name: &str) {
        self.output_names.push(name.to_owned());
        self.outputs.push(value);
        self.readers[value.0 as usize] += 1;
    }

    fn add_value(&mut self, name: &str, source: Source, fact: Option<Fact>) -> Result<ValueId> {
        let id = ValueId(
            u32::try_from(self.values.len())
                .map_err(|_| Error::unsupported("graphs of more than 2^32 values are not supported"))?,
        );
        if self.names.insert(name.to_owned(), id).is_some() {
            return Err(Error::invalid(format!("value '{name}' is defined twice")));
        }
        self.values.push(Some(Value { name: name.to_owned(), source, fact }));
        self.readers.push(0);
        self.clean = false;
        Ok(id)
    }

    /// Arguments in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Results in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Names of the results in order.
    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// A value. Panics on an id that a patch has removed: holding one is a bug.
    pub fn value(&self, id: ValueId) -> &Value {
        self.values[id.0 as usize].as_ref().unwrap_or_else(|| panic!("value {id:?} was removed"))
    }

    /// Whether a value is still there: a patch may have removed it.
    pub fn has(&self, id: ValueId) -> bool {
        self.values.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// A value by name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// All values in order of creation.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().filter_map(|(i, v)| v.as_ref().map(|v| (ValueId(i as u32), v)))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node<O> {
        &self.nodes[id.0]
    }

    /// All nodes in order of creation.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.node_indices().map(NodeId)
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.node_count()
    }

    /// The constant behind a value, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).source {
            Source::Const(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.value(id).source {
            Source::Node(node, _) => Some(node),
            _ => None,
        }
    }

    /// How many operands of nodes, and results of the graph, a value is.
    pub fn reader_count(&self, id: ValueId) -> usize {
        self.readers[id.0 as usize] as usize
    }

    /// Operand positions at which a node's output is used, in order of the users' creation. Constants and
    /// inputs are looked up in all nodes, which is slower.
    pub fn uses(&self, id: ValueId) -> Vec<(NodeId, usize)> {
        let mut users: Vec<NodeId> = match self.producer(id) {
            Some(producer) => self
                .nodes
                .edges_directed(producer.0, Direction::Outgoing)
                .filter(|e| *e.weight() == id)
                .map(|e| NodeId(e.target()))
                .collect(),
            None => self.node_ids().filter(|n| self.node(*n).inputs.contains(&Some(id))).collect(),
        };
        users.sort();
        users.dedup();
        let positions = |n: NodeId| {
            self.node(n)
                .inputs
                .iter()
                .enumerate()
                .filter(move |(_, v)| **v == Some(id))
                .map(move |(i, _)| (n, i))
        };
        users.into_iter().flat_map(positions).collect()
    }

    /// Whether a value is a result of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    /// Nodes such that each follows the ones it reads, as close to the order of creation as that allows; an
    /// *invalid* error naming a node on a cycle.
    pub fn topological_order(&self) -> Result<Vec<NodeId>> {
        let mut waiting: BTreeMap<NodeIndex, usize> = self
            .nodes
            .node_indices()
            .map(|n| (n, self.nodes.edges_directed(n, Direction::Incoming).count()))
            .collect();
        let mut ready: std::collections::BTreeSet<NodeIndex> =
            waiting.iter().filter(|(_, count)| **count == 0).map(|(n, _)| *n).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(node) = ready.pop_first() {
            waiting.remove(&node);
            order.push(NodeId(node));
            for edge in self.nodes.edges_directed(node, Direction::Outgoing) {
                if let Some(count) = waiting.get_mut(&edge.target()) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(edge.target());
                    }
                }
            }
        }
        match self.node_on_cycle(&waiting) {
            None => Ok(order),
            Some(node) => {
                let node = &self.nodes[node];
                Err(Error::invalid("is part of a cycle: it needs its own result")
                    .at(&node.name, node.op.name()))
            }
        }
    }

    fn node_on_cycle(&self, waiting: &BTreeMap<NodeIndex, usize>) -> Option<NodeIndex> {
        if waiting.is_empty() {
            return None;
        }
        // Not Tarjan's algorithm, which petgraph has as a recursion: a cycle may be as long as the graph.
        let components = petgraph::algo::kosaraju_scc(&self.nodes);
        let in_cycle = components.into_iter().filter(|c| c.len() > 1 || self.nodes.contains_edge(c[0], c[0]));
        in_cycle.filter_map(|c| c.into_iter().min()).min().or_else(|| waiting.keys().next().copied())
    }

    /// Records what is known of a value. Inference is the only caller.
    pub fn set_fact(&mut self, id: ValueId, fact: Fact) {
        if let Some(value) = &mut self.values[id.0 as usize] {
            value.fact = Some(fact);
        }
    }

    /// Gives an argument its value for good: it is a constant then, and the arguments behind it move up.
    pub fn fix_input(&mut self, id: ValueId, tensor: Tensor) -> Result<()> {
        let at = self.inputs.iter().position(|input| *input == id);
        let at = at.ok_or_else(|| Error::internal("a value that is no argument"))?;
        let value = self.value(id);
        let fits = |fact: &Fact| {
            let extents = fact.shape.iter().zip(&tensor.shape);
            fact.dtype == tensor.dtype
                && fact.shape.rank() == tensor.shape.len()
                && extents.into_iter().all(|(dim, e)| dim.as_usize().is_none_or(|d| d == *e))
        };
        if let Some(fact) = value.fact.as_ref().filter(|fact| !fits(fact)) {
            return Err(Error::invalid(format!(
                "input '{}' is {}, not {}",
                value.name,
                fact.ty(),
                tensor.ty()
            )));
        }
        self.inputs.remove(at);
        let moved: Vec<(usize, ValueId)> = self.inputs.iter().copied().enumerate().skip(at).collect();
        for (position, id) in moved {
            if let Some(value) = &mut self.values[id.0 as usize] {
                value.source = Source::Input(position);
            }
        }
        if let Some(value) = &mut self.values[id.0 as usize] {
            value.fact = Some(Fact::of(&tensor));
            value.source = Source::Const(tensor);
        }
        Ok(())
    }

    /// Takes a constant's tensor out, leaving an empty one: for the last reader of big weights.
    pub fn take_const(&mut self, id: ValueId) -> Option<Tensor> {
        match self.values[id.0 as usize].as_mut() {
            Some(Value { source: Source::Const(tensor), fact, .. }) => {
                *fact = fact.take().map(|f| Fact { known: None, ..f });
                Some(std::mem::replace(
                    tensor,
                    Tensor { dtype: tensor.dtype, shape: vec![0], data: bytes::Bytes::new() },
                ))
            }
            _ => None,
        }
    }

    /// A name that no value has yet, `stem` itself if possible.
    pub fn fresh_name(&self, stem: &str) -> String {
        if !self.names.contains_key(stem) {
            return stem.to_owned();
        }
        (1..).map(|i| format!("{stem}.{i}")).find(|n| !self.names.contains_key(n)).unwrap_or_default()
    }

    // Mutators for patches.

    /// Makes every reader of `old`, and the graph's results, read `new` instead: all but the node that makes `new`.
    pub(super) fn redirect(&mut self, old: ValueId, new: ValueId) {
        let maker = self.producer(new);
        let mut users = if self.reader_count(old) == 0 { Vec::new() } else { self.uses(old) };
        let all = users.len();
        users.retain(|(user, _)| Some(*user) != maker);
        let kept = (all - users.len()) as u32;
        if let Some(producer) = self.producer(old) {
            let edges = self.nodes.edges_directed(producer.0, Direction::Outgoing);
            let edges = edges.filter(|e| *e.weight() == old && Some(NodeId(e.target())) != maker);
            for edge in edges.map(|e| e.id()).collect::<Vec<_>>() {
                self.nodes.remove_edge(edge);
            }
        }
        let producer = self.producer(new);
        for &(user, position) in &users {
            self.nodes[user.0].inputs[position] = Some(new);
            if let Some(producer) = producer {
                self.nodes.add_edge(producer.0, user.0, new);
            }
        }
        for output in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
        let moved = std::mem::replace(&mut self.readers[old.0 as usize], kept) - kept;
        self.readers[new.0 as usize] += moved;
    }

    /// Whether [`Graph::remove_unread`] is enough after a change.
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// In a graph where everything else is needed: removes those of these values that nothing reads, and what only
    /// they needed. It takes time for what goes, not for what stays.
    pub(super) fn remove_unread(&mut self, mut values: Vec<ValueId>) {
        let mut dead = std::collections::BTreeSet::new();
        while let Some(id) = values.pop() {
            if !self.has(id) || self.readers[id.0 as usize] > 0 {
                continue;
            }
            match self.value(id).source {
                Source::Input(_) => {}
                Source::Const(_) => self.remove_value(id),
                Source::Node(NodeId(node), _) => {
                    let unread = !self.nodes[node].op.stays()
                        && self.nodes[node].outputs.iter().all(|v| self.readers[v.0 as usize] == 0);
                    if unread && dead.insert(node) {
                        for input in self.nodes[node].inputs.iter().flatten() {
                            self.readers[input.0 as usize] -= 1;
                            values.push(*input);
                        }
                    }
                }
            }
        }
        // In this order, so that ids are given anew as after a walk over the whole graph.
        for node in dead {
            for value in std::mem::take(&mut self.nodes[node].outputs) {
                self.remove_value(value);
            }
            self.nodes.remove_node(node);
        }
        self.clean = true;
    }

    fn remove_value(&mut self, id: ValueId) {
        if let Some(value) = self.values[id.0 as usize].take() {
            self.names.remove(&value.name);
        }
    }

    /// Removes nodes and constants that no result and no node that stays depends on. Inputs stay.
    pub(super) fn remove_dead(&mut self) {
        let mut live = vec![false; self.values.len()];
        let mut live_nodes = vec![false; self.nodes.node_indices().next_back().map_or(0, |n| n.index() + 1)];
        let staying = self.nodes.node_weights().filter(|node| node.op.stays());
        let staying = staying.flat_map(|node| node.outputs.first().copied());
        let mut stack: Vec<ValueId> = self.outputs.iter().copied().chain(staying).collect();
        while let Some(value) = stack.pop() {
            if std::mem::replace(&mut live[value.0 as usize], true) {
                continue;
            }
            if let Some(NodeId(node)) = self.producer(value)
                && !std::mem::replace(&mut live_nodes[node.index()], true)
            {
                stack.extend(self.nodes[node].inputs.iter().flatten());
                // A node's unused results stay with it.
                self.nodes[node].outputs.iter().for_each(|v| live[v.0 as usize] = true);
            }
        }
        self.inputs.iter().for_each(|v| live[v.0 as usize] = true);
        for (slot, live) in self.values.iter_mut().zip(live) {
            if let Some(value) = slot
                && !live
            {
                self.names.remove(&value.name);
                *slot = None;
            }
        }
        for node in self.nodes.node_indices().filter(|n| !live_nodes[n.index()]) {
            for input in self.nodes[node].inputs.iter().flatten() {
                self.readers[input.0 as usize] -= 1;
            }
        }
        self.nodes.retain_nodes(|_, n| live_nodes[n.index()]);
        self.clean = true;
    }
}
