//! What is typed, as a tree.

use std::ops::Range;

/// Names that take results, and what gives them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// Names before the equal sign; none: the results are shown.
    pub(crate) targets: Vec<(String, Range<usize>)>,
    /// What is computed.
    pub(crate) expr: Expr,
}

/// An expression and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it stands, in bytes.
    pub(crate) span: Range<usize>,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `3`
    Int(i64),
    /// `3.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `"same"`
    Text(String),
    /// `none`: an operand left out.
    Absent,
    /// `[1, [2]]`
    List(Vec<Expr>),
    /// A variable.
    Name(String),
    /// `Conv(x, w, strides=[2, 2])`
    Call(Call),
    /// `-x`
    Unary(Unary, Box<Expr>),
    /// `x + y`
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `x[0, -3:]`
    Index(Box<Expr>, Vec<Subscript>),
    /// A tensor that has been computed before the rest, by position.
    Leaf(usize),
}

/// A call of an operator, a model or a function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// The name; may have a domain: `com.microsoft.Gelu`.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) name_span: Range<usize>,
    /// Operands.
    pub(crate) args: Vec<Expr>,
    /// Attributes or arguments by name.
    pub(crate) named: Vec<Named>,
}

/// `axis=1`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    /// The name.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) span: Range<usize>,
    /// Its value.
    pub(crate) value: Expr,
}

/// Operators before an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    /// `-`
    Neg,
    /// `not` or `~`
    Not,
}

/// Operators between operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `**`
    Pow,
    /// `@`
    MatMul,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `and` or `&`
    And,
    /// `or` or `|`
    Or,
    /// `^`
    Xor,
}

/// What stands between square brackets behind a tensor.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are as many as a line has subscripts")]
pub(crate) enum Subscript {
    /// `2`: the axis goes.
    At(Expr),
    /// `1:-1:2`
    Slice {
        /// First.
        start: Option<Expr>,
        /// First that is not taken.
        stop: Option<Expr>,
        /// How far from one to the next.
        step: Option<Expr>,
    },
    /// `...`: all axes that are not spoken of.
    Rest,
    /// `none`: a new axis of extent 1.
    New,
}
