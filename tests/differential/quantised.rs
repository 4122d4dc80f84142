//! Random graphs of quantised operators. Integers are exact, so a single step of difference is a fault.

use kiln_ir::graph::Graph;
use kiln_ir::{DType, Tensor};
use kiln_tests::Outcome;

use super::{Choices, Text};

const BYTES: [DType; 2] = [DType::U8, DType::I8];

impl Text {
    /// An 8-bit tensor of any values: mostly a constant, now and then an argument.
    fn bytes(&mut self, c: &mut Choices, name: &str, dtype: DType, shape: &[usize]) -> Outcome<()> {
        let argument = c.below(5) == 0;
        self.line(format!("input %{name}: {dtype}{shape:?}"));
        if !argument {
            let data: Vec<u8> = (0..shape.iter().product::<usize>()).map(|_| c.below(256) as u8).collect();
            let tensor = Tensor::new(dtype, shape.to_vec(), data.into()).map_err(kiln_tests::text)?;
            self.constants.push((name.to_owned(), tensor));
        }
        Ok(())
    }

    /// Constant scales around `middle`.
    pub(super) fn scales(&mut self, c: &mut Choices, name: &str, middle: f32, shape: &[usize]) {
        let scales = (0..shape.iter().product()).map(|_| middle * (0.5 + c.below(1000) as f32 / 1000.0));
        self.line(format!("input %{name}: f32{shape:?}"));
        self.constants.push((name.to_owned(), Tensor::from_vec::<f32>(shape, scales.collect())));
    }

    /// An i32 bias.
    fn bias(&mut self, c: &mut Choices, channels: usize) {
        let values = (0..channels).map(|_| c.below(4001) as i32 - 2000).collect();
        self.line(format!("input %bias: i32[{channels}]"));
        self.constants.push(("bias".to_owned(), Tensor::from_vec::<i32>(&[channels], values)));
    }
}

/// Of one element, or of one for each channel.
fn parameters(c: &mut Choices, channels: usize) -> Vec<usize> {
    if c.yes() { vec![channels] } else { vec![] }
}

fn bytes(c: &mut Choices) -> DType {
    BYTES[c.below(2) as usize]
}

/// A real image, quantised, through a convolution of one of three kinds, to real numbers or bytes.
pub(super) fn convolution(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (group, cpg, opg) = match c.below(4) {
        0 => (c.size(2, 3), c.size(1, 4), c.size(1, 6)),
        1 => (c.size(1, 37), 1, 1),
        _ => (1, c.size(1, 9), c.size(1, 20)),
    };
    let (channels, outputs) = (cpg * group, opg * group);
    let (kh, kw, h, w) = (c.size(1, 4), c.size(1, 4), c.size(8, 17), c.size(8, 17));
    let (pads, strides) = ([(); 4].map(|()| c.size(0, 2)), [c.size(1, 3), c.size(1, 3)]);
    let attributes = format!("group = {group}, strides = {strides:?}, pads = {pads:?}");
    let (of_x, of_w, of_y) = (bytes(c), bytes(c), bytes(c));
    t.line(format!("input %x: f32[{}, {channels}, {h}, {w}]", c.size(1, 2)));
    if c.below(3) == 0 {
        // By the range of the image, which its padding is not part of.
        t.bytes(c, "w", of_w, &[outputs, cpg, kh, kw])?;
        let of_channels = parameters(c, outputs);
        t.bytes(c, "zw", of_w, &of_channels)?;
        t.line("%q, %sx, %zx = DynamicQuantizeLinear(%x)".into());
        t.line(format!("%sum = ConvInteger(%q, %w, %zx, %zw) {{{attributes}}}"));
        t.line("%f = Cast(%sum) {to = 1}".into());
        t.line("%t = Mul(%f, %sx)".into());
        t.tail(c);
        return t.finish();
    }
    t.scales(c, "sx", 0.02, &[]);
    t.bytes(c, "zx", of_x, &[])?;
    t.bytes(c, "w", of_w, &[outputs, cpg, kh, kw])?;
    let of_channels = parameters(c, outputs);
    t.bytes(c, "zw", of_w, &of_channels)?;
    t.line("%q = QuantizeLinear(%x, %sx, %zx)".into());
    if c.yes() {
        t.line(format!("%sum = ConvInteger(%q, %w, %zx, %zw) {{{attributes}}}"));
        t.scales(c, "s", 1e-4, &[]);
        t.line("%t = DequantizeLinear(%sum, %s)".into());
        t.tail(c);
        return t.finish();
    }
    t.scales(c, "sw", 0.01, &of_channels);
    t.scales(c, "sy", 1.0, &[]);
    t.bytes(c, "zy", of_y, &[])?;
    let bias = c.yes();
    if bias {
        t.bias(c, outputs);
    }
    let bias = if bias { ", %bias" } else { "" };
    t.line(format!("%r = QLinearConv(%q, %sx, %zx, %w, %sw, %zw, %sy, %zy{bias}) {{{attributes}}}"));
    match c.below(3) {
        0 => t.line("%y = Identity(%r)".into()),
        1 => t.line("%y = DequantizeLinear(%r, %sy, %zy)".into()),
        // Pools and copies of bytes.
        _ => {
            t.line("%p = MaxPool(%r) {kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1]}".into());
            t.line("%o = Transpose(%p) {perm = [0, 2, 3, 1]}".into());
            t.line("%y = DequantizeLinear(%o, %sy, %zy)".into());
        }
    }
    t.finish()
}

/// Matrices of bytes, one of them quantised by its range now and then.
pub(super) fn product(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let (m, n, k, batch) = (c.size(1, 19), c.size(1, 70), c.size(1, 60), c.size(1, 3));
    let (of_b, of_y) = (bytes(c), bytes(c));
    t.line(format!("input %x: f32[{batch}, {m}, {k}]"));
    if c.yes() {
        t.line("%a, %sa, %za = DynamicQuantizeLinear(%x)".into());
    } else {
        t.scales(c, "sa", 0.02, &[]);
        let of_a = bytes(c);
        t.bytes(c, "za", of_a, &[])?;
        t.line("%a = QuantizeLinear(%x, %sa, %za)".into());
    }
    let own = c.yes();
    t.bytes(c, "b", of_b, &if own { vec![batch, k, n] } else { vec![k, n] })?;
    let of_columns = parameters(c, n);
    t.bytes(c, "zb", of_b, &of_columns)?;
    t.scales(c, "sb", 0.01, &of_columns);
    if c.yes() {
        t.line("%sum = MatMulInteger(%a, %b, %za, %zb)".into());
        t.line("%f = Cast(%sum) {to = 1}".into());
        t.line("%s = Mul(%sa, %sb)".into());
        t.line("%t = Mul(%f, %s)".into());
        t.tail(c);
    } else {
        t.scales(c, "sy", 0.5, &[]);
        t.bytes(c, "zy", of_y, &[])?;
        t.line("%q = QLinearMatMul(%a, %sa, %za, %b, %sb, %zb, %sy, %zy)".into());
        t.line(if c.yes() { "%y = DequantizeLinear(%q, %sy, %zy)" } else { "%y = Identity(%q)" }.into());
    }
    t.finish()
}

/// Bytes and words with a scale for each position of an axis or each block of it, there and back.
pub(super) fn elements(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let shape = [c.size(1, 5), c.size(1, 40), c.size(1, 40)];
    let axis = c.below(3) as usize;
    let (parameters, attributes) = match c.below(3) {
        0 => (vec![], String::new()),
        1 => (vec![shape[axis]], format!("axis = {axis}")),
        _ => {
            let block = c.size(1, shape[axis] as u64 + 2);
            let mut blocks = shape.to_vec();
            blocks[axis] = shape[axis].div_ceil(block);
            (blocks, format!("axis = {axis}, block_size = {block}"))
        }
    };
    t.line(format!("input %x: f32{shape:?}"));
    t.scales(c, "s", 0.02, &parameters);
    let dtype = bytes(c);
    t.bytes(c, "z", dtype, &parameters)?;
    t.line(format!("%q = QuantizeLinear(%x, %s, %z) {{{attributes}}}"));
    t.line(match c.below(3) {
        0 => "%y = Identity(%q)".into(),
        _ => format!("%y = DequantizeLinear(%q, %s, %z) {{{attributes}}}"),
    });
    t.finish()
}
