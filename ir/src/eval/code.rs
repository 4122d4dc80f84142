//! Accesses and expressions compiled for interpretation: strides instead of indices, functions instead of
//! operation names.

use bytes::Bytes;

use super::scalar::{self, Binary, Unary};
use super::{Symbols, scalar::cast};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BinaryOp, Expr, Index, Kernel, Program};
use crate::tensor::row_major;
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
#[derive(Clone, Debug)]
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
struct Gather {
    index: Box<Flat>,
    to_i64: Unary,
    extent: i64,
    stride: i64,
}

/// An access as one offset and a stride per loop.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    pub(super) buffer: usize,
    pub(super) dtype: DType,
    pub(super) element: Line,
    /// Ranges that may be left: index and extent.
    pub(super) guards: Vec<(Line, i64)>,
    gathers: Vec<Gather>,
    /// Bits of the value outside.
    pub(super) otherwise: u64,
}

impl Flat {
    /// The element at an iteration; `None` in the padding.
    pub(super) fn locate(&self, iteration: &[i64], memory: &[Storage]) -> Option<usize> {
        if self.guards.iter().any(|(line, extent)| !(0..*extent).contains(&line.at(iteration))) {
            return None;
        }
        Some((self.element.at(iteration) + self.gathered(iteration, memory)) as usize)
    }

    /// What the gathers add to the offset.
    pub(super) fn gathered(&self, iteration: &[i64], memory: &[Storage]) -> i64 {
        let one = |g: &Gather| {
            let index = (g.to_i64)(g.index.load(iteration, memory)) as i64;
            let wrapped = if index < 0 { index.saturating_add(g.extent) } else { index };
            wrapped.clamp(0, g.extent - 1) * g.stride
        };
        self.gathers.iter().map(one).sum()
    }

    /// The element's bits, or the padding value's.
    pub(super) fn load(&self, iteration: &[i64], memory: &[Storage]) -> u64 {
        match self.locate(iteration, memory) {
            Some(i) => get(memory[self.buffer].bytes(), self.dtype.bits(), i),
            None => self.otherwise,
        }
    }

    /// Whether a gathered index depends on loop `l`.
    pub(super) fn gathers_along(&self, l: usize) -> bool {
        self.gathers.iter().any(|g| {
            g.index.element.coefficients[l] != 0
                || g.index.guards.iter().any(|(line, _)| line.coefficients[l] != 0)
                || g.index.gathers_along(l)
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
            Self::Select(c, a, b) => {
                let taken = if c.eval(iteration, acc, memory) != 0 { a } else { b };
                taken.eval(iteration, acc, memory)
            }
        }
    }
}

/// Compiles the accesses and expressions of one kernel.
pub(super) struct Compiler<'a> {
    pub(super) program: &'a Program,
    pub(super) kernel: &'a Kernel,
    pub(super) symbols: &'a Symbols,
    /// The loops' extents.
    pub(super) extents: Vec<i64>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(program: &'a Program, kernel: &'a Kernel, symbols: &'a Symbols) -> Result<Self> {
        let extents = kernel.loops.iter().map(|l| value(&l.extent, symbols)).collect::<Result<Vec<_>>>()?;
        Ok(Self { program, kernel, symbols, extents })
    }

    /// An access, after a check that it stays inside its buffer.
    pub(super) fn access(&self, access: &Access) -> Result<Flat> {
        let buffer = self
            .program
            .buffers()
            .get(access.buffer.0 as usize)
            .ok_or_else(|| Error::internal(format!("buffer {} does not exist", access.buffer.0)))?;
        let shape = shape(&buffer.ty.shape, self.symbols)?;
        if shape.len() != access.index.len() {
            let n = access.index.len();
            return Err(Error::internal(format!(
                "'{}' of rank {} has {n} indices",
                buffer.name,
                shape.len()
            )));
        }
        if matches!(buffer.ty.dtype.bits(), 0 | 128) {
            return Err(Error::unsupported(format!("elements of type {}", buffer.ty.dtype)));
        }
        let mut flat = Flat {
            buffer: access.buffer.0 as usize,
            dtype: buffer.ty.dtype,
            element: Line { offset: 0, coefficients: vec![0; self.extents.len()] },
            guards: Vec::new(),
            gathers: Vec::new(),
            otherwise: access.otherwise.map_or(0, |s| s.bits),
        };
        for (axis, (index, stride)) in access.index.iter().zip(row_major(&shape)).enumerate() {
            let (extent, stride) = (shape[axis] as i64, stride as i64);
            match index {
                Index::Affine(affine) => {
                    let line = self.line(affine)?;
                    flat.element.offset += line.offset * stride;
                    for (sum, c) in flat.element.coefficients.iter_mut().zip(&line.coefficients) {
                        *sum += c * stride;
                    }
                    let (lo, hi) = self.range(&line);
                    if lo >= 0 && hi < extent || self.extents.contains(&0) {
                        continue;
                    }
                    if access.otherwise.is_none() {
                        return Err(Error::internal(format!(
                            "index {lo}..{hi} of axis {axis} leaves '{}' of shape {shape:?}",
                            buffer.name
                        )));
                    }
                    flat.guards.push((line, extent));
                }
                Index::Gathered(inner) => {
                    if extent == 0 && !self.extents.contains(&0) {
                        return Err(Error::internal(format!(
                            "gathers from '{}', which is empty",
                            buffer.name
                        )));
                    }
                    let index = Box::new(self.access(inner)?);
                    let to_i64 = cast(index.dtype, DType::I64)?;
                    flat.gathers.push(Gather { index, to_i64, extent, stride });
                }
            }
        }
        Ok(flat)
    }

    fn line(&self, affine: &Affine) -> Result<Line> {
        let mut line =
            Line { offset: value(&affine.offset, self.symbols)?, coefficients: vec![0; self.extents.len()] };
        for (l, c) in &affine.terms {
            let slot = line
                .coefficients
                .get_mut(l.0 as usize)
                .ok_or_else(|| Error::internal(format!("loop {} does not exist", l.0)))?;
            *slot += value(c, self.symbols)?;
        }
        Ok(line)
    }

    /// Least and greatest value over all iterations.
    fn range(&self, line: &Line) -> (i64, i64) {
        let spans = line.coefficients.iter().zip(&self.extents).map(|(c, extent)| c * (extent - 1).max(0));
        spans.fold((line.offset, line.offset), |(lo, hi), span| (lo + span.min(0), hi + span.max(0)))
    }

    /// An expression; `acc` is the type of [`Expr::Acc`].
    pub(super) fn expr(&self, expr: &Expr, acc: Option<DType>) -> Result<Code> {
        let child = |e: &Expr| Ok::<_, Error>(Box::new(self.expr(e, acc)?));
        let ty = |e: &Expr| e.dtype(self.program, acc);
        Ok(match expr {
            Expr::Acc => {
                ty(expr)?;
                Code::Acc
            }
            Expr::Const(s) => Code::Const(s.bits),
            Expr::Load(access) => Code::Load(self.access(access)?),
            Expr::Loop(l) if (l.0 as usize) < self.extents.len() => Code::Loop(l.0 as usize),
            Expr::Loop(l) => return Err(Error::internal(format!("loop {} does not exist", l.0))),
            Expr::Unary(op, a) => Code::Unary(scalar::unary(*op, ty(a)?)?, child(a)?),
            Expr::Binary(op, a, b) => {
                ty(expr)?;
                Code::Binary(scalar::binary(*op, ty(a)?)?, child(a)?, child(b)?)
            }
            Expr::Select(c, a, b) => {
                scalar::binary(BinaryOp::And, ty(c)?)?;
                if ty(a)? != ty(b)? {
                    return Err(Error::internal(format!("select of {} and {}", ty(a)?, ty(b)?)));
                }
                Code::Select(child(c)?, child(a)?, child(b)?)
            }
            Expr::Cast(to, a) => Code::Unary(cast(ty(a)?, *to)?, child(a)?),
        })
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
