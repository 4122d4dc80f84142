//! [`Schedule::Sparse`](kiln_ir::kernel::plan::Schedule::Sparse): weights in blocks over pixels that lie side by side.
//!
//! ```text
//! outer loops, lines of pixels, pixels; a last part with fewer of them
//!   rows of blocks
//!     block rows x vectors of pixels accumulators = 0
//!     blocks of the row: vectors of pixels at the column's place, loaded once
//!       acc[r][v] += value[r] * pixels[v]
//!     epilogue in registers, stores
//! ```
//!
//! The columns of a block of several follow each other in floats; of bytes they lie together in a pixel, and an instruction
//! multiplies and adds them, or a few of words.
//!
//! Without pixels side by side a block's rows are lanes, and an element of lhs is brought into all of them; blocks are taken
//! up to four at a time, each with sums of its own that are added at the end. Rows of a slice pick their elements of lhs among
//! those of its columns. Blocks of one row and one column are lanes
//! themselves, a group of them at a time, with elements of lhs by their indices; lanes are added at the end.
//!
//! Where a row begins in the values and the indices is read from the table, so that any part of the rows can be run; where
//! threads share rows, so is with which one a share begins, for shares have as many blocks as each other. Within
//! a row both are read from front to back. A row is added up by ascending column whatever the tile is, in one sum or, where
//! all tiles are one vector by one row ([`Sparse::chains`]), in several, so that bits depend on nothing else.

use kiln_ir::DType;
use kiln_ir::format::bcsr::{Bcsr, Index};
use kiln_ir::kernel::Form;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::{CHAINS, FlatAccess, PlannedKernel, Shared, Sparse};
use kiln_targets::simd::bytes::{self, Bytes};
use kiln_targets::simd::{Across, Narrow, Op2, P, R, Refusal, Simd, SimdExt as _, Src, V};

use super::places::Places;
use super::share::{between, shared};
use super::trips::{Walks, trips};
use super::vexpr::{At, Dag};
use super::walk::{AccessId, ELEMENT, Walk};

/// A loop around the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Outer(LoopId),
    Lines(LoopId, i64),
    Pixels(LoopId),
    Rows,
}

/// The generator.
struct Generator<'k> {
    walk: Walk,
    sparse: &'k Sparse,
    levels: Vec<Level>,
    lhs: AccessId,
    /// The row's entry in the table.
    table: AccessId,
    /// Where the weights begin.
    weights: AccessId,
    /// The type of the values.
    value: AccessId,
    store: AccessId,
    epilogue: Dag,
    /// Pixels of a vector.
    lanes: i64,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Accumulators at most where rows are lanes and several blocks are taken at a time, to hide the latency of a multiply-add.
const MOST_SUMS: usize = 8;

/// Where a row's blocks are read.
struct Cursor {
    indices: P,
    values: P,
    /// Of slices, the columns of their rows.
    lanes: Option<P>,
    /// The activations of the last column, where indices are how far the next one is.
    column: Option<P>,
}

impl Cursor {
    fn free<S: Simd>(self, s: &mut S) {
        for p in [self.indices, self.values].into_iter().chain(self.lanes).chain(self.column) {
            s.free_ptr(p);
        }
    }
}

/// How many blocks a row has, and the first one.
struct Row {
    count: P,
    at: Cursor,
}

/// `count / by`, and `count` becomes what is left; `by` is a power of two.
fn quotient<S: Simd>(s: &mut S, count: &P, by: usize) -> R<P> {
    let whole = s.copy_ptr(count)?;
    s.shift_down(&whole, by.trailing_zeros() as u8);
    s.advance_by(count, &whole, -(by as i64))?;
    Ok(whole)
}

/// Sums of further blocks are added to the first ones.
fn add_up<S: Simd>(s: &mut S, sums: &[V], others: Vec<V>) -> R {
    for (i, other) in others.into_iter().enumerate() {
        s.op2(Op2::Add, &sums[i % sums.len()], Src::Reg(&other))?;
        s.free(other);
    }
    Ok(())
}

/// How much of a tile there is.
#[derive(Clone, Copy, Debug)]
struct Extent {
    lines: i64,
    pixels: i64,
}

/// A vector of pixels: its line, its first pixel ahead of the loop's count, and how many it has.
#[derive(Clone, Copy, Debug)]
struct Pixels {
    line: i64,
    from: i64,
    n: usize,
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    sparse: &Sparse,
    s: &mut S,
) -> R {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} of blocks", kernel.form.name())));
    };
    let short = matches!(rhs.dtype, DType::F16 | DType::BF16);
    let floats = *acc == DType::F32 && lhs.dtype == DType::F32 && (rhs.dtype == DType::F32 || short);
    let bytes = (*acc, lhs.dtype, rhs.dtype) == (DType::I32, DType::U8, DType::I8);
    if !floats && !bytes {
        return Err(Refusal::unsupported(format!("blocks of {} times {}", rhs.dtype, lhs.dtype)));
    }
    let wide = sparse.weights.block.cols != 1;
    let block = sparse.weights.block;
    if block.is_slice() && (sparse.col.is_some() || s.lanes() != usize::from(block.rows)) {
        return Err(Refusal::unsupported(format!("blocks of {block} in vectors of {} lanes", s.lanes())));
    }
    if bytes && !wide || wide && sparse.col.is_none() {
        return Err(Refusal::unsupported(format!("blocks of {}", sparse.weights.block)));
    }
    let mut walk = Walk::new(kernel, places)?;
    let still = FlatAccess {
        dtype: DType::U8,
        strides: vec![kiln_ir::Dim::Const(0); kernel.loops.len()],
        ..rhs.clone()
    };
    let entry = (sparse.weights.block.entry_bytes() / usize::from(sparse.weights.block.rows)) as i64;
    let lhs = walk.access(lhs)?;
    let table = walk.access_scaled(&still, Some((sparse.row, entry)))?;
    let weights = walk.access(&still)?;
    let value = walk.access(&FlatAccess { dtype: rhs.dtype, ..still })?;
    let epilogue = Dag::typed(&mut walk, *acc, [&store.value])?;
    let store = walk.access(&store.to)?;
    let apart = sparse.col.is_some_and(|col| walk.stride(lhs, col) != ELEMENT);
    if apart || walk.stride(lhs, sparse.row) != 0 || walk.is_guarded(lhs) {
        return Err(Refusal::unsupported("pixels that lie apart, or padding"));
    }
    let mut levels: Vec<Level> = sparse.outer.iter().map(|l| Level::Outer(*l)).collect();
    levels.extend(sparse.down.map(|(l, n)| Level::Lines(l, n.into())));
    levels.extend(sparse.col.map(Level::Pixels));
    levels.push(Level::Rows);
    let lanes = s.lanes() as i64;
    let mut this = Generator { walk, sparse, levels, lhs, table, weights, value, store, epilogue, lanes };
    this.walk.open(s)?;
    this.level(s, 0, kernel.shared, Extent { lines: 1, pixels: 0 })?;
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    /// The loops from the `i`th level on; `share` is what the caller's range counts, if it is one of them.
    fn level<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>, at: Extent) -> R {
        let (l, step) = match self.levels[i] {
            Level::Outer(l) => (l, 1),
            Level::Lines(l, step) => (l, step),
            Level::Pixels(l) => (l, i64::from(self.sparse.vectors) * self.lanes),
            Level::Rows => (self.sparse.row, self.sparse.weights.block.rows.into()),
        };
        if let Some(share) = share.filter(|share| share.along == l) {
            if i64::from(share.step) != step {
                return Err(Refusal::unsupported("shared steps of another size than a tile's"));
            }
            let mut body = |this: &mut Self, s: &mut S, width| this.inside(s, i, None, at, width);
            if self.levels[i] != Level::Rows {
                return shared(self, s, share, i > 0, &mut body);
            }
            let range = (self.share(s, 1)?, self.share(s, 2)?);
            return between(self, s, share, range, i > 0, &mut body);
        }
        let extent = self.walk.extent(l);
        trips(self, s, l, extent / step, step, &mut |this, s| this.inside(s, i, share, at, step))?;
        let rest = extent % step;
        if rest > 0 {
            self.inside(s, i, share, at, rest)?;
            self.walk.skip(l, rest);
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    /// The row of blocks with which a share begins, whose number is an argument.
    fn share<S: Simd>(&self, s: &mut S, argument: usize) -> R<P> {
        let share = s.arg(argument)?;
        let entry = s.copy_ptr(self.walk.ptr(self.table))?;
        s.advance_by(&entry, &share, self.sparse.weights.block.entry_bytes() as i64)?;
        s.free_ptr(share);
        let at = self.walk.disp(self.table, &[], Bcsr::SHARE_AT as i64)?;
        let row = s.load_index(&entry, at, false)?;
        s.free_ptr(entry);
        Ok(row)
    }

    /// What is inside of a step of a level.
    fn inside<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>, at: Extent, width: i64) -> R {
        match self.levels[i] {
            Level::Outer(_) => self.level(s, i + 1, share, at),
            Level::Lines(..) => self.level(s, i + 1, share, Extent { lines: width, ..at }),
            Level::Pixels(_) => self.level(s, i + 1, share, Extent { pixels: width, ..at }),
            Level::Rows if self.sparse.has_blocks_as_lanes() => self.row_of_blocks(s),
            Level::Rows if self.sparse.col.is_none() => self.row_of_lanes(s, width),
            Level::Rows => self.row(s, at, width),
        }
    }

    /// The vectors of a tile. What would be a part of a vector is a whole one that overlaps pixels before it, where the image
    /// has so many: these are computed twice, and alike.
    fn pixels(&self, at: Extent) -> Vec<Pixels> {
        let vectors = (at.pixels + self.lanes - 1) / self.lanes;
        let back = vectors * self.lanes - at.pixels;
        let overlaps = self.sparse.col.is_some_and(|col| at.pixels + back <= self.walk.extent(col));
        let mut all = Vec::new();
        for line in 0..at.lines {
            for v in 0..vectors {
                let from = v * self.lanes;
                let n = (at.pixels - from).min(self.lanes);
                all.push(match overlaps {
                    true if v + 1 == vectors => Pixels { line, from: from - back, n: self.lanes as usize },
                    _ => Pixels { line, from, n: n as usize },
                });
            }
        }
        all
    }

    fn ahead(&self, p: &Pixels, row: i64) -> Vec<(LoopId, i64)> {
        let down = self.sparse.down.map(|(l, _)| (l, p.line));
        let col = self.sparse.col.map(|l| (l, p.from));
        [(self.sparse.row, row)].into_iter().chain(col).chain(down).collect()
    }

    /// A row of blocks, of which so many rows are results.
    fn row<S: Simd>(&mut self, s: &mut S, at: Extent, rows: i64) -> R {
        let weights = &self.sparse.weights;
        let height = usize::from(weights.block.rows);
        let pixels = self.pixels(at);
        let (chains, sums) = (self.sparse.chains(), height * pixels.len());
        let mut acc = (0..chains * sums).map(|_| s.splat(0.0)).collect::<R<Vec<V>>>()?;
        let Row { count, at } = self.begin(s)?;
        if chains > 1 {
            let whole = quotient(s, &count, chains)?;
            s.repeat_ptr(whole, &mut |s| {
                acc.chunks_exact(sums).try_for_each(|acc| self.block(s, acc, &pixels, &at))
            })?;
        }
        s.repeat_ptr(count, &mut |s| self.block(s, &acc[..sums], &pixels, &at))?;
        at.free(s);
        let others = acc.split_off(sums);
        add_up(s, &acc, others)?;
        self.finish(s, acc, &pixels, rows)
    }

    /// How many blocks the row has, and where they are, less where the first row's are.
    fn begin<S: Simd>(&self, s: &mut S) -> R<Row> {
        let weights = &self.sparse.weights;
        let entry = self.walk.disp(self.table, &[], 0)?;
        let before = s.load_index(self.walk.ptr(self.table), entry, false)?;
        let indices = s.copy_ptr(self.walk.ptr(self.weights))?;
        s.advance_by(&indices, &before, weights.index.bytes() as i64)?;
        let values = s.copy_ptr(self.walk.ptr(self.weights))?;
        s.advance_by(&values, &before, (weights.block.values() * weights.value_bytes) as i64)?;
        let mut lanes = None;
        if weights.block.is_slice() {
            let first = s.copy_ptr(self.walk.ptr(self.weights))?;
            s.advance_by(&first, &before, weights.column_bytes() as i64)?;
            lanes = Some(first);
        }
        let end = entry + weights.block.entry_bytes() as i32;
        let count = s.load_index(self.walk.ptr(self.table), end, false)?;
        s.advance_by(&count, &before, -1)?;
        s.free_ptr(before);
        let column = match weights.index {
            Index::Delta => Some(s.copy_ptr(self.walk.ptr(self.lhs))?),
            Index::Short | Index::Wide => None,
        };
        Ok(Row { count, at: Cursor { indices, values, lanes, column } })
    }

    /// Where indices, values and the columns of slices' rows are, of the first row, from what [`Generator::begin`] gives.
    fn parts(&self) -> R<[i32; 3]> {
        let base = i64::from(self.walk.disp(self.weights, &[], 0)?);
        let weights = &self.sparse.weights;
        let place = |offset: usize| {
            let at = i64::try_from(offset).ok().and_then(|o| i32::try_from(o + base).ok());
            at.ok_or(Refusal::FarDisplacement)
        };
        Ok([place(weights.indices_at())?, place(weights.values_at())?, place(weights.columns_at())?])
    }

    /// Does something where the column's activations are whose index is the `j`th from here.
    fn column<S: Simd>(
        &self,
        s: &mut S,
        cursor: &Cursor,
        j: usize,
        then: &mut dyn FnMut(&mut S, &P) -> R,
    ) -> R {
        let weights = &self.sparse.weights;
        let (indices, at) = (&cursor.indices, self.parts()?[0] + (j * weights.index.bytes()) as i32);
        let index = match weights.index {
            Index::Delta => s.load_byte(indices, at)?,
            Index::Short => s.load_short(indices, at)?,
            Index::Wide => s.load_index(indices, at, false)?,
        };
        let scale = weights.unit as i64 * self.walk.element(self.lhs).bytes() as i64;
        if let Some(column) = &cursor.column {
            s.advance_by(column, &index, scale)?;
            s.free_ptr(index);
            return then(s, column);
        }
        let x = s.copy_ptr(self.walk.ptr(self.lhs))?;
        s.advance_by(&x, &index, scale)?;
        s.free_ptr(index);
        then(s, &x)?;
        s.free_ptr(x);
        Ok(())
    }

    /// A row of blocks whose rows are lanes.
    fn row_of_lanes<S: Simd>(&mut self, s: &mut S, rows: i64) -> R {
        let height = i64::from(self.sparse.weights.block.rows);
        let vectors = (height + self.lanes - 1) / self.lanes;
        let of = |v: i64, rows: i64| (rows - v * self.lanes).clamp(0, self.lanes) as usize;
        let parts: Vec<Pixels> =
            (0..vectors).map(|v| Pixels { line: 0, from: v * self.lanes, n: of(v, height) }).collect();
        let chains = CHAINS.min(MOST_SUMS / parts.len().max(1)).max(1);
        let acc = (0..chains * parts.len()).map(|_| s.splat(0.0)).collect::<R<Vec<V>>>()?;
        let Row { count: rest, at } = self.begin(s)?;
        let whole = quotient(s, &rest, chains)?;
        s.repeat_ptr(whole, &mut |s| self.lanes_of(s, &acc, &parts, chains, &at))?;
        s.repeat_ptr(rest, &mut |s| self.lanes_of(s, &acc, &parts, 1, &at))?;
        at.free(s);
        let mut acc = acc;
        let others = acc.split_off(parts.len());
        add_up(s, &acc, others)?;
        let overflow = self.epilogue.overflow(s, 0);
        let held = self.epilogue.hold_constants(s)?;
        for (v, acc) in acc.into_iter().enumerate() {
            let n = of(v as i64, rows);
            if n == 0 {
                s.free(acc);
                continue;
            }
            let ahead = [(self.sparse.row, v as i64 * self.lanes)];
            let at = At { walk: &self.walk, lane: self.sparse.row, ahead: &ahead, n };
            for value in self.epilogue.eval(s, &at, Some(acc))? {
                at.store(s, self.store, &value, overflow)?;
                s.free(value);
            }
        }
        Dag::drop_constants(s, held);
        Ok(())
    }

    /// A row whose blocks of one element are lanes.
    fn row_of_blocks<S: Simd>(&mut self, s: &mut S) -> R {
        let (group, lanes) = (self.sparse.weights.group, s.lanes());
        if !group.is_power_of_two() || group < lanes {
            return Err(Refusal::unsupported(format!("groups of {group} blocks in vectors of {lanes}")));
        }
        let acc = (0..group / lanes).map(|_| s.splat(0.0)).collect::<R<Vec<V>>>()?;
        let Row { count, at } = self.begin(s)?;
        s.shift_down(&count, group.trailing_zeros() as u8);
        s.repeat_ptr(count, &mut |s| self.group(s, &acc, &at))?;
        at.free(s);
        let mut acc = acc.into_iter();
        let Some(sum) = acc.next() else { return Ok(()) };
        for other in acc {
            s.op2(Op2::Add, &sum, Src::Reg(&other))?;
            s.free(other);
        }
        s.across(Across::Sum, &sum)?;
        let overflow = self.epilogue.overflow(s, 0);
        let held = self.epilogue.hold_constants(s)?;
        let place = At { walk: &self.walk, lane: self.sparse.row, ahead: &[], n: 1 };
        for value in self.epilogue.eval(s, &place, Some(sum))? {
            place.store(s, self.store, &value, overflow)?;
            s.free(value);
        }
        Dag::drop_constants(s, held);
        Ok(())
    }

    /// A group of blocks of one element, and on to the next one.
    fn group<S: Simd>(&self, s: &mut S, acc: &[V], at: &Cursor) -> R {
        let n = s.lanes();
        let weights = &self.sparse.weights;
        let (index, value) = (weights.index.bytes(), weights.value_bytes);
        let [indices_at, values_at, _] = self.parts()?;
        let element = self.walk.element(self.value);
        let x_at = self.walk.disp(self.lhs, &[], 0)?;
        for (j, acc) in acc.iter().enumerate() {
            let from = indices_at + (j * n * index) as i32;
            let x = s.load_indexed(self.walk.ptr(self.lhs), x_at, &at.indices, from, index == 2, n)?;
            let from = values_at + (j * n * value) as i32;
            if value == 4 {
                s.fma(acc, &x, Src::Mem(&at.values, from))?;
                s.free(x);
            } else {
                let w = s.load_as(element, &at.values, from, n)?;
                s.fma_last(acc, &x, w)?;
                s.free(x);
            }
        }
        s.advance(&at.indices, (acc.len() * n * index) as i64);
        s.advance(&at.values, (acc.len() * n * value) as i64);
        Ok(())
    }

    /// So many blocks, whose rows are lanes, and on to the next ones.
    fn lanes_of<S: Simd>(&self, s: &mut S, acc: &[V], parts: &[Pixels], blocks: usize, at: &Cursor) -> R {
        let weights = &self.sparse.weights;
        let (bytes, value_at) = (weights.block.values() * weights.value_bytes, self.parts()?[1]);
        let element = self.walk.element(self.value);
        for j in 0..blocks {
            self.column(s, at, j, &mut |s, column| {
                let lhs = self.walk.disp(self.lhs, &[], 0)?;
                let x = match &at.lanes {
                    Some(lanes) => self.picked(s, column, lhs, lanes, j)?,
                    None => s.load_splat(column, lhs)?,
                };
                for (acc, part) in acc[j * parts.len()..].iter().zip(parts) {
                    let from = value_at + (j * bytes + part.from as usize * weights.value_bytes) as i32;
                    let w = s.load_as(element, &at.values, from, part.n)?;
                    s.fma(acc, &x, Src::Reg(&w))?;
                    s.free(w);
                }
                s.free(x);
                Ok(())
            })?;
        }
        s.advance(&at.indices, (blocks * weights.index.bytes()) as i64);
        s.advance(&at.values, (blocks * bytes) as i64);
        if let Some(lanes) = &at.lanes {
            s.advance(lanes, (blocks * weights.column_bytes()) as i64);
        }
        Ok(())
    }

    /// The elements of lhs that the rows of the `j`th slice from here have, of those from `column` on.
    fn picked<S: Simd>(&self, s: &mut S, column: &P, lhs: i32, lanes: &P, j: usize) -> R<V> {
        let from = self.parts()?[2] + (j * self.sparse.weights.column_bytes()) as i32;
        let x = s.load_narrow(Narrow { two: false, signed: false }, lanes, from, s.lanes())?;
        s.pick_from(&x, column, lhs)?;
        Ok(x)
    }

    /// One block: pixels times values, and on to the next one.
    fn block<S: Simd>(&self, s: &mut S, acc: &[V], pixels: &[Pixels], cursor: &Cursor) -> R {
        let weights = &self.sparse.weights;
        self.column(s, cursor, 0, &mut |s, x| {
            s.advance(&cursor.indices, weights.index.bytes() as i64);
            match weights.value_bytes {
                1 => self.products_of_bytes(s, acc, pixels, x, &cursor.values),
                _ => (0..weights.block.cols)
                    .try_for_each(|column| self.products(s, acc, pixels, [x, &cursor.values], column.into())),
            }
        })?;
        s.advance(&cursor.values, (weights.block.values() * weights.value_bytes) as i64);
        Ok(())
    }

    /// Pixels of a column times the values of a block's column.
    fn products<S: Simd>(
        &self,
        s: &mut S,
        acc: &[V],
        pixels: &[Pixels],
        [x, values]: [&P; 2],
        column: usize,
    ) -> R {
        let weights = &self.sparse.weights;
        let value_at = self.parts()?[1];
        let (height, width) = (usize::from(weights.block.rows), usize::from(weights.block.cols));
        let element = self.walk.element(self.value);
        let value = |r: usize| value_at + ((r * width + column) * weights.value_bytes) as i32;
        let further = (column * weights.step()) as i64 * ELEMENT;
        let at = |p: &Pixels| self.walk.disp(self.lhs, &self.ahead(p, 0), further);
        if height == 1 {
            let w = s.load_splat_as(element, values, value(0))?;
            for (acc, p) in acc.iter().zip(pixels) {
                if p.n == s.lanes() {
                    s.fma(acc, &w, Src::Mem(x, at(p)?))?;
                } else {
                    let part = s.load(x, at(p)?, p.n)?;
                    s.fma(acc, &w, Src::Reg(&part))?;
                    s.free(part);
                }
            }
            s.free(w);
        } else {
            let loaded = pixels.iter().map(|p| s.load(x, at(p)?, p.n)).collect::<R<Vec<V>>>()?;
            for (r, row) in acc.chunks_exact(pixels.len()).enumerate() {
                if let ([acc], [x], 4) = (row, &loaded[..], weights.value_bytes) {
                    s.fma(acc, x, Src::Splat(values, value(r)))?;
                    continue;
                }
                let w = s.load_splat_as(element, values, value(r))?;
                for (acc, x) in row.iter().zip(&loaded).skip(1) {
                    s.fma(acc, x, Src::Reg(&w))?;
                }
                s.fma_last(&row[0], &loaded[0], w)?;
            }
            loaded.into_iter().for_each(|v| s.free(v));
        }
        Ok(())
    }

    /// Pixels of four bytes each times the values of a block.
    fn products_of_bytes<S: Simd>(&self, s: &mut S, acc: &[V], pixels: &[Pixels], x: &P, values: &P) -> R {
        let value_at = self.parts()?[1];
        let at = |p: &Pixels| self.walk.disp(self.lhs, &self.ahead(p, 0), 0);
        if self.sparse.weights.block.rows == 1 {
            let w = bytes::load_splat_signed(s, values, value_at)?;
            for (acc, p) in acc.iter().zip(pixels) {
                let x = bytes::load_unsigned(s, x, at(p)?, p.n)?;
                bytes::add_products(s, acc, &x, &w)?;
                x.free(s);
            }
            w.free(s);
            return Ok(());
        }
        let loaded =
            pixels.iter().map(|p| bytes::load_unsigned(s, x, at(p)?, p.n)).collect::<R<Vec<Bytes>>>()?;
        for (r, row) in acc.chunks_exact(pixels.len()).enumerate() {
            let value = value_at + (r * usize::from(self.sparse.weights.block.cols)) as i32;
            let w = bytes::load_splat_signed(s, values, value)?;
            for (acc, x) in row.iter().zip(&loaded) {
                bytes::add_products(s, acc, x, &w)?;
            }
            w.free(s);
        }
        loaded.into_iter().for_each(|x| x.free(s));
        Ok(())
    }

    /// The epilogue of the rows that are results, and their stores.
    fn finish<S: Simd>(&self, s: &mut S, acc: Vec<V>, pixels: &[Pixels], rows: i64) -> R {
        let overflow = self.epilogue.overflow(s, 0);
        let mut acc = acc;
        for unused in acc.split_off(rows as usize * pixels.len()) {
            s.free(unused);
        }
        let mut waiting = self.epilogue.make_room(s, acc)?.into_iter();
        let held = self.epilogue.hold_constants(s)?;
        for r in 0..rows {
            let ahead: Vec<_> = pixels.iter().map(|p| self.ahead(p, r)).collect();
            let places: Vec<At<'_>> = ahead
                .iter()
                .zip(pixels)
                .map(|(ahead, p)| At {
                    walk: &self.walk,
                    lane: self.sparse.col.unwrap_or(self.sparse.row),
                    ahead,
                    n: p.n,
                })
                .collect();
            let mut row = Vec::with_capacity(pixels.len());
            for (at, acc) in places.iter().zip(waiting.by_ref()) {
                let acc = acc.fetch(s)?;
                row.extend(self.epilogue.eval(s, at, Some(acc))?);
            }
            At::store_all(s, &places, self.store, row, overflow)?;
        }
        Dag::drop_constants(s, held);
        Ok(())
    }
}
