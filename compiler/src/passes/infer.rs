//! What is known of every value: types, and elements where they follow from shapes.
//!
//! Nodes are visited in topological order. What a model declares of its values must agree with what follows
//! from its operators. Where only it says what an operand that is computed at run time must be, it is believed, and the operand
//! is checked when the model runs (`kiln_ir::ops::checked`).

mod sizes;

use std::collections::HashSet;

use kiln_ir::counts::Counts;
use kiln_ir::graph::{Graph, Node, NodeId, Patch, ValueId};
use kiln_ir::limits::{MAX_ELEMENTS, MAX_EXTENT, MAX_RANK};
use kiln_ir::ops::checked;
use kiln_ir::{
    DType, Dim, Error, ErrorKind, Fact, Known, NodeView, Result, Tensor, bail_internal, bail_invalid,
};

use super::body;

/// Elements of a tensor that may be part of shape arithmetic.
const MAX_EVALUATED: usize = 1024;
/// The same of floats: bounds and scales.
const MAX_FLOATS: usize = 16;

/// Infers the facts of all values from those of the arguments and constants. Control flow whose way is known from them
/// is replaced by the nodes that are on it, and what has sizes that are data by nodes that give these names.
pub fn run(graph: &mut Graph) -> Result<()> {
    // A round takes at least one body apart, and bodies are finite; or a node that counts, and what it is made of does not.
    loop {
        let most = std::mem::take(&mut graph.most);
        let mut counts = Counts::new(&graph.bounds, &graph.counted, &most);
        let taken = round(graph, &mut counts);
        graph.counted.extend(counts.made());
        graph.most = most;
        let taken = taken?;
        if taken.is_empty() {
            return Ok(());
        }
        // What is read in the place of others may be replaced itself.
        let (first, rest): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|(.., patch)| patch.only_replaces());
        for (name, op, patch) in first.into_iter().chain(rest) {
            graph.apply(patch).map_err(|e| e.at(&name, op))?;
        }
    }
}

/// Infers what does not depend on control flow that is to be replaced; gives the patches that do, with the names of node
/// and operator.
fn round(graph: &mut Graph, counts: &mut Counts<'_>) -> Result<Vec<(String, &'static str, Patch)>> {
    let mut taken = Vec::new();
    let mut waiting: HashSet<ValueId> = HashSet::new();
    let mut refused = None;
    for id in graph.topological_order()? {
        let at = |graph: &Graph, e: Error| e.at(&graph.node(id).name, graph.node(id).op.name());
        let node = graph.node(id);
        if node.inputs.iter().flatten().any(|v| waiting.contains(v)) {
            waiting.extend(&node.outputs);
            continue;
        }
        if !node.op.subgraphs().is_empty() {
            let view = NodeView { graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
            let possible = body::possible(&view, &node.op, &mut run).map_err(|e| at(graph, e))?;
            let op = possible.as_ref().unwrap_or(&node.op);
            if let Some(patch) = op.decompose(&view).map_err(|e| at(graph, e))? {
                waiting.extend(&node.outputs);
                taken.push((node.name.clone(), node.op.name(), patch));
                continue;
            }
            let settled = op.settle(&view, counts, &mut run).map_err(|e| at(graph, e))?;
            if let Some(patch) = settled {
                waiting.extend(&node.outputs);
                taken.push((node.name.clone(), node.op.name(), patch));
                continue;
            }
            if let Some(patch) = body::changed(&view, &node.op, &mut run).map_err(|e| at(graph, e))? {
                waiting.extend(&node.outputs);
                taken.push((node.name.clone(), node.op.name(), patch));
                continue;
            }
        }
        let facts = match self::node(graph, id) {
            Ok(facts) => facts,
            Err(e) => {
                if let Some(patch) = declared(graph, id, &e).map_err(|e| at(graph, e))? {
                    waiting.extend(&node.outputs);
                    taken.push((node.name.clone(), node.op.name(), patch));
                    continue;
                }
                if e.kind != ErrorKind::Unsupported {
                    return Err(at(graph, e));
                }
                let view = NodeView { graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
                let counted = match node.op.count(&view, counts) {
                    Ok(None) => sizes::name(&view, &*node.op, counts),
                    made => made.map(|patch| patch.map(|patch| (patch, Vec::new()))),
                };
                match counted {
                    Ok(Some((patch, renamed))) => {
                        waiting.extend(node.outputs.iter().chain(&renamed));
                        taken.push((node.name.clone(), node.op.name(), patch));
                        continue;
                    }
                    Ok(None) => return Err(at(graph, e)),
                    // Another node may give a bound to what this one asks for.
                    Err(e) if e.kind == ErrorKind::Unsupported => {
                        refused.get_or_insert(at(graph, e));
                        waiting.extend(&node.outputs);
                        continue;
                    }
                    Err(e) => return Err(at(graph, e)),
                }
            }
        };
        for (value, fact) in graph.node(id).outputs.clone().into_iter().zip(facts) {
            graph.set_fact(value, fact);
        }
    }
    match refused {
        Some(e) if taken.is_empty() => Err(e),
        _ => Ok(taken),
    }
}

/// A node that is refused, with an operand that follows from what the model declares of its results.
fn declared(graph: &Graph, id: NodeId, refusal: &Error) -> Result<Option<Patch>> {
    if refusal.kind != ErrorKind::Unsupported {
        return Ok(None);
    }
    let node = graph.node(id);
    let outputs: Vec<Option<&Fact>> = node.outputs.iter().map(|v| graph.value(*v).fact.as_ref()).collect();
    let view = NodeView { graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
    checked::decompose(&view, &node.op, &outputs)
}

fn node(graph: &Graph, id: NodeId) -> Result<Vec<Fact>> {
    let node = graph.node(id);
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        inputs.push(match input {
            None => None,
            Some(value) => match graph.value(*value) {
                v if v.fact.is_some() => v.fact.as_ref(),
                v => bail_internal!("input '{}' has no inferred type", v.name),
            },
        });
    }
    for (input, fact) in node.inputs.iter().flatten().zip(inputs.iter().flatten()) {
        check_rank(&graph.value(*input).name, fact)?;
    }
    let facts = node.op.infer(&inputs)?.into_iter();
    let mut facts: Vec<Fact> = facts.map(|f| f.within(&graph.bounds, &graph.counted)).collect();
    facts.iter_mut().for_each(forget_unknown);
    evaluate(node, &inputs, &mut facts)?;
    if facts.len() < node.outputs.len() {
        bail_internal!("has {} outputs, of which {} were inferred", node.outputs.len(), facts.len());
    }
    for (value, fact) in node.outputs.iter().zip(&facts) {
        let value = graph.value(*value);
        check_rank(&value.name, fact)?;
        check_extents(&value.name, fact)?;
        if let Some(declared) = &value.fact {
            fact.check_declared(&value.name, declared)?;
        }
    }
    Ok(facts)
}

/// Makes small results of known operands known: shapes that later nodes need may be computed by any
/// operators, and inference must see through them before constants are folded.
fn evaluate(node: &Node, inputs: &[Option<&Fact>], facts: &mut [Fact]) -> Result<()> {
    let count = |f: &Fact| f.shape.as_const().map(|s| s.iter().fold(1usize, |n, e| n.saturating_mul(*e)));
    let small = |f: &Fact| count(f).is_some_and(|n| n <= MAX_EVALUATED);
    let shapes = |f: &Fact| {
        let few = f.dtype.is_float() && count(f).is_some_and(|n| n <= MAX_FLOATS);
        f.known.is_none() && (few || small(f) && (f.dtype.is_int() || f.dtype == DType::Bool))
    };
    if !facts.iter().all(shapes)
        || !node.op.is_pure()
        || !inputs.iter().flatten().all(|f| small(f))
        || !node.op.subgraphs().is_empty()
    {
        return Ok(());
    }
    let Some(tensors) = inputs.iter().map(|f| f.map(elements).map_or(Some(None), |t| t.map(Some))).collect()
    else {
        return Ok(());
    };
    let tensors: Vec<Option<Tensor>> = tensors;
    let borrowed: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
    match node.op.eval(&borrowed) {
        Ok(results) => {
            for (fact, result) in facts.iter_mut().zip(results) {
                if fact.ty() == result.ty() {
                    fact.known = Some(Known::Tensor(result));
                }
            }
            Ok(())
        }
        Err(e) if e.kind == ErrorKind::Unsupported => Ok(()),
        Err(e) => Err(e),
    }
}

/// The elements of a value, when all are constants.
pub(super) fn elements(fact: &Fact) -> Option<Tensor> {
    match fact.known.as_ref()? {
        Known::Tensor(tensor) => Some(tensor.clone()),
        Known::Dims(dims) => {
            let values = dims.iter().map(|d| d.as_const()).collect::<Option<Vec<i64>>>()?;
            let shape = fact.shape.as_const().filter(|s| s.iter().product::<usize>() == values.len())?;
            (fact.dtype == DType::I64).then(|| Tensor::from_vec(&shape, values))
        }
    }
}

/// Drops known elements some of which are too large to be written out.
fn forget_unknown(fact: &mut Fact) {
    if matches!(&fact.known, Some(Known::Dims(dims)) if dims.iter().any(Dim::is_unknown)) {
        fact.known = None;
    }
}

fn check_rank(name: &str, fact: &Fact) -> Result<()> {
    if fact.shape.rank() > MAX_RANK {
        let rank = fact.shape.rank();
        return Err(Error::unsupported(format!("'{name}' has {rank} axes, more than {MAX_RANK}")));
    }
    Ok(())
}

fn check_extents(name: &str, fact: &Fact) -> Result<()> {
    if let Some(axis) = fact.shape.iter().position(Dim::is_unknown) {
        return Err(Error::unsupported(format!(
            "the extent of axis {axis} of '{name}' is too long an expression of open dimensions"
        ))
        .hint("bind them with --dim"));
    }
    let mut elements = 1i64;
    for extent in fact.shape.iter().filter_map(Dim::as_const) {
        if !(0..=MAX_EXTENT).contains(&extent) {
            bail_invalid!("result '{name}' has the shape {}", fact.shape);
        }
        elements = elements.saturating_mul(extent);
    }
    if elements > MAX_ELEMENTS {
        bail_invalid!(
            "result '{name}' has the shape {}, more elements than memory has addresses",
            fact.shape
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_ir::Shape;

    use super::*;
    use crate::rules::testing::Build;

    #[test]
    fn expressions_that_grow_without_end_are_refused_where_a_shape_needs_them() {
        let squarings: String = (0..30).map(|i| format!("%s{} = Mul(%s{i}, %s{i})\n", i + 1)).collect();
        let text = |end: &str| {
            format!(
                "graph @g opset(17) {{
                   input %x: f32[n, 4]
                   const @two: i64[1] = [2]
                   %shape = Shape(%x)
                   %s0 = Add(%shape, @two)
                   {squarings}
                   {end}
                   output %y
                 }}"
            )
        };
        let infer = |end: &str| {
            let mut graph = kiln_ir::graph::parse(&text(end)).unwrap();
            run(&mut graph).map(|()| graph)
        };
        assert!(infer("%y = Identity(%s30)").is_ok());
        let error = infer("%y = ConstantOfShape(%s30)").unwrap_err();
        assert_eq!((error.kind, &*error.node), (ErrorKind::Unsupported, "y"), "{error}");
    }

    #[test]
    fn ranks_are_bounded() {
        let ones = |n: usize| {
            let list = vec!["1"; n].join(", ");
            format!(
                "graph @g opset(17) {{ input %x: f32[1] const @s: i64[{n}] = [{list}] %y = Reshape(%x, @s) output %y }}"
            )
        };
        let infer = |n: usize| run(&mut kiln_ir::graph::parse(&ones(n)).unwrap());
        assert!(infer(MAX_RANK).is_ok());
        let error = infer(MAX_RANK + 1).unwrap_err();
        assert!(error.message.contains("has 65 axes"), "{error}");
    }

    #[test]
    fn errors_name_the_node() {
        let build = Build::new().input("x", &[2, 3]).input("z", &[4, 5]).node("MatMul", &["x", "z"], "y");
        let error = run(&mut build.0.clone()).unwrap_err();
        assert_eq!((error.node.as_str(), error.op.as_str()), ("y", "MatMul"));
    }

    #[test]
    fn shapes_computed_by_any_operators() {
        let two = |v: [i64; 2]| Tensor::from_vec(&[2], v.to_vec());
        let build = Build::new()
            .input("x", &[6])
            .tensor("a", two([1, 2]))
            .tensor("b", two([1, 1]))
            .tensor("m", two([-1, 3]));
        let build = build.node("Equal", &["a", "b"], "c").node("Where", &["c", "m", "a"], "s");
        let graph = build.node("Reshape", &["x", "s"], "y").outputs(&["y"]);
        let y = graph.value(graph.outputs()[0]).fact.as_ref().unwrap();
        assert_eq!(y.shape, Shape::of(&[3, 2]));
    }

    #[test]
    fn declarations_must_agree() {
        let declared = |dtype, shape: Shape| {
            let mut graph = Build::new().input("x", &[2, 3]).node("Softmax", &["x"], "y").0;
            let y = graph.find("y").unwrap();
            graph.set_fact(y, Fact::new(dtype, shape));
            run(&mut graph)
        };
        assert!(declared(DType::F32, Shape::of(&[2, 3])).is_ok());
        assert!(declared(DType::F32, [Dim::symbol("n"), Dim::Const(3)].into_iter().collect()).is_ok());
        for (dtype, shape) in [(DType::F64, &[2, 3][..]), (DType::F32, &[2, 4]), (DType::F32, &[2, 3, 1])] {
            let error = declared(dtype, Shape::of(shape)).unwrap_err();
            assert!(error.to_string().contains("node 'y' (Softmax): value 'y' is declared as"), "{error}");
        }
    }

    #[test]
    fn what_a_declared_shape_says_of_an_operand_is_checked_in_a_run() {
        let x = Tensor::from_vec(&[3, 2, 2], (0..12).map(|i| i as f32).collect());
        let ints = |v: &[i64]| Tensor::from_vec(&[v.len()], v.to_vec());
        // The node, the declared shape, operands that agree with it, and others.
        type Case<'a> = (&'a str, &'a str, usize, &'a [&'a [i64]], &'a [&'a [i64]]);
        let cases: [Case<'_>; 7] = [
            ("ReduceSum(%x, %a) {keepdims = 1}", "3, 1, 2", 1, &[&[1], &[-2]], &[&[0], &[2], &[3]]),
            ("ReduceMax(%x, %a) {keepdims = 0}", "2, 2", 1, &[&[0], &[-3]], &[&[1]]),
            ("Reshape(%x, %a)", "2, 6", 2, &[&[2, 6], &[-1, 6], &[2, -1]], &[&[6, 2]]),
            ("Tile(%x, %a)", "3, 4, 2", 3, &[&[1, 2, 1]], &[&[1, 1, 1]]),
            ("Expand(%x, %a)", "5, 3, 2, 2", 4, &[&[5, 3, 2, 2], &[5, 1, 1, 1]], &[&[4, 1, 1, 1]]),
            ("Unsqueeze(%x, %a)", "3, 1, 2, 2", 1, &[&[1]], &[]),
            ("CenterCropPad(%x, %a)", "1, 2, 2", 3, &[&[1, 2, 2]], &[&[1, 2, 1]]),
        ];
        for (node, shape, count, right, wrong) in cases {
            let text = format!(
                "graph @g opset(18) {{ input %x: f32[3, 2, 2] input %a: i64[{count}] %y = {node} \"n\" output %y }}"
            );
            let mut graph = kiln_ir::graph::parse(&text).unwrap();
            assert!(run(&mut graph.clone()).is_err(), "{node}");
            let y = graph.find("y").unwrap();
            let shape: Vec<usize> = shape.split(", ").map(|n| n.parse().unwrap()).collect();
            graph.set_fact(y, Fact::new(DType::F32, Shape::of(&shape)));
            let given = graph.clone();
            run(&mut graph).unwrap_or_else(|e| panic!("{node}: {e}"));
            for a in right {
                let y = kiln_ir::eval::graph::run(&graph, &[x.clone(), ints(a)]).unwrap();
                let want = kiln_ir::eval::graph::run(&given, &[x.clone(), ints(a)]).unwrap();
                assert_eq!(y, want, "{node} of {a:?}");
            }
            for a in wrong {
                let y = kiln_ir::eval::graph::run(&graph, &[x.clone(), ints(a)]);
                assert!(y.is_err(), "{node} of {a:?}");
            }
        }
    }

    #[test]
    fn a_declared_shape_that_several_operands_fit_says_nothing() {
        let text = "graph @g opset(18) { input %x: f32[3, 2, 2] input %a: i64[1] %y = ReduceSum(%x, %a) {keepdims = 0} \"n\" output %y }";
        let mut graph = kiln_ir::graph::parse(text).unwrap();
        let y = graph.find("y").unwrap();
        graph.set_fact(y, Fact::new(DType::F32, Shape::of(&[3, 2])));
        assert_eq!(run(&mut graph).unwrap_err().kind, ErrorKind::Unsupported);
    }
}
