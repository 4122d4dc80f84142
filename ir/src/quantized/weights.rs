//! Products with dequantised weights alone.
//!
//! ```text
//!   MatMul(x, DQ(w))          MatMulNBits(x, w): weights of 4 or 8 bits with a scale for each block of a column
//! ```
//!
//! The weights, a constant `[K, N]`, have a scale for each block of rows, for each column, or one for all. As the operands of
//! MatMulNBits they may stay as short as they are. Numbers are those of DequantizeLinear: `(w - zero) * scale`, in f32.

use std::sync::Arc;

use super::dequantized::DEQUANTIZE;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Patch, PatchValue, ValueId};
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op};
use crate::ops;
use crate::ops::elements::Elements;
use crate::tensor::Tensor;
use crate::types::DType;

/// Fewer weights are numbers sooner than they save anything.
pub(super) const LEAST: usize = 4096;
/// Weights that share a scale where all of a column do: by four bits and by eight.
const BLOCK: [usize; 2] = [32, 64];

/// The product with weights in blocks.
pub(super) fn matmul(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let input = |node: &Node, i: usize| node.inputs.get(i).copied().flatten();
    let (Some(a), Some(b)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
    let Some(id) = graph.producer(b) else { return Ok(None) };
    let dequantize = graph.node(id);
    if dequantize.op.name() != DEQUANTIZE || graph.constant(a).is_some() {
        return Ok(None);
    }
    let constant = |i: usize| input(dequantize, i).and_then(|v: ValueId| graph.constant(v));
    let (Some(w), Some(scale)) = (constant(0), constant(1)) else { return Ok(None) };
    let zeros = input(dequantize, 2).map(|v| graph.constant(v));
    let attrs = dequantize.op.attrs();
    let int = |name: &str, default| match attrs.get(name) {
        Some(Attr::Int(value)) => *value,
        _ => default,
    };
    let ([k, n], bits, middle) = (
        match w.shape[..] {
            [k, n] if k.saturating_mul(n) >= LEAST => [k, n],
            _ => return Ok(None),
        },
        w.dtype.bits(),
        match w.dtype {
            DType::I4 => 8,
            DType::I8 => 128,
            DType::U4 | DType::U8 => 0,
            _ => return Ok(None),
        },
    );
    let (axis, block) = (int("axis", 1).rem_euclid(2), int("block_size", 0) as usize);
    if scale.dtype != DType::F32 || int("output_dtype", 0) != 0 || matches!(zeros, Some(None)) {
        return Ok(None);
    }
    // By position of a block the scale. Longer blocks of eight bits where these are whole.
    let own = BLOCK[usize::from(bits == 8 && k > BLOCK[1] && k.is_multiple_of(BLOCK[1]))];
    let (block, place): (usize, Box<dyn Fn(usize, usize) -> usize>) = match (&scale.shape[..], block, axis) {
        ([], 0, _) | ([1], 0, _) => (own, Box::new(|_, _| 0)),
        ([count], 0, 1) if *count == n => (own, Box::new(|_, column| column)),
        ([count, columns], 1.., 0) if *columns == n && *count == k.div_ceil(block) && block % 16 == 0 => {
            (block, Box::new(move |block, column| block * n + column))
        }
        _ => return Ok(None),
    };
    let (blocks, per) = (k.div_ceil(block), 8 / bits);
    let weights = Elements::new(w)?;
    let mut q = vec![0u8; n * blocks * block / per];
    let put = |bytes: &mut [u8], row: usize, i: usize, value: i64| {
        bytes[row + i / per] |= ((value as u64 & ((1 << bits) - 1)) << (i % per * bits)) as u8;
    };
    for column in 0..n {
        for i in 0..k {
            put(
                &mut q,
                column * blocks * block / per,
                i,
                weights.number(i * n + column).int() as i64 + middle,
            );
        }
    }
    let of_scale = scale.as_slice::<f32>()?;
    let all = (0..n).flat_map(|column| (0..blocks).map(move |b| (b, column)));
    let scales: Vec<f32> = all.clone().map(|(b, column)| of_scale[place(b, column)]).collect();
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let mut patch = Patch::new();
    let mut inputs: Vec<PatchValue> = vec![
        a.into(),
        patch.constant(&name("bytes"), Tensor::from_vec(&[n, blocks, block / per], q)),
        patch.constant(&name("scales"), Tensor::from_vec(&[n * blocks], scales)),
    ];
    // Left out they are in the middle.
    let zeros = zeros.flatten().map(Elements::new).transpose()?;
    let zero = |at: usize| zeros.as_ref().map_or(0, |z| z.number(at).int() as i64) + middle;
    let usual = 1 << (bits - 1);
    if all.clone().any(|(b, column)| zero(place(b, column)) != usual) {
        let row = blocks.div_ceil(per);
        let mut packed = vec![0u8; n * row];
        all.for_each(|(b, column)| put(&mut packed, column * row, b, zero(place(b, column))));
        inputs.push(patch.constant(&name("zeros"), Tensor::from_vec(&[n, row], packed)));
    }
    let list = [("K", k), ("N", n), ("bits", bits), ("block_size", block)];
    let mut list: Attrs = list.into_iter().map(|(name, v)| (name.to_owned(), Attr::Int(v as i64))).collect();
    let present = vec![true; inputs.len()];
    let mut proto = NodeProto { attrs: &mut list, opset: 1, inputs: &present, outputs: 1 };
    let def = ops::find(MICROSOFT, "MatMulNBits").ok_or_else(|| Error::internal("no MatMulNBits"))?;
    let op: Arc<dyn Op> = Arc::from((def.parse)(&mut proto)?);
    let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
    let y = patch.untyped_node(&node.name, op, &inputs, 1)[0];
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}
