//! [`Schedule::Transform`](kiln_ir::kernel::plan::Schedule::Transform): small linear transforms of whole tiles.
//!
//! ```text
//! parallel loops of `outer`
//!   vectors along `lane`
//!     columns of the tile: load, multiply by the left matrix, put aside
//!     rows: multiply by the right matrix, epilogue, store
//! ```
//!
//! A product with a matrix is additions and few multiplications: zeros cost nothing, ones no multiplication, and
//! pairs of rows or columns that differ in signs only share their sums ([`Product`]). Integers are computed with in i32, and
//! bytes of which the low 16 bits of the results are kept in i16, twice as many at a time.

mod arithmetic;
mod product;

use kiln_ir::DType;
use kiln_ir::kernel::edges::Edge;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Shared, Transform};
use kiln_ir::kernel::{Expr, Form, LoopId, Side, Store};
use kiln_targets::simd::{Parked, R, Refusal, Simd};

use self::arithmetic::Arithmetic;
use self::product::Product;
use super::places::Places;
use super::share::shared;
use super::trips::{Walks, back, repeated, trips};
use super::vexpr::{At, Dag};
use super::walk::{AccessId, Walk};

struct Generator<'k> {
    walk: Walk,
    schedule: &'k Transform,
    share: Option<Shared>,
    left: Product,
    right: Product,
    from: AccessId,
    to: AccessId,
    epilogue: Dag,
    /// What tiles are computed in.
    numbers: Arithmetic,
    /// Bytes or words whose results of 16 bits are stored as they are.
    words: Option<DType>,
    /// The axes along which this is the last tile, of which a part is kept.
    partial: Vec<Edge>,
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
    schedule: &Transform,
    s: &mut S,
) -> R {
    let Form::Transform { left, right, from, store } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} as a transform of tiles", kernel.form.name())));
    };
    let acc = Side::accumulator(from.dtype);
    let acc = acc.ok_or_else(|| Refusal::unsupported(format!("tiles of {}", from.dtype)))?;
    let numbers = if acc.is_int() { Arithmetic::Integers } else { Arithmetic::Floats };
    let (value, low_bits) = stored(store);
    let short = from.dtype.is_int() && from.dtype.size() <= 2 && from.guards.is_empty();
    let words = (low_bits && short && store.to.dtype.size() == 2).then_some(from.dtype);
    let mut walk = Walk::new(kernel, places)?;
    let from = walk.access(from)?;
    let epilogue = Dag::typed(&mut walk, acc, [value])?;
    let to = walk.access(&store.to)?;
    let (left, right) = (Product::new(left)?, Product::new(right)?);
    let share = kernel.shared;
    let partial = Vec::new();
    let mut this =
        Generator { walk, schedule, share, left, right, from, to, epilogue, numbers, words, partial };
    this.walk.open(s)?;
    this.outer(s, 0)?;
    this.walk.close(s);
    Ok(())
}

/// What is stored, and whether it is the low bits of the sum: stores of short integers keep these by themselves.
fn stored(store: &Store<FlatAccess>) -> (&Expr<FlatAccess>, bool) {
    match &store.value {
        Expr::Cast(to, value)
            if **value == Expr::Acc && *to == store.to.dtype && to.is_int() && to.size() < 4 =>
        {
            (value, true)
        }
        value => (value, false),
    }
}

impl Generator<'_> {
    /// The outer loops from the `i`th on.
    fn outer<S: Simd>(&mut self, s: &mut S, i: usize) -> R {
        let Some(&l) = self.schedule.outer.get(i) else { return self.vectors(s) };
        if let Some(edge) = self.walk.edge(l) {
            return self.until_the_edge(s, i, &edge);
        }
        if let Some(share) = self.share.filter(|share| share.along == l) {
            return shared(self, s, share, i > 0, &mut |this, s, _| this.outer(s, i + 1));
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, to - from, 1, &mut |this, s| this.outer(s, i + 1))?;
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// The `i`th outer loop through tiles that end at an open place: whole ones, then what is left.
    fn until_the_edge<S: Simd>(&mut self, s: &mut S, i: usize, edge: &Edge) -> R {
        let l = edge.tiles;
        let share = self.share.filter(|share| share.along == l);
        let begin_end = share.map(|_| Ok((s.arg(1)?, s.arg(2)?))).transpose()?;
        let whole = self.walk.size(s, &edge.whole)?;
        let count = match &begin_end {
            None => whole,
            Some((begin, end)) => {
                self.walk.jump(s, l, begin, 1)?;
                s.at_most_of(&whole, end)?;
                let count = s.difference(&whole, begin)?;
                s.free_ptr(whole);
                count
            }
        };
        repeated(self, s, l, count, 1, &mut |this, s| this.outer(s, i + 1))?;
        if !edge.rest.is(0) {
            let count = match &begin_end {
                None => self.walk.size(s, &edge.partial)?,
                // A share that is not empty begins at the last tile or before it.
                Some((_, end)) => {
                    let whole = self.walk.size(s, &edge.whole)?;
                    let count = s.difference(end, &whole)?;
                    s.free_ptr(whole);
                    count
                }
            };
            self.partial.push(edge.clone());
            repeated(self, s, l, count, 1, &mut |this, s| this.outer(s, i + 1))?;
            self.partial.pop();
        }
        match begin_end {
            None => {
                let extent = self.walk.open_extent(l);
                let extent = extent.ok_or_else(|| Refusal::unsupported("a closed loop to an open edge"))?;
                back(self, s, l, &extent)?;
                self.walk.rewind(l, self.walk.extent(l));
                Ok(())
            }
            Some((begin, end)) => {
                if i > 0 {
                    self.walk.jump(s, l, &end, -1)?;
                }
                s.free_ptr(begin);
                s.free_ptr(end);
                Ok(())
            }
        }
    }

    fn vectors<S: Simd>(&mut self, s: &mut S) -> R {
        let plain = self.numbers;
        let Some(l) = self.schedule.lane else { return self.tile(s, self.left.to, 1, plain) };
        let lanes = s.lanes() as i64;
        let wide = self.words.map(|_| (2 * lanes, Arithmetic::Words));
        for (from, to) in self.walk.parts(l) {
            let mut at = from;
            for (step, numbers) in wide.into_iter().chain([(lanes, plain)]) {
                let count = (to - at) / step;
                self.walk.set_range(l, (at, at + count * step));
                trips(self, s, l, count, step, &mut |this, s| this.tile(s, l, step as usize, numbers))?;
                at += count * step;
            }
            self.walk.set_range(l, (at, to));
            if to > at {
                self.tile(s, l, (to - at) as usize, plain)?;
                self.walk.skip(l, to - at);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// One tile, `n` lanes.
    fn tile<S: Simd>(&mut self, s: &mut S, lane: LoopId, n: usize, numbers: Arithmetic) -> R {
        let as_words = self.words.filter(|_| numbers == Arithmetic::Words);
        // What a clipped store drops is not computed.
        let mut kept = vec![vec![false; self.right.rows]; self.left.rows];
        for (i, row) in kept.iter_mut().enumerate() {
            for (j, kept) in row.iter_mut().enumerate() {
                self.stand(i, j, self.left.to, self.right.to);
                *kept = self.walk.outside(self.to)?.is_none();
            }
        }
        self.leave(self.left.to, self.right.to);
        let rows: Vec<bool> = kept.iter().map(|row| row.contains(&true)).collect();
        // By row of the result: the columns of the tile, put aside.
        let mut aside: Vec<Vec<Parked>> = (0..self.left.rows).map(|_| Vec::new()).collect();
        for column in 0..self.right.columns {
            let mut x = Vec::with_capacity(self.left.columns);
            for k in 0..self.left.columns {
                self.walk.step_sized(s, self.left.over, i64::from(k > 0))?;
                self.stand(k, column, self.left.over, self.right.over);
                let ahead = [(self.left.over, k as i64), (self.right.over, column as i64)];
                let at = At { walk: &self.walk, lane, ahead: &ahead, n };
                x.push(match as_words {
                    Some(dtype) => {
                        let (p, disp) = (self.walk.ptr(self.from), self.walk.disp(self.from, &ahead, 0)?);
                        let lanes = s.lanes();
                        if dtype.size() == 2 {
                            s.load(p, disp, lanes)?
                        } else {
                            s.load_words(p, disp, dtype == DType::I8)?
                        }
                    }
                    None => at.load(s, self.from)?.into_reg(s, &self.walk)?,
                });
            }
            self.walk.step_sized(s, self.left.over, 1 - self.left.columns as i64)?;
            // The next column, or the first one again.
            let next = if column + 1 < self.right.columns { 1 } else { -(column as i64) };
            self.walk.step_sized(s, self.right.over, next)?;
            self.left.apply(s, numbers, x, &rows, &mut |s, i, v| {
                aside[i].push(s.park(v)?);
                Ok(())
            })?;
        }
        self.leave(self.left.over, self.right.over);
        let mut at_row = 0;
        for (i, row) in aside.into_iter().enumerate().filter(|(i, _)| rows[*i]) {
            self.walk.step_sized(s, self.left.to, i as i64 - at_row)?;
            at_row = i as i64;
            let (to, along) = (self.left.to, self.right.to);
            let (right, partial) = (&self.right, &self.partial);
            let (walk, epilogue, store) = (&mut self.walk, &self.epilogue, self.to);
            let mut row = Some(row);
            when_kept(walk, s, partial, (to, i), &mut |walk, s| {
                let row = row.take().into_iter().flatten();
                let x = row.map(|parked| s.unpark(parked)).collect::<R<Vec<_>>>()?;
                let mut at_column = 0;
                right.apply(s, numbers, x, &kept[i], &mut |s, j, v| {
                    walk.step_sized(s, along, j as i64 - at_column)?;
                    at_column = j as i64;
                    walk.set_range(to, (i as i64, i as i64 + 1));
                    walk.set_range(along, (j as i64, j as i64 + 1));
                    let ahead = [(to, i as i64), (along, j as i64)];
                    let mut v = Some(v);
                    when_kept(walk, s, partial, (along, j), &mut |walk, s| {
                        let Some(v) = v.take() else { return Ok(()) };
                        if as_words.is_some() {
                            let lanes = s.lanes();
                            s.store(walk.ptr(store), walk.disp(store, &ahead, 0)?, &v, lanes)?;
                            s.free(v);
                            return Ok(());
                        }
                        let at = At { walk, lane, ahead: &ahead, n };
                        for (root, v) in epilogue.eval(s, &at, Some(v))?.into_iter().enumerate() {
                            at.store(s, store, &v, epilogue.overflow(s, root))?;
                            s.free(v);
                        }
                        Ok(())
                    })
                })?;
                walk.step_sized(s, along, -at_column)
            })?;
        }
        self.walk.step_sized(s, self.left.to, -at_row)?;
        self.leave(self.left.to, self.right.to);
        Ok(())
    }

    /// Guards are those of one element of the tile.
    fn stand(&mut self, a: usize, b: usize, first: LoopId, second: LoopId) {
        self.walk.set_range(first, (a as i64, a as i64 + 1));
        self.walk.set_range(second, (b as i64, b as i64 + 1));
    }

    /// Guards are those of the whole tile again.
    fn leave(&mut self, first: LoopId, second: LoopId) {
        for l in [first, second] {
            let extent = self.walk.extent(l);
            self.walk.set_range(l, (0, extent));
        }
    }
}

/// Does something for an element of a tile along a loop where the element is kept: behind the end of an open axis it is not.
fn when_kept<S: Simd>(
    walk: &mut Walk,
    s: &mut S,
    partial: &[Edge],
    (along, element): (LoopId, usize),
    body: &mut dyn FnMut(&mut Walk, &mut S) -> R,
) -> R {
    // The first is there, or there would be no tile.
    let Some(edge) = partial.iter().find(|edge| edge.within == along && element > 0) else {
        return body(walk, s);
    };
    let rest = walk.size(s, &edge.rest)?;
    s.when_below(&rest, element as i64 + 1, &mut |_| Ok(()), &mut |s| body(walk, s))?;
    s.free_ptr(rest);
    Ok(())
}
