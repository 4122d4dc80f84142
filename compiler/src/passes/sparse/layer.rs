//! Contractions that can read their weights in blocks: convolutions of images by constant weights.

use kiln_ir::format::bcsr::{Block, count};
use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role, Uses};
use kiln_ir::{DType, Dim, Tensor};

use super::super::images;
use super::turned;

/// What the lanes of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pixels of an image.
    Image,
    /// Rows of a matrix.
    Rows,
    /// Rows of a block of weights.
    Single,
}

/// A convolution, or a product of matrices as one of a single line.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) kind: Kind,
    pub(super) weights: BufferId,
    /// Axes of the weights: output channels, input channels, the window's two.
    pub(super) loops: [LoopId; 4],
    /// Along both axes of the image: results.
    pub(super) out: [LoopId; 2],
    /// Elements from a result to the next in what is read.
    pub(super) step: [i64; 2],
    /// Elements from a place of the window to the next.
    pub(super) dilation: [i64; 2],
    pub(super) lhs: Access,
    /// How many images or matrices there are, and what is typical of that where it is open.
    pub(super) batch: Dim,
    pub(super) images: i64,
    pub(super) outputs: i64,
    pub(super) channels: i64,
    pub(super) window: [i64; 2],
    pub(super) size: [i64; 2],
    /// Lines of results and of what is read lie behind each other, without a halo.
    pub(super) merged: bool,
    /// Which weights are zeros: a row per output channel.
    pub(super) zeros: Vec<bool>,
    /// Products of bytes, four channels at a time.
    pub(super) bytes: bool,
    /// Whether weights of a row, those of one output channel, lie together.
    pub(super) by_row: bool,
    /// The rows that a product whose results stay as they are could have as lanes, with copies before it and behind it.
    pub(super) turns: Option<LoopId>,
}

/// Channels of bytes that are multiplied at a time.
pub(super) const FOUR: i64 = 4;

impl Layer {
    pub(super) fn of(program: &Program, uses: &Uses, kernel: &Kernel) -> Option<Self> {
        Self::convolution(program, uses, kernel).or_else(|| Self::product(program, uses, kernel))
    }

    /// `lhs[.., m, k] * rhs[k, o]`, or `rhs[o, k]`.
    fn product(program: &Program, uses: &Uses, kernel: &Kernel) -> Option<Self> {
        let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
        let tensor = weights(program, kernel)?;
        let extent = |l: LoopId| kernel.loop_(l).extent.as_const().filter(|n| *n > 0);
        let [k] = kernel.loops_of(Role::Reduce)[..] else { return None };
        let [first, second] = rhs.as_loops()?[..] else { return None };
        let (o, by_row) = if second == k { (first, true) } else { (second, false) };
        let parallel = kernel.loops_of(Role::Parallel);
        let affine = lhs.index.iter().all(|i| i.affine().is_some());
        let last = lhs.index.last()?.affine()?.as_loop();
        if ![first, second].contains(&k)
            || !parallel.contains(&o)
            || lhs.uses(o)
            || last != Some(k)
            || !affine
        {
            return None;
        }
        let row = images::pixels(kernel);
        let around = parallel.iter().filter(|l| **l != o && Some(**l) != row);
        let batch = around.fold(Dim::Const(1), |n, l| n * kernel.loop_(*l).extent.clone());
        // Rows become lanes of all that is made of them: results must have them for themselves.
        let alone =
            |l: LoopId| store.to.index.iter().any(|i| i.affine().and_then(Affine::as_loop) == Some(l));
        let rows = row.map_or(Some(1), extent)?;
        if row.is_some_and(|row| !alone(row)) || row.is_none() && !alone(o) {
            return None;
        }
        // Steps of a recurrent layer are products of a row with the same weights: the first stands for all.
        let readers = uses.readers(rhs.buffer);
        let first_of_many = || {
            let first = readers.first().map(|i| program.kernel(*i));
            row.is_none()
                && first.is_some_and(|first| std::ptr::eq(first, kernel))
                && readers.iter().all(|i| alike(program.kernel(*i), kernel))
        };
        if readers.len() != 1 && !first_of_many() {
            return None;
        }
        let (outputs, channels) = (extent(o)?, extent(k)?);
        // Rows of four bytes are copied; single ones have no lanes.
        let bytes = tensor.dtype == DType::I8;
        if bytes && (row.is_none() || channels % FOUR != 0) {
            return None;
        }
        let mut zeros = zeros(tensor)?;
        if !by_row {
            let at = |i: usize| zeros[i % channels as usize * outputs as usize + i / channels as usize];
            zeros = (0..zeros.len()).map(at).collect();
        }
        Some(Self {
            kind: if row.is_some() { Kind::Rows } else { Kind::Single },
            weights: rhs.buffer,
            loops: [o, k, k, k],
            out: [o; 2],
            step: [1; 2],
            dilation: [1; 2],
            lhs: lhs.clone(),
            images: typical(program, &batch)?,
            batch,
            outputs,
            channels,
            window: [1; 2],
            size: [1, rows],
            merged: true,
            zeros,
            bytes,
            by_row,
            turns: turned::rows(program, kernel, o).filter(|_| row.is_none() && readers.len() == 1),
        })
    }

    fn convolution(program: &Program, uses: &Uses, kernel: &Kernel) -> Option<Self> {
        let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
        let tensor = weights(program, kernel)?;
        if lhs.index.len() != 4 || uses.readers(rhs.buffer).len() != 1 {
            return None;
        }
        let role = |l: LoopId| kernel.loop_(l).role;
        let extent = |l: LoopId| kernel.loop_(l).extent.as_const().filter(|n| *n > 0);
        let loops: [LoopId; 4] = rhs.as_loops()?.try_into().ok()?;
        let [o, c, kh, kw] = loops;
        let reduced = kernel.loops_of(Role::Reduce);
        if role(o) != Role::Parallel || reduced.len() != 3 || ![c, kh, kw].iter().all(|l| reduced.contains(l))
        {
            return None;
        }
        if lhs.uses(o) || lhs.index[1].affine()?.as_loop() != Some(c) {
            return None;
        }
        let along = |axis: usize, k: LoopId| {
            let index = lhs.index[axis].affine()?;
            let mut others = index.terms.iter().filter(|(l, _)| *l != k);
            let (l, step) = others.next().filter(|_| others.next().is_none())?;
            let step = step.as_const().filter(|s| (1..=8).contains(s))?;
            let dilation = index.coefficient(k).as_const()?;
            index.offset.as_const()?;
            let fits = step == 1 && dilation >= 0 || dilation == 1 || extent(k) == Some(1);
            (role(*l) == Role::Parallel && fits).then_some((*l, step, dilation))
        };
        let ((oh, sh, dh), (ow, sw, dw)) = (along(2, kh)?, along(3, kw)?);
        let batch = match &lhs.index[0].affine()?.terms[..] {
            [] => Dim::Const(1),
            [(n, _)] => kernel.loop_(*n).extent.clone(),
            _ => return None,
        };
        if store.to.index.last()?.affine()?.as_loop() != Some(ow) || kernel.loops_of(Role::Parallel).len() > 4
        {
            return None;
        }
        let [window, size] = [[kh, kw], [oh, ow]].map(|pair| pair.map(extent));
        let (window, size) = ([window[0]?, window[1]?], [size[0]?, size[1]?]);
        let padded = |b: BufferId| {
            let reads = |i: &usize| {
                let data = program.kernel(*i).form.data();
                data.is_some_and(|a| a.buffer == b && a.otherwise.is_some())
            };
            uses.readers(b).iter().any(reads)
        };
        let (bytes, channels) = (tensor.dtype == DType::I8, extent(c)?);
        if bytes && channels % FOUR != 0 {
            return None;
        }
        // Bytes are copied, without what is around them.
        let merged = window == [1, 1] && (bytes || !padded(lhs.buffer)) && !padded(store.to.buffer);
        Some(Self {
            kind: Kind::Image,
            weights: rhs.buffer,
            loops,
            out: [oh, ow],
            step: [sh, sw],
            dilation: [dh, dw],
            lhs: lhs.clone(),
            images: typical(program, &batch)?,
            batch,
            outputs: extent(o)?,
            channels,
            window,
            size,
            merged,
            zeros: zeros(tensor)?,
            bytes,
            by_row: true,
            turns: None,
        })
    }

    /// Whether the image is copied first: neighbouring results read elements that lie apart, or four channels are to lie together.
    pub(super) fn is_taken_apart(&self) -> bool {
        self.step[1] != 1 || self.bytes
    }

    /// Blocks of a shape with something in them; `None` where weights are no whole number of blocks wide. The columns of a block
    /// are channels at one place of the window.
    pub(super) fn blocks(&self, block: Block) -> Option<usize> {
        let (rows, columns) = (self.outputs as usize, self.columns());
        let width = usize::from(block.cols);
        let places = (self.window[0] * self.window[1]) as usize;
        if block.is_slice() && !block.divides(columns) {
            return None;
        }
        if width == 1 || places == 1 && columns.is_multiple_of(width) {
            return Some(count(&self.zeros, rows, columns, block));
        }
        if !(columns / places.max(1)).is_multiple_of(width) {
            return None;
        }
        let from = |to: usize| {
            let (row, column) = (to / columns, to % columns);
            let (group, place, j) = (column / width / places, column / width % places, column % width);
            row * columns + (group * width + j) * places + place
        };
        let beside: Vec<bool> = (0..self.zeros.len()).map(|to| self.zeros[from(to)]).collect();
        Some(count(&beside, rows, columns, block))
    }

    /// What its speed depends on beside its weights' zeros.
    pub(super) fn shape(&self) -> impl std::fmt::Debug {
        let sizes = [self.images, self.outputs, self.channels];
        (self.kind, sizes, self.window, self.size, self.step, self.merged)
    }

    /// Columns of the weights.
    pub(super) fn columns(&self) -> usize {
        (self.channels * self.window[0] * self.window[1]) as usize
    }

    /// The part of the weights that are zeros.
    pub(super) fn zeros_part(&self) -> f64 {
        self.zeros.iter().filter(|z| **z).count() as f64 / self.zeros.len().max(1) as f64
    }
}

/// How many there are, or what is typical of that; nothing to look at where there are none.
fn typical(program: &Program, count: &Dim) -> Option<i64> {
    count.typical(&program.bounds).filter(|n| *n > 0)
}

/// Whether two products read their operands in the same way and put their results at the same places.
fn alike(a: &Kernel, b: &Kernel) -> bool {
    let (
        Form::Contract { acc, lhs, rhs, store },
        Form::Contract { acc: other_acc, lhs: other_lhs, rhs: other_rhs, store: other_store },
    ) = (&a.form, &b.form)
    else {
        return false;
    };
    let access = |a: &Access, b: &Access| a.index == b.index && a.otherwise == b.otherwise;
    a.loops == b.loops
        && acc == other_acc
        && rhs == other_rhs
        && access(lhs, other_lhs)
        && access(&store.to, &other_store.to)
}

/// The constant weights of a contraction of floats, or of unsigned bytes and signed ones.
fn weights<'p>(program: &'p Program, kernel: &Kernel) -> Option<&'p Tensor> {
    let Form::Contract { acc, lhs, rhs, .. } = &kernel.form else { return None };
    let BufferKind::Const(tensor) = &program.buffer(rhs.buffer).kind else { return None };
    let floats = *acc == DType::F32
        && program.buffer(lhs.buffer).ty.dtype == DType::F32
        && tensor.dtype.is_float()
        && tensor.dtype.accumulator() == DType::F32;
    let open = program.buffer(rhs.buffer).format.is_none();
    let zero = lhs.otherwise.is_none_or(|v| v.to_f64() == 0.0);
    let bytes =
        *acc == DType::I32 && program.buffer(lhs.buffer).ty.dtype == DType::U8 && tensor.dtype == DType::I8;
    ((floats && zero || bytes) && open && rhs.otherwise.is_none()).then_some(tensor)
}

/// Elements that are looked at before all of them are.
const SAMPLE: usize = 2048;
/// The part of a sample that must be zeros.
const LEAST_OF_SAMPLE: f64 = 0.2;

/// Whether a contraction's weights have zeros, by a few of their elements.
pub(super) fn may_be_sparse(program: &Program, kernel: &Kernel) -> bool {
    let Form::Contract { rhs, .. } = &kernel.form else { return false };
    let BufferKind::Const(tensor) = &program.buffer(rhs.buffer).kind else { return false };
    let size = tensor.dtype.size();
    let float = tensor.dtype.is_float();
    if !float && tensor.dtype != DType::I8 || size == 0 || tensor.data.is_empty() {
        return false;
    }
    let magnitude = if float { 0x7f } else { 0xff };
    // An odd step, so that no column is met again and again.
    let elements = tensor.data.len() / size;
    let step = (elements / SAMPLE).max(1) | 1;
    let all = || tensor.data.chunks_exact(size).step_by(step);
    let zeros =
        all().filter(|v| v[..size - 1].iter().all(|b| *b == 0) && v[size - 1] & magnitude == 0).count();
    zeros as f64 >= LEAST_OF_SAMPLE * all().count() as f64
}

/// Which elements are zeros, of either sign.
fn zeros(tensor: &Tensor) -> Option<Vec<bool>> {
    Some(match tensor.dtype.size() {
        4 => tensor.as_slice::<f32>().ok()?.iter().map(|v| *v == 0.0).collect(),
        2 => tensor.data.chunks_exact(2).map(|b| b[0] == 0 && b[1] & 0x7f == 0).collect(),
        1 => tensor.data.iter().map(|b| *b == 0).collect(),
        _ => return None,
    })
}
