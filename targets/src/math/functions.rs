//! Which definition a function has in which format: the one list.

use kiln_ir::kernel::{BinaryOp, UnaryOp};

use super::arithmetic::{Arithmetic, Format};
use super::rare::Rare;
use super::{circular, erf, exponential, hyperbolic, inverse, logarithm, power, remainder, trigonometric};
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

/// What has a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// A function of one number.
    Unary(UnaryOp),
    /// A function of two.
    Binary(BinaryOp),
    /// A function of two integers of at most 32 bits, in f64: its low bits.
    Whole(BinaryOp),
    /// A part of one.
    Rare(Rare),
    /// A function of one number whose magnitude is at most [`Function::near`].
    Near(UnaryOp),
}

impl Function {
    /// How many numbers it takes.
    pub fn operands(self) -> usize {
        match self {
            Self::Binary(_) | Self::Whole(_) | Self::Rare(Rare::Rem) => 2,
            Self::Unary(_) | Self::Rare(_) | Self::Near(_) => 1,
        }
    }

    /// Up to which magnitude a function of f32 has a shorter form.
    pub fn near(op: UnaryOp) -> Option<f64> {
        matches!(op, UnaryOp::Exp | UnaryOp::Sigmoid).then_some(exponential::NEAR_F32)
    }

    /// The definition in the builder's format, where there is one. Masks and bits go by other ways.
    pub fn define<L: Arithmetic>(self, l: &mut L, x: &[L::V]) -> Option<L::V> {
        match (self, x) {
            (Self::Unary(op), [x]) => unary(l, op, *x),
            (Self::Binary(op), [x, y]) => binary(l, op, *x, *y),
            (Self::Whole(op), [x, y]) if l.format() == Format::F64 => remainder::of_integers(l, op, *x, *y),
            (Self::Near(op), [x]) if l.format() == Format::F32 => near_f32(l, op, *x),
            (Self::Rare(rare), x) if l.format() == Format::F64 => rarely(l, rare, x),
            _ => None,
        }
    }
}

fn unary<L: Arithmetic>(l: &mut L, op: UnaryOp, x: L::V) -> Option<L::V> {
    use UnaryOp::{
        Acos, Acosh, Asin, Asinh, Atan, Atanh, Cos, Cosh, Erf, Exp, Expm1, Log, Sigmoid, Sin, Sinh, Softplus,
        Tan, Tanh,
    };
    Some(match (op, l.format()) {
        (Exp, Format::F32) => exponential::exp_f32(l, x),
        (Exp, Format::F64) => exponential::exp(l, x),
        (Expm1, Format::F32) => exponential::expm1_f32(l, x),
        (Expm1, Format::F64) => exponential::expm1(l, x),
        (Softplus, Format::F32) => logarithm::softplus_f32(l, x),
        (Softplus, Format::F64) => logarithm::softplus(l, x),
        (Sigmoid, Format::F32) => exponential::sigmoid_f32(l, x),
        (Sigmoid, Format::F64) => exponential::sigmoid(l, x),
        (Log, Format::F32) => logarithm::log_f32(l, x),
        (Log, Format::F64) => logarithm::log(l, x),
        (Sin, Format::F32) => circular::sin(l, x),
        (Cos, Format::F32) => circular::cos(l, x),
        (Sin, Format::F64) => trigonometric::sin(l, x),
        (Cos, Format::F64) => trigonometric::cos(l, x),
        (Tan, Format::F64) => trigonometric::tan(l, x),
        (Asin, Format::F32) => inverse::asin_f32(l, x),
        (Asin, Format::F64) => inverse::asin(l, x),
        (Acos, Format::F32) => inverse::acos_f32(l, x),
        (Acos, Format::F64) => inverse::acos(l, x),
        (Atan, Format::F32) => inverse::atan_f32(l, x),
        (Atan, Format::F64) => inverse::atan(l, x),
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

fn binary<L: Arithmetic>(l: &mut L, op: BinaryOp, x: L::V, y: L::V) -> Option<L::V> {
    match (op, l.format()) {
        (BinaryOp::Pow, Format::F64) => Some(power::pow(l, x, y)),
        (BinaryOp::Rem, Format::F64) if l.is_short() => Some(remainder::remainder(l, x, y)),
        _ => None,
    }
}

fn near_f32<L: Arithmetic>(l: &mut L, op: UnaryOp, x: L::V) -> Option<L::V> {
    Some(match op {
        UnaryOp::Exp => exponential::near_exp_f32(l, x),
        UnaryOp::Sigmoid => exponential::near_sigmoid_f32(l, x),
        _ => return None,
    })
}

fn rarely<L: Arithmetic>(l: &mut L, rare: Rare, x: &[L::V]) -> Option<L::V> {
    Some(match (rare, x) {
        (Rare::AnySin, [x]) => trigonometric::sin(l, *x),
        (Rare::AnyCos, [x]) => trigonometric::cos(l, *x),
        (Rare::Sin, [x]) => trigonometric::sin_of_large(l, *x),
        (Rare::Cos, [x]) => trigonometric::cos_of_large(l, *x),
        (Rare::Tan, [x]) => trigonometric::tan_of_large(l, *x),
        (Rare::Rem, [x, y]) => remainder::remainder_of_large(l, *x, *y),
        _ => return None,
    })
}
