//! The forms: what a kernel's loop nest does.

use super::access::{Access, LoopId};
use super::expr::Expr;
use super::procedure::Procedure;
use super::store::Store;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::types::DType;

/// What a loop's iterations have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing: each makes an output element of its own.
    Parallel,
    /// They are reduced to one element.
    Reduce,
}

/// A loop from 0 to its extent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loop {
    /// For text forms: `oh`, `c`, `kw`.
    pub name: String,
    /// Number of iterations.
    pub extent: Dim,
    /// Parallel or reduced.
    pub role: Role,
}

/// How [`Form::Reduce`] combines values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Sum; the empty sum is 0.
    Sum,
    /// Product; the empty product is 1.
    Prod,
    /// Maximum; empty: the type's least value.
    Max,
    /// Minimum; empty: the type's greatest value.
    Min,
    /// The i64 counter of the single reduced loop at the maximum.
    ArgMax {
        /// Of equal values the last wins instead of the first.
        last: bool,
    },
    /// The same for the minimum.
    ArgMin {
        /// Of equal values the last wins instead of the first.
        last: bool,
    },
}

/// What [`Form::Window`] does with the elements under its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowOp {
    /// Sum of `input * weight`: depthwise convolution.
    Dot,
    /// Sum of the input: average pooling, with the division in the epilogue.
    Sum,
    /// Maximum of the input.
    Max,
}

impl WindowOp {
    /// The type of the accumulator over elements of a type: i32 for sums and products of bytes, f32 for floats of 16 bits, else
    /// the same.
    pub fn accumulator(self, input: DType) -> DType {
        match (self, input) {
            (Self::Dot | Self::Sum, DType::U8 | DType::I8) => DType::I32,
            _ => input.accumulator(),
        }
    }
}

/// One side of a [`Form::Transform`]: a small matrix, along one axis of a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// f32: a row per iteration of `to`, a column per iteration of `over`. Whole numbers where integers are transformed.
    pub matrix: Tensor,
    /// The parallel loop along the resulting tile.
    pub to: LoopId,
    /// The reduced loop along the tile that is read.
    pub over: LoopId,
}

impl Side {
    /// The type of the sums over elements of a type: f32, or i32 of integers that it holds; `None` for others.
    pub fn accumulator(from: DType) -> Option<DType> {
        match from {
            DType::F32 => Some(DType::F32),
            DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32 => Some(DType::I32),
            _ => None,
        }
    }

    /// The coefficients, row by row.
    pub fn rows(&self) -> Result<Vec<Vec<f32>>> {
        let [rows, columns] = self.matrix.shape[..] else {
            return Err(Error::internal("the matrix of a transform has two axes"));
        };
        let all = self.matrix.as_slice::<f32>()?;
        Ok((0..rows).map(|r| all[r * columns..][..columns].to_vec()).collect())
    }
}

/// What a kernel computes. `A` is how elements are accessed: by logical index here, by strides in a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Form<A = Access> {
    /// Pointwise: all loops are parallel and no store reads [`Expr::Acc`].
    Map {
        /// The results.
        stores: Vec<Store<A>>,
    },
    /// `acc = op over the reduced loops of value`.
    Reduce {
        /// How values combine.
        op: ReduceOp,
        /// What is reduced.
        value: Expr<A>,
        /// The epilogue.
        store: Store<A>,
    },
    /// `acc = sum over the reduced loops of lhs * rhs`: anything shaped like a matrix product, convolutions
    /// included. Weights are `rhs`.
    Contract {
        /// Type of products and sum; operands are widened to it first.
        acc: DType,
        /// Left operand; activations.
        lhs: A,
        /// Right operand; weights when one side is constant.
        rhs: A,
        /// The epilogue.
        store: Store<A>,
    },
    /// `acc = op over the reduced loops (the window)`, the remaining axes of input and output being in step:
    /// pooling and depthwise convolution. `acc` has the type of [`WindowOp::accumulator`].
    Window {
        /// How the elements combine.
        op: WindowOp,
        /// The input.
        input: A,
        /// The weights, for [`WindowOp::Dot`].
        weight: Option<A>,
        /// The epilogue.
        store: Store<A>,
    },
    /// `acc = sum over the two reduced loops of left[i, k] * from * right[j, l]`: a small separable linear
    /// transform of tiles. `from` does not use `i` and `j`; arithmetic has the type of [`Side::accumulator`], in which
    /// integers wrap.
    Transform {
        /// The matrix along the first axis of the tiles.
        left: Side,
        /// The matrix along the second axis.
        right: Side,
        /// What is transformed.
        from: A,
        /// The epilogue. A store with a padding value is *clipped*: what falls outside the buffer is dropped.
        store: Store<A>,
    },
    /// A copy: transpose, slice, one part of a concat, pad, gather.
    Rearrange {
        /// The element read.
        from: A,
        /// The element written.
        to: A,
    },
    /// Statements in order, for the few operators that are no loop nest.
    Procedure(Procedure<A>),
}

/// A loop nest.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Unique in the program, derived from the model's names.
    pub name: String,
    /// The model's nodes that are computed here.
    pub nodes: Vec<String>,
    /// Loops, outermost first; the order carries no meaning.
    pub loops: Vec<Loop>,
    /// The body.
    pub form: Form,
}

impl Kernel {
    /// Number of iterations of all loops, reduced ones included.
    pub fn iterations(&self) -> Dim {
        self.loops.iter().fold(Dim::Const(1), |n, l| n * l.extent.clone())
    }

    /// Loops of a role, in order.
    pub fn loops_of(&self, role: Role) -> Vec<LoopId> {
        (0..self.loops.len()).filter(|&i| self.loops[i].role == role).map(|i| LoopId(i as u16)).collect()
    }

    /// The loop of an id.
    pub fn loop_(&self, id: LoopId) -> &Loop {
        &self.loops[id.0 as usize]
    }
}

impl<A> Form<A> {
    /// `map`, `reduce`, `contract`, `window`, `transform`, `rearrange` or `procedure`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Map { .. } => "map",
            Self::Reduce { .. } => "reduce",
            Self::Contract { .. } => "contract",
            Self::Window { .. } => "window",
            Self::Transform { .. } => "transform",
            Self::Rearrange { .. } => "rearrange",
            Self::Procedure(_) => "procedure",
        }
    }

    /// The same form with every access replaced.
    pub fn map_accesses<B>(&self, f: &mut impl FnMut(&A) -> B) -> Form<B> {
        fn expr<A, B>(e: &Expr<A>, f: &mut impl FnMut(&A) -> B) -> Expr<B> {
            e.map(&mut |leaf| match leaf {
                Expr::Load(a) => Some(Expr::Load(f(a))),
                _ => None,
            })
        }
        fn store<A, B>(s: &Store<A>, f: &mut impl FnMut(&A) -> B) -> Store<B> {
            Store { to: f(&s.to), value: expr(&s.value, f) }
        }
        match self {
            Self::Map { stores } => Form::Map { stores: stores.iter().map(|s| store(s, f)).collect() },
            Self::Reduce { op, value, store: s } => {
                Form::Reduce { op: *op, value: expr(value, f), store: store(s, f) }
            }
            Self::Contract { acc, lhs, rhs, store: s } => {
                Form::Contract { acc: *acc, lhs: f(lhs), rhs: f(rhs), store: store(s, f) }
            }
            Self::Window { op, input, weight, store: s } => Form::Window {
                op: *op,
                input: f(input),
                weight: weight.as_ref().map(&mut *f),
                store: store(s, f),
            },
            Self::Transform { left, right, from, store: s } => Form::Transform {
                left: left.clone(),
                right: right.clone(),
                from: f(from),
                store: store(s, f),
            },
            Self::Rearrange { from, to } => Form::Rearrange { from: f(from), to: f(to) },
            Self::Procedure(p) => Form::Procedure(Procedure {
                body: p.body.clone(),
                terms: p.terms.iter().map(|e| expr(e, f)).collect(),
                stores: p.stores.iter().map(|s| store(s, f)).collect(),
            }),
        }
    }
}

impl<A> Expr<A> {
    /// The type of the expression, given the type of each access and of [`Expr::Acc`].
    pub fn dtype_with(&self, of: &mut impl FnMut(&A) -> DType, acc: Option<DType>) -> Result<DType> {
        Ok(match self {
            Self::Acc => acc.ok_or_else(|| Error::internal("`acc` outside a reducing form"))?,
            Self::Const(scalar) => scalar.dtype,
            Self::Load(a) => of(a),
            Self::Loop(_) | Self::Size(_) => DType::I64,
            Self::Unary(op, a) => op.result(a.dtype_with(of, acc)?),
            Self::Binary(op, a, b) => {
                let (x, y) = (a.dtype_with(of, acc)?, b.dtype_with(of, acc)?);
                if x != y {
                    return Err(Error::internal(format!("{op:?} of {x} and {y}")));
                }
                op.result(x)
            }
            Self::Select(_, a, _) | Self::MulAdd(a, ..) => a.dtype_with(of, acc)?,
            Self::Cast(dtype, _) | Self::Bits(dtype, _) => *dtype,
        })
    }
}
