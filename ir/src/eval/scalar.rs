//! What [`UnaryOp`], [`BinaryOp`] and casts mean, on single elements.
//!
//! An element is its bits, zero-extended to `u64`, as in [`Scalar`]. Each operation is looked up once per type and
//! gives a plain function, so that an interpreter's inner loop decides nothing. Floats of every width are computed
//! in f64 and rounded once at the end, which is exact rounding for the basic operations.

use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Scalar, UnaryOp};
use crate::numerics::erf;
use crate::types::DType;

/// Bits to bits.
pub type Unary = fn(u64) -> u64;
/// Two elements of one type to one.
pub type Binary = fn(u64, u64) -> u64;

/// How a float type is read and written.
trait Float {
    fn get(bits: u64) -> f64;
    fn put(value: f64) -> u64;
}

struct F16;
struct Bf16;
struct F32;
struct F64;

impl Float for F64 {
    fn get(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    fn put(value: f64) -> u64 {
        value.to_bits()
    }
}

impl Float for F32 {
    fn get(bits: u64) -> f64 {
        f32::from_bits(bits as u32).into()
    }
    fn put(value: f64) -> u64 {
        (value as f32).to_bits().into()
    }
}

impl Float for F16 {
    fn get(bits: u64) -> f64 {
        half::f16::from_bits(bits as u16).into()
    }
    fn put(value: f64) -> u64 {
        half::f16::from_f32(round_to_odd(value)).to_bits().into()
    }
}

impl Float for Bf16 {
    fn get(bits: u64) -> f64 {
        half::bf16::from_bits(bits as u16).into()
    }
    fn put(value: f64) -> u64 {
        half::bf16::from_f32(round_to_odd(value)).to_bits().into()
    }
}

/// An f32 that rounds to any shorter format as `value` itself would: inexact results get an odd last bit, so that
/// the second rounding sees no false tie.
fn round_to_odd(value: f64) -> f32 {
    let near = value as f32;
    let error = value - f64::from(near);
    if error == 0.0 || !near.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    // An even neighbour: the odd one lies on the other side of the exact value.
    let away = (error > 0.0) == (near > 0.0 || (near == 0.0 && value > 0.0));
    if near == 0.0 {
        return f32::from_bits(1).copysign(value as f32);
    }
    f32::from_bits(if away { near.to_bits() + 1 } else { near.to_bits() - 1 })
}

/// An integer type of `BITS` bits. `i128` holds every value of every type.
struct Int<const BITS: u32, const SIGNED: bool>;

trait Integer {
    const BITS: u32;
    fn get(bits: u64) -> i128;
    fn put(value: i128) -> u64;
    fn saturate(value: f64) -> u64;
}

impl<const BITS: u32, const SIGNED: bool> Integer for Int<BITS, SIGNED> {
    const BITS: u32 = BITS;
    fn get(bits: u64) -> i128 {
        if SIGNED { (((bits << (64 - BITS)) as i64) >> (64 - BITS)).into() } else { bits.into() }
    }
    fn put(value: i128) -> u64 {
        value as u64 & (u64::MAX >> (64 - BITS))
    }
    fn saturate(value: f64) -> u64 {
        let (lo, hi) =
            if SIGNED { (-(1i128 << (BITS - 1)), (1i128 << (BITS - 1)) - 1) } else { (0, (1 << BITS) - 1) };
        Self::put((value as i128).clamp(lo, hi))
    }
}

/// Calls a generic function with the type that reads and writes a float or integer element type.
macro_rules! dispatch {
    (float $dtype:expr, $f:ident ( $($arg:expr),* )) => {
        match $dtype {
            DType::F16 => $f::<F16>($($arg),*),
            DType::BF16 => $f::<Bf16>($($arg),*),
            DType::F32 => $f::<F32>($($arg),*),
            DType::F64 => $f::<F64>($($arg),*),
            _ => None,
        }
    };
    (int $dtype:expr, $f:ident ( $($arg:expr),* )) => {
        match $dtype {
            DType::I4 => $f::<Int<4, true>>($($arg),*),
            DType::I8 => $f::<Int<8, true>>($($arg),*),
            DType::I16 => $f::<Int<16, true>>($($arg),*),
            DType::I32 => $f::<Int<32, true>>($($arg),*),
            DType::I64 => $f::<Int<64, true>>($($arg),*),
            DType::U4 => $f::<Int<4, false>>($($arg),*),
            DType::U8 => $f::<Int<8, false>>($($arg),*),
            DType::U16 => $f::<Int<16, false>>($($arg),*),
            DType::U32 => $f::<Int<32, false>>($($arg),*),
            DType::U64 => $f::<Int<64, false>>($($arg),*),
            _ => None,
        }
    };
}

/// The meaning of an operation on one element of a type; an internal error where it has none.
pub fn unary(op: UnaryOp, dtype: DType) -> Result<Unary> {
    let found = match dtype {
        DType::Bool => (op == UnaryOp::Not).then_some((|a| a ^ 1) as Unary),
        _ if dtype.is_float() => dispatch!(float dtype, float_unary(op)),
        _ => dispatch!(int dtype, int_unary(op)),
    };
    found.ok_or_else(|| Error::internal(format!("{op:?} of {dtype} has no meaning")))
}

/// The meaning of an operation on two elements of a type; an internal error where it has none.
pub fn binary(op: BinaryOp, dtype: DType) -> Result<Binary> {
    let found = match dtype {
        DType::Bool => bool_binary(op),
        _ if dtype.is_float() => dispatch!(float dtype, float_binary(op)),
        _ => dispatch!(int dtype, int_binary(op, dtype.is_signed_int())),
    };
    found.ok_or_else(|| Error::internal(format!("{op:?} of {dtype} has no meaning")))
}

/// ONNX `Cast` between two types: float to integer rounds towards zero and saturates, NaN giving 0; integer to
/// integer keeps the low bits; to bool is `!= 0`.
pub fn cast(from: DType, to: DType) -> Result<Unary> {
    let found = match (from, to) {
        _ if from == to => Some((|a| a) as Unary),
        (DType::Bool, _) if to.is_float() => dispatch!(float to, bool_to_float()),
        (DType::Bool, _) if to.is_int() => Some((|a| a) as Unary),
        (_, DType::Bool) if from.is_float() => dispatch!(float from, float_to_bool()),
        (_, DType::Bool) if from.is_int() => Some((|a| u64::from(a != 0)) as Unary),
        _ if from.is_float() && to.is_float() => dispatch!(float from, float_to_float(to)),
        _ if from.is_float() => dispatch!(float from, float_to_int(to)),
        _ if to.is_float() => dispatch!(int from, int_to_float(to)),
        _ => dispatch!(int from, int_to_int(to)),
    };
    found.ok_or_else(|| Error::unsupported(format!("cast from {from} to {to}")))
}

/// [`unary`], applied.
pub fn apply_unary(op: UnaryOp, a: Scalar) -> Result<Scalar> {
    let dtype = if matches!(op, UnaryOp::IsNan | UnaryOp::IsInf) { DType::Bool } else { a.dtype };
    Ok(Scalar { dtype, bits: unary(op, a.dtype)?(a.bits) })
}

/// [`binary`], applied; both operands must have one type.
pub fn apply_binary(op: BinaryOp, a: Scalar, b: Scalar) -> Result<Scalar> {
    if a.dtype != b.dtype {
        return Err(Error::internal(format!("{op:?} of {} and {}", a.dtype, b.dtype)));
    }
    let dtype = if matches!(op, BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le) { DType::Bool } else { a.dtype };
    Ok(Scalar { dtype, bits: binary(op, a.dtype)?(a.bits, b.bits) })
}

/// [`cast`], applied.
pub fn apply_cast(to: DType, a: Scalar) -> Result<Scalar> {
    Ok(Scalar { dtype: to, bits: cast(a.dtype, to)?(a.bits) })
}

fn float_unary<T: Float>(op: UnaryOp) -> Option<Unary> {
    macro_rules! f {
        ($($method:tt)*) => { |a| T::put(T::get(a).$($method)*()) };
    }
    Some(match op {
        UnaryOp::Neg => |a| T::put(-T::get(a)),
        UnaryOp::Abs => f!(abs),
        UnaryOp::Sqrt => f!(sqrt),
        UnaryOp::Exp => f!(exp),
        UnaryOp::Log => f!(ln),
        UnaryOp::Sin => f!(sin),
        UnaryOp::Cos => f!(cos),
        UnaryOp::Tan => f!(tan),
        UnaryOp::Asin => f!(asin),
        UnaryOp::Acos => f!(acos),
        UnaryOp::Atan => f!(atan),
        UnaryOp::Sinh => f!(sinh),
        UnaryOp::Cosh => f!(cosh),
        UnaryOp::Tanh => f!(tanh),
        UnaryOp::Asinh => f!(asinh),
        UnaryOp::Acosh => f!(acosh),
        UnaryOp::Atanh => f!(atanh),
        UnaryOp::Erf => |a| T::put(erf(T::get(a))),
        UnaryOp::Sigmoid => |a| T::put(1.0 / (1.0 + (-T::get(a)).exp())),
        UnaryOp::Floor => f!(floor),
        UnaryOp::Ceil => f!(ceil),
        UnaryOp::Round => f!(round_ties_even),
        UnaryOp::Sign => |a| {
            let x = T::get(a);
            // Zeros keep their sign, NaN stays.
            T::put(if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            })
        },
        UnaryOp::IsNan => |a| T::get(a).is_nan().into(),
        UnaryOp::IsInf => |a| T::get(a).is_infinite().into(),
        UnaryOp::Not | UnaryOp::BitNot => return None,
    })
}

fn float_binary<T: Float>(op: BinaryOp) -> Option<Binary> {
    macro_rules! f {
        (|$x:ident, $y:ident| $e:expr) => {
            |a, b| {
                let ($x, $y) = (T::get(a), T::get(b));
                T::put($e)
            }
        };
    }
    Some(match op {
        BinaryOp::Add => f!(|x, y| x + y),
        BinaryOp::Sub => f!(|x, y| x - y),
        BinaryOp::Mul => f!(|x, y| x * y),
        BinaryOp::Div => f!(|x, y| x / y),
        BinaryOp::Min => f!(|x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }),
        BinaryOp::Max => f!(|x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }),
        BinaryOp::Pow => f!(|x, y| x.powf(y)),
        BinaryOp::Rem => f!(|x, y| x % y),
        BinaryOp::Mod => f!(|x, y| {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        }),
        BinaryOp::Eq => |a, b| (T::get(a) == T::get(b)).into(),
        BinaryOp::Lt => |a, b| (T::get(a) < T::get(b)).into(),
        BinaryOp::Le => |a, b| (T::get(a) <= T::get(b)).into(),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => return None,
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::Shl | BinaryOp::Shr => return None,
    })
}

fn bool_binary(op: BinaryOp) -> Option<Binary> {
    Some(match op {
        BinaryOp::And | BinaryOp::Min => |a, b| a & b,
        BinaryOp::Or | BinaryOp::Max => |a, b| a | b,
        BinaryOp::Xor => |a, b| a ^ b,
        BinaryOp::Eq => |a, b| (a == b).into(),
        BinaryOp::Lt => |a, b| (a < b).into(),
        BinaryOp::Le => |a, b| (a <= b).into(),
        _ => return None,
    })
}

fn int_unary<T: Integer>(op: UnaryOp) -> Option<Unary> {
    Some(match op {
        UnaryOp::Neg => |a| T::put(-T::get(a)),
        UnaryOp::Abs => |a| T::put(T::get(a).abs()),
        UnaryOp::Sign => |a| T::put(T::get(a).signum()),
        UnaryOp::BitNot => |a| T::put(!T::get(a)),
        _ => return None,
    })
}

fn int_binary<T: Integer>(op: BinaryOp, signed: bool) -> Option<Binary> {
    macro_rules! f {
        (|$x:ident, $y:ident| $e:expr) => {
            |a, b| {
                let ($x, $y) = (T::get(a), T::get(b));
                T::put($e)
            }
        };
    }
    Some(match op {
        BinaryOp::Add => f!(|x, y| x + y),
        BinaryOp::Sub => f!(|x, y| x - y),
        BinaryOp::Mul => f!(|x, y| x.wrapping_mul(y)),
        BinaryOp::Div => f!(|x, y| if y == 0 { 0 } else { x / y }),
        BinaryOp::Min => f!(|x, y| x.min(y)),
        BinaryOp::Max => f!(|x, y| x.max(y)),
        BinaryOp::Pow => f!(|x, y| int_pow(x, y)),
        BinaryOp::Rem => f!(|x, y| if y == 0 { 0 } else { x % y }),
        BinaryOp::Mod => f!(|x, y| {
            let r = if y == 0 { 0 } else { x % y };
            if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
        }),
        BinaryOp::Eq => |a, b| (T::get(a) == T::get(b)).into(),
        BinaryOp::Lt => |a, b| (T::get(a) < T::get(b)).into(),
        BinaryOp::Le => |a, b| (T::get(a) <= T::get(b)).into(),
        BinaryOp::BitAnd => |a, b| a & b,
        BinaryOp::BitOr => |a, b| a | b,
        BinaryOp::BitXor => |a, b| a ^ b,
        BinaryOp::Shl => {
            f!(|x, y| if (0..i128::from(T::BITS)).contains(&y) { x << y } else { 0 })
        }
        BinaryOp::Shr if !signed => {
            f!(|x, y| if (0..i128::from(T::BITS)).contains(&y) { x >> y } else { 0 })
        }
        BinaryOp::Shr | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => return None,
    })
}

/// The low bits of `x` to the power `y`; for negative exponents the exact quotient rounded towards zero, 0 giving 0.
fn int_pow(x: i128, y: i128) -> i128 {
    if y < 0 {
        return match x {
            1 => 1,
            -1 => 1 - 2 * (y & 1),
            _ => 0,
        };
    }
    let (mut base, mut exponent, mut out) = (x, y, 1i128);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = out.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    out
}

fn bool_to_float<T: Float>() -> Option<Unary> {
    Some(|a| T::put(a as f64))
}

fn float_to_bool<T: Float>() -> Option<Unary> {
    Some(|a| (T::get(a) != 0.0).into())
}

fn float_to_float<T: Float>(to: DType) -> Option<Unary> {
    fn to_<A: Float, B: Float>(a: u64) -> u64 {
        B::put(A::get(a))
    }
    Some(match to {
        DType::F16 => to_::<T, F16>,
        DType::BF16 => to_::<T, Bf16>,
        DType::F32 => to_::<T, F32>,
        DType::F64 => to_::<T, F64>,
        _ => return None,
    })
}

fn float_to_int<T: Float>(to: DType) -> Option<Unary> {
    macro_rules! to {
        ($bits:literal, $signed:literal) => {
            |a| Int::<$bits, $signed>::saturate(T::get(a))
        };
    }
    Some(match to {
        DType::I4 => to!(4, true),
        DType::I8 => to!(8, true),
        DType::I16 => to!(16, true),
        DType::I32 => to!(32, true),
        DType::I64 => to!(64, true),
        DType::U4 => to!(4, false),
        DType::U8 => to!(8, false),
        DType::U16 => to!(16, false),
        DType::U32 => to!(32, false),
        DType::U64 => to!(64, false),
        _ => return None,
    })
}

fn int_to_float<T: Integer>(to: DType) -> Option<Unary> {
    /// An f64 that rounds to any shorter format as the integer itself would.
    fn odd(value: i128) -> f64 {
        let near = value as f64;
        let error = value - near as i128;
        if error == 0 || near.to_bits() & 1 == 1 {
            return near;
        }
        f64::from_bits(if (error > 0) == (near > 0.0) { near.to_bits() + 1 } else { near.to_bits() - 1 })
    }
    Some(match to {
        DType::F16 => |a| F16::put(odd(T::get(a))),
        DType::BF16 => |a| Bf16::put(odd(T::get(a))),
        DType::F32 => |a| (T::get(a) as f32).to_bits().into(),
        DType::F64 => |a| (T::get(a) as f64).to_bits(),
        _ => return None,
    })
}

fn int_to_int<T: Integer>(to: DType) -> Option<Unary> {
    Some(match to {
        DType::I4 | DType::U4 => |a| T::get(a) as u64 & 0xf,
        DType::I8 | DType::U8 => |a| T::get(a) as u8 as u64,
        DType::I16 | DType::U16 => |a| T::get(a) as u16 as u64,
        DType::I32 | DType::U32 => |a| T::get(a) as u32 as u64,
        DType::I64 | DType::U64 => |a| T::get(a) as u64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(op: BinaryOp, dtype: DType, a: i64, b: i64) -> i64 {
        apply_binary(op, Scalar::int(dtype, a), Scalar::int(dtype, b)).unwrap().to_i64()
    }

    fn float(op: BinaryOp, a: f32, b: f32) -> f64 {
        apply_binary(op, Scalar::f32(a), Scalar::f32(b)).unwrap().to_f64()
    }

    #[test]
    fn integers_wrap_and_divide_as_documented() {
        use BinaryOp::*;
        assert_eq!(int(Add, DType::I8, 127, 1), -128);
        assert_eq!(int(Sub, DType::U8, 0, 1), 255);
        assert_eq!(int(Mul, DType::I64, i64::MIN, -1), i64::MIN);
        assert_eq!(int(Div, DType::I32, -7, 2), -3);
        assert_eq!(int(Div, DType::I32, -7, 0), 0);
        assert_eq!(int(Div, DType::I32, i32::MIN.into(), -1), i32::MIN.into());
        assert_eq!(int(Rem, DType::I32, -7, 3), -1);
        assert_eq!(int(Mod, DType::I32, -7, 3), 2);
        assert_eq!(int(Mod, DType::I32, 7, -3), -2);
        assert_eq!(int(Mod, DType::I32, 7, 0), 0);
        assert_eq!(int(Pow, DType::I32, 3, 4), 81);
        assert_eq!(int(Pow, DType::I32, -1, -3), -1);
        assert_eq!(int(Pow, DType::I32, 5, -1), 0);
        assert_eq!(int(Shl, DType::U8, 0x81, 1), 2);
        assert_eq!(int(Shl, DType::U8, 1, 8), 0);
        assert_eq!(int(Shr, DType::U32, 0x8000_0000, 31), 1);
        assert_eq!(int(Max, DType::I4, -8, 7), 7);
        assert!(binary(Shr, DType::I8).is_err() && binary(And, DType::I8).is_err());
    }

    #[test]
    fn floats_propagate_nan_and_keep_signs() {
        use BinaryOp::*;
        assert!(float(Max, f32::NAN, 1.0).is_nan() && float(Min, 1.0, f32::NAN).is_nan());
        assert_eq!(float(Mod, -1.5, 1.0), 0.5);
        assert_eq!(float(Rem, -1.5, 1.0), -0.5);
        assert!(float(Mod, 1.0, 0.0).is_nan());
        assert_eq!(float(Div, 1.0, 3.0), f64::from(1.0f32 / 3.0));
        assert_eq!(apply_unary(UnaryOp::Round, Scalar::f32(2.5)).unwrap().to_f64(), 2.0);
        assert_eq!(apply_unary(UnaryOp::Neg, Scalar::f32(0.0)).unwrap().bits, 0x8000_0000);
        assert!(apply_unary(UnaryOp::Sign, Scalar::f32(f32::NAN)).unwrap().to_f64().is_nan());
    }

    #[test]
    fn casts_saturate_truncate_and_wrap() {
        let to = |dtype, value: f32| apply_cast(dtype, Scalar::f32(value)).unwrap().to_i64();
        assert_eq!(to(DType::I8, 300.0), 127);
        assert_eq!(to(DType::U8, -3.0), 0);
        assert_eq!(to(DType::I32, -2.9), -2);
        assert_eq!(to(DType::I64, f32::NAN), 0);
        assert_eq!(to(DType::I64, f32::INFINITY), i64::MAX);
        assert_eq!(to(DType::U64, 1e30) as u64, u64::MAX);
        assert_eq!(to(DType::Bool, f32::NAN), 1);
        assert_eq!(apply_cast(DType::I8, Scalar::int(DType::I32, 200)).unwrap().to_i64(), -56);
        assert_eq!(apply_cast(DType::U32, Scalar::int(DType::I8, -1)).unwrap().to_i64(), 0xffff_ffff);
    }

    #[test]
    fn short_floats_are_rounded_once() {
        // Just above a tie of f16: rounding through f32 first would fall on the tie and go down.
        let above = 1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -40);
        let one_up = apply_cast(DType::F16, Scalar::of(DType::F64, above)).unwrap();
        assert_eq!(one_up.bits, 0x3c01);
        let tie = apply_cast(DType::F16, Scalar::of(DType::F64, 1.0 + f64::powi(2.0, -11))).unwrap();
        assert_eq!(tie.bits, 0x3c00);
        let big = (1i64 << 60) + (1 << 52) + 1;
        assert_eq!(apply_cast(DType::BF16, Scalar::int(DType::I64, big)).unwrap().bits, 0x5d81);
        let tiny = apply_cast(DType::F16, Scalar::of(DType::F64, -1e-60)).unwrap();
        assert_eq!(tiny.bits, 0x8000);
    }
}
