//! Scalar expressions: the bodies and epilogues of forms.
//!
//! The same tree is used before placement (`A` is [`Access`]) and after (`A` is
//! [`FlatAccess`](super::plan::FlatAccess)).

use super::access::{Access, LoopId};
use super::function::{BinaryOp, UnaryOp};
use super::scalar::Scalar;
use crate::dim::Dim;
use crate::types::DType;

/// A scalar computation per iteration. `A` is how elements are accessed.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr<A = Access> {
    /// The result of the form's own reduction.
    Acc,
    /// A constant.
    Const(Scalar),
    /// An element of a buffer.
    Load(A),
    /// A loop's counter as i64.
    Loop(LoopId),
    /// An integer that follows from open dimensions as i64; never a constant.
    Size(Dim),
    /// One operand.
    Unary(UnaryOp, Box<Expr<A>>),
    /// Two operands of one type.
    Binary(BinaryOp, Box<Expr<A>>, Box<Expr<A>>),
    /// `a * b + c` of f32, rounded once.
    MulAdd(Box<Expr<A>>, Box<Expr<A>>, Box<Expr<A>>),
    /// `if bool then a else b`.
    Select(Box<Expr<A>>, Box<Expr<A>>, Box<Expr<A>>),
    /// ONNX `Cast` (float to integer rounds towards zero, and saturates where ONNX leaves it undefined).
    Cast(DType, Box<Expr<A>>),
    /// The same bits as an element of another type of as many bytes: a float's as an integer's and back. Of types that kernels
    /// do not compute with ([`DType::is_small`]) these are the integers that [`DType::stored`] tells of.
    Bits(DType, Box<Expr<A>>),
}

impl<A> Expr<A> {
    /// An f32 constant.
    pub fn f32(value: f32) -> Self {
        Self::Const(Scalar::f32(value))
    }

    /// One operand.
    pub fn unary(op: UnaryOp, a: Self) -> Self {
        Self::Unary(op, Box::new(a))
    }

    /// Two operands.
    pub fn binary(op: BinaryOp, a: Self, b: Self) -> Self {
        Self::Binary(op, Box::new(a), Box::new(b))
    }

    /// `a * b + c`, rounded once.
    pub fn mul_add(a: Self, b: Self, c: Self) -> Self {
        Self::MulAdd(Box::new(a), Box::new(b), Box::new(c))
    }

    /// `if condition then a else b`.
    pub fn select(condition: Self, a: Self, b: Self) -> Self {
        Self::Select(Box::new(condition), Box::new(a), Box::new(b))
    }

    /// A conversion.
    pub fn cast(dtype: DType, a: Self) -> Self {
        Self::Cast(dtype, Box::new(a))
    }

    /// The same bits as another type's.
    pub fn bits(dtype: DType, a: Self) -> Self {
        Self::Bits(dtype, Box::new(a))
    }

    /// An integer that follows from open dimensions, a constant where it depends on none, as `dtype`.
    pub fn size(dtype: DType, size: &Dim) -> Self {
        match size.as_const() {
            Some(value) => Self::Const(Scalar::int(dtype, value)),
            None if dtype == DType::I64 => Self::Size(size.clone()),
            None => Self::cast(dtype, Self::Size(size.clone())),
        }
    }

    /// The operands.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Acc | Self::Const(_) | Self::Load(_) | Self::Loop(_) | Self::Size(_) => vec![],
            Self::Unary(_, a) | Self::Cast(_, a) | Self::Bits(_, a) => vec![a],
            Self::Binary(_, a, b) => vec![a, b],
            Self::Select(a, b, c) | Self::MulAdd(a, b, c) => vec![a, b, c],
        }
    }

    /// Whether the counter of a loop is part of the value.
    pub fn reads_counter(&self, l: LoopId) -> bool {
        matches!(self, Self::Loop(x) if *x == l) || self.children().into_iter().any(|c| c.reads_counter(l))
    }

    /// Calls `f` with every access, in order of evaluation.
    pub fn for_each_access<'a>(&'a self, f: &mut impl FnMut(&'a A)) {
        if let Self::Load(access) = self {
            f(access);
        }
        for child in self.children() {
            child.for_each_access(f);
        }
    }

    /// The operands, to be changed.
    fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Acc | Self::Const(_) | Self::Load(_) | Self::Loop(_) | Self::Size(_) => vec![],
            Self::Unary(_, a) | Self::Cast(_, a) | Self::Bits(_, a) => vec![a],
            Self::Binary(_, a, b) => vec![a, b],
            Self::Select(a, b, c) | Self::MulAdd(a, b, c) => vec![a, b, c],
        }
    }

    /// Calls `f` with every access, to be changed, in order of evaluation.
    pub fn for_each_access_mut(&mut self, f: &mut dyn FnMut(&mut A)) {
        if let Self::Load(access) = self {
            f(access);
        }
        for child in self.children_mut() {
            child.for_each_access_mut(f);
        }
    }

    /// Calls `f` with every size that is part of the value.
    pub fn each_size<'a>(&'a self, f: &mut impl FnMut(&'a Dim)) {
        if let Self::Size(size) = self {
            f(size);
        }
        for child in self.children() {
            child.each_size(f);
        }
    }

    /// Open dimensions take values: sizes become others, or constants.
    pub fn close_sizes(&mut self, close: &mut impl FnMut(&mut Dim)) {
        if let Self::Size(size) = self {
            close(size);
            *self = Self::size(DType::I64, size);
        }
        for child in self.children_mut() {
            child.close_sizes(close);
        }
    }

    /// Gives loops whose counters occur other ids.
    pub fn renumber_loops(&mut self, f: &dyn Fn(LoopId) -> LoopId) {
        if let Self::Loop(l) = self {
            *l = f(*l);
        }
        for child in self.children_mut() {
            child.renumber_loops(f);
        }
    }

    /// The same tree with every leaf replaced by what `leaf` makes of it (`None`: kept, for leaves other than
    /// loads).
    pub fn map<B>(&self, leaf: &mut impl FnMut(&Self) -> Option<Expr<B>>) -> Expr<B> {
        let mut go = |e: &Self| Box::new(e.map(leaf));
        match self {
            Self::Unary(op, a) => Expr::Unary(*op, go(a)),
            Self::Cast(dtype, a) => Expr::Cast(*dtype, go(a)),
            Self::Bits(dtype, a) => Expr::Bits(*dtype, go(a)),
            Self::Binary(op, a, b) => Expr::Binary(*op, go(a), go(b)),
            Self::MulAdd(a, b, c) => Expr::MulAdd(go(a), go(b), go(c)),
            Self::Select(c, a, b) => Expr::Select(go(c), go(a), go(b)),
            Self::Acc => leaf(self).unwrap_or(Expr::Acc),
            Self::Const(scalar) => leaf(self).unwrap_or(Expr::Const(*scalar)),
            Self::Loop(l) => leaf(self).unwrap_or(Expr::Loop(*l)),
            Self::Size(size) => leaf(self).unwrap_or_else(|| Expr::Size(size.clone())),
            Self::Load(_) => leaf(self).expect("a load is always replaced"),
        }
    }

    /// The same tree with every part replaced that `f` has something for, from the root on; what it gives is not looked at
    /// again.
    pub fn replace(&self, f: &mut impl FnMut(&Self) -> Option<Self>) -> Self
    where
        A: Clone,
    {
        if let Some(new) = f(self) {
            return new;
        }
        let mut go = |e: &Self| Box::new(e.replace(f));
        match self {
            Self::Unary(op, a) => Self::Unary(*op, go(a)),
            Self::Cast(dtype, a) => Self::Cast(*dtype, go(a)),
            Self::Bits(dtype, a) => Self::Bits(*dtype, go(a)),
            Self::Binary(op, a, b) => Self::Binary(*op, go(a), go(b)),
            Self::MulAdd(a, b, c) => Self::MulAdd(go(a), go(b), go(c)),
            Self::Select(c, a, b) => Self::Select(go(c), go(a), go(b)),
            leaf => leaf.clone(),
        }
    }

    /// Number of operations.
    pub fn operations(&self) -> usize {
        let leaf = matches!(self, Self::Acc | Self::Const(_) | Self::Load(_) | Self::Loop(_) | Self::Size(_));
        let here = usize::from(!leaf);
        here + self.children().into_iter().map(Self::operations).sum::<usize>()
    }
}
