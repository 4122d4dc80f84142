//! Sizes: integers of a plan that are known when it runs.
//!
//! A plan with open dimensions has a table of them, computed once when a run begins: the open dimensions themselves, in
//! the order of their names, then rows of what kernels ask for. Before a kernel is called the frame is pointed to its
//! row, in which its code finds each size by its position; what is constant stands in the instructions.
//!
//! A dimension may be *counted*: a kernel leaves its value in the arena, which is compared with the bounds when the kernel
//! has run, and what follows from it is computed then. Kernels that ask for it stand behind that kernel.

use super::access::LoopId;
use super::form::{Form, Loop};
use super::plan::{Counted, FlatAccess, Plan, PlannedKernel, Schedule, Tile};
use crate::dim::{Dim, Symbols};

impl Plan {
    /// The table that the plan's kernels need.
    pub fn needed_sizes(&self) -> Vec<Dim> {
        let mut sizes: Vec<Dim> = self.bounds.keys().map(|name| Dim::symbol(name)).collect();
        for row in self.kernels.iter().map(PlannedKernel::sizes) {
            if find(&sizes, &row).is_none() {
                sizes.extend(row);
            }
        }
        sizes
    }

    /// Sizes that the kernel at a position has counted when it has run.
    pub fn counted_by(&self, kernel: usize) -> impl Iterator<Item = &Counted> {
        self.counted.iter().filter(move |c| c.after == kernel)
    }

    /// Whether a run counts a dimension; else its caller tells it.
    pub fn is_counted(&self, name: &str) -> bool {
        self.counted.iter().any(|c| *c.name == *name)
    }

    /// Where a kernel's row begins in the table; `None` where it is not there.
    pub fn row_of(&self, kernel: &PlannedKernel) -> Option<usize> {
        find(&self.sizes, &kernel.sizes())
    }

    /// The plan for values of the open dimensions: its kernels as they are then.
    pub fn at(&self, symbols: &Symbols) -> Self {
        let kernels = self.kernels.iter().map(|kernel| kernel.at(symbols)).collect();
        Self { kernels, ..self.clone() }
    }

    /// The table of sizes for values of the open dimensions; `None` where one is missing.
    pub fn sizes_at(&self, symbols: &Symbols) -> Option<Vec<i64>> {
        self.sizes.iter().map(|size| size.eval(symbols)).collect()
    }
}

/// Where a row lies in the table.
fn find(table: &[Dim], row: &[Dim]) -> Option<usize> {
    if row.is_empty() { Some(0) } else { table.windows(row.len()).position(|part| part == row) }
}

/// Rows that are left in one tile at most; more are two.
const MOST_LEFT: u32 = 8;

/// Rows of a transpose that have a pointer each at most: those of a block of words.
pub const MOST_ROWS_APART: i64 = 4;

/// Tiles of an open number of rows: whole ones of `rows`, then what is left: one of 8 where there are as many, and a tile of
/// just those that remain, so that weights are read twice at most and once for few rows. The rows of a tile and how many of
/// these there are, falling.
pub fn tiles(extent: &Dim, rows: u32) -> Vec<(u32, Dim)> {
    let whole = |left: &Dim, rows: u32| {
        let by = Dim::Const(i64::from(rows));
        let count = left.floor_div(&by).unwrap_or(Dim::Const(0));
        (left.clone() - by * count.clone(), count)
    };
    let rows = rows.max(1);
    let (mut left, count) = whole(extent, rows);
    let mut list = vec![(rows, count)];
    if rows > MOST_LEFT {
        let (rest, eight) = whole(&left, MOST_LEFT);
        left = rest;
        list.push((MOST_LEFT, eight));
    }
    // Fewer than `n` rows are left, or as many.
    let at_least = |n: u32| whole(&left, n).1.min_with(&Dim::Const(1));
    for n in (1..rows.min(MOST_LEFT)).rev() {
        let more = if n + 1 < rows.min(MOST_LEFT) { at_least(n + 1) } else { Dim::Const(0) };
        list.push((n, at_least(n) - more));
    }
    list.retain(|(n, count)| *n == rows || !count.is(0));
    list
}

/// The rows that whole tiles leave.
pub fn rest(extent: &Dim, rows: u32) -> Dim {
    let by = Dim::Const(i64::from(rows.max(1)));
    extent.clone() - by.clone() * extent.floor_div(&by).unwrap_or(Dim::Const(0))
}

impl PlannedKernel {
    /// The kernel's row of the table: what its code asks for, each once.
    pub fn sizes(&self) -> Vec<Dim> {
        let mut sizes = Vec::new();
        let mut add = |size: &Dim| {
            if size.as_const().is_none() && !sizes.contains(size) {
                sizes.push(size.clone());
            }
        };
        self.loops.iter().for_each(|l| add(&l.extent));
        for access in self.form.loads().into_iter().chain(self.form.stores()) {
            each_dim(access, &mut add);
        }
        for value in self.form.values() {
            value.each_size(&mut add);
        }
        if let Schedule::Tile(Tile { row: Some(row), mr, .. }) = &self.schedule
            && let Some(rows) = self.loops.get(row.0 as usize).filter(|rows| rows.is_open())
        {
            tiles(&rows.extent, *mr).iter().for_each(|(_, count)| add(count));
            add(&rest(&rows.extent, *mr));
        }
        for row in self.rows_apart().unwrap_or_default() {
            add(&row.offset);
        }
        for edge in self.edges().unwrap_or_default() {
            [&edge.whole, &edge.partial, &edge.rest].into_iter().for_each(&mut add);
        }
        sizes
    }

    /// Of a transpose that reads a few rows at a distance that only a run tells: each of them as an access of its own.
    pub fn rows_apart(&self) -> Option<Vec<FlatAccess>> {
        let (Schedule::Transpose(blocks), Form::Rearrange { from, .. }) = (&self.schedule, &self.form) else {
            return None;
        };
        let write = usize::from(blocks.write.0);
        let stride = from.strides.get(write).filter(|stride| stride.as_const().is_none())?;
        let few = |n: &i64| (1..=MOST_ROWS_APART).contains(n);
        let rows = self.loops.get(write)?.extent.as_const().filter(few)?;
        let words = from.dtype.size() == 4 && from.guards.is_empty() && from.gathers.is_empty();
        let row = |k: i64| {
            let mut row = from.clone();
            row.offset = row.offset + Dim::Const(k) * stride.clone();
            row.strides[write] = Dim::Const(0);
            row
        };
        words.then(|| (0..rows).map(row).collect())
    }

    /// [`PlannedKernel::steps`] as an expression; `None` where the shared loop does not exist.
    pub fn step_count(&self) -> Option<Dim> {
        let Some(shared) = self.shared else { return Some(Dim::Const(1)) };
        let extent = &self.loops.get(shared.along.0 as usize)?.extent;
        Some(extent.ceil_div(i64::from(shared.step.max(1))))
    }

    /// Whether there may be more of it than a thread takes at a time.
    pub fn is_forked(&self) -> bool {
        let known = |grain: &Dim| grain.as_const().zip(self.step_count()?.as_const());
        self.grain.as_ref().is_some_and(|grain| known(grain).is_none_or(|(grain, steps)| grain < steps))
    }

    /// Whether its code asks for sizes.
    pub fn has_sizes(&self) -> bool {
        !self.sizes().is_empty()
    }

    /// Whether an extent is known at run time alone.
    pub fn is_open(&self) -> bool {
        self.loops.iter().any(Loop::is_open)
    }

    /// The kernel for values of the open dimensions; expressions of others stay.
    pub fn at(&self, symbols: &Symbols) -> Self {
        let mut kernel = self.clone();
        if symbols.is_empty() {
            return kernel;
        }
        let values = symbols.iter().map(|(name, value)| (name.clone(), Dim::Const(*value))).collect();
        let mut close = |dim: &mut Dim| *dim = dim.substitute(&values);
        kernel.loops.iter_mut().for_each(|l| close(&mut l.extent));
        kernel.form.each_access_mut(&mut |access| each_dim_mut(access, &mut close));
        kernel.grain.iter_mut().for_each(&mut close);
        let parts = kernel.form.parts_mut();
        for value in parts.reduced.into_iter().chain(parts.stores.iter_mut().map(|s| &mut s.value)) {
            value.close_sizes(&mut close);
        }
        kernel
    }
}

impl Loop {
    /// Whether the extent is known at run time alone.
    pub fn is_open(&self) -> bool {
        self.extent.as_const().is_none()
    }
}

/// Every number of an access.
fn each_dim(access: &FlatAccess, f: &mut dyn FnMut(&Dim)) {
    f(&access.offset);
    access.strides.iter().for_each(&mut *f);
    for guard in &access.guards {
        guard.coefficients.iter().chain([&guard.offset, &guard.extent]).for_each(&mut *f);
    }
    for gather in &access.gathers {
        f(&gather.extent);
        f(&gather.stride);
        each_dim(&gather.index, f);
    }
}

fn each_dim_mut(access: &mut FlatAccess, f: &mut dyn FnMut(&mut Dim)) {
    f(&mut access.offset);
    access.strides.iter_mut().for_each(&mut *f);
    for guard in &mut access.guards {
        guard.coefficients.iter_mut().for_each(&mut *f);
        f(&mut guard.offset);
        f(&mut guard.extent);
    }
    for gather in &mut access.gathers {
        f(&mut gather.extent);
        f(&mut gather.stride);
        each_dim_mut(&mut gather.index, f);
    }
}

impl Schedule {
    /// The loops around vectors and tiles, which go one iteration after the other.
    pub fn around(&self) -> Vec<LoopId> {
        match self {
            Self::Scalar { order } => order.clone(),
            Self::Nest(nest) => {
                let tiled = |l: &LoopId| nest.tile.is_some_and(|(tiled, _)| tiled == *l);
                let free = |l: &&LoopId| !tiled(l) && !nest.unrolled.contains(l);
                nest.order.iter().filter(free).copied().collect()
            }
            Self::Tile(tile) => tile.outer.clone(),
            Self::Dots(dots) => dots.outer.clone(),
            Self::Stream(stream) => stream.outer.clone(),
            Self::Sparse(sparse) => sparse.outer.clone(),
            Self::Digits(digits) => digits.outer.clone(),
            Self::Transpose(blocks) => blocks.outer.clone(),
            Self::Transform(tiles) => tiles.outer.clone(),
        }
    }
}

impl PlannedKernel {
    /// Refuses a schedule that needs to know the extent of an open loop or an open stride: why.
    pub fn check_open(&self) -> Result<(), String> {
        if matches!(self.schedule, Schedule::Scalar { .. }) {
            return Ok(());
        }
        let (moved, open) = (self.moved_by_sizes(), self.may_be_open());
        let edges = self.edges()?;
        let apart = |l: LoopId| {
            let write = matches!(&self.schedule, Schedule::Transpose(blocks) if blocks.write == l);
            write && self.rows_apart().is_some()
        };
        for (i, l) in self.loops.iter().enumerate() {
            let id = LoopId(i as u16);
            if l.is_open() && !open.contains(&id) {
                return Err(format!("'{}' is open and not around what is done at once", l.name));
            }
            let strides = self.has_open_stride(id);
            if strides && !moved.contains(&id) && !apart(id) {
                return Err(format!(
                    "strides along '{}' are open, which is not around what is done at once",
                    l.name
                ));
            }
            let edge = edges.iter().any(|edge| edge.tiles == id || edge.within == id);
            let one_by_one = self.channels_of_pixels() == Some(id);
            if (l.is_open() || strides && !one_by_one) && !edge && self.form.is_guarded_along(id) {
                return Err(format!("padding along '{}', which is open", l.name));
            }
        }
        Ok(())
    }

    /// The loops that may be open: those around vectors and tiles, rows of tiles, and those whose steps are powers of two
    /// (vectors of a nest, columns of a matrix as it lies, depth), which end in steps of every smaller power. Where columns of bytes go by fours results
    /// beside each other do, and where channels make a lane, pixels.
    fn may_be_open(&self) -> Vec<LoopId> {
        let mut loops = self.schedule.around();
        let power = |step: u32| step.is_power_of_two();
        match &self.schedule {
            Schedule::Nest(nest) => {
                let window = matches!(self.form, Form::Window { .. });
                let pixels = matches!(self.form, Form::Map { .. });
                if power(nest.vectors) && (!nest.quads || pixels) {
                    loops.push(nest.vector);
                }
                let tile = nest.tile.filter(|(_, step)| power(*step) && (!nest.quads || window));
                loops.extend(tile.map(|(l, _)| l));
            }
            Schedule::Tile(tile) => {
                loops.extend(tile.row);
                if power(tile.nr) && !tile.rhs_padded && tile.panel == tile.nr {
                    loops.push(tile.col);
                }
                if power(tile.unroll) && !tile.straight && !tile.watched {
                    loops.extend(&tile.depth);
                }
            }
            Schedule::Dots(dots) => {
                let tiled = [dots.row, dots.col].into_iter().flatten();
                loops.extend(tiled.filter(|(_, step)| power(*step)).map(|(l, _)| l));
                loops.extend(&dots.depth);
            }
            Schedule::Transpose(blocks) => loops.push(blocks.read),
            _ => {}
        }
        loops
    }

    /// The loops along which an access may move by a number that is known at run time alone: those around what is done at once,
    /// the depth around its innermost loop, rows of windows, and elements of tiles that are transformed.
    pub fn moved_by_sizes(&self) -> Vec<LoopId> {
        let mut loops = self.schedule.around();
        loops.extend(self.channels_of_pixels());
        match (&self.schedule, &self.form) {
            (Schedule::Tile(Tile { depth, straight: false, watched: false, .. }), _) => {
                loops.extend(depth.split_last().map_or(&[][..], |(_, outer)| outer));
            }
            (Schedule::Nest(nest), _) if !nest.quads => {
                let innermost = nest.order.last();
                loops.extend(nest.unrolled.iter().filter(|l| Some(*l) != innermost));
            }
            (Schedule::Dots(dots), _) => loops.extend(&dots.depth),
            (Schedule::Transform(_), Form::Transform { left, right, .. }) => {
                loops.extend([left.to, left.over, right.to, right.over]);
            }
            _ => {}
        }
        loops
    }

    /// The channels that make a lane of a pixel, each of which is computed on its own.
    fn channels_of_pixels(&self) -> Option<LoopId> {
        match (&self.schedule, &self.form) {
            (Schedule::Nest(nest), Form::Map { .. }) if nest.quads => nest.tile.map(|(l, _)| l),
            _ => None,
        }
    }

    /// Whether an access moves along a loop by a number that is known at run time alone.
    fn has_open_stride(&self, l: LoopId) -> bool {
        let open = |a: &FlatAccess| a.strides.get(l.0 as usize).is_some_and(|s| s.as_const().is_none());
        let indices = |a: &FlatAccess| open(a) || a.gathers.iter().any(|g| open(&g.index));
        self.form.loads().into_iter().chain(self.form.stores()).any(indices)
    }
}

impl Form<FlatAccess> {
    /// Whether padding of an access depends on a loop.
    pub fn is_guarded_along(&self, l: LoopId) -> bool {
        let along = |a: &&FlatAccess| a.guards.iter().any(|g| !g.coefficients[l.0 as usize].is(0));
        self.loads().iter().any(along) || self.stores().iter().any(along)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_all_rows_once() {
        let n = Dim::symbol("n");
        for rows in 1..=14u32 {
            let tiles = tiles(&n, rows);
            assert!(tiles.windows(2).all(|t| t[0].0 > t[1].0), "{tiles:?}");
            for value in 0..=60i64 {
                let at = Symbols::from([("n".into(), value)]);
                let counts: Vec<_> = tiles.iter().map(|(r, c)| (*r, c.eval(&at).unwrap())).collect();
                let sum: i64 = counts.iter().map(|(r, c)| i64::from(*r) * c).sum();
                assert_eq!(sum, value, "tiles of {rows}: {counts:?}");
                assert_eq!(counts[0], (rows, value / i64::from(rows)));
                let rest = value % i64::from(rows);
                let left: i64 = counts[1..].iter().map(|c| c.1).sum();
                assert!(counts.iter().all(|c| c.1 >= 0) && left == i64::from(rest > 0) + i64::from(rest > 8));
                assert_eq!(super::rest(&n, rows).eval(&at), Some(rest));
            }
        }
    }
}
