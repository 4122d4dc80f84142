//! Loop nests and expressions, built piece by piece in `lower`.

use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{
    Access, Affine, BinaryOp, Expr, Form, Index, Loop, LoopId, Lowering, ReduceOp, Role, Scalar, Store,
    UnaryOp,
};
use crate::types::{DType, Shape};

/// Loops in the order in which they are added.
#[derive(Debug, Default)]
pub(crate) struct NestBuilder {
    /// What goes into the kernel.
    pub(crate) loops: Vec<Loop>,
}

impl NestBuilder {
    /// Adds a loop whose iterations are independent.
    pub(crate) fn parallel(&mut self, name: impl Into<String>, extent: &Dim) -> LoopId {
        self.add(name.into(), extent, Role::Parallel)
    }

    /// Adds a loop that is reduced.
    pub(crate) fn reduce(&mut self, name: impl Into<String>, extent: &Dim) -> LoopId {
        self.add(name.into(), extent, Role::Reduce)
    }

    fn add(&mut self, name: String, extent: &Dim, role: Role) -> LoopId {
        self.loops.push(Loop { name, extent: extent.clone(), role });
        LoopId(self.loops.len() as u16 - 1)
    }

    /// One loop per axis of `shape`, reduced where `reduced` says so. Parallel loops come first.
    pub(crate) fn over(shape: &Shape, reduced: &[bool]) -> (Self, Vec<LoopId>) {
        let mut nest = Self::default();
        let mut ids = vec![LoopId(0); shape.rank()];
        for role in [Role::Parallel, Role::Reduce] {
            for (axis, extent) in shape.iter().enumerate() {
                if (role == Role::Reduce) == reduced[axis] {
                    let stem = if role == Role::Reduce { 'r' } else { 'i' };
                    ids[axis] = nest.add(format!("{stem}{axis}"), extent, role);
                }
            }
        }
        (nest, ids)
    }
}

/// The index 0.
pub(crate) fn zero() -> Index {
    Affine::constant(0i64).into()
}

/// One loop per axis as indices.
pub(crate) fn indices(ids: &[LoopId]) -> Vec<Index> {
    ids.iter().copied().map(Index::from).collect()
}

/// Loops as indices, standing still at 0 where `fixed` says so.
pub(crate) fn indices_except(ids: &[LoopId], fixed: &[bool]) -> Vec<Index> {
    ids.iter().zip(fixed).map(|(&id, &fixed)| if fixed { zero() } else { id.into() }).collect()
}

/// `a + b`.
pub(crate) fn add(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Add, a, b)
}

/// `a - b`.
pub(crate) fn sub(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Sub, a, b)
}

/// `a * b`.
pub(crate) fn mul(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Mul, a, b)
}

/// `a / b`.
pub(crate) fn div(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Div, a, b)
}

/// `1 / sqrt(a)`.
pub(crate) fn rsqrt(dtype: DType, a: Expr) -> Expr {
    div(constant(dtype, 1.0), Expr::unary(UnaryOp::Sqrt, a))
}

/// A constant of type `dtype`.
pub(crate) fn constant(dtype: DType, value: f64) -> Expr {
    Expr::Const(Scalar::of(dtype, value))
}

/// `1 / count` in a float type; for an open `count` a small kernel that counts at run time.
pub(crate) fn reciprocal(cx: &mut Lowering<'_>, dtype: DType, count: &Dim) -> Result<Expr> {
    if let Some(count) = count.as_const() {
        return Ok(constant(dtype, 1.0 / count as f64));
    }
    let to = Access::new(cx.temp("count", dtype, Shape::default()), vec![]);
    let mut nest = NestBuilder::default();
    nest.reduce("i", count);
    let value = div(constant(dtype, 1.0), Expr::Acc);
    let store = Store { to: to.clone(), value };
    cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value: constant(dtype, 1.0), store });
    Ok(Expr::Load(to))
}

/// An operand of an epilogue in the type that sums over elements of `dtype` are carried in.
pub(crate) fn widened(dtype: DType, value: Expr) -> Expr {
    if dtype.is_short_float() { Expr::cast(dtype.accumulator(), value) } else { value }
}

/// What was computed in that type as an element of `dtype`.
pub(crate) fn rounded(dtype: DType, value: Expr) -> Expr {
    if dtype.is_short_float() { Expr::cast(dtype, value) } else { value }
}
