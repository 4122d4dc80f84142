//! Random layers whose weights are mostly zeros: runs of convolutions with windows and sums between them, and products.

use kiln_ir::Tensor;
use kiln_ir::graph::Graph;
use kiln_tests::Outcome;

use super::{Choices, Text};

/// Constant weights of which a part is kept, in blocks of output channels or one by one.
fn weight(c: &mut Choices, t: &mut Text, name: &str, shape: &[usize]) {
    let rows = [1, 1, 2, 4, 8, 16][c.below(6) as usize];
    let kept = c.size(1, 4) as u64;
    let columns: usize = shape[1..].iter().product();
    let blocks: Vec<bool> = (0..shape[0].div_ceil(rows) * columns).map(|_| c.below(10) < kept).collect();
    let value = |c: &mut Choices, i: usize| {
        let (row, column) = (i / columns, i % columns);
        if blocks[row / rows * columns + column] { c.below(2001) as f32 / 1000.0 - 1.0 } else { 0.0 }
    };
    let values = (0..shape[0] * columns).map(|i| value(c, i)).collect();
    t.line(format!("input %{name}: f32{shape:?}"));
    t.constants.push((name.to_owned(), Tensor::from_vec::<f32>(shape, values)));
}

/// A few layers in a row, each a convolution or a depthwise one, with a sum over some of them.
pub(super) fn layers(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (n, mut channels) = (c.size(1, 2), c.size(8, 40));
    let (h, w) = (c.size(1, 20), c.size(5, 40));
    t.line(format!("input %x: f32[{n}, {channels}, {h}, {w}]"));
    let mut last = "x".to_owned();
    for i in 0..c.size(1, 4) {
        let window = [1, 1, 3, 5][c.below(4) as usize];
        let step = if c.below(4) == 0 { 2 } else { 1 };
        let (depthwise, outputs) = (c.below(4) == 0, c.size(8, 40));
        let pad = window / 2;
        let group = if depthwise { channels } else { 1 };
        let outputs = if depthwise { channels } else { outputs };
        match depthwise {
            true => t.weight(c, &format!("w{i}"), &[channels, 1, window, window]),
            false => weight(c, &mut t, &format!("w{i}"), &[outputs, channels, window, window]),
        }
        t.weight(c, &format!("b{i}"), &[outputs]);
        t.line(format!(
            "%c{i} = Conv(%{last}, %w{i}, %b{i}) {{group = {group}, strides = [{step}, {step}], pads = {:?}}}",
            [pad; 4]
        ));
        let function = c.pick(&["Relu", "HardSwish", "Identity"]);
        t.line(format!("%f{i} = {function}(%c{i})"));
        // A shortcut where shapes allow it.
        last = if step == 1 && outputs == channels && c.yes() {
            t.line(format!("%s{i} = Add(%f{i}, %{last})"));
            format!("s{i}")
        } else {
            format!("f{i}")
        };
        channels = outputs;
    }
    t.line(match c.below(3) {
        0 => format!("%t = GlobalAveragePool(%{last})"),
        _ => format!("%t = Identity(%{last})"),
    });
    t.tail(c);
    t.finish()
}

/// A product of a row, of a few or of many.
pub(super) fn product(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (m, k, n) = (c.size(1, 40), c.size(20, 200), c.size(5, 70));
    let m = if c.yes() { 1 } else { m };
    t.line(format!("input %x: f32[{m}, {k}]"));
    weight(c, &mut t, "w", &[n, k]);
    t.weight(c, "b", &[n]);
    t.line("%t = Gemm(%x, %w, %b) {transB = 1}".into());
    t.tail(c);
    t.finish()
}
