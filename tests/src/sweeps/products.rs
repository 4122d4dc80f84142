//! Products that are no large matrices of f32: few columns, operands with their depth side by side, other types.

use super::Text;

/// Constants of few columns: none and one vector of depth, and around them.
pub(super) fn few_columns() -> Text {
    let mut t = Text::default();
    for k in [3, 16, 35, 64] {
        let weights: Vec<String> = [1, 2, 3, 5].iter().map(|n| t.weight(&[k, *n])).collect();
        let bias: Vec<String> = [1, 2, 3, 5].iter().map(|n| t.weight(&[*n])).collect();
        for m in [1, 2, 7, 8, 9, 17] {
            t.input(&format!("x{m}_{k}"), &[m, k]);
            for (i, (w, b)) in weights.iter().zip(&bias).enumerate() {
                t.line(&format!("%p{m}_{k}_{i} = MatMul(%x{m}_{k}, {w})"));
                t.output(&format!("Add(%p{m}_{k}_{i}, {b})"));
            }
        }
    }
    t
}

/// Arguments that are transposed: both have their depth side by side.
pub(super) fn depth_innermost() -> Text {
    let mut t = Text::default();
    for k in [1, 4, 7, 16, 33, 130] {
        for n in [1, 2, 9, 17] {
            t.input(&format!("z{n}_{k}"), &[n, k]);
        }
        for m in [1, 3, 8, 10] {
            t.input(&format!("x{m}_{k}"), &[m, k]);
            for n in [1, 2, 9, 17] {
                t.output(&format!("Gemm(%x{m}_{k}, %z{n}_{k}) {{transB = 1, alpha = 0.5}}"));
            }
        }
    }
    t
}

/// Convolutions of few channels: pixels in lanes where they lie side by side, depth where channels do.
pub(super) fn few_channels() -> Text {
    let mut t = Text::default();
    for (i, (c, o, group, h, w, window, attributes)) in [
        (5, 1, 1, 6, 17, 3, "pads = [1, 1, 1, 1]"),
        (5, 2, 1, 6, 16, 3, "pads = [1, 1, 1, 1]"),
        (4, 3, 1, 5, 33, 1, ""),
        (3, 5, 1, 9, 15, 5, "pads = [2, 2, 2, 2]"),
        (2, 8, 1, 7, 31, 3, ""),
        (1, 12, 1, 4, 50, 3, "pads = [1, 1, 1, 1], dilations = [1, 1]"),
        (8, 8, 4, 6, 20, 3, "pads = [1, 1, 1, 1]"),
        (6, 12, 2, 5, 19, 3, "pads = [2, 2, 2, 2], dilations = [2, 2]"),
        (5, 19, 1, 10, 13, 3, "pads = [4, 4, 4, 4], dilations = [4, 4]"),
        (1, 1, 1, 1, 90, 16, "strides = [1, 2], kernel_shape = [1, 16]"),
    ]
    .into_iter()
    .enumerate()
    {
        let high = if attributes.contains("kernel_shape") { 1 } else { window };
        t.input(&format!("x{i}"), &[2, c, h, w]);
        let (weight, bias) = (t.weight(&[o, c / group, high, window]), t.weight(&[o]));
        let comma = if attributes.is_empty() { "" } else { ", " };
        t.line(&format!("%c{i} = Conv(%x{i}, {weight}, {bias}) {{group = {group}{comma}{attributes}}}"));
        t.output(&format!("Relu(%c{i})"));
    }
    // One channel of many that an earlier convolution makes.
    t.input("image", &[1, 3, 9, 11]);
    let (many, one) = (t.weight(&[40, 3, 3, 3]), t.weight(&[1, 40, 3, 3]));
    t.line(&format!("%many = Conv(%image, {many}) {{pads = [1, 1, 1, 1]}}"));
    t.line("%positive = Relu(%many)");
    t.output(&format!("Conv(%positive, {one}) {{pads = [1, 1, 1, 1]}}"));
    t
}

/// A row times matrices that are larger than half of a second-level cache, of every remainder of columns and rows.
pub(super) fn streams() -> Text {
    let mut t = Text::default();
    for (dtype, k, n) in
        [("f32", 129, 513), ("f32", 130, 527), ("f32", 515, 131), ("f64", 67, 515), ("i32", 128, 517)]
    {
        let name = format!("{dtype}_{k}_{n}");
        t.typed_input(&format!("x_{name}"), dtype, &[1, k]);
        t.typed_input(&format!("z_{name}"), dtype, &[k, n]);
        t.line(&format!("%p_{name} = MatMul(%x_{name}, %z_{name})"));
        t.typed_input(&format!("b_{name}"), dtype, &[n]);
        t.output(&format!("Add(%p_{name}, %b_{name})"));
    }
    t
}

/// Every type that matrices of are multiplied.
pub(super) fn typed() -> Text {
    let mut t = Text::default();
    for dtype in ["f64", "i32", "u32", "i64", "u64"] {
        for n in [1, 4, 17, 33] {
            t.typed_input(&format!("z_{dtype}_{n}"), dtype, &[13, n]);
        }
        for m in [1, 2, 5, 14] {
            t.typed_input(&format!("x_{dtype}_{m}"), dtype, &[m, 13]);
            for n in [1, 4, 17, 33] {
                t.output(&format!("MatMul(%x_{dtype}_{m}, %z_{dtype}_{n})"));
            }
        }
    }
    // Constants, in panels and column by column; a convolution over channels last.
    t.line("const @hundred: f32[] = [100.0]");
    let constant = |t: &mut Text, shape: &[usize], to: i64| {
        let w = t.weight(shape);
        let name = w.trim_start_matches('%');
        t.line(&format!("%scaled_{name} = Mul({w}, @hundred)"));
        t.line(&format!("%typed_{name} = Cast(%scaled_{name}) {{to = {to}}}"));
        format!("%typed_{name}")
    };
    for (dtype, to) in [("f64", 11), ("i32", 6), ("u32", 12), ("i64", 7), ("u64", 13)] {
        for n in [1, 9, 33] {
            let z = constant(&mut t, &[13, n], to);
            t.output(&format!("MatMul(%x_{dtype}_5, {z})"));
        }
    }
    t.typed_input("image", "f64", &[1, 5, 9, 10]);
    let (many, one) = (constant(&mut t, &[20, 5, 3, 3], 11), constant(&mut t, &[1, 20, 3, 3], 11));
    t.line(&format!("%many = Conv(%image, {many}) {{pads = [1, 1, 1, 1]}}"));
    t.line("%positive = Relu(%many)");
    t.output(&format!("Conv(%positive, {one})"));
    let turned = constant(&mut t, &[7, 13], 11);
    t.output(&format!("Gemm(%x_f64_5, {turned}) {{transB = 1}}"));
    t
}
