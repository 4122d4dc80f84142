//! Which contractions are convolutions that minimal filtering can compute.

use kiln_ir::kernel::edges::rest;
use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role, Store};
use kiln_ir::{DType, Dim};

use super::super::absorb::tiles_compute;
use super::cost::{self, Layer};
use super::integers;
use super::matrices::{Filter, WINDOW};

/// Loops and operands of a contraction that is a convolution as needed here.
pub(super) struct Convolution {
    pub(super) layer: Layer,
    /// How many images there are, and how high and wide the results are.
    pub(super) images: Dim,
    pub(super) height: Dim,
    pub(super) width: Dim,
    pub(super) n: LoopId,
    pub(super) o: LoopId,
    pub(super) c: LoopId,
    /// Along both spatial axes: results and window.
    pub(super) out: [LoopId; 2],
    pub(super) window: [LoopId; 2],
    pub(super) lhs: Access,
    pub(super) weights: BufferId,
    /// Axes of the weights that are `o`, `c` and the window's.
    pub(super) axes: [usize; 4],
    pub(super) store: Store,
}

/// Whether tiles of every size end where code can tell: what whole ones leave of an open axis is nothing, or differs.
fn ends(extent: &Dim) -> bool {
    let by = |filter: Filter| extent.as_const().is_some() || rest(extent, filter.outputs() as i64).is_some();
    [Filter::Two, Filter::Four].into_iter().all(by)
}

impl Convolution {
    pub(super) fn of(program: &Program, kernel: &Kernel) -> Option<Self> {
        let Form::Contract { acc, lhs, rhs, store } = &kernel.form else { return None };
        let types = (*acc, program.buffer(lhs.buffer).ty.dtype, program.buffer(rhs.buffer).ty.dtype);
        let whole = types == (DType::I32, DType::U8, DType::I8);
        let role = |l: LoopId| kernel.loop_(l).role;
        let extent = |l: LoopId| kernel.loop_(l).extent.as_const().filter(|n| *n > 0);
        let floats = types.0 == DType::F32 && types.1 == DType::F32 && types.2.accumulator() == DType::F32;
        if kernel.loops.len() != 7 || !whole && !floats {
            return None;
        }
        if floats && lhs.otherwise.is_some_and(|s| s.bits != 0) || lhs.index.len() != 4 {
            return None;
        }
        let (mut single, mut spatial) = (Vec::new(), Vec::new());
        for index in &lhs.index {
            match &index.affine()?.terms[..] {
                [(l, one)] if one.is(1) => single.push((*l, index.affine()?.offset.is(0))),
                [(a, x), (b, y)] if x.is(1) && y.is(1) => spatial.push([*a, *b]),
                _ => return None,
            }
        }
        let ([(p, true), (q, true)], [first, second]) = (&single[..], &spatial[..]) else { return None };
        let (n, c) = if role(*p) == Role::Parallel { (*p, *q) } else { (*q, *p) };
        let sorted = |[a, b]: [LoopId; 2]| if role(a) == Role::Parallel { [a, b] } else { [b, a] };
        let ([h, kh], [w, kw]) = (sorted(*first), sorted(*second));
        let parallel = [n, h, w].iter().all(|l| role(*l) == Role::Parallel);
        let reduced = [c, kh, kw].iter().all(|l| role(*l) == Role::Reduce);
        if !parallel || !reduced || [kh, kw].iter().any(|l| extent(*l) != Some(WINDOW as i64)) {
            return None;
        }
        let weights = rhs.as_loops().filter(|_| rhs.otherwise.is_none())?;
        let o = *weights.iter().find(|l| role(**l) == Role::Parallel)?;
        let axis = |l: LoopId| weights.iter().position(|x| *x == l);
        let axes = [axis(o)?, axis(c)?, axis(kh)?, axis(kw)?];
        // Weights in blocks are not transformed.
        if program.buffer(rhs.buffer).is_in_blocks() {
            return None;
        }
        let BufferKind::Const(tensor) = &program.buffer(rhs.buffer).kind else { return None };
        // Products of words are made four at a time.
        if weights.len() != 4 || [n, h, w].contains(&o) || whole && extent(c)? % 4 != 0 {
            return None;
        }
        let short = types.2.is_short_float();
        let most = whole.then(|| integers::most(tensor, axes[0]));
        // What is typical decides; the tiles are as many as the run's images have.
        let [images, height, width] = [n, h, w].map(|l| kernel.loop_(l).extent.clone());
        let typical = |d: &Dim| d.typical(&program.bounds).filter(|n| *n > 0);
        let layer = Layer {
            n: typical(&images)?,
            o: extent(o)?,
            c: extent(c)?,
            h: typical(&height)?,
            w: typical(&width)?,
            short,
            most,
        };
        let open = [&images, &height, &width].iter().any(|d| d.as_const().is_none());
        if open {
            let most = |d: &Dim| d.most(&program.bounds).filter(|n| *n > 0);
            let greatest = Layer { n: most(&images)?, h: most(&height)?, w: most(&width)?, ..layer };
            let ends = [&height, &width].iter().all(|d| ends(d));
            if !ends || !cost::reaches(&greatest) {
                return None;
            }
        }
        let this = Self {
            layer,
            images,
            height,
            width,
            n,
            o,
            c,
            out: [h, w],
            window: [kh, kw],
            lhs: lhs.clone(),
            weights: rhs.buffer,
            axes,
            store: store.clone(),
        };
        this.store_fits(program, *acc).then_some(this)
    }

    /// Whether what is beyond the border is outside the buffer of results, and the epilogue can follow.
    fn store_fits(&self, program: &Program, acc: DType) -> bool {
        let Store { to, value } = &self.store;
        let shape = &program.buffer(to.buffer).ty.shape;
        let ends_with = |l: LoopId, extent: &Dim| {
            let used: Vec<usize> = (0..to.index.len())
                .filter(|&a| to.index[a].affine().is_none_or(|i| !i.coefficient(l).is(0)))
                .collect();
            let [axis] = used[..] else { return false };
            to.index[axis].affine().and_then(Affine::as_loop) == Some(l) && shape[axis] == *extent
        };
        let plain = |a: &Access| a.otherwise.is_none() && a.index.iter().all(|i| i.affine().is_some());
        // Elements of a tile lie at constant distances: the caller's buffers have those of the run.
        let near = |a: &Access| {
            let buffer = program.buffer(a.buffer);
            let open = buffer.ty.shape.iter().skip(1).any(|d| d.as_const().is_none());
            !open || buffer.kind == BufferKind::Temp
        };
        // What the epilogue reads ends where the results do, by the same expression: one end decides for all.
        let same_end = |a: &Access| {
            let shape = &program.buffer(a.buffer).ty.shape;
            let along = |l: LoopId, extent: &Dim| {
                extent.as_const().is_some()
                    || a.index.iter().zip(shape.iter()).all(|(index, end)| {
                        let index = index.affine();
                        let through = index.and_then(Affine::as_loop) == Some(l) && end == extent;
                        through || index.is_some_and(|i| i.coefficient(l).is(0))
                    })
            };
            along(self.out[0], &self.height) && along(self.out[1], &self.width)
        };
        let mut fits = plain(to)
            && near(to)
            && ends_with(self.out[0], &self.height)
            && ends_with(self.out[1], &self.width);
        value.for_each_access(&mut |a| fits &= plain(a) && near(a) && same_end(a));
        fits && tiles_compute(program, value, acc)
    }
}
