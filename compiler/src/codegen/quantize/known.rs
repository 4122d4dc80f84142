//! What was found out about quantised values: a search each.

use std::cell::RefCell;
use std::collections::HashMap;

/// Quotients by divisor and range, pairs by node.
#[derive(Default)]
pub(crate) struct Known {
    pub(super) quotients: RefCell<HashMap<[u32; 3], Option<[f32; 2]>>>,
    pub(super) pairs: RefCell<HashMap<usize, Option<Pair>>>,
}

/// A byte in an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaf {
    /// The node of a byte in memory.
    Loaded(usize),
    /// The node of a quantised value without a sign; the number is the one before its zero point is added.
    Rounded(usize),
}

/// `round(leaves[0] * factors[0] + (leaves[1] * factors[1] + constant))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) leaves: [Leaf; 2],
    pub(super) factors: [f32; 2],
    pub(super) constant: f32,
    /// What is below 0 is 0.
    pub(super) positive: bool,
}
