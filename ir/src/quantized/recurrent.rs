//! Recurrent networks with dequantised weights.
//!
//! ```text
//!   LSTM(x, DQ(w), DQ(r), ..)     LSTM(x, w, r, ..) with weights of a byte and a scale for each block of a row
//! ```
//!
//! A step is a product of a row or a few with all weights of the state, which then come from memory or a cache as the bytes that they are
//! (`MatMulNBits`). Weights are `[D, G * H, K]` with one scale, one for each row, or one for each direction; their zero points
//! are in the middle. Numbers are those of DequantizeLinear: `(w - zero) * scale`, in f32.

use std::sync::Arc;

use super::dequantized::DEQUANTIZE;
use super::weights::LEAST;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Patch, PatchValue, ValueId};
use crate::op::{Attr, NodeProto, Op};
use crate::ops;
use crate::ops::recurrent::{BLOCKS, SCALES};
use crate::tensor::Tensor;
use crate::types::DType;

/// Weights of a row that share a scale: the first of which a row has several.
const SIZES: [usize; 3] = [64, 32, 16];
/// What stands for zero.
const MIDDLE: u8 = 128;

/// The network with weights in bytes.
pub(super) fn network(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let mut inputs: Vec<Option<PatchValue>> = node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
    let found = [1, 2].map(|i| {
        let value = node.inputs.get(i).copied().flatten()?;
        Bytes::of(graph, value)
    });
    let mut attrs = node.op.attrs();
    if found.iter().all(Option::is_none) || attrs.contains_key(BLOCKS) {
        return Ok(None);
    }
    inputs.resize(SCALES[1] + 1, None);
    let mut patch = Patch::new();
    let mut blocks = vec![0; 2];
    for (which, bytes) in found.into_iter().enumerate() {
        let Some(Bytes { bytes, scales, block }) = bytes else { continue };
        let name = |what: &str| format!("{}.{what}{which}", node.name);
        inputs[1 + which] = Some(patch.constant(&name("bytes"), bytes));
        inputs[SCALES[which]] = Some(patch.constant(&name("scales"), scales));
        blocks[which] = block as i64;
    }
    attrs.insert(BLOCKS.to_owned(), Attr::Ints(blocks));
    let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
    let mut proto = NodeProto { attrs: &mut attrs, opset: 22, inputs: &present, outputs: node.outputs.len() };
    let def = ops::find("", node.op.name()).ok_or_else(|| Error::internal("no such network"))?;
    let op: Arc<dyn Op> = Arc::from((def.parse)(&mut proto)?);
    let results = patch.untyped_node(&node.name, op, &inputs, node.outputs.len());
    for (old, new) in node.outputs.iter().zip(results) {
        patch.replace(*old, new);
    }
    Ok(Some(patch))
}

/// Weights in blocks.
struct Bytes {
    /// `u8[D, G * H, blocks, block]`.
    bytes: Tensor,
    /// `[D, G * H * blocks]`.
    scales: Tensor,
    block: usize,
}

impl Bytes {
    fn of(graph: &Graph, value: ValueId) -> Option<Self> {
        let node = graph.node(graph.producer(value)?);
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        if node.op.name() != DEQUANTIZE {
            return None;
        }
        let constant = |i: usize| input(i).and_then(|v| graph.constant(v));
        let (w, scale) = (constant(0)?, constant(1)?);
        let [directions, rows, k] = w.shape[..] else { return None };
        // As it is stored what stands for zero, and what makes that of it which is in the middle.
        let (zero, turn) = match w.dtype {
            DType::I8 => (0, MIDDLE),
            DType::U8 => (MIDDLE, 0),
            _ => return None,
        };
        let zeros_fit = match input(2) {
            Some(_) => constant(2)?.data.iter().all(|z| *z == zero),
            None => zero == 0,
        };
        let attrs = node.op.attrs();
        let int = |name: &str, default| match attrs.get(name) {
            Some(Attr::Int(value)) => *value,
            _ => default,
        };
        let plain = int("block_size", 0) == 0 && int("output_dtype", 0) == 0;
        if !plain || !zeros_fit || scale.dtype != DType::F32 || w.elements() < LEAST {
            return None;
        }
        let block = SIZES.into_iter().find(|n| k > *n && k.is_multiple_of(*n))?;
        let scale_of: Box<dyn Fn(usize, usize) -> usize> =
            match (&scale.shape[..], int("axis", 1).rem_euclid(3)) {
                ([] | [1], _) => Box::new(|_, _| 0),
                ([n], 1) if *n == rows => Box::new(|_, row| row),
                ([n], 0) if *n == directions => Box::new(|direction, _| direction),
                _ => return None,
            };
        let from = scale.as_slice::<f32>().ok()?;
        let all = (0..directions).flat_map(|d| (0..rows).map(move |row| (d, row)));
        let scales = all.flat_map(|(d, row)| vec![from[scale_of(d, row)]; k / block]).collect();
        let bytes = w.data.iter().map(|b| b ^ turn).collect();
        Some(Self {
            bytes: Tensor::from_vec::<u8>(&[directions, rows, k / block, block], bytes),
            scales: Tensor::from_vec::<f32>(&[directions, rows * (k / block)], scales),
            block,
        })
    }
}
