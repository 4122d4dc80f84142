//! Which definition a function has in which format: the one list.

use kiln_ir::kernel::UnaryOp;

use super::arithmetic::{Arithmetic, Format};
use super::{erf, exponential, hyperbolic, logarithm, trigonometric};
use crate::simd::{Op1, Op2};

/// A function whose results are exact: an operation of the builder or a few of them, in any format.
pub fn exact<L: Arithmetic>(l: &mut L, op: UnaryOp, x: L::V) -> Option<L::V> {
    Some(match op {
        UnaryOp::Neg => l.op1(Op1::Neg, x),
        UnaryOp::Abs => l.op1(Op1::Abs, x),
        UnaryOp::Sqrt => l.op1(Op1::Sqrt, x),
        UnaryOp::Floor => l.op1(Op1::Floor, x),
        UnaryOp::Ceil => l.op1(Op1::Ceil, x),
        UnaryOp::Round => l.op1(Op1::Round, x),
        UnaryOp::IsNan => {
            let number = l.op2(Op2::Eq, x, x);
            l.not(number)
        }
        UnaryOp::IsInf => {
            let magnitude = l.abs(x);
            l.is(Op2::Eq, magnitude, f64::INFINITY)
        }
        UnaryOp::Sign => {
            // 1 with the operand's sign where it is neither 0 nor NaN; there it is itself.
            let magnitude = l.abs(x);
            let zero = l.c(0.0);
            let some = l.op2(Op2::Lt, zero, magnitude);
            let one = l.c(1.0);
            let unit = l.with_sign(one, x);
            l.select(some, unit, x)
        }
        _ => return None,
    })
}

/// The definition of a function in the builder's format, where there is one. Masks and bits go by other ways.
pub fn function<L: Arithmetic>(l: &mut L, op: UnaryOp, x: L::V) -> Option<L::V> {
    use UnaryOp::{
        Acos, Acosh, Asin, Asinh, Atan, Atanh, Cos, Cosh, Erf, Exp, Log, Sigmoid, Sin, Sinh, Tan, Tanh,
    };
    Some(match (op, l.format()) {
        (Exp, Format::F32) => exponential::exp_f32(l, x),
        (Exp, Format::F64) => exponential::exp(l, x),
        (Sigmoid, Format::F32) => exponential::sigmoid_f32(l, x),
        (Sigmoid, Format::F64) => exponential::sigmoid(l, x),
        (Log, Format::F32) => logarithm::log_f32(l, x),
        (Log, Format::F64) => logarithm::log(l, x),
        (Sin, Format::F32) => trigonometric::sin_f32(l, x, 0),
        (Sin, Format::F64) => trigonometric::sin(l, x),
        (Cos, Format::F32) => trigonometric::sin_f32(l, x, 1),
        (Cos, Format::F64) => trigonometric::cos(l, x),
        (Tan, Format::F64) => trigonometric::tan(l, x),
        (Asin, Format::F64) => trigonometric::asin(l, x),
        (Acos, Format::F64) => trigonometric::acos(l, x),
        (Atan, Format::F64) => trigonometric::atan(l, x),
        (Tanh, Format::F32) => hyperbolic::tanh_f32(l, x),
        (Tanh, Format::F64) => hyperbolic::tanh(l, x),
        (Sinh, Format::F64) => hyperbolic::sinh(l, x),
        (Cosh, Format::F64) => hyperbolic::cosh(l, x),
        (Asinh, Format::F64) => hyperbolic::asinh(l, x),
        (Acosh, Format::F64) => hyperbolic::acosh(l, x),
        (Atanh, Format::F64) => hyperbolic::atanh(l, x),
        (Erf, Format::F32) => erf::erf_f32(l, x),
        (Erf, Format::F64) => erf::erf(l, x),
        _ => return exact(l, op, x),
    })
}
