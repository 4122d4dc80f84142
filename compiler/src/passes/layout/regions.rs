//! Windows that read an argument as it lies.
//!
//! A window runs fastest with channels innermost, but an argument or result in another order is turned for it, which
//! costs a step per element. A *region* is what kernels connect: the buffers of one. Where windows are all that has a
//! wish in it, their steps in either order, with the copies of the one, decide. A region with products or minimal
//! filtering is laid out for these.
//!
//! Costs are counted in vector instructions of one width, so that the layout is the same on every machine.

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::DType;
use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role};

use super::super::images;

/// Lanes that costs are counted for.
const LANES: f64 = 8.0;
/// Instructions per element that is turned from one order to the other.
const TURN: f64 = 1.0;
/// Instructions per element that is copied in its order, beside those of an argument that is not in a cache.
const COPY: f64 = 0.8;
/// Instructions per vector of every other element: two loads and a permutation, which wait for each other.
const EVERY_OTHER: f64 = 3.0;
/// The same for elements farther apart, which are loaded one by one.
const ONE_BY_ONE: f64 = 2.0 * LANES;

/// The farthest that such elements may lie apart: schedules go no farther.
const FARTHEST: i64 = 8;

/// What the regions of a program decided.
pub(super) struct Regions {
    /// What the windows write that stay in the order of the axes.
    rows: BTreeSet<BufferId>,
}

/// The kernels of a region.
#[derive(Default)]
struct Region {
    windows: Vec<usize>,
    /// Whether all of them can stay, and nothing else has a wish.
    free: bool,
    touched: BTreeSet<BufferId>,
}

impl Regions {
    /// Weighs the regions of a program.
    pub(super) fn choose(program: &Program) -> Self {
        let mut rows = BTreeSet::new();
        let is_window = |k: &Kernel| matches!(k.form, Form::Window { .. });
        if !program.kernels().iter().any(is_window) {
            return Self { rows };
        }
        // Where weights are in blocks, all images lie with their channels outermost.
        let in_blocks = |i: &usize| match &program.kernel(*i).form {
            Form::Contract { rhs, .. } => program.buffer(rhs.buffer).is_in_blocks(),
            _ => false,
        };
        let any = (0..program.kernels().len()).any(|i| in_blocks(&i));
        let all = if any { images::regions(program) } else { Vec::new() };
        for region in all.iter().filter(|region| region.kernels.iter().any(in_blocks)) {
            let windows = region.kernels.iter().map(|i| program.kernel(*i)).filter(|k| is_window(k));
            rows.extend(windows.flat_map(|k| k.form.stores()).map(|a| a.buffer));
        }
        for region in regions(program).values().filter(|r| r.free && !r.windows.is_empty()) {
            let windows = || region.windows.iter().map(|i| program.kernel(*i));
            let turned: f64 = region.touched.iter().filter_map(|b| foreign(program, *b)).sum();
            let innermost: f64 =
                windows().map(|k| channels_innermost(program, k).unwrap_or(f64::INFINITY)).sum();
            let outermost: f64 =
                windows().map(|k| channels_outermost(program, k).unwrap_or(f64::INFINITY)).sum();
            if outermost < innermost + TURN * turned {
                let written = |k: &Kernel| k.form.stores().iter().map(|a| a.buffer).collect::<Vec<_>>();
                rows.extend(windows().flat_map(written));
            }
        }
        Self { rows }
    }

    /// Whether a kernel is a window that reads and writes rows as they lie.
    pub(super) fn stay(&self, kernel: &Kernel) -> bool {
        matches!(kernel.form, Form::Window { .. })
            && kernel.form.stores().iter().any(|a| self.rows.contains(&a.buffer))
    }

    /// Whether such a window tests its padding, of so many elements before and behind each axis of what it reads:
    /// every position at the end of a row is a vector of its own, where a copy with the padding has whole ones.
    pub(super) fn test_border(
        &self,
        program: &Program,
        kernel: &Kernel,
        before: &[i64],
        after: &[i64],
    ) -> bool {
        let cases = before.iter().zip(after).map(|(b, a)| b.saturating_add(*a).saturating_add(1));
        if !self.stay(kernel) || cases.fold(1, i64::saturating_mul) > MOST_CASES {
            return false;
        }
        let costs = || {
            let loops = Loops::of(program, kernel)?;
            let (row, step, each) = loops.row()?;
            let borders = positions(*before.last()?, step) + positions(*after.last()?, step);
            let extent = kernel.loop_(row).extent.as_const().filter(|n| *n > 0)?;
            let rows = loops.steps / extent as f64 * each;
            let inside = ((extent - borders).max(0) as f64 / LANES).ceil();
            let elements = foreign(program, loops.input.buffer)?;
            let tested = rows * (inside + borders.min(extent) as f64);
            Some((tested, rows * (extent as f64 / LANES).ceil() + COPY * elements))
        };
        costs().is_some_and(|(tested, copied)| tested <= copied)
    }
}

/// Parts of a border that may be told apart in code: a 9 x 9 window over an image has 81.
const MOST_CASES: i64 = 100;

/// Positions of a window in which it reaches past one of its ends, by so many elements.
fn positions(reach: i64, step: i64) -> i64 {
    reach / step + i64::from(reach % step != 0)
}

/// Elements of a buffer in the caller's order, if it is the caller's.
fn foreign(program: &Program, buffer: BufferId) -> Option<f64> {
    let buffer = program.buffer(buffer);
    let callers = matches!(buffer.kind, BufferKind::Input | BufferKind::Output);
    let elements = buffer.ty.shape.elements().typical(&program.bounds).map(|n| n as f64);
    elements.filter(|_| callers)
}

/// Regions by one of their buffers.
fn regions(program: &Program) -> BTreeMap<BufferId, Region> {
    let mut parents: BTreeMap<BufferId, BufferId> = program.buffer_ids().map(|b| (b, b)).collect();
    let buffers = |kernel: &Kernel| -> Vec<BufferId> {
        let all = kernel.form.loads().into_iter().chain(kernel.form.stores()).map(|a| a.buffer);
        all.filter(|b| !matches!(program.buffer(*b).kind, BufferKind::Const(_))).collect()
    };
    for kernel in program.kernels() {
        let all = buffers(kernel);
        for pair in all.windows(2) {
            let (a, b) = (root(&mut parents, pair[0]), root(&mut parents, pair[1]));
            parents.insert(a, b);
        }
    }
    let mut regions: BTreeMap<BufferId, Region> = BTreeMap::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        let all = buffers(kernel);
        let Some(first) = all.first() else { continue };
        let region = regions
            .entry(root(&mut parents, *first))
            .or_insert_with(|| Region { free: true, ..Region::default() });
        match &kernel.form {
            Form::Window { input, .. } => {
                region.windows.push(i);
                region.free &= program.buffer(input.buffer).ty.dtype == DType::F32;
            }
            Form::Contract { .. } | Form::Transform { .. } => region.free = false,
            _ => region.free &= keeps_rows(kernel),
        }
        region.touched.extend(all);
    }
    regions
}

/// Whether what lies along the last axis of results lies along the last axis of what they are made of: nothing is
/// turned.
fn keeps_rows(kernel: &Kernel) -> bool {
    kernel.form.stores().iter().all(|to| {
        let last = to.index.last().and_then(|i| i.affine());
        let row = last.and_then(|a| a.terms.iter().find(|(_, c)| c.is(1))).map(|(l, _)| *l);
        let Some(row) = row else { return true };
        let in_last =
            |a: &Access| a.index.last().and_then(|i| i.affine()).is_some_and(|a| !a.coefficient(row).is(0));
        kernel.form.loads().iter().all(|a| !a.uses(row) || in_last(a))
    })
}

/// The buffer that stands for those connected with it.
fn root(parents: &mut BTreeMap<BufferId, BufferId>, mut buffer: BufferId) -> BufferId {
    while let Some(parent) = parents.get(&buffer).copied().filter(|p| *p != buffer) {
        // Half of the way is cut off for those that come after.
        let above = parents.get(&parent).copied().unwrap_or(parent);
        parents.insert(buffer, above);
        buffer = above;
    }
    buffer
}

/// Loops of a window, with their extents.
struct Loops<'k> {
    kernel: &'k Kernel,
    input: &'k Access,
    store: &'k Access,
    steps: f64,
}

impl<'k> Loops<'k> {
    fn of(program: &Program, kernel: &'k Kernel) -> Option<Self> {
        let Form::Window { input, store, .. } = &kernel.form else { return None };
        let steps = kernel.iterations().typical(&program.bounds)? as f64;
        Some(Self { kernel, input, store: &store.to, steps })
    }

    /// The loop along a row of results that the window slides over, the step between elements that neighbours read, and
    /// instructions per vector.
    fn row(&self) -> Option<(LoopId, i64, f64)> {
        let row = self.store.index.last()?.affine()?.as_loop()?;
        let read = self.input.index.last()?.affine()?;
        // Channels, of which the window has one at a time, are not what it slides along.
        let slides = |l: &LoopId| !read.coefficient(*l).is(0);
        self.kernel.loops_of(Role::Reduce).iter().find(|l| slides(l))?;
        let step = read.coefficient(row).as_const()?;
        let each = match step {
            1 => 1.0,
            2 => EVERY_OTHER,
            3..=FARTHEST => ONE_BY_ONE,
            _ => return None,
        };
        Some((row, step, each))
    }

    /// Instructions when vectors lie along a loop, of `each` per vector.
    fn along(&self, l: LoopId, each: f64) -> Option<f64> {
        let extent = self.kernel.loop_(l).extent.as_const().filter(|n| *n > 0)? as f64;
        Some(self.steps / extent * (extent / LANES).ceil() * each)
    }
}

/// Instructions of a window along its channels; `None` where it cannot run so: an argument is turned only when a copy
/// with padding is made of it.
fn channels_innermost(program: &Program, kernel: &Kernel) -> Option<f64> {
    let loops = Loops::of(program, kernel)?;
    if program.buffer(loops.input.buffer).kind == BufferKind::Input && loops.input.otherwise.is_none() {
        return None;
    }
    let alone =
        |a: &Access, l: LoopId| a.index.iter().any(|i| i.affine().and_then(|a| a.as_loop()) == Some(l));
    let through = |l: &LoopId| alone(loops.input, *l) && alone(loops.store, *l);
    let channels = kernel.loops_of(Role::Parallel).into_iter().filter(through);
    let channel = channels.max_by_key(|l| kernel.loop_(*l).extent.as_const())?;
    loops.along(channel, 1.0)
}

/// Instructions of a window along the last axis, in which elements of neighbouring results lie a step apart.
fn channels_outermost(program: &Program, kernel: &Kernel) -> Option<f64> {
    let loops = Loops::of(program, kernel)?;
    let (row, _, each) = loops.row()?;
    loops.along(row, each)
}
