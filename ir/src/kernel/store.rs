//! What is written, and where.

use super::access::Access;
use super::expr::Expr;

/// Where a result goes. The access uses parallel loops only and never has a padding value.
#[derive(Clone, Debug, PartialEq)]
pub struct Store<A = Access> {
    /// The element written; distinct iterations of the parallel loops write distinct elements.
    pub to: A,
    /// The value written: the epilogue, an expression of [`Expr::Acc`] for reducing forms.
    pub value: Expr<A>,
}
