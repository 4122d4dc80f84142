//! Short names for the scalar expressions that elementwise operators lower to.

use crate::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use crate::types::DType;

/// A constant of type `dtype`.
pub(crate) fn num(dtype: DType, value: f64) -> Expr {
    Expr::Const(Scalar::of(dtype, value))
}

macro_rules! short {
    ($($name:ident $op:ident),*) => { $(
        pub(crate) fn $name(a: Expr, b: Expr) -> Expr {
            Expr::binary(BinaryOp::$op, a, b)
        }
    )* };
}
short!(add Add, sub Sub, mul Mul, div Div, min Min, max Max, lt Lt);

/// One operand.
pub(crate) fn un(op: UnaryOp, a: Expr) -> Expr {
    Expr::unary(op, a)
}

/// The larger of two, NaN if either is NaN: NumPy's `maximum`, which ONNX means by max.
pub(crate) fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller of two, NaN if either is NaN.
pub(crate) fn nan_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// Whether a number is a power of two whose reciprocal is normal in every float type.
pub(crate) fn power_of_two(x: f64) -> bool {
    (x.abs().log2().fract() == 0.0) && (2f64.powi(-10)..=2f64.powi(10)).contains(&x.abs())
}
