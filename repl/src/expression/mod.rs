//! Expressions to graphs: literals, subscripts, attributes, types.

pub(crate) mod attributes;
pub(crate) mod build;
pub(crate) mod constant;
pub(crate) mod functions;
pub(crate) mod literal;
mod operand;
mod subscript;
pub(crate) mod suggest;
