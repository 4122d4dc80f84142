//! Weights that are integers already: the smallest blocks become zero, and nothing makes up for them.

use kiln_compiler::Tensor;
use kiln_onnx::Document;

use crate::fault::{Fault, Result};

/// Operators whose second operand is a matrix of weights, and whether its first axis counts the outputs.
const LAYERS: &[(&str, bool)] =
    &[("Conv", true), ("Gemm", false), ("MatMul", false), ("ConvTranspose", false)];

/// Makes a part of the integer weights of a layer zero, of all layers without one; whether there were any.
pub(super) fn prune(
    document: &mut Document,
    layer: Option<&str>,
    part: f64,
    block: (usize, usize),
) -> Result<bool> {
    let mut changed: Vec<(String, Tensor)> = Vec::new();
    for node in document.nodes() {
        let is_meant = layer.is_none_or(|n| node.label() == n);
        let Some((_, outputs_first)) = LAYERS.iter().find(|(op, _)| *op == node.op() && is_meant) else {
            continue;
        };
        let Some(name) = node.input(1) else { continue };
        // Integers stand behind their scale.
        let scaled = document
            .nodes()
            .iter()
            .find(|n| n.op() == "DequantizeLinear" && n.outputs().iter().any(|o| o == name));
        let Some(name) = scaled.and_then(|n| n.input(0)) else { continue };
        let Some(weights) = document.constant(name) else { continue };
        // Gemm may hold them turned.
        let outputs_first = *outputs_first || node.op() == "Gemm" && node.int("transB") == Some(1);
        changed.push((name.to_owned(), zeroed(weights, part, block, outputs_first)?));
    }
    let any = !changed.is_empty();
    changed.into_iter().for_each(|(name, tensor)| document.set_constant(&name, tensor));
    Ok(any)
}

/// Weights whose blocks with the least sum of squares are zero.
fn zeroed(weights: &Tensor, part: f64, block: (usize, usize), outputs_first: bool) -> Result<Tensor> {
    let signed = weights.dtype.is_float() || weights.dtype.is_signed_int();
    if !signed || weights.dtype.bits() < 8 {
        return Err(Fault::new(format!(
            "weights of type {} have no zero of their own to be pruned to",
            weights.dtype
        )));
    }
    let values = weights.to_f64s()?;
    let shape = &weights.shape;
    let count = values.len();
    if shape.len() < 2 || count == 0 {
        return Ok(weights.clone());
    }
    let (size, mut bytes) = (weights.dtype.size(), weights.data.to_vec());
    // As a matrix: outputs by all else where they come first, else all but the last axis by outputs.
    let (outputs, inputs) = match outputs_first {
        true => (shape[0], count / shape[0]),
        false => (shape[shape.len() - 1], count / shape[shape.len() - 1]),
    };
    let at = |o: usize, i: usize| if outputs_first { o * inputs + i } else { i * outputs + o };
    let mut blocks: Vec<(f64, usize, usize)> = Vec::new();
    for o in (0..outputs).step_by(block.0) {
        for i in (0..inputs).step_by(block.1) {
            let inside = (o..(o + block.0).min(outputs))
                .flat_map(|o| (i..(i + block.1).min(inputs)).map(move |i| (o, i)));
            let sum = inside.map(|(o, i)| values[at(o, i)].powi(2)).sum();
            blocks.push((sum, o, i));
        }
    }
    blocks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let zero = (blocks.len() as f64 * part).round() as usize;
    for (_, o, i) in &blocks[..zero] {
        for o in *o..(o + block.0).min(outputs) {
            for i in *i..(i + block.1).min(inputs) {
                bytes[at(o, i) * size..][..size].fill(0);
            }
        }
    }
    Ok(Tensor::new(weights.dtype, shape.clone(), bytes.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_blocks_go() {
        let weights = Tensor::from_vec(&[2, 4], vec![1.0f32, 9.0, 0.1, 3.0, 1.0, 2.0, 0.2, 4.0]);
        let of = |part, block, first| {
            zeroed(&weights, part, block, first).unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        assert_eq!(of(0.25, (2, 1), true), [1.0, 9.0, 0.0, 3.0, 1.0, 2.0, 0.0, 4.0]);
        assert_eq!(of(0.5, (1, 1), true), [0.0, 9.0, 0.0, 3.0, 0.0, 2.0, 0.0, 4.0]);
        assert_eq!(of(1.0, (3, 3), false), [0.0; 8]);
    }
}
