//! Contractions: register tiles.

use kiln_ir::format::packed::Steps;
use kiln_ir::kernel::plan::{FlatAccess, Schedule, Tile};
use kiln_ir::kernel::{Form, Loop, LoopId};
use kiln_ir::{DType, Dim};
use kiln_targets::{LhsAccess, Target};

use super::choices::{Choices, TilePick};
use super::chosen::Chosen;
use super::roles::{
    Roles, in_fours, is_bytes, is_crossed, is_halves, is_long, is_signed, is_words, lies_in_fours, rhs_size,
    roles, size, sums,
};
use super::strides::{by_falling_stride, even_part, extent_of, has_open_stride, is_open, stride_of};
use super::{cost, taps};
use crate::flatten::FlatKernel;

/// Bytes of a cache line.
const LINE: i64 = 64;
/// Bytes along the depth that are at least looked at together before their products are added in 16 bits.
pub const LEAST_RUN: u8 = 16;
/// Depth is straight-line code up to this many steps.
const STRAIGHT_STEPS: i64 = 16;
/// Lanes of vectors of lhs elements that are multiplied lane by lane.
const BY_LANE: usize = 4;
/// Vectors of sums of tiles that are multiplied lane by lane, where other registers are needed.
const MOST_SUMS: i64 = 16;
/// What it costs that the next panel of a matrix as it lies begins in a cache line of this one's.
const SHARED_LINES: f64 = 1.05;
/// What few rows cost more that are not cut into equal tiles, where the count of operations sees no difference.
const UNEVEN: f64 = 1.05;
/// Rows that make a tile worth its loads.
const FEW_ROWS: i64 = 4;
/// Tiles of rows up to which it matters how long the first one waits for its panel.
const MOST_TILES: i64 = 64;

/// Whether bytes are looked at before they are multiplied.
fn is_watched(packed: Option<Steps>) -> bool {
    matches!(packed, Some(Steps::Watched(_)))
}

/// Sums that a vector holds.
pub fn lanes(kernel: &FlatKernel, target: &Target) -> i64 {
    target.vector_bytes as i64 / size(kernel)
}

/// Registers that the products of `nv` vectors take beside those of a tile of f32.
fn product_registers(
    kernel: &FlatKernel,
    col: LoopId,
    nv: i64,
    packed: Option<Steps>,
    target: &Target,
) -> i64 {
    match sums(kernel) {
        DType::F32 => 0,
        DType::F64 => 1,
        _ if is_bytes(kernel) && target.dot4 => 0,
        // Two bounds, two halves of a run, what they come to, and a constant.
        _ if is_watched(packed) => 5 - nv,
        // Two pairs of a row and two products, beside a vector of each row.
        _ if is_long(kernel, target) => 11,
        _ if is_signed(kernel) => 0,
        // A sum of weights for each vector of columns, and two constants.
        _ if is_bytes(kernel) && target.signed_dot4 => nv + 2,
        // A product and a constant; vectors of weights are operands in memory.
        _ if lies_in_fours(kernel, col) => 2 - nv,
        // Two registers of each operand, and a product.
        _ if is_bytes(kernel) => nv + 2,
        _ if is_words(kernel) => i64::from(!target.dot4),
        // Products are sequences where there is no instruction.
        acc if acc.size() == 4 => 3,
        _ => 5,
    }
}

/// Cycles of the kernel with its best tile; `None` where it has no tiles.
pub fn cycles(kernel: &FlatKernel, packed: bool, target: &Target) -> Option<f64> {
    let roles = roles(kernel, packed).ok()?;
    let depth: i64 = roles.depth.iter().filter_map(|l| extent_of(kernel, *l)).product();
    let packed = packed.then_some(Steps::Single);
    let best = sizes(kernel, &roles, packed, target).into_iter().map(|s| s.0).min_by(f64::total_cmp)?;
    Some(best * depth as f64)
}

/// Sizes of tiles with the loop that their rows run along, each with its cost by [`cost`], in order of preference.
fn sizes(
    kernel: &FlatKernel,
    roles: &Roles,
    packed: Option<Steps>,
    target: &Target,
) -> Vec<(f64, Option<LoopId>, u32, u32)> {
    let lanes = lanes(kernel, target);
    let vectors = (extent_of(kernel, roles.col).unwrap_or(1) + lanes - 1) / lanes;
    let product = |loops: &[LoopId]| loops.iter().filter_map(|l| extent_of(kernel, *l)).product::<i64>();
    let (total, depth) = (product(&roles.rows), product(&roles.depth));
    let mut rhs_elements = product(&roles.batch) * depth * extent_of(kernel, roles.col).unwrap_or(1);
    if let (Form::Contract { rhs, .. }, false) = (&kernel.form, packed.is_some()) {
        rhs_elements = rhs_elements.min(reach(kernel, rhs));
    }
    let rhs = if is_words(kernel) {
        // A vector and a multiplication for two steps, of four.
        cost::Rhs::of_words(2 * rhs_elements, rhs_size(kernel), 2 * depth, target)
    } else if is_watched(packed) {
        cost::Rhs::of_watched(4 * rhs_elements, depth, target)
    } else if is_bytes(kernel) && target.dot4 {
        cost::Rhs::of_fours(rhs_elements, depth, target)
    } else if is_halves(kernel, target) {
        cost::Rhs { convert: 0.0, ..cost::Rhs::new(rhs_elements, rhs_size(kernel), depth, target) }
    } else {
        cost::Rhs::new(rhs_elements, rhs_size(kernel), depth, target)
    };
    let line = vectors_of_line(kernel, roles.col, target);
    let mut all = Vec::new();
    // A single tile need not be followed by whole panels.
    let open = is_open(kernel, roles.col);
    let fits =
        |nv: i64| (nv >= vectors || fits_panels(kernel, target, nv)) && (!open || nv.count_ones() == 1);
    let lhs = match &kernel.form {
        Form::Contract { lhs, .. } => Some(lhs),
        _ => None,
    };
    let pieces = |row: LoopId| lhs.map_or_else(Vec::new, |lhs| taps::pieces(kernel, lhs, row));
    let least =
        |l: LoopId| kernel.loops[usize::from(l.0)].extent.range(&kernel.bounds).map_or(1, |r| r.0.max(1));
    let lane_by_lane = by_lane(kernel, roles, target);
    // Larger tiles leave no registers for what is loaded ahead, for other types' products, and for results of few products.
    let most_sums = if sums(kernel) == DType::F32 && !target.in_order { i64::MAX } else { MOST_SUMS };
    let mut consider = |row: Option<LoopId>, mr: i64, nv: i64| {
        if lane_by_lane && mr * nv > most_sums {
            return;
        }
        // Of eights a row that has none beside it has zeros there.
        let even = if roles.eight.is_some() { mr + mr % 2 } else { mr };
        if roles.eight.is_some() && even * nv > MOST_SUMS {
            return;
        }
        let extra = product_registers(kernel, roles.col, nv, packed, target);
        let held = if is_bytes(kernel) { nv } else { mr.min(nv) };
        if extra != 0 && mr * nv + held + 1 + extra > target.vector_registers as i64 {
            return;
        }
        let pieces = row.map_or_else(|| vec![1], pieces);
        let extent = pieces.iter().sum::<i64>().max(1);
        let mut cycles = cost::tiles(total / extent, &pieces, vectors, mr, nv, &rhs);
        // The least rows that there can be count as much where they fill tiles: what is left over is a large part of few.
        if let Some(few) = row.filter(|l| is_open(kernel, *l)).map(&least).filter(|n| *n >= FEW_ROWS) {
            let fewest: i64 = roles.rows.iter().copied().map(&least).product();
            let uneven = if even_part(few, mr) == mr.min(few) { 1.0 } else { UNEVEN };
            let fewest_cycles = uneven * cost::tiles(fewest / few, &[few], vectors, mr, nv, &rhs);
            cycles = (cycles + fewest_cycles * total as f64 / fewest as f64) / 2.0;
        }
        if packed.is_none() && nv < vectors && nv * lanes * rhs_size(kernel) % LINE != 0 {
            cycles *= SHARED_LINES;
        }
        if let Some(line) = line {
            cycles += cost::results(mr, nv, nv % line == 0) * (total * vectors) as f64 / depth.max(1) as f64;
        }
        if lane_by_lane && !is_bytes(kernel) {
            cycles *= cost::beside_lanes(mr, nv);
        }
        if roles.eight.is_some() {
            cycles *= cost::beside_eights(mr, nv) * even as f64 / mr as f64;
        }
        if is_long(kernel, target) {
            // Three instructions for each vector, and two and a quarter for the pairs of a row.
            cycles *= 1.0 + 0.75 / nv as f64;
        }
        all.push((cycles, row, mr as u32, nv as u32));
    };
    // A single row keeps the pipeline full with many columns: all registers but three.
    let widest = (target.vector_registers as i64 - 3).min(8);
    let widest = (1..=widest.min(vectors).max(1)).rev().find(|v| fits(*v)).unwrap_or(1);
    if roles.rows.is_empty() {
        consider(None, 1, widest);
    }
    // Of equally good loops the one whose rows lie closest together.
    let steps = |l: &LoopId| {
        let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
        accesses.into_iter().all(|a| stride_of(a, *l).is_some())
    };
    // An open loop is no loop of rows where another is that fills a tile: a batch may be a single image.
    let fills = |l: &LoopId| !is_open(kernel, *l) && extent_of(kernel, *l).is_some_and(|n| n >= FEW_ROWS);
    let closed = roles.rows.iter().any(|l| fills(l) && steps(l));
    let rows = roles.rows.iter().copied().filter(|l| steps(l) && (!closed || !is_open(kernel, *l))).collect();
    for row in by_falling_stride(rows, lhs).into_iter().rev() {
        let pieces = pieces(row);
        let even = |r: i64| pieces.iter().any(|n| even_part((*n).max(1), r) == r);
        let short = if rhs_size(kernel) == 2 && !is_words(kernel) { target.short_tiles } else { &[] };
        for &(mr, nv) in target.f32_tiles.iter().chain(short) {
            // Equal parts: the last tile hides latency as the others do, and each asks for its share of what is next.
            for r in (1..=i64::from(mr)).rev().filter(|r| even(*r)) {
                for v in (1..=i64::from(nv)).rev().filter(|v| fits(*v)) {
                    consider(Some(row), r, if open { v } else { v.min(vectors) });
                }
            }
        }
        consider(Some(row), 1, widest);
    }
    all
}

/// Vectors whose results are a line, where sums take so few cycles that those of results count: of fours of bytes and of pairs
/// of words at 512 bits. One where no row begins with a line.
fn vectors_of_line(kernel: &FlatKernel, col: LoopId, target: &Target) -> Option<i64> {
    let Form::Contract { store, .. } = &kernel.form else { return None };
    let size = store.to.dtype.size() as i64;
    let whole = extent_of(kernel, col).is_some_and(|n| n * size % LINE == 0);
    let line = if whole { LINE / (lanes(kernel, target) * size) } else { 1 };
    let few = (is_bytes(kernel) || is_words(kernel)) && target.dot4;
    (few && target.vector_bytes as i64 == LINE).then_some(line.max(1))
}

/// Elements from the first that an access reads to the last: windows overlap.
fn reach(kernel: &FlatKernel, access: &FlatAccess) -> i64 {
    let along = |(stride, l): (&Dim, &Loop)| {
        let (stride, extent) =
            (stride.as_const().unwrap_or(0), l.extent.typical(&kernel.bounds).unwrap_or(1));
        stride.abs().saturating_mul(extent - 1)
    };
    access.strides.iter().zip(&kernel.loops).map(along).fold(1, i64::saturating_add)
}

/// Whether tiles of so many vectors, or two of them, are whole panels of those that machines share. Parts of panels would
/// fill the first-level cache with the rest of their lines.
fn fits_panels(kernel: &FlatKernel, target: &Target, vectors: i64) -> bool {
    let (columns, panel) = (vectors * lanes(kernel, target), target.shared_panel.map_or(1, i64::from));
    columns % panel == 0 || columns > panel && 2 * columns % panel == 0
}

/// Rows and vectors of columns of the best tile, and the loop that its rows run along.
fn tile_size(
    kernel: &FlatKernel,
    roles: &Roles,
    packed: Option<Steps>,
    target: &Target,
) -> (Option<LoopId>, u32, u32) {
    let mut best: Option<(f64, Option<LoopId>, u32, u32)> = None;
    for size in sizes(kernel, roles, packed, target) {
        if best.as_ref().is_none_or(|b| size.0 < b.0 * 0.999) {
            best = Some(size);
        }
    }
    best.map_or((None, 1, 1), |b| (b.1, b.2, b.3))
}

/// The tile of a kernel: the measured one where there is one, else the best by cost. `packed`: which steps of packed weights lie
/// together.
pub fn pick(
    kernel: &FlatKernel,
    target: &Target,
    packed: Option<Steps>,
    choices: &Choices,
) -> Result<TilePick, String> {
    let roles = roles(kernel, packed.is_some())?;
    let measured = choices.tile(&kernel.loops, &kernel.form, packed.is_some());
    if let Some(measured) = measured.filter(|_| !is_watched(packed)) {
        let row = measured.row.map(LoopId);
        let fits =
            |s: &(f64, Option<LoopId>, u32, u32)| (s.1, s.2, s.3) == (row, measured.mr, measured.vectors);
        if UNROLLS.contains(&measured.unroll) && sizes(kernel, &roles, packed, target).iter().any(fits) {
            return Ok(measured);
        }
    }
    Ok(best_pick(kernel, &roles, packed, target))
}

fn best_pick(kernel: &FlatKernel, roles: &Roles, packed: Option<Steps>, target: &Target) -> TilePick {
    let (row, mr, vectors) = tile_size(kernel, roles, packed, target);
    let panels_outermost = order(kernel, roles, row, target).0;
    // A vector of elements along depth is multiplied lane by lane.
    let unroll = match target.frugal && !by_lane(kernel, roles, target) {
        true if is_crossed(kernel, target) => in_whole_runs(kernel, roles, target),
        true => 1,
        false => target.tile_unroll,
    };
    TilePick { row: row.map(|l| l.0), mr, vectors, panels_outermost, unroll }
}

/// Steps at once where code is to be small: so many that none are left over, in a loop that is worth its instructions.
fn in_whole_runs(kernel: &FlatKernel, roles: &Roles, target: &Target) -> u32 {
    let steps = roles.depth.last().and_then(|l| extent_of(kernel, *l)).unwrap_or(1);
    let whole = |n: &&u32| {
        let n = i64::from(**n);
        n <= i64::from(target.tile_unroll) && steps % n == 0 && steps >= 2 * n
    };
    UNROLLS.iter().rev().find(whole).copied().unwrap_or(1)
}

/// Steps of depth that may be unrolled.
const UNROLLS: &[u32] = &[1, 2, 4, 8];
/// Sizes that are measured at most.
const MOST_SIZES: usize = 6;
/// Sizes that cost more than the best by this factor are not measured.
const WORTH_MEASURING: f64 = 1.3;

/// Picks worth measuring, in order of falling expectation: the first is the one without measuring.
pub fn candidates(kernel: &FlatKernel, target: &Target, packed: bool) -> Result<Vec<TilePick>, String> {
    let roles = roles(kernel, packed)?;
    let packed = packed.then_some(Steps::Single);
    let best = best_pick(kernel, &roles, packed, target);
    let mut ranked = sizes(kernel, &roles, packed, target);
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let limit = ranked.first().map_or(0.0, |s| s.0 * WORTH_MEASURING);
    let mut list = vec![best];
    for (_, row, mr, vectors) in ranked.into_iter().filter(|s| s.0 <= limit) {
        let panels_outermost = order(kernel, &roles, row, target).0;
        let pick = TilePick { row: row.map(|l| l.0), mr, vectors, panels_outermost, ..best };
        if list.len() < MOST_SIZES && !list.contains(&pick) {
            list.push(pick);
        }
    }
    let many_panels = |p: &TilePick| {
        extent_of(kernel, roles.col).unwrap_or(1) > i64::from(p.vectors) * lanes(kernel, target)
    };
    let turned = list.iter().filter(|p| many_panels(p));
    let turned = turned.map(|p| TilePick { panels_outermost: !p.panels_outermost, ..*p });
    let unrolled = UNROLLS.iter().filter(|u| **u > 1 && **u != best.unroll);
    let more: Vec<TilePick> = turned.chain(unrolled.map(|u| TilePick { unroll: *u, ..best })).collect();
    list.extend(more);
    Ok(list)
}

/// Whether all loops around a tile are of products of their own. These read panels of their own: nothing is gained
/// by going through them panel by panel.
fn only_batch(roles: &Roles, row: Option<LoopId>) -> bool {
    !roles.batch.is_empty() && roles.rows.iter().all(|l| Some(*l) == row)
}

/// Whether panels are outermost, by what stays in which cache, and in words why.
fn order(kernel: &FlatKernel, roles: &Roles, row: Option<LoopId>, target: &Target) -> (bool, &'static str) {
    let Form::Contract { lhs, .. } = &kernel.form else { return (false, "") };
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let depth: i64 = roles.depth.iter().map(extent).product();
    let rows: i64 = roles.rows.iter().map(extent).product();
    let lhs_bytes = rows * depth.min(lhs_span(lhs, roles, kernel)) * lhs.dtype.size() as i64;
    let depth = if is_words(kernel) { 4 * depth } else { depth };
    let rhs_bytes = extent(&roles.col) * depth * rhs_size(kernel);
    let (l1, l2) = (target.l1d_bytes as i64, target.l2_bytes as i64);
    let resident = rhs_bytes <= l1 / 2 || rhs_bytes <= l2 / 2 && lhs_bytes > l2;
    if only_batch(roles, row) {
        (false, "one product after the other")
    } else if resident {
        (false, "weights stay in cache, rows outermost")
    } else {
        (true, "panels outermost: weights are read once")
    }
}

/// The tile schedule. `packed` is the panel width of packed weights and which of their steps lie together, `None` when rhs is
/// read where it lies.
pub fn choose(
    kernel: &FlatKernel,
    target: &Target,
    packed: Option<(usize, Steps)>,
    choices: &Choices,
) -> Result<Chosen, String> {
    let roles = roles(kernel, packed.is_some())?;
    let steps_of_panels = packed.map(|(_, steps)| steps);
    let pick = pick(kernel, target, steps_of_panels, choices)?;
    let (row, mr) = (pick.row.map(LoopId), pick.mr);
    let nr = pick.vectors * lanes(kernel, target) as u32;
    let panel = packed.map_or(nr, |(columns, _)| columns as u32);
    let run = match packed {
        Some((_, Steps::Watched(run))) => Some(u32::from(run)),
        _ => None,
    };
    // A run is straight-line code.
    let pick = TilePick { unroll: run.map_or(pick.unroll, |run| run / 4), ..pick };
    let Form::Contract { lhs, store, .. } = &kernel.form else { return Err("no contraction".to_owned()) };
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let depth: i64 = roles.depth.iter().map(extent).product();
    let rows: i64 = roles.rows.iter().map(extent).product();
    let cols = extent(&roles.col);
    // Steps of depth that a multiplication takes at once.
    let steps = match (roles.quad, roles.eight) {
        (Some(_), Some(_)) => 8,
        (Some(_), None) => 4,
        (None, _) => 1,
    };
    if in_fours(kernel) && roles.quad.is_none() {
        return Err("factors whose depth is not cut into fours".to_owned());
    }
    if depth == 0 || rows == 0 || cols == 0 {
        return Err("nothing to do".to_owned());
    }
    let others = roles.batch.iter().chain(&roles.rows).copied().filter(|l| Some(*l) != row).collect();
    let tile = Tile {
        outer: by_falling_stride(others, Some(&store.to)),
        row,
        col: roles.col,
        depth: roles.depth.clone(),
        mr,
        nr,
        quad: roles.quad,
        eight: roles.eight,
        watched: run.is_some(),
        panel,
        panel_stride: match packed {
            Some((columns, together)) => together.elements((steps * depth) as usize, columns) as i64,
            None => i64::from(panel),
        },
        rhs_padded: packed.is_some(),
        unroll: pick.unroll,
        straight: !target.frugal
            && depth <= STRAIGHT_STEPS
            && !roles.depth.iter().any(|l| is_open(kernel, *l) || has_open_stride(kernel, *l)),
        by_lane: by_lane(kernel, &roles, target),
        panels_outermost: pick.panels_outermost,
        prefetch: if (pick.panels_outermost || only_batch(&roles, row)) && packed.is_some() {
            let products: i64 = roles.batch.iter().map(extent).product();
            // Where there are more rows more is asked for than is needed.
            let least = |l: &LoopId| {
                kernel.loops[l.0 as usize].extent.range(&kernel.bounds).map_or(1, |r| r.0.max(1))
            };
            let rows: i64 = roles.rows.iter().map(least).product();
            prefetch(products * cols * depth, steps * rhs_size(kernel), rows, &pick, nr, target)
        } else {
            0
        },
    };
    let model = best_pick(kernel, &roles, steps_of_panels, target);
    let order = match (pick == model, pick.panels_outermost) {
        (true, _) => order(kernel, &roles, row, target).1.to_owned(),
        (false, true) => format!("panels outermost; {}", measured(&model, lanes(kernel, target))),
        (false, false) => format!("rows outermost; {}", measured(&model, lanes(kernel, target))),
    };
    let why = format!(
        "{mr}x{nr} tile of {rows} rows x {cols} columns, depth {}; {}{} rhs of {} KiB, {order}{}",
        steps * depth,
        match (roles.quad.is_some(), target.multiplies_fours()) {
            _ if is_words(kernel) && rhs_size(kernel) == 1 => "words by bytes in pairs; ",
            _ if is_words(kernel) => "words in pairs; ",
            (true, true) if roles.eight.is_some() => "bytes eight at a time; ",
            (true, true) => "bytes four at a time; ",
            (true, false) if run.is_some() => "bytes in fours, watched for sums beyond 16 bits; ",
            (true, false) if is_signed(kernel) => "bytes with signs in pairs; ",
            (true, false) if lies_in_fours(kernel, roles.col) =>
                "bytes in pairs whose products fit 16 bits; ",
            (true, false) => "bytes as words in pairs; ",
            _ => "",
        },
        if packed.is_some() { "packed" } else { "plain" },
        cols * steps * depth * rhs_size(kernel) / 1024,
        if lhs.guards.is_empty() { "" } else { "; padding is left out" }
    );
    Ok(Chosen { schedule: Schedule::Tile(tile), why })
}

/// Whether the machine multiplies lane by lane and lhs elements, or fours of bytes, lie side by side along depth.
fn by_lane(kernel: &FlatKernel, roles: &Roles, target: &Target) -> bool {
    let Form::Contract { lhs, .. } = &kernel.form else { return false };
    let fours = target.multiplies_fours() || is_long(kernel, target);
    let dots = is_bytes(kernel) && roles.quad.is_some() && fours && target.encoder;
    target.lhs_access == LhsAccess::ByLane
        && (lhs.dtype == DType::F32 || dots || is_halves(kernel, target))
        && target.lanes() == BY_LANE
        && roles.depth.last().is_some_and(|l| stride_of(lhs, *l) == Some(if dots { 4 } else { 1 }))
}

/// Lines of the next panel to ask for in every run of depth steps, so that by the time of its turn it has come from
/// memory: as many as bring a whole panel per panel. Where one tile of very many waits for a panel, none.
fn prefetch(elements: i64, size: i64, rows: i64, pick: &TilePick, nr: u32, target: &Target) -> u32 {
    let tiles = (rows + i64::from(pick.mr) - 1) / i64::from(pick.mr);
    if !target.prefetches || elements * size <= target.l2_bytes as i64 / 2 || tiles > MOST_TILES {
        return 0;
    }
    let lines = i64::from(nr * pick.unroll) * size / LINE;
    ((lines + tiles - 1) / tiles).max(1) as u32
}

/// What a measured pick was better than.
fn measured(model: &TilePick, lanes: i64) -> String {
    let nr = model.vectors * lanes as u32;
    let order = if model.panels_outermost { "panels" } else { "rows" };
    format!("measured faster than {}x{nr}, {order} outermost, unrolled by {}", model.mr, model.unroll)
}

/// Elements of lhs that are new per row: overlapping windows share most of theirs.
fn lhs_span(lhs: &FlatAccess, roles: &Roles, kernel: &FlatKernel) -> i64 {
    let strides = roles.rows.iter().filter_map(|l| stride_of(lhs, *l)).filter(|s| *s > 0);
    strides.min().unwrap_or_else(|| roles.depth.iter().filter_map(|l| extent_of(kernel, *l)).product())
}
