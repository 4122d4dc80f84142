//! Rows times matrices that come from memory as they lie.

use kiln_ir::kernel::plan::{Schedule, Stream};
use kiln_ir::kernel::{Expr, Form, LoopId};
use kiln_targets::Target;

use super::chosen::Chosen;
use super::roles;
use super::strides::{by_falling_stride, extent_of, stride_of};
use crate::flatten::FlatKernel;

/// Rows of the matrix at a time. Of 16 MiB at 2 to 16 rows: 51, 62, 60, 50 GB/s (Zen 4, which reads them at 34 in tiles
/// of 128 columns).
const ROWS: u32 = 4;
/// Bytes of the rows of a panel: a page. Half of it reads at 50 GB/s, twice as much no faster, and threads share panels.
const WIDTH_BYTES: i64 = 4096;
/// Columns below which rows are too short to be fetched ahead.
const LEAST_COLUMNS: i64 = 128;

/// The schedule of a contraction with a single row whose rhs is not packed and larger than the cache.
pub fn choose(kernel: &FlatKernel, target: &Target) -> Result<Chosen, String> {
    let roles = roles::roles(kernel, false)?;
    let Form::Contract { acc, rhs, store, .. } = &kernel.form else {
        return Err("no contraction".to_owned());
    };
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let product = |loops: &[LoopId]| loops.iter().map(extent).product::<i64>();
    let (columns, depth) = (extent(&roles.col), product(&roles.depth));
    let bytes = columns.saturating_mul(depth) * acc.size() as i64;
    if !roles.rows.is_empty() || bytes <= target.l2_bytes as i64 / 2 || columns < LEAST_COLUMNS {
        return Err("not a row times a large matrix".to_owned());
    }
    // Each element is read once: windows do not overlap.
    let row = roles.depth.iter().all(|l| stride_of(rhs, *l).is_some_and(|stride| stride >= columns));
    // Sums stay where results go, which the epilogue must not read.
    let mut elsewhere = true;
    store.value.for_each_access(&mut |a| elsewhere &= a.storage != store.to.storage);
    if !row || !elsewhere || matches!(store.value, Expr::Const(_)) {
        return Err("rows that overlap, or a result that is read".to_owned());
    }
    let lanes = target.vector_bytes as i64 / acc.size() as i64;
    let width = (WIDTH_BYTES / acc.size() as i64).min((columns + lanes - 1) / lanes * lanes) as u32;
    let why = format!(
        "{columns} columns of {} KiB from memory, {ROWS} rows at a time; sums stay in the result",
        bytes / 1024
    );
    let outer = by_falling_stride(roles.batch, Some(&store.to));
    let stream = Stream { outer, col: roles.col, width, depth: roles.depth, rows: ROWS };
    Ok(Chosen { schedule: Schedule::Stream(stream), why })
}
