//! Block Compressed Sparse Row: a contraction's weights of which most are zeros.
//!
//! A matrix of `rows` output channels by `columns` steps of depth is cut into blocks; those with a number other than zero in
//! them are kept, row of blocks by row of blocks and by ascending column.
//!
//! ```text
//!        columns ->                     blocks of 4 x 1
//!      +------------------+
//!      | . a . . e . . .  |             table     0, 2, 3           blocks before the row; at the end, all
//! rows | . b . . f . . .  |             indices   1  4 | 6          of columns, as offsets (see below)
//!      | . c . . . . . .  |             values    a b c d  e f 0 g | h 0 i j
//!      | . d . . g . . .  |
//!      +------------------+
//!      | . . . . . . h .  |
//!      | . . . . . . . .  |
//!      | . . . . . . i .  |
//!      | . . . . . . j .  |
//!      +------------------+
//! ```
//!
//! A block's values lie row by row; blocks have one row or one column but those of 4 x 4. An index is where a column's activations are: a column is a step of nested loops,
//! each with an extent and a stride, and its offset, the sum of the strides, is counted in the largest unit that divides all
//! strides. So a channel of a 1 x 1 convolution has its number, and an element of a 3 x 3 window over an image with a halo
//! its displacement. The columns of a block of several are the innermost loop, of which only the first is told; what the
//! unit divides are the strides of the others. So four channels of bytes that lie together are a block. Indices are 16 bits where all fit, else 32. Who reads a row from front to back may have 8 bits, where
//! they are enough: how much farther a column is than the one before it, the first of a row from 0.
//!
//! Blocks of 16 rows may be *slices*: each row has a column of its own, one of 32 ([`Block::SLICE`]). An index then tells the first
//! of these in 16 columns, by 8 bits from the block before, and of a row without an element the value is 0. Which of the 32 it is
//! is a byte for each row, between indices and values: 16 for a block.
//!
//! Who reads blocks of a row side by side has rows of whole groups of them, whose last ones are zeros at the row's last
//! column.
//!
//! The three parts follow each other, at multiples of 16 bytes. Entries of the table are two numbers of 32 bits: the blocks
//! before the row, and where a share begins: of as many shares as there are rows of blocks the first row of the share with the
//! entry's number. Shares take about as long as each other, so threads that have as many of them are done together. Entries of
//! blocks of 16 rows are padded to as many bytes, so that an entry is a whole number of bytes for each row.

use std::collections::BTreeMap;

use super::slices::{self, Step};
use crate::error::{Error, Result};

/// The shape of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Output channels.
    pub rows: u8,
    /// Steps of depth.
    pub cols: u8,
    /// Columns of which each row has one of its own; 1 where all rows have the same.
    pub window: u8,
}

impl Block {
    /// All shapes that there are.
    pub const ALL: [Self; 8] = [
        Self::new(1, 1),
        Self::new(2, 1),
        Self::new(4, 1),
        Self::new(8, 1),
        Self::new(16, 1),
        Self::new(1, 4),
        Self::new(4, 4),
        Self::SLICE,
    ];
    /// 16 rows, each with a column of its own.
    pub const SLICE: Self = Self { rows: slices::ROWS as u8, cols: 1, window: slices::WINDOW as u8 };

    /// A shape of which all rows have the same columns.
    pub const fn new(rows: u8, cols: u8) -> Self {
        Self { rows, cols, window: 1 }
    }

    /// Whether each row has a column of its own.
    pub fn is_slice(self) -> bool {
        self.window > 1
    }

    /// Whether a matrix of so many columns, which lie side by side, may be in such blocks.
    pub fn divides(self, columns: usize) -> bool {
        if self.is_slice() { slices::fits(columns) } else { columns.is_multiple_of(self.cols.into()) }
    }

    /// Values of a block.
    pub fn values(self) -> usize {
        usize::from(self.rows) * usize::from(self.cols)
    }

    /// Bytes of an entry of the table.
    pub fn entry_bytes(self) -> usize {
        usize::from(self.rows).max(2 * ENTRY)
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)?;
        if self.is_slice() { write!(f, " of {}", self.window) } else { Ok(()) }
    }
}

/// Bytes of a number of an entry.
const ENTRY: usize = 4;
/// What beginning and ending a row of blocks takes, in blocks.
const ROW: u64 = 4;
/// What parts begin at a multiple of.
const ALIGN: usize = 16;

/// How a block says which columns it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// How much larger the index is than that of the block before it in the row, in 8 bits.
    Delta,
    /// 16 bits.
    Short,
    /// 32 bits.
    Wide,
}

impl Index {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::Delta => 1,
            Self::Short => 2,
            Self::Wide => 4,
        }
    }
}

/// What is known of a sparse matrix without its elements: where its parts lie, and what columns are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bcsr {
    /// Output channels.
    pub rows: usize,
    /// `(extent, stride)` of the loops that run through the columns, outermost first; strides are of the activations, in
    /// elements.
    pub depth: Vec<(usize, usize)>,
    /// The shape of the blocks.
    pub block: Block,
    /// How many there are.
    pub blocks: usize,
    /// Elements of activations that an index counts.
    pub unit: usize,
    /// How columns are told.
    pub index: Index,
    /// Bytes of a value: 1, 2 or 4.
    pub value_bytes: usize,
    /// Blocks that are read together ([`Bcsr::in_groups`]).
    pub group: usize,
}

impl Bcsr {
    /// Steps of depth.
    pub fn columns(&self) -> usize {
        self.depth.iter().map(|d| d.0).product()
    }

    /// Rows of blocks.
    pub fn block_rows(&self) -> usize {
        self.rows.div_ceil(usize::from(self.block.rows).max(1))
    }

    /// Where the indices begin.
    pub fn indices_at(&self) -> usize {
        ((self.block_rows() + 1) * self.block.entry_bytes()).next_multiple_of(ALIGN)
    }

    /// Where the columns of slices begin.
    pub fn columns_at(&self) -> usize {
        self.indices_at() + (self.blocks * self.index.bytes()).next_multiple_of(ALIGN)
    }

    /// Bytes that tell the columns of a block's rows.
    pub fn column_bytes(&self) -> usize {
        if self.block.is_slice() { self.block.rows.into() } else { 0 }
    }

    /// Where the values begin: of slices at a multiple of 64, since they are vectors.
    pub fn values_at(&self) -> usize {
        let align = if self.block.is_slice() { 64 } else { ALIGN };
        (self.columns_at() + self.blocks * self.column_bytes()).next_multiple_of(align)
    }

    /// Bytes of all.
    pub fn len(&self) -> usize {
        self.values_at() + self.blocks * self.block.values() * self.value_bytes
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// The matrix `dense`, row by row, of elements of `value_bytes`, in blocks of a shape; with indices of 8 bits where
    /// `deltas` are wanted and enough. Refuses columns whose activations lie at the same place, offsets beyond 32 bits, and
    /// blocks of several columns that are not the innermost loop.
    pub fn encode(
        dense: &[u8],
        value_bytes: usize,
        rows: usize,
        depth: &[(usize, usize)],
        block: Block,
        deltas: bool,
    ) -> Result<(Self, Vec<u8>)> {
        let mut this = Self {
            rows,
            depth: depth.to_vec(),
            block,
            blocks: 0,
            unit: 1,
            index: Index::Short,
            value_bytes,
            group: 1,
        };
        this.check_shape()?;
        let columns = this.columns();
        this.unit = this.told().iter().filter(|d| d.0 > 1).fold(0, |unit, d| gcd(unit, d.1)).max(1);
        if dense.len() != rows * columns * value_bytes {
            return Err(Error::internal(format!(
                "{} bytes for a matrix of {rows} x {columns} elements of {value_bytes} bytes",
                dense.len()
            )));
        }
        let offsets = this.offsets()?;
        if block.is_slice() {
            return this.slices(dense);
        }
        let (height, width) = (usize::from(block.rows), usize::from(block.cols));
        let at = |r: usize, c: usize| &dense[(r * columns + c) * value_bytes..][..value_bytes];
        let (mut table, mut indices, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for top in (0..rows).step_by(height) {
            let before = indices.len();
            let bottom = (top + height).min(rows);
            for (left, offset) in (0..columns).step_by(width).zip(&offsets) {
                let row = |r: usize| (left..left + width).map(move |c| at(r, c));
                if (top..bottom).all(|r| row(r).all(is_zero)) {
                    continue;
                }
                indices.push(*offset);
                (top..bottom).for_each(|r| row(r).for_each(|value| values.extend_from_slice(value)));
                let outside = (top + height - bottom) * width * value_bytes;
                values.extend(std::iter::repeat_n(0, outside));
            }
            table.push(before as u32);
        }
        table.push(indices.len() as u32);
        this.blocks = indices.len();
        let steps = deltas.then(|| steps(&table, &indices)).flatten();
        this.index = match &steps {
            Some(_) => Index::Delta,
            None if offsets.iter().all(|o| *o <= u32::from(u16::MAX)) => Index::Short,
            None => Index::Wide,
        };
        let mut bytes = this.entries(&table);
        bytes.extend(steps.unwrap_or_default());
        match this.index {
            Index::Delta => {}
            Index::Short => indices.iter().for_each(|index| bytes.extend((*index as u16).to_le_bytes())),
            Index::Wide => indices.iter().for_each(|index| bytes.extend(index.to_le_bytes())),
        }
        bytes.resize(this.values_at(), 0);
        bytes.extend(values);
        Ok((this, bytes))
    }

    /// [`Bcsr::encode`] in slices.
    fn slices(mut self, dense: &[u8]) -> Result<(Self, Vec<u8>)> {
        let (columns, size) = (self.columns(), self.value_bytes);
        let at = |r: usize, c: usize| &dense[(r * columns + c) * size..][..size];
        (self.unit, self.index) = (slices::UNIT, Index::Delta);
        let (mut table, mut indices, mut lanes, mut values) = (vec![0], Vec::new(), Vec::new(), Vec::new());
        for top in (0..self.rows).step_by(slices::ROWS) {
            let kept = |row: usize, column: usize| top + row < self.rows && !is_zero(at(top + row, column));
            let mut begin = 0;
            for Step { ahead, columns } in slices::steps(columns, kept) {
                indices.push(ahead);
                begin += usize::from(ahead) * slices::UNIT;
                for (row, column) in columns.iter().enumerate() {
                    lanes.push(column.unwrap_or(0));
                    match column {
                        Some(column) => values.extend_from_slice(at(top + row, begin + usize::from(*column))),
                        None => values.extend(std::iter::repeat_n(0, size)),
                    }
                }
            }
            table.push(indices.len() as u32);
        }
        self.blocks = indices.len();
        let mut bytes = self.entries(&table);
        bytes.extend(indices);
        bytes.resize(self.columns_at(), 0);
        bytes.extend(lanes);
        bytes.resize(self.values_at(), 0);
        bytes.extend(values);
        Ok((self, bytes))
    }

    /// The bytes before the indices, of how many blocks there are before each row and in the end.
    fn entries(&self, table: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for (before, share) in table.iter().zip(shares(table)) {
            let start = bytes.len();
            bytes.extend(before.to_le_bytes());
            bytes.extend(share.to_le_bytes());
            bytes.resize(start + self.block.entry_bytes(), 0);
        }
        bytes.resize(self.indices_at(), 0);
        bytes
    }

    /// Where a share's first row is in its entry.
    pub const SHARE_AT: usize = ENTRY;

    /// The same matrix with rows of whole groups of so many blocks: what is missing is zeros at the last column of the row.
    /// Rows without a block stay as they are.
    pub fn in_groups(&self, bytes: &[u8], group: usize) -> Result<(Self, Vec<u8>)> {
        if bytes.len() != self.len() || self.group != 1 || group == 0 || self.block.is_slice() {
            return Err(broken(format!(
                "{} bytes in groups of {} for groups of {group}",
                bytes.len(),
                self.group
            )));
        }
        let entry_at = |row: usize| row * self.block.entry_bytes();
        let (index, value) = (self.index.bytes(), self.block.values() * self.value_bytes);
        let of = |at: usize, size: usize, i: usize| &bytes[at + i * size..][..size];
        let (mut table, mut indices, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..self.block_rows() {
            table.push((indices.len() / index) as u32);
            let [before, end] = [row, row + 1].map(|row| word(bytes, entry_at(row)) as usize);
            for i in before..end {
                indices.extend_from_slice(of(self.indices_at(), index, i));
                values.extend_from_slice(of(self.values_at(), value, i));
            }
            let missing = (end - before).next_multiple_of(group) - (end - before);
            for _ in 0..missing {
                match self.index {
                    Index::Delta => indices.push(0),
                    _ => indices.extend_from_slice(of(self.indices_at(), index, end - 1)),
                }
                values.extend(std::iter::repeat_n(0, value));
            }
        }
        table.push((indices.len() / index) as u32);
        let this = Self { blocks: indices.len() / index, group, ..self.clone() };
        if u32::try_from(this.blocks).is_err() {
            return Err(Error::unsupported("more blocks than 32 bits tell"));
        }
        let mut all = this.entries(&table);
        all.extend(indices);
        all.resize(this.values_at(), 0);
        all.extend(values);
        Ok((this, all))
    }

    /// The matrix again, row by row. Refuses what [`Bcsr::encode`] would never make.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.check_shape()?;
        if bytes.len() != self.len() {
            return Err(broken(format!("{} bytes, expected {}", bytes.len(), self.len())));
        }
        let columns = self.columns();
        let (height, width) = (usize::from(self.block.rows), usize::from(self.block.cols));
        // Slices tell their first column itself.
        let offsets = if self.block.is_slice() { Vec::new() } else { self.offsets()? };
        let column: BTreeMap<u32, usize> =
            offsets.into_iter().enumerate().map(|(i, offset)| (offset, i * width)).collect();
        let index = |i: usize, last: u32| {
            let at = self.indices_at() + self.index.bytes() * i;
            match self.index {
                Index::Delta => last + u32::from(bytes[at]),
                Index::Short => u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])),
                Index::Wide => word(bytes, at),
            }
        };
        let mut dense = vec![0; self.rows * columns * self.value_bytes];
        // Of slices the least column that a row may have next.
        let mut least = vec![0; self.rows.next_multiple_of(height)];
        let mut next = 0;
        for row in 0..self.block_rows() {
            let entry = |row: usize| word(bytes, row * self.block.entry_bytes()) as usize;
            let (before, end) = (entry(row), entry(row + 1));
            let whole = end.wrapping_sub(before).is_multiple_of(self.group.max(1));
            if before != next || end < before || end > self.blocks || !whole {
                return Err(broken(format!("row {row} has blocks {before} to {end}")));
            }
            let (mut last, mut offset) = (None, 0);
            for i in before..end {
                offset = index(i, offset);
                if self.block.is_slice() {
                    self.slice(bytes, i, row, offset, &mut least, &mut dense)?;
                    continue;
                }
                let left = *column
                    .get(&offset)
                    .ok_or_else(|| broken(format!("index {offset} of row {row} is no column's")))?;
                // What fills a group up.
                let again = self.group > 1 && last == Some(left);
                if last.is_some_and(|last| last >= left) && !again {
                    return Err(broken(format!("column {left} of row {row} is out of order")));
                }
                last = Some(left);
                for (j, value) in bytes[self.values_at()..][i * self.block.values() * self.value_bytes..]
                    .chunks_exact(self.value_bytes)
                    .take(self.block.values())
                    .enumerate()
                {
                    let (r, c) = (row * height + j / width, left + j % width);
                    if r < self.rows && !again {
                        let at = (r * columns + c) * self.value_bytes;
                        dense[at..at + self.value_bytes].copy_from_slice(value);
                    } else if !is_zero(value) {
                        return Err(broken(format!("row {row} has a value outside of the matrix")));
                    }
                }
            }
            next = end;
        }
        if next != self.blocks {
            return Err(broken(format!("{} blocks, of which rows have {next}", self.blocks)));
        }
        let share = |i: usize| word(bytes, i * self.block.entry_bytes() + Self::SHARE_AT) as usize;
        let all = share(0) == 0 && share(self.block_rows()) == self.block_rows();
        if !all || (0..self.block_rows()).any(|i| share(i) > share(i + 1)) {
            return Err(broken("shares that are not all rows, one after the other".to_owned()));
        }
        Ok(dense)
    }

    /// What a slice says of its rows.
    fn slice(
        &self,
        bytes: &[u8],
        i: usize,
        row: usize,
        offset: u32,
        least: &mut [usize],
        dense: &mut [u8],
    ) -> Result<()> {
        let (size, columns) = (self.value_bytes, self.columns());
        for lane in 0..slices::ROWS {
            let (r, within) = (row * slices::ROWS + lane, bytes[self.columns_at() + i * slices::ROWS + lane]);
            let value = &bytes[self.values_at() + (i * slices::ROWS + lane) * size..][..size];
            let column = offset as usize * slices::UNIT + usize::from(within);
            if usize::from(within) >= slices::WINDOW || column >= columns {
                return Err(broken(format!("column {column} of row {r} is none of its slice's")));
            }
            if is_zero(value) {
                continue;
            }
            if r >= self.rows || column < least[r] {
                return Err(broken(format!("column {column} of row {r} is out of order")));
            }
            least[r] = column + 1;
            dense[(r * columns + column) * size..][..size].copy_from_slice(value);
        }
        Ok(())
    }

    /// The loops that indices tell: all but that of the columns of a block of several.
    fn told(&self) -> &[(usize, usize)] {
        &self.depth[..self.depth.len() - usize::from(self.block.cols > 1)]
    }

    /// How far the activations of a block's neighbouring columns are apart, in elements.
    pub fn step(&self) -> usize {
        self.depth.last().filter(|_| self.block.cols > 1).map_or(0, |d| d.1)
    }

    /// The index of the first column of every block that there may be in a row.
    fn offsets(&self) -> Result<Vec<u32>> {
        let all = self.told().iter().fold(vec![0u64], |outer, (extent, stride)| {
            outer
                .iter()
                .flat_map(|o| {
                    (0..*extent as u64).map(move |i| o.saturating_add(i.saturating_mul(*stride as u64)))
                })
                .collect()
        });
        let index = |offset: &u64| {
            // As signed numbers of 32 bits, which machines extend.
            let index = i32::try_from(offset / self.unit.max(1) as u64);
            index.map(|i| i as u32).map_err(|_| Error::unsupported("columns farther apart than 31 bits tell"))
        };
        let offsets = all.iter().map(index).collect::<Result<Vec<u32>>>()?;
        let mut sorted = offsets.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::unsupported("columns whose activations lie at the same place"));
        }
        Ok(offsets)
    }

    /// Whether the activations of neighbouring columns are neighbours.
    fn lies_side_by_side(&self) -> bool {
        let mut step = 1;
        self.depth.iter().rev().all(|(extent, stride)| {
            let follows = *extent == 1 || *stride == step;
            step *= extent;
            follows
        })
    }

    fn check_shape(&self) -> Result<()> {
        let block = Block::ALL.contains(&self.block);
        if !block || !matches!(self.value_bytes, 1 | 2 | 4) || self.rows > u32::MAX as usize {
            return Err(broken(format!(
                "blocks of {} with values of {} bytes",
                self.block, self.value_bytes
            )));
        }
        if self.block.is_slice() && !(slices::fits(self.columns()) && self.lies_side_by_side()) {
            return Err(Error::unsupported(format!(
                "blocks of {} of columns that are not at least {} by {} side by side",
                self.block,
                slices::WINDOW,
                slices::UNIT
            )));
        }
        if self.block.cols > 1 && self.depth.last().is_none_or(|d| d.0 != usize::from(self.block.cols)) {
            return Err(Error::unsupported(format!(
                "blocks of {} of columns that do not lie {} by {}",
                self.block, self.block.cols, self.block.cols
            )));
        }
        Ok(())
    }
}

fn broken(what: String) -> Error {
    Error::internal(format!("a sparse matrix of {what}"))
}

/// The first row of each of as many shares as there are rows, and the end, of how many blocks there are before each row.
fn shares(table: &[u32]) -> Vec<u32> {
    let rows = table.len().saturating_sub(1) as u64;
    let work = |row: u64| u64::from(table[row as usize]) + ROW * row;
    let all = work(rows);
    let mut row = 0;
    let share = |i: u64| {
        // The row that begins nearest to where the share should.
        let wanted = |row: u64| (work(row) * rows).abs_diff(all * i);
        while row < rows && wanted(row + 1) <= wanted(row) {
            row += 1;
        }
        if i == rows { rows as u32 } else { row as u32 }
    };
    (0..=rows).map(share).collect()
}

/// How much larger each index of a row is than the one before it; `None` where 8 bits do not tell.
fn steps(table: &[u32], indices: &[u32]) -> Option<Vec<u8>> {
    let mut all = Vec::with_capacity(indices.len());
    for row in table.windows(2) {
        let mut last = 0;
        for index in &indices[row[0] as usize..row[1] as usize] {
            all.push(u8::try_from(index.checked_sub(last)?).ok()?);
            last = *index;
        }
    }
    Some(all)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn is_zero(value: &[u8]) -> bool {
    value.iter().all(|b| *b == 0)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Blocks of every shape with something in them, of a matrix given as which elements are zeros, row by row.
pub fn count(zeros: &[bool], rows: usize, columns: usize, block: Block) -> usize {
    let (height, width) = (usize::from(block.rows), usize::from(block.cols));
    if block.is_slice() {
        let steps = |top: usize| {
            let kept = |row: usize, column: usize| top + row < rows && !zeros[(top + row) * columns + column];
            slices::steps(columns, kept).len()
        };
        return if slices::fits(columns) { (0..rows).step_by(height).map(steps).sum() } else { 0 };
    }
    let full = |top: usize, left: usize| {
        (top..(top + height).min(rows))
            .any(|r| (left..(left + width).min(columns)).any(|c| !zeros[r * columns + c]))
    };
    (0..rows)
        .step_by(height)
        .map(|top| (0..columns).step_by(width).filter(|left| full(top, *left)).count())
        .sum()
}

#[cfg(test)]
mod tests;
