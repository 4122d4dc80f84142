//! Accesses: which element of a buffer an iteration of a loop nest touches.

use super::scalar::Scalar;
use crate::dim::{Bounds, Dim};

/// A loop of one kernel, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopId(pub u16);

/// A buffer of one program, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// `offset + sum of coefficient * loop`. Coefficients are never zero and each loop occurs once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    /// Loop and coefficient, sorted by loop.
    pub terms: Vec<(LoopId, Dim)>,
    /// The constant part.
    pub offset: Dim,
}

impl Affine {
    /// A constant.
    pub fn constant(offset: impl Into<Dim>) -> Self {
        Self { terms: Vec::new(), offset: offset.into() }
    }

    /// One loop.
    pub fn of(l: LoopId) -> Self {
        Self { terms: vec![(l, Dim::Const(1))], offset: Dim::Const(0) }
    }

    /// `self + coefficient * l`.
    pub fn plus(mut self, l: LoopId, coefficient: impl Into<Dim>) -> Self {
        let coefficient = coefficient.into();
        match self.terms.binary_search_by_key(&l, |t| t.0) {
            Ok(i) => {
                self.terms[i].1 = self.terms[i].1.clone() + coefficient;
                if self.terms[i].1.is(0) {
                    self.terms.remove(i);
                }
            }
            Err(_) if coefficient.is(0) => {}
            Err(i) => self.terms.insert(i, (l, coefficient)),
        }
        self
    }

    /// `self + offset`.
    pub fn shifted(mut self, offset: impl Into<Dim>) -> Self {
        self.offset = self.offset + offset.into();
        self
    }

    /// The loop, when this is exactly one loop.
    pub fn as_loop(&self) -> Option<LoopId> {
        match &self.terms[..] {
            [(l, c)] if c.is(1) && self.offset.is(0) => Some(*l),
            _ => None,
        }
    }

    /// The coefficient of a loop, zero where it does not occur.
    pub fn coefficient(&self, l: LoopId) -> Dim {
        self.terms.iter().find(|t| t.0 == l).map_or(Dim::Const(0), |t| t.1.clone())
    }

    /// Least and greatest value over loops of these extents; saturates. `None` where a number is open.
    pub fn range(&self, extent: impl Fn(LoopId) -> Option<i64>) -> Option<(i64, i64)> {
        range_of(self.offset.as_const(), self.terms.iter().map(|(l, c)| (c.as_const(), extent(*l))))
    }

    /// The least and the greatest value over loops of these extents, as expressions; `None` where a coefficient may have either
    /// sign.
    pub fn ends(&self, extent: impl Fn(LoopId) -> Dim, bounds: &Bounds) -> Option<(Dim, Dim)> {
        let (mut first, mut last) = (self.offset.clone(), self.offset.clone());
        for (l, coefficient) in &self.terms {
            let reach = coefficient.clone() * (extent(*l) - Dim::Const(1));
            match coefficient.range(bounds)? {
                (0.., _) => last = last + reach,
                (_, ..=0) => first = first + reach,
                _ => return None,
            }
        }
        Some((first, last))
    }

    /// The value at an iteration, where all coefficients are constants.
    pub fn at(&self, iteration: &[i64]) -> Option<i64> {
        self.terms
            .iter()
            .try_fold(self.offset.as_const()?, |n, (l, c)| Some(n + c.as_const()? * iteration[l.0 as usize]))
    }
}

/// Least and greatest value of `offset + sum(coefficient * i)`, `0 <= i < extent`; saturates.
pub(super) fn range_of(
    offset: Option<i64>,
    terms: impl IntoIterator<Item = (Option<i64>, Option<i64>)>,
) -> Option<(i64, i64)> {
    let offset = offset?;
    terms.into_iter().try_fold((offset, offset), |(lo, hi), (coefficient, extent)| {
        let span = coefficient?.saturating_mul(extent?.saturating_sub(1).max(0));
        Some((lo.saturating_add(span.min(0)), hi.saturating_add(span.max(0))))
    })
}

/// The index along one axis of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// Computed from the loops.
    Affine(Affine),
    /// Read from an integer buffer: gathers and scatters. A negative value counts from the end of the axis. A
    /// value outside the axis ends the run with an error: nothing outside is read or written.
    Gathered(Box<Access>),
}

impl Index {
    /// The affine expression, if it is one.
    pub fn affine(&self) -> Option<&Affine> {
        match self {
            Self::Affine(a) => Some(a),
            Self::Gathered(_) => None,
        }
    }
}

impl From<LoopId> for Index {
    fn from(l: LoopId) -> Self {
        Self::Affine(Affine::of(l))
    }
}

impl From<Affine> for Index {
    fn from(a: Affine) -> Self {
        Self::Affine(a)
    }
}

/// An element of a buffer, per iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The buffer.
    pub buffer: BufferId,
    /// One index per logical axis.
    pub index: Vec<Index>,
    /// For loads: the value where an index is outside its axis (padding). Without it every index must be inside.
    pub otherwise: Option<Scalar>,
}

impl Access {
    /// An access that is always inside.
    pub fn new(buffer: BufferId, index: Vec<Index>) -> Self {
        Self { buffer, index, otherwise: None }
    }

    /// The loops, when every axis is indexed by exactly one loop, each at most once.
    pub fn as_loops(&self) -> Option<Vec<LoopId>> {
        let loops: Vec<LoopId> = self.index.iter().map(|i| i.affine()?.as_loop()).collect::<Option<_>>()?;
        let mut sorted = loops.clone();
        sorted.sort();
        sorted.dedup();
        (sorted.len() == loops.len()).then_some(loops)
    }

    /// Whether a loop takes part in the index.
    pub fn uses(&self, l: LoopId) -> bool {
        self.index.iter().any(|i| match i {
            Index::Affine(a) => a.terms.iter().any(|t| t.0 == l),
            Index::Gathered(access) => access.uses(l),
        })
    }
}

/// Calls `f` with the buffer of an access and of every index that it gathers.
pub fn each_buffer(access: &Access, f: &mut impl FnMut(BufferId)) {
    f(access.buffer);
    each_index_buffer(access, f);
}

/// Calls `f` with the buffers that an access reads its indices from.
pub fn each_index_buffer(access: &Access, f: &mut impl FnMut(BufferId)) {
    for index in &access.index {
        if let Index::Gathered(inner) = index {
            each_buffer(inner, f);
        }
    }
}
