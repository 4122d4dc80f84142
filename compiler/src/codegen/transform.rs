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
//! pairs of rows or columns that differ in signs only share their sums ([`Product`]).

use kiln_ir::kernel::plan::{PlannedKernel, Transform};
use kiln_ir::kernel::{Form, LoopId, Side};
use kiln_targets::simd::{Op2, Parked, R, Refusal, Simd, Src, V};

use super::places::Places;
use super::share::shared;
use super::vexpr::{At, Dag};
use super::walk::{AccessId, Walk, Walks, trips};

struct Generator<'k> {
    walk: Walk,
    schedule: &'k Transform,
    left: Product,
    right: Product,
    from: AccessId,
    to: AccessId,
    epilogue: Dag,
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
    let mut walk = Walk::new(kernel, places)?;
    let from = walk.access(from)?;
    let epilogue = Dag::new(&mut walk, [&store.value])?;
    let to = walk.access(&store.to)?;
    let (left, right) = (Product::new(left)?, Product::new(right)?);
    let mut this = Generator { walk, schedule, left, right, from, to, epilogue };
    this.walk.open(s)?;
    match kernel.shared {
        Some(share) => shared(&mut this, s, share, false, &mut |this, s, _| this.outer(s, 1))?,
        None => this.outer(s, 0)?,
    }
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    /// The outer loops from the `i`th on.
    fn outer<S: Simd>(&mut self, s: &mut S, i: usize) -> R {
        let Some(&l) = self.schedule.outer.get(i) else { return self.vectors(s) };
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, to - from, 1, &mut |this, s| this.outer(s, i + 1))?;
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    fn vectors<S: Simd>(&mut self, s: &mut S) -> R {
        let Some(l) = self.schedule.lane else { return self.tile(s, self.left.to, 1) };
        let lanes = s.lanes() as i64;
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / lanes, lanes, &mut |this, s| this.tile(s, l, lanes as usize))?;
            let rest = (to - from) % lanes;
            if rest > 0 {
                self.tile(s, l, rest as usize)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// One tile, `n` lanes.
    fn tile<S: Simd>(&mut self, s: &mut S, lane: LoopId, n: usize) -> R {
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
                self.stand(k, column, self.left.over, self.right.over);
                let ahead = [(self.left.over, k as i64), (self.right.over, column as i64)];
                let at = At { walk: &self.walk, lane, ahead: &ahead, n };
                x.push(at.load(s, self.from)?.into_reg(s, &self.walk)?);
            }
            self.left.apply(s, x, &rows, &mut |s, i, v| {
                aside[i].push(s.park(v)?);
                Ok(())
            })?;
        }
        self.leave(self.left.over, self.right.over);
        for (i, row) in aside.into_iter().enumerate().filter(|(i, _)| rows[*i]) {
            let x = row.into_iter().map(|parked| s.unpark(parked)).collect::<R<Vec<_>>>()?;
            let (to, along) = (self.left.to, self.right.to);
            let (walk, epilogue, store) = (&mut self.walk, &self.epilogue, self.to);
            self.right.apply(s, x, &kept[i], &mut |s, j, v| {
                walk.set_range(to, (i as i64, i as i64 + 1));
                walk.set_range(along, (j as i64, j as i64 + 1));
                let ahead = [(to, i as i64), (along, j as i64)];
                let at = At { walk, lane, ahead: &ahead, n };
                for (root, v) in epilogue.eval(s, &at, Some(v))?.into_iter().enumerate() {
                    at.store(s, store, &v, epilogue.overflow(s, root))?;
                    s.free(v);
                }
                Ok(())
            })?;
        }
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

/// How a matrix is multiplied with a vector of registers.
///
/// Two neighbouring columns whose entries have equal magnitudes in every row are replaced by sum and difference of
/// their elements; two neighbouring rows likewise become sum and difference of two partial sums.
struct Product {
    to: LoopId,
    over: LoopId,
    rows: usize,
    columns: usize,
    /// After pairing of columns: the first of a pair stands for the sum, the second for the difference.
    matrix: Vec<Vec<f32>>,
    /// First columns of pairs.
    column_pairs: Vec<usize>,
    /// First rows of pairs.
    row_pairs: Vec<usize>,
}

/// Called with a row of the product.
type Take<'t, S> = &'t mut dyn FnMut(&mut S, usize, V) -> R;

impl Product {
    fn new(side: &Side) -> R<Self> {
        let mut matrix = side.rows().map_err(|e| Refusal::unsupported(e.message))?;
        let (rows, columns) = (matrix.len(), matrix.first().map_or(0, Vec::len));
        let column = |c: usize| matrix.iter().map(|row| row[c]).collect::<Vec<_>>();
        let column_pairs = neighbours(columns, &|c| is_pair(&column(c), &column(c + 1)));
        for row in &mut matrix {
            for &c in &column_pairs {
                (row[c], row[c + 1]) = if row[c] == row[c + 1] { (row[c], 0.0) } else { (0.0, row[c]) };
            }
        }
        let row_pairs = neighbours(rows, &|r| is_pair(&matrix[r], &matrix[r + 1]));
        Ok(Self { to: side.to, over: side.over, rows, columns, matrix, column_pairs, row_pairs })
    }

    /// The wanted rows of the product with `x`, whose registers are given back.
    fn apply<S: Simd>(&self, s: &mut S, mut x: Vec<V>, wanted: &[bool], take: Take<'_, S>) -> R {
        for &c in &self.column_pairs {
            let difference = s.copy(&x[c])?;
            s.op2(Op2::Sub, &difference, Src::Reg(&x[c + 1]))?;
            s.op2(Op2::Add, &x[c], Src::Reg(&x[c + 1]))?;
            s.free(std::mem::replace(&mut x[c + 1], difference));
        }
        let mut r = 0;
        while r < self.rows {
            if self.row_pairs.contains(&r) && wanted[r] && wanted[r + 1] {
                let (first, second) = (&self.matrix[r], &self.matrix[r + 1]);
                let part = |common: bool| {
                    let entry = |(a, b): (&f32, &f32)| if (a == b) == common { *a } else { 0.0 };
                    first.iter().zip(second).map(entry).collect::<Vec<_>>()
                };
                let sum = combine(s, &part(true), &x)?;
                let other = combine(s, &part(false), &x)?;
                let difference = s.copy(&sum)?;
                s.op2(Op2::Sub, &difference, Src::Reg(&other))?;
                s.op2(Op2::Add, &sum, Src::Reg(&other))?;
                s.free(other);
                take(s, r, sum)?;
                take(s, r + 1, difference)?;
                r += 2;
            } else {
                if wanted[r] {
                    let v = combine(s, &self.matrix[r], &x)?;
                    take(s, r, v)?;
                }
                r += 1;
            }
        }
        x.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

/// Whether two rows or columns share their sums: the same magnitudes, some of the same and some of opposite sign.
fn is_pair(a: &[f32], b: &[f32]) -> bool {
    let used = a.iter().filter(|x| **x != 0.0).count();
    let same = a.iter().zip(b).filter(|(x, y)| **x != 0.0 && x == y).count();
    a.iter().zip(b).all(|(x, y)| x.abs() == y.abs()) && used >= 3 && same > 0 && same < used
}

/// The first of each pair of neighbours among `0..count`; each is in one pair at most.
fn neighbours(count: usize, is_pair: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for i in 0..count.saturating_sub(1) {
        if found.last().is_none_or(|last| last + 1 < i) && is_pair(i) {
            found.push(i);
        }
    }
    found
}

/// `sum(row[i] * x[i])`.
fn combine<S: Simd>(s: &mut S, row: &[f32], x: &[V]) -> R<V> {
    let first = row.iter().position(|a| *a == 1.0).or_else(|| row.iter().position(|a| *a != 0.0));
    let Some(first) = first else { return s.splat(0.0) };
    let sum = s.copy(&x[first])?;
    if row[first] != 1.0 {
        s.op2(Op2::Mul, &sum, Src::Const(row[first]))?;
    }
    for (i, (&a, x)) in row.iter().zip(x).enumerate() {
        if i == first || a == 0.0 {
            continue;
        }
        match a {
            1.0 => s.op2(Op2::Add, &sum, Src::Reg(x))?,
            -1.0 => s.op2(Op2::Sub, &sum, Src::Reg(x))?,
            _ => s.fma(&sum, x, Src::Const(a))?,
        }
    }
    Ok(sum)
}
