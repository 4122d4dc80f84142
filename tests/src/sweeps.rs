//! Graphs that make code of one kind in every size that matters to vectors: for machines that are only emulated,
//! where a program costs more to start than to run.
//!
//! Weights are sines of their positions, which folding makes constants of.

mod bytes;
mod few_bits;
mod movement;
mod products;
mod residuals;
mod rows;
mod sparse;

use std::fmt::Write as _;

use kiln_compiler::internals::passes::infer;
use kiln_ir::graph::{self, Graph};
use kiln_ir::kernel::Scalar;
use kiln_ir::kernel::plan::{Plan, Schedule};
use kiln_ir::{DType, Tensor, TensorType};

use crate::{Outcome, random, text};

/// Kernels that a sweep is about.
type Wanted = fn(&Schedule) -> bool;

/// A graph, and what kind of kernels it is there for.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// A C identifier.
    pub name: &'static str,
    source: String,
    wanted: Wanted,
    /// How many of them it must have at least.
    count: usize,
    /// How many results must lie over an operand at least.
    over: usize,
}

impl Sweep {
    /// The graph, with types.
    pub fn graph(&self) -> Outcome<Graph> {
        let mut graph = graph::parse(&self.source).map_err(|e| format!("{e}\n{}", self.source))?;
        infer::run(&mut graph).map_err(text)?;
        Ok(graph)
    }

    /// Seeded inputs: floats close to a standard normal distribution, integers of the whole range of their type.
    pub fn inputs(&self, graph: &Graph) -> Outcome<Vec<Tensor>> {
        let types = graph.inputs().iter().map(|id| graph.value(*id).fact.as_ref().map(kiln_ir::Fact::ty));
        types.enumerate().map(|(i, ty)| tensor(&ty.ok_or("an input without a type")?, i)).collect()
    }

    /// Errors when a plan of the graph has not the kernels, or the arena, that the sweep is about.
    pub fn check(&self, plan: &Plan) -> Outcome {
        let over = plan.slots.iter().filter(|slot| slot.over.is_some()).count();
        if over < self.over {
            return Err(format!(
                "{over} results of {} lie over an operand, {} expected",
                self.name, self.over
            ));
        }
        let found = plan.kernels.iter().filter(|k| (self.wanted)(&k.schedule)).count();
        if found >= self.count {
            return Ok(());
        }
        Err(format!("{found} kernels of the kind that {} is about, {} expected", self.name, self.count))
    }
}

fn tensor(ty: &TensorType, position: usize) -> Outcome<Tensor> {
    let shape = ty.shape.as_const().ok_or_else(|| format!("input {position} has the open type {ty}"))?;
    if matches!(ty.dtype, DType::Bool | DType::F32 | DType::F64) {
        return random::tensor(ty.dtype, &shape, SEED, position).map_err(text);
    }
    let floats = random::tensor(DType::F32, &shape, SEED, position).map_err(text)?;
    let floats = floats.as_slice::<f32>().map_err(text)?;
    let bytes = floats.iter().enumerate().flat_map(|(i, x)| {
        let bits = match ty.dtype {
            DType::F16 | DType::BF16 => Scalar::of(ty.dtype, f64::from(*x)).bits,
            // Every other one close to 0, where comparisons and shifts differ.
            _ if i % 2 == 0 => (x * 20.0) as i64 as u64,
            _ => random::split_mix(SEED, (position * 1000 + i) as u64),
        };
        bits.to_le_bytes().into_iter().take(ty.dtype.size()).collect::<Vec<u8>>()
    });
    Tensor::new(ty.dtype, shape, bytes.collect::<Vec<u8>>().into()).map_err(text)
}

const SEED: u64 = 7;

/// Every sweep.
pub fn all() -> Vec<Sweep> {
    let tile: Wanted = |s| matches!(s, Schedule::Tile(_));
    let nest: Wanted = |s| matches!(s, Schedule::Nest(_));
    let transform: Wanted = |s| matches!(s, Schedule::Transform(_));
    let dots: Wanted = |s| matches!(s, Schedule::Dots(_));
    let sparse: Wanted = |s| matches!(s, Schedule::Sparse(_));
    let product: Wanted = |s| matches!(s, Schedule::Tile(_) | Schedule::Dots(_));
    // Numbers of kernels: a few of each sweep may be of another kind.
    let sweep =
        |name, wanted, count, text: Text| Sweep { name, source: text.finish(name), wanted, count, over: 0 };
    vec![
        sweep("packed_tiles", tile, ROWS.len() * (COLUMNS.len() - 1), packed("")),
        sweep("depths", tile, 12, depths("")),
        sweep("plain_tiles", tile, 20, plain("")),
        sweep("convolutions", tile, 8, convolutions("")),
        sweep("few_columns", dots, 40, products::few_columns()),
        sweep("depth_innermost", dots, 80, products::depth_innermost()),
        sweep("few_channels", product, 11, products::few_channels()),
        sweep("streams", |s| matches!(s, Schedule::Stream(_)), 5, products::streams()),
        sweep("sparse_layers", sparse, 40, sparse::layers()),
        sweep("sparse_regions", sparse, 10, sparse::regions()),
        sweep("sparse_products", sparse, 12, sparse::products()),
        sweep("sparse_rows", sparse, 6, sparse::rows_of_one()),
        sweep("sparse_in_fours", sparse, 20, sparse::wide()),
        sweep("sparse_bytes", sparse, 40, sparse::of_bytes()),
        sweep("typed_products", product, 98, products::typed()),
        sweep("bytes", tile, ROWS.len() * (COLUMNS.len() - 1), bytes::products()),
        sweep("pairs_of_bytes", tile, ROWS.len() * (COLUMNS.len() - 1), bytes::pairs()),
        sweep("watched_bytes", tile, ROWS.len() * (COLUMNS.len() - 1), bytes::watched()),
        sweep("convolutions_of_bytes", tile, 8, bytes::convolutions()),
        // Machines that multiply bytes compute some by their definition.
        sweep(
            "filtered_bytes",
            |s| matches!(s, Schedule::Tile(_) | Schedule::Transform(_)),
            4,
            bytes::filtered(),
        ),
        // Those of eight bits are floats where no instruction multiplies bytes.
        sweep(
            "weights_of_few_bits",
            |s| !matches!(s, Schedule::Scalar { .. } | Schedule::Sparse(_) | Schedule::Transform(_)),
            12,
            few_bits::products(),
        ),
        sweep("tables_of_bytes", |_| true, 36, bytes::tables()),
        sweep("windows_of_bytes", nest, 30, bytes::windows()),
        sweep("winograd", transform, 8, winograd("")),
        sweep("windows", nest, 30, windows("")),
        sweep("packed_tiles_f16", tile, ROWS.len() * (COLUMNS.len() - 1), packed("f16")),
        sweep("whole_steps_f16", tile, 30, whole_steps("f16")),
        sweep("depths_bf16", tile, 12, depths("bf16")),
        sweep("plain_tiles_f16", tile, 20, plain("f16")),
        sweep("convolutions_f16", product, 8, convolutions("f16")),
        sweep("convolutions_bf16", product, 8, convolutions("bf16")),
        sweep("winograd_f16", transform, 2, winograd("f16")),
        sweep("windows_f16", nest, 30, windows("f16")),
        sweep("windows_bf16", nest, 30, windows("bf16")),
        sweep("typed_windows", nest, 100, rows::typed()),
        sweep("rows", nest, 120, rows::all()),
        sweep("functions", nest, 100, functions()),
        sweep("roundings", nest, 1, roundings()),
        sweep("masks", nest, 30, masks()),
        sweep("reductions", nest, 40, reductions()),
        sweep("movement", |_| true, 6, movement()),
        sweep("rows", nest, 60, movement::rows()),
        sweep("pads", nest, 300, movement::pads()),
        sweep("procedures", |s| matches!(s, Schedule::Scalar { .. }), 30, movement::procedures()),
        sweep("elements_apart", |_| true, 60, movement::apart()),
        sweep("positions", nest, 150, movement::positions()),
        sweep("quotients", nest, 100, movement::quotients()),
        sweep("integers", nest, 600, integers()),
        sweep("other_floats", nest, 300, other_floats()),
        sweep("bools", nest, 75, bools()),
        sweep("casts", nest, 290, casts()),
        sweep("typed_reductions", nest, 150, typed_reductions()),
        sweep("typed_copies", nest, 60, typed_copies()),
        sweep("attention", tile, 5, attention()),
        Sweep { over: residuals::BLOCKS, ..sweep("residuals", product, 100, residuals::blocks()) },
    ]
}

/// Around the widths of one, two and three vectors of 4, 8 and 16 lanes.
const LENGTHS: [usize; 12] = [1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 50];
/// Up to two of the tallest tiles and one more.
const ROWS: [usize; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 28, 29, 31];
/// A single column makes no tile.
const COLUMNS: [usize; 9] = [1, 7, 8, 15, 16, 17, 32, 33, 50];

#[derive(Default)]
struct Text {
    /// The type of inputs and weights; empty for f32.
    dtype: &'static str,
    lines: String,
    outputs: usize,
    weights: usize,
}

impl Text {
    fn of(dtype: &'static str) -> Self {
        Self { dtype, ..Self::default() }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.lines, "  {line}");
    }

    fn input(&mut self, name: &str, shape: &[usize]) {
        let dtype = if self.dtype.is_empty() { "f32" } else { self.dtype };
        self.typed_input(name, dtype, shape);
    }

    fn typed_input(&mut self, name: &str, dtype: &str, shape: &[usize]) {
        self.line(&format!("input %{name}: {dtype}{shape:?}"));
    }

    /// A value that folds to a constant; its name.
    fn weight(&mut self, shape: &[usize]) -> String {
        self.weights += 1;
        let (n, elements) = (self.weights, shape.iter().product::<usize>());
        for line in [
            format!("const @first{n}: f32[] = [{n}.5]"),
            format!("const @end{n}: f32[] = [{}.0]", elements + n),
            format!("const @step{n}: f32[] = [1.0]"),
            format!("const @shape{n}: i64[{}] = {shape:?}", shape.len()),
            format!("%range{n} = Range(@first{n}, @end{n}, @step{n})"),
            format!("%sine{n} = Sin(%range{n})"),
            format!("%w{n} = Reshape(%sine{n}, @shape{n})"),
        ] {
            self.line(&line);
        }
        match DType::parse(self.dtype) {
            None => format!("%w{n}"),
            Some(dtype) => {
                self.line(&format!("%short{n} = Cast(%w{n}) {{to = {}}}", dtype.to_onnx()));
                format!("%short{n}")
            }
        }
    }

    /// An output of the graph from an expression.
    fn output(&mut self, expression: &str) {
        self.line(&format!("%y{} = {expression}", self.outputs));
        self.outputs += 1;
    }

    fn finish(mut self, name: &str) -> String {
        for i in 0..self.outputs {
            self.line(&format!("output %y{i}"));
        }
        format!("graph @{name} opset(20) {{\n{}}}\n", self.lines)
    }
}

/// Products with constants: all remainders of rows and columns.
fn packed(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    let weights: Vec<String> = COLUMNS.iter().map(|n| t.weight(&[9, *n])).collect();
    for m in ROWS {
        t.input(&format!("x{m}"), &[m, 9]);
        weights.iter().for_each(|w| t.output(&format!("MatMul(%x{m}, {w})")));
    }
    t
}

/// Products with constants: all remainders of depth.
fn depths(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for k in [1, 2, 3, 4, 5, 7, 15, 16, 17, 19, 33, 64] {
        t.input(&format!("x{k}"), &[11, k]);
        let w = t.weight(&[k, 35]);
        t.output(&format!("MatMul(%x{k}, {w})"));
    }
    t
}

/// Products with constants and convolutions whose depths are whole vectors of halves, and what is left over of rows and columns.
fn whole_steps(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for k in [8, 40] {
        let weights: Vec<String> = [8, 12, 16, 35].iter().map(|n| t.weight(&[k, *n])).collect();
        for m in [1, 3, 6, 8, 11] {
            t.input(&format!("x{m}_{k}"), &[m, k]);
            weights.iter().for_each(|w| t.output(&format!("MatMul(%x{m}_{k}, {w})")));
        }
    }
    for (c, o, window, attributes) in [
        (16, 24, 3, "strides = [2, 2], pads = [1, 1, 1, 1]"),
        (24, 41, 1, "strides = [2, 2]"),
        (24, 16, 1, ""),
    ] {
        t.input(&format!("i{o}"), &[1, c, 9, 9]);
        let (w, b) = (t.weight(&[o, c, window, window]), t.weight(&[o]));
        t.line(&format!("%c{o} = Conv(%i{o}, {w}, {b}) {{{attributes}}}"));
        t.output(&format!("Relu(%c{o})"));
    }
    t
}

/// Products of two arguments, which are not packed.
fn plain(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for n in [4, 16, 17, 33] {
        t.input(&format!("z{n}"), &[2, 13, n]);
    }
    for m in [1, 2, 5, 6, 14] {
        t.input(&format!("x{m}"), &[2, m, 13]);
        [4, 16, 17, 33].iter().for_each(|n| t.output(&format!("MatMul(%x{m}, %z{n})")));
    }
    t
}

fn convolutions(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for (i, (c, o, size, window, attributes)) in [
        (3, 16, 13, 3, "strides = [2, 2], pads = [1, 1, 1, 1]"),
        (3, 33, 17, 7, "strides = [2, 2], pads = [3, 3, 3, 3]"),
        (5, 17, 9, 3, "dilations = [2, 2], pads = [2, 2, 2, 2]"),
        (16, 16, 7, 1, ""),
        (17, 50, 5, 1, "strides = [2, 2]"),
        (8, 12, 6, 3, "pads = [1, 1, 1, 1], group = 2"),
        (4, 20, 11, 5, "pads = [2, 2, 2, 2]"),
        (1, 3, 8, 2, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let group = if attributes.contains("group") { 2 } else { 1 };
        t.input(&format!("x{i}"), &[1, c, size, size]);
        let (w, b) = (t.weight(&[o, c / group, window, window]), t.weight(&[o]));
        t.line(&format!("%c{i} = Conv(%x{i}, {w}, {b}) {{{attributes}}}"));
        t.output(&format!("Relu(%c{i})"));
    }
    t
}

/// 3 x 3 convolutions of step 1 that are cheaper by minimal filtering, with residuals.
fn winograd(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for (i, (c, o, h, w)) in
        [(32, 32, 24, 24), (64, 48, 20, 18), (40, 64, 19, 17), (64, 64, 15, 13)].into_iter().enumerate()
    {
        t.input(&format!("x{i}"), &[1, c, h, w]);
        t.input(&format!("r{i}"), &[1, o, h, w]);
        let (w, b) = (t.weight(&[o, c, 3, 3]), t.weight(&[o]));
        t.line(&format!("%c{i} = Conv(%x{i}, {w}, {b}) {{pads = [1, 1, 1, 1]}}"));
        // Of floats of 16 bits what does not round again: emulators round ties their own way, once.
        let residual = if dtype.is_empty() { "Add" } else { "Max" };
        t.line(&format!("%s{i} = {residual}(%c{i}, %r{i})"));
        t.output(&format!("Relu(%s{i})"));
    }
    t
}

/// Windows along channels, which the caller has innermost.
fn windows(dtype: &'static str) -> Text {
    let mut t = Text::of(dtype);
    for c in [1, 3, 15, 16, 17, 33] {
        t.input(&format!("z{c}"), &[1, 9, 10, c]);
        t.line(&format!("%x{c} = Transpose(%z{c}) {{perm = [0, 3, 1, 2]}}"));
        for (window, step) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let w = t.weight(&[c, 1, window, window]);
            let pad = window / 2;
            t.output(&format!(
                "Conv(%x{c}, {w}) {{group = {c}, strides = [{step}, {step}], pads = {:?}}}",
                [pad; 4]
            ));
        }
        t.output(&format!("MaxPool(%x{c}) {{kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]}}"));
        t.output(&format!("AveragePool(%x{c}) {{kernel_shape = [2, 3], pads = [0, 1, 0, 1]}}"));
        t.output(&format!("GlobalAveragePool(%x{c})"));
        let w = t.weight(&[c, 1, 4, 4]);
        t.output(&format!(
            "ConvTranspose(%x{c}, {w}) {{group = {c}, strides = [2, 2], pads = [1, 1, 1, 1]}}"
        ));
    }
    t
}

fn roundings() -> Text {
    let mut t = Text::default();
    t.line("const @factor: f32[1] = [35.0]");
    t.input("x", &[37]);
    t.line("%far = Mul(%x, @factor)");
    for op in ["Floor", "Ceil", "Round"] {
        t.output(&format!("{op}(%far)"));
    }
    t
}

fn functions() -> Text {
    let mut t = Text::default();
    t.line("const @far: f32[1] = [35.0]");
    t.line("const @farther: f32[1] = [80.0]");
    // Several vectors of 16 lanes side by side too.
    for n in LENGTHS.into_iter().chain([141]) {
        t.input(&format!("x{n}"), &[n]);
        t.line(&format!("%p{n} = Abs(%x{n})"));
        // Some are beyond what short forms are for, in one of several vectors or in most of them.
        t.line(&format!("%far{n} = Mul(%x{n}, @far)"));
        t.line(&format!("%farther{n} = Mul(%x{n}, @farther)"));
        for op in ["Exp", "Sigmoid"] {
            t.output(&format!("{op}(%far{n})"));
            t.output(&format!("{op}(%farther{n})"));
        }
        for op in [
            "Exp",
            "Tanh",
            "Sigmoid",
            "Erf",
            "Sin",
            "Cos",
            "Floor",
            "Ceil",
            "Round",
            "Gelu",
            "HardSwish",
            "Softplus",
            "Sign",
            "Elu",
        ] {
            t.output(&format!("{op}(%x{n})"));
        }
        t.output(&format!("Log(%p{n})"));
        t.output(&format!("Sqrt(%p{n})"));
        t.output(&format!("Pow(%p{n}, %x{n})"));
        t.output(&format!("Div(%x{n}, %p{n})"));
    }
    t
}

fn masks() -> Text {
    let mut t = Text::default();
    t.line("const @half: f32[] = [0.5]");
    t.line("const @low: f32[] = [-0.75]");
    for n in LENGTHS {
        t.input(&format!("x{n}"), &[3, n]);
        t.input(&format!("z{n}"), &[n]);
        t.line(&format!("%above{n} = Greater(%x{n}, %z{n})"));
        t.line(&format!("%equal{n} = LessOrEqual(%x{n}, @half)"));
        t.line(&format!("%both{n} = And(%above{n}, %equal{n})"));
        t.output(&format!("Where(%both{n}, %x{n}, %z{n})"));
        t.output(&format!("Clip(%x{n}, @low, @half)"));
        t.output(&format!("Max(%x{n}, %z{n})"));
        t.output(&format!("LeakyRelu(%x{n})"));
    }
    t
}

fn reductions() -> Text {
    let mut t = Text::default();
    for n in LENGTHS.into_iter().chain([141]) {
        t.input(&format!("x{n}"), &[5, n]);
        t.output(&format!("LogSoftmax(%x{n}) {{axis = 1}}"));
        let w = t.weight(&[n]);
        t.output(&format!("Softmax(%x{n}) {{axis = 1}}"));
        t.output(&format!("Softmax(%x{n}) {{axis = 0}}"));
        t.output(&format!("LayerNormalization(%x{n}, {w}, {w}) {{axis = 1}}"));
        t.line(&format!("const @last{n}: i64[1] = [1]"));
        t.line(&format!("const @first_axis{n}: i64[1] = [0]"));
        for op in ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"] {
            t.output(&format!("{op}(%x{n}, @last{n})"));
            t.output(&format!("{op}(%x{n}, @first_axis{n})"));
        }
    }
    t
}

fn movement() -> Text {
    let mut t = Text::default();
    t.input("x", &[3, 17, 33]);
    t.input("z", &[3, 5, 33]);
    t.line("const @pads: i64[6] = [1, 0, 2, 0, 3, 1]");
    t.line("const @from: i64[2] = [1, 3]");
    t.line("const @to: i64[2] = [16, 30]");
    t.line("const @axes: i64[2] = [1, 2]");
    t.line("const @steps: i64[2] = [2, 1]");
    t.line("const @rows: i64[4] = [2, 0, 0, 1]");
    for perm in ["[0, 2, 1]", "[2, 1, 0]", "[1, 0, 2]"] {
        t.output(&format!("Transpose(%x) {{perm = {perm}}}"));
    }
    t.output("Concat(%x, %z) {axis = 1}");
    t.output("Pad(%x, @pads)");
    t.output("Slice(%x, @from, @to, @axes, @steps)");
    t.output("Gather(%x, @rows) {axis = 0}");
    t
}

/// Around the widths of vectors of 2 to 64 elements.
const TYPED_LENGTHS: [usize; 6] = [1, 3, 8, 17, 33, 67];
const INTEGERS: [&str; 8] = ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"];

/// Arguments `x` and `z` of rows and a row of a type; their suffix.
fn operands(t: &mut Text, dtype: &str, n: usize) -> String {
    let suffix = format!("{dtype}_{n}");
    t.typed_input(&format!("x_{suffix}"), dtype, &[3, n]);
    t.typed_input(&format!("z_{suffix}"), dtype, &[n]);
    suffix
}

fn integers() -> Text {
    let mut t = Text::default();
    for dtype in INTEGERS {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            for op in ["Add", "Sub", "Mul", "Min", "Max", "Less", "LessOrEqual", "Equal", "BitwiseAnd"] {
                t.output(&format!("{op}(%x_{s}, %z_{s})"));
            }
            t.line(&format!("%less_{s} = Less(%x_{s}, %z_{s})"));
            t.output(&format!("Where(%less_{s}, %x_{s}, %z_{s})"));
            t.output(&format!("BitwiseNot(%x_{s})"));
            t.output(&format!("Abs(%x_{s})"));
            if dtype.starts_with('u') {
                t.output(&format!("BitShift(%x_{s}, %z_{s}) {{direction = \"LEFT\"}}"));
            } else {
                t.output(&format!("Neg(%x_{s})"));
                t.output(&format!("Sign(%x_{s})"));
            }
        }
    }
    t
}

fn other_floats() -> Text {
    let mut t = Text::default();
    for dtype in ["f16", "bf16", "f64"] {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            for op in ["Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "Equal"] {
                t.output(&format!("{op}(%x_{s}, %z_{s})"));
            }
            for op in ["Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "IsNaN", "Relu"] {
                t.output(&format!("{op}(%x_{s})"));
            }
            t.line(&format!("%size_{s} = Abs(%z_{s})"));
            t.output(&format!("Sqrt(%size_{s})"));
        }
    }
    t
}

fn bools() -> Text {
    let mut t = Text::default();
    for n in TYPED_LENGTHS {
        let s = operands(&mut t, "bool", n);
        for op in ["And", "Or", "Xor", "Equal"] {
            t.output(&format!("{op}(%x_{s}, %z_{s})"));
        }
        t.output(&format!("Not(%x_{s})"));
        t.typed_input(&format!("y_{s}"), "bool", &[3, 1]);
        t.line(&format!("%both_{s} = And(%x_{s}, %y_{s})"));
        t.line(&format!("%neither_{s} = Not(%both_{s})"));
        t.output(&format!("Where(%neither_{s}, %z_{s}, %x_{s})"));
        t.output(&format!("Cast(%neither_{s}) {{to = 2}}"));
        for dtype in ["f32", "i64", "u8", "f64"] {
            let values = operands(&mut t, dtype, n);
            t.output(&format!("Where(%x_{s}, %x_{values}, %z_{values})"));
            // Comparisons of two widths meet.
            t.line(&format!("%less_{values} = Less(%x_{values}, %z_{values})"));
            t.output(&format!("Xor(%less_{values}, %x_{s})"));
        }
    }
    t
}

fn casts() -> Text {
    let mut t = Text::default();
    let types = INTEGERS.into_iter().chain(["bool", "f16", "bf16", "f32", "f64"]);
    let number = |dtype: &str| match dtype {
        "f32" => 1,
        "u8" => 2,
        "i8" => 3,
        "u16" => 4,
        "i16" => 5,
        "i32" => 6,
        "i64" => 7,
        "bool" => 9,
        "f16" => 10,
        "f64" => 11,
        "u32" => 12,
        "u64" => 13,
        _ => 16,
    };
    for from in types.clone() {
        for n in [3, 33] {
            let s = operands(&mut t, from, n);
            for to in types.clone().filter(|to| *to != from) {
                t.output(&format!("Cast(%x_{s}) {{to = {}}}", number(to)));
            }
        }
    }
    t
}

fn typed_reductions() -> Text {
    let mut t = Text::default();
    for (axis, name) in [(0, "down"), (1, "along")] {
        t.line(&format!("const @{name}: i64[1] = [{axis}]"));
    }
    for dtype in ["i32", "i64", "f64", "f16"] {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            for op in ["ReduceSum", "ReduceMax", "ReduceMin"] {
                t.output(&format!("{op}(%x_{s}, @down)"));
                t.output(&format!("{op}(%x_{s}, @along)"));
            }
            // A sum of f32 beside wide lanes.
            t.line(&format!("%float_{s} = Cast(%x_{s}) {{to = 1}}"));
            t.output(&format!("ReduceSum(%float_{s}, @along)"));
        }
    }
    t
}

fn typed_copies() -> Text {
    let mut t = Text::default();
    t.line("const @from: i64[1] = [1]");
    t.line("const @to: i64[1] = [3]");
    t.line("const @last: i64[1] = [-1]");
    for dtype in ["u8", "bool", "f16", "i64"] {
        for n in TYPED_LENGTHS {
            let s = operands(&mut t, dtype, n);
            t.typed_input(&format!("y_{s}"), dtype, &[2, n]);
            t.output(&format!("Concat(%x_{s}, %y_{s}) {{axis = 0}}"));
            t.output(&format!("Concat(%y_{s}, %y_{s}) {{axis = 1}}"));
            t.output(&format!("Slice(%x_{s}, @from, @to)"));
        }
    }
    t
}

/// A block of a transformer: heads, scores, a mask, normalisation, a layer of twice the width.
fn attention() -> Text {
    let mut t = Text::default();
    let (tokens, heads, width) = (19, 3, 16);
    let features = heads * width;
    t.input("x", &[1, tokens, features]);
    t.input("mask", &[1, 1, 1, tokens]);
    t.line(&format!("const @split: i64[4] = {:?}", [1, tokens, heads, width]));
    t.line(&format!("const @joined: i64[3] = {:?}", [1, tokens, features]));
    t.line("const @scale: f32[] = [0.25]");
    for name in ["q", "k", "v"] {
        let (w, b) = (t.weight(&[features, features]), t.weight(&[features]));
        let perm = if name == "k" { "[0, 2, 3, 1]" } else { "[0, 2, 1, 3]" };
        t.line(&format!("%{name}0 = MatMul(%x, {w})"));
        t.line(&format!("%{name}1 = Add(%{name}0, {b})"));
        t.line(&format!("%{name}2 = Reshape(%{name}1, @split)"));
        t.line(&format!("%{name} = Transpose(%{name}2) {{perm = {perm}}}"));
    }
    for line in [
        "%s0 = MatMul(%q, %k)",
        "%s1 = Mul(%s0, @scale)",
        "%s2 = Add(%s1, %mask)",
        "%s = Softmax(%s2) {axis = 3}",
        "%h0 = MatMul(%s, %v)",
        "%h1 = Transpose(%h0) {perm = [0, 2, 1, 3]}",
        "%h = Reshape(%h1, @joined)",
        "%a = Add(%h, %x)",
    ] {
        t.line(line);
    }
    let (scale, shift) = (t.weight(&[features]), t.weight(&[features]));
    t.line(&format!("%n = LayerNormalization(%a, {scale}, {shift}) {{axis = 2}}"));
    let (up, down) = (t.weight(&[features, 2 * features]), t.weight(&[2 * features, features]));
    t.line(&format!("%u = MatMul(%n, {up})"));
    t.line("%g = Gelu(%u)");
    t.line(&format!("%d = MatMul(%g, {down})"));
    t.output("Add(%d, %n)");
    t
}
