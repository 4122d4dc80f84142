//! Operands and attributes of nodes in the making.

use std::ops::Range;

use kiln_ir::graph::ValueId;

use super::literal::Literal;
use crate::text::ast::{Expr, Kind, Named};

/// What an operator is given.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// A value of the graph.
    Value(ValueId),
    /// Numbers that take the type of what they meet.
    Literal(Literal),
    /// Nothing: an optional operand is left out.
    Absent,
}

/// An attribute that is not written.
pub(super) fn int_attribute(name: &str, value: i64, span: &Range<usize>) -> Named {
    let value = Expr { kind: Kind::Int(value), span: span.clone() };
    Named { name: name.to_owned(), span: span.clone(), value }
}
