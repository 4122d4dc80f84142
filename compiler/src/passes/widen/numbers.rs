//! Expressions over tensors that have become f32: floats of 16 bits as f32 that are rounded where the operation would.
//!
//! An operation on them means the same as the operation on f32 and one rounding: sums, products, quotients and roots
//! of f32 have more than twice the digits and two, so that rounding twice is rounding once; what only selects,
//! compares or changes signs is exact; functions are computed in f32 whatever is done.

use std::collections::BTreeSet;

use kiln_ir::kernel::{Access, BinaryOp, BufferId, Expr, Form, Program, ReduceOp, Scalar, Store};
use kiln_ir::{DType, Result};

/// The program before the tensors `wide` are f32.
pub(super) struct Numbers<'p> {
    pub(super) program: &'p Program,
    pub(super) wide: &'p BTreeSet<BufferId>,
}

/// A constant as f32.
pub(super) fn constant(scalar: Scalar) -> Scalar {
    Scalar::of(DType::F32, scalar.to_f64())
}

/// What an accumulator of a reduction holds.
#[derive(Clone, Copy)]
struct Acc {
    /// The type that the form says.
    dtype: Option<DType>,
    /// Whether it has become a sum or extreme of f32, to be rounded or exact.
    wide: bool,
    exact: bool,
}

impl Numbers<'_> {
    /// The form on f32; `None` where it touches no such tensor.
    pub(super) fn form(&self, form: &Form) -> Result<Option<Form>> {
        let accesses = form.loads().into_iter().chain(form.stores());
        if !accesses.into_iter().any(|a| self.wide.contains(&a.buffer)) {
            return Ok(None);
        }
        let mut acc = Acc { dtype: form.acc_type(&mut |a| self.dtype(a))?, wide: false, exact: false };
        let mut new = form.clone();
        match &mut new {
            Form::Rearrange { from, to } => {
                let both = [&*from, &*to].map(|a| self.wide.contains(&a.buffer));
                if both[0] != both[1] {
                    let value = Expr::Load(from.clone());
                    let store = self.store(&Store { to: to.clone(), value }, acc)?;
                    return Ok(Some(Form::Map { stores: vec![store] }));
                }
            }
            Form::Reduce { op, value, .. } => {
                let short = self.ty(value, acc)?.is_short_float();
                acc.wide = short && acc.dtype.is_some_and(DType::is_short_float);
                acc.exact = matches!(op, ReduceOp::Max | ReduceOp::Min);
                *value = if short { self.number(value, acc)? } else { self.other(value, acc)? };
            }
            _ => {}
        }
        let parts = new.parts_mut();
        for (_, access) in parts.operands {
            *access = self.access(access);
        }
        for store in parts.stores {
            *store = self.store(store, acc)?;
        }
        // A conversion that is none any more is a copy.
        if let Form::Map { stores } = &new
            && let [Store { to, value: Expr::Load(from) }] = &stores[..]
        {
            new = Form::Rearrange { from: from.clone(), to: to.clone() };
        }
        Ok(Some(new))
    }

    fn dtype(&self, access: &Access) -> DType {
        self.program.buffer(access.buffer).ty.dtype
    }

    fn ty(&self, e: &Expr, acc: Acc) -> Result<DType> {
        e.dtype(self.program, acc.dtype)
    }

    fn access(&self, access: &Access) -> Access {
        let mut new = access.clone();
        if self.wide.contains(&access.buffer) {
            new.otherwise = new.otherwise.map(constant);
        }
        new
    }

    fn store(&self, store: &Store, acc: Acc) -> Result<Store> {
        let ty = self.ty(&store.value, acc)?;
        let value = if !ty.is_short_float() {
            self.other(&store.value, acc)?
        } else {
            let number = self.number(&store.value, acc)?;
            if self.wide.contains(&store.to.buffer) { number } else { shortened(ty, number) }
        };
        Ok(Store { to: self.access(&store.to), value })
    }

    /// An expression of floats of 16 bits as one of f32.
    fn number(&self, e: &Expr, acc: Acc) -> Result<Expr> {
        let ty = self.ty(e, acc)?;
        Ok(match e {
            Expr::Acc if acc.wide && acc.exact => Expr::Acc,
            Expr::Acc if acc.wide => rounded(ty, Expr::Acc),
            Expr::Const(scalar) => Expr::Const(constant(*scalar)),
            Expr::Load(access) if self.wide.contains(&access.buffer) => Expr::Load(self.access(access)),
            Expr::Acc | Expr::Load(_) | Expr::Loop(_) | Expr::Size(_) => Expr::cast(DType::F32, e.clone()),
            Expr::Bits(..) => Expr::cast(DType::F32, self.other(e, acc)?),
            Expr::Unary(op, a) => {
                let value = Expr::unary(*op, self.number(a, acc)?);
                if op.is_exact() { value } else { rounded(ty, value) }
            }
            Expr::Binary(op, a, b) => {
                let value = Expr::binary(*op, self.number(a, acc)?, self.number(b, acc)?);
                if matches!(op, BinaryOp::Min | BinaryOp::Max) { value } else { rounded(ty, value) }
            }
            // Of f32, never of floats of 16 bits.
            Expr::MulAdd(..) => self.other(e, acc)?,
            Expr::Select(c, a, b) => {
                Expr::select(self.other(c, acc)?, self.number(a, acc)?, self.number(b, acc)?)
            }
            Expr::Cast(_, a) if self.ty(a, acc)? == ty => self.number(a, acc)?,
            Expr::Cast(_, a) => rounded(ty, self.any(a, acc)?),
        })
    }

    /// Any other expression, with f32 inside where it reads such a tensor.
    fn other(&self, e: &Expr, acc: Acc) -> Result<Expr> {
        Ok(match e {
            Expr::Acc | Expr::Const(_) | Expr::Load(_) | Expr::Loop(_) | Expr::Size(_) => e.clone(),
            Expr::Unary(op, a) => Expr::unary(*op, self.any(a, acc)?),
            Expr::Binary(op, a, b) => Expr::binary(*op, self.any(a, acc)?, self.any(b, acc)?),
            Expr::MulAdd(a, b, c) => Expr::mul_add(self.any(a, acc)?, self.any(b, acc)?, self.any(c, acc)?),
            Expr::Select(c, a, b) => {
                Expr::select(self.other(c, acc)?, self.other(a, acc)?, self.other(b, acc)?)
            }
            Expr::Cast(DType::F32, a) if self.ty(a, acc)?.is_short_float() => self.number(a, acc)?,
            Expr::Cast(to, a) => Expr::cast(*to, self.any(a, acc)?),
            // Of the float itself, never of the f32 in its place.
            Expr::Bits(to, a) if self.ty(a, acc)?.is_short_float() => {
                Expr::bits(*to, shortened(self.ty(a, acc)?, self.number(a, acc)?))
            }
            Expr::Bits(to, a) => Expr::bits(*to, self.other(a, acc)?),
        })
    }

    fn any(&self, e: &Expr, acc: Acc) -> Result<Expr> {
        if self.ty(e, acc)?.is_short_float() { self.number(e, acc) } else { self.other(e, acc) }
    }
}

/// `value` rounded to 16 bits, as f32.
fn rounded(ty: DType, value: Expr) -> Expr {
    Expr::cast(DType::F32, Expr::cast(ty, value))
}

/// A number that f32 holds, as the float of 16 bits that it is.
fn shortened(ty: DType, number: Expr) -> Expr {
    match number {
        Expr::Cast(DType::F32, short) if matches!(&*short, Expr::Cast(to, _) if *to == ty) => *short,
        Expr::Cast(DType::F32, load) if matches!(&*load, Expr::Load(_)) => *load,
        number => Expr::cast(ty, number),
    }
}
