//! Products of bytes: unsigned and signed activations, every remainder of rows, columns and depth, windows, and results that
//! are quantised again.

use super::{COLUMNS, LENGTHS, ROWS, Text};

/// Weights of the whole range of i8, which fold to a constant; their name.
fn weight(t: &mut Text, shape: &[usize]) -> String {
    weight_of(t, shape, 127.4)
}

/// The same up to a number.
fn weight_of(t: &mut Text, shape: &[usize], most: f32) -> String {
    let w = t.weight(shape);
    let n = t.weights;
    for line in [
        format!("const @most{n}: f32[] = [{most}]"),
        format!("%large{n} = Mul({w}, @most{n})"),
        format!("%byte{n} = Cast(%large{n}) {{to = 3}}"),
    ] {
        t.line(&line);
    }
    format!("%byte{n}")
}

fn constants(t: &mut Text) {
    for (dtype, zero, other) in [("u8", 131, 7), ("i8", -5, 3)] {
        t.line(&format!(
            "const @zero_{dtype}: {dtype}[] = [{zero}] const @other_{dtype}: {dtype}[] = [{other}]"
        ));
        t.line(&format!("const @none_{dtype}: {dtype}[] = [0]"));
    }
    t.line("const @scale: f32[] = [0.0041] const @unit: f32[] = [0.73]");
    t.line("const @third: f32[] = [0.3391] const @whole: f32[] = [1.0037]");
}

/// A sum as numbers, and as bytes.
fn results(t: &mut Text, name: &str, expression: &str, dtype: &str) {
    t.output(expression);
    let sum = format!("%y{}", t.outputs - 1);
    t.line(&format!("%float_{name} = Cast({sum}) {{to = 1}}"));
    t.line(&format!("%scaled_{name} = Mul(%float_{name}, @scale)"));
    t.output(&format!("QuantizeLinear(%scaled_{name}, @unit, @other_{dtype})"));
}

/// Bytes of the newest sum and of an input become numbers again, which are added and quantised, with and without what is below 0.
fn residual(t: &mut Text, name: &str, shape: &[usize], dtype: &str) {
    t.typed_input(&format!("r_{name}"), dtype, shape);
    for line in [
        format!("%q_{name} = QuantizeLinear(%scaled_{name}, @third, @zero_{dtype})"),
        format!("%a_{name} = DequantizeLinear(%q_{name}, @third, @zero_{dtype})"),
        format!("%b_{name} = DequantizeLinear(%r_{name}, @unit, @other_{dtype})"),
        format!("%sum_{name} = Add(%a_{name}, %b_{name})"),
        format!("%positive_{name} = Relu(%sum_{name})"),
    ] {
        t.line(&line);
    }
    t.output(&format!("QuantizeLinear(%sum_{name}, @whole, @zero_{dtype})"));
    t.output(&format!("QuantizeLinear(%positive_{name}, @whole, @none_{dtype})"));
}

/// Matrices: tiles of all remainders.
pub(super) fn products() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    let weights: Vec<String> = COLUMNS.iter().map(|n| weight(&mut t, &[9, *n])).collect();
    for (i, m) in ROWS.into_iter().enumerate() {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("x{m}"), dtype, &[m, 9]);
        for (w, n) in weights.iter().zip(COLUMNS) {
            let product = format!("MatMulInteger(%x{m}, {w}, @zero_{dtype})");
            results(&mut t, &format!("{m}_{n}"), &product, dtype);
            residual(&mut t, &format!("{m}_{n}"), &[m, n], dtype);
        }
    }
    for k in [1, 2, 3, 4, 5, 7, 8, 15, 16, 19, 64, 130] {
        let dtype = ["u8", "i8"][k % 2];
        t.typed_input(&format!("d{k}"), dtype, &[11, k]);
        let w = weight(&mut t, &[k, 35]);
        t.output(&format!("MatMulInteger(%d{k}, {w}, @zero_{dtype})"));
    }
    t
}

/// Matrices and convolutions whose weights prove that products fit 16 bits two by two.
pub(super) fn pairs() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    let weights: Vec<String> = COLUMNS.iter().map(|n| weight_of(&mut t, &[12, *n], 64.9)).collect();
    for (i, m) in ROWS.into_iter().enumerate() {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("x{m}"), dtype, &[m, 12]);
        for (w, n) in weights.iter().zip(COLUMNS) {
            results(&mut t, &format!("{m}_{n}"), &format!("MatMulInteger(%x{m}, {w}, @zero_{dtype})"), dtype);
        }
    }
    for (i, (c, o, window, pad)) in [(16, 24, 1, 0), (18, 33, 5, 2)].into_iter().enumerate() {
        t.typed_input(&format!("z{i}"), "u8", &[1, c, 9, 11]);
        let w = weight_of(&mut t, &[o, c, window, window], 64.9);
        let conv = format!("ConvInteger(%z{i}, {w}, @zero_u8) {{pads = [{pad}, {pad}, {pad}, {pad}]}}");
        results(&mut t, &format!("conv{i}"), &conv, "u8");
    }
    t
}

/// Activations that are made of numbers of about 1, most of them small: sums of four products fit 16 bits as a rule, and those of
/// two nearly always, depending on the step. Weights of the whole range; tiles of all remainders, runs of every length.
pub(super) fn watched() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    let steps = [0.02, 0.0125, 0.004];
    for (i, step) in steps.into_iter().enumerate() {
        t.line(&format!("const @pace{i}: f32[] = [{step}]"));
    }
    let quantised = |t: &mut Text, name: &str, step: usize, shape: &[usize]| {
        t.input(name, shape);
        t.line(&format!("%q_{name} = QuantizeLinear(%{name}, @pace{step}, @other_u8)"));
    };
    let weights: Vec<String> = COLUMNS.iter().map(|n| weight(&mut t, &[32, *n])).collect();
    for (i, m) in ROWS.into_iter().enumerate() {
        quantised(&mut t, &format!("x{m}"), i % 3, &[m, 32]);
        for (w, n) in weights.iter().zip(COLUMNS) {
            results(&mut t, &format!("{m}_{n}"), &format!("MatMulInteger(%q_x{m}, {w}, @other_u8)"), "u8");
        }
    }
    for k in [16, 48, 64, 80, 128, 192, 320] {
        let w = weight(&mut t, &[k, 35]);
        for step in 0..steps.len() {
            let name = format!("d{k}_{step}");
            quantised(&mut t, &name, step, &[13, k]);
            t.output(&format!("MatMulInteger(%q_{name}, {w}, @other_u8)"));
        }
    }
    for (i, (c, o, window, group, attributes)) in [
        (16, 24, 3, 1, "strides = [2, 2], pads = [1, 1, 1, 1]"),
        (64, 33, 1, 1, "strides = [2, 2]"),
        (32, 32, 3, 2, "pads = [1, 1, 1, 1]"),
        (48, 17, 5, 1, "pads = [2, 2, 2, 2]"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("z{i}");
        quantised(&mut t, &name, i % 3, &[1, c, 9, 11]);
        let w = weight(&mut t, &[o, c / group, window, window]);
        let conv = format!("ConvInteger(%q_{name}, {w}, @other_u8) {{group = {group}, {attributes}}}");
        results(&mut t, &name, &conv, "u8");
    }
    t
}

/// Convolutions: channels of every remainder, padding that is no zero, groups.
pub(super) fn convolutions() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    for (i, (c, o, size, window, group, attributes)) in [
        (3, 16, 13, 3, 1, "strides = [2, 2], pads = [1, 1, 1, 1]"),
        (3, 33, 17, 7, 1, "strides = [2, 2], pads = [3, 3, 3, 3]"),
        (5, 17, 9, 3, 1, "dilations = [2, 2], pads = [2, 2, 2, 2]"),
        (16, 16, 7, 1, 1, ""),
        (17, 50, 5, 1, 1, "strides = [2, 2]"),
        (8, 12, 6, 3, 2, "pads = [1, 1, 1, 1]"),
        (4, 20, 11, 5, 1, "pads = [2, 2, 2, 2]"),
        (1, 18, 8, 2, 1, ""),
        (1, 24, 11, 4, 1, "strides = [2, 2], pads = [1, 2, 1, 2]"),
        (1, 10, 9, 5, 1, "pads = [2, 2, 2, 2]"),
    ]
    .into_iter()
    .enumerate()
    {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("x{i}"), dtype, &[2, c, size, size]);
        let w = weight(&mut t, &[o, c / group, window, window]);
        let comma = if attributes.is_empty() { "" } else { ", " };
        let conv = format!("ConvInteger(%x{i}, {w}, @zero_{dtype}) {{group = {group}{comma}{attributes}}}");
        results(&mut t, &i.to_string(), &conv, dtype);
    }
    // Images that are quantised, in rows of every remainder.
    let w = weight(&mut t, &[17, 3, 3, 3]);
    for width in [5, 8, 15, 16, 17, 33, 50] {
        t.typed_input(&format!("image{width}"), "f32", &[2, 3, 6, width]);
        t.line(&format!("%bytes{width} = QuantizeLinear(%image{width}, @scale, @zero_u8)"));
        let conv =
            format!("ConvInteger(%bytes{width}, {w}, @zero_u8) {{strides = [2, 2], pads = [1, 1, 1, 1]}}");
        results(&mut t, &format!("image{width}"), &conv, "u8");
    }
    t
}

/// Windows of 3 x 3 over many channels: by minimal filtering, of channels that fill vectors of words and that do not.
pub(super) fn filtered() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    for (i, (c, o, h, w)) in
        [(32, 32, 24, 24), (64, 48, 20, 18), (40, 64, 19, 17), (68, 64, 15, 13)].into_iter().enumerate()
    {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("x{i}"), dtype, &[1, c, h, w]);
        let weights = weight(&mut t, &[o, c, 3, 3]);
        let conv = format!("ConvInteger(%x{i}, {weights}, @zero_{dtype}) {{pads = [1, 1, 1, 1]}}");
        results(&mut t, &i.to_string(), &conv, dtype);
    }
    t
}

/// Depthwise convolutions and pools, along channels that the caller has innermost.
pub(super) fn windows() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    for (i, c) in [2, 3, 12, 15, 16, 17, 33, 36, 64, 100].into_iter().enumerate() {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("z{c}"), dtype, &[1, 9, 10, c]);
        t.line(&format!("%x{c} = Transpose(%z{c}) {{perm = [0, 3, 1, 2]}}"));
        for (window, step) in [(2, 1), (3, 1), (3, 2), (3, 3), (5, 1), (5, 2), (7, 1)] {
            let w = weight(&mut t, &[c, 1, window, window]);
            let attributes = format!("group = {c}, strides = [{step}, {step}], pads = {:?}", [window / 2; 4]);
            let conv = format!("ConvInteger(%x{c}, {w}, @zero_{dtype}) {{{attributes}}}");
            results(&mut t, &format!("{c}_{window}_{step}"), &conv, dtype);
        }
        t.output(&format!("MaxPool(%x{c}) {{kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]}}"));
        t.output(&format!("MaxPool(%x{c}) {{kernel_shape = [2, 2]}}"));
    }
    t
}

/// Functions of bytes that are bytes again: tables.
pub(super) fn tables() -> Text {
    let mut t = Text::default();
    constants(&mut t);
    for (i, n) in LENGTHS.into_iter().chain([63, 64, 65, 127, 128, 130, 200]).enumerate() {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("x{n}"), dtype, &[n]);
        t.line(&format!("%f{n} = DequantizeLinear(%x{n}, @unit, @zero_{dtype})"));
        t.line(&format!("%s{n} = Sigmoid(%f{n})"));
        t.output(&format!("QuantizeLinear(%s{n}, @scale, @other_{dtype})"));
        t.line(&format!("%m{n} = Mul(%f{n}, %s{n})"));
        t.output(&format!("QuantizeLinear(%m{n}, @unit, @other_{dtype})"));
    }
    t
}
