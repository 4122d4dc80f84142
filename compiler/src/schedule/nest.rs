//! Maps, reductions, windows and copies: vectors along one loop.

use kiln_ir::DType;
use kiln_ir::kernel::plan::{FlatAccess, Nest, Schedule, Transpose};
use kiln_ir::kernel::sizes::MOST_ROWS_APART;
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, ReduceOp, Role, Store, WindowOp};
use kiln_targets::Target;
use kiln_targets::vector_expr;

use super::borders;
use super::choices::{Choices, NestPick};
use super::chosen::Chosen;
use super::roles::is_sum;
use super::strides::{
    by_falling_stride, closed_loops, even_part, extent_of, has_open_stride, is_empty, is_open, longest,
    open_step, stride_of, vector_access,
};
use super::{pixels, plane, quads, repeats};
use crate::flatten::{FlatKernel, loops_of};

/// Iterations of all unrolled reduced loops together, at most: a 7x7 window.
const MAX_UNROLLED: i64 = 49;
/// Accumulators of a window along its row at most. Four hide the latency of multiply-adds; more share more loads.
const WIDEST_WINDOW_TILE: i64 = 8;
/// Vector registers that a window needs besides accumulators and a row of weights: an input, a product where there
/// is no FMA, and one to spare.
const WINDOW_REGISTERS: i64 = 3;

/// The vector schedule of a form that is no contraction.
pub fn choose(kernel: &FlatKernel, target: &Target, choices: &Choices) -> Result<Chosen, String> {
    kernel.form.stores().into_iter().try_for_each(|a| writable(kernel, a))?;
    kernel.form.loads().into_iter().try_for_each(readable)?;
    check_form(kernel)?;
    if is_empty(kernel) {
        return Err("nothing to do".to_owned());
    }
    let pointwise = kernel.form.is_pointwise();
    let pieces = borders::pieces(kernel);
    if pointwise && pieces > borders::MOST_PIECES {
        return Err(format!("padding would cut the loops into {pieces} pieces"));
    }
    let placed = kernel.form.stores().iter().any(|a| !a.gathers.is_empty());
    if !placed
        && let Some(special) = pixels::choose(kernel, target).or_else(|| repeats::choose(kernel, target))
    {
        return Ok(special);
    }
    let found = vector_loop(kernel);
    // Where lanes are elements one by one a block that is turned is nothing but straight code.
    let blocks = !placed && !matches!(found, Ok((_, true))) && !target.crosses_bytes;
    let turned = if blocks { transpose(kernel) } else { None };
    if let Some(turned) = turned {
        return Ok(turned);
    }
    let (vector, contiguous) = found?;
    let stores = kernel.form.stores();
    let loads = kernel.form.loads();
    let rest = |role| loops_of(&kernel.loops, role).into_iter().filter(|l| *l != vector).collect::<Vec<_>>();
    let parallel = by_falling_stride(rest(Role::Parallel), stores.first().copied());
    let mut reduced = by_falling_stride(rest(Role::Reduce), loads.first().copied());
    let extent = |l: &LoopId| extent_of(kernel, *l).unwrap_or(1);
    let mut unrolled: Vec<LoopId> = Vec::new();
    let window = matches!(kernel.form, Form::Window { .. });
    let in_plane = window && plane::is(kernel, vector);
    if let Some(along) = parallel.last().filter(|_| in_plane) {
        plane::shared_last(kernel, &mut reduced, *along);
    }
    if window {
        for &l in reduced.iter().rev() {
            let so_far: i64 = unrolled.iter().map(extent).product();
            // Within a row of a window elements are at known distances; rows may be a size apart.
            let apart = unrolled.is_empty() && has_open_stride(kernel, l);
            if is_open(kernel, l) || apart || so_far * extent(&l) > MAX_UNROLLED {
                break;
            }
            unrolled.insert(0, l);
        }
    }
    // Neighbouring results share weights and most of their inputs.
    let along = parallel.last().filter(|l| window && !has_open_stride(kernel, **l));
    let along = along.filter(|l| !(in_plane && is_open(kernel, **l)));
    let mut model = match in_plane {
        true => plane::model(kernel, along, &unrolled, free_registers(kernel, &unrolled, target)),
        false => model(kernel, target, vector, along, &unrolled),
    };
    let fits =
        |unrolled: &[LoopId], tile| pointwise || plane::code_fits(kernel, vector, along, unrolled, tile);
    while !fits(&unrolled, model.tile) {
        match model.tile {
            0 | 1 if unrolled.is_empty() => return Err("padding makes too many cases".to_owned()),
            0 | 1 => _ = unrolled.remove(0),
            tile => model.tile = tile / 2,
        }
    }
    let measured = choices
        .nest(&kernel.loops, &kernel.form)
        .filter(|pick| legal(kernel, pick, &unrolled, target) && fits(&unrolled, pick.tile));
    let pick = measured.unwrap_or(model);
    let tile = along.filter(|_| !unrolled.is_empty()).map(|&l| (l, pick.tile.min(extent(&l) as u32)));
    let is_reduced = kernel.loops[vector.0 as usize].role == Role::Reduce;
    let why = format!(
        "{} {} ({}{}){}{}",
        if contiguous { "every access steps through" } else { "results lie along" },
        kernel.loops[vector.0 as usize].name,
        extent(&vector),
        if is_reduced { ", lanes combined at the end" } else { "" },
        if contiguous { " contiguously" } else { ", elements that lie apart are brought together" },
        match &measured {
            Some(pick) if *pick != model => "; measured faster than the cost model's choice",
            _ => "",
        }
    );
    let pick = NestPick { vectors: open_step(kernel, vector, pick.vectors.into()) as u32, ..pick };
    let tile = tile.map(|(l, n)| (l, open_step(kernel, l, n.into()) as u32));
    let fours = quads::pick(kernel, target, vector, along, &unrolled, &reduced);
    let order = parallel.iter().copied().chain(reduced).collect();
    if let (Some((vectors, tile)), Some(&along)) = (fours, along) {
        let tile = Some((along, tile));
        let nest = Nest { order, vector, vectors, tile, unrolled, columns: false, quads: true };
        let why = format!("{why}; columns are multiplied four at a time");
        return Ok(Chosen { schedule: Schedule::Nest(nest), why });
    }
    let NestPick { vectors, columns, .. } = pick;
    let nest = Nest { order, vector, vectors, tile, unrolled, columns, quads: false };
    Ok(Chosen { schedule: Schedule::Nest(nest), why })
}

/// What nests need of a store: a known place, or, of what is computed element by element, one that single indices lead to.
fn writable(kernel: &FlatKernel, access: &FlatAccess) -> Result<(), String> {
    let single = |a: &FlatAccess| a.strides.iter().all(|s| s.is(0));
    let led = kernel.form.is_pointwise() && access.gathers.iter().all(|g| single(&g.index));
    if access.gathers.is_empty() || !led {
        return vector_access(access);
    }
    readable(access)?;
    if access.guards.is_empty() { Ok(()) } else { Err(format!("'{}' is padded", access.name)) }
}

/// What nests need of a load: indices that are read at run time one by one.
fn readable(access: &FlatAccess) -> Result<(), String> {
    for gather in &access.gathers {
        vector_access(&gather.index)?;
        if access.table_index().is_some() {
            continue;
        }
        if !matches!(gather.index.dtype, DType::I32 | DType::I64) || !access.guards.is_empty() {
            return Err(format!("'{}' is padded and gathered, or its indices are no integers", access.name));
        }
        if gather.extent.as_const().is_none() || gather.stride.as_const().is_none() {
            return Err(format!("'{}' is gathered from an open axis", access.name));
        }
    }
    Ok(())
}

/// Positions that fit lanes of 32 bits, with room for what stands for none.
const MOST_POSITIONS: i64 = 1 << 30;

/// Registers that are left for accumulators when a window's columns are shared.
fn free_registers(kernel: &FlatKernel, unrolled: &[LoopId], target: &Target) -> i64 {
    let row = unrolled.last().and_then(|l| extent_of(kernel, *l)).unwrap_or(1);
    target.vector_registers as i64 - WINDOW_REGISTERS - row
}

/// The types of what a window multiplies along the vectors.
fn bytes_beside(kernel: &FlatKernel, vector: LoopId) -> Option<(DType, DType)> {
    let Form::Window { op: WindowOp::Dot, input, weight: Some(weight), .. } = &kernel.form else {
        return None;
    };
    let beside = |a: &FlatAccess| stride_of(a, vector) == Some(1);
    (beside(input) && beside(weight)).then_some((input.dtype, weight.dtype))
}

/// Whether a window multiplies bytes along the vectors, whose products as words go to two registers.
fn multiplies_long(kernel: &FlatKernel, target: &Target, vector: LoopId) -> bool {
    let types = bytes_beside(kernel, vector);
    target.multiplies_long && matches!(types, Some((DType::U8 | DType::I8, DType::I8)))
}

/// Sums of results beside each other that 14 general registers hold with a row of weights, what is read, and three pointers.
const SUMS_ALONE: i64 = 5;

/// Whether a window multiplies bytes along the vectors on a machine without vectors, where a channel at a time is computed.
fn multiplies_lanes(kernel: &FlatKernel, target: &Target, vector: LoopId) -> bool {
    target.crosses_bytes && bytes_beside(kernel, vector) == Some((DType::U8, DType::I8))
}

/// Whether a window's rows are unrolled and longer than a single element.
fn has_columns(kernel: &FlatKernel, unrolled: &[LoopId]) -> bool {
    matches!(kernel.form, Form::Window { .. })
        && unrolled.last().and_then(|l| extent_of(kernel, *l)).is_some_and(|n| n > 1)
}

/// The pick without measuring. `along`: the parallel loop beside the vectors, of windows.
fn model(
    kernel: &FlatKernel,
    target: &Target,
    vector: LoopId,
    along: Option<&LoopId>,
    unrolled: &[LoopId],
) -> NestPick {
    // What is left of an open loop goes in smaller steps: whole ones are for many iterations.
    let extent = |l: LoopId| match is_open(kernel, l) && l == vector {
        true => kernel.loops[l.0 as usize].extent.most(&kernel.bounds).unwrap_or(1),
        false => extent_of(kernel, l).unwrap_or(1),
    };
    let lanes =
        i64::from(vector_expr::nest_lanes(&kernel.form, &kernel.loops, vector, target.vector_bytes as u32));
    let alone = has_columns(kernel, unrolled) && multiplies_lanes(kernel, target, vector);
    let free = if alone { SUMS_ALONE } else { free_registers(kernel, unrolled, target) };
    let columns = has_columns(kernel, unrolled) && free >= 4;
    let long = columns && extent(vector) >= 2 * lanes && multiplies_long(kernel, target, vector);
    let widest = match columns {
        true if long => (free / 2).min(WIDEST_WINDOW_TILE),
        true => free.min(WIDEST_WINDOW_TILE),
        false => 4,
    };
    let tile = along.filter(|_| !unrolled.is_empty()).map_or(0, |l| even_part(extent(*l), widest) as u32);
    let parallel = kernel.loops[vector.0 as usize].role == Role::Parallel;
    let run = (RUN_BYTES / target.vector_bytes as i64).min(MOST_SUMS);
    let vectors = match &kernel.form {
        // A value and its position each.
        Form::Reduce { op: ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }, .. }
            if extent(vector) >= 2 * lanes =>
        {
            2
        }
        Form::Reduce { value, .. } if parallel && extent(vector) >= run * lanes && is_light(value) => {
            run as u32
        }
        Form::Reduce { .. } if extent(vector) >= 4 * lanes => 4,
        Form::Map { stores }
            if extent(vector) >= 4 * lanes && stores.iter().any(|s| vector_expr::has_chain(&s.value)) =>
        {
            4
        }
        Form::Map { .. } | Form::Rearrange { .. } if extent(vector) >= 2 * lanes => 2,
        Form::Window { .. } if long => 2,
        _ => 1,
    };
    if target.text && target.frugal {
        // One at a time leaves nothing over that would need code of its own, and sums are few enough for registers. Sums in
        // lanes keep their number, which is their order.
        let vectors = if parallel { 1 } else { vectors };
        let tile = if target.least_code { tile.min(1) } else { tile };
        return NestPick { vectors, tile, columns };
    }
    NestPick { vectors, tile, columns }
}

/// Bytes of each row that a reduction adds to sums in registers before it reads the next row: rows are in pages of their
/// own as a rule, and lines that follow each other come ahead of their use.
const RUN_BYTES: i64 = 512;
/// Sums at once, at most: what registers of most machines leave for the values.
const MOST_SUMS: i64 = 12;

/// Whether a value is little work beside reading it, and needs few registers: an element, or two combined.
fn is_light(value: &Expr<FlatAccess>) -> bool {
    let leaf = |e: &Expr<FlatAccess>| matches!(e, Expr::Load(_) | Expr::Const(_));
    match value {
        Expr::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Max | BinaryOp::Min, a, b) => {
            leaf(a) && leaf(b)
        }
        Expr::Cast(_, a) | Expr::Bits(_, a) => leaf(a),
        value => leaf(value),
    }
}

/// Vectors at once, and accumulators of a window, that are worth measuring.
const VECTORS: &[u32] = &[1, 2, 4, 8, 12];
const WINDOW_VECTORS: &[u32] = &[1, 2];
const MOST_WINDOW_TILE: u32 = 8;

/// Whether a kernel can have a pick, whose tile is cut to the extent of its loop.
fn legal(kernel: &FlatKernel, pick: &NestPick, unrolled: &[LoopId], target: &Target) -> bool {
    let NestPick { vectors, tile, columns } = *pick;
    if !matches!(kernel.form, Form::Window { .. }) {
        return tile == 0 && !columns && VECTORS.contains(&vectors);
    }
    let accumulators = i64::from(vectors) * i64::from(tile);
    let fits = has_columns(kernel, unrolled) && accumulators <= free_registers(kernel, unrolled, target);
    (1..=MOST_WINDOW_TILE).contains(&tile) && WINDOW_VECTORS.contains(&vectors) && (!columns || fits)
}

/// Picks worth measuring for a kernel with this schedule: the first is what it has.
pub fn candidates(kernel: &FlatKernel, nest: &Nest, target: &Target) -> Vec<NestPick> {
    let extent = |l: LoopId| extent_of(kernel, l).unwrap_or(1);
    let mut list = vec![NestPick {
        vectors: nest.vectors,
        tile: nest.tile.as_ref().map_or(0, |(_, n)| *n),
        columns: nest.columns,
    }];
    match (&kernel.form, &nest.tile) {
        _ if nest.quads => {}
        (Form::Window { .. }, Some((along, _))) => {
            for tile in [2, 4, 6, 8].map(|most| even_part(extent(*along), most) as u32) {
                for &vectors in WINDOW_VECTORS {
                    list.extend([true, false].map(|columns| NestPick { vectors, tile, columns }));
                }
            }
        }
        (Form::Map { .. } | Form::Reduce { .. }, None) if extent(nest.vector) > 64 => {
            list.extend(VECTORS.iter().map(|&vectors| NestPick { vectors, tile: 0, columns: false }));
        }
        _ => {}
    }
    let first = list[0];
    let mut seen = Vec::new();
    list.retain(|pick| {
        let new = !seen.contains(pick) && (*pick == first || legal(kernel, pick, &nest.unrolled, target));
        seen.push(*pick);
        new
    });
    list
}

/// A copy between two layouts: the source is contiguous in one loop, the destination in another.
fn transpose(kernel: &FlatKernel) -> Option<Chosen> {
    let Form::Rearrange { from, to } = &kernel.form else { return None };
    if ![1, 2, 4, 8].contains(&to.dtype.size()) || !from.gathers.is_empty() {
        return None;
    }
    let all = loops_of(&kernel.loops, Role::Parallel);
    let closed = closed_loops(kernel, Role::Parallel);
    let unit = |a: &FlatAccess| {
        closed.iter().copied().filter(|l| stride_of(a, *l) == Some(1)).max_by_key(|l| extent_of(kernel, *l))
    };
    let write = unit(to)?;
    // Of the caller's images a few channels lie at distances that a run tells, and so may the ends of rows.
    let few = extent_of(kernel, write).is_some_and(|n| n <= MOST_ROWS_APART);
    let apart = few && from.dtype.size() == 4 && from.guards.is_empty() && stride_of(from, write).is_none();
    let open = || {
        let all = all.iter().copied().filter(|l| is_open(kernel, *l) && stride_of(from, *l) == Some(1));
        all.last().filter(|_| apart)
    };
    let read = unit(from).or_else(open)?;
    let others = all.iter().copied().filter(|l| *l != read && *l != write).collect();
    let outer = by_falling_stride(others, Some(to));
    let name = |l: LoopId| &kernel.loops[l.0 as usize].name;
    let why =
        format!("blocks turned in registers, read along {} and written along {}", name(read), name(write));
    // Rows of a block lie as far apart as code has numbers for, or have a pointer each.
    let reachable = (apart || stride_of(from, write).is_some()) && stride_of(to, read).is_some();
    (read != write && reachable)
        .then_some(Chosen { schedule: Schedule::Transpose(Transpose { outer, read, write }), why })
}

fn check_form(kernel: &FlatKernel) -> Result<(), String> {
    let store = |store: &Store<FlatAccess>, acc: Option<DType>| {
        let found = vector_expr::dtype(&store.value, acc)?;
        let wanted = store.to.dtype;
        if found == wanted { Ok(()) } else { Err(format!("{found} stored as {wanted}")) }
    };
    match &kernel.form {
        Form::Map { stores } => stores.iter().try_for_each(|s| store(s, None)),
        Form::Reduce { op, value, store: result } => {
            let acc = vector_expr::dtype(value, None)?;
            if matches!(op, ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }) {
                let steps = loops_of(&kernel.loops, Role::Reduce);
                let counted = |l: &LoopId| {
                    !is_open(kernel, *l) && extent_of(kernel, *l).is_some_and(|n| n <= MOST_POSITIONS)
                };
                if acc == DType::Bool || !matches!(&steps[..], [l] if counted(l)) {
                    return Err(format!("{op:?} of {acc} along these loops has no vector form"));
                }
                return store(result, Some(DType::I64));
            }
            if acc == DType::Bool && !matches!(op, ReduceOp::Max | ReduceOp::Min) {
                return Err(format!("{op:?} of bools has no vector form"));
            }
            store(result, Some(acc))
        }
        Form::Window { op, input, weight, store: result } => {
            let acc = op.accumulator(input.dtype);
            let byte = matches!(input.dtype, DType::U8 | DType::I8);
            let bytes = |w: &FlatAccess| byte && matches!(w.dtype, DType::I8 | DType::I16);
            let factors = |w: &FlatAccess| w.dtype.accumulator() == acc || bytes(w);
            let sums = is_sum(acc) && weight.as_ref().is_none_or(factors);
            let short = matches!(acc, DType::I8 | DType::U8 | DType::I16 | DType::U16);
            // The extreme of short integers is one of them.
            if !(sums || short && *op == WindowOp::Max) {
                return Err(format!("a window over {} has no vector form", input.dtype));
            }
            store(result, Some(acc))
        }
        Form::Rearrange { to, .. } if ![1, 2, 4, 8].contains(&to.dtype.size()) => {
            Err(format!("elements of type {}", to.dtype))
        }
        _ => Ok(()),
    }
}

/// The farthest that elements of neighbouring lanes of a window may lie apart: within a few cache lines.
const FARTHEST: i64 = 8;

/// The loop whose iterations are lanes, and whether every access steps through it contiguously: steps of 1 in every
/// store and of 0 or 1 in every load. The longest; a parallel one where there is one. Otherwise loads are put together
/// element by element; of windows where elements of 32 or 8 bits lie a few apart.
fn vector_loop(kernel: &FlatKernel) -> Result<(LoopId, bool), String> {
    // An index is read outside the reduced loops.
    let chosen = |a: &FlatAccess, l: LoopId| match a.table_index() {
        Some(index) => stride_of(index, l) != Some(1),
        None => a.gathers.iter().any(|g| stride_of(&g.index, l) != Some(0)),
    };
    let loads = kernel.form.loads();
    let reduced_loops = loops_of(&kernel.loops, Role::Reduce);
    if let Some(a) = loads.iter().find(|a| reduced_loops.iter().any(|l| chosen(a, *l))) {
        return Err(format!("'{}' is gathered along what is reduced", a.name));
    }
    let unit = |a: &FlatAccess, l: LoopId| matches!(stride_of(a, l), Some(0 | 1));
    let near = |a: &FlatAccess, l: LoopId| {
        let loaded = matches!(a.dtype, DType::F32 | DType::I32 | DType::U32 | DType::U8 | DType::I8);
        unit(a, l) || loaded && stride_of(a, l).is_some_and(|s| s.abs() <= FARTHEST)
    };
    let best = |role, reads: &dyn Fn(&FlatAccess, LoopId) -> bool| {
        let written = if role == Role::Parallel { 1 } else { 0 };
        let lanes = |l: &LoopId| {
            kernel.form.stores().iter().all(|a| stride_of(a, *l) == Some(written))
                && loads.iter().all(|a| !chosen(a, *l) && reads(a, *l))
        };
        longest(kernel, loops_of(&kernel.loops, role).into_iter().filter(lanes))
    };
    let reduces = matches!(kernel.form, Form::Reduce { .. });
    let reduced = || {
        let guarded =
            |l: &LoopId| loads.iter().flat_map(|a| &a.guards).any(|g| !g.coefficients[l.0 as usize].is(0));
        best(Role::Reduce, &unit).filter(|l| reduces && !guarded(l))
    };
    if let Some(l) = best(Role::Parallel, &unit).or_else(reduced) {
        return Ok((l, true));
    }
    let apart = match reduces || kernel.form.is_pointwise() {
        true => best(Role::Parallel, &|_, _| true),
        false => best(Role::Parallel, &near),
    };
    apart.map(|l| (l, false)).ok_or_else(|| "no loop is contiguous in every result".to_owned())
}
