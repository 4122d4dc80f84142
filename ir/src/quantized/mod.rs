//! What DequantizeLinear around an operator stands for: the operator on integers.
//!
//! ONNX writes a quantised operator as `DequantizeLinear -> operator -> QuantizeLinear`, in floats. Their sums would be rounded
//! in some order; what is meant is exact. So the meaning of such a graph, for the interpreter as for the compiler, is what
//! [`integers`] makes of it:
//!
//! ```text
//!   Conv(DQ(x), DQ(w), b)     f32(ConvInteger(x, w) + b) * (scale x * scale w)           sums are exact
//!   MatMul(DQ(a), DQ(b))      f32(MatMulInteger(a, b)) * (scale a * scale b)
//!   MatMul(x, DQ(w))          MatMulNBits: weights stay as short as they are where that is worth it
//!   LSTM(x, DQ(w), DQ(r), ..)   products of MatMulNBits, of GRU and RNN too
//!   AveragePool(DQ(x))        AveragePool(f32(x - zero)) * scale                         sums of integers in f32 are exact
//!   Reshape(DQ(x)), ..        DQ(Reshape(x)): elements are only moved or chosen
//!   Q(DQ(x))                  x, where both have one scale and zero point
//!   Q(Sigmoid(DQ(x))), ..     a table of 256 entries
//!   ConvInteger with padding  of what was padded before it was quantised by its range
//! ```
//!
//! A bias is part of the integer sum where it is quantised with the product of the scales; elsewhere it is added to the f32.
//! All other operators compute in f32 as they are written, element by element.

mod dequantized;
mod movement;
mod padding;
mod pooling;
mod products;
mod recurrent;
mod tables;
mod weights;

use crate::error::{Error, Result};
use crate::eval;
use crate::graph::{Graph, Node, Patch, ValueId};
use crate::tensor::Tensor;
use dequantized::DEQUANTIZE;

pub use movement::moves;
pub use tables::is_long;

/// Rewrites a graph, whose values need no types yet; gives whether it changed. New values have no types.
pub fn integers(graph: &mut Graph) -> Result<bool> {
    let concerned = |name: &str| matches!(name, DEQUANTIZE | padding::DYNAMIC);
    if !graph.node_ids().any(|id| concerned(graph.node(id).op.name())) {
        return Ok(false);
    }
    let mut changed = false;
    // Patches take nodes away and give their ids to others; values keep theirs.
    let order = graph.topological_order()?;
    let work: Vec<ValueId> =
        order.into_iter().filter_map(|id| graph.node(id).outputs.first().copied()).collect();
    for value in work {
        let Some(id) = graph.has(value).then(|| graph.producer(value)).flatten() else { continue };
        let node = graph.node(id);
        let at = |e: Error| e.at(&node.name, node.op.name());
        if let Some(patch) = rewritten(graph, node).map_err(at)? {
            graph.apply(patch)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Runs a graph by its meaning: [`eval::graph::run`] of its integers.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut exact = graph.clone();
    let changed = integers(&mut exact)?;
    eval::graph::run(if changed { &exact } else { graph }, inputs)
}

fn rewritten(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    match node.op.name() {
        "Conv" => products::conv(graph, node),
        "MatMul" => match products::matmul(graph, node)? {
            None => weights::matmul(graph, node),
            patch => Ok(patch),
        },
        "Gemm" => products::gemm(graph, node),
        "LSTM" | "GRU" | "RNN" => recurrent::network(graph, node),
        "AveragePool" | "GlobalAveragePool" | "ReduceMean" => pooling::average(graph, node),
        padding::CONVOLUTION => padding::before(graph, node),
        "QuantizeLinear" => match movement::nothing(graph, node)? {
            None => tables::lookup(graph, node),
            patch => Ok(patch),
        },
        name if movement::moves(name) => movement::behind(graph, node),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
