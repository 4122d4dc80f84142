//! Operators that only move or choose elements: the integers are moved.

use super::dequantized::Dequantized;
use crate::error::Result;
use crate::graph::{Graph, Node, Patch, PatchValue};
use crate::op::Attr;
use crate::tensor::Tensor;
use crate::types::DType;

/// Operators whose results are elements of their first operand, whatever their values. Of MaxPool: of the larger integer,
/// which is the larger number too.
const MOVES: &[&str] = &[
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Whether an operator on quantised values moves the integers: its results are elements of its operands, all of them for
/// Concat and the first for the others.
pub fn moves(name: &str) -> bool {
    name == "Concat" || MOVES.contains(&name)
}

/// The operator on integers, then DequantizeLinear.
pub(super) fn behind(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let all = node.op.name() == "Concat";
    let moved: Vec<usize> = if all { (0..node.inputs.len()).collect() } else { vec![0] };
    let mut inputs: Vec<Option<PatchValue>> = node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
    let mut first: Option<Dequantized<'_>> = None;
    for i in moved {
        let operand = node.inputs.get(i).copied().flatten().and_then(|v| Dequantized::of(graph, v));
        let Some(operand) = operand.filter(|o| o.scale().is_some_and(|s| s > 0.0)) else { return Ok(None) };
        // Constants are folded as floats, but weights are not moved.
        if graph.constant(operand.x).is_some() {
            return Ok(None);
        }
        inputs[i] = Some(operand.x.into());
        if let Some(first) = &first
            && !alike(graph, first, &operand)
        {
            return Ok(None);
        }
        first.get_or_insert(operand);
    }
    // The positions of a pool's maxima need the integers alone, but nothing makes them of bytes.
    if node.op.name() == "MaxPool" && node.outputs.len() > 1 {
        return Ok(None);
    }
    let Some(operand) = first else { return Ok(None) };
    let mut patch = Patch::new();
    let results = patch.untyped_node(&node.name, node.op.clone(), &inputs, node.outputs.len());
    for (i, (&old, new)) in node.outputs.iter().zip(results).enumerate() {
        let number = operand.again(&mut patch, &format!("{}.f32.{i}", node.name), new);
        patch.replace(old, number);
    }
    Ok(Some(patch))
}

/// A zero point's value; 0 where there is none.
fn zero(graph: &Graph, operand: &Dequantized<'_>) -> Option<Tensor> {
    match operand.zero {
        Some(zero) => graph.constant(zero).cloned(),
        None => Some(Tensor::scalar(0u8)),
    }
}

/// Whether two operands have one scale and one zero point, of one type.
fn alike(graph: &Graph, a: &Dequantized<'_>, b: &Dequantized<'_>) -> bool {
    let same = |a: Tensor, b: Tensor| a.dtype == b.dtype && a.data == b.data;
    let zeros = zero(graph, a).zip(zero(graph, b));
    a.scales == b.scales && a.scales.len() == 1 && zeros.is_some_and(|(a, b)| same(a, b))
}

/// QuantizeLinear of what was dequantised with the same scale and zero point: the integers again. 16 bits are few enough for
/// two roundings of f32 to be mended by the one to integers.
pub(super) fn nothing(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let input = |i: usize| node.inputs.get(i).copied().flatten();
    let attrs = node.op.attrs();
    if ["block_size", "output_dtype", "precision"]
        .iter()
        .any(|a| matches!(attrs.get(*a), Some(Attr::Int(v)) if *v != 0))
    {
        return Ok(None);
    }
    let Some(operand) = input(0).and_then(|v| Dequantized::of(graph, v)) else { return Ok(None) };
    let (Some(scale), Some(own)) = (input(1).and_then(|v| graph.constant(v)), operand.scale()) else {
        return Ok(None);
    };
    let scales = scale.as_slice::<f32>().ok().filter(|_| scale.dtype == DType::F32);
    let zeros = match (input(2), operand.zero) {
        (Some(a), Some(b)) => graph.constant(a).zip(graph.constant(b)),
        _ => None,
    };
    let same = scales.is_some_and(|s| *s == [own])
        && own.is_normal()
        && zeros.is_some_and(|(a, b)| {
            a.dtype == b.dtype
                && a.data == b.data
                && matches!(a.dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16)
        });
    if !same || graph.is_output(node.outputs[0]) {
        return Ok(None);
    }
    let mut patch = Patch::new();
    patch.replace(node.outputs[0], operand.x);
    Ok(Some(patch))
}
