//! What [`UnaryOp`], [`BinaryOp`] and casts mean, on single elements.
//!
//! An element is its bits, zero-extended to `u64`, as in [`Scalar`]. Each operation is looked up once per type and
//! gives a plain function, so that an interpreter's inner loop decides nothing. Floats of every width are computed
//! in f64 and rounded once at the end, which is exact rounding for the basic operations.

use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Scalar, UnaryOp, binary_functions, unary_functions};
use crate::numerics::{acosh, asinh, erf, int_pow, softplus};
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
    fn get(bits: u64) -> i128;
    fn put(value: i128) -> u64;
    fn saturate(value: f64) -> u64;
}

impl<const BITS: u32, const SIGNED: bool> Integer for Int<BITS, SIGNED> {
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
            DType::I8 => $f::<Int<8, true>>($($arg),*),
            DType::I16 => $f::<Int<16, true>>($($arg),*),
            DType::I32 => $f::<Int<32, true>>($($arg),*),
            DType::I64 => $f::<Int<64, true>>($($arg),*),
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
        DType::Bool => bool_unary(op),
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
        _ => dispatch!(int dtype, int_binary(op)),
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
    found.ok_or_else(|| Error::unsupported(format!("a cast from {from} to {to} is not supported")))
}

/// [`unary`], applied.
pub fn apply_unary(op: UnaryOp, a: Scalar) -> Result<Scalar> {
    Ok(Scalar { dtype: op.result(a.dtype), bits: unary(op, a.dtype)?(a.bits) })
}

/// [`binary`], applied; both operands must have one type.
pub fn apply_binary(op: BinaryOp, a: Scalar, b: Scalar) -> Result<Scalar> {
    if a.dtype != b.dtype {
        return Err(Error::internal(format!("{op:?} of {} and {}", a.dtype, b.dtype)));
    }
    Ok(Scalar { dtype: op.result(a.dtype), bits: binary(op, a.dtype)?(a.bits, b.bits) })
}

/// [`cast`], applied.
pub fn apply_cast(to: DType, a: Scalar) -> Result<Scalar> {
    Ok(Scalar { dtype: to, bits: cast(a.dtype, to)?(a.bits) })
}

/// A row's formula for one class of types, on bits.
macro_rules! meaning {
    (float float $result:ident |$($x:ident: $bits:ident),+| $f:expr) => {
        Some(|$($bits),+| { $(let $x = T::get($bits);)+ put!(T $result $f) })
    };
    (int int $result:ident |$($x:ident: $bits:ident),+| $f:expr) => {
        Some(|$($bits),+| { $(let $x = T::get($bits);)+ put!(T $result $f) })
    };
    (bool bool $result:ident |$($x:ident: $bits:ident),+| $f:expr) => {
        Some(|$($bits),+| { $(let $x = $bits != 0;)+ u64::from($f) })
    };
    ($class:ident $other:ident $($rest:tt)*) => { None };
}

macro_rules! put {
    ($t:ident same $f:expr) => {
        $t::put($f)
    };
    ($t:ident bool $f:expr) => {
        u64::from($f)
    };
}

macro_rules! unary_meanings {
    ($($(#[$doc:meta])* $name:ident $word:literal $result:ident { $($class:ident |$x:ident| $f:expr;)* })*) => {
        fn float_unary<T: Float>(op: UnaryOp) -> Option<Unary> {
            match op { $(UnaryOp::$name => None::<Unary>$(.or(meaning!(float $class $result |$x: a| $f)))*),* }
        }

        fn int_unary<T: Integer>(op: UnaryOp) -> Option<Unary> {
            match op { $(UnaryOp::$name => None::<Unary>$(.or(meaning!(int $class $result |$x: a| $f)))*),* }
        }

        fn bool_unary(op: UnaryOp) -> Option<Unary> {
            match op { $(UnaryOp::$name => None::<Unary>$(.or(meaning!(bool $class $result |$x: a| $f)))*),* }
        }
    };
}
unary_functions!(unary_meanings);

macro_rules! binary_meanings {
    ($($(#[$doc:meta])* $name:ident $word:literal $result:ident { $($class:ident |$x:ident, $y:ident| $f:expr;)* })*) => {
        fn float_binary<T: Float>(op: BinaryOp) -> Option<Binary> {
            match op {
                $(BinaryOp::$name => None::<Binary>$(.or(meaning!(float $class $result |$x: a, $y: b| $f)))*),*
            }
        }

        fn int_binary<T: Integer>(op: BinaryOp) -> Option<Binary> {
            match op {
                $(BinaryOp::$name => None::<Binary>$(.or(meaning!(int $class $result |$x: a, $y: b| $f)))*),*
            }
        }

        fn bool_binary(op: BinaryOp) -> Option<Binary> {
            match op {
                $(BinaryOp::$name => None::<Binary>$(.or(meaning!(bool $class $result |$x: a, $y: b| $f)))*),*
            }
        }
    };
}
binary_functions!(binary_meanings);

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
        DType::I8 => to!(8, true),
        DType::I16 => to!(16, true),
        DType::I32 => to!(32, true),
        DType::I64 => to!(64, true),
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
        assert_eq!(int(Div, DType::I32, i32::MIN.into(), -1), i64::from(i32::MIN));
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
        assert_eq!(int(Shr, DType::U8, 0xff, 8), 0);
        assert_eq!(int(Shr, DType::I32, -7, 1), -4);
        assert_eq!(int(Shr, DType::I8, -1, 100), -1);
        assert_eq!(int(Shr, DType::I8, 127, -1), 0);
        assert!(binary(And, DType::I8).is_err());
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
