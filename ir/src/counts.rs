//! Sizes that are data: how operators whose results have them come by names and bounds for them.
//!
//! An operator whose result has an extent that only a run can tell is made of others before inference: something that
//! counts, `Sizes`, which gives the count a name, and what has that name as an extent ([`Op::count`](crate::op::Op::count)).
//! What reads it sees an open dimension.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dim::{Bound, Bounds, Dim};
use crate::error::{Error, Result};
use crate::types::Shape;

/// What a model says of a result.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its name.
    pub name: &'a str,
    /// The shape that it is declared to have.
    pub declared: Option<&'a Shape>,
}

/// The sizes of a graph, and what is known of values whose sizes are data.
#[derive(Debug)]
pub struct Counts<'a> {
    bounds: Bounds,
    most: &'a BTreeMap<String, Vec<i64>>,
    /// Those that were made.
    made: Bounds,
}

impl<'a> Counts<'a> {
    /// For a graph with these bounds of its dimensions and of sizes that it counts already, and with the most elements along
    /// each axis, or along all, of some values.
    pub fn new(open: &Bounds, counted: &Bounds, most: &'a BTreeMap<String, Vec<i64>>) -> Self {
        let bounds = open.iter().chain(counted).map(|(name, bound)| (name.clone(), *bound)).collect();
        Self { bounds, most, made: Bounds::new() }
    }

    /// The greatest that an extent can be.
    ///
    /// # Errors
    ///
    /// Unsupported, where a symbol in it has no bounds.
    pub fn most(&self, dim: &Dim) -> Result<i64> {
        dim.most(&self.bounds).map(|n| n.max(0)).ok_or_else(|| {
            Error::unsupported(format!("a size of at most {dim}, which has no bounds"))
                .hint("give it some with --dim")
        })
    }

    /// The bound that was given for a value, along an axis.
    pub fn bound_of(&self, value: &str, axis: usize) -> Option<i64> {
        match &self.most.get(value)?[..] {
            [all] => Some(*all),
            each => each.get(axis).copied(),
        }
    }

    /// How many elements a result has along an axis at most: by a bound, or by its declaration.
    pub fn given(&self, result: &Told<'_>, axis: usize) -> Option<i64> {
        let declared = || result.declared?.get(axis)?.as_const().filter(|n| *n >= 0);
        self.bound_of(result.name, axis).or_else(declared)
    }

    /// The same, or the error that asks for it.
    ///
    /// # Errors
    ///
    /// Unsupported, with what to say on the command line.
    pub fn needed(&self, result: &Told<'_>, axis: usize) -> Result<i64> {
        self.given(result, axis).ok_or_else(|| {
            let name = result.name;
            Error::unsupported(format!("the extent of '{name}' along axis {axis} is computed at run time"))
                .hint(format!("--bound {name}=N gives the most elements that it has along an axis"))
        })
    }

    /// A name for a size from 0 to `hi`; `stem` is made unique.
    pub fn size(&mut self, stem: &str, hi: i64) -> Arc<str> {
        let name = self.inner(stem, hi);
        self.made.insert(name.clone(), Bound::from((0, hi)));
        name
    }

    /// The same for a size that a body counts.
    pub fn inner(&mut self, stem: &str, hi: i64) -> Arc<str> {
        let taken = |name: &str| self.bounds.contains_key(name);
        let numbered = (1..).map(|i| if i == 1 { stem.to_owned() } else { format!("{stem}_{i}") });
        let name: Arc<str> = numbered.into_iter().find(|name| !taken(name)).unwrap_or_default().into();
        self.bounds.insert(name.clone(), Bound::from((0, hi)));
        name
    }

    /// What was made, with its bounds.
    pub fn made(self) -> Bounds {
        self.made
    }
}
