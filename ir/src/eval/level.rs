//! What interpreters of kernels differ in, and what they have in common: expressions over their accesses.

use super::code::{Code, Flat, Storage};
use super::scalar::{self, cast};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr};
use crate::types::DType;

/// What the interpreters differ in: what an access names, and where results go.
pub(super) trait Level {
    /// How the forms access elements.
    type Access;

    /// The type of the elements.
    fn dtype(&self, access: &Self::Access) -> DType;

    /// An access that reads. Every element that it reaches is there.
    fn load(&mut self, access: &Self::Access) -> Result<Flat>;

    /// The right operand of a contraction.
    fn rhs(&mut self, access: &Self::Access) -> Result<Flat> {
        self.load(access)
    }

    /// An access that writes. Where `clipped`, what is outside of its guards is dropped.
    fn store(&mut self, access: &Self::Access, clipped: bool) -> Result<Flat>;

    /// An access to what the kernel writes, by its position in the memory that loads read from, and the bytes of that.
    fn result(&mut self, access: &Self::Access) -> Result<(Flat, usize)>;

    /// The value of an integer that follows from open dimensions.
    fn size(&self, size: &Dim) -> Result<i64>;

    /// What loads read from, and what takes the results.
    fn parts(&mut self) -> (&[Storage], &mut dyn Sink);
}

/// Takes results.
pub(super) trait Sink {
    /// An element of a store, made in this iteration.
    fn put(&mut self, to: &Flat, element: i64, iteration: &[i64], bits: u64);
}

/// The type of an expression; `acc` is that of [`Expr::Acc`].
pub(super) fn dtype_of<L: Level>(level: &L, e: &Expr<L::Access>, acc: Option<DType>) -> Result<DType> {
    e.dtype_with(&mut |a| level.dtype(a), acc)
}

/// An expression; `acc` is the type of [`Expr::Acc`].
pub(super) fn code<L: Level>(level: &mut L, expr: &Expr<L::Access>, acc: Option<DType>) -> Result<Code> {
    let ty = |level: &L, e: &Expr<L::Access>| dtype_of(level, e, acc);
    let child = |level: &mut L, e: &Expr<L::Access>| Ok::<_, Error>(Box::new(code(level, e, acc)?));
    Ok(match expr {
        Expr::Acc => {
            ty(level, expr)?;
            Code::Acc
        }
        Expr::Const(s) => Code::Const(s.bits),
        Expr::Load(access) => Code::Load(level.load(access)?),
        Expr::Loop(l) => Code::Loop(l.0 as usize),
        Expr::Size(size) => Code::Const(level.size(size)? as u64),
        Expr::Unary(op, a) => Code::Unary(scalar::unary(*op, ty(level, a)?)?, child(level, a)?),
        Expr::Binary(op, a, b) => {
            ty(level, expr)?;
            Code::Binary(scalar::binary(*op, ty(level, a)?)?, child(level, a)?, child(level, b)?)
        }
        Expr::MulAdd(a, b, c) => {
            for operand in [a, b, c] {
                if ty(level, operand)? != DType::F32 {
                    return Err(Error::internal("a multiply-add of no f32"));
                }
            }
            Code::MulAdd(child(level, a)?, child(level, b)?, child(level, c)?)
        }
        Expr::Select(c, a, b) => {
            scalar::binary(BinaryOp::And, ty(level, c)?)?;
            let (x, y) = (ty(level, a)?, ty(level, b)?);
            if x != y {
                return Err(Error::internal(format!("select of {x} and {y}")));
            }
            Code::Select(child(level, c)?, child(level, a)?, child(level, b)?)
        }
        Expr::Cast(to, a) => Code::Unary(cast(ty(level, a)?, *to)?, child(level, a)?),
        Expr::Bits(to, a) => {
            let from = ty(level, a)?;
            if from.size() != to.size() {
                return Err(Error::internal(format!("the bits of {from} as {to}")));
            }
            return code(level, a, acc);
        }
    })
}
