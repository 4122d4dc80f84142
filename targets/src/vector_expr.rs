//! Which scalar expressions the vector builder computes.
//!
//! Passes and schedules ask before they plan vectors; code generation computes what this module allows.

use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use kiln_ir::types::DType;

use crate::math;

/// What the lanes of a vector hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// f32.
    Numbers,
    /// All ones or 0.
    Masks,
}

/// Whether the vector generators compute this expression: f32 throughout, bools as masks in between, no
/// gathers, constant strides. Strides along the vector are checked by the generators.
pub fn supported(expr: &Expr<FlatAccess>) -> bool {
    lanes(expr) == Some(Lanes::Numbers)
}

/// What the lanes of an expression's value hold; `None` where vectors do not compute it.
pub fn lanes(expr: &Expr<FlatAccess>) -> Option<Lanes> {
    let all = |operands: &[&Expr<FlatAccess>], k: Lanes| operands.iter().all(|e| lanes(e) == Some(k));
    match expr {
        Expr::Acc => Some(Lanes::Numbers),
        Expr::Const(scalar) => match scalar.dtype {
            DType::F32 => Some(Lanes::Numbers),
            DType::Bool => Some(Lanes::Masks),
            _ => None,
        },
        Expr::Load(a) => {
            let constant = a.offset.as_const().is_some() && a.strides.iter().all(|d| d.as_const().is_some());
            (a.dtype == DType::F32 && a.gathers.is_empty() && constant).then_some(Lanes::Numbers)
        }
        Expr::Loop(_) => None,
        Expr::Unary(UnaryOp::Not, a) => all(&[a], Lanes::Masks).then_some(Lanes::Masks),
        Expr::Unary(op, a) => {
            let result = if op.result(DType::F32) == DType::Bool { Lanes::Masks } else { Lanes::Numbers };
            (math::has_form(*op) && all(&[a], Lanes::Numbers)).then_some(result)
        }
        Expr::Binary(op, a, b) => match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Min | BinaryOp::Max => {
                all(&[a, b], Lanes::Numbers).then_some(Lanes::Numbers)
            }
            BinaryOp::Pow => (all(&[a], Lanes::Numbers) && power(b).is_some()).then_some(Lanes::Numbers),
            BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le => {
                all(&[a, b], Lanes::Numbers).then_some(Lanes::Masks)
            }
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => {
                all(&[a, b], Lanes::Masks).then_some(Lanes::Masks)
            }
            _ => None,
        },
        Expr::Select(c, a, b) => {
            let result = lanes(a)?;
            (all(&[c], Lanes::Masks) && lanes(b) == Some(result)).then_some(result)
        }
        Expr::Cast(DType::F32, a) => lanes(a).map(|_| Lanes::Numbers),
        Expr::Cast(..) => None,
    }
}

/// Exponents that are a few products: 1, 2, 3, 4 and -1.
pub fn power(exponent: &Expr<FlatAccess>) -> Option<i32> {
    match exponent {
        Expr::Const(Scalar { dtype: DType::F32, bits }) => {
            let value = f32::from_bits(*bits as u32);
            [1, 2, 3, 4, -1].into_iter().find(|n| *n as f32 == value)
        }
        _ => None,
    }
}
