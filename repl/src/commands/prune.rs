//! `:prune`: what if weights of a layer were zero.

use kiln_compiler::Tensor;
use kiln_onnx::Document;

use super::command::{Args, Command, Word};
use super::what_if;
use crate::fault::{Fault, Result};
use crate::session::Session;

pub(super) const COMMAND: Command = Command {
    name: "prune",
    usage: ":prune NODE S [RxC]",
    about: "what if the smallest weights of a layer were zero: error and time",
    more: "S of the weights (0.9: nine of ten) become zero, in blocks of R outputs by C inputs (1x1 without). A model's name\n\
           means all layers with weights.",
    example: ":prune net 0.5 4x1",
    words: &[Word::Node],
    changes: true,
    run,
};

/// Operators whose second operand is a matrix of weights, and the axis of it that counts the outputs.
const LAYERS: &[(&str, bool)] =
    &[("Conv", true), ("Gemm", false), ("MatMul", false), ("ConvTranspose", false)];

fn run(session: &mut Session, args: &Args<'_>) -> Result<()> {
    let words = args.words()?;
    let (what, part, block) = match &words[..] {
        [what, part] => (what, part, "1x1"),
        [what, part, block] => (what, part, block.as_str()),
        _ => return Err(args.usage()),
    };
    let part: f64 = part
        .parse()
        .ok()
        .filter(|s| (0.0..=1.0).contains(s))
        .ok_or_else(|| Fault::new(format!("'{part}' is no part from 0 to 1")))?;
    let sides = block.split_once('x').and_then(|(r, c)| Some((r.parse().ok()?, c.parse().ok()?)));
    let sides: Option<(usize, usize)> = sides.filter(|(r, c)| *r > 0 && *c > 0);
    let (rows, columns) =
        sides.ok_or_else(|| Fault::new(format!("'{block}' is no block: 4x1 for instance")))?;
    let (model, node) = match session.models.contains_key(what) {
        true => (what.clone(), None),
        false => {
            let (model, node) = session.within(what)?;
            (model, Some(node))
        }
    };
    let mut document: Document = (*session.model(&model)?.document()?).clone();
    let mut changed: Vec<(String, Tensor)> = Vec::new();
    let mut of_others = false;
    for layer in document.nodes() {
        let is_meant = node.as_ref().is_none_or(|n| layer.label() == n || layer.outputs().contains(n));
        let Some((_, outputs_first)) = LAYERS.iter().find(|(op, _)| *op == layer.op()) else {
            of_others |= is_meant && node.is_some();
            continue;
        };
        let Some(name) = layer.input(1).filter(|_| is_meant) else { continue };
        // Integers stand behind their scale.
        let scaled = document
            .nodes()
            .iter()
            .find(|n| n.op() == "DequantizeLinear" && n.outputs().iter().any(|o| o == name));
        let name = scaled.and_then(|n| n.input(0)).unwrap_or(name);
        let Some(weights) = document.constant(name) else { continue };
        // Gemm may hold them turned.
        let outputs_first = *outputs_first || layer.op() == "Gemm" && layer.int("transB") == Some(1);
        changed.push((name.to_owned(), zeroed(weights, part, (rows, columns), outputs_first)?));
    }
    if changed.is_empty() {
        let node = node.unwrap_or_else(|| model.clone());
        let why = if of_others { "is no Conv, Gemm or MatMul" } else { "has no constant weights" };
        return Err(Fault::new(format!("'{node}' {why}")).hint(format!(":nodes {model} lists the nodes")));
    }
    changed.into_iter().for_each(|(name, tensor)| document.set_constant(&name, tensor));
    let what = node.unwrap_or_else(|| model.clone());
    what_if::change(
        session,
        &model,
        document,
        &format!("{what} {:.0} % zero in {rows}x{columns}", 100.0 * part),
    )
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
