//! Small random graphs: the graph interpreter against compiled code, at every level of this machine's instructions,
//! with and without rewrites. `KILN_CASES` sets how many of each kind, `KILN_SEED` where they start.
//!
//! The same on emulated machines, AArch64 (integers with dot products, too) and AVX-512, where these are installed:
//! `KILN_EMULATED_CASES` of each kind, linked into one program.
//!
//! Sizes are small and odd on purpose: remainders of tiles and vectors are most of them. Some kinds are compiled with their
//! batch open as well.

mod flow;
mod packed;
mod qdq;
mod quantised;
mod recurrent;
mod residuals;
mod sparse;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use kiln_compiler::internals::passes::infer;
use kiln_compiler::internals::pipeline;
use kiln_ir::graph::{self, Graph, ValueId};
use kiln_ir::kernel::Scalar;
use kiln_ir::op::Fact;
use kiln_ir::{DType, Dim, Tensor};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::{Outcome, bochs, models, random, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// A seeded source of choices.
struct Choices {
    seed: u64,
    drawn: u64,
}

impl Choices {
    fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        random::split_mix(self.seed, self.drawn) % n
    }

    fn size(&mut self, lo: u64, hi: u64) -> usize {
        (lo + self.below(hi - lo + 1)) as usize
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Text of a graph under construction, in f32 until it is finished.
struct Text {
    lines: String,
    /// The type that its floats will have.
    dtype: DType,
    constants: Vec<(String, Tensor)>,
}

impl Text {
    /// Of floats of any type that products have kernels for.
    fn of(c: &mut Choices) -> Self {
        let dtype = match c.below(5) {
            0 => DType::F16,
            1 => DType::BF16,
            _ => DType::F32,
        };
        Self { lines: String::new(), dtype, constants: Vec::new() }
    }

    fn line(&mut self, text: String) {
        let _ = writeln!(self.lines, "  {text}");
    }

    /// A weight: mostly a constant, now and then an argument.
    fn weight(&mut self, c: &mut Choices, name: &str, shape: &[usize]) {
        if c.below(5) == 0 {
            self.line(format!("input %{name}: f32{shape:?}"));
        } else {
            self.constant(c, name, shape);
        }
    }

    fn constant(&mut self, c: &mut Choices, name: &str, shape: &[usize]) {
        self.line(format!("input %{name}: f32{shape:?}"));
        let values = (0..shape.iter().product()).map(|_| c.below(2001) as f32 / 1000.0 - 1.0).collect();
        self.constants.push((name.to_owned(), Tensor::from_vec::<f32>(shape, values)));
    }

    /// A pointwise tail from `%t` to `%y`, of the same shape.
    fn tail(&mut self, c: &mut Choices) {
        let last = match c.below(7) {
            0 => "%y = Relu(%t)",
            1 => "%y = Sigmoid(%t)",
            2 => "%y = HardSwish(%t)",
            3 => "%y = Tanh(%t)",
            4 => "%u = Exp(%t)\n  %y = Sqrt(%u)",
            5 => "%u = Sigmoid(%t)\n  %y = Mul(%t, %u)",
            _ => "%y = Identity(%t)",
        };
        self.line(last.to_owned());
    }

    fn finish(self) -> Outcome<Graph> {
        let lines = self.lines.replace("f32[", &format!("{}[", self.dtype));
        let source = format!("graph @case opset(17) {{\n{lines}  output %y\n}}\n");
        let parsed = graph::parse(&source).map_err(|e| format!("{e}\n{source}"))?;
        rebuilt(&parsed, &mut |graph, name, fact| {
            let constant = self.constants.iter().find(|c| c.0 == name);
            let id = match constant {
                Some((_, tensor)) if tensor.dtype.is_float() => {
                    graph.add_const(name, as_type(tensor, self.dtype)?)
                }
                Some((_, tensor)) => graph.add_const(name, tensor.clone()),
                None => graph.add_input(name, fact),
            };
            id.map_err(text)
        })
        .map_err(|e| format!("{e}\n{source}"))
    }
}

/// Adds an argument of some name and fact to a graph.
type Argument<'a> = &'a mut dyn FnMut(&mut Graph, &str, Fact) -> Outcome<ValueId>;

/// The same graph with other arguments.
fn rebuilt(from: &Graph, argument: Argument<'_>) -> Outcome<Graph> {
    let mut graph = Graph::new(&from.name);
    graph.opsets = from.opsets.clone();
    let mut ids = std::collections::BTreeMap::new();
    for &input in from.inputs() {
        let value = from.value(input);
        let fact = value.fact.clone().ok_or_else(|| format!("'{}' has no type", value.name))?;
        ids.insert(input, argument(&mut graph, &value.name, fact)?);
    }
    for (id, value) in from.values() {
        if let Some(tensor) = from.constant(id) {
            ids.insert(id, graph.add_const(&value.name, tensor.clone()).map_err(text)?);
        }
    }
    for node in from.topological_order().map_err(text)? {
        let node = from.node(node);
        let inputs = node.inputs.iter().map(|v| v.map(|v| ids[&v])).collect();
        let names: Vec<String> = node.outputs.iter().map(|v| from.value(*v).name.clone()).collect();
        let added = graph.add_node(&node.name, node.op.clone(), inputs, &names).map_err(text)?;
        for (old, new) in node.outputs.iter().zip(graph.node(added).outputs.clone()) {
            ids.insert(*old, new);
        }
    }
    from.outputs().iter().for_each(|o| graph.add_output(ids[o]));
    infer::run(&mut graph).map_err(text)?;
    Ok(graph)
}

/// The graph with the first axis of its first input open.
fn opened(graph: &Graph) -> Outcome<Graph> {
    rebuilt(graph, &mut |graph, name, mut fact| {
        if name == "x" {
            fact.shape.0[0] = Dim::symbol("batch");
            graph.bounds.insert("batch".into(), BATCHES.into());
        }
        graph.add_input(name, fact).map_err(text)
    })
}

/// Numbers of f32 in another type of floats.
fn as_type(tensor: &Tensor, dtype: DType) -> Outcome<Tensor> {
    let size = dtype.size();
    let element = |v: f64| Scalar::of(dtype, v).bits.to_le_bytes().into_iter().take(size);
    let bytes: Vec<u8> = tensor.to_f64s().map_err(text)?.into_iter().flat_map(element).collect();
    Tensor::new(dtype, tensor.shape.clone(), bytes.into()).map_err(text)
}

fn convolution(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (n, cpg, opg) = (c.size(1, 2), c.size(1, 9), c.size(1, 20));
    let (group, cpg, opg) = match c.below(4) {
        0 => (c.size(2, 3), cpg.min(4), opg.min(6)),
        1 => (c.size(1, 37), 1, 1),
        _ => (1, cpg, opg),
    };
    let (kh, kw) = (c.size(1, 4), c.size(1, 4));
    let (dh, dw) = (c.size(1, 2), c.size(1, 2));
    let (h, w) = (c.size(8, 17), c.size(8, 17));
    let (pads, strides) = ([(); 4].map(|()| c.size(0, 2)), [c.size(1, 3), c.size(1, 3)]);
    let channels = [cpg * group, opg * group];
    t.line(format!("input %x: f32[{n}, {}, {h}, {w}]", channels[0]));
    t.weight(c, "w", &[channels[1], cpg, kh, kw]);
    let bias = c.yes();
    if bias {
        t.weight(c, "b", &[channels[1]]);
    }
    let attributes =
        format!("group = {group}, strides = {strides:?}, pads = {pads:?}, dilations = [{dh}, {dw}]");
    t.line(format!("%t = Conv(%x, %w{}) {{{attributes}}}", if bias { ", %b" } else { "" }));
    t.tail(c);
    t.finish()
}

/// Two convolutions on one input, added or side by side, then a pool with padding.
fn branches(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (channels, out, size) = (c.size(1, 8), c.size(1, 18), c.size(4, 12));
    t.line(format!("input %x: f32[1, {channels}, {size}, {size}]"));
    t.weight(c, "v", &[out, channels, 1, 1]);
    t.weight(c, "w", &[out, channels, 3, 3]);
    t.line("%a = Conv(%x, %v)".into());
    t.line("%b = Conv(%x, %w) {pads = [1, 1, 1, 1]}".into());
    t.line("%c = Relu(%a)".into());
    t.line(if c.yes() { "%d = Add(%b, %c)" } else { "%d = Concat(%b, %c) {axis = 1}" }.into());
    let pool = c.pick(&["MaxPool", "AveragePool"]);
    t.line(format!(
        "%t = {pool}(%d) {{kernel_shape = [3, 3], strides = [{0}, {0}], pads = [1, 1, 1, 1]}}",
        c.size(1, 2)
    ));
    t.tail(c);
    t.finish()
}

fn pool(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    t.line(format!(
        "input %x: f32[{}, {}, {}, {}]",
        c.size(1, 2),
        c.size(1, 19),
        c.size(6, 14),
        c.size(6, 14)
    ));
    let kernel = [c.size(2, 4), c.size(2, 4)];
    let pads = [(); 4].map(|()| c.size(0, 1));
    let mut attributes =
        format!("kernel_shape = {kernel:?}, strides = [{}, {}], pads = {pads:?}", c.size(1, 3), c.size(1, 3));
    let pool = c.pick(&["MaxPool", "AveragePool"]);
    if pool == "AveragePool" && c.yes() {
        attributes += ", count_include_pad = 1";
    }
    if c.yes() {
        attributes += ", ceil_mode = 1";
    }
    t.line(format!("%t = {pool}(%x) {{{attributes}}}"));
    t.tail(c);
    t.finish()
}

fn product(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (m, n, k) = (c.size(1, 19), c.size(1, 70), c.size(1, 40));
    if c.yes() {
        let (a, b) = (c.below(2), c.below(2));
        t.line(format!("input %x: f32[{}, {}]", if a == 1 { k } else { m }, if a == 1 { m } else { k }));
        t.weight(c, "w", &if b == 1 { [n, k] } else { [k, n] });
        t.weight(c, "b", &[n]);
        t.line(format!("%t = Gemm(%x, %w, %b) {{transA = {a}, transB = {b}, alpha = 0.5, beta = 2.0}}"));
    } else {
        let batch = c.size(1, 3);
        t.line(format!("input %x: f32[{batch}, {m}, {k}]"));
        let own = c.yes();
        t.weight(c, "w", &if own { vec![batch, k, n] } else { vec![k, n] });
        t.line("%t = MatMul(%x, %w)".into());
    }
    t.tail(c);
    t.finish()
}

fn rows(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let rank = c.size(1, 4);
    let shape: Vec<usize> = (0..rank).map(|_| c.size(1, 11)).collect();
    t.line(format!("input %x: f32{shape:?}"));
    let axis = c.below(rank as u64);
    let reduce = [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
    ];
    match c.below(3) {
        0 => t.line(format!("%t = Softmax(%x) {{axis = {axis}}}")),
        1 => t.line(format!("%t = {}(%x) {{axes = [{axis}], keepdims = {}}}", c.pick(&reduce), c.below(2))),
        _ => {
            t.weight(c, "s", &shape[axis as usize..]);
            t.line(format!("%t = LayerNormalization(%x, %s) {{axis = {axis}}}"));
        }
    }
    t.tail(c);
    t.finish()
}

fn movement(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (a, b, d) = (c.size(1, 6), c.size(2, 7), c.size(2, 9));
    t.line(format!("input %x: f32[{a}, {b}, {d}]"));
    let perm = c.pick(&["[0, 2, 1]", "[2, 0, 1]", "[1, 0, 2]", "[2, 1, 0]", "[0, 1, 2]"]);
    t.line(format!("%p = Transpose(%x) {{perm = {perm}}}"));
    t.line(format!("const @flat: i64[2] = [{a}, -1]"));
    match c.below(3) {
        0 => t.line("%q = Reshape(%p, @flat)".into()),
        1 => t.line("%q = Neg(%p)".into()),
        _ => t.line("%q = Concat(%p, %p) {axis = 1}".into()),
    }
    t.line(format!("const @from: i64[1] = [{}]", c.below(2)));
    t.line("const @to: i64[1] = [100]".into());
    t.line("const @axis: i64[1] = [-1]".into());
    t.line(format!("const @step: i64[1] = [{}]", c.size(1, 2)));
    t.line("%t = Slice(%q, @from, @to, @axis, @step)".into());
    t.tail(c);
    t.finish()
}

/// Constants that a product packs and that others read through views: as they are, spread, turned, in part.
fn constants(c: &mut Choices) -> Outcome<Graph> {
    let mut t = Text::of(c);
    let (m, k, n, b) = (c.size(1, 9), c.size(1, 12), c.size(1, 20), c.size(2, 4));
    t.line(format!("input %x: f32[{m}, {k}]"));
    t.line(format!("input %z: f32[{b}, {k}, {n}]"));
    let values = (0..k * n).map(|_| c.below(2001) as f32 / 1000.0 - 1.0).collect();
    t.line(format!("input %w: f32[{k}, {n}]"));
    t.constants.push(("w".to_owned(), Tensor::from_vec::<f32>(&[k, n], values)));
    t.line(format!("const @wide: i64[3] = [{b}, {k}, {n}]"));
    t.line(format!("const @flat: i64[2] = [1, {}]", k * n));
    t.line("%p = MatMul(%x, %w)".into());
    t.line("%e = Expand(%w, @wide)".into());
    let view = match c.below(4) {
        0 => "%v = Identity(%e)",
        1 => "%r = Reshape(%w, @flat)\n  %s = ReduceMax(%r)\n  %v = Add(%e, %s)",
        2 => "%q = MatMul(%x, %e)\n  %s = ReduceMax(%q)\n  %v = Add(%e, %s)",
        _ => "%q = Transpose(%w) {perm = [1, 0]}\n  %s = ReduceMax(%q)\n  %v = Add(%e, %s)",
    };
    t.line(view.to_owned());
    t.line("%a = Add(%v, %z)".into());
    let rows = if c.yes() { "%g = ReduceMax(%p)" } else { "%g = ReduceMin(%p)" };
    t.line(rows.into());
    t.line("%t = Mul(%a, %g)".into());
    t.tail(c);
    t.finish()
}

/// Bounds of a batch that is open.
const BATCHES: (i64, i64) = (1, 60);

/// Graphs in most of which results lie over an operand.
const RESIDUALS: &str = "residuals";

/// Kinds whose first input has a batch, which may be open.
const OPEN: &[&str] = &[
    "convolution",
    "pool",
    "quantised_convolution",
    "recurrent",
    RESIDUALS,
    "sparse_layers",
    "sparse_product",
    "sparse_bytes",
];

type Kind = (&'static str, fn(&mut Choices) -> Outcome<Graph>);

const KINDS: &[Kind] = &[
    ("convolution", convolution),
    ("branches", branches),
    ("pool", pool),
    ("product", product),
    ("rows", rows),
    ("movement", movement),
    ("constants", constants),
    ("quantised_convolution", quantised::convolution),
    ("quantised_product", quantised::product),
    ("quantised_elements", quantised::elements),
    ("between_quantisers", qdq::layers),
    ("flow_nested", flow::nested),
    ("flow_scan", flow::scan),
    ("flow_growing", flow::growing),
    ("packed_product", packed::product),
    ("recurrent", recurrent::layer),
    (RESIDUALS, residuals::blocks),
    ("sparse_layers", sparse::layers),
    ("sparse_product", sparse::product),
    ("sparse_sequence", sparse::sequence),
    ("sparse_bytes", sparse::bytes),
];

/// Levels that this machine runs, with changes of their features: multiply-add is worth a level of its own, and f16 is
/// converted with and without instructions for it.
fn levels() -> Vec<(&'static str, &'static str)> {
    let here = kiln_targets::resolve("host", "native", "").map(|t| t.features).unwrap_or_default();
    let all = kiln_targets::list().into_iter().flat_map(|(_, levels)| levels.iter());
    let runs = |features: &[&str]| features.iter().all(|f| here.contains(f));
    let plain = all.filter(|l| runs(l.features)).map(|l| (l.name, ""));
    let fma = runs(&["avx", "fma"]).then_some(("avx", "+fma"));
    let bits = runs(&["avx2"]).then_some(("avx2", "-f16c"));
    plain.chain(fma).chain(bits).collect()
}

/// A graph, its inputs and what the interpreter makes of them.
fn case(make: fn(&mut Choices) -> Outcome<Graph>, seed: u64) -> Outcome<(Graph, Vec<Tensor>, Vec<Tensor>)> {
    let graph = make(&mut Choices { seed: seed.wrapping_mul(0x1000_0000_01B3), drawn: 0 })?;
    let mut inputs = models::inputs(&graph)?;
    for tensor in inputs.iter_mut().filter(|t| t.dtype.is_float()) {
        // Away from the poles of the tails.
        let values = tensor.to_f64s().map_err(text)?.iter().map(|v| v.clamp(-3.0, 3.0) as f32).collect();
        *tensor = as_type(&Tensor::from_vec::<f32>(&tensor.shape, values), tensor.dtype)?;
    }
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    Ok((graph, inputs, expected))
}

fn check(make: fn(&mut Choices) -> Outcome<Graph>, seed: u64, open: bool) -> Outcome<()> {
    let (mut graph, inputs, expected) = case(make, seed)?;
    if open {
        graph = opened(&graph).map_err(|e| format!("{e}\n{graph}"))?;
    }
    for (level, features) in levels() {
        let options = stages::options_with(level, features, 2)?;
        for opt in [0, 2] {
            let mut options = pipeline::Options { opt, ..options.clone() };
            if opt == 0 {
                // What follows from constants alone is computed by kernels.
                options.limits.fold_bytes = 0;
            }
            let at = |e: String| format!("{level}{features} --opt {opt}: {e}\n{graph}");
            let plan = pipeline::compile(graph.clone(), &options).map_err(|e| at(e.to_string()))?;
            let interpreted = stages::run_plan(&plan, &inputs).map_err(at)?;
            let found = stages::run_jit(&plan, &options, 1, &inputs).map_err(at)?;
            for (point, outputs) in [("plan interpreter", interpreted), ("JIT", found.clone())] {
                compare::close(&outputs, &expected, ACROSS_STAGES)
                    .map_err(|e| at(format!("{point}: {e}")))?;
            }
            let shared = stages::run_jit(&plan, &options, 2, &inputs).map_err(at)?;
            compare::same_bits(&shared, &found).map_err(|e| at(format!("two threads: {e}")))?;
        }
    }
    Ok(())
}

/// How many of so many graphs have results that lie over an operand.
fn with_results_over_operands(seeds: std::ops::Range<u64>, level: &str) -> Outcome<usize> {
    let options = stages::options(level, 2)?;
    let mut found = 0;
    for seed in seeds {
        let (graph, ..) = case(residuals::blocks, seed)?;
        let plan = pipeline::compile(graph, &options).map_err(text)?;
        found += usize::from(plan.slots.iter().any(|slot| slot.over.is_some()));
    }
    Ok(found)
}

/// A processor that starts instructions in the order of the text.
const IN_ORDER: &str = "cortex-a53";

/// A machine that is not this one.
#[derive(Clone, Copy, Debug)]
enum Emulated {
    /// A level or a processor.
    Aarch64(&'static str),
    Avx512,
}

impl Emulated {
    fn name(self) -> &'static str {
        match self {
            Self::Aarch64(cpu) => cpu,
            Self::Avx512 => "avx512",
        }
    }

    fn missing(self) -> Vec<&'static str> {
        match self {
            Self::Aarch64(_) => tools::missing_for_aarch64(),
            Self::Avx512 => bochs::missing(),
        }
    }

    fn options(self) -> Outcome<pipeline::Options> {
        match self {
            Self::Aarch64("neon") => stages::aarch64_options(),
            Self::Aarch64(cpu) => stages::aarch64_options_of(cpu),
            Self::Avx512 => stages::options("avx512", 2),
        }
    }

    fn run(self, folder: &Path, cases: &[Case], inputs: &[Vec<Tensor>]) -> Outcome<Vec<Vec<Tensor>>> {
        match self {
            Self::Aarch64("neon" | IN_ORDER) => driver::run(driver::AARCH64, folder, cases, inputs),
            Self::Aarch64(_) => driver::run(driver::AARCH64_MAX, folder, cases, inputs),
            Self::Avx512 => bochs::run(folder, cases, inputs),
        }
    }
}

fn check_emulated(
    make: fn(&mut Choices) -> Outcome<Graph>,
    seeds: std::ops::Range<u64>,
    machine: Emulated,
) -> Outcome<()> {
    let folder = tempfile::tempdir().map_err(text)?;
    let (mut cases, mut inputs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for seed in seeds {
        for opt in [0, 2] {
            let (graph, given, wanted) = case(make, seed)?;
            let options = pipeline::Options { opt, ..machine.options()? };
            let at = |e: String| format!("seed {seed} --opt {opt}: {e}\n{graph}");
            let name = format!("seed_{seed}_opt_{opt}");
            let plan = pipeline::compile(graph.clone(), &options).map_err(|e| at(e.to_string()))?;
            cases.push(Case::new(&name, &plan));
            stages::write_library(folder.path(), &name, plan, &options).map_err(at)?;
            inputs.push(given);
            expected.push((graph, wanted));
        }
    }
    let found = machine.run(folder.path(), &cases, &inputs)?;
    for ((case, found), (graph, wanted)) in cases.iter().zip(found).zip(expected) {
        compare::close(&found, &wanted, ACROSS_STAGES).map_err(|e| format!("{}: {e}\n{graph}", case.name))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    assert!(!stages::levels().is_empty(), "this machine has no known level");
    let (cases, start) = (number("KILN_CASES", 40), number("KILN_SEED", 0));
    let trial = |&(name, make): &Kind, open: bool| {
        let name = if open { format!("{name}::open") } else { name.to_owned() };
        Trial::test(name, move || {
            // Every failing seed, not the first.
            let failed: Vec<String> = (start..start + cases)
                .filter_map(|s| check(make, s, open).err().map(|e| format!("seed {s}: {e}")))
                .collect();
            if failed.is_empty() {
                return Ok(());
            }
            Err(format!("{} of {cases} fail:\n{}", failed.len(), failed.join("\n")).into())
        })
    };
    let open = KINDS.iter().filter(|(name, _)| OPEN.contains(name)).map(|kind| trial(kind, true));
    let mut trials: Vec<Trial> = KINDS.iter().map(|kind| trial(kind, false)).chain(open).collect();
    trials.push(Trial::test("residuals::lie_over_operands", move || {
        for level in stages::levels() {
            let found = with_results_over_operands(start..start + cases, level)?;
            if (found as u64) < cases / 2 {
                return Err(format!("{level}: {found} of {cases}").into());
            }
        }
        Ok(())
    }));
    let cases = number("KILN_EMULATED_CASES", 12);
    let aarch64 = ["neon", IN_ORDER, "dotprod", "i8mm"].map(Emulated::Aarch64);
    for machine in aarch64.into_iter().chain([Emulated::Avx512]) {
        let skip = !machine.missing().is_empty() && !tools::on_ci();
        let of_bytes = matches!(machine, Emulated::Aarch64("dotprod" | "i8mm"));
        // The same code in another order.
        let cases = if machine.name() == IN_ORDER { cases.div_ceil(4) } else { cases };
        // Elsewhere the levels of AArch64 are the same code.
        let differs = |name: &str| ["quantis", "bytes", "packed"].iter().any(|part| name.contains(part));
        // The image that Bochs boots reads results of a size that is known.
        let counts = |name: &str| machine.name() == "avx512" && name == "flow_growing";
        let kinds = KINDS.iter().filter(|(name, _)| (!of_bytes || differs(name)) && !counts(name));
        trials.extend(kinds.map(|&(name, make)| {
            let name = format!("{name}::{}", machine.name());
            let check = move || Ok(check_emulated(make, start..start + cases, machine)?);
            Trial::test(name, check).with_ignored_flag(skip)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
