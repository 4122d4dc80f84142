//! Graphs between QuantizeLinear and DequantizeLinear, whose results must be the same in every bit.

use kiln_ir::DType;
use kiln_ir::graph::Graph;
use kiln_tests::Outcome;

use super::{Choices, Text};

/// A graph under construction.
struct Layers<'c> {
    c: &'c mut Choices,
    t: Text,
    /// Numbers of constants and layers so far.
    made: usize,
    /// The type of activations.
    dtype: &'static str,
    /// The newest number: its name and shape.
    value: String,
    shape: [usize; 4],
}

impl Layers<'_> {
    /// A positive scale of all digits, or a power of two.
    fn scale(&mut self, about: f32) -> f32 {
        if self.c.below(4) == 0 {
            return 2f32.powi(about.log2() as i32);
        }
        about * (0.5 + self.c.below(100_003) as f32 / 100_003.0)
    }

    fn zero(&mut self) -> i64 {
        match (self.c.below(3), self.dtype) {
            (0, _) => 0,
            (_, "u8") => self.c.below(256) as i64,
            _ => self.c.below(256) as i64 - 128,
        }
    }

    /// The newest number becomes bytes, and a number again.
    fn quantize(&mut self, about: f32) {
        let (n, scale, zero) = (self.made, self.scale(about), self.zero());
        self.made += 1;
        let (dtype, value) = (self.dtype, &self.value);
        let lines = [
            format!("const @s{n}: f32[] = [{scale:?}] const @z{n}: {dtype}[] = [{zero}]"),
            format!("%q{n} = QuantizeLinear(%{value}, @s{n}, @z{n})"),
            format!("%v{n} = DequantizeLinear(%q{n}, @s{n}, @z{n})"),
        ];
        lines.into_iter().for_each(|line| self.t.line(line));
        self.value = format!("v{n}");
    }

    /// A convolution with weights of one scale or one for each channel, and with or without a bias of the sum's scale.
    fn convolution(&mut self) {
        let (n, c) = (self.made, self.shape[1]);
        self.made += 1;
        let depthwise = c > 1 && self.c.below(3) == 0;
        let (o, window) = (if depthwise { c } else { self.c.size(1, 37) }, if self.c.yes() { 3 } else { 1 });
        let (pad, step) = (window / 2, if self.c.below(4) == 0 { 2 } else { 1 });
        let inner = if depthwise { 1 } else { c };
        let several = self.c.yes();
        let scales: Vec<f32> = (0..if several { o } else { 1 }).map(|_| self.scale(0.01)).collect();
        let bytes: Vec<i64> =
            (0..o * inner * window * window).map(|_| self.c.below(255) as i64 - 127).collect();
        let along = |n: usize| if n > 1 || several { format!("[{n}]") } else { "[]".to_owned() };
        let shape = along(scales.len());
        let zeros = vec![0; scales.len()];
        self.t.line(format!("const @w{n}: i8{:?} = {bytes:?}", [o, inner, window, window]));
        self.t.line(format!("const @ws{n}: f32{shape} = {scales:?} const @wz{n}: i8{shape} = {zeros:?}"));
        self.t.line(format!("%f{n} = DequantizeLinear(@w{n}, @ws{n}, @wz{n}) {{axis = 0}}"));
        let mut bias = String::new();
        if self.c.yes() {
            let of_x: f32 = self.scale_of_value();
            let products: Vec<f32> = (0..o).map(|i| of_x * scales[if several { i } else { 0 }]).collect();
            let integers: Vec<i64> = (0..o).map(|_| self.c.below(20_000) as i64 - 10_000).collect();
            self.t
                .line(format!("const @b{n}: i32[{o}] = {integers:?} const @bs{n}: f32[{o}] = {products:?}"));
            self.t.line(format!("%bias{n} = DequantizeLinear(@b{n}, @bs{n}) {{axis = 0}}"));
            bias = format!(", %bias{n}");
        }
        let group = if depthwise { c } else { 1 };
        let value = &self.value;
        self.t.line(format!(
            "%c{n} = Conv(%{value}, %f{n}{bias}) {{group = {group}, strides = [{step}, {step}], pads = {:?}}}",
            [pad; 4]
        ));
        self.value = format!("c{n}");
        let out = |extent: usize| (extent + 2 * pad - window) / step + 1;
        self.shape = [1, o, out(self.shape[2]), out(self.shape[3])];
    }

    /// The scale that the newest number was quantised with.
    fn scale_of_value(&self) -> f32 {
        let mark = format!("const @s{}: f32[] = [", &self.value[1..]);
        let at = self.t.lines.find(&mark).map(|at| &self.t.lines[at + mark.len()..]);
        at.and_then(|rest| rest.split(']').next()).and_then(|text| text.parse().ok()).unwrap_or(1.0)
    }

    fn node(&mut self, expression: &str) {
        let n = self.made;
        self.made += 1;
        self.t.line(format!("%n{n} = {expression}"));
        self.value = format!("n{n}");
    }

    fn layer(&mut self) {
        let before = (self.value.clone(), self.shape);
        match self.c.below(8) {
            0 if self.shape[2] > 2 && self.shape[3] > 2 => {
                self.node(&format!("MaxPool(%{}) {{kernel_shape = [2, 2]}}", before.0));
                self.shape = [1, self.shape[1], self.shape[2] - 1, self.shape[3] - 1];
            }
            1 => self.node(&format!("Relu(%{})", before.0)),
            2 => self
                .node(&format!("AveragePool(%{}) {{kernel_shape = [3, 3], pads = [1, 1, 1, 1]}}", before.0)),
            _ => {
                self.convolution();
                // Another path around it, where shapes allow.
                if self.shape == before.1 && self.c.yes() {
                    self.quantize(0.3);
                    self.node(&format!("Add(%{}, %{})", self.value.clone(), before.0));
                }
            }
        }
        self.quantize(0.3);
    }
}

/// Up to five layers.
pub(super) fn layers(c: &mut Choices) -> Outcome<Graph> {
    let shape = [1, c.size(1, 20), c.size(3, 11), c.size(3, 11)];
    let dtype = c.pick(&["u8", "u8", "i8"]);
    let layers = c.size(1, 5);
    let t = Text { lines: String::new(), dtype: DType::F32, constants: Vec::new() };
    let dtype = if dtype == "u8" { "u8" } else { "i8" };
    let mut g = Layers { c, t, made: 0, dtype, value: "x".to_owned(), shape };
    g.t.line(format!("input %x: f32{shape:?}"));
    g.quantize(0.02);
    (0..layers).for_each(|_| g.layer());
    if g.c.yes() {
        let value = g.value.clone();
        g.node(&format!("GlobalAveragePool(%{value})"));
        g.quantize(0.1);
    }
    let last = g.value[1..].to_owned();
    g.t.line(format!("%y = Identity(%q{last})"));
    g.t.finish()
}
