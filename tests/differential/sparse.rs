//! Random layers whose weights are mostly zeros: runs of convolutions with windows and sums between them, and products.

use kiln_ir::graph::Graph;
use kiln_ir::{DType, Tensor};
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

/// Constant bytes of which a part is kept, in blocks of one or four output channels by four input channels.
fn weight_of_bytes(c: &mut Choices, t: &mut Text, name: &str, shape: [usize; 4]) -> Outcome<()> {
    let rows = if c.yes() { 1 } else { 4 };
    let kept = c.size(1, 4) as u64;
    let (groups, places) = (shape[1].div_ceil(4), shape[2] * shape[3]);
    let blocks: Vec<bool> =
        (0..shape[0].div_ceil(rows) * groups * places).map(|_| c.below(10) < kept).collect();
    let value = |i: usize| {
        let (row, channel, place) = (i / places / shape[1], i / places % shape[1], i % places);
        blocks[(row / rows * groups + channel / 4) * places + place]
    };
    let bytes: Vec<u8> =
        (0..shape.iter().product()).map(|i| if value(i) { c.below(256) as u8 } else { 0 }).collect();
    t.line(format!("input %{name}: i8{shape:?}"));
    let tensor = Tensor::new(DType::I8, shape.to_vec(), bytes.into()).map_err(kiln_tests::text)?;
    t.constants.push((name.to_owned(), tensor));
    Ok(())
}

/// A few quantised layers in a row, with a sum over some of them.
pub(super) fn bytes(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (n, mut channels) = (c.size(1, 2), c.size(8, 40));
    let (h, w) = (c.size(1, 20), c.size(5, 40));
    t.line(format!("input %x: f32[{n}, {channels}, {h}, {w}]"));
    t.scales(c, "s", 0.02, &[]);
    t.scales(c, "sw", 0.01, &[]);
    let dtype = if c.yes() { DType::U8 } else { DType::I8 };
    let zero = Tensor::new(dtype, vec![], vec![c.below(256) as u8].into()).map_err(kiln_tests::text)?;
    t.line(format!("input %z: {dtype}[]"));
    t.constants.push(("z".to_owned(), zero));
    t.line("%q = QuantizeLinear(%x, %s, %z)".into());
    t.line("input %zw: i8[]".into());
    t.constants
        .push(("zw".to_owned(), Tensor::new(DType::I8, vec![], vec![0u8].into()).map_err(kiln_tests::text)?));
    let mut last = "q".to_owned();
    for i in 0..c.size(1, 4) {
        let (window, outputs) = ([1, 1, 3, 5][c.below(4) as usize], c.size(4, 40));
        let step = if c.below(4) == 0 { c.size(2, 3) } else { 1 };
        let spread = if step == 1 && c.below(4) == 0 { 2 } else { 1 };
        let pad = window / 2 * spread;
        weight_of_bytes(c, &mut t, &format!("w{i}"), [outputs, channels, window, window])?;
        t.line(format!(
            "%c{i} = QLinearConv(%{last}, %s, %z, %w{i}, %sw, %zw, %s, %z) {{strides = [{step}, {step}], \
             dilations = [{spread}, {spread}], pads = {:?}}}",
            [pad; 4]
        ));
        last = if step == 1 && outputs == channels {
            t.line(format!("%a{i} = DequantizeLinear(%c{i}, %s, %z)"));
            t.line(format!("%b{i} = DequantizeLinear(%{last}, %s, %z)"));
            t.line(format!("%t{i} = Add(%a{i}, %b{i})"));
            t.line(format!("%q{i} = QuantizeLinear(%t{i}, %s, %z)"));
            format!("q{i}")
        } else if c.below(4) == 0 {
            t.line(format!("%m{i} = MaxPool(%c{i}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}"));
            format!("m{i}")
        } else {
            format!("c{i}")
        };
        channels = outputs;
    }
    t.line(format!("%y = DequantizeLinear(%{last}, %s, %z)"));
    t.finish()
}

/// A product of rows of bytes.
fn product_of_bytes(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (m, k, n) = (c.size(1, 60), c.size(20, 200), c.size(5, 70));
    t.line(format!("input %x: f32[{m}, {k}]"));
    weight_of_bytes(c, &mut t, "w", [n, k, 1, 1])?;
    t.line("%a, %sa, %za = DynamicQuantizeLinear(%x)".into());
    t.line("input %flat: i64[2]".into());
    t.constants.push(("flat".to_owned(), Tensor::from_vec::<i64>(&[2], vec![n as i64, k as i64])));
    t.line("%r = Reshape(%w, %flat)".into());
    t.line("%v = Transpose(%r) {perm = [1, 0]}".into());
    t.line("%sum = MatMulInteger(%a, %v, %za)".into());
    t.line("%f = Cast(%sum) {to = 1}".into());
    t.line("%t = Mul(%f, %sa)".into());
    t.tail(c);
    t.finish()
}

/// A recurrent layer, whose steps read a row each of what all elements make at once.
pub(super) fn sequence(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (steps, k, n) = (c.size(2, 40), c.size(100, 200), c.size(16, 40));
    let (kind, gates) = if c.yes() { ("LSTM", 4) } else { ("GRU", 3) };
    t.line(format!("input %x: f32[{steps}, 1, {k}]"));
    weight(c, &mut t, "w0", &[gates * n, k]);
    weight(c, &mut t, "r0", &[gates * n, n]);
    t.weight(c, "b", &[1, 2 * gates * n]);
    t.line("input %axes: i64[1]".into());
    t.constants.push(("axes".to_owned(), Tensor::from_vec::<i64>(&[1], vec![0])));
    t.line("%w = Unsqueeze(%w0, %axes)".into());
    t.line("%r = Unsqueeze(%r0, %axes)".into());
    t.line(format!("%t = {kind}(%x, %w, %r, %b) {{hidden_size = {n}}}"));
    t.tail(c);
    t.finish()
}

/// A product of a row, of a few or of many.
pub(super) fn product(c: &mut Choices) -> Outcome<Graph> {
    if c.below(3) == 0 {
        return product_of_bytes(c);
    }
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
