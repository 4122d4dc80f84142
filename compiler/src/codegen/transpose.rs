//! [`Schedule::Transpose`](kiln_ir::kernel::plan::Schedule::Transpose): copies in square blocks through registers.
//!
//! ```text
//! outer loops
//!   a few cache lines of what is read, and one of what is written
//!     blocks: n vectors in, turned, n vectors out
//! ```
//!
//! A block has `n` columns, as many as fit 128 bits, and `n` rows in each quarter of 128 bits of a vector. It is turned by
//! taking, log2 n times, the elements of vectors `n / 2` apart in turn, in all quarters at once: what is written is whole
//! vectors. Four rows of bytes that become lanes are put together by shifts.

use kiln_ir::kernel::Form;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::{PlannedKernel, Shared, Transpose};
use kiln_targets::simd::{Apart, Narrow, Op1, Op2, Overflow, R, Refusal, Simd, Src, V};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, known_trips, stepped, trips};
use super::walk::{AccessId, Walk};

/// Bytes of a quarter of a vector, all there is of narrow ones.
const QUARTER: i64 = 16;
/// Bytes of a lane.
const FOUR: i64 = 4;
/// Bytes of a cache line.
const LINE: i64 = 64;
/// Bytes that are read of a row before the next.
const RUN: i64 = Transpose::RUN as i64;

struct Generator<'k> {
    walk: Walk,
    schedule: &'k Transpose,
    share: Option<Shared>,
    from: AccessId,
    /// The rows that are read, where only a run tells how far apart they are.
    rows: Vec<AccessId>,
    to: AccessId,
    /// Bytes of an element.
    size: i64,
    /// Quarters of a vector.
    quarters: i64,
    /// Whether what is written is lanes of four bytes, each of another row of what is read.
    four: bool,
}

/// What happens to a number of consecutive iterations.
type Body<'b, T, S> = &'b mut dyn FnMut(&mut T, &mut S, i64) -> R;

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    schedule: &Transpose,
    s: &mut S,
) -> R {
    let Form::Rearrange { from, to } = &kernel.form else {
        return Err(Refusal::unsupported(format!("{} as a transpose", kernel.form.name())));
    };
    let mut walk = Walk::new(kernel, places)?;
    let apart = kernel.rows_apart().unwrap_or_default();
    let rows = apart.iter().map(|row| walk.access(row)).collect::<R<Vec<_>>>()?;
    let from = rows.first().map_or_else(|| walk.access(from), |row| Ok(*row))?;
    let to = walk.access(to)?;
    let size = walk.element(to).bytes() as i64;
    if walk.stride(from, schedule.read) != size || walk.stride(to, schedule.write) != size {
        return Err(Refusal::unsupported("a transpose of strided elements"));
    }
    let quarters = s.lanes() as i64 / 4;
    let share = kernel.shared;
    let four = size == 1
        && walk.extent(schedule.write) == FOUR
        && walk.stride(to, schedule.read) == FOUR
        && share.is_none_or(|share| share.along != schedule.write);
    if size < 4 && quarters > 1 && !four {
        return Err(Refusal::unsupported("elements of 1 and 2 bytes are turned in 128 bits"));
    }
    let step = |l| if l == schedule.read { RUN / size } else { LINE / size };
    let blocks = |share: Shared| share.along == schedule.read || share.along == schedule.write;
    if share.is_some_and(|share| blocks(share) && i64::from(share.step) != step(share.along)) {
        return Err(Refusal::unsupported("shared lines of another size than a transpose's"));
    }
    let mut this = Generator { walk, schedule, share, from, rows, to, size, quarters, four };
    this.walk.open(s)?;
    this.outer(s, 0)?;
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    fn outer<S: Simd>(&mut self, s: &mut S, i: usize) -> R {
        let Some(&l) = self.schedule.outer.get(i) else {
            let step = RUN / self.size;
            return self.lines(s, self.schedule.read, step, &mut |this, s, n| this.column_lines(s, n));
        };
        if let Some(share) = self.share.filter(|share| share.along == l) {
            return shared(self, s, share, i > 0, &mut |this, s, _| this.outer(s, i + 1));
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, to - from, 1, &mut |this, s| this.outer(s, i + 1))?;
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// All that is read of `columns` elements, up to a run of them.
    fn column_lines<S: Simd>(&mut self, s: &mut S, columns: i64) -> R {
        if self.four {
            let (read, lanes) = (self.schedule.read, s.lanes() as i64);
            self.steps(s, read, columns, lanes, &mut |this, s, n| this.fours(s, n as usize))?;
            self.walk.skip(read, -columns);
            return Ok(());
        }
        let step = LINE / self.size;
        self.lines(s, self.schedule.write, step, &mut |this, s, rows| this.line(s, rows, columns))
    }

    /// A loop in steps, and what is left.
    fn lines<S: Simd>(&mut self, s: &mut S, l: LoopId, step: i64, body: Body<'_, Self, S>) -> R {
        if let Some(share) = self.share.filter(|share| share.along == l) {
            return shared(self, s, share, true, body);
        }
        if let Some(extent) = self.walk.open_extent(l) {
            return stepped(self, s, l, &extent, step, body);
        }
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            self.steps(s, l, to - from, step, body)?;
        }
        self.walk.rewind(l, self.walk.extent(l));
        Ok(())
    }

    /// `count` iterations in steps, and what is left.
    fn steps<S: Simd>(&mut self, s: &mut S, l: LoopId, count: i64, step: i64, body: Body<'_, Self, S>) -> R {
        known_trips(self, s, l, count / step, step, &mut |this, s| body(this, s, step))?;
        if count % step > 0 {
            body(self, s, count % step)?;
            self.walk.skip(l, count % step);
        }
        Ok(())
    }

    /// `rows` by `columns` elements, up to a cache line and a run of them, in blocks.
    fn line<S: Simd>(&mut self, s: &mut S, rows: i64, columns: i64) -> R {
        let (read, write, n) = (self.schedule.read, self.schedule.write, QUARTER / self.size);
        let quarters = self.quarters;
        // Lines that are written are completed one after the other.
        self.steps(s, read, columns, n, &mut |this, s, columns| {
            this.steps(s, write, rows, n * quarters, &mut |this, s, rows| this.block(s, rows, columns))?;
            this.walk.skip(write, -rows);
            Ok(())
        })?;
        self.walk.skip(read, -columns);
        Ok(())
    }

    /// Lanes of four bytes, of as many rows.
    fn fours<S: Simd>(&mut self, s: &mut S, n: usize) -> R {
        let mut all: Option<V> = None;
        for row in 0..FOUR {
            self.walk.set_range(self.schedule.write, (row, row + 1));
            let at = self.walk.disp(self.from, &[(self.schedule.write, row)], 0)?;
            let v = match self.walk.outside(self.from)? {
                Some(value) => s.splat(f32::from_bits(value.bits as u32 & 0xff))?,
                None => {
                    s.load_narrow(Narrow { two: false, signed: false }, self.walk.ptr(self.from), at, n)?
                }
            };
            if row > 0 {
                s.op1(Op1::Shl(8 * row as u8), &v)?;
            }
            match &all {
                None => all = Some(v),
                Some(all) => {
                    s.op2(Op2::Or, all, Src::Reg(&v))?;
                    s.free(v);
                }
            }
        }
        self.walk.set_range(self.schedule.write, (0, FOUR));
        if let Some(all) = all {
            s.store(self.walk.ptr(self.to), self.walk.disp(self.to, &[], 0)?, &all, n)?;
            s.free(all);
        }
        Ok(())
    }

    /// Reads `rows` rows of `columns` elements and writes `columns` vectors of `rows`.
    fn block<S: Simd>(&mut self, s: &mut S, rows: i64, columns: i64) -> R {
        let n = QUARTER / self.size;
        if let Some(value) = self.walk.outside(self.from)? {
            let v = self.splat(s, value.bits)?;
            for column in 0..columns {
                self.store(s, column, &v, rows)?;
            }
            s.free(v);
            return Ok(());
        }
        if self.size < 4 && (rows < n || columns < n) {
            return self.short_block(s, rows, columns);
        }
        let words = (columns * self.size / 4) as usize;
        let mut block: Vec<V> = Vec::new();
        for row in 0..n {
            // Rows that do not exist read the last one again; nothing of them is written.
            let last = row.min(rows - 1);
            let from = self.rows.get(last as usize).copied().unwrap_or(self.from);
            let at = |row: i64| self.walk.disp(from, &[(self.schedule.write, row.min(rows - 1))], 0);
            let v = s.load(self.walk.ptr(from), at(row)?, words)?;
            for quarter in 1..(rows + n - 1) / n {
                s.load_quarter(
                    &v,
                    quarter as usize,
                    self.walk.ptr(self.from),
                    at(quarter * n + row)?,
                    words,
                )?;
            }
            block.push(v);
        }
        let mut apart = n / 2;
        while apart > 0 {
            block = self.interleaved(s, block)?;
            apart /= 2;
        }
        for (column, v) in block.into_iter().enumerate() {
            if (column as i64) < columns {
                self.store(s, column as i64, &v, rows)?;
            }
            s.free(v);
        }
        Ok(())
    }

    /// Vectors half of the block apart, their elements in turn.
    fn interleaved<S: Simd>(&self, s: &mut S, block: Vec<V>) -> R<Vec<V>> {
        let bits = 8 * self.size as u8;
        let mut lower = block;
        let upper = lower.split_off(lower.len() / 2);
        let mut out = Vec::new();
        for (a, b) in lower.into_iter().zip(upper) {
            let high = s.copy(&a)?;
            s.interleave(bits, false, &a, &b)?;
            s.interleave(bits, true, &high, &b)?;
            s.free(b);
            out.extend([a, high]);
        }
        Ok(out)
    }

    /// A part of a block of short elements: each vector that is written is put together from single ones.
    fn short_block<S: Simd>(&self, s: &mut S, rows: i64, columns: i64) -> R {
        let (read, write) = (self.schedule.read, self.schedule.write);
        let stride = self.walk.stride(self.from, write);
        let apart = Apart { bytes: self.size as usize, signed: false, stride };
        let element = Narrow { two: self.size == 2, signed: false };
        let lanes = s.lanes() as i64;
        for column in 0..columns {
            let at = [(read, column)];
            let (from, whole) = (self.walk.disp(self.from, &at, 0)?, rows * self.size == QUARTER);
            let dense = if whole { s.load_dense(apart, self.walk.ptr(self.from), from)? } else { None };
            if let Some(v) = dense {
                self.store(s, column, &v, rows)?;
                s.free(v);
                continue;
            }
            for first in (0..rows).step_by(lanes as usize) {
                let n = (rows - first).min(lanes) as usize;
                let at = [(read, column), (write, first)];
                let (from, to) = (self.walk.disp(self.from, &at, 0)?, self.walk.disp(self.to, &at, 0)?);
                let v = s.load_apart(apart, self.walk.ptr(self.from), from, n)?;
                s.store_narrow(element, Overflow::Wrap, self.walk.ptr(self.to), to, &v, n)?;
                s.free(v);
            }
        }
        Ok(())
    }

    /// The first `rows` elements of a vector that is written.
    fn store<S: Simd>(&self, s: &mut S, column: i64, v: &V, rows: i64) -> R {
        let disp = self.walk.disp(self.to, &[(self.schedule.read, column)], 0)?;
        let bytes = rows * self.size;
        let (words, rest) = ((bytes / 4) as usize, (bytes % 4) as usize);
        if words > 0 {
            s.store(self.walk.ptr(self.to), disp, v, words)?;
        }
        if rest > 0 {
            // Of short elements only what is the same in all of them is left over.
            let element = Narrow { two: self.size == 2, signed: false };
            let disp = disp + 4 * words as i32;
            s.store_narrow(
                element,
                Overflow::Wrap,
                self.walk.ptr(self.to),
                disp,
                v,
                rest / self.size as usize,
            )?;
        }
        Ok(())
    }

    /// Elements of these bits.
    fn splat<S: Simd>(&self, s: &mut S, bits: u64) -> R<V> {
        match self.size {
            8 => s.splat_wide(bits),
            4 => s.splat(f32::from_bits(bits as u32)),
            2 => s.splat(f32::from_bits(bits as u32 * 0x0001_0001)),
            _ => s.splat(f32::from_bits(bits as u32 * 0x0101_0101)),
        }
    }
}
