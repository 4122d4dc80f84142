//! Sizes: integers of a plan that are known when it runs.
//!
//! A plan with open dimensions has a table of them, computed once when a run begins: the open dimensions themselves, in
//! the order of their names, then rows of what kernels ask for. Before a kernel is called the frame is pointed to its
//! row, in which its code finds each size by its position; what is constant stands in the instructions.

use super::access::LoopId;
use super::form::{Form, Loop};
use super::plan::{FlatAccess, Plan, PlannedKernel, Schedule, Tile};
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

/// Tiles of an open number of rows: whole ones of `rows`, then what is left as one at most of each power of two below that,
/// falling. The rows of a tile and how many of these there are.
pub fn tiles(extent: &Dim, rows: u32) -> Vec<(u32, Dim)> {
    let parts = (0..u32::BITS).rev().map(|bit| 1 << bit).filter(|part| *part < rows);
    let mut left = extent.clone();
    let mut list = Vec::new();
    for rows in [rows.max(1)].into_iter().chain(parts) {
        let by = Dim::Const(i64::from(rows));
        let count = left.floor_div(&by).unwrap_or(Dim::Const(0));
        left = left - by * count.clone();
        if list.is_empty() || !count.is(0) {
            list.push((rows, count));
        }
    }
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
        sizes
    }

    /// [`PlannedKernel::steps`] as an expression; `None` where the shared loop does not exist.
    pub fn step_count(&self) -> Option<Dim> {
        let Some(shared) = self.shared else { return Some(Dim::Const(1)) };
        let extent = &self.loops.get(shared.along.0 as usize)?.extent;
        Some(extent.ceil_div(i64::from(shared.step.max(1))))
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
    /// The loops that may be open: those around vectors and tiles, which go one iteration after the other.
    fn around(&self) -> Vec<LoopId> {
        match self {
            Self::Scalar { order } => order.clone(),
            Self::Nest(nest) => {
                let tiled = |l: &LoopId| nest.tile.is_some_and(|(tiled, _)| tiled == *l);
                let free = |l: &&LoopId| !tiled(l) && !nest.unrolled.contains(l);
                nest.order.iter().filter(free).copied().collect()
            }
            // Rows that are left are tiles of their own.
            Self::Tile(tile) => tile.outer.iter().chain(&tile.row).copied().collect(),
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
    /// Refuses a schedule that needs to know the extent of an open loop: why.
    pub fn check_open(&self) -> Result<(), String> {
        if !self.is_open() || matches!(self.schedule, Schedule::Scalar { .. }) {
            return Ok(());
        }
        let around = self.schedule.around();
        for (i, l) in self.loops.iter().enumerate().filter(|(_, l)| l.is_open()) {
            let id = LoopId(i as u16);
            if !around.contains(&id) {
                return Err(format!("'{}' is open and not around what is done at once", l.name));
            }
            if self.form.is_guarded_along(id) {
                return Err(format!("padding along '{}', which is open", l.name));
            }
        }
        Ok(())
    }
}

impl Form<FlatAccess> {
    /// Whether padding of an access depends on a loop.
    pub fn is_guarded_along(&self, l: LoopId) -> bool {
        let along = |a: &&FlatAccess| a.guards.iter().any(|g| !g.coefficients[l.0 as usize].is(0));
        self.loads().iter().any(along) || self.stores().iter().any(along)
    }
}
