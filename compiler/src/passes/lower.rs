//! Graph IR to Kernel IR: every operator emits its forms, in topological order.
//!
//! Every result is computed in a temporary and copied to the caller's buffer; the layout pass lets the
//! temporary *be* the caller's buffer where the layouts agree.
//!
//! Nodes whose shapes follow from a size that is counted stand behind the node that counts it, whether they read that or not.
//!
//! What one branch of a condition needs alone stands in the region of that branch, which ends with copies to the results;
//! a loop is a region between copies to its states and from them.

mod branches;
mod order;

use std::collections::{HashMap, HashSet};

use kiln_ir::graph::{Graph, Node, NodeId, Source, ValueId};
use kiln_ir::kernel::{
    Access, Affine, Buffer, BufferId, BufferKind, Control, Expr, Index, Lowering, Program, Repeat, Trips,
    assumptions,
};
use kiln_ir::op::{Flow, Turns};
use kiln_ir::{DType, Error, Fact, Result, Shape, Tensor, TensorType};

use branches::{BranchId, Branches};

use kiln_ir::Errors;
use kiln_ir::Limits;

/// Lowers a graph whose facts are inferred. Reports every operator that has no lowering, not the first, and values
/// beyond the limit of a tensor's size.
pub fn run(graph: &Graph, limits: &Limits) -> Result<Program, Errors> {
    let mut program = Program::new(&graph.name);
    program.bounds = graph.bounds.clone();
    let results: HashSet<&String> = graph.output_names().iter().collect();
    let mut buffers: HashMap<ValueId, BufferId> = HashMap::new();
    let mut errors = Vec::new();
    for &input in graph.inputs() {
        let dtype = type_of(graph, input)?.dtype;
        if !dtype.is_compiled() {
            let mut error = not_compiled(dtype);
            error.message = format!("input '{}': {}", graph.value(input).name, error.message);
            errors.push(error);
        }
        let id = program.add_buffer(&graph.value(input).name, type_of(graph, input)?, BufferKind::Input);
        program.inputs.push(id);
        buffers.insert(input, id);
    }
    let mut lower = Lower { graph, results, limits, program: &mut program, buffers, errors };
    lower.nodes()?;
    let Lower { mut buffers, errors, .. } = lower;
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    for (&value, name) in graph.outputs().iter().zip(graph.output_names()) {
        let from = buffer_of(graph, value, &mut program, &mut buffers)?;
        let ty = type_of(graph, value)?;
        let (loops, ids) = Lowering::loops_over(&ty.shape);
        let to = program.add_buffer(name, ty, BufferKind::Output);
        let index = || ids.iter().map(|&l| Index::from(l)).collect();
        let (from, to_access) = (Access::new(from, index()), Access::new(to, index()));
        Lowering::new(&mut program, name, vec![], vec![]).copy(loops, from, to_access);
        program.outputs.push(to);
    }
    let Program { bounds, counted, .. } = &mut program;
    bounds.retain(|name, _| graph.bounds.contains_key(name) || counted.contains_key(name));
    let parts = graph.node_ids().map(|id| graph.node(id)).filter(|node| node.op.takes_part());
    let parts =
        parts.flat_map(|node| &node.outputs).filter_map(|value| buffers.get(value).copied()).collect();
    for zero in assumptions(&program, &parts)? {
        if !program.assumed.contains(&zero) {
            program.assumed.push(zero);
        }
    }
    Ok(program)
}

/// A graph on its way into a program.
struct Lower<'a> {
    graph: &'a Graph,
    /// Names that belong to the caller's buffers.
    results: HashSet<&'a String>,
    limits: &'a Limits,
    program: &'a mut Program,
    buffers: HashMap<ValueId, BufferId>,
    errors: Vec<Error>,
}

impl Lower<'_> {
    /// All nodes, those of branches in their regions.
    fn nodes(&mut self) -> Result<()> {
        for (name, bound) in &self.graph.counted {
            // One that nothing counts any more has become a constant.
            if self.program.bounds.insert(name.clone(), *bound).is_some() {
                let text = format!("two sizes called '{name}' that are counted at run time");
                return Err(Error::unsupported(text));
            }
        }
        let order = order::run(self.graph)?;
        let branches = Branches::of(self.graph, &order);
        self.branch(&branches, None)
    }

    /// The nodes of a branch, in order.
    fn branch(&mut self, branches: &Branches, branch: Option<BranchId>) -> Result<()> {
        for &id in branches.nodes(branch) {
            let node = self.graph.node(id);
            match node.op.flow() {
                Some(Flow::Choice) => self.choice(id, branches)?,
                Some(Flow::Loop(each)) => {
                    let lowered = self.repeat(node, &each);
                    lowered.map_err(|e| e.at(&node.name, node.op.name()))?;
                }
                None => self.node(id)?,
            }
        }
        Ok(())
    }

    /// One of two branches.
    fn choice(&mut self, id: NodeId, branches: &Branches) -> Result<()> {
        let node = self.graph.node(id);
        let missing = || Error::internal("an operand of a choice is left out").at(&node.name, "If");
        let condition = node.inputs[0].ok_or_else(missing)?;
        let condition = self.buffer(condition)?;
        let (outputs, known) = self.outputs(node)?;
        if self.errors.len() > known {
            return Ok(());
        }
        let n = outputs.len();
        for (second, is) in [(false, true), (true, false)] {
            self.program.enter(Control::When { condition, is });
            self.branch(branches, Some((id, second)))?;
            let values = &node.inputs[1 + if second { n } else { 0 }..][..n];
            for (value, (to, _)) in values.iter().zip(&outputs) {
                let from = self.buffer(value.ok_or_else(missing)?)?;
                self.copy(&node.name, from, *to);
            }
            self.program.leave();
        }
        Ok(())
    }

    /// A body again and again.
    fn repeat(&mut self, node: &Node, each: &Turns<'_>) -> Result<()> {
        let name = &node.name;
        let (outputs, known) = self.outputs(node)?;
        if self.errors.len() > known {
            return Ok(());
        }
        let facts: Vec<Option<&Fact>> =
            node.inputs.iter().map(|v| v.and_then(|v| self.graph.value(v).fact.as_ref())).collect();
        let body = each.body;
        let scalar = |dtype| TensorType::new(dtype, Shape::default());
        let temp = |program: &mut Program, what: &str, ty: TensorType| {
            program.add_buffer(&format!("{name}.{what}"), ty, BufferKind::Temp)
        };
        let counter = temp(self.program, "turn", scalar(DType::I64));
        let trips = match (Turns::known(&facts), node.inputs.first().copied().flatten()) {
            (Some(turns), _) => Some(Trips::Count(turns)),
            (None, Some(count)) => Some(Trips::Read(self.buffer(count)?)),
            (None, None) => None,
        };
        // The condition at the start, and what the body makes of it.
        let keeps_going = each.keeps_going;
        let start = node.inputs.get(1).copied().flatten();
        let start = start.filter(|v| self.graph.value(*v).fact.as_ref().is_none_or(|f| f.tensor().is_none()));
        let condition =
            (start.is_some() || !keeps_going).then(|| temp(self.program, "go", scalar(DType::Bool)));
        let on = Tensor::from_bools(&[], [true]);
        let on = self.program.add_buffer(&format!("{name}.on"), on.ty(), BufferKind::Const(on));
        if let Some(to) = condition {
            let from = start.map_or(Ok(on), |v| self.buffer(v))?;
            self.copy(name, from, to);
        }
        let mut states = Vec::new();
        for i in 0..each.states {
            let value = node.inputs[2 + i].ok_or_else(|| Error::internal("a state is left out"))?;
            let from = self.buffer(value)?;
            let state = temp(self.program, "state", type_of(body, body.inputs()[2 + i])?);
            self.copy_held(name, from, state);
            states.push(state);
        }
        let mut buffers = HashMap::new();
        let given = [counter, condition.unwrap_or(on)].into_iter().chain(states.iter().copied());
        buffers.extend(body.inputs().iter().copied().zip(given));
        for i in 2 + each.states..node.inputs.len() {
            let value = node.inputs[i].ok_or_else(|| Error::internal("a captured value is left out"))?;
            buffers.insert(body.inputs()[i], self.buffer(value)?);
        }
        let next = |i: usize| body.outputs()[1 + i];
        let changes: Vec<usize> = (0..each.states).filter(|i| next(*i) != body.inputs()[2 + i]).collect();
        let goes_on = condition.filter(|_| !keeps_going);
        let carried = changes.iter().map(|i| states[*i]).chain(goes_on).collect();
        self.program.enter(Control::Loop(Repeat { counter, trips, condition, carried }));
        let mut inner = Lower {
            graph: body,
            results: HashSet::new(),
            limits: self.limits,
            program: &mut *self.program,
            buffers,
            errors: std::mem::take(&mut self.errors),
        };
        inner.nodes()?;
        // All are read before the first is written anew.
        let mut ends: Vec<(BufferId, BufferId)> = Vec::new();
        for i in changes {
            let mut from = inner.buffer(next(i))?;
            if states.contains(&from) {
                let copy = temp(inner.program, "old", inner.program.buffer(from).ty.clone());
                inner.copy(name, from, copy);
                from = copy;
            }
            ends.push((from, states[i]));
        }
        if let Some(to) = goes_on {
            ends.push((inner.buffer(body.outputs()[0])?, to));
        }
        for (i, (to, _)) in outputs.iter().enumerate().skip(each.states) {
            let from = inner.buffer(next(i))?;
            let (loops, ids) = Lowering::loops_over(&inner.program.buffer(from).ty.shape.clone());
            let index: Vec<Index> = ids.iter().map(|l| Index::from(*l)).collect();
            let turn = Index::Gathered(Box::new(Access::new(counter, vec![])));
            let to = Access::new(*to, [turn].into_iter().chain(index.iter().cloned()).collect());
            Lowering::new(inner.program, name, vec![], vec![]).copy(loops, Access::new(from, index), to);
        }
        for (from, to) in ends {
            inner.copy_held(name, from, to);
        }
        self.errors = inner.errors;
        self.program.leave();
        for (i, ((to, _), state)) in outputs.iter().zip(states).enumerate() {
            // What there is behind what a state holds is not written, and is not read.
            let room = self.program.buffer(state).ty.shape != fact_of(body, next(i))?.shape;
            if room {
                self.buffers.insert(node.outputs[i], state);
            } else {
                self.copy(name, state, *to);
            }
        }
        Ok(())
    }

    /// A copy of all elements, of which there may be fewer than there is room for.
    fn copy_held(&mut self, name: &str, from: BufferId, to: BufferId) {
        let shape = self.program.buffer(from).ty.shape.clone();
        if shape.rank() != self.program.buffer(to).ty.shape.rank() {
            return self.copy(name, from, to);
        }
        let (loops, ids) = Lowering::loops_over(&shape);
        let index = || -> Vec<Index> { ids.iter().map(|l| Index::from(*l)).collect() };
        let (from, to) = (Access::new(from, index()), Access::new(to, index()));
        Lowering::new(self.program, name, vec![], vec![]).copy(loops, from, to);
    }

    /// A copy of all elements.
    fn copy(&mut self, name: &str, from: BufferId, to: BufferId) {
        let (loops, ids) = Lowering::loops_over(&self.program.buffer(to).ty.shape.clone());
        // A single element is one whatever the rank.
        let rank = self.program.buffer(from).ty.shape.rank();
        let index = |rank: usize| -> Vec<Index> {
            let zero = Index::Affine(Affine::constant(0i64));
            let own = ids.iter().map(|l| Index::from(*l)).chain(std::iter::repeat(zero));
            own.take(rank).collect()
        };
        let (from, to) = (Access::new(from, index(rank)), Access::new(to, index(ids.len())));
        Lowering::new(self.program, name, vec![], vec![]).copy(loops, from, to);
    }

    fn buffer(&mut self, value: ValueId) -> Result<BufferId> {
        buffer_of(self.graph, value, self.program, &mut self.buffers)
    }

    /// Buffers for the results of a node, and how many errors there were before it.
    fn outputs(&mut self, node: &Node) -> Result<(Vec<(BufferId, Fact)>, usize)> {
        let mut outputs = Vec::with_capacity(node.outputs.len());
        let known = self.errors.len();
        for &v in &node.outputs {
            // The name of a result belongs to the caller's buffer.
            let name = &self.graph.value(v).name;
            let stem = if self.results.contains(name) { format!("{name}.value") } else { name.clone() };
            let buffer = self.program.add_buffer(&stem, type_of(self.graph, v)?, BufferKind::Temp);
            let big = too_big(self.program.buffer(buffer), self.program, self.limits);
            self.errors.extend(big.map(|e| e.at(&node.name, node.op.name())));
            self.buffers.insert(v, buffer);
            outputs.push((buffer, fact_of(self.graph, v)?.clone()));
        }
        Ok((outputs, known))
    }

    /// A node that lowers itself.
    fn node(&mut self, id: NodeId) -> Result<()> {
        let node = self.graph.node(id);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            inputs.push(match *value {
                Some(v) => Some((self.buffer(v)?, fact_of(self.graph, v)?.clone())),
                None => None,
            });
        }
        let (outputs, known) = self.outputs(node)?;
        if self.errors.len() > known {
            // Tables that operators make are as large as their results.
            return Ok(());
        }
        let types = inputs.iter().flatten().chain(&outputs).map(|(_, fact)| fact.dtype);
        if let Some(dtype) = types.clone().find(|t| !t.is_compiled()) {
            self.errors.push(not_compiled(dtype).at(&node.name, node.op.name()));
            return Ok(());
        }
        let first = self.program.kernels().len();
        let mut lowering = Lowering::new(self.program, &node.name, inputs, outputs);
        let known = node.op.counts().is_empty() && lowering.sizes();
        let lowered = if known { Ok(()) } else { node.op.lower(&mut lowering) };
        if let Err(error) = lowered.and_then(|()| only_moves_small(self.program, first)) {
            self.errors.push(error.at(&node.name, node.op.name()));
        }
        Ok(())
    }
}

/// Refuses kernels from `first` on that compute with elements that can only be moved and taken for their bits.
fn only_moves_small(program: &Program, first: usize) -> Result<()> {
    fn visit(program: &Program, e: &Expr, acc: Option<DType>) -> Result<()> {
        let computes = matches!(e, Expr::Unary(..) | Expr::Binary(..) | Expr::Cast(..));
        for child in e.children() {
            let dtype = child.dtype(program, acc)?;
            if computes && dtype.is_small() {
                return Err(Error::unsupported(format!(
                    "elements of type {dtype} are only moved and converted"
                ))
                .hint("put a Cast before it"));
            }
            visit(program, child, acc)?;
        }
        Ok(())
    }
    for kernel in &program.kernels()[first..] {
        let parts = kernel.form.parts();
        let acc = kernel.form.acc_type(&mut |a| program.buffer(a.buffer).ty.dtype)?;
        let reduced = parts.reduced.map(|value| value.dtype(program, None)).transpose()?;
        if let Some(dtype) = acc.into_iter().chain(reduced).find(|t| t.is_small()) {
            return Err(Error::unsupported(format!("elements of type {dtype} are only moved and converted")));
        }
        let values = parts.stores.iter().map(|s| &s.value).chain(parts.reduced);
        for value in values {
            visit(program, value, acc)?;
        }
    }
    Ok(())
}

fn not_compiled(dtype: DType) -> Error {
    Error::unsupported(format!("elements of type {dtype} are not supported at run time"))
        .hint("only constants may have them; convert inputs to a type of 8 to 64 bits")
}

/// A result beyond the limit of a value's size.
fn too_big(buffer: &Buffer, program: &Program, limits: &Limits) -> Option<Error> {
    let (_, elements) = buffer.ty.shape.elements().range(&program.bounds)?;
    let bytes = u64::try_from(elements).ok()?.saturating_mul(buffer.ty.dtype.size() as u64);
    (bytes > limits.max_tensor_bytes).then(|| {
        let text = format!("'{}' of type {} needs {bytes} bytes", buffer.name, buffer.ty);
        Error::unsupported(text)
            .hint(format!("the limit is {} bytes; --max-tensor-bytes raises it", limits.max_tensor_bytes))
    })
}

fn buffer_of(
    graph: &Graph,
    value: ValueId,
    program: &mut Program,
    buffers: &mut HashMap<ValueId, BufferId>,
) -> Result<BufferId> {
    if let Some(&buffer) = buffers.get(&value) {
        return Ok(buffer);
    }
    match &graph.value(value).source {
        Source::Const(tensor) => {
            let kind = BufferKind::Const(tensor.clone());
            let buffer = program.add_buffer(&graph.value(value).name, tensor.ty(), kind);
            buffers.insert(value, buffer);
            Ok(buffer)
        }
        _ => Err(Error::internal(format!("'{}' is read before it is made", graph.value(value).name))),
    }
}

fn fact_of(graph: &Graph, value: ValueId) -> Result<&kiln_ir::Fact> {
    let value = graph.value(value);
    value.fact.as_ref().ok_or_else(|| Error::internal(format!("'{}' has no inferred type", value.name)))
}

fn type_of(graph: &Graph, value: ValueId) -> Result<TensorType> {
    Ok(fact_of(graph, value)?.ty())
}
