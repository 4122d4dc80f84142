//! [`Schedule::Nest`](kiln_ir::kernel::plan::Schedule::Nest): vectors along one loop.
//!
//! The code of a nest, for a parallel vector loop:
//!
//! ```text
//! parallel loops of `order` (one of them in steps of `tile` iterations)
//!   blocks of `vectors` vectors along `vector`; a last block with what is left
//!     tile x vectors accumulators
//!     reduced loops
//!       accumulate
//!     epilogue, stores
//! ```
//!
//! For a reduced one the blocks are innermost, and lanes are combined before the epilogue.

mod accumulate;
mod arg;
mod beside;
mod bytes;
mod columns;
mod copies;
mod extremes;
mod lookup;
mod octets;
mod pixels;
mod quads;
mod reduction;
mod repeats;
mod rows;
mod twos;

use kiln_ir::kernel::Expr;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::{FlatAccess, Nest, PlannedKernel, Shared};
use kiln_ir::kernel::{Form, ReduceOp, Role, Scalar, WindowOp};
use kiln_ir::{DType, Error};
use kiln_targets::simd::sequences::keep_first;
use kiln_targets::simd::{Across, Op2, R, Refusal, Simd, Src, V};
use kiln_targets::vector_expr::{is_byte_window, is_bytewise, nest_lanes};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, stepped, trips};
use super::typed;
use super::vexpr::{At, Dag, lane_bits};
use super::walk::{AccessId, Gathered, Walk};
use arg::Arg;
use reduction::reduction;

/// What happens in the innermost loop.
enum Work {
    /// Nothing but the stores.
    Map,
    /// The same of the bits of bytes.
    Bytes,
    /// Copies of bytes.
    Copy { from: AccessId },
    /// Elements that are written several times.
    Repeat { from: AccessId },
    /// Bytes out of a table of 256.
    LookUp { table: AccessId, index: AccessId },
    /// `acc = op(acc, value)`.
    Reduce { op: Op2, value: Dag },
    /// The position of an extreme value.
    Arg { arg: Arg, value: Dag },
    /// `acc += input * weight`.
    Dot { input: AccessId, weight: AccessId },
    /// `acc = op(acc, input)`.
    Window { op: Op2, input: AccessId },
    /// `acc = max(acc, input)` of bytes as they lie in memory.
    Greatest { input: AccessId },
}

/// The generator.
struct Generator<'k> {
    walk: Walk,
    nest: &'k Nest,
    share: Option<Shared>,
    parallel: Vec<LoopId>,
    reduced: Vec<LoopId>,
    /// By the number of parallel loops that they are inside of: indices read at run time.
    rows: Vec<Vec<Gathered>>,
    /// Whether lanes are iterations of a reduced loop.
    across: Option<Across>,
    work: Work,
    /// Whether a window's input is bytes without signs, and weights have at most 16 bits: their products are those of words.
    words: bool,
    /// The accumulators' type.
    acc: DType,
    /// The empty reduction, as lanes hold it.
    identity: u64,
    epilogue: Dag,
    /// What sums begin with where that is not 0.
    start: Option<AccessId>,
    stores: Vec<AccessId>,
    /// Elements of a vector.
    lanes: usize,
    /// Whether that is one, where a register is as many of the machine's as it has lanes.
    alone: bool,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(kernel: &PlannedKernel, places: Option<&Places>, nest: &Nest, s: &mut S) -> R {
    let mut walk = Walk::new(kernel, places)?;
    let role = |l: &LoopId| kernel.loops[l.0 as usize].role;
    let parallel: Vec<_> = nest.order.iter().copied().filter(|l| role(l) == Role::Parallel).collect();
    let reduced: Vec<_> = nest.order.iter().copied().filter(|l| role(l) == Role::Reduce).collect();
    if let Some((l, _)) = nest.tile
        && !parallel.contains(&l)
    {
        return Err(Refusal::unsupported("a tile along a loop that is not parallel"));
    }
    let none = Scalar { dtype: DType::F32, bits: 0 };
    let (work, identity, combine, stores): (_, Scalar, _, Vec<(&FlatAccess, Expr<FlatAccess>)>) =
        match &kernel.form {
            Form::Map { stores } => {
                let work = if is_bytewise(&kernel.form) { Work::Bytes } else { Work::Map };
                (work, none, None, stores.iter().map(|st| (&st.to, st.value.clone())).collect())
            }
            Form::Rearrange { from, to } if nest.quads => {
                (Work::Repeat { from: walk.access(from)? }, none, None, vec![(to, Expr::Const(none))])
            }
            Form::Rearrange { from, to } if from.table_index().is_some() => {
                let index = walk.access(from.table_index().expect("a table"))?;
                let table = walk.access(&FlatAccess { gathers: Vec::new(), ..from.clone() })?;
                (Work::LookUp { table, index }, none, None, vec![(to, Expr::Const(none))])
            }
            Form::Rearrange { from, to } if to.dtype.size() < 4 => {
                (Work::Copy { from: walk.access(from)? }, none, None, vec![(to, Expr::Const(none))])
            }
            Form::Rearrange { from, to } => (Work::Map, none, None, vec![(to, Expr::Load(from.clone()))]),
            Form::Reduce { op: op @ (ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }), value, store } => {
                let dtype = value.dtype_with(&mut |a| a.dtype, None).map_err(|e| refusal(&e))?;
                let along = if role(&nest.vector) == Role::Reduce { &[nest.vector] } else { &reduced[..] };
                let arg = Arg::new(*op, dtype, along, &walk)?;
                let value = Dag::typed(&mut walk, dtype, [value])?;
                let none = Scalar::int(DType::I64, 0);
                (Work::Arg { arg, value }, none, Some(Across::Max), vec![(&store.to, store.value.clone())])
            }
            Form::Reduce { op, value, store } => {
                let dtype = value.dtype_with(&mut |a| a.dtype, None).map_err(|e| refusal(&e))?;
                let (op, identity, combine) = reduction(*op, dtype)?;
                let value = Dag::typed(&mut walk, dtype, [value])?;
                (Work::Reduce { op, value }, identity, Some(combine), vec![(&store.to, store.value.clone())])
            }
            Form::Window { op, input, weight, store } => {
                let reduce = if *op == WindowOp::Max { ReduceOp::Max } else { ReduceOp::Sum };
                let (combined, identity, combine) = reduction(reduce, op.accumulator(input.dtype))?;
                let input = walk.access(input)?;
                let work = match (op, weight) {
                    (WindowOp::Dot, Some(weight)) => Work::Dot { input, weight: walk.access(weight)? },
                    (WindowOp::Dot, None) => return Err(Refusal::unsupported("a window without weights")),
                    (WindowOp::Max, _) if is_byte_window(&kernel.form, &kernel.loops, nest.vector) => {
                        Work::Greatest { input }
                    }
                    (WindowOp::Sum | WindowOp::Max, _) => Work::Window { op: combined, input },
                };
                (work, identity, Some(combine), vec![(&store.to, store.value.clone())])
            }
            form => return Err(Refusal::unsupported(format!("{} along one loop", form.name()))),
        };
    let mut epilogue = Dag::typed(&mut walk, identity.dtype, stores.iter().map(|(_, value)| value))?;
    let lanes_are_results = role(&nest.vector) == Role::Parallel;
    let start =
        if lanes_are_results && matches!(work, Work::Dot { .. }) { epilogue.take_start() } else { None };
    let stores = stores.iter().map(|(to, _)| walk.access(to)).collect::<R<Vec<_>>>()?;
    let across = if role(&nest.vector) == Role::Reduce { combine } else { None };
    let lanes = nest_lanes(&kernel.form, &kernel.loops, nest.vector, 4 * s.lanes() as u32) as usize;
    let (acc, identity) = (identity.dtype, lane_bits(identity));
    let bytes = |input: &FlatAccess, w: &FlatAccess| {
        input.dtype == DType::U8 && matches!(w.dtype, DType::I8 | DType::I16)
    };
    let words = matches!(&kernel.form, Form::Window { input, weight: Some(w), .. } if bytes(input, w));
    let rows = Vec::new();
    let mut this = Generator {
        walk,
        nest,
        share: kernel.shared,
        parallel,
        reduced,
        rows,
        across,
        work,
        words,
        acc,
        identity,
        epilogue,
        start,
        stores,
        lanes,
        alone: false,
    };
    for stride in this.walk.strides(nest.vector) {
        s.prepare_strided(i32::try_from(stride).map_err(|_| Refusal::FarDisplacement)?)?;
    }
    this.alone = this.takes_single_channels(s);
    if this.alone {
        this.lanes = 1;
    }
    this.find_rows()?;
    let pixels = nest.quads && matches!(this.work, Work::Map);
    if nest.quads && !pixels && !matches!(this.work, Work::Repeat { .. }) {
        s.prepare_turned()?;
    }
    // Put together in lanes they are what their type can hold.
    this.epilogue.exact = pixels;
    if pixels {
        this.epilogue.hold_constants(s)?;
    }
    this.keep_constants(s)?;
    this.walk.open_all(s)?;
    match kernel.shared {
        Some(share) if share.along == nest.vector => {
            if i64::from(share.step) != this.block() {
                return Err(Refusal::unsupported("shared blocks of another size than a nest's"));
            }
            this.at_rows(s, 0, &mut |this, s| {
                shared(this, s, share, false, &mut |this, s, width| this.block_of(s, width, 1))
            })?;
        }
        _ => this.parallel(s, 0, 1)?,
    }
    this.walk.close(s);
    Ok(())
}

fn refusal(e: &Error) -> Refusal {
    Refusal::unsupported(e.message.clone())
}

/// The vectors of a block: lanes of each.
fn widths(count: i64, lanes: usize) -> Vec<usize> {
    let full = count as usize / lanes;
    let rest = count as usize % lanes;
    std::iter::repeat_n(lanes, full).chain((rest > 0).then_some(rest)).collect()
}

impl Generator<'_> {
    /// Elements of a block.
    fn block(&self) -> i64 {
        i64::from(self.nest.vectors.max(1)) * self.lanes as i64
    }

    /// The parallel loops from the `i`th on, for `tile` iterations of the tiled loop.
    fn parallel<S: Simd>(&mut self, s: &mut S, i: usize, tile: i64) -> R {
        self.at_rows(s, i, &mut |this, s| this.parallel_loop(s, i, tile))
    }

    fn parallel_loop<S: Simd>(&mut self, s: &mut S, i: usize, tile: i64) -> R {
        let Some(&l) = self.parallel.get(i) else { return self.vector_loop(s, tile) };
        if let Some(share) = self.share.filter(|share| share.along == l) {
            return shared(self, s, share, i > 0, &mut |this, s, _| this.parallel(s, i + 1, tile));
        }
        let step = match self.nest.tile {
            Some((tiled, n)) if tiled == l => i64::from(n.max(1)),
            _ => 1,
        };
        if self.nest.quads && i + 1 == self.parallel.len() {
            return match self.work {
                Work::Map => self.pixels(s, l),
                Work::Repeat { from } => self.repeats(s, from, l),
                _ => self.quads(s, l, step),
            };
        }
        let inner = |step: i64| if step == 1 { tile } else { step };
        if let Some(extent) = self.walk.open_extent(l).filter(|_| step != 1) {
            return stepped(self, s, l, &extent, step, &mut |this, s, n| this.parallel(s, i + 1, n));
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / step, step, &mut |this, s| this.parallel(s, i + 1, inner(step)))?;
            let rest = (to - from) % step;
            if rest > 0 {
                self.parallel(s, i + 1, rest)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    fn vector_loop<S: Simd>(&mut self, s: &mut S, tile: i64) -> R {
        if self.across.is_some() {
            return self.across_lanes(s, tile);
        }
        let (l, block) = (self.nest.vector, self.block());
        if let Some(extent) = self.walk.open_extent(l) {
            return stepped(self, s, l, &extent, block, &mut |this, s, width| this.block_of(s, width, tile));
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / block, block, &mut |this, s| this.block_of(s, block, tile))?;
            let rest = (to - from) % block;
            if rest > 0 {
                self.block_of(s, rest, tile)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// `count` elements along the vector loop, `tile` iterations of the tiled one.
    fn block_of<S: Simd>(&mut self, s: &mut S, count: i64, tile: i64) -> R {
        let widths = widths(count, self.lanes);
        if let Work::LookUp { table, index } = self.work {
            return self.look_up(s, tile, &widths, table, index);
        }
        if let Work::Copy { .. } = self.work {
            for (t, (j, &n)) in (0..tile).flat_map(|t| widths.iter().enumerate().map(move |w| (t, w))) {
                self.finish(s, t, (j * self.lanes) as i64, n, None)?;
            }
            return Ok(());
        }
        if let Work::Bytes = self.work {
            for (t, (j, &n)) in (0..tile).flat_map(|t| widths.iter().enumerate().map(move |w| (t, w))) {
                self.bytes(s, t, (j * self.lanes) as i64, n)?;
            }
            return Ok(());
        }
        if let Work::Map = self.work {
            let together = self.epilogue.side_by_side(s, widths.len());
            return (0..tile).try_for_each(|t| self.map(s, t, &widths, together));
        }
        if let Work::Arg { .. } = self.work {
            return self.arg_block(s, &widths);
        }
        let acc = self.beginnings(s, tile, &widths)?;
        match self.column_loop(tile) {
            Some(row) if self.octets(s, &widths) => {
                let last = self.reduced.len() - 1;
                self.reduce(s, 0, last, &mut |this, s| this.accumulate_octets(s, &acc, &widths, tile, row))?;
                return self.finish_rows(s, acc, &widths, tile);
            }
            Some(row) => match self.rows_by_twos(s) {
                Some(rows) => {
                    let last = self.reduced.len() - 2;
                    self.reduce(s, 0, last, &mut |this, s| {
                        this.accumulate_twos(s, &acc, &widths, tile, [rows, row])
                    })?;
                }
                None => {
                    let last = self.reduced.len() - 1;
                    self.reduce(s, 0, last, &mut |this, s| {
                        this.accumulate_columns(s, &acc, &widths, tile, row)
                    })?;
                }
            },
            None => {
                let last = self.reduced.len();
                self.reduce(s, 0, last, &mut |this, s| this.accumulate(s, &acc, &widths, tile))?;
            }
        }
        if self.alone {
            return self.finish_together(s, acc, &widths, tile);
        }
        let mut waiting = self.epilogue.make_room(s, acc)?.into_iter().enumerate();
        while let Some((i, acc)) = waiting.next() {
            let acc = acc.fetch(s)?;
            if widths == [self.lanes]
                && self.stores_by_twos(s)
                && let Some((next, second)) = waiting.next()
            {
                self.finish_two(s, [i, next].map(|t| t as i64), acc, second)?;
                continue;
            }
            let (t, j) = (i / widths.len(), i % widths.len());
            self.finish(s, t as i64, (j * self.lanes) as i64, widths[j], Some(acc))?;
        }
        Ok(())
    }

    /// Reduction along the lanes: results are single elements.
    fn across_lanes<S: Simd>(&mut self, s: &mut S, tile: i64) -> R {
        if let Work::Arg { .. } = self.work {
            return self.arg_across(s);
        }
        let (l, block) = (self.nest.vector, self.block());
        let vectors = (self.walk.extent(l).min(block) as usize).div_ceil(self.lanes).max(1);
        let vectors = self.accumulators(s, vectors);
        let acc = self.empty(s, tile, vectors)?;
        let last = self.reduced.len();
        self.reduce(s, 0, last, &mut |this, s| {
            if let Some(extent) = this.walk.open_extent(l) {
                return stepped(this, s, l, &extent, block, &mut |this, s, width| {
                    this.accumulate_strided(s, &acc, vectors, &widths(width, this.lanes), tile)
                });
            }
            for (from, to) in this.walk.parts(l) {
                this.walk.set_range(l, (from, to));
                let whole = widths(block, this.lanes);
                trips(this, s, l, (to - from) / block, block, &mut |this, s| {
                    this.accumulate_strided(s, &acc, vectors, &whole, tile)
                })?;
                let rest = (to - from) % block;
                if rest > 0 {
                    this.accumulate_strided(s, &acc, vectors, &widths(rest, this.lanes), tile)?;
                    this.walk.skip(l, rest);
                }
            }
            this.walk.rewind(l, this.walk.extent(l));
            Ok(())
        })?;
        let combine = self.across.expect("called for reductions along the lanes");
        let mut acc = acc.into_iter();
        for t in 0..tile {
            let total = acc.next().expect("an accumulator per tile and vector");
            for part in acc.by_ref().take(vectors - 1) {
                s.op2_as(self.lane(), self.combine_op(), &total, Src::Reg(&part))?;
                s.free(part);
            }
            if !self.lane().is_wide() && self.lanes < s.lanes() {
                // Beside wide lanes only half of the register is of consequence.
                keep_first(s, self.lane(), &total, self.lanes, self.identity)?;
            }
            s.across_as(self.lane(), combine, &total)?;
            self.finish(s, t, 0, 1, Some(total))?;
        }
        Ok(())
    }

    fn combine_op(&self) -> Op2 {
        match &self.work {
            Work::Reduce { op, .. } | Work::Window { op, .. } => *op,
            Work::Dot { .. }
            | Work::Map
            | Work::Bytes
            | Work::Greatest { .. }
            | Work::Copy { .. }
            | Work::Repeat { .. }
            | Work::LookUp { .. }
            | Work::Arg { .. } => Op2::Add,
        }
    }

    /// Epilogue and stores of one vector.
    fn finish<S: Simd>(&mut self, s: &mut S, t: i64, offset: i64, n: usize, acc: Option<V>) -> R {
        let mut ahead = vec![(self.nest.vector, offset)];
        ahead.extend(self.nest.tile.map(|(l, _)| (l, t)));
        let at = At { walk: &self.walk, lane: self.nest.vector, ahead: &ahead, n };
        if let Work::Copy { from } = self.work {
            return self.copy(s, &at, from);
        }
        let acc = match acc {
            Some(acc) if matches!(self.work, Work::Greatest { .. }) => {
                return self.store_unsigned(s, &at, acc);
            }
            acc => acc,
        };
        if let Some(acc) = &acc {
            typed::round(s, self.acc, acc)?;
        }
        let values = self.epilogue.eval(s, &at, acc)?;
        for (i, (to, v)) in self.stores.iter().zip(values).enumerate() {
            at.store(s, *to, &v, self.epilogue.overflow(s, i))?;
            s.free(v);
        }
        Ok(())
    }
}
