//! Contractions whose weights are kept in blocks ([`Sparse`]): tiles of pixels, and what they cost.

use kiln_ir::format::bcsr::{Bcsr, Block};
use kiln_ir::kernel::plan::{CHAINS, FlatAccess, Schedule, Sparse};
use kiln_ir::kernel::{Form, Loop, LoopId, Role};
use kiln_ir::{DType, Dim};
use kiln_targets::Target;
use kiln_targets::vector_expr;

use super::chosen::Chosen;
use super::strides::{by_falling_stride, even_part, extent_of, is_open, stride_of, vector_access};
use crate::flatten::{FlatKernel, cut_loop, loops_of};

/// Multiply-adds and loads that a core starts in a cycle.
const STARTED: f64 = 2.0;
/// Cycles from a multiply-add to the next one on the same accumulator.
const LATENCY: f64 = 4.0;
/// Cycles that finding the pixels of a column takes beside all else.
const STEP: f64 = 1.0;
/// Cycles that a row of blocks takes to begin and to end, for each vector of results and by itself.
const ROW: [f64; 2] = [2.0, 12.0];
/// Cycles of an element that is brought into its lane by its index, with its product.
const GATHERED: f64 = 0.8;
/// Cycles of a slice, whose elements are picked among those of two registers (Zen 5: 2.0; Zen 4 loads half as much at a time).
const SLICE: f64 = 3.0;
/// Blocks of one element that are lanes together, whatever the machine's vectors hold: the last ones of a row are zeros.
pub const GROUP: usize = 16;
/// Bytes of depth that are multiplied at a time.
const FOUR: i64 = 4;
/// Instructions that take four bytes of each lane apart into words, and such that multiply and add these; how many of them a
/// core starts in a cycle.
const TAKEN_APART: f64 = 5.0;
const IN_WORDS: f64 = 4.0;
const WORDS_STARTED: f64 = 2.5;
/// Registers that words need beside accumulators and pixels.
const WORDS: i64 = 5;
/// Vectors of a row at a time at most.
const MOST_VECTORS: i64 = 12;

/// The loops of a contraction over pixels that lie side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Parallel loops that rhs does not move along, but `col`; outermost first.
    pub outer: Vec<LoopId>,
    /// The pixels; without them rows are lanes.
    pub col: Option<LoopId>,
    /// The rows of the weights.
    pub row: LoopId,
    /// The columns of the weights, as lhs lies in memory.
    pub depth: Vec<LoopId>,
}

/// Sorts the loops by role.
pub fn roles(kernel: &FlatKernel) -> Result<Roles, String> {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err("no contraction".to_owned());
    };
    let bytes = is_bytes(*acc, lhs, rhs);
    if !bytes && (*acc != DType::F32 || lhs.dtype != DType::F32 || rhs.dtype.accumulator() != DType::F32) {
        return Err(format!("factors are {} and {}", lhs.dtype, rhs.dtype));
    }
    kernel.form.loads().into_iter().chain([&store.to]).try_for_each(vector_access)?;
    if vector_expr::epilogue(&store.value, *acc)? != store.to.dtype {
        return Err(format!("the result is stored as {}", store.to.dtype));
    }
    let zero = |a: &FlatAccess, l: LoopId| stride_of(a, l) == Some(0);
    let parallel = loops_of(&kernel.loops, Role::Parallel);
    let rows: Vec<LoopId> = parallel.iter().copied().filter(|l| !zero(rhs, *l)).collect();
    let [row] = rows[..] else { return Err(format!("{} loops of rows of weights", rows.len())) };
    if !zero(lhs, row) {
        return Err("rows have pixels of their own".to_owned());
    }
    let pixel = if bytes { FOUR } else { 1 };
    let is_col = |l: &LoopId| {
        let mut lanes = *l != row
            && !is_open(kernel, *l)
            && stride_of(lhs, *l) == Some(pixel)
            && stride_of(&store.to, *l) == Some(1);
        store.value.for_each_access(&mut |a| lanes &= matches!(stride_of(a, *l), Some(0 | 1)));
        lanes
    };
    let col = parallel.iter().copied().filter(is_col).max_by_key(|l| extent_of(kernel, *l));
    if col.is_none() && bytes {
        return Err("pixels of four bytes do not lie side by side".to_owned());
    }
    if col.is_none() {
        let mut lanes = stride_of(&store.to, row) == Some(1);
        store.value.for_each_access(&mut |a| lanes &= matches!(stride_of(a, row), Some(0 | 1)));
        if !lanes {
            return Err("neither pixels nor rows lie side by side in what is read and written".to_owned());
        }
    }
    let others: Vec<LoopId> = parallel.into_iter().filter(|l| Some(*l) != col && *l != row).collect();
    // A batch may be open: it goes around all that is done at once.
    let inside = |l: &LoopId| !others.contains(l);
    if (0..kernel.loops.len() as u16).map(LoopId).any(|l| inside(&l) && is_open(kernel, l)) {
        return Err("an extent is open".to_owned());
    }
    Ok(Roles {
        outer: by_falling_stride(others, Some(&store.to)),
        col,
        row,
        depth: by_falling_stride(loops_of(&kernel.loops, Role::Reduce), Some(lhs)),
    })
}

/// Whether the products are of unsigned bytes and signed ones.
fn is_bytes(acc: DType, lhs: &FlatAccess, rhs: &FlatAccess) -> bool {
    (acc, lhs.dtype, rhs.dtype) == (DType::I32, DType::U8, DType::I8)
}

/// The kernel with the loop cut by whose steps the columns of a block lie beside each other, and its roles; the columns of a
/// block are the innermost loop. Of bytes these are what lies together in lhs, of floats the channels: the outermost loop.
pub fn cut(kernel: &FlatKernel, block: Block) -> Result<(FlatKernel, Roles), String> {
    let roles_of = roles(kernel)?;
    if block.cols == 1 {
        return Ok((kernel.clone(), roles_of));
    }
    let Form::Contract { acc, lhs, rhs, .. } = &kernel.form else { return Err("no contraction".to_owned()) };
    let bytes = is_bytes(*acc, lhs, rhs);
    let (width, mut depth) = (i64::from(block.cols), roles_of.depth.iter());
    let l = if bytes { depth.next_back() } else { depth.next() };
    let l = *l.ok_or_else(|| "factors without depth".to_owned())?;
    let extent = extent_of(kernel, l).unwrap_or(1);
    if extent % width != 0 || bytes && stride_of(lhs, l) != Some(1) {
        return Err(format!("'{}' has no columns side by side, {width} at a time", rhs.name));
    }
    let mut kernel = kernel.clone();
    let inner = LoopId(kernel.loops.len() as u16);
    let name = format!("{}b", kernel.loops[l.0 as usize].name);
    let part = Loop { name, extent: Dim::Const(width), role: Role::Reduce };
    cut_loop(&mut kernel, l, extent / width, width, vec![(part, 1)]);
    let mut roles = roles(&kernel)?;
    roles.depth.retain(|l| *l != inner);
    roles.depth.push(inner);
    Ok((kernel, roles))
}

/// A tile of pixels: lines, and vectors of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Lines of an image.
    pub lines: i64,
    /// Vectors of a line.
    pub vectors: i64,
}

/// A product of weights in blocks with an image.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Lines of pixels; those that lie behind each other are one.
    pub lines: i64,
    /// Pixels of a line.
    pub pixels: i64,
    /// Rows of weights.
    pub rows: i64,
    /// Blocks that are kept.
    pub blocks: usize,
    /// Their shape.
    pub block: Block,
    /// Of bytes, four steps of depth at a time.
    pub bytes: bool,
}

impl Product {
    /// Cycles of an image.
    pub fn cycles(&self, target: &Target) -> f64 {
        self.tiles(target).first().map_or(f64::INFINITY, |best| best.0)
    }

    /// Whether bytes become words before they are multiplied.
    fn is_in_words(&self, target: &Target) -> bool {
        self.bytes && !target.dot4
    }

    /// Cycles that a block takes with so many vectors of pixels, which may be all of a tile.
    fn step(&self, vectors: i64, alone: bool, target: &Target) -> f64 {
        let (h, v) = (f64::from(self.block.rows), vectors as f64);
        if self.is_in_words(target) {
            // Pixels are taken apart and so are values; two products and two sums of each.
            return (TAKEN_APART * (v + 2.0 * h) + IN_WORDS * h * v) / WORDS_STARTED + STEP;
        }
        // Columns of bytes are one step.
        let columns = if self.bytes { 1.0 } else { f64::from(self.block.cols) };
        let (multiply, load) = match self.block.rows {
            // Pixels are operands in memory.
            1 => (v / STARTED, (v + 1.0) / STARTED),
            _ => (h * v / STARTED, (h + v) / STARTED),
        };
        // Without multiply-adds a product and a sum.
        let multiply = if target.fma { multiply } else { 2.0 * multiply };
        // See `Sparse::chains`.
        let chains = if alone && self.block == Block::new(1, 1) { CHAINS as f64 } else { 1.0 };
        columns * multiply.max(load).max(LATENCY / chains) + STEP / 2.0
    }

    /// Cycles in tiles of such a size.
    fn in_tiles(&self, tile: Pixels, target: &Target) -> f64 {
        let lanes = target.lanes() as i64;
        let vectors = (self.pixels + lanes - 1) / lanes;
        let cut = |n: i64, by: i64| [(n / by, by), (i64::from(n % by > 0), n % by)];
        let height = i64::from(self.block.rows);
        let block_rows = ((self.rows + height - 1) / height) as f64;
        let mut all = 0.0;
        for (tiles, v) in cut(vectors, tile.vectors) {
            for (times, n) in cut(self.lines, tile.lines) {
                let vectors = v * n;
                if tiles * times > 0 {
                    let row = ROW[1] + ROW[0] * (height * vectors) as f64 / STARTED;
                    let alone = tile.vectors * tile.lines == 1;
                    let here = self.blocks as f64 * self.step(vectors, alone, target) + block_rows * row;
                    all += (tiles * times) as f64 * here;
                }
            }
        }
        all
    }

    /// The sizes of tiles, each with its cycles, the best first.
    fn tiles(&self, target: &Target) -> Vec<(f64, Pixels)> {
        let (lanes, height) = (target.lanes() as i64, i64::from(self.block.rows));
        let line = ((self.pixels + lanes - 1) / lanes).max(1);
        let registers = target.vector_registers as i64 - if target.fma { 1 } else { 2 };
        let most = match (height, self.is_in_words(target)) {
            (1, false) => registers.min(MOST_VECTORS),
            (1, true) => (registers - WORDS).min(MOST_VECTORS),
            (_, false) => registers / (height + 1),
            (_, true) => (registers - WORDS) / (height + 2),
        };
        let mut all = Vec::new();
        for vectors in 1..=most.max(1).min(line) {
            let even = even_part(line, vectors);
            let high = if even == line { (most / line).max(1) } else { 1 };
            for n in 1..=high.min(self.lines.max(1)) {
                let tile = Pixels { lines: even_part(self.lines.max(1), n), vectors: even };
                if !all.iter().any(|(_, known)| *known == tile) {
                    all.push((self.in_tiles(tile, target), tile));
                }
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }
}

/// Cycles of a product of `results` single columns, whose lanes are the rows of blocks, or blocks of one element.
pub fn single(results: i64, blocks: usize, block: Block, target: &Target) -> f64 {
    if block == Block::new(1, 1) {
        return results as f64 * blocks as f64 * GATHERED;
    }
    if block.is_slice() {
        let picks = target.picks == usize::from(block.window);
        return if picks { results as f64 * blocks as f64 * SLICE } else { f64::INFINITY };
    }
    let vectors = (i64::from(block.rows) + target.lanes() as i64 - 1) / target.lanes() as i64;
    let step = STEP + vectors as f64 * if target.fma { 1.0 } else { 1.5 };
    results as f64 * blocks as f64 * step
}

/// The schedules of a contraction whose weights are in blocks, the best first.
pub fn choose(
    kernel: &FlatKernel,
    roles: &Roles,
    weights: &Bcsr,
    why: &str,
    target: &Target,
) -> Result<Vec<Chosen>, String> {
    let extent = |l: LoopId| extent_of(kernel, l).ok_or_else(|| "an extent has no bounds".to_owned());
    let mut outer = roles.outer.clone();
    let Some(col) = roles.col else {
        if weights.block.cols != 1 {
            return Err(format!("blocks of {} without pixels side by side", weights.block));
        }
        let (row, depth, weights) = (roles.row, roles.depth.clone(), weights.clone());
        let sparse = Sparse { outer, down: None, col: None, vectors: 1, row, depth, weights };
        return Ok(vec![Chosen { schedule: Schedule::Sparse(sparse), why: why.to_owned() }]);
    };
    let down = outer.pop_if(|l| !is_open(kernel, *l));
    let lines = down.map_or(Ok(1), extent)?;
    let pixels = extent(col)?;
    let &Bcsr { rows, blocks, block, value_bytes, .. } = weights;
    let product = Product { lines, pixels, rows: rows as i64, blocks, block, bytes: value_bytes == 1 };
    let sizes = product.tiles(target);
    let of = |(_, tile): (f64, Pixels)| {
        let mut outer = outer.clone();
        let lines = down.filter(|_| tile.lines > 1);
        outer.extend(down.filter(|_| tile.lines <= 1));
        let sparse = Sparse {
            outer,
            down: lines.map(|l| (l, tile.lines as u32)),
            col: Some(col),
            vectors: tile.vectors as u32,
            row: roles.row,
            depth: roles.depth.clone(),
            weights: weights.clone(),
        };
        Chosen { schedule: Schedule::Sparse(sparse), why: why.to_owned() }
    };
    Ok(sizes.into_iter().map(of).collect())
}
