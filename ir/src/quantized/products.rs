//! Products of dequantised operands.

use super::dequantized::{Dequantized, add, cast, times};
use crate::error::Result;
use crate::graph::{Graph, Node, Patch, PatchValue, ValueId};
use crate::op::{Attr, Attrs};
use crate::tensor::Tensor;
use crate::types::DType;

/// The operand at a position.
fn input(node: &Node, i: usize) -> Option<ValueId> {
    node.inputs.get(i).copied().flatten()
}

/// Whether integers are bytes, as far as a constant or a zero point tells; what has neither is.
fn is_bytes(graph: &Graph, operand: &Dequantized<'_>) -> bool {
    let known = [Some(operand.x), operand.zero].into_iter().flatten();
    let fact = |id| graph.constant(id).map(|t| t.dtype).or(graph.value(id).fact.as_ref().map(|f| f.dtype));
    known.filter_map(fact).all(|dtype| matches!(dtype, DType::U8 | DType::I8))
}

/// How a bias joins a sum.
enum Bias {
    None,
    /// Integers, part of the exact sum.
    Sum(Tensor),
    /// Added to the f32.
    Float(PatchValue),
}

impl Bias {
    /// The bias of a product whose columns have `scales`: of the same scales with a zero point of 0, or any other.
    fn of(graph: &Graph, value: Option<ValueId>, scales: &[f32]) -> Self {
        let Some(value) = value else { return Self::None };
        let exact = || -> Option<Tensor> {
            let bias = Dequantized::of(graph, value)?;
            let integers = graph.constant(bias.x).filter(|t| t.dtype == DType::I32 && t.shape.len() == 1)?;
            let zero = bias
                .zero
                .map_or(Some(true), |z| Some(graph.constant(z)?.to_f64s().ok()?.iter().all(|z| *z == 0.0)))?;
            let n = integers.elements();
            let at = |list: &[f32], i: usize| list[if list.len() == 1 { 0 } else { i }];
            let fits = [&bias.scales[..], scales].iter().all(|list| list.len() == 1 || list.len() == n);
            let same = fits && (0..n).all(|i| at(&bias.scales, i) == at(scales, i));
            (zero && same).then(|| integers.clone())
        };
        exact().map_or(Self::Float(value.into()), Self::Sum)
    }
}

/// What surrounds the sums of a node: bias, conversion and scales. `shape` is that of a vector along the columns.
fn finish(
    patch: &mut Patch,
    node: &Node,
    mut sums: PatchValue,
    scales: &[f32],
    bias: Bias,
    shape: &[usize],
) -> Result<PatchValue> {
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let along = |n: usize| if n == 1 { vec![] } else { shape.to_vec() };
    if let Bias::Sum(integers) = &bias {
        let integers = Tensor { shape: along(integers.elements()), ..integers.clone() };
        let integers = patch.constant(&name("bias"), integers);
        sums = add(patch, &name("sum"), "Add", Attrs::new(), &[Some(sums), Some(integers)])?;
    }
    let float = cast(patch, &name("f32"), sums, DType::F32)?;
    let factors = Tensor::from_vec(&along(scales.len()), scales.to_vec());
    let mut result = times(patch, &name("scaled"), float, factors)?;
    if let Bias::Float(bias) = bias {
        let to: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
        let to = patch.constant(&name("bias.shape"), Tensor::from_vec(&[to.len()], to));
        let bias = add(patch, &name("bias"), "Reshape", Attrs::new(), &[Some(bias), Some(to)])?;
        result = add(patch, &name("biased"), "Add", Attrs::new(), &[Some(result), Some(bias)])?;
    }
    Ok(result)
}

/// `sx * sw`, one or one for each column.
fn product(x: f32, w: &[f32]) -> Vec<f32> {
    w.iter().map(|w| x * w).collect()
}

pub(super) fn conv(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let (Some(x), Some(w)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
    let (Some(x), Some(w)) = (Dequantized::of(graph, x), Dequantized::of(graph, w)) else { return Ok(None) };
    let Some(weights) = graph.constant(w.x).filter(|t| t.shape.len() > 2) else { return Ok(None) };
    let (rank, outputs) = (weights.shape.len(), weights.shape[0]);
    let (Some(of_x), Some(of_w)) = (x.scale(), w.along(0, rank, outputs)) else { return Ok(None) };
    if !is_bytes(graph, &x) || !is_bytes(graph, &w) {
        return Ok(None);
    }
    let scales = product(of_x, of_w);
    let mut patch = Patch::new();
    let operands = [Some(x.x.into()), Some(w.x.into()), x.zero.map(Into::into), w.zero.map(Into::into)];
    let sums = add(&mut patch, &node.name, "ConvInteger", node.op.attrs(), &operands)?;
    let bias = Bias::of(graph, input(node, 2), &scales);
    let mut shape = vec![1; rank - 1];
    shape[0] = outputs;
    let y = finish(&mut patch, node, sums, &scales, bias, &shape)?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}

pub(super) fn matmul(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let (Some(a), Some(b)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
    let (Some(a), Some(b)) = (Dequantized::of(graph, a), Dequantized::of(graph, b)) else { return Ok(None) };
    if !is_bytes(graph, &a) || !is_bytes(graph, &b) {
        return Ok(None);
    }
    let columns = graph
        .constant(b.x)
        .filter(|t| t.shape.len() >= 2)
        .map(|t| (t.shape.len(), t.shape[t.shape.len() - 1]));
    let of_b = match (b.scale(), columns) {
        (Some(_), _) => Some(&b.scales[..]),
        (None, Some((rank, n))) => b.along(rank as i64 - 1, rank, n),
        (None, None) => None,
    };
    let (Some(of_a), Some(of_b)) = (a.scale(), of_b) else { return Ok(None) };
    let scales = product(of_a, of_b);
    let mut patch = Patch::new();
    let operands = [Some(a.x.into()), Some(b.x.into()), a.zero.map(Into::into), b.zero.map(Into::into)];
    let sums = add(&mut patch, &node.name, "MatMulInteger", Attrs::new(), &operands)?;
    let y = finish(&mut patch, node, sums, &scales, Bias::None, &[scales.len()])?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}

pub(super) fn gemm(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let (Some(a), Some(b)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
    let (Some(a), Some(b)) = (Dequantized::of(graph, a), Dequantized::of(graph, b)) else { return Ok(None) };
    let Some(weights) = graph.constant(b.x).filter(|t| t.shape.len() == 2) else { return Ok(None) };
    let attrs = node.op.attrs();
    let plain = |name: &str| !matches!(attrs.get(name), Some(Attr::Float(v)) if *v != 1.0);
    let flag = |name: &str| matches!(attrs.get(name), Some(Attr::Int(v)) if *v != 0);
    let turned = flag("transB");
    let axis = usize::from(!turned);
    let columns = weights.shape[axis];
    let (Some(of_a), Some(of_b)) = (a.scale(), b.along(axis as i64, 2, columns)) else { return Ok(None) };
    let fits = plain("alpha") && plain("beta") && !flag("transA");
    // A bias of another shape than a vector along the columns is rare.
    let vector = |v: ValueId| {
        let source = Dequantized::of(graph, v).map_or(v, |d| d.x);
        graph.constant(source).is_some_and(|t| t.shape == [columns])
    };
    let bias = input(node, 2);
    if !fits || !is_bytes(graph, &a) || !is_bytes(graph, &b) || bias.is_some_and(|v| !vector(v)) {
        return Ok(None);
    }
    let scales = product(of_a, of_b);
    let mut patch = Patch::new();
    let mut right: PatchValue = b.x.into();
    if turned {
        right = add(&mut patch, &format!("{}.turned", node.name), "Transpose", Attrs::new(), &[Some(right)])?;
    }
    let operands = [Some(a.x.into()), Some(right), a.zero.map(Into::into), b.zero.map(Into::into)];
    let sums = add(&mut patch, &node.name, "MatMulInteger", Attrs::new(), &operands)?;
    let y = finish(&mut patch, node, sums, &scales, Bias::of(graph, bias, &scales), &[columns])?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}
