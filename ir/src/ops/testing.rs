//! What the tests of operators share: an operator from its attributes, run in every way, for every element type.

use std::sync::Arc;

use super::elements::Builder;
use super::find_any;
use crate::error::{ErrorKind, Result};
use crate::eval;
use crate::graph::Graph;
use crate::kernel::{BufferKind, Lowering, Program, Scalar};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NEWEST_OPSET, NodeProto, NodeView, Op};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// Attributes by name.
fn attrs(list: &[(&str, Attr)]) -> Attrs {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// INTS.
pub(super) fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

/// The operator `name` (`DOMAIN::NAME` for others than the default domain) of `opset` with so many inputs and outputs. Its
/// own attributes must make it again.
pub(super) fn parse(
    name: &str,
    opset: i64,
    list: &[(&str, Attr)],
    inputs: usize,
    outputs: usize,
) -> Result<Box<dyn Op>> {
    let op = read(name, opset, attrs(list), inputs, outputs)?;
    assert_eq!(
        format!("{:?}", read(name, opset, op.attrs(), inputs, outputs)?),
        format!("{op:?}"),
        "attributes of {name} do not round-trip"
    );
    Ok(op)
}

fn read(name: &str, opset: i64, mut attrs: Attrs, inputs: usize, outputs: usize) -> Result<Box<dyn Op>> {
    let (domain, name) = name.split_once("::").unwrap_or(("", name));
    let def = find_any(domain, name).expect("the operator is listed");
    let present = vec![true; inputs];
    let op = (def.parse)(&mut NodeProto { attrs: &mut attrs, opset, inputs: &present, outputs })?;
    assert!(attrs.is_empty(), "{name} leaves {attrs:?}");
    Ok(op)
}

/// Numbers of f32 of either sign with magnitudes up to 64, and the neighbourhood of some where formulas cancel.
pub(super) fn floats_of_all_exponents(near: &[f32]) -> Vec<f32> {
    let around = near.iter().flat_map(|x| (0..200u32).map(|i| f32::from_bits(x.to_bits() - 100 + i)));
    let every = (0..0x4280_0000u32).step_by(0x0003_0001).flat_map(|bits| [bits, bits | 1 << 31]);
    every.map(f32::from_bits).chain(around).chain([-3.4e38, 3.4e38]).collect()
}

/// Fails where machine code for f32 is further than `bound` units in the last place from the formula.
pub(super) fn check_digits(op: &dyn Op, exact: impl Fn(f64) -> f64, xs: &[f32], bound: f64) {
    let x = Tensor::from_vec(&[xs.len()], xs.to_vec());
    for (way, y) in run_compiled(op, &[&x], &[]) {
        for (x, y) in xs.iter().zip(y[0].to_f64s().unwrap()) {
            let want = exact(f64::from(*x));
            if (want as f32).is_infinite() {
                assert_eq!(y as f32, want as f32, "{op:?} of {x:e} ({way})");
                continue;
            }
            let magnitude = want.abs().max(f64::from(f32::MIN_POSITIVE));
            let error = (y - want).abs() * 2f64.powi(23 - magnitude.log2().floor() as i32);
            assert!(error <= bound, "{op:?} of {x:e} is {y:e}, not {want:e} ({way}): {error} ULP");
        }
    }
}

/// f32 values `(i * step) % 17 - 8` divided by 4: different enough to tell mistakes apart, exact in f32.
pub(super) fn sample(shape: &[usize], step: usize) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(shape, (0..n).map(|i| ((i * step + step) % 17) as f32 / 4.0 - 2.0).collect())
}

/// Numbers of both signs, and zero, of any type that has bits.
pub(super) fn numbers(dtype: DType, shape: &[usize]) -> Tensor {
    let mut b = Builder::new(dtype, shape);
    for i in 0..shape.iter().product::<usize>() {
        let value = (i * 7 % 11) as i64 - 4;
        b.push_bits(match dtype.is_float() {
            true => Scalar::of(dtype, value as f64 * 0.25).bits,
            false => Number::Int(value.into()).to_bits(dtype),
        });
    }
    b.finish().unwrap()
}

/// Any values of an 8-bit type.
pub(super) fn bytes(dtype: DType, shape: &[usize], seed: usize) -> Tensor {
    let value = |j: usize| (j * 73 + ((j * j) >> 3) * 19 + seed * 57 + 11) as u8;
    let data = (0..shape.iter().product()).map(value).collect::<Vec<u8>>();
    Tensor::new(dtype, shape.to_vec(), data.into()).unwrap()
}

/// The facts of tensors, `known` for those whose elements inference may see.
fn facts(inputs: &[&Tensor], known: &[usize]) -> Vec<Fact> {
    let of = |(i, t): (usize, &&Tensor)| match known.contains(&i) {
        true => Fact::of(t),
        false => Fact::new(t.dtype, Shape::of(&t.shape)),
    };
    inputs.iter().enumerate().map(of).collect()
}

/// What the operator's kernels compute. Inputs listed in `known` are constants.
fn run_lowered(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> Result<Vec<Tensor>> {
    let facts = facts(inputs, known);
    let outputs = op.infer(&facts.iter().map(Some).collect::<Vec<_>>())?;
    let mut program = Program::new("test");
    let mut given = Vec::new();
    let mut operands = Vec::new();
    for (i, (tensor, fact)) in inputs.iter().zip(facts).enumerate() {
        let kind = if known.contains(&i) { BufferKind::Const((*tensor).clone()) } else { BufferKind::Input };
        if kind == BufferKind::Input {
            given.push((*tensor).clone());
        }
        let id = program.add_buffer(&format!("in{i}"), fact.ty(), kind.clone());
        if kind == BufferKind::Input {
            program.inputs.push(id);
        }
        operands.push(Some((id, fact)));
    }
    let mut results = Vec::new();
    for fact in outputs {
        let id = program.add_buffer("out", fact.ty(), BufferKind::Output);
        program.outputs.push(id);
        results.push((id, fact));
    }
    op.lower(&mut Lowering::new(&mut program, "node", operands, results))?;
    eval::kernel::run(&program, &given)
}

/// The operator alone in a graph, and the inputs that are no constants.
fn alone(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> (Graph, Vec<Tensor>) {
    let infers = facts(inputs, known);
    let outputs = op.infer(&infers.iter().map(Some).collect::<Vec<_>>()).unwrap();
    let mut graph = Graph::new("test");
    graph.opsets.insert(String::new(), NEWEST_OPSET);
    let mut name = op.name().to_owned();
    if !op.domain().is_empty() {
        graph.opsets.insert(op.domain().to_owned(), 1);
        name = format!("{}::{name}", op.domain());
    }
    let (mut operands, mut given) = (Vec::new(), Vec::new());
    for (i, (tensor, fact)) in inputs.iter().zip(infers).enumerate() {
        let name = format!("in{i}");
        operands.push(Some(if known.contains(&i) {
            graph.add_const(&name, (*tensor).clone()).unwrap()
        } else {
            given.push((*tensor).clone());
            graph.add_input(&name, fact).unwrap()
        }));
    }
    let names: Vec<String> = (0..outputs.len()).map(|i| format!("out{i}")).collect();
    let opset = graph.opsets.get(op.domain()).copied().unwrap_or(NEWEST_OPSET);
    let op: Arc<dyn Op> = read(&name, opset, op.attrs(), inputs.len(), outputs.len()).unwrap().into();
    let node = graph.add_node("node", op, operands, &names).unwrap();
    for (id, fact) in graph.node(node).outputs.clone().into_iter().zip(outputs) {
        graph.add_output(id);
        graph.set_fact(id, fact);
    }
    (graph, given)
}

/// What the operator's machine code computes, alone in a graph, by the name of each way to compile it.
fn run_compiled(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> Vec<(String, Vec<Tensor>)> {
    try_compiled(op, inputs, known, false)
}

/// [`run_compiled`]; nothing where `may_refuse` and elements can only be moved.
fn try_compiled(
    op: &dyn Op,
    inputs: &[&Tensor],
    known: &[usize],
    may_refuse: bool,
) -> Vec<(String, Vec<Tensor>)> {
    let (graph, given) = alone(op, inputs, known);
    let parts = |t: &Tensor| (t.dtype.to_string(), t.shape.clone(), t.data.to_vec());
    let given: Vec<_> = given.iter().map(parts).collect();
    let points = match kiln_tests::operator::run(&graph.to_string(), &given) {
        Err(e) if may_refuse && e.contains("are only moved and converted") => return Vec::new(),
        points => points.unwrap_or_else(|e| panic!("{e}\n{graph}")),
    };
    let tensor = |(dtype, shape, data): (String, Vec<usize>, Vec<u8>)| {
        Tensor::new(DType::parse(&dtype).unwrap(), shape, data.into()).unwrap()
    };
    points.into_iter().map(|(point, all)| (point, all.into_iter().map(tensor).collect())).collect()
}

/// Whether simpler operators take the operator's place: what they compute is compared as machine code.
fn is_decomposed(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> bool {
    let (graph, _) = alone(op, inputs, known);
    let Some(id) = graph.outputs().first().and_then(|v| graph.producer(*v)) else { return false };
    let node = graph.node(id);
    let view = NodeView { graph: &graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
    node.op.decompose(&view).unwrap().is_some()
}

/// `eval`, which must agree with inference, and with the kernels and the machine code within a few units in the last
/// place of the largest element.
pub(super) fn run(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> Result<Vec<Tensor>> {
    let facts = facts(inputs, known);
    let inferred = op.infer(&facts.iter().map(Some).collect::<Vec<_>>())?;
    let results = op.eval(&inputs.iter().copied().map(Some).collect::<Vec<_>>())?;
    for (result, fact) in results.iter().zip(&inferred) {
        assert_eq!(result.ty(), fact.ty(), "inference of {}", op.name());
    }
    let compiled = inputs.iter().copied().chain(&results).all(|t| t.dtype.is_compiled());
    let short = |t: &&Tensor| matches!(t.dtype, DType::F16 | DType::BF16);
    let lowered = op.takes_short_floats() || !inputs.iter().any(short);
    if lowered && !is_decomposed(op, inputs, known) {
        match run_lowered(op, inputs, known) {
            Err(e) if !compiled && e.kind == ErrorKind::Unsupported => {}
            // Whole programs are refused with a reason.
            Err(_) if inputs.iter().any(|t| t.dtype.is_small()) => {}
            kernels => compare(op, inputs, "kernels", &kernels?, &results),
        }
    }
    if compiled {
        let small = inputs.iter().copied().chain(&results).any(|t| t.dtype.is_small());
        for (point, outputs) in try_compiled(op, inputs, known, small) {
            compare(op, inputs, &point, &outputs, &results);
        }
    }
    Ok(results)
}

/// The element types that inference takes on the inputs that `case` makes of them.
pub(super) fn taken(op: &dyn Op, known: &[usize], case: impl Fn(DType) -> Vec<Tensor>) -> Vec<DType> {
    let takes = |dtype: &DType| {
        let inputs = case(*dtype);
        let facts = facts(&inputs.iter().collect::<Vec<_>>(), known);
        op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).is_ok()
    };
    let of_bytes = |dtype: &DType| matches!(dtype.bits(), 4..=64);
    DType::ALL.into_iter().filter(of_bytes).filter(takes).collect()
}

/// [`run`] for every element type that the operator takes, on the inputs that `case` makes of it; gives the types that ran
/// as machine code.
pub(super) fn every_type(op: &dyn Op, known: &[usize], case: impl Fn(DType) -> Vec<Tensor>) -> Vec<DType> {
    let taken = taken(op, known, &case);
    for dtype in &taken {
        run(op, &case(*dtype).iter().collect::<Vec<_>>(), known)
            .unwrap_or_else(|e| panic!("{} of {dtype}: {e}", op.name()));
    }
    let compiled: Vec<DType> = taken.into_iter().filter(|t| t.is_compiled()).collect();
    assert!(!compiled.is_empty(), "{} takes no type", op.name());
    compiled
}

fn compare(op: &dyn Op, inputs: &[&Tensor], point: &str, got: &[Tensor], expected: &[Tensor]) {
    assert_eq!(got.len(), expected.len(), "{point}");
    for (got, expected) in got.iter().zip(expected) {
        let tolerance = match expected.dtype {
            DType::BF16 => 8e-3,
            DType::F16 => 1e-3,
            _ => 2e-6,
        };
        if let Some(difference) = difference(got, expected, tolerance) {
            panic!("{op:?} of {inputs:?}, {point}: {difference}");
        }
    }
}

/// Element-wise equality within `tolerance` times the largest magnitude; anything but floats exactly.
pub(super) fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f64) {
    if let Some(difference) = difference(got, expected, tolerance) {
        panic!("{difference}");
    }
}

fn difference(got: &Tensor, expected: &Tensor, tolerance: f64) -> Option<String> {
    if got.ty() != expected.ty() || !expected.dtype.is_float() {
        return (got != expected).then(|| format!("{got:?} instead of {expected:?}"));
    }
    let (a, b) = (got.to_f64s().unwrap(), expected.to_f64s().unwrap());
    let largest = b.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * largest;
    let wrong = (0..a.len()).find(|&i| !same(a[i], b[i]))?;
    Some(format!("element {wrong}: {} instead of {} in {got:?}", a[wrong], b[wrong]))
}

/// The message of the error that inference gives for inputs of these shapes, all f32.
pub(super) fn refusal(op: &dyn Op, shapes: &[&[i64]]) -> String {
    let facts: Vec<Fact> = shapes
        .iter()
        .map(|s| Fact::new(DType::F32, s.iter().map(|&d| crate::dim::Dim::Const(d)).collect()))
        .collect();
    op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).unwrap_err().message
}
