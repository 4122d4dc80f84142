//! Models of a session: where they come from, and what was last done with them.

pub(crate) mod compare;
pub(crate) mod interpret;
pub(crate) mod model;
pub(crate) mod source;
pub(crate) mod values;

pub(crate) use model::{Last, Model};
pub(crate) use source::Source;
