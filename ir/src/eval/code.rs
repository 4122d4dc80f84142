//! Accesses and expressions compiled for interpretation: strides instead of indices, functions instead of
//! operation names. Both interpreters of kernels run on these.

use bytes::Bytes;

use super::Symbols;
use super::scalar::{Binary, Unary};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Loop, Role};
use crate::types::DType;

/// The bytes of one buffer.
#[derive(Clone, Debug, Default)]
pub(super) enum Storage {
    /// Not written yet, or no longer needed.
    #[default]
    Absent,
    /// Arguments and constants.
    Shared(Bytes),
    /// Written by a kernel.
    Owned(Vec<u8>),
}

impl Storage {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Absent => &[],
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Element `i` of a buffer whose elements have `bits` bits.
pub(crate) fn get(bytes: &[u8], bits: usize, i: usize) -> u64 {
    macro_rules! get {
        ($t:ty) => {{
            const N: usize = size_of::<$t>();
            let mut element = [0; N];
            element.copy_from_slice(&bytes[i * N..(i + 1) * N]);
            <$t>::from_le_bytes(element).into()
        }};
    }
    match bits {
        4 => (bytes[i / 2] >> (i % 2 * 4) & 0xf).into(),
        8 => bytes[i].into(),
        16 => get!(u16),
        32 => get!(u32),
        _ => get!(u64),
    }
}

/// Writes element `i`.
pub(crate) fn put(bytes: &mut [u8], bits: usize, i: usize, value: u64) {
    match bits {
        4 => {
            let shift = i % 2 * 4;
            let byte = &mut bytes[i / 2];
            *byte = *byte & !(0xf << shift) | (value as u8 & 0xf) << shift;
        }
        8 => bytes[i] = value as u8,
        _ => {
            let n = bits / 8;
            bytes[i * n..(i + 1) * n].copy_from_slice(&value.to_le_bytes()[..n]);
        }
    }
}

/// `offset + sum(coefficients[l] * iteration[l])`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) offset: i64,
    pub(super) coefficients: Vec<i64>,
}

impl Line {
    pub(super) fn at(&self, iteration: &[i64]) -> i64 {
        self.coefficients.iter().zip(iteration).fold(self.offset, |n, (c, i)| n + c * i)
    }
}

/// An index read at run time.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    pub(super) index: Box<Flat>,
    pub(super) to_i64: Unary,
    pub(super) extent: i64,
    pub(super) stride: i64,
    /// Negative indices are none.
    pub(super) known: bool,
}

impl Gather {
    /// The index as it was read.
    fn read(&self, iteration: &[i64], memory: &[Storage]) -> i64 {
        (self.to_i64)(self.index.load(iteration, memory)) as i64
    }
}

/// Columns in panels: every `width` iterations of a loop begin `stride` elements behind the `width` before them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels {
    pub(super) col: usize,
    pub(super) width: i64,
    pub(super) stride: i64,
}

/// An access as one offset and a stride per loop.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    /// Position in the memory that the interpreter hands to its kernels; of a store, among its results.
    pub(super) buffer: usize,
    pub(super) dtype: DType,
    pub(super) element: Line,
    /// A loop whose stride changes between panels.
    pub(super) panels: Option<Panels>,
    /// Ranges that may be left: index and extent.
    pub(super) guards: Vec<(Line, i64)>,
    pub(super) gathers: Vec<Gather>,
    /// Bits of the value outside.
    pub(super) otherwise: u64,
}

impl Flat {
    /// The element at an iteration; `None` in the padding.
    pub(super) fn locate(&self, iteration: &[i64], memory: &[Storage]) -> Option<i64> {
        if !self.is_inside(iteration) {
            return None;
        }
        Some(self.start(iteration) + self.gathered(iteration, memory))
    }

    fn is_inside(&self, iteration: &[i64]) -> bool {
        self.guards.iter().all(|(line, extent)| (0..*extent).contains(&line.at(iteration)))
    }

    /// Whether every iteration finds its element where it finds another's, as far as that is no matter of the data.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let plain = [self, other].iter().all(|flat| flat.gathers.is_empty() && flat.panels.is_none());
        let same =
            self.buffer == other.buffer && self.element == other.element && self.guards == other.guards;
        plain && same && self.dtype.size() == other.dtype.size()
    }

    /// The element without what gathers add.
    pub(super) fn start(&self, iteration: &[i64]) -> i64 {
        let panels = self.panels.map_or(0, |p| iteration[p.col] / p.width * (p.stride - p.width));
        self.element.at(iteration) + panels
    }

    /// What the gathers add to the offset; their indices have been checked.
    pub(super) fn gathered(&self, iteration: &[i64], memory: &[Storage]) -> i64 {
        let one = |g: &Gather| {
            let index = g.read(iteration, memory);
            (if index < 0 { index + g.extent } else { index }) * g.stride
        };
        self.gathers.iter().map(one).sum()
    }

    /// The element's bits, or the padding value's.
    pub(super) fn load(&self, iteration: &[i64], memory: &[Storage]) -> u64 {
        match self.locate(iteration, memory) {
            Some(i) => get(memory[self.buffer].bytes(), self.dtype.size() * 8, i as usize),
            None => self.otherwise,
        }
    }

    /// Whether the element depends on loop `l`.
    pub(super) fn uses(&self, l: usize) -> bool {
        self.element.coefficients[l] != 0
            || self.panels.is_some_and(|p| p.col == l)
            || self.guards.iter().any(|(line, _)| line.coefficients[l] != 0)
            || self.gathers_along(l)
    }

    /// Whether a gathered index depends on loop `l`.
    pub(super) fn gathers_along(&self, l: usize) -> bool {
        self.gathers.iter().any(|g| g.index.uses(l))
    }

    /// Calls `f` with an iteration for every element that kernels with these loops touch, until it fails. Loops that
    /// the access does not use stay at 0.
    pub(super) fn sweep(&self, loops: &Loops, mut f: impl FnMut(&[i64]) -> Result<()>) -> Result<()> {
        let empty = |l: &usize| loops.extents[*l] == 0;
        if loops.parallel.iter().any(empty) {
            return Ok(());
        }
        let used: Vec<usize> = (0..loops.extents.len()).filter(|l| self.uses(*l)).collect();
        let mut result = Ok(());
        for_each(&used, &loops.extents, &mut vec![0; loops.extents.len()], |iteration| {
            if result.is_ok() && self.is_inside(iteration) {
                result = f(iteration);
            }
        });
        result
    }

    /// Refuses an index read at run time that is outside its axis.
    pub(super) fn check_indices(&self, loops: &Loops, memory: &[Storage]) -> Result<()> {
        if self.gathers.is_empty() {
            return Ok(());
        }
        self.sweep(loops, |iteration| {
            self.gathers.iter().try_for_each(|g| match g.read(iteration, memory) {
                index if (if g.known { 0 } else { -g.extent }..g.extent).contains(&index) => Ok(()),
                index => Err(Error::index_out_of_range(index, g.extent)),
            })
        })
    }
}

/// An expression whose operations have been looked up.
#[derive(Clone, Debug)]
pub(super) enum Code {
    Acc,
    Const(u64),
    Load(Flat),
    Loop(usize),
    Unary(Unary, Box<Code>),
    Binary(Binary, Box<Code>, Box<Code>),
    MulAdd(Box<Code>, Box<Code>, Box<Code>),
    Select(Box<Code>, Box<Code>, Box<Code>),
}

impl Code {
    /// The value's bits at an iteration.
    pub(super) fn eval(&self, iteration: &[i64], acc: u64, memory: &[Storage]) -> u64 {
        match self {
            Self::Acc => acc,
            Self::Const(bits) => *bits,
            Self::Load(access) => access.load(iteration, memory),
            Self::Loop(l) => iteration[*l] as u64,
            Self::Unary(f, a) => f(a.eval(iteration, acc, memory)),
            Self::Binary(f, a, b) => f(a.eval(iteration, acc, memory), b.eval(iteration, acc, memory)),
            Self::MulAdd(a, b, c) => {
                let number = |code: &Self| f32::from_bits(code.eval(iteration, acc, memory) as u32);
                number(a).mul_add(number(b), number(c)).to_bits().into()
            }
            Self::Select(c, a, b) => {
                let taken = if c.eval(iteration, acc, memory) != 0 { a } else { b };
                taken.eval(iteration, acc, memory)
            }
        }
    }
}

/// A dimension's value.
pub(super) fn value(dim: &Dim, symbols: &Symbols) -> Result<i64> {
    dim.eval(symbols).ok_or_else(|| Error::internal(format!("{dim} has no value")))
}

/// A shape's extents.
pub(super) fn shape(dims: &[Dim], symbols: &Symbols) -> Result<Vec<usize>> {
    let extent = |dim: &Dim| {
        usize::try_from(value(dim, symbols)?)
            .map_err(|_| Error::internal(format!("extent {dim} is negative")))
    };
    dims.iter().map(extent).collect()
}

/// The loops of one kernel.
#[derive(Clone, Debug)]
pub(super) struct Loops {
    pub(super) parallel: Vec<usize>,
    pub(super) reduced: Vec<usize>,
    /// Of every loop.
    pub(super) extents: Vec<i64>,
}

impl Loops {
    pub(super) fn new(loops: &[Loop], symbols: &Symbols) -> Result<Self> {
        let of = |role: Role| (0..loops.len()).filter(|&l| loops[l].role == role).collect();
        let extents = loops.iter().map(|l| value(&l.extent, symbols)).collect::<Result<Vec<_>>>()?;
        Ok(Self { parallel: of(Role::Parallel), reduced: of(Role::Reduce), extents })
    }

    /// Least and greatest value of a line over all iterations.
    pub(super) fn range(&self, line: &Line) -> (i64, i64) {
        let spans = line.coefficients.iter().zip(&self.extents).map(|(c, extent)| c * (extent - 1).max(0));
        spans.fold((line.offset, line.offset), |(lo, hi), span| (lo + span.min(0), hi + span.max(0)))
    }
}

/// Calls `f` for every combination of the counters of `loops`, the last one fastest; the others stay.
pub(super) fn for_each(
    loops: &[usize],
    extents: &[i64],
    iteration: &mut [i64],
    mut f: impl FnMut(&mut [i64]),
) {
    for &l in loops {
        iteration[l] = 0;
        if extents[l] <= 0 {
            return;
        }
    }
    loop {
        f(iteration);
        let mut remaining = loops;
        loop {
            let Some((&l, outer)) = remaining.split_last() else { return };
            iteration[l] += 1;
            if iteration[l] < extents[l] {
                break;
            }
            iteration[l] = 0;
            remaining = outer;
        }
    }
}
