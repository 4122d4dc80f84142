//! What a layer costs with its channels innermost, densely, and outermost, in blocks: cycles.

use kiln_ir::DType;
use kiln_ir::format::bcsr::Block;
use kiln_ir::kernel::{Form, Kernel, Program, Role, WindowOp};
use kiln_targets::Target;

use super::super::winograd;
use super::layer::{Kind, Layer};
use super::phases;
use crate::schedule::sparse::{self, Product};

/// Vector multiply-adds of dense tiles in a cycle.
const DENSE: f64 = 1.8;
/// Bytes per cycle of weights that do not fit the second-level cache, and of those that do not fit the third one either.
const WARM_BYTES: f64 = 24.0;
const COLD_BYTES: f64 = 8.0;
/// What a third-level cache holds of a layer's weights, those of others beside it.
const WARM: usize = 8 << 20;
/// Cycles of an element that is copied to its phase, and of a byte that is laid beside those of three other channels.
const COPY: f64 = 0.5;
const BESIDE: f64 = 0.15;
/// How much faster bytes are multiplied than floats where they become words, and where their products are added in pairs.
const WORDS: f64 = 1.55;
const PAIRS: f64 = 2.05;
/// Vectors of bytes that lie apart take so much longer to load than those that lie side by side.
const ONE_BY_ONE: f64 = 20.0;
/// Vectors of a window in a cycle.
const WINDOW: f64 = 1.5;
/// See [`beside_filtering`].
const FILTERED: f64 = 2.2;

/// What was found out of a layer.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    /// The blocks that are best for all machines.
    pub(super) block: Block,
    pub(super) blocks: usize,
    /// Whether rows become lanes by copies.
    pub(super) turned: bool,
    /// By machine: densely, in blocks.
    pub(super) cycles: Vec<[f64; 2]>,
}

impl Weighed {
    /// For `explain`.
    pub(super) fn why(&self, layer: &Layer) -> String {
        let mean = |which: usize| {
            let all: f64 = self.cycles.iter().map(|c| c[which]).sum();
            all / self.cycles.len().max(1) as f64 / 1000.0
        };
        format!(
            "{:.1} % zeros; {} blocks of {} take {:.0} thousand cycles, dense {:.0}",
            100.0 * layer.zeros_part(),
            self.blocks,
            self.block,
            mean(1),
            mean(0)
        )
    }
}

/// The best blocks of a layer, and its cycles.
pub(super) fn weigh(
    program: &Program,
    kernel: &Kernel,
    layer: &Layer,
    targets: &[Target],
) -> Option<Weighed> {
    let [lines, pixels] = if layer.merged { [1, layer.size[0] * layer.size[1]] } else { layer.size };
    let apart = match (layer.is_taken_apart(), layer.step[1]) {
        (false, _) => 0.0,
        (true, 1) => BESIDE * phases::elements(layer) as f64,
        (true, _) => COPY * phases::elements(layer) as f64,
    };
    let beside: Vec<[f64; 2]> = targets
        .iter()
        .map(|target| [dense(program, kernel, layer, target), beside_filtering(program, kernel, target)])
        .collect();
    let of = |(block, turned): (Block, bool)| {
        let blocks = layer.blocks(block)?;
        let index = if block.is_slice() { 1 + usize::from(block.rows) } else { 2 };
        let bytes = blocks * (index + block.values() * if layer.bytes { 1 } else { 4 });
        let rows = layer.outputs;
        let product = Product { lines, pixels, rows, blocks, block, bytes: layer.bytes };
        let cycles = targets.iter().zip(&beside).map(|(target, [dense, filtering])| {
            let cycles = match layer.kind {
                Kind::Single if turned => {
                    let copied = layer.images * (layer.channels + layer.outputs);
                    Product { pixels: layer.images, ..product }.cycles(target) + COPY * copied as f64
                }
                Kind::Single => sparse::single(layer.images, blocks, block, target),
                _ => layer.images as f64 * product.cycles(target),
            };
            [*dense, (cycles * filtering).max(cold(bytes, target)) + apart]
        });
        Some(Weighed { block, blocks, turned, cycles: cycles.collect() })
    };
    let loss =
        |w: &Weighed| w.cycles.iter().map(|[dense, sparse]| (sparse / dense.max(1.0)).ln()).sum::<f64>();
    let may = |b: &Block| {
        let single = layer.kind == Kind::Single;
        let wide = if layer.bytes { b.cols > 1 } else { b.cols == 1 || !single };
        wide && (single || !b.is_slice()) && i64::from(b.rows) <= layer.outputs.max(1)
    };
    let ways = |block: Block| [false, true].map(|turned| (block, turned));
    let ways = Block::ALL.into_iter().filter(may).flat_map(ways);
    let may_turn = |block: Block| layer.turns.is_some() && !block.is_slice();
    let all = ways.filter(|(block, turned)| !turned || may_turn(*block)).filter_map(of);
    all.min_by(|a, b| loss(a).total_cmp(&loss(b)))
}

/// What a window in blocks takes of what is said here, beside a dense one by minimal filtering: with 16 registers, resnet50's
/// windows of 3 x 3 at 50 % zeros took 1.5 to 2.9 times as long as dense where 1.0 to 1.5 is said (AVX2, Zen 4, November 2026).
fn beside_filtering(program: &Program, kernel: &Kernel, target: &Target) -> f64 {
    let filtered = target.vector_registers < 32 && winograd::part(program, kernel, target) < 1.0;
    if filtered { FILTERED } else { 1.0 }
}

/// Cycles to read weights that come from the third-level cache or from memory.
fn cold(bytes: usize, target: &Target) -> f64 {
    match bytes {
        _ if bytes <= target.l2_bytes => 0.0,
        _ if bytes <= WARM => bytes as f64 / WARM_BYTES,
        _ => bytes as f64 / COLD_BYTES,
    }
}

/// Cycles of dense tiles, or of minimal filtering where that is faster.
fn dense(program: &Program, kernel: &Kernel, layer: &Layer, target: &Target) -> f64 {
    let lanes = target.lanes() as i64;
    let vectors = (layer.outputs + lanes - 1) / lanes;
    let results = layer.images * layer.size[0] * layer.size[1];
    let started = if target.fma { DENSE } else { DENSE / 2.0 };
    let (at_once, size) = match (layer.bytes, target.dot4, target.adds_products_of_bytes) {
        (false, ..) => (1.0, 4),
        (true, true, _) => (4.0, 1),
        (true, false, true) => (PAIRS, 1),
        (true, false, false) => (WORDS, 1),
    };
    let products = (results * vectors) as f64 * layer.columns() as f64 / started / at_once;
    let bytes = layer.outputs as usize * layer.columns() * size;
    let direct = products.max(cold(bytes, target));
    direct * winograd::part(program, kernel, target)
}

/// Cycles of a kernel that is no layer with its channels innermost and outermost, by machine; `None` where it cannot have
/// them outermost.
pub(super) fn window(program: &Program, kernel: &Kernel, targets: &[Target]) -> Option<Vec<[f64; 2]>> {
    let Form::Window { op, input, store, .. } = &kernel.form else {
        return Some(vec![[0.0; 2]; targets.len()]);
    };
    let row = store.to.index.last()?.affine()?.as_loop()?;
    let read = input.index.last()?.affine()?;
    let step = read.coefficient(row).as_const()?;
    let slides = kernel.loops_of(Role::Reduce).iter().any(|l| !read.coefficient(*l).is(0));
    let bytes = matches!(program.buffer(input.buffer).ty.dtype, DType::U8 | DType::I8);
    let each = match step {
        1 => 1.0,
        2 if bytes => ONE_BY_ONE,
        2 => 2.0,
        _ => return None,
    };
    // The greatest of bytes are found of whole vectors of them.
    let whole = bytes && *op == WindowOp::Max;
    let all = kernel.iterations().typical(&program.bounds)? as f64;
    let extent = kernel.loop_(row).extent.as_const()?;
    let of = |target: &Target| {
        let lanes = target.lanes() as i64;
        let rows = all / extent.max(1) as f64 * ((extent + lanes - 1) / lanes) as f64 * each;
        let innermost = if whole { target.vector_bytes as f64 } else { lanes as f64 };
        [all / innermost / WINDOW, rows / WINDOW]
    };
    (slides && input.index.len() == 4).then(|| targets.iter().map(of).collect())
}
