//! Whole channels: which there are, which go, and a model without them.

mod choose;
mod lanes;
mod shrink;

pub(crate) use choose::{Group, choose, groups};
pub(crate) use lanes::Lanes;
pub(crate) use shrink::{groups as groups_of_depthwise, shrink};
