//! [`Schedule::Dots`](kiln_ir::kernel::plan::Schedule::Dots): contractions as dot products, lanes along the depth.
//!
//! ```text
//! outer loops, then tiles of rows, then of columns; last tiles with fewer
//!   rows x columns x vectors accumulators = 0
//!   depth loops; blocks of `vectors` vectors along `lane`, a last block with what is left
//!     acc[r][c][v] += lhs[r][v] * rhs[c][v]
//!   vectors, then lanes are added; epilogue and store, element by element
//! ```
//!
//! Lanes behind the end are 0 in both operands and add nothing.

use kiln_ir::DType;
use kiln_ir::kernel::plan::{Dots, PlannedKernel, Shared};
use kiln_ir::kernel::{Form, LoopId};
use kiln_targets::simd::{Across, Element, Lane, Op2, R, Refusal, Simd, SimdExt as _, Src, V};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, stepped, trips};
use super::vexpr::{At, Dag, lane};
use super::walk::{AccessId, Walk};

/// A loop around the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Outer(LoopId),
    Rows(LoopId, u32),
    Columns(LoopId, u32),
}

/// The generator.
struct Generator<'k> {
    walk: Walk,
    dots: &'k Dots,
    levels: Vec<Level>,
    lhs: AccessId,
    rhs: AccessId,
    store: AccessId,
    epilogue: Dag,
    /// What sums are taken for.
    ty: Lane,
    /// Sums of a vector.
    lanes: usize,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// How much of a tile there is.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rows: i64,
    cols: i64,
}

/// One side of a tile.
#[derive(Clone, Copy)]
struct Side {
    access: AccessId,
    /// The loop that its elements lie along, and how many there are.
    along: Option<LoopId>,
    count: i64,
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(kernel: &PlannedKernel, places: Option<&Places>, dots: &Dots, s: &mut S) -> R {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} as dot products", kernel.form.name())));
    };
    let held = |dtype: DType| dtype == *acc || *acc == DType::F32 && dtype.is_float() && dtype.size() == 2;
    if acc.size() < 4 || !held(lhs.dtype) || !held(rhs.dtype) {
        return Err(Refusal::unsupported(format!(
            "dot products of {} and {} in {acc}",
            lhs.dtype, rhs.dtype
        )));
    }
    let mut walk = Walk::new(kernel, places)?;
    let (lhs, rhs) = (walk.access(lhs)?, walk.access(rhs)?);
    let epilogue = Dag::typed(&mut walk, *acc, [&store.value])?;
    let store = walk.access(&store.to)?;
    let contiguous = |a: AccessId| walk.stride(a, dots.lane) == walk.element(a).bytes() as i64;
    if !contiguous(lhs) || !contiguous(rhs) || walk.is_guarded(lhs) || walk.is_guarded(rhs) {
        return Err(Refusal::unsupported("dot products of operands that are not contiguous"));
    }
    let mut levels: Vec<Level> = dots.outer.iter().map(|l| Level::Outer(*l)).collect();
    levels.extend(dots.row.map(|(l, n)| Level::Rows(l, n)));
    levels.extend(dots.col.map(|(l, n)| Level::Columns(l, n)));
    let ty = lane(*acc);
    let lanes = if ty.is_wide() { s.lanes() / 2 } else { s.lanes() };
    let mut this = Generator { walk, dots, levels, lhs, rhs, store, epilogue, ty, lanes };
    this.walk.open(s)?;
    this.level(s, 0, kernel.shared, Extent { rows: 1, cols: 1 })?;
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    /// The loops from the `i`th level on; `share` is what the caller's range counts, if it is one of them.
    fn level<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>, at: Extent) -> R {
        let Some(&level) = self.levels.get(i) else { return self.tile(s, at) };
        let (l, step) = match level {
            Level::Outer(l) => (l, 1),
            Level::Rows(l, n) | Level::Columns(l, n) => (l, i64::from(n.max(1))),
        };
        let narrowed = |width: i64| match level {
            Level::Outer(_) => at,
            Level::Rows(..) => Extent { rows: width, ..at },
            Level::Columns(..) => Extent { cols: width, ..at },
        };
        if let Some(share) = share.filter(|share| share.along == l) {
            if i64::from(share.step) != step {
                return Err(Refusal::unsupported("shared steps of another size than a tile's"));
            }
            return shared(self, s, share, i > 0, &mut |this, s, width| {
                this.level(s, i + 1, None, narrowed(width))
            });
        }
        if let Some(open) = self.walk.open_extent(l).filter(|_| !matches!(level, Level::Outer(_))) {
            return stepped(self, s, l, &open, step, &mut |this, s, width| {
                this.level(s, i + 1, share, narrowed(width))
            });
        }
        let extent = self.walk.extent(l);
        trips(self, s, l, extent / step, step, &mut |this, s| this.level(s, i + 1, share, narrowed(step)))?;
        let rest = extent % step;
        if rest > 0 {
            self.level(s, i + 1, share, narrowed(rest))?;
            self.walk.skip(l, rest);
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    fn tile<S: Simd>(&mut self, s: &mut S, tile: Extent) -> R {
        let vectors = i64::from(self.dots.vectors.max(1));
        let count = tile.rows * tile.cols * vectors;
        let acc: Vec<V> = (0..count).map(|_| s.splat(0.0)).collect::<R<_>>()?;
        self.depth(s, 0, &acc, tile)?;
        let mut sums = Vec::new();
        let mut acc = acc.into_iter();
        while let Some(total) = acc.next() {
            for part in acc.by_ref().take(vectors as usize - 1) {
                s.op2_as(self.ty, Op2::Add, &total, Src::Reg(&part))?;
                s.free(part);
            }
            sums.push(total);
        }
        for (i, waiting) in self.epilogue.make_room(s, sums)?.into_iter().enumerate() {
            let sum = waiting.fetch(s)?;
            s.across_as(self.ty, Across::Sum, &sum)?;
            let (row, col) = (i as i64 / tile.cols, i as i64 % tile.cols);
            let mut ahead = Vec::new();
            ahead.extend(self.dots.row.map(|(l, _)| (l, row)));
            ahead.extend(self.dots.col.map(|(l, _)| (l, col)));
            let at = At { walk: &self.walk, lane: self.dots.lane, ahead: &ahead, n: 1 };
            for (root, v) in self.epilogue.eval(s, &at, Some(sum))?.into_iter().enumerate() {
                at.store(s, self.store, &v, self.epilogue.overflow(s, root))?;
                s.free(v);
            }
        }
        Ok(())
    }

    /// The depth loops from the `i`th on, and the lanes within them.
    fn depth<S: Simd>(&mut self, s: &mut S, i: usize, acc: &[V], tile: Extent) -> R {
        if let Some(&l) = self.dots.depth.get(i) {
            let extent = self.walk.extent(l);
            trips(self, s, l, extent, 1, &mut |this, s| this.depth(s, i + 1, acc, tile))?;
            self.walk.rewind(l, extent);
            return Ok(());
        }
        let (l, lanes) = (self.dots.lane, self.lanes as i64);
        let (extent, block) = (self.walk.extent(l), i64::from(self.dots.vectors.max(1)) * lanes);
        trips(self, s, l, extent / block, block, &mut |this, s| this.block(s, block, acc, tile))?;
        let rest = extent % block;
        self.block(s, rest, acc, tile)?;
        self.walk.skip(l, rest);
        self.walk.rewind(l, extent);
        Ok(())
    }

    /// `count` steps along the lanes: vector by vector, the elements of the shorter side stay in registers.
    fn block<S: Simd>(&self, s: &mut S, count: i64, acc: &[V], tile: Extent) -> R {
        let vectors = self.dots.vectors.max(1) as usize;
        let rows = Side { access: self.lhs, along: self.dots.row.map(|r| r.0), count: tile.rows };
        let cols = Side { access: self.rhs, along: self.dots.col.map(|c| c.0), count: tile.cols };
        let turned = tile.cols < tile.rows;
        let (held, passing) = if turned { (cols, rows) } else { (rows, cols) };
        for (v, from) in (0..count).step_by(self.lanes).enumerate() {
            let n = (count - from).min(self.lanes as i64) as usize;
            let a = (0..held.count).map(|i| self.load(s, held, i, from, n)).collect::<R<Vec<_>>>()?;
            for j in 0..passing.count {
                let of = |i: usize| {
                    let (i, j) = (i as i64, j);
                    let (row, col) = if turned { (j, i) } else { (i, j) };
                    &acc[(row * tile.cols + col) as usize * vectors + v]
                };
                if let ([a], true) = (&a[..], self.whole(passing, n)) {
                    let disp = self.place(passing, j, from)?;
                    s.fma_as(self.ty, of(0), a, Src::Mem(self.walk.ptr(passing.access), disp))?;
                    continue;
                }
                let b = self.load(s, passing, j, from, n)?;
                for (i, a) in a.iter().enumerate() {
                    s.fma_as(self.ty, of(i), a, Src::Reg(&b))?;
                }
                s.free(b);
            }
            a.into_iter().for_each(|a| s.free(a));
        }
        Ok(())
    }

    /// The displacement of an element of a side, `k` steps along the lanes.
    fn place(&self, side: Side, i: i64, k: i64) -> R<i32> {
        let ahead: Vec<_> = side.along.map(|l| (l, i)).into_iter().chain([(self.dots.lane, k)]).collect();
        self.walk.disp(side.access, &ahead, 0)
    }

    fn load<S: Simd>(&self, s: &mut S, side: Side, i: i64, k: i64, n: usize) -> R<V> {
        let disp = self.place(side, i, k)?;
        s.load_as(self.walk.element(side.access), self.walk.ptr(side.access), disp, n)
    }

    /// Whether the elements in memory are a vector as they are.
    fn whole(&self, side: Side, n: usize) -> bool {
        n == self.lanes && matches!(self.walk.element(side.access), Element::B32 | Element::B64)
    }
}
