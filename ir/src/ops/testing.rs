//! What the tests of operators share: an operator from its attributes, run both ways.

use super::find;
use crate::error::Result;
use crate::eval;
use crate::kernel::{BufferKind, Lowering, Program};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op};
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

/// The operator `name` of `opset` with so many inputs and outputs. Its own attributes must make it again.
pub(super) fn parse(
    name: &str,
    opset: i64,
    list: &[(&str, Attr)],
    inputs: usize,
    outputs: usize,
) -> Result<Box<dyn Op>> {
    let def = find("", name).expect("the operator is listed");
    let present = vec![true; inputs];
    let read = |mut attrs: Attrs| {
        let op = (def.parse)(&mut NodeProto { attrs: &mut attrs, opset, inputs: &present, outputs })?;
        assert!(attrs.is_empty(), "{name} leaves {attrs:?}");
        Ok(op)
    };
    let op = read(attrs(list))?;
    assert_eq!(
        format!("{:?}", read(op.attrs())?),
        format!("{op:?}"),
        "attributes of {name} do not round-trip"
    );
    Ok(op)
}

/// f32 values `(i * step) % 17 - 8` divided by 4: different enough to tell mistakes apart, exact in f32.
pub(super) fn sample(shape: &[usize], step: usize) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(shape, (0..n).map(|i| ((i * step + step) % 17) as f32 / 4.0 - 2.0).collect())
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
pub(super) fn run_lowered(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> Result<Vec<Tensor>> {
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

/// `eval`, which must agree with inference, and with the kernels within a few units in the last place of the
/// largest element.
pub(super) fn run(op: &dyn Op, inputs: &[&Tensor], known: &[usize]) -> Result<Vec<Tensor>> {
    let facts = facts(inputs, known);
    let inferred = op.infer(&facts.iter().map(Some).collect::<Vec<_>>())?;
    let results = op.eval(&inputs.iter().copied().map(Some).collect::<Vec<_>>())?;
    for (result, fact) in results.iter().zip(&inferred) {
        assert_eq!(result.ty(), fact.ty(), "inference of {}", op.name());
    }
    let lowered = run_lowered(op, inputs, known)?;
    for (result, other) in results.iter().zip(&lowered) {
        assert_close(other, result, 1e-6);
    }
    Ok(results)
}

/// Element-wise equality within `tolerance` times the largest magnitude; integers exactly.
pub(super) fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.ty(), expected.ty());
    let (a, b) = (got.to_f64s().unwrap(), expected.to_f64s().unwrap());
    let largest = b.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
    let tolerance = if expected.dtype.is_float() { tolerance * largest } else { 0.0 };
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance;
        assert!(same, "element {i}: {a} instead of {b} in {got:?}");
    }
}

/// The message of the error that inference gives for inputs of these shapes, all f32.
pub(super) fn refusal(op: &dyn Op, shapes: &[&[i64]]) -> String {
    let facts: Vec<Fact> = shapes
        .iter()
        .map(|s| Fact::new(DType::F32, s.iter().map(|&d| crate::dim::Dim::Const(d)).collect()))
        .collect();
    op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).unwrap_err().message
}
