//! One run of kernels in strips: what each strip computes, and the kernels that do.
//!
//! ```text
//!   contract "expand"  { %a[o, h, w] = .. %x[c, h, w] .. }                    in strips of 28 rows of %y:
//!   window   "depth"   { %b[o, h, w] = .. %a[o, h + k - 1, w + l - 1] .. }
//!   contract "project" { %y[o, h, w] = .. %b[c, h, w] .. }
//!
//!   contract "expand.s1"  { %a.s1[o, h, w] = .. %x[c, h + 27, w] .. }         30 rows, of which two are those of other strips
//!   window   "depth.s1"   { %b.s1[o, h, w] = .. %a.s1[o, h + k, w + l - 1] .. }
//!   contract "project.s1" { %y[o, h + 28, w] = .. %b.s1[c, h, w] .. }
//! ```
//!
//! From a strip of the last result it follows backwards which part of every buffer is read, and so which part of every
//! loop runs. What a padded load finds outside is as before: a part ends inside the image only where nothing reads on.

use std::collections::BTreeMap;

use kiln_ir::kernel::{
    Access, Affine, BinaryOp, BufferId, BufferKind, Expr, Form, Index, Kernel, LoopId, Program, Role, Scalar,
    Uses,
};
use kiln_ir::{DType, Dim, Shape, TensorType};

/// Neighbouring kernels of which the last one's loop is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Position of the first kernel.
    pub first: usize,
    /// Position of the last one.
    pub last: usize,
    /// The parallel loop of the last one that is cut.
    pub along: LoopId,
    /// Its iterations in a strip; the last strip may have fewer.
    pub step: i64,
}

/// Iterations of a loop, or elements along an axis: the first and the end.
type Range = (i64, i64);

/// What a strip computes.
#[derive(Debug, Default)]
pub(super) struct Strip {
    /// By kernel of the run: the loop that is cut, and what of it runs.
    loops: Vec<(LoopId, Range)>,
    /// What is kept of each buffer that only this run knows: an axis, and the part of it.
    parts: BTreeMap<BufferId, (usize, Range)>,
}

impl Strip {
    /// Bytes of the parts, each dense, with the positions of the first and the last kernel in the run that touch it.
    pub(super) fn parts(&self, program: &Program, cut: &Cut, uses: &Uses) -> Vec<(usize, usize, usize)> {
        let size = |buffer: BufferId, axis: usize, part: Range| {
            let ty = &program.buffer(buffer).ty;
            let all = bytes(ty);
            all / extent(&ty.shape[axis]).unwrap_or(1).max(1) as usize * (part.1 - part.0) as usize
        };
        let of = |(buffer, (axis, part)): (&BufferId, &(usize, Range))| {
            let first = uses.writers(*buffer).first().map_or(0, |k| k - cut.first);
            let last = uses.readers(*buffer).last().map_or(0, |k| k - cut.first);
            (size(*buffer, *axis, *part), first, last)
        };
        self.parts.iter().map(of).collect()
    }

    /// Iterations of all its kernels.
    pub(super) fn iterations(&self, program: &Program, cut: &Cut) -> f64 {
        let of = |(i, (l, range)): (usize, &(LoopId, Range))| {
            let kernel = program.kernel(cut.first + i);
            let whole = kernel.iterations().typical(&program.bounds).unwrap_or(i64::MAX) as f64;
            whole / extent(&kernel.loop_(*l).extent).unwrap_or(1).max(1) as f64 * (range.1 - range.0) as f64
        };
        self.loops.iter().enumerate().map(of).sum()
    }
}

/// Bytes of a type whose extents are known.
pub(super) fn bytes(ty: &TensorType) -> usize {
    let elements = ty.shape.iter().filter_map(extent).fold(1i64, i64::saturating_mul);
    ty.dtype.bytes_of(usize::try_from(elements).unwrap_or(usize::MAX / 16))
}

fn extent(dim: &Dim) -> Option<i64> {
    dim.as_const()
}

/// The strips of a cut; `None` where the run cannot be done in strips.
pub(super) fn strips(program: &Program, uses: &Uses, cut: &Cut) -> Option<Vec<Strip>> {
    let rows = extent(&program.kernel(cut.last).loop_(cut.along).extent)?;
    if cut.step < 1 || cut.step >= rows {
        return None;
    }
    let inside = |k: &usize| (cut.first..=cut.last).contains(k);
    let mut own = Vec::new();
    for k in cut.first..=cut.last {
        if program.region_of(k) != program.region_of(cut.last) {
            return None;
        }
        let written = program.kernel(k).form.written();
        if k == cut.last {
            // Nothing in the run reads what the last one writes: it is whole behind the last strip only.
            if written.iter().any(|b| uses.readers(*b).iter().any(inside)) {
                return None;
            }
            continue;
        }
        for buffer in written {
            let within = uses.writers(buffer).iter().chain(uses.readers(buffer)).all(inside);
            let ours = program.buffer(buffer).kind == BufferKind::Temp && !program.is_cell(buffer);
            if !within || !ours {
                return None;
            }
            own.push(buffer);
        }
    }
    let starts = (0..rows).step_by(cut.step as usize);
    starts.map(|at| strip(program, cut, &own, (at, rows.min(at + cut.step)))).collect()
}

/// What the strip of these iterations of the last kernel computes.
fn strip(program: &Program, cut: &Cut, own: &[BufferId], rows: Range) -> Option<Strip> {
    let mut strip = Strip::default();
    for k in (cut.first..=cut.last).rev() {
        let kernel = program.kernel(k);
        let (l, range) = if k == cut.last {
            let along = |a: &&Access| a.index.iter().any(|i| term(i, cut.along).is_some());
            kernel.form.stores().iter().all(along).then_some((cut.along, rows))?
        } else {
            needed(kernel, &strip.parts)?
        };
        let is_named = match &kernel.form {
            Form::Procedure(_) => true,
            form => form.parts().sides.iter().any(|side| side.to == l || side.over == l),
        };
        if is_named || kernel.loop_(l).role != Role::Parallel || range.0 >= range.1 {
            return None;
        }
        strip.loops.push((l, range));
        for store in kernel.form.stores() {
            // What is written counts, too, where a loop goes on in steps of several rows.
            if own.contains(&store.buffer) {
                keep(program, kernel, &mut strip.parts, store, (l, range))?;
            }
        }
        for load in kernel.form.loads() {
            each(load, &mut |access| {
                let known = !own.contains(&access.buffer);
                known || keep(program, kernel, &mut strip.parts, access, (l, range)).is_some()
            })
            .then_some(())?;
        }
    }
    strip.loops.reverse();
    Some(strip)
}

/// The loop of a kernel, and what of it is needed for the parts that are read of its results.
fn needed(kernel: &Kernel, parts: &BTreeMap<BufferId, (usize, Range)>) -> Option<(LoopId, Range)> {
    let mut found: Option<(LoopId, Range)> = None;
    for store in kernel.form.stores() {
        let (axis, part) = *parts.get(&store.buffer)?;
        let index = store.index.get(axis)?.affine()?;
        let step = |l: LoopId| index.coefficient(l).as_const().filter(|c| *c > 0);
        let loops = index.terms.iter().map(|t| t.0).filter(|l| kernel.loop_(*l).role == Role::Parallel);
        let l = loops.filter(|l| step(*l).is_some()).max_by_key(|l| step(*l))?;
        let c = step(l)?;
        let others = span(kernel, index, l)?;
        let last = extent(&kernel.loop_(l).extent)?;
        let begin = (part.0 - others.1).div_euclid(c) + i64::from((part.0 - others.1).rem_euclid(c) != 0);
        let end = (part.1 - 1 - others.0).div_euclid(c) + 1;
        let range = (begin.max(0), end.min(last));
        let other = found.unwrap_or((l, range));
        if other.0 != l {
            return None;
        }
        found = Some((l, (other.1.0.min(range.0), other.1.1.max(range.1))));
    }
    found
}

/// Adds what an access touches while a loop runs within a range to the parts that are kept.
fn keep(
    program: &Program,
    kernel: &Kernel,
    parts: &mut BTreeMap<BufferId, (usize, Range)>,
    access: &Access,
    (l, range): (LoopId, Range),
) -> Option<()> {
    let mut axes = (0..access.index.len()).filter(|axis| term(&access.index[*axis], l).is_some());
    let (axis, None) = (axes.next()?, axes.next()) else { return None };
    let index = access.index[axis].affine()?;
    let c = term(&access.index[axis], l)?;
    let others = span(kernel, index, l)?;
    let all = extent(&program.buffer(access.buffer).ty.shape[axis])?;
    let (lo, hi) = (c * range.0 + others.0, c * (range.1 - 1) + others.1 + 1);
    let part = (lo.clamp(0, all), hi.clamp(0, all));
    // All of it lies in the padding: nothing of the buffer is read, and a part has an element at least.
    let part = if part.0 < part.1 { part } else { (part.0.min(all - 1), part.0.min(all - 1) + 1) };
    let known = parts.entry(access.buffer).or_insert((axis, part));
    if known.0 != axis {
        return None;
    }
    known.1 = (known.1.0.min(part.0), known.1.1.max(part.1));
    Some(())
}

/// The positive constant by which an index moves with a loop; `None` where it does not, or otherwise.
fn term(index: &Index, l: LoopId) -> Option<i64> {
    index.affine()?.coefficient(l).as_const().filter(|c| *c > 0)
}

/// Least and greatest value of what else is in an index.
fn span(kernel: &Kernel, index: &Affine, l: LoopId) -> Option<Range> {
    let rest = Affine { terms: index.terms.iter().filter(|t| t.0 != l).cloned().collect(), ..index.clone() };
    rest.range(|l| extent(&kernel.loop_(l).extent))
}

/// Calls `f` with an access and with those that its indices are read by, until one says no.
fn each(access: &Access, f: &mut impl FnMut(&Access) -> bool) -> bool {
    let gathered = |index: &Index, f: &mut _| match index {
        Index::Gathered(inner) => each(inner, f),
        Index::Affine(_) => true,
    };
    f(access) && access.index.iter().all(|index| gathered(index, f))
}

/// The kernels of a cut, strip after strip, with the buffers that they need.
pub(super) fn apply(program: &mut Program, cut: &Cut, strips: &[Strip]) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for (s, strip) in strips.iter().enumerate() {
        let mut parts = BTreeMap::new();
        for (&buffer, &(axis, (begin, end))) in &strip.parts {
            let source = program.buffer(buffer);
            let mut shape: Vec<Dim> = source.ty.shape.iter().cloned().collect();
            shape[axis] = Dim::Const(end - begin);
            let ty = TensorType::new(source.ty.dtype, Shape(shape));
            let name = format!("{}.s{s}", source.name);
            parts.insert(buffer, (program.add_buffer(&name, ty, BufferKind::Temp), axis, begin));
        }
        for (i, &(l, range)) in strip.loops.iter().enumerate() {
            let mut kernel = program.kernel(cut.first + i).clone();
            kernel.name = program.kernel_name(&format!("{}.s{s}", kernel.name));
            kernel.loops[l.0 as usize].extent = Dim::Const(range.1 - range.0);
            kernel.form.each_access_mut(&mut |access| shift(access, l, range.0, &parts));
            if range.0 != 0 {
                count_from(&mut kernel.form, l, range.0);
            }
            kernels.push(kernel);
        }
    }
    kernels
}

/// The same element of an access, where a loop begins later, in the parts of buffers that are kept.
fn shift(access: &mut Access, l: LoopId, from: i64, parts: &BTreeMap<BufferId, (BufferId, usize, i64)>) {
    for index in &mut access.index {
        match index {
            Index::Affine(affine) => {
                let by = affine.coefficient(l) * Dim::Const(from);
                affine.offset = affine.offset.clone() + by;
            }
            Index::Gathered(inner) => shift(inner, l, from, parts),
        }
    }
    if let Some((part, axis, begin)) = parts.get(&access.buffer) {
        access.buffer = *part;
        if let Index::Affine(affine) = &mut access.index[*axis] {
            affine.offset = affine.offset.clone() + Dim::Const(-begin);
        }
    }
}

/// Counters that are values go on where they would be.
fn count_from(form: &mut Form, l: LoopId, from: i64) {
    let later = |e: &mut Expr| {
        *e = e.replace(&mut |part| {
            let counter = matches!(part, Expr::Loop(other) if *other == l);
            let by = || Expr::Const(Scalar::int(DType::I64, from));
            counter.then(|| Expr::binary(BinaryOp::Add, Expr::Loop(l), by()))
        });
    };
    let parts = form.parts_mut();
    parts.reduced.into_iter().for_each(later);
    parts.stores.iter_mut().for_each(|store| later(&mut store.value));
}
