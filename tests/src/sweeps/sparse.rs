//! Convolutions whose weights are mostly zeros, in regions with windows, sums and steps over pixels.

use super::Text;
use crate::random::split_mix;

/// Weights of which one in `of` blocks of `rows` output channels is kept; their name.
fn weight(t: &mut Text, shape: [usize; 4], rows: usize, of: u64) -> String {
    t.weights += 1;
    let n = t.weights;
    let columns = shape[1] * shape[2] * shape[3];
    let value = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        let block = (row / rows * columns + column) as u64;
        let kept = split_mix(n as u64, block).is_multiple_of(of);
        let value = (split_mix(!(n as u64), i as u64) % 2001) as f32 / 1000.0 - 1.0;
        if kept { format!("{value:?}") } else { "0.0".to_owned() }
    };
    let values: Vec<String> = (0..shape[0] * columns).map(value).collect();
    t.line(&format!("const @s{n}: f32{shape:?} = [{}]", values.join(", ")));
    format!("@s{n}")
}

/// Weights of which one in `of` blocks of `rows` output channels by four input channels is kept, floats or bytes; their name.
fn wide_weight(t: &mut Text, dtype: &str, shape: [usize; 4], rows: usize, of: u64) -> String {
    t.weights += 1;
    let n = t.weights;
    let (channels, places) = (shape[1], shape[2] * shape[3]);
    let value = |i: usize| {
        let (row, channel, place) = (i / places / channels, i / places % channels, i % places);
        let block = ((row / rows * channels.div_ceil(4) + channel / 4) * places + place) as u64;
        let kept = split_mix(n as u64, block).is_multiple_of(of);
        let random = split_mix(!(n as u64), i as u64);
        match dtype {
            "i8" => format!("{}", if kept { (random % 256) as i64 - 128 } else { 0 }),
            _ if kept => format!("{:?}", (random % 2001) as f32 / 1000.0 - 1.0),
            _ => "0.0".to_owned(),
        }
    };
    let values: Vec<String> = (0..shape.iter().product()).map(value).collect();
    t.line(&format!("const @s{n}: {dtype}{shape:?} = [{}]", values.join(", ")));
    format!("@s{n}")
}

/// Blocks of four columns: rows of pixels and windows of them, matrices of many rows.
pub(super) fn wide() -> Text {
    let mut t = Text::default();
    for (i, (c, o, h, w)) in
        [(16, 16, 7, 7), (24, 20, 5, 8), (16, 33, 3, 15), (32, 16, 4, 16), (16, 24, 6, 17), (20, 16, 9, 50)]
            .into_iter()
            .enumerate()
    {
        for rows in [1, 4] {
            let x = format!("x{i}_{rows}");
            t.input(&x, &[1, c, h, w]);
            let first = wide_weight(&mut t, "f32", [o, c, 1, 1], rows, 10);
            let y = layer(&mut t, &format!("%{x}"), &first, o, "", "Relu");
            if o % 4 == 0 {
                let window = wide_weight(&mut t, "f32", [c, o, 3, 3], rows, 12);
                let y = layer(&mut t, &y, &window, c, "pads = [1, 1, 1, 1]", "Relu");
                let down = wide_weight(&mut t, "f32", [8, c, 3, 3], rows, 12);
                let y = layer(&mut t, &y, &down, 8, "strides = [2, 2], pads = [1, 1, 1, 1]", "Identity");
                t.output(&format!("Relu({y})"));
            } else {
                t.output(&format!("Neg({y})"));
            }
        }
    }
    for (i, (k, n, m)) in [(64, 33, 16), (40, 24, 50), (96, 51, 9)].into_iter().enumerate() {
        let w = wide_weight(&mut t, "f32", [n, k, 1, 1], [1, 4][i % 2], 12);
        t.line(&format!("const @flatshape{i}: i64[2] = [{n}, {k}]"));
        t.line(&format!("%flat{i} = Reshape({w}, @flatshape{i})"));
        t.input(&format!("m{i}"), &[m, k]);
        t.line(&format!("%g{i} = Gemm(%m{i}, %flat{i}) {{transB = 1}}"));
        t.output(&format!("Relu(%g{i})"));
    }
    t
}

/// A convolution of bytes, its bias and what it is quantised to; the name of the result.
fn layer_of_bytes(t: &mut Text, x: &str, w: &str, outputs: usize, attributes: &str, zero: &str) -> String {
    t.weights += 1;
    let n = t.weights;
    let bias: Vec<String> = (0..outputs).map(|i| format!("{}", i as i64 * 97 % 801 - 400)).collect();
    t.line(&format!("const @b{n}: i32[{outputs}] = [{}]", bias.join(", ")));
    let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{attributes}}}") };
    t.line(&format!(
        "%c{n} = QLinearConv({x}, @unit, {zero}, {w}, @scale, @none_i8, @whole, {zero}, @b{n}){attributes}"
    ));
    format!("%c{n}")
}

/// Matrices of bytes: rows of every remainder, weights either way, depth that is no multiple of four, batches.
fn products_of_bytes(t: &mut Text) {
    for (i, (batch, m, k, n)) in
        [(1, 16, 64, 33), (1, 50, 40, 24), (2, 9, 96, 51), (1, 33, 62, 64), (3, 17, 32, 20)]
            .into_iter()
            .enumerate()
    {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("p{i}"), dtype, &[batch, m, k]);
        for way in ["down", "up"] {
            let rows = [1, 4][i % 2];
            let w = match way {
                "down" => wide_weight(t, "i8", [n, k, 1, 1], rows, 16),
                // Blocks of four of the depth, which is the first axis.
                _ => wide_weight(t, "i8", [k.div_ceil(4), n, 4, 1], 1, 16),
            };
            let order = if way == "down" { vec![n, k] } else { vec![k.div_ceil(4), n, 4] };
            t.line(&format!("const @{way}shape{i}: i64[{}] = {order:?}", order.len()));
            t.line(&format!("%{way}flat{i} = Reshape({w}, @{way}shape{i})"));
            let by_column = match way {
                "down" => format!("Transpose(%{way}flat{i}) {{perm = [1, 0]}}"),
                _ => format!("Transpose(%{way}flat{i}) {{perm = [0, 2, 1]}}"),
            };
            t.line(&format!("%{way}turned{i} = {by_column}"));
            let mut w = format!("%{way}turned{i}");
            if way == "up" {
                t.line(&format!("const @matrixshape{i}: i64[2] = [{}, {n}]", k.div_ceil(4) * 4));
                t.line(&format!("%matrix{i} = Reshape({w}, @matrixshape{i})"));
                t.line(&format!("const @from{i}: i64[1] = [0] const @until{i}: i64[1] = [{k}]"));
                t.line(&format!("%cut{i} = Slice(%matrix{i}, @from{i}, @until{i}, @from{i})"));
                w = format!("%cut{i}");
            }
            t.line(&format!("%{way}sum{i} = MatMulInteger(%p{i}, {w}, @zero_{dtype})"));
            t.line(&format!("%{way}float{i} = Cast(%{way}sum{i}) {{to = 1}}"));
            t.line(&format!("%{way}part{i} = Mul(%{way}float{i}, @scale)"));
            t.output(&format!("QuantizeLinear(%{way}part{i}, @unit, @zero_{dtype})"));
        }
    }
}

/// Bytes: every remainder of pixels, both heights of blocks, windows, steps of two, dilation, sums between them; pools of a step of two.
pub(super) fn of_bytes() -> Text {
    let mut t = Text::default();
    t.line("const @unit: f32[] = [0.73] const @scale: f32[] = [0.0041] const @whole: f32[] = [1.37]");
    for (dtype, zero) in [("u8", 131), ("i8", -5)] {
        t.line(&format!("const @zero_{dtype}: {dtype}[] = [{zero}]"));
    }
    t.line("const @none_i8: i8[] = [0]");
    for (i, (n, c, o, h, w)) in [
        (1, 16, 16, 7, 7),
        (2, 24, 20, 5, 8),
        (1, 16, 32, 3, 15),
        (1, 32, 16, 4, 16),
        (1, 18, 24, 6, 17),
        (1, 20, 16, 9, 50),
        (1, 64, 33, 1, 3),
        (1, 32, 24, 14, 14),
    ]
    .into_iter()
    .enumerate()
    {
        for rows in [1, 4] {
            let dtype = ["u8", "i8"][(i + rows) % 2];
            let (x, zero) = (format!("x{i}_{rows}"), format!("@zero_{dtype}"));
            t.typed_input(&x, dtype, &[n, c, h, w]);
            let first = wide_weight(&mut t, "i8", [o, c, 1, 1], rows, 10);
            let y = layer_of_bytes(&mut t, &format!("%{x}"), &first, o, "", &zero);
            let window = wide_weight(&mut t, "i8", [c, o, 3, 3], rows, 12);
            let z = layer_of_bytes(&mut t, &y, &window, c, "pads = [1, 1, 1, 1]", &zero);
            for (name, from, scale) in [("a", &z, "@whole"), ("b", &format!("%{x}"), "@unit")] {
                t.line(&format!("%{name}{x} = DequantizeLinear({from}, {scale}, {zero})"));
            }
            t.line(&format!("%sum{x} = Add(%a{x}, %b{x})"));
            t.line(&format!("%q{x} = QuantizeLinear(%sum{x}, @unit, {zero})"));
            let spread = "dilations = [1, 2], pads = [1, 2, 1, 2]";
            let wide = wide_weight(&mut t, "i8", [16, c, 3, 3], rows, 12);
            let y = layer_of_bytes(&mut t, &format!("%q{x}"), &wide, 16, spread, &zero);
            let step = "strides = [2, 2], pads = [1, 1, 1, 1]";
            let down = wide_weight(&mut t, "i8", [12, 16, 3, 3], rows, 12);
            let y = layer_of_bytes(&mut t, &y, &down, 12, step, &zero);
            t.output(&format!("DequantizeLinear({y}, @whole, {zero})"));
        }
    }
    products_of_bytes(&mut t);
    for (i, w) in [8, 15, 16, 31, 33, 50].into_iter().enumerate() {
        let dtype = ["u8", "i8"][i % 2];
        t.typed_input(&format!("w{i}"), dtype, &[1, 2, 9, w]);
        t.output(&format!("MaxPool(%w{i}) {{kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]}}"));
    }
    t
}

/// A convolution, its bias and a function; the name of the result.
fn layer(t: &mut Text, x: &str, w: &str, outputs: usize, attributes: &str, function: &str) -> String {
    let bias = t.weight(&[outputs]);
    let n = t.weights;
    let attributes = if attributes.is_empty() { String::new() } else { format!(" {{{attributes}}}") };
    t.line(&format!("%c{n} = Conv({x}, {w}, {bias}){attributes}"));
    t.line(&format!("%f{n} = {function}(%c{n})"));
    format!("%f{n}")
}

/// Every remainder of pixels, every height of blocks.
pub(super) fn layers() -> Text {
    let mut t = Text::default();
    for (i, (c, o, h, w)) in [
        (16, 16, 7, 7),
        (24, 20, 5, 8),
        (16, 33, 3, 15),
        (32, 16, 4, 16),
        (17, 24, 6, 17),
        (16, 40, 2, 33),
        (20, 16, 9, 50),
        (64, 32, 1, 3),
    ]
    .into_iter()
    .enumerate()
    {
        for rows in [1, 4, 8, 16] {
            let x = format!("x{i}_{rows}");
            t.input(&x, &[1, c, h, w]);
            let first = weight(&mut t, [o, c, 1, 1], rows, 8);
            let y = layer(&mut t, &format!("%{x}"), &first, o, "", "Relu");
            let window = weight(&mut t, [c, o, 3, 3], rows, 10);
            let y = layer(&mut t, &y, &window, c, "pads = [1, 1, 1, 1]", "HardSwish");
            t.output(&format!("Add({y}, %{x})"));
        }
    }
    t
}

/// Products of one row, of a few and of many, with rows of weights of every remainder.
pub(super) fn products() -> Text {
    let mut t = Text::default();
    for (i, (k, n)) in [(64, 33), (40, 16), (130, 8), (96, 51), (300, 64)].into_iter().enumerate() {
        for (j, m) in [1, 3, 9, 16, 50].into_iter().enumerate() {
            let rows = [1, 4, 8, 16][(i + j) % 4];
            let name = format!("{i}_{m}");
            let (first, second) =
                (weight(&mut t, [n, k, 1, 1], rows, 12), weight(&mut t, [k, n, 1, 1], rows, 12));
            for (source, shape, to) in [(first, [n, k], "down"), (second, [k, n], "up")] {
                t.line(&format!("const @{to}shape{name}: i64[2] = {shape:?}"));
                t.line(&format!("%{to}{name} = Reshape({source}, @{to}shape{name})"));
            }
            let (b, c) = (t.weight(&[n]), t.weight(&[k]));
            t.input(&format!("m{name}"), &[m, k]);
            t.line(&format!("%g{name} = Gemm(%m{name}, %down{name}, {b}) {{transB = 1}}"));
            t.line(&format!("%r{name} = Relu(%g{name})"));
            t.line(&format!("%h{name} = Gemm(%r{name}, %up{name}, {c}) {{transB = 1}}"));
            t.output(&format!("Add(%h{name}, %m{name})"));
        }
    }
    t
}

/// A row times matrices whose zeros lie anywhere: columns by 16 and others, rows that fill no block, weights of 16 bits.
pub(super) fn rows_of_one() -> Text {
    let mut t = Text::default();
    for (i, (k, n)) in [(64, 33), (96, 51), (160, 16), (48, 70), (130, 40), (512, 64)].into_iter().enumerate()
    {
        let w = weight(&mut t, [n, k, 1, 1], 1, 20);
        t.line(&format!("const @rowshape{i}: i64[2] = [{n}, {k}]"));
        t.line(&format!("%roww{i} = Reshape({w}, @rowshape{i})"));
        let b = t.weight(&[n]);
        t.input(&format!("row{i}"), &[1, k]);
        t.line(&format!("%rowy{i} = Gemm(%row{i}, %roww{i}, {b}) {{transB = 1}}"));
        t.output(&format!("Relu(%rowy{i})"));
        if i % 2 == 0 {
            t.line(&format!("%roww16{i} = Cast(%roww{i}) {{to = 10}}"));
            t.line(&format!("%roww32{i} = Cast(%roww16{i}) {{to = 1}}"));
            t.line(&format!("%rowz{i} = Gemm(%row{i}, %roww32{i}) {{transB = 1}}"));
            t.output(&format!("Tanh(%rowz{i})"));
        }
    }
    t
}

/// Steps of two, a depthwise window, a shortcut, several images.
pub(super) fn regions() -> Text {
    let mut t = Text::default();
    for (i, (n, size)) in [(1, 9), (2, 14), (1, 31)].into_iter().enumerate() {
        t.input(&format!("r{i}"), &[n, 3, 2 * size, 2 * size]);
        let first = weight(&mut t, [16, 3, 3, 3], 1, 1);
        let x = layer(&mut t, &format!("%r{i}"), &first, 16, "strides = [2, 2], pads = [1, 1, 1, 1]", "Relu");
        let w = weight(&mut t, [32, 16, 1, 1], 4, 8);
        let y = layer(&mut t, &x, &w, 32, "", "Relu");
        let d = t.weight(&[32, 1, 3, 3]);
        let y = layer(&mut t, &y, &d, 32, "group = 32, pads = [1, 1, 1, 1]", "Relu");
        let w = weight(&mut t, [16, 32, 1, 1], 4, 8);
        let y = layer(&mut t, &y, &w, 16, "", "Identity");
        t.line(&format!("%sum{i} = Add({x}, {y})"));
        let w = weight(&mut t, [24, 16, 3, 3], 8, 10);
        let y = layer(&mut t, &format!("%sum{i}"), &w, 24, "strides = [2, 2], pads = [1, 1, 1, 1]", "Relu");
        let w = weight(&mut t, [24, 16, 1, 1], 2, 8);
        let z = layer(&mut t, &format!("%sum{i}"), &w, 24, "strides = [2, 2]", "Identity");
        t.line(&format!("%both{i} = Add({y}, {z})"));
        let d = t.weight(&[24, 1, 5, 5]);
        let y = layer(
            &mut t,
            &format!("%both{i}"),
            &d,
            24,
            "group = 24, strides = [2, 2], pads = [2, 2, 2, 2]",
            "HardSwish",
        );
        let w = weight(&mut t, [40, 24, 1, 1], 16, 4);
        let y = layer(&mut t, &y, &w, 40, "", "Relu");
        t.output(&format!("GlobalAveragePool({y})"));
    }
    t
}
