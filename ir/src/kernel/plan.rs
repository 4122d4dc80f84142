//! The plan: forms, schedules and offsets; what code generation obeys.
//!
//! Accesses are flat: a storage, an offset and one stride per loop. Loops that are contiguous in every access
//! have been merged. Code generation decides nothing: everything that depends on a target is in here.

use std::sync::Arc;

use super::access::LoopId;
use super::form::{Form, Loop};
use super::outside::Outside;
use super::regions::{self, Region, RegionId, Step};
use super::scalar::Scalar;
use crate::dim::{Bounds, Dim};
use crate::format::bcsr::{Bcsr, Block, Index};
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// Memory that an access starts from. Offsets are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// The caller's argument of that position.
    Input(usize),
    /// The caller's result of that position.
    Output(usize),
    /// The read-only data.
    Weights {
        /// From its start.
        offset_bytes: usize,
    },
    /// The arena.
    Arena {
        /// From its start.
        offset_bytes: usize,
    },
}

/// An element per iteration: element `offset + sum(strides[l] * l)` behind the storage.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatAccess {
    /// Name of the buffer, for text forms.
    pub name: String,
    /// Where element 0 is.
    pub storage: Storage,
    /// Element type.
    pub dtype: DType,
    /// In elements.
    pub offset: Dim,
    /// In elements, one per loop of the kernel, zero where the loop does not take part.
    pub strides: Vec<Dim>,
    /// Further offsets read from integer tensors.
    pub gathers: Vec<Gather>,
    /// For loads with padding: all must hold, else the value is `otherwise`.
    pub guards: Vec<Guard>,
    /// The value outside; present exactly when there are guards.
    pub otherwise: Option<Scalar>,
}

/// Entries of a table that a byte is an index of.
const TABLE: i64 = 256;

impl FlatAccess {
    /// The index, where this is an entry of a table of 256 bytes by a byte: every one is inside, negative ones from the end.
    pub fn table_index(&self) -> Option<&Self> {
        let [gather] = &self.gathers[..] else { return None };
        let still = self.strides.iter().all(|s| s.is(0)) && self.guards.is_empty();
        let whole = gather.extent.is(TABLE) && gather.stride.is(1);
        let bytes = self.dtype.size() == 1 && matches!(gather.index.dtype, DType::U8 | DType::I8);
        let plain = gather.index.gathers.is_empty() && gather.index.guards.is_empty();
        (still && whole && bytes && plain).then_some(&*gather.index)
    }
}

/// `offset += stride * wrap(index)` with an index read at run time. Where the index is outside its axis nothing is
/// read or written: a load gives 0, and the run ends with a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// Where the index is read; an i32 or i64, or a byte.
    pub index: Box<FlatAccess>,
    /// Extent of the gathered axis: negative indices wrap by it once.
    pub extent: Dim,
    /// In elements.
    pub stride: Dim,
    /// Every index is a constant inside the axis, none of them negative.
    pub known: bool,
}

/// `0 <= offset + sum(coefficients[l] * l) < extent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The constant part.
    pub offset: Dim,
    /// One per loop of the kernel.
    pub coefficients: Vec<Dim>,
    /// Exclusive upper end.
    pub extent: Dim,
}

/// How a kernel's loops are run.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Plain loops over single elements, any type: always possible.
    Scalar {
        /// All loops, outermost first, parallel ones before reduced ones.
        order: Vec<LoopId>,
    },
    /// Vectors along one loop.
    Nest(Nest),
    /// Register tiles of a contraction.
    Tile(Tile),
    /// Dot products of a contraction: lanes are steps of depth.
    Dots(Dots),
    /// A row times a matrix that comes from memory.
    Stream(Stream),
    /// Numbers in digits times weights of four bits.
    Digits(Digits),
    /// Weights of which most are zeros.
    Sparse(Sparse),
    /// Copies in square blocks through registers.
    Transpose(Transpose),
    /// Vectors of tiles that are transformed.
    Transform(Transform),
}

/// A [`Form::Transform`]: whole tiles, vectors along one loop. The loops of the tiles are unrolled.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// The remaining parallel loops, outermost first.
    pub outer: Vec<LoopId>,
    /// The loop whose iterations are lanes: stride 1 in what is read and written, 0 or 1 in epilogue loads.
    /// Without one elements are handled one by one.
    pub lane: Option<LoopId>,
}

/// A [`Form::Rearrange`] whose source is contiguous in one loop and whose destination is contiguous in another: blocks
/// are turned in registers, in all quarters of 128 bits at once, cache lines of both sides at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// The remaining loops, outermost first.
    pub outer: Vec<LoopId>,
    /// The loop in which the source has stride 1.
    pub read: LoopId,
    /// The loop in which the destination has stride 1.
    pub write: LoopId,
}

impl Transpose {
    /// Bytes that are read of a row before the next: each row is in a page of its own as a rule, and lines that follow
    /// each other come ahead of their use.
    pub const RUN: usize = 256;
}

/// Vectors along one loop, with a row of accumulators along another. Elements are of any type; a vector has as many of
/// them as of the widest type in the kernel, at least 32 bits, and of copies as many as fit.
///
/// Guards are decided at compile time: loops are split where a guard changes, iterations at the border that
/// depend on a further loop get code of their own (nine variants of the body for a 3 x 3 window with padding).
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// All loops but `vector`, outermost first; parallel ones before reduced ones. A parallel `vector` runs
    /// inside the parallel ones and around the reduced ones; a reduced `vector` runs innermost.
    pub order: Vec<LoopId>,
    /// The loop whose iterations are lanes. In stores its stride is 1, in loads best 0 or 1: others are put together
    /// element by element, in windows of elements of 32 bits. No index read at run time depends on it. When it is a
    /// reduced loop, stores have stride 0 in it and lanes are combined at the end.
    pub vector: LoopId,
    /// Vectors handled at once along `vector`.
    pub vectors: u32,
    /// A parallel loop whose iterations are unrolled into separate accumulators, and by how many.
    pub tile: Option<(LoopId, u32)>,
    /// Reduced loops that are fully unrolled: the last ones of `order`.
    pub unrolled: Vec<LoopId>,
    /// Of windows: inputs along the last unrolled loop are loaded once and used by every iteration of `tile`. Needs
    /// a register per accumulator, one per iteration of that loop for weights, and one for the input.
    pub columns: bool,
    /// Of windows of unsigned bytes and signed weights that slide along the loop of `tile`, with all reduced loops unrolled and
    /// without padding: four columns of the input lie in a lane and are multiplied at once. The loop of `tile`, the last
    /// parallel one, then runs inside that of `vector`, whose extent is a multiple of four.
    ///
    /// Of maps: the four iterations of `tile`, the last parallel loop, make bytes or words that lie side by side.
    /// Those of an iteration of `vector`, which stores step through by four, are put together and written as a lane or two.
    ///
    /// Of copies: the two or four iterations of `tile`, the last loop of `order`, write the same element of 32 bits side by side.
    pub quads: bool,
}

/// Register tiles of `mr` rows by `nr` columns; the sum over `depth` stays in registers.
///
/// ```text
///            depth ->            nr columns (a panel)
///          +-----------+          +--------+
/// mr rows  | lhs       |   depth  | rhs    |   -> mr x nr accumulators -> epilogue -> store
///          +-----------+          +--------+
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Batch loops and rows' outer loops, outermost first.
    pub outer: Vec<LoopId>,
    /// The parallel loop of the rows; `None` for a single row.
    pub row: Option<LoopId>,
    /// The parallel loop of the columns: stride 1 in rhs (but see `panel_stride`) and store; 0 or 1 in epilogue loads; 0 in lhs.
    pub col: LoopId,
    /// The reduced loops, outermost first.
    pub depth: Vec<LoopId>,
    /// Rows of a tile.
    pub mr: u32,
    /// Columns of a tile: a multiple of the target's lanes.
    pub nr: u32,
    /// Of bytes and words, which are multiplied several at a time: the two reduced loops of two iterations each through the
    /// four that lie side by side in lhs, with strides 1 and 2 there. `depth` goes around them.
    pub quad: Option<[LoopId; 2]>,
    /// Of bytes in eights: the reduced loop of two iterations through the fours of each, with stride 4 in lhs and rhs.
    pub eight: Option<LoopId>,
    /// Of bytes in fours: behind the steps of the innermost depth loop lie their bounds, as
    /// [`Steps::Watched`](crate::format::packed::Steps) says, for sums of products in 16 bits.
    pub watched: bool,
    /// Columns of a panel of rhs: `nr`, or a width that several machines share.
    pub panel: u32,
    /// Elements from one panel to the next in rhs: `depth * panel` when packed, and bounds, `panel` when not. A multiple of
    /// `panel`. The stride of `col` within a panel is 1, also of crossed bytes, or 8, 4 or 2 of elements whose steps of
    /// depth lie together as [`Steps`](crate::format::packed::Steps) says.
    pub panel_stride: i64,
    /// Whether rhs is padded to whole panels (weights packed at compile time). Those of 16 bits are finite then.
    pub rhs_padded: bool,
    /// Steps of the innermost depth loop unrolled.
    pub unroll: u32,
    /// All steps of all depth loops are straight-line code, whatever `unroll` says.
    pub straight: bool,
    /// Lhs is read four steps of the innermost depth loop at a time, a vector per row, and multiplied lane by lane:
    /// vectors of four lanes, and stride 1 in that loop. Otherwise each element is brought into all lanes.
    pub by_lane: bool,
    /// Whether the loop over panels is around `outer` (weights are read once) or inside it.
    pub panels_outermost: bool,
    /// Cache lines of the next tile's panels that every unrolled run of depth steps asks for, while these are used; 0:
    /// panels are near already.
    pub prefetch: u32,
}

impl Tile {
    /// Columns of a step of the loop over panels, which is of whole tiles and of whole panels: the least common
    /// multiple of `nr` and `panel`, neither of which may be 0.
    pub fn columns(&self) -> u32 {
        let (mut a, mut b) = (self.nr, self.panel);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        self.nr / a.max(1) * self.panel
    }
}

/// Tiles of `row x col` dot products, each summed in vectors along the depth, whose lanes are added at the end. For few
/// columns, which would fill no vector, and for matrices that lie with their depth innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Dots {
    /// The remaining parallel loops, outermost first.
    pub outer: Vec<LoopId>,
    /// A parallel loop that rhs does not move along, and how many of its iterations are done at once.
    pub row: Option<(LoopId, u32)>,
    /// A parallel loop that lhs does not move along, and how many of its iterations are done at once.
    pub col: Option<(LoopId, u32)>,
    /// The remaining reduced loops, outermost first.
    pub depth: Vec<LoopId>,
    /// The reduced loop whose iterations are lanes: stride 1 in lhs and rhs.
    pub lane: LoopId,
    /// Vectors along `lane` with accumulators of their own, for each product.
    pub vectors: u32,
}

/// A contraction with a single row whose rhs is read once, as it lies: `rows` of its rows at a time, from front to back, are
/// added to the sums, which stay in the result until the epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The remaining parallel loops, outermost first.
    pub outer: Vec<LoopId>,
    /// The parallel loop of the columns: stride 1 in rhs and store; 0 or 1 in epilogue loads; 0 in lhs. The epilogue reads
    /// nothing of what the store's storage holds.
    pub col: LoopId,
    /// Columns whose sums stay in the first-level cache while the depth passes.
    pub width: u32,
    /// The reduced loops, outermost first.
    pub depth: Vec<LoopId>,
    /// Steps of the innermost depth loop at once.
    pub rows: u32,
}

/// A sum of [`digits::DigitSum`](super::digits::DigitSum): within a block sums are of integers, of four bytes of 16 columns at
/// a time, one for each digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// The remaining parallel loops, outermost first; the weights do not move along them.
    pub outer: Vec<LoopId>,
    /// The parallel loop of the panels, around all others.
    pub panel: LoopId,
    /// The parallel loop of a panel's 16 columns: four bytes of weights each, stride 1 in scales, zero points and store, 0 or 1
    /// in epilogue loads, 0 in digits, shift and unit.
    pub col: LoopId,
    /// The reduced loop of the blocks: all that stands still within one moves along this loop only.
    pub block: LoopId,
    /// The reduced loop of a block's groups of four bytes.
    pub group: LoopId,
    /// The reduced loop of a group's bytes: stride 1 in weights and digits.
    pub byte: LoopId,
    /// Blocks ahead of their use whose lines of weights and scales are asked for; 0: none are.
    pub ahead: u32,
}

/// A contraction whose weights are kept in blocks ([`Bcsr`]) over pixels that lie side by side. The strides of rhs are those of
/// the dense matrix, `weights.columns()` from a row to the next.
///
/// ```text
///           vectors of pixels              values      index
///         +----+----+----+                   w0   of the column whose
/// column  | x0 | x1 | x2 |  loaded once      w1   pixels these are
///         +----+----+----+                   w2
///     4 x 3 accumulators += w * x            w3
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sparse {
    /// The remaining parallel loops, outermost first; rhs does not move along them.
    pub outer: Vec<LoopId>,
    /// A parallel loop along further pixels, of which so many iterations are done at once.
    pub down: Option<(LoopId, u32)>,
    /// The parallel loop of the pixels: stride 1 in lhs and store, 0 or 1 in epilogue loads, 0 in rhs. Of bytes a pixel is four
    /// steps of depth that lie together, the innermost reduced loop, and blocks are as wide: stride 4 in lhs. Without one a block's rows
    /// are lanes: that loop has stride 1 in store, 0 or 1 in epilogue loads. Blocks of one element are lanes themselves; their
    /// indices count elements of lhs.
    pub col: Option<LoopId>,
    /// Vectors along `col`. A last one that is not whole overlaps the one before where there is one.
    pub vectors: u32,
    /// The parallel loop of the weights' rows: 0 in lhs.
    pub row: LoopId,
    /// The reduced loops, outermost first: the columns of the weights.
    pub depth: Vec<LoopId>,
    /// How the weights are kept; the strides of lhs are those of its columns.
    pub weights: Bcsr,
}

/// Sums that are under way at a time where they wait for each other.
pub const CHAINS: usize = 4;

impl Sparse {
    /// Blocks of a row that are added side by side, each to a sum of its own: where a tile is one vector by one row of floats, a
    /// sum of which waits for the one before it.
    pub fn chains(&self) -> usize {
        let Bcsr { block, value_bytes, .. } = &self.weights;
        let one = *block == Block::new(1, 1) && self.vectors == 1 && self.down.is_none();
        if one && self.col.is_some() && *value_bytes > 1 { CHAINS } else { 1 }
    }

    /// Whether blocks of a row, of one element each, are lanes.
    pub fn has_blocks_as_lanes(&self) -> bool {
        let Bcsr { block, unit, index, .. } = &self.weights;
        self.col.is_none() && *block == Block::new(1, 1) && *unit == 1 && *index != Index::Delta
    }
}

/// The loop whose steps a kernel's range `begin..end` counts: what threads share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// A parallel loop.
    pub along: LoopId,
    /// Its iterations per step; the last step may have fewer.
    pub step: u32,
}

/// What turns a kernel into machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Loops over single elements, compiled by Cranelift: schedules of kind [`Schedule::Scalar`], and no others.
    Plain,
    /// The vector builder on Cranelift, which has as many registers as it is asked for.
    Portable {
        /// Bytes of a vector.
        vector_bytes: u32,
    },
    /// The vector builder on the target's own encoder, whose registers are enough for the kernel.
    Encoder {
        /// Bytes of a vector.
        vector_bytes: u32,
    },
}

impl Provider {
    /// Bytes of a vector; 0 for plain loops.
    pub fn vector_bytes(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Portable { vector_bytes } | Self::Encoder { vector_bytes } => vector_bytes,
        }
    }
}

/// A kernel after placement.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedKernel {
    /// Unique in the plan.
    pub name: String,
    /// The model's nodes that are computed here.
    pub nodes: Vec<String>,
    /// Loops after merging.
    pub loops: Vec<Loop>,
    /// The body.
    pub form: Form<FlatAccess>,
    /// How the loops are run.
    pub schedule: Schedule,
    /// What makes its code, and with vectors of what width.
    pub provider: Provider,
    /// What its range counts; without, there is one step.
    pub shared: Option<Shared>,
    /// Why this schedule: a line for `explain`.
    pub why: String,
    /// Steps of the shared loop that a thread takes at a time, of an open one as a size; `None`: not worth sharing.
    pub grain: Option<Dim>,
    /// Bounds of the open dimensions in it.
    pub bounds: Arc<Bounds>,
}

impl PlannedKernel {
    /// Steps of the shared loop: the kernel is run completely by the range `0..steps`, or by consecutive ranges of
    /// that. `None` where the loop's extent is open.
    pub fn steps(&self) -> Option<i64> {
        let Some(Shared { along, step }) = self.shared else { return Some(1) };
        let extent = self.loops.get(along.0 as usize)?.extent.as_const()?;
        let step = i64::from(step.max(1));
        Some((extent + step - 1) / step)
    }
}

/// An argument or result of the compiled model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name in the model.
    pub name: String,
    /// Element type and extents.
    pub ty: TensorType,
}

/// An open dimension whose value a kernel leaves in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The dimension.
    pub name: Arc<str>,
    /// Where an i64 tells its value, from the arena's start.
    pub offset_bytes: usize,
    /// The kernel, by position: the value is read when it has run, before any other does.
    pub after: usize,
}

/// An argument that kernels read in the arena, where it is put before the first of them: on machines whose order of bytes is not
/// that of arena and read-only data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its position.
    pub input: usize,
    /// From the arena's start.
    pub offset_bytes: usize,
}

/// A buffer's place in the arena and its lifetime, for reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The buffer's name.
    pub name: String,
    /// From the arena's start.
    pub offset_bytes: usize,
    /// Size.
    pub bytes: usize,
    /// First and last kernel that touch it, by position.
    pub live: (usize, usize),
    /// The buffer whose storage this is until the first kernel, which reads every element of it where it writes one of
    /// these.
    pub over: Option<String>,
}

impl Slot {
    /// Whether its bytes are its own in a kernel: those that it takes over are the other buffer's in the first one.
    pub fn counts_in(&self, kernel: usize) -> bool {
        (self.live.0 + usize::from(self.over.is_some())..=self.live.1).contains(&kernel)
    }
}

/// A constant in the read-only data.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The buffer's name.
    pub name: String,
    /// From the start of the read-only data.
    pub offset_bytes: usize,
    /// The bytes, as the kernels read them. For packed weights a flat tensor.
    pub tensor: Tensor,
}

/// Everything that code generation needs.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Bounds of the dimensions left open.
    pub bounds: Bounds,
    /// Those of them that the run counts, in the order of the kernels that do.
    pub counted: Vec<Counted>,
    /// Expressions of them that must be 0 in every run.
    pub assumed: Vec<Dim>,
    /// Integers that are computed when a run begins, or when what they follow from has been counted: see [`sizes`](super::sizes).
    pub sizes: Vec<Dim>,
    /// Arguments.
    pub inputs: Vec<Port>,
    /// Those of them that are copied to the arena, ascending.
    pub copied: Vec<Copied>,
    /// Results.
    pub outputs: Vec<Port>,
    /// Read-only data, by ascending offset.
    pub weights: Vec<Weight>,
    /// Size of the read-only data.
    pub weights_bytes: usize,
    /// How it begins, where a call is given it.
    pub outside: Option<Outside>,
    /// Size of the arena.
    pub arena_bytes: usize,
    /// Alignment of the arena and of every offset in it.
    pub arena_align: usize,
    /// The least size that any arrangement of these lifetimes needs.
    pub arena_lower_bound_bytes: usize,
    /// The arena's buffers.
    pub slots: Vec<Slot>,
    /// In execution order.
    pub kernels: Vec<PlannedKernel>,
    /// When kernels run; cells are single elements.
    pub regions: Vec<Region<FlatAccess>>,
    /// By kernel: the region that it is in; none where the list ends before it.
    pub within: Vec<Option<RegionId>>,
}

impl Plan {
    /// The region that the kernel at a position is in.
    pub fn region_of(&self, i: usize) -> Option<RegionId> {
        self.within.get(i).copied().flatten()
    }

    /// Where kernels find an argument: in the arena if it is copied there.
    pub fn found(&self, storage: Storage) -> Storage {
        let copy = self.copied.iter().find(|copied| storage == Storage::Input(copied.input));
        copy.map_or(storage, |copied| Storage::Arena { offset_bytes: copied.offset_bytes })
    }

    /// The kernels as steps.
    pub fn steps(&self) -> Vec<Step> {
        regions::steps(&self.regions, (0..self.kernels.len()).map(|i| self.region_of(i)))
    }
}
