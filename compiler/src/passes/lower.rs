//! Graph IR to Kernel IR: every operator emits its forms, in topological order.
//!
//! Every result is computed in a temporary and copied to the caller's buffer; the layout pass lets the
//! temporary *be* the caller's buffer where the layouts agree.

use std::collections::{HashMap, HashSet};

use kiln_ir::graph::{Graph, Source, ValueId};
use kiln_ir::kernel::{Access, Buffer, BufferId, BufferKind, Expr, Index, Lowering, Program, assumptions};
use kiln_ir::{DType, Error, Result, TensorType};

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
    for id in graph.topological_order()? {
        let node = graph.node(id);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            inputs.push(match *value {
                Some(v) => {
                    Some((buffer_of(graph, v, &mut program, &mut buffers)?, fact_of(graph, v)?.clone()))
                }
                None => None,
            });
        }
        let mut outputs = Vec::with_capacity(node.outputs.len());
        let known = errors.len();
        for &v in &node.outputs {
            // The name of a result belongs to the caller's buffer.
            let name = &graph.value(v).name;
            let stem = if results.contains(name) { format!("{name}.value") } else { name.clone() };
            let buffer = program.add_buffer(&stem, type_of(graph, v)?, BufferKind::Temp);
            let big = too_big(program.buffer(buffer), &program, limits);
            errors.extend(big.map(|e| e.at(&node.name, node.op.name())));
            buffers.insert(v, buffer);
            outputs.push((buffer, fact_of(graph, v)?.clone()));
        }
        if errors.len() > known {
            // Tables that operators make are as large as their results.
            continue;
        }
        let types = inputs.iter().flatten().chain(&outputs).map(|(_, fact)| fact.dtype);
        if let Some(dtype) = types.clone().find(|t| !t.is_compiled()) {
            errors.push(not_compiled(dtype).at(&node.name, node.op.name()));
            continue;
        }
        let first = program.kernels().len();
        let mut lowering = Lowering::new(&mut program, &node.name, inputs, outputs);
        let lowered = if lowering.sizes() { Ok(()) } else { node.op.lower(&mut lowering) };
        if let Err(error) = lowered.and_then(|()| only_moves_small(&program, first)) {
            errors.push(error.at(&node.name, node.op.name()));
        }
    }
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
    program.assumed = assumptions(&program)?;
    Ok(program)
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
