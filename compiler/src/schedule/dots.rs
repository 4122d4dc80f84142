//! Contractions as dot products: lanes along the depth.

use kiln_ir::kernel::plan::{Dots, FlatAccess, Schedule};
use kiln_ir::kernel::{Form, LoopId, Role};
use kiln_targets::{Target, vector_expr};

use super::chosen::Chosen;
use super::strides::{by_falling_stride, even_part, extent_of, is_open, stride_of, vector_access};
use super::{cost, roles};
use crate::flatten::{FlatKernel, loops_of};

/// Rows or columns of a tile at most.
const MOST: i64 = 8;
/// Vectors of a product with accumulators of their own.
const VECTORS: &[i64] = &[1, 2, 4, 8];
/// Cycles of a result beside its products: its lanes are added, the epilogue is of a single element.
const RESULT: f64 = 10.0;
/// What arithmetic counts where reading rhs takes longer.
const TIE: f64 = 0.05;
/// Registers that a tile needs besides accumulators and its shorter side: an operand, and a product where there is no FMA.
const OTHER_REGISTERS: i64 = 2;

/// The loops of a contraction by what they are to dot products.
struct Roles {
    /// In both operands or in neither.
    batch: Vec<LoopId>,
    /// In lhs alone.
    rows: Vec<LoopId>,
    /// In rhs alone.
    cols: Vec<LoopId>,
    /// Reduced, without the lanes.
    depth: Vec<LoopId>,
    /// Reduced; contiguous in both operands.
    lane: LoopId,
}

/// A tile and its cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sized {
    /// Of the whole kernel.
    pub cycles: f64,
    row: Option<(LoopId, u32)>,
    col: Option<(LoopId, u32)>,
    vectors: u32,
}

fn roles(kernel: &FlatKernel) -> Result<Roles, String> {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err("no contraction".to_owned());
    };
    for access in kernel.form.loads().into_iter().chain([&store.to]) {
        vector_access(access)?;
    }
    if let Some(other) =
        [lhs, rhs].into_iter().find(|a| !roles::is_sum(*acc) || a.dtype.accumulator() != *acc)
    {
        return Err(format!("'{}' is {}, sums are {acc}", other.name, other.dtype));
    }
    let value = vector_expr::dtype(&store.value, Some(*acc))?;
    if value != store.to.dtype {
        return Err(format!("{value} stored as {}", store.to.dtype));
    }
    let zero = |a: &FlatAccess, l: LoopId| stride_of(a, l) == Some(0);
    let one = |a: &FlatAccess, l: LoopId| stride_of(a, l) == Some(1);
    let reduced = by_falling_stride(loops_of(&kernel.loops, Role::Reduce), Some(lhs));
    let lane = reduced.iter().copied().filter(|l| !is_open(kernel, *l) && one(lhs, *l) && one(rhs, *l));
    let lane = lane.max_by_key(|l| extent_of(kernel, *l));
    let lane = lane.ok_or_else(|| "no reduced loop is contiguous in both operands".to_owned())?;
    let parallel = loops_of(&kernel.loops, Role::Parallel);
    let of = |in_lhs: bool, in_rhs: bool| {
        let wanted = |l: &LoopId| zero(lhs, *l) != in_lhs && zero(rhs, *l) != in_rhs;
        parallel.iter().copied().filter(wanted).collect::<Vec<_>>()
    };
    Ok(Roles {
        batch: [of(true, true), of(false, false)].concat(),
        rows: of(true, false),
        cols: of(false, true),
        depth: reduced.into_iter().filter(|l| *l != lane).collect(),
        lane,
    })
}

/// Elements of a vector of sums.
fn lanes(kernel: &FlatKernel, target: &Target) -> i64 {
    let wide = matches!(&kernel.form, Form::Contract { acc, .. } if acc.size() == 8);
    target.vector_bytes as i64 / if wide { 8 } else { 4 }
}

/// The cheapest tile; why there is none.
pub fn best(kernel: &FlatKernel, target: &Target) -> Result<Sized, String> {
    let roles = roles(kernel)?;
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let product = |loops: &[LoopId]| loops.iter().map(extent).product::<i64>();
    let lanes = lanes(kernel, target);
    let steps = product(&roles.depth) * ((extent(&roles.lane) + lanes - 1) / lanes);
    let results = product(&roles.batch) * product(&roles.rows) * product(&roles.cols);
    if steps == 0 || results == 0 {
        return Err("nothing to do".to_owned());
    }
    let depth = product(&roles.depth) * extent(&roles.lane);
    let size = match &kernel.form {
        Form::Contract { rhs, .. } => rhs.dtype.size() as i64,
        _ => target.vector_bytes as i64 / lanes,
    };
    let elements = product(&roles.batch) * product(&roles.cols) * depth;
    let rhs = cost::Rhs::new(elements, size, depth, target);
    let least = rhs.read(elements * size);
    let sides = |loops: &[LoopId]| {
        let cut = |l: &LoopId| {
            let extent = extent(l);
            let open = is_open(kernel, *l);
            let parts = (1..=MOST)
                .filter(move |&n| if open { n.count_ones() == 1 } else { even_part(extent, n) == n });
            parts.map(|n| (Some((*l, n as u32)), n, extent)).collect::<Vec<_>>()
        };
        // What moves by a size goes one by one.
        let steps = |l: &&LoopId| {
            let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
            accesses.into_iter().all(|a| stride_of(a, **l).is_some())
        };
        let all: Vec<_> = loops.iter().rev().filter(steps).flat_map(cut).collect();
        if all.is_empty() { vec![(None, 1, 1)] } else { all }
    };
    let mut best: Option<Sized> = None;
    for (row, r, rows) in sides(&roles.rows) {
        for (col, c, cols) in sides(&roles.cols) {
            let tiles = ((rows + r - 1) / r) * ((cols + c - 1) / c) * (results / (rows * cols));
            for &v in VECTORS.iter().filter(|v| **v <= (extent(&roles.lane) + lanes - 1) / lanes) {
                if r * c * v + r.min(c) + OTHER_REGISTERS > target.vector_registers as i64 {
                    continue;
                }
                // Every vector of rhs that is converted serves a few rows only.
                let step = cost::dots(r, c, v) + (c * v) as f64 * rhs.convert;
                let products = tiles as f64 * step * (steps as f64 / v as f64);
                // Where all wait for rhs, what waits least on itself.
                let cycles = products.max(least) + TIE * products + results as f64 * RESULT;
                if best.is_none_or(|b| cycles < b.cycles * 0.999) {
                    best = Some(Sized { cycles, row, col, vectors: v as u32 });
                }
            }
        }
    }
    best.ok_or_else(|| "the registers are not enough for a product".to_owned())
}

/// The schedule with the cheapest tile.
pub fn choose(kernel: &FlatKernel, target: &Target) -> Result<Chosen, String> {
    let Sized { row, col, vectors, .. } = best(kernel, target)?;
    let roles = roles(kernel)?;
    let Form::Contract { store, .. } = &kernel.form else { return Err("no contraction".to_owned()) };
    let tiled = |l: &LoopId| [row, col].into_iter().flatten().any(|(t, _)| t == *l);
    let others = loops_of(&kernel.loops, Role::Parallel).into_iter().filter(|l| !tiled(l)).collect();
    let lane = roles.lane;
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let of = |loops: &[LoopId]| loops.iter().map(extent).product::<i64>();
    let size = |side: Option<(LoopId, u32)>| side.map_or(1, |(_, n)| n);
    let why = format!(
        "{} x {} dot products of {} x {}, depth {} with {} ({}) in lanes, added at the end",
        size(row),
        size(col),
        of(&roles.rows),
        of(&roles.cols),
        of(&roles.depth) * extent(&lane),
        kernel.loops[lane.0 as usize].name,
        extent(&lane)
    );
    let outer = by_falling_stride(others, Some(&store.to));
    let dots = Dots { outer, row, col, depth: roles.depth, lane, vectors };
    Ok(Chosen { schedule: Schedule::Dots(dots), why })
}
