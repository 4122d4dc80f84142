//! Windows whose vectors lie along the rows that they slide over, as in images with their channels outermost.
//!
//! ```text
//!   3 x 3 window, two rows of results        x0 -> acc0 k0
//!     x0 ----------------                    x1 -> acc0 k1, acc1 k0
//!     x1 ----------------   acc0             x2 -> acc0 k2, acc1 k1
//!     x2 ----------------   acc1             x3 ->          acc1 k2
//!     x3 ----------------
//! ```
//!
//! Results below each other share rows of inputs, so the accumulators of a tile lie down the columns, and the window's
//! loop in that direction is the innermost one. Padding is decided at compile time: every position at a border has
//! code of its own, of which there must not be too much.

use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{Form, LoopId, Role};

use super::choices::NestPick;
use super::strides::{even_part, extent_of, stride_of};
use crate::flatten::{FlatKernel, loops_of};

/// Accumulators down a column at most: four rows of a 3 x 3 window read six rows of inputs.
const TALLEST_TILE: i64 = 4;
/// Elements of windows that may be straight code of a kernel with padding: some 20 KiB.
const MOST_CODE: i64 = 1200;
/// Cases of padding that a loop over a window may be repeated for.
const MOST_CASES: i64 = 400;

fn input(kernel: &FlatKernel) -> Option<&FlatAccess> {
    match &kernel.form {
        Form::Window { input, .. } => Some(input),
        _ => None,
    }
}

/// Whether the window slides along the vectors: one of its loops steps less far than they reach.
pub(super) fn is(kernel: &FlatKernel, vector: LoopId) -> bool {
    let Some(input) = input(kernel) else { return false };
    // Rows that are a size apart are farther apart than rows of vectors reach.
    let stride = |l: LoopId| stride_of(input, l).map_or(i64::MAX, i64::abs);
    let reach = stride(vector).saturating_mul(extent_of(kernel, vector).unwrap_or(1));
    loops_of(&kernel.loops, Role::Reduce).into_iter().any(|l| stride(l) < reach)
}

/// Whether results along a loop share inputs of a window along one of its loops, and soon enough for a tile.
fn shares(kernel: &FlatKernel, along: LoopId, reduced: LoopId) -> bool {
    let stride = |l: LoopId| input(kernel).and_then(|a| stride_of(a, l)).map_or(0, i64::abs);
    let (result, position) = (stride(along), stride(reduced));
    if result == 0 || position == 0 {
        return false;
    }
    let (mut a, mut b) = (result, position);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    position / a < TALLEST_TILE && extent_of(kernel, reduced).is_some_and(|n| result / a < n)
}

/// Moves the loop whose inputs neighbouring results share to the end, if there is one.
pub(super) fn shared_last(kernel: &FlatKernel, reduced: &mut Vec<LoopId>, along: LoopId) {
    if let Some(i) = reduced.iter().position(|l| shares(kernel, along, *l)) {
        let last = reduced.remove(i);
        reduced.push(last);
    }
}

/// The pick without measuring: a tile where its results share inputs.
pub(super) fn model(
    kernel: &FlatKernel,
    along: Option<&LoopId>,
    unrolled: &[LoopId],
    free_registers: i64,
) -> NestPick {
    let shared = along.zip(unrolled.last()).is_some_and(|(along, last)| shares(kernel, *along, *last));
    let columns = shared && free_registers >= 2;
    let tallest = if columns { free_registers.min(TALLEST_TILE) } else { 1 };
    let extent = along.and_then(|l| extent_of(kernel, *l)).unwrap_or(1);
    NestPick { vectors: 1, tile: even_part(extent, tallest) as u32, columns }
}

/// Whether the code for all cases of padding is not too much; what is not padded has one case.
pub(super) fn code_fits(
    kernel: &FlatKernel,
    vector: LoopId,
    along: Option<&LoopId>,
    unrolled: &[LoopId],
    tile: u32,
) -> bool {
    if kernel.form.loads().iter().all(|a| a.guards.is_empty()) {
        return true;
    }
    let cases = |l: LoopId| {
        let border = border(kernel, l);
        let inside = match along {
            // Whole tiles, and what is left of one.
            Some(along) if *along == l => i64::from(tile.max(1)) * 2 - 1,
            // Whole vectors, and what is left of one.
            _ if l == vector => 2,
            _ => 1,
        };
        border.saturating_add(inside)
    };
    let all = loops_of(&kernel.loops, Role::Parallel).into_iter().map(cases);
    let cases = all.fold(1i64, i64::saturating_mul);
    let elements: i64 = unrolled.iter().map(|l| extent_of(kernel, *l).unwrap_or(1)).product();
    cases <= MOST_CASES && cases.saturating_mul(elements) <= MOST_CODE
}

/// Iterations of a loop in which padding may be read.
fn border(kernel: &FlatKernel, l: LoopId) -> i64 {
    let extent = extent_of(kernel, l).unwrap_or(1);
    let loads = kernel.form.loads();
    let guards = loads.iter().flat_map(|a| &a.guards);
    let guards: Vec<_> = guards.filter(|g| !g.coefficients[l.0 as usize].is(0)).collect();
    let inside = |i: i64| {
        guards.iter().all(|g| {
            let (Some(offset), Some(extent)) = (g.offset.as_const(), g.extent.as_const()) else {
                return false;
            };
            let (mut low, mut high) = (offset, offset);
            for (other, c) in g.coefficients.iter().enumerate() {
                let Some(c) = c.as_const() else { return false };
                let Some(last) = kernel.loops[other].extent.most(&kernel.bounds) else { return false };
                let last = last - 1;
                let (first, last) = if other == l.0 as usize { (i, i) } else { (0, last) };
                low += (c * first).min(c * last);
                high += (c * first).max(c * last);
            }
            low >= 0 && high < extent
        })
    };
    if guards.is_empty() { 0 } else { (0..extent).filter(|i| !inside(*i)).count() as i64 }
}
