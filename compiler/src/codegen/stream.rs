//! [`Schedule::Stream`](kiln_ir::kernel::plan::Schedule::Stream): a row times a matrix that comes from memory.
//!
//! ```text
//! outer loops, then panels of `width` columns
//!   result = 0
//!   depth loops, the innermost `rows` steps at a time
//!     along the panel: result += lhs[0] * rhs[0] + lhs[1] * rhs[1] + ..
//!   along the panel: result = epilogue(result)
//! ```
//!
//! Each of a few rows of rhs is read from front to back, as the machine fetches ahead; the panel of the result stays in
//! the first-level cache.

use kiln_ir::kernel::plan::{PlannedKernel, Shared, Stream};
use kiln_ir::kernel::{Expr, Form, LoopId};
use kiln_targets::simd::{Lane, Op2, R, Refusal, Simd, SimdExt as _, Src, V};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, trips};
use super::vexpr::{At, Dag, lane};
use super::walk::{AccessId, Walk};

/// Vectors along a panel that are done at once.
const VECTORS: i64 = 2;

/// The generator.
struct Generator<'k> {
    walk: Walk,
    stream: &'k Stream,
    lhs: AccessId,
    rhs: AccessId,
    store: AccessId,
    /// None where sums are results.
    epilogue: Option<Dag>,
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

/// Emits the kernel.
pub(super) fn emit<S: Simd>(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    stream: &Stream,
    s: &mut S,
) -> R {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} of a stream", kernel.form.name())));
    };
    if acc.size() < 4 || [lhs, rhs, &store.to].into_iter().any(|a| a.dtype != *acc) {
        return Err(Refusal::unsupported(format!("a stream of {} in {acc}", rhs.dtype)));
    }
    let mut walk = Walk::new(kernel, places)?;
    let (lhs, rhs) = (walk.access(lhs)?, walk.access(rhs)?);
    let epilogue = match &store.value {
        Expr::Acc => None,
        value => Some(Dag::typed(&mut walk, *acc, [value])?),
    };
    let store = walk.access(&store.to)?;
    let ty = lane(*acc);
    let lanes = if ty.is_wide() { s.lanes() / 2 } else { s.lanes() };
    if walk.is_guarded(lhs) || walk.is_guarded(rhs) || walk.stride(lhs, stream.col) != 0 {
        return Err(Refusal::unsupported("a stream with padding"));
    }
    let mut this = Generator { walk, stream, lhs, rhs, store, epilogue, ty, lanes };
    this.walk.open(s)?;
    this.level(s, 0, kernel.shared)?;
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    /// The loops from the `i`th outer one on; `share` is what the caller's range counts, if it is one of them.
    fn level<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>) -> R {
        let panels = i == self.stream.outer.len();
        let (l, step) = match self.stream.outer.get(i) {
            Some(l) => (*l, 1),
            None => (self.stream.col, i64::from(self.stream.width.max(1))),
        };
        let body = |this: &mut Self, s: &mut S, share, width: i64| {
            if panels { this.panel(s, width) } else { this.level(s, i + 1, share) }
        };
        if let Some(share) = share.filter(|share| share.along == l) {
            if i64::from(share.step) != step {
                return Err(Refusal::unsupported("shared steps of another size than a panel's"));
            }
            return shared(self, s, share, i > 0, &mut |this, s, width| body(this, s, None, width));
        }
        let extent = self.walk.extent(l);
        trips(self, s, l, extent / step, step, &mut |this, s| body(this, s, share, step))?;
        let rest = extent % step;
        if rest > 0 {
            body(self, s, share, rest)?;
            self.walk.skip(l, rest);
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    fn panel<S: Simd>(&mut self, s: &mut S, width: i64) -> R {
        let zero = s.splat(0.0)?;
        self.along(s, width, &mut |this, s, j, n| {
            let at = this.walk.disp(this.store, &[(this.stream.col, j)], 0)?;
            s.store_as(this.walk.element(this.store), this.walk.ptr(this.store), at, &zero, n)
        })?;
        s.free(zero);
        self.depth(s, 0, width)?;
        if self.epilogue.is_none() {
            return Ok(());
        }
        self.along(s, width, &mut |this, s, j, n| {
            let Some(epilogue) = &this.epilogue else { return Ok(()) };
            let sum = this.sum(s, j, n)?;
            let ahead = [(this.stream.col, j)];
            let at = At { walk: &this.walk, lane: this.stream.col, ahead: &ahead, n };
            for (root, v) in epilogue.eval(s, &at, Some(sum))?.into_iter().enumerate() {
                at.store(s, this.store, &v, epilogue.overflow(s, root))?;
                s.free(v);
            }
            Ok(())
        })
    }

    /// The depth loops from the `i`th on.
    fn depth<S: Simd>(&mut self, s: &mut S, i: usize, width: i64) -> R {
        let Some(&l) = self.stream.depth.get(i) else { return self.rows(s, None, 1, width) };
        let extent = self.walk.extent(l);
        if i + 1 < self.stream.depth.len() {
            trips(self, s, l, extent, 1, &mut |this, s| this.depth(s, i + 1, width))?;
        } else {
            let rows = i64::from(self.stream.rows.max(1));
            trips(self, s, l, extent / rows, rows, &mut |this, s| this.rows(s, Some(l), rows, width))?;
            self.rows(s, Some(l), extent % rows, width)?;
            self.walk.skip(l, extent % rows);
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    /// Adds `count` rows of rhs to the panel.
    fn rows<S: Simd>(&mut self, s: &mut S, l: Option<LoopId>, count: i64, width: i64) -> R {
        if count == 0 {
            return Ok(());
        }
        let ahead = |k: i64| l.map(|l| (l, k));
        let factors: Vec<V> = (0..count)
            .map(|k| {
                let at = self.walk.disp(self.lhs, ahead(k).as_slice(), 0)?;
                s.load_splat_as(self.walk.element(self.lhs), self.walk.ptr(self.lhs), at)
            })
            .collect::<R<_>>()?;
        self.along(s, width, &mut |this, s, j, n| {
            let sum = this.sum(s, j, n)?;
            // Every other row is added to a sum of its own: chains of half the length.
            let other = if count > 1 { Some(s.splat(0.0)?) } else { None };
            let (element, ptr) = (this.walk.element(this.rhs), this.walk.ptr(this.rhs));
            for (k, factor) in factors.iter().enumerate() {
                let place: Vec<_> = ahead(k as i64).into_iter().chain([(this.stream.col, j)]).collect();
                let at = this.walk.disp(this.rhs, &place, 0)?;
                let acc = other.as_ref().filter(|_| k % 2 == 1).unwrap_or(&sum);
                if n == this.lanes {
                    s.fma_as(this.ty, acc, factor, Src::Mem(ptr, at))?;
                } else {
                    let part = s.load_as(element, ptr, at, n)?;
                    s.fma_as(this.ty, acc, factor, Src::Reg(&part))?;
                    s.free(part);
                }
            }
            if let Some(other) = other {
                s.op2_as(this.ty, Op2::Add, &sum, Src::Reg(&other))?;
                s.free(other);
            }
            let at = this.walk.disp(this.store, &[(this.stream.col, j)], 0)?;
            s.store_as(this.walk.element(this.store), this.walk.ptr(this.store), at, &sum, n)?;
            s.free(sum);
            Ok(())
        })?;
        factors.into_iter().for_each(|v| s.free(v));
        Ok(())
    }

    /// The sums so far of a vector of columns.
    fn sum<S: Simd>(&self, s: &mut S, j: i64, n: usize) -> R<V> {
        let at = self.walk.disp(self.store, &[(self.stream.col, j)], 0)?;
        s.load_as(self.walk.element(self.store), self.walk.ptr(self.store), at, n)
    }

    /// `body` for every vector of a panel: how many columns ahead of the pointers it is, and how many it has.
    fn along<S: Simd>(
        &mut self,
        s: &mut S,
        width: i64,
        body: &mut dyn FnMut(&Self, &mut S, i64, usize) -> R,
    ) -> R {
        let (l, lanes) = (self.stream.col, self.lanes as i64);
        let block = VECTORS * lanes;
        trips(self, s, l, width / block, block, &mut |this, s| {
            (0..VECTORS).try_for_each(|v| body(this, s, v * lanes, this.lanes))
        })?;
        let rest = width % block;
        for from in (0..rest).step_by(self.lanes) {
            body(self, s, from, (rest - from).min(lanes) as usize)?;
        }
        self.walk.skip(l, rest - width);
        Ok(())
    }
}
