//! [`Schedule::Tile`](kiln_ir::kernel::plan::Schedule::Tile): contractions in register tiles.
//!
//! ```text
//! panels of `nr` columns, around or inside the outer loops; a last panel with fewer columns
//!   tiles of `mr` rows; a last tile with fewer rows; where tiles are no whole panels, as many
//!   beside each other as are whole ones
//!     mr x (nr / lanes) accumulators = 0
//!     depth loops, the innermost in steps of `unroll`
//!       acc[r][j] += lhs[r] * rhs[j]
//!     epilogue in registers, stores
//! ```
//!
//! Rows are displacements from one lhs pointer, so a step of depth is loads and multiply-adds and nothing else.

mod bytes;
mod eights;
mod halves;
mod long;
mod pairs;
mod rows;
mod words;

use kiln_ir::format::packed::CROSSED;
use kiln_ir::kernel::Form;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::{PlannedKernel, Shared, Tile};
use kiln_ir::types::DType;
use kiln_targets::simd::{Element, Lane, R, Refusal, Simd, SimdExt as _, Src, V};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, stepped, trips};
use super::vexpr::{At, Dag, lane};
use super::walk::{AccessId, ELEMENT, Walk};

/// Bytes of a cache line.
const LINE: i64 = 64;
/// Lanes of a vector of lhs elements that are multiplied lane by lane.
const BY_LANE: i64 = 4;
/// Floats of 16 bits of a vector of lhs.
const HALVES: i64 = 8;
/// Vectors of a panel that an instruction loads.
const PAIR: usize = 2;

/// A loop around the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Outer(LoopId),
    Panels,
    Rows,
}

/// The generator.
struct Generator<'k> {
    walk: Walk,
    tile: &'k Tile,
    levels: Vec<Level>,
    lhs: AccessId,
    rhs: AccessId,
    store: AccessId,
    /// Where the lines of the next panel are that are asked for next.
    next_panel: Option<AccessId>,
    epilogue: Dag,
    /// Sums of the weights of a tile's columns, by which activations without signs make up for having become signed.
    weight_sums: Vec<V>,
    /// What sums begin with where that is not 0.
    start: Option<AccessId>,
    /// What sums and elements are taken for.
    ty: Lane,
    /// Bytes of an element of rhs.
    bytes: i64,
    /// Elements of rhs from a column to the next within a panel.
    column: i64,
    /// Elements of a vector.
    lanes: usize,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(kernel: &PlannedKernel, places: Option<&Places>, tile: &Tile, s: &mut S) -> R {
    let Form::Contract { acc, lhs, rhs, store } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} in register tiles", kernel.form.name())));
    };
    let of_bytes = matches!((*acc, lhs.dtype, rhs.dtype), (DType::I32, DType::U8 | DType::I8, DType::I8));
    let of_words =
        (*acc, lhs.dtype) == (DType::I32, DType::I16) && matches!(rhs.dtype, DType::I8 | DType::I16);
    let short = of_bytes || of_words;
    let fits = if tile.quad.is_some() { short } else { lhs.dtype.accumulator() == *acc };
    if acc.size() < 4 || !fits || !short && rhs.dtype.accumulator() != *acc {
        return Err(Refusal::unsupported(format!("tiles of {} and {} in {acc}", lhs.dtype, rhs.dtype)));
    }
    let (ty, bytes) = (lane(*acc), rhs.dtype.size() as i64);
    let lanes = if ty.is_wide() { s.lanes() / 2 } else { s.lanes() };
    let (nr, panel) = (tile.nr, tile.panel);
    let crossed = tile.quad.is_some() && panel as usize == CROSSED && rhs.strides[tile.col.0 as usize].is(1);
    let whole = nr > 0 && panel > 0 && nr % lanes as u32 == 0 && (crossed || panel % lanes as u32 == 0);
    if tile.mr == 0 || !whole || tile.panel_stride % i64::from(panel) != 0 {
        return Err(Refusal::unsupported(format!("a tile of {} x {nr} elements", tile.mr)));
    }
    let mut walk = Walk::new(kernel, places)?;
    let (lhs_type, step) = (lhs.dtype, if short { ELEMENT } else { lhs.dtype.size() as i64 });
    let lhs = walk.access(lhs)?;
    let column = rhs.strides[tile.col.0 as usize].as_const().unwrap_or(1);
    let rhs = walk.access_scaled(rhs, Some((tile.col, tile.panel_stride / i64::from(panel) * bytes)))?;
    let mut epilogue = Dag::typed(&mut walk, *acc, [&store.value])?;
    let start = epilogue.take_start();
    let store = walk.access(&store.to)?;
    let next_panel = next_panel(&mut walk, tile, kernel, bytes)?;
    if walk.stride(lhs, tile.col) != 0 || tile.row.is_some_and(|row| walk.stride(rhs, row) != 0) {
        return Err(Refusal::unsupported("operands that move along both rows and columns"));
    }
    let mut levels: Vec<Level> = tile.outer.iter().map(|l| Level::Outer(*l)).collect();
    levels.insert(if tile.panels_outermost { 0 } else { levels.len() }, Level::Panels);
    levels.push(Level::Rows);
    let long = lhs_type == DType::I8 && s.multiplies_long();
    let dots = of_bytes && (s.has_dot4() || s.has_signed_dot4() || long);
    if tile.by_lane
        && (*acc != DType::F32 && !dots
            || lanes as i64 != BY_LANE
            || tile.depth.last().is_none_or(|l| walk.stride(lhs, *l) != step))
    {
        return Err(Refusal::unsupported("lhs by lane"));
    }
    let mut this = Generator {
        walk,
        tile,
        levels,
        lhs,
        rhs,
        store,
        next_panel,
        epilogue,
        weight_sums: Vec::new(),
        start,
        ty,
        bytes,
        column,
        lanes,
    };
    this.walk.open(s)?;
    if this.in_pairs(s) {
        Generator::prepare_pairs(s)?;
    }
    this.level(s, 0, kernel.shared, Extent { rows: 0, from: 0, cols: 0 })?;
    this.walk.close(s);
    Ok(())
}

/// The pointer into the next panel: each tile of rows asks for its share of the lines, each run of depth steps for
/// some of that share. What is behind the last panel is asked for too: as a rule, the next kernel's weights.
fn next_panel(
    walk: &mut Walk,
    tile: &Tile,
    kernel: &PlannedKernel,
    element_bytes: i64,
) -> R<Option<AccessId>> {
    let (Form::Contract { rhs, .. }, true) = (&kernel.form, tile.prefetch > 0) else { return Ok(None) };
    let column = tile.panel_stride * element_bytes / i64::from(tile.panel);
    let (panel, step) = (column * i64::from(tile.nr), column * i64::from(tile.columns()));
    let mut strides = vec![0; kernel.loops.len()];
    strides[tile.col.0 as usize] = column;
    let mut bytes = i64::from(tile.prefetch) * LINE / i64::from(tile.unroll.max(1));
    for l in tile.depth.iter().rev() {
        strides[l.0 as usize] = bytes;
        bytes *= walk.extent(*l);
    }
    // Products of their own have panels of their own, one behind the other.
    let own = |l: &LoopId| rhs.strides[l.0 as usize].as_const().filter(|stride| *stride != 0);
    for l in &tile.outer {
        strides[l.0 as usize] = own(l).map_or(0, |stride| stride * element_bytes);
    }
    let rows: Vec<LoopId> =
        tile.outer.iter().filter(|l| own(l).is_none()).chain(&tile.row).copied().collect();
    let mut bytes = panel / rows.iter().map(|l| walk.extent(*l)).product::<i64>().max(1);
    for l in rows.iter().rev() {
        strides[l.0 as usize] = bytes;
        bytes *= walk.extent(*l);
    }
    walk.follow(rhs, step, strides).map(Some)
}

/// How much of a tile there is.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rows: i64,
    /// The first column behind the loop's.
    from: i64,
    cols: i64,
}

impl Generator<'_> {
    /// The loops from the `i`th level on; `share` is what the caller's range counts, if it is one of them.
    fn level<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>, at: Extent) -> R {
        let Some(&level) = self.levels.get(i) else { return self.body(s, at) };
        let (l, step) = match level {
            Level::Outer(l) => (l, 1),
            Level::Panels => (self.tile.col, i64::from(self.tile.columns())),
            Level::Rows => match self.tile.row {
                Some(row) => (row, i64::from(self.tile.mr)),
                None => return self.body(s, Extent { rows: 1, ..at }),
            },
        };
        let open = self.walk.open_extent(l).filter(|_| !matches!(level, Level::Outer(_)));
        if let Some(share) = share.filter(|share| share.along == l) {
            if i64::from(share.step) != step {
                return Err(Refusal::unsupported("shared steps of another size than a tile's"));
            }
            if let (Level::Rows, Some(rows)) = (level, open) {
                return self.shared_rows(s, i, at, l, &rows);
            }
            return shared(self, s, share, i > 0, &mut |this, s, width| this.inside(s, i, None, at, width));
        }
        match open {
            Some(rows) if level == Level::Rows => return self.rows(s, i, share, at, l, &rows),
            Some(columns) => {
                return stepped(self, s, l, &columns, step, &mut |this, s, width| {
                    this.inside(s, i, share, at, width)
                });
            }
            None => {}
        }
        let parts = self.walk.parts(l);
        let extent = self.walk.extent(l);
        if level == Level::Panels && parts.len() > 1 {
            return Err(Refusal::unsupported("padding along the columns of tiles"));
        }
        let mut position = 0;
        for (from, to) in parts {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / step, step, &mut |this, s| this.inside(s, i, share, at, step))?;
            position += (to - from) / step * step;
            let rest = (to - from) % step;
            if rest > 0 {
                self.inside(s, i, share, at, rest)?;
                // A last panel is as far from its end as a whole one, whatever its width.
                let moved = if level == Level::Panels { step } else { rest };
                self.walk.skip(l, moved);
                position += moved;
            }
        }
        self.walk.rewind(l, position);
        debug_assert!(position >= extent);
        Ok(())
    }

    /// What is inside of a step of a level: of panels, the tiles beside each other.
    fn inside<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>, at: Extent, width: i64) -> R {
        match self.levels[i] {
            Level::Outer(_) => self.level(s, i + 1, share, at),
            Level::Rows => self.level(s, i + 1, share, Extent { rows: width, ..at }),
            Level::Panels => {
                let nr = i64::from(self.tile.nr);
                for from in (0..width).step_by(nr as usize) {
                    self.level(s, i + 1, share, Extent { from, cols: (width - from).min(nr), ..at })?;
                }
                Ok(())
            }
        }
    }

    /// One tile.
    fn body<S: Simd>(&mut self, s: &mut S, tile: Extent) -> R {
        let vectors = (tile.cols as usize).div_ceil(self.lanes);
        let acc = self.start(s, tile)?;
        let acc = self.open_blocks(s, acc, tile)?;
        self.open_weight_sums(s, vectors)?;
        self.depth(s, 0, &acc, tile)?;
        self.close_weight_sums(s, &acc)?;
        let acc = self.close_blocks(s, acc, tile)?;
        let overflow = self.epilogue.overflow(s, 0);
        let mut waiting = self.epilogue.make_room(s, acc)?.into_iter();
        let held = self.epilogue.hold_constants(s)?;
        for r in 0..tile.rows {
            let ahead = self.beside(tile, r);
            let places = self.places(tile, &ahead);
            let mut row = Vec::with_capacity(vectors);
            for (at, acc) in places.iter().zip(waiting.by_ref()) {
                let acc = acc.fetch(s)?;
                row.extend(self.epilogue.eval(s, at, Some(acc))?);
            }
            At::store_all(s, &places, self.store, row, overflow)?;
        }
        Dag::drop_constants(s, held);
        Ok(())
    }

    /// Accumulators by row and vector, with what sums begin with.
    fn start<S: Simd>(&self, s: &mut S, tile: Extent) -> R<Vec<V>> {
        let mut all = Vec::new();
        for r in 0..tile.rows {
            let ahead = self.beside(tile, r);
            for at in self.places(tile, &ahead) {
                all.push(match self.start {
                    Some(start) => at.load(s, start)?.into_reg(s, &self.walk)?,
                    None => s.splat(0.0)?,
                });
            }
        }
        Ok(all)
    }

    /// How far ahead of the current iteration the vectors of a row are.
    fn beside(&self, tile: Extent, row: i64) -> Vec<Vec<(LoopId, i64)>> {
        let vectors = (tile.cols as usize).div_ceil(self.lanes);
        let along = |j: usize| (self.tile.col, tile.from + (j * self.lanes) as i64);
        (0..vectors)
            .map(|j| [along(j)].into_iter().chain(self.tile.row.map(|l| (l, row))).collect())
            .collect()
    }

    fn places<'a>(&'a self, tile: Extent, ahead: &'a [Vec<(LoopId, i64)>]) -> Vec<At<'a>> {
        let n = |j: usize| (tile.cols as usize - j * self.lanes).min(self.lanes);
        let at = |(j, ahead)| At { walk: &self.walk, lane: self.tile.col, ahead, n: n(j) };
        ahead.iter().map(Vec::as_slice).enumerate().map(at).collect()
    }

    /// The depth loops from the `i`th on.
    fn depth<S: Simd>(&mut self, s: &mut S, i: usize, acc: &[V], tile: Extent) -> R {
        let Some(&l) = self.tile.depth.get(i) else { return self.steps(s, None, 1, acc, tile) };
        let innermost = i + 1 == self.tile.depth.len();
        if let (Some(extent), true) = (self.walk.open_extent(l), innermost) {
            let unroll = i64::from(self.tile.unroll.max(1));
            return stepped(self, s, l, &extent, unroll, &mut |this, s, count| {
                this.steps(s, Some(l), count, acc, tile)
            });
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            if self.is_padding()? {
                self.walk.skip(l, to - from);
                continue;
            }
            if self.tile.straight && !innermost {
                for at in from..to {
                    self.walk.set_range(l, (at, at + 1));
                    self.depth(s, i + 1, acc, tile)?;
                    self.walk.skip(l, 1);
                }
            } else if !innermost {
                trips(self, s, l, to - from, 1, &mut |this, s| this.depth(s, i + 1, acc, tile))?;
            } else {
                let unroll =
                    if self.tile.straight { (to - from).max(1) } else { i64::from(self.tile.unroll.max(1)) };
                trips(self, s, l, (to - from) / unroll, unroll, &mut |this, s| {
                    this.steps(s, Some(l), unroll, acc, tile)
                })?;
                let rest = (to - from) % unroll;
                self.steps(s, Some(l), rest, acc, tile)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// Whether all products within these ranges of the loops are with padding, and nothing is added.
    fn is_padding(&self) -> R<bool> {
        match self.walk.certainly_outside(self.lhs) {
            None => Ok(false),
            Some(value) if value.to_f64() == 0.0 => Ok(true),
            Some(_) => Err(Refusal::unsupported("padding of a contraction with other than zeros")),
        }
    }

    /// `count` steps of the innermost depth loop.
    fn steps<S: Simd>(&mut self, s: &mut S, l: Option<LoopId>, count: i64, acc: &[V], tile: Extent) -> R {
        self.walk.outside(self.lhs)?;
        if let (Some(next), true) = (self.next_panel, count == i64::from(self.tile.unroll)) {
            let beside = [(self.tile.col, tile.from)];
            for line in 0..i64::from(self.tile.prefetch) {
                s.prefetch(self.walk.ptr(next), self.walk.disp(next, &beside, line * LINE)?);
            }
        }
        if let (true, Some(l)) = (self.tile.watched, l) {
            return if count > 0 { self.watched_run(s, l, count, acc, tile) } else { Ok(()) };
        }
        if self.tile.eight.is_some() {
            return self.steps_of_eights(s, l, count, acc, tile);
        }
        let mut k = 0;
        if self.tile.by_lane && self.is_halves(s) {
            while count - k >= HALVES {
                self.steps_of_halves(s, l, k, acc, tile)?;
                k += HALVES;
            }
        }
        while self.tile.by_lane && self.walk.element(self.lhs) != Element::F16 && count - k >= BY_LANE {
            if self.is_long(s) {
                self.steps_of_signs(s, (l, k), acc, tile, BY_LANE)?;
            } else {
                self.steps_by_lane(s, l, k, acc, tile)?;
            }
            k += BY_LANE;
        }
        for k in k..count {
            self.step(s, l, k, acc, tile)?;
        }
        Ok(())
    }

    fn ahead(&self, l: Option<LoopId>, k: i64, row: i64) -> Vec<(LoopId, i64)> {
        l.map(|l| (l, k)).into_iter().chain(self.tile.row.map(|r| (r, row))).collect()
    }

    /// Displacement and lanes of vector `j` of the tile.
    fn rhs_at(&self, l: Option<LoopId>, k: i64, j: usize, tile: Extent) -> R<(i32, usize)> {
        let (col, panel) = (tile.from + (j * self.lanes) as i64, i64::from(self.tile.panel));
        let bytes = (col / panel * self.tile.panel_stride + col % panel * self.column) * self.bytes;
        let left = tile.cols as usize - j * self.lanes;
        let n = if self.tile.rhs_padded { self.lanes } else { left.min(self.lanes) };
        Ok((self.walk.disp(self.rhs, &self.ahead(l, k, 0), bytes)?, n))
    }

    /// One step: whichever of the rows' broadcasts and the panel's vectors are fewer stay in registers, the
    /// others pass by one at a time. What is used for the last time comes first in its product: instructions of two
    /// operands overwrite that, and need no copy of it.
    fn step<S: Simd>(&mut self, s: &mut S, l: Option<LoopId>, k: i64, acc: &[V], tile: Extent) -> R {
        if self.tile.quad.is_some() {
            return match self.walk.element(self.lhs) {
                Element::I16 if self.tile.panel as usize == CROSSED => {
                    self.step_of_crossed(s, l, k, acc, tile)
                }
                Element::I16 => self.step_of_words(s, l, k, acc, tile),
                _ if self.in_pairs(s) => self.step_of_pairs(s, l, k, acc, tile),
                _ => self.step_of_bytes(s, l, k, acc, tile),
            };
        }
        let vectors = acc.len() / tile.rows as usize;
        let (ty, lhs, rhs) = (self.ty, self.walk.ptr(self.lhs), self.walk.ptr(self.rhs));
        let lhs_at = |r: i64| self.walk.disp(self.lhs, &self.ahead(l, k, r), 0);
        if (tile.rows as usize) < vectors {
            let a = (0..tile.rows).map(|r| self.load_lhs(s, lhs_at(r)?)).collect::<R<Vec<_>>>()?;
            for j in 0..vectors {
                let (disp, n) = self.rhs_at(l, k, j, tile)?;
                let whole =
                    n == self.lanes && matches!(self.walk.element(self.rhs), Element::B32 | Element::B64);
                if let ([a], true) = (&a[..], whole) {
                    s.fma_as(ty, &acc[j], a, Src::Mem(rhs, disp))?;
                    continue;
                }
                let b = self.load_rhs(s, disp, n)?;
                let (last, others) = a.split_last().expect("a row");
                for (r, a) in others.iter().enumerate() {
                    s.fma_as(ty, &acc[r * vectors + j], a, Src::Reg(&b))?;
                }
                self.fma_last(s, &acc[others.len() * vectors + j], last, b)?;
            }
            a.into_iter().for_each(|a| s.free(a));
            return Ok(());
        }
        let b = (0..vectors)
            .map(|j| {
                let (disp, n) = self.rhs_at(l, k, j, tile)?;
                self.load_rhs(s, disp, n)
            })
            .collect::<R<Vec<_>>>()?;
        for r in 0..tile.rows {
            let disp = lhs_at(r)?;
            let row = &acc[r as usize * vectors..][..vectors];
            if let ([acc], [b], Element::B32) = (row, &b[..], self.walk.element(self.lhs)) {
                s.fma_as(ty, acc, b, Src::Splat(lhs, disp))?;
                continue;
            }
            let a = self.load_lhs(s, disp)?;
            for (acc, b) in row.iter().zip(&b).skip(1) {
                s.fma_as(ty, acc, b, Src::Reg(&a))?;
            }
            self.fma_last(s, &row[0], &b[0], a)?;
        }
        b.into_iter().for_each(|b| s.free(b));
        Ok(())
    }

    /// An element of lhs in every lane.
    fn load_lhs<S: Simd>(&self, s: &mut S, disp: i32) -> R<V> {
        s.load_splat_as(self.walk.element(self.lhs), self.walk.ptr(self.lhs), disp)
    }

    /// Elements of a panel. Packed floats of 16 bits are finite.
    fn load_rhs<S: Simd>(&self, s: &mut S, disp: i32, n: usize) -> R<V> {
        let (element, p) = (self.walk.element(self.rhs), self.walk.ptr(self.rhs));
        if self.tile.rhs_padded { s.load_finite(element, p, disp, n) } else { s.load_as(element, p, disp, n) }
    }

    /// `d += a * b`, the last time that `b` is needed.
    fn fma_last<S: Simd>(&self, s: &mut S, d: &V, a: &V, b: V) -> R {
        if self.ty == Lane::F32 {
            return s.fma_last(d, a, b);
        }
        s.fma_as(self.ty, d, a, Src::Reg(&b))?;
        s.free(b);
        Ok(())
    }

    /// Four steps, or as many of four bytes each: a vector of lhs per row, multiplied lane by lane.
    fn steps_by_lane<S: Simd>(&mut self, s: &mut S, l: Option<LoopId>, k: i64, acc: &[V], tile: Extent) -> R {
        let (vectors, of_bytes) = (acc.len() / tile.rows as usize, self.tile.quad.is_some());
        let panel = |this: &Self, s: &mut S, lane: i64, columns: std::ops::Range<usize>| -> R<Vec<V>> {
            let load = |j: usize| match this.rhs_at(l, k + lane, j, tile)? {
                (disp, _) if of_bytes => s.load(this.walk.ptr(this.rhs), disp, this.lanes),
                (disp, n) => this.load_rhs(s, disp, n),
            };
            columns.map(load).collect()
        };
        // The panel's next vectors before these are multiplied: cores that run in order wait for a load that is used at once. Sums
        // of weights need the registers; so do large tiles, where what is loaded together is a pair.
        let left = s.spare().saturating_sub(tile.rows as usize);
        let together = if left >= vectors { vectors } else { PAIR };
        let ahead = left / 2 >= vectors && self.weight_sums.is_empty();
        let mut next = Some(panel(self, s, 0, 0..together.min(vectors))?);
        let a = (0..tile.rows)
            .map(|r| {
                let disp = self.walk.disp(self.lhs, &self.ahead(l, k, r), 0)?;
                let a = s.load(self.walk.ptr(self.lhs), disp, self.lanes)?;
                self.make_signed(s, &a)?;
                Ok(a)
            })
            .collect::<R<Vec<_>>>()?;
        for lane in 0..BY_LANE {
            for from in (0..vectors).step_by(together) {
                let b = match next.take() {
                    Some(b) => b,
                    None => panel(self, s, lane, from..(from + together).min(vectors))?,
                };
                if lane + 1 < BY_LANE && ahead {
                    next = Some(panel(self, s, lane + 1, 0..vectors)?);
                }
                for (j, b) in b.into_iter().enumerate() {
                    self.add_weights(s, from + j, &b)?;
                    for (acc, a) in acc[from + j..].iter().step_by(vectors).zip(&a) {
                        if of_bytes {
                            self.dot_lane(s, acc, &b, a, lane as usize)?;
                        } else {
                            s.fma_lane(acc, &b, a, lane as usize)?;
                        }
                    }
                    s.free(b);
                }
            }
        }
        for a in a {
            s.free(a);
        }
        Ok(())
    }
}
