//! Cross-layer equalisation: channels between two products that are scaled so that the weights on both sides are alike.
//!
//! ```text
//!   W2 relu(W1 x + b1) = (W2 s) relu((W1 / s) x + b1 / s)        s > 0, one for each channel between
//! ```
//!
//! With `s = sqrt(r1 r2) / r2`, where `r1` and `r2` are the largest weights of a channel on either side, the channels of the
//! activation between get ranges that are alike too, and one scale serves them all. (Nagel et al., 2019.)

use std::collections::HashMap;

use kiln_calibrate::{Layer, Result, View, Weights, Window, layers, rows, turned};
use kiln_compiler::Tensor;
use kiln_onnx::Document;

/// Scales that move less are final.
const STILL: f32 = 1e-3;
/// Rounds over all pairs, at most: what one changes the neighbours see in the next.
const MOST_ROUNDS: usize = 100;
/// Scales beyond this would make numbers that f32 holds badly.
const MOST: f32 = 1e4;

/// The weights of a layer, row by row, and its bias.
struct Side {
    rows: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// The same model with channels equalised; nothing where no two products follow each other so.
pub(crate) fn equalise(document: &Document) -> Result<Option<Document>> {
    let view = View::of(document);
    let (layers, _) = layers::find(&view);
    let pairs = pairs(&view, &layers);
    if pairs.is_empty() {
        return Ok(None);
    }
    let mut sides: HashMap<usize, Side> = HashMap::new();
    for at in pairs.iter().flat_map(|(a, b)| [*a, *b]) {
        let Some(weights) = layers[at].weights() else { continue };
        let Some(tensor) = document.constant(&weights.name) else { continue };
        let bias = weights.bias.as_ref().and_then(|b| document.constant(b));
        let bias = bias.map(|b| b.as_slice::<f32>().map(|b| b.into_owned())).transpose()?;
        sides.insert(at, Side { rows: rows(tensor, weights)?, bias });
    }
    for _ in 0..MOST_ROUNDS {
        let mut moved = 0.0f32;
        for (a, b) in &pairs {
            let (Some(before), Some(after)) = (layers[*a].weights(), layers[*b].weights()) else { continue };
            let (Some(mut x), Some(mut y)) = (sides.remove(a), sides.remove(b)) else { continue };
            moved = moved.max(balance((before, &mut x), (after, &mut y)));
            sides.insert(*a, x);
            sides.insert(*b, y);
        }
        if moved < STILL {
            break;
        }
    }
    let mut out = document.clone();
    for (at, side) in sides {
        let Some(weights) = layers[at].weights() else { continue };
        let Some(tensor) = document.constant(&weights.name) else { continue };
        let values = match weights.axis {
            0 => side.rows,
            _ => turned(&side.rows, weights.rows, weights.depth),
        };
        out.set_constant(&weights.name, Tensor::from_vec(&tensor.shape, values));
        if let (Some(name), Some(bias)) = (&weights.bias, side.bias) {
            out.set_constant(name, Tensor::from_vec(&[weights.rows], bias));
        }
    }
    Ok(Some(out))
}

/// Layers of which the second alone reads the first's result, or what a Relu makes of it, and whose constants are their own.
fn pairs(view: &View<'_>, layers: &[Layer]) -> Vec<(usize, usize)> {
    let own = |w: &Weights| {
        let once = |name: &String| view.readers(name).len() == 1;
        once(&w.name) && w.bias.as_ref().is_none_or(once)
    };
    let mut out = Vec::new();
    for (a, first) in layers.iter().enumerate() {
        let Some(before) = first.weights().filter(|w| own(w)) else { continue };
        let mut value = &*first.output;
        let mut reader = view.sole_reader(value);
        if let Some(relu) = reader.filter(|r| matches!(view.node(*r).op(), "Relu" | "LeakyRelu")) {
            value = &view.node(relu).outputs()[0];
            reader = view.sole_reader(value);
        }
        let Some(reader) = reader else { continue };
        let b = layers.iter().position(|l| l.node == reader && l.input == value);
        let Some((b, after)) = b.and_then(|b| Some((b, layers[b].weights().filter(|w| own(w))?))) else {
            continue;
        };
        // Windows read windows: a matrix behind them would see their channels along another axis.
        let alike = (before.window == Window::Rows) == (after.window == Window::Rows);
        if alike && channels(after) == before.rows {
            out.push((a, b));
        }
    }
    out
}

/// Channels that a layer reads, in all groups.
fn channels(weights: &Weights) -> usize {
    match &weights.window {
        Window::Rows => weights.depth,
        Window::Taps { channels, groups, .. } => channels * groups,
    }
}

/// Where the weights that read a channel lie, among the rows: stretches of so many.
fn readers(weights: &Weights, channel: usize) -> (Vec<usize>, usize) {
    let per_group = channels(weights) / weights.groups;
    let taps = weights.depth / per_group.max(1);
    let (group, within) = (channel / per_group, channel % per_group);
    let rows = weights.rows / weights.groups;
    ((group * rows..(group + 1) * rows).map(|r| r * weights.depth + within * taps).collect(), taps)
}

/// Scales the channels between two layers; gives how far the largest scale is from 1.
fn balance(before: (&Weights, &mut Side), after: (&Weights, &mut Side)) -> f32 {
    let ((before, x), (after, y)) = (before, after);
    let largest = |values: &mut dyn Iterator<Item = &f32>| values.fold(0.0f32, |m, v| m.max(v.abs()));
    let mut moved = 0.0f32;
    for channel in 0..before.rows {
        let row = channel * before.depth..(channel + 1) * before.depth;
        let (starts, taps) = readers(after, channel);
        let r1 = largest(&mut x.rows[row.clone()].iter());
        let r2 = largest(&mut starts.iter().flat_map(|s| &y.rows[*s..s + taps]));
        let scale = (r1 * r2).sqrt() / r2;
        // A channel that is never read, or never anything.
        if !(scale.is_normal() && scale < MOST && scale > 1.0 / MOST) {
            continue;
        }
        moved = moved.max((scale - 1.0).abs());
        x.rows[row].iter_mut().for_each(|w| *w /= scale);
        if let Some(bias) = &mut x.bias {
            bias[channel] /= scale;
        }
        for start in starts {
            y.rows[start..start + taps].iter_mut().for_each(|w| *w *= scale);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_compiler::{Compiler, DType};
    use kiln_onnx::Node;

    #[test]
    fn the_model_stays_the_same_and_channels_become_alike() {
        let mut document = Document::new("m", 17);
        document.add_input("x", DType::F32, &[1, 2, 3, 3]);
        let numbers = |n: usize| (0..n).map(|i| ((i * 37 + 11) % 19) as f32 / 7.0 - 1.2);
        let uneven = numbers(6).enumerate().map(|(i, v)| v * [100.0, 1.0, 0.01][i / 2]).collect();
        document.set_constant("w", Tensor::from_vec(&[3, 2, 1, 1], uneven));
        document.set_constant("b", Tensor::from_vec(&[3], vec![1.0f32, -1.0, 0.5]));
        document.set_constant("d", Tensor::from_vec(&[3, 1, 3, 3], numbers(27).collect()));
        document.set_constant("v", Tensor::from_vec(&[2, 3, 1, 1], numbers(6).collect()));
        document.nodes_mut().extend([
            Node::new("first", "Conv", &["x", "w", "b"], &["p"]),
            Node::new("relu", "Relu", &["p"], &["q"]),
            Node::new("depthwise", "Conv", &["q", "d"], &["r"]).with_int("group", 3),
            Node::new("last", "Conv", &["r", "v"], &["y"]),
        ]);
        document.add_outputs(["y"]);
        let other = equalise(&document).unwrap().unwrap();
        let run = |document: &Document| {
            let model = Compiler::from_bytes(document.to_bytes().unwrap()).jit(1).unwrap();
            let x = Tensor::from_vec(&[1, 2, 3, 3], numbers(18).collect());
            model.run(&[x]).unwrap()[0].to_f64s().unwrap()
        };
        for (a, b) in run(&document).iter().zip(run(&other)) {
            assert!((a - b).abs() < 1e-4 * a.abs().max(1.0), "{a} {b}");
        }
        let largest = |document: &Document, row: usize| {
            let w = document.constant("w").unwrap().to_f64s().unwrap();
            w[2 * row].abs().max(w[2 * row + 1].abs())
        };
        let spread = |document: &Document| largest(document, 0) / largest(document, 2);
        assert!(spread(&document) > 1e3 && spread(&other) < 200.0, "{}", spread(&other));
    }
}
