//! Windows of bytes whose columns are multiplied four at a time.

use kiln_ir::DType;
use kiln_ir::kernel::{Form, LoopId};
use kiln_targets::Target;

use super::strides::{even_part, extent_of, is_open, open_step, stride_of};
use crate::flatten::FlatKernel;

/// Results of a row at once, at most.
const WIDEST: i64 = 4;
/// Channels go by fours.
const GROUP: i64 = 4;
/// Registers beside accumulators and columns: weights, what moves groups of channels, and one to spare.
const OTHERS: i64 = 3;
/// Taps of a row up to which four vectors of channels are taken at once: weights wait in the frame.
const FEW_TAPS: i64 = 4;
/// Taps of a row at most.
const MOST_TAPS: i64 = 7;

/// Vectors of channels at once, and results beside each other along the loop `along`; `None` where the window's columns do not
/// go by fours. All reduced loops are `unrolled`.
pub(super) fn pick(
    kernel: &FlatKernel,
    target: &Target,
    vector: LoopId,
    along: Option<&LoopId>,
    unrolled: &[LoopId],
    reduced: &[LoopId],
) -> Option<(u32, u32)> {
    let Form::Window { input, weight: Some(weight), store, .. } = &kernel.form else { return None };
    let (&along, &row) = (along?, reduced.last()?);
    let bytes = (input.dtype, weight.dtype) == (DType::U8, DType::I8);
    let plain = input.guards.is_empty() && weight.guards.is_empty();
    if is_open(kernel, vector) {
        return None;
    }
    if !target.dot4 || target.vector_bytes != 64 || !bytes || !plain || unrolled.len() != reduced.len() {
        return None;
    }
    let (from, to) = (stride_of(input, row)?, stride_of(input, along)?);
    let taps = extent_of(kernel, row)?;
    let slides = from > 0 && to > 0 && to % from == 0 && to / from <= 2 && (2..=MOST_TAPS).contains(&taps);
    let channels = extent_of(kernel, vector)?;
    let beside = [(input, 1), (weight, 1), (&store.to, 1)];
    let side_by_side = beside.iter().all(|(a, stride)| stride_of(a, vector) == Some(*stride));
    if !slides || !side_by_side || stride_of(weight, along) != Some(0) || channels % GROUP != 0 {
        return None;
    }
    let lanes = target.lanes() as i64;
    let vectors = (if taps <= FEW_TAPS { 4 } else { 2 }).min((channels + lanes - 1) / lanes);
    let fours = |tile: i64| {
        let end = (tile - 1) * (to / from) + taps;
        // Every even column begins four, but for the last ones.
        ((end - 1) / 2).max(1)
    };
    let fits = |tile: &i64| vectors * (tile + fours(*tile) + 1) + OTHERS <= target.vector_registers as i64;
    let widest = (1..=WIDEST).rev().find(fits)?;
    let extent = extent_of(kernel, along)?;
    let tile = match is_open(kernel, along) {
        true => open_step(kernel, along, widest),
        false => even_part(extent, widest),
    };
    Some((vectors as u32, tile as u32))
}
