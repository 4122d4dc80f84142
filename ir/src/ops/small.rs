//! Elements of 4 bits and floats of 8, as kernels compute with them: an expression makes a number of an element's bits, and
//! another one an element of a number. [`crate::numerics::small_float`] says what they mean; these are its formulas.

use super::nest::{add, constant, mul, sub};
use crate::kernel::{BinaryOp, Expr, Scalar, UnaryOp};
use crate::numerics::{SmallFormat, SmallRounding, small_format};
use crate::types::DType;

/// The bits of infinity.
const INFINITY: i64 = 0x7f80_0000;

fn int(value: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I32, value))
}

fn both(op: BinaryOp, a: Expr, b: i64) -> Expr {
    Expr::binary(op, a, int(b))
}

fn and(a: Expr, mask: i64) -> Expr {
    both(BinaryOp::BitAnd, a, mask)
}

fn or(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::BitOr, a, b)
}

fn shl(a: Expr, by: u32) -> Expr {
    both(BinaryOp::Shl, a, by.into())
}

fn shr(a: Expr, by: u32) -> Expr {
    both(BinaryOp::Shr, a, by.into())
}

fn when(condition: Expr, a: Expr, b: Expr) -> Expr {
    Expr::select(condition, a, b)
}

fn less(a: Expr, b: i64) -> Expr {
    both(BinaryOp::Lt, a, b)
}

fn above(a: i64, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Lt, int(a), b)
}

fn f32_of(bits: Expr) -> Expr {
    Expr::bits(DType::F32, bits)
}

/// The type of [`number`]'s value: that of the elements where kernels compute with them.
pub(super) fn number_type(dtype: DType) -> DType {
    match dtype {
        DType::I4 => DType::I8,
        DType::U4 => DType::U8,
        _ if dtype.is_small() => DType::F32,
        _ => dtype,
    }
}

/// The number that an element is. Exact.
pub(super) fn number(dtype: DType, element: Expr) -> Expr {
    if !dtype.is_small() {
        return element;
    }
    if dtype.is_int() {
        return Expr::bits(number_type(dtype), element);
    }
    let byte = Expr::cast(DType::I32, Expr::bits(DType::U8, element));
    let Some(f) = small_format(dtype) else {
        // Powers of two; the least one is no normal f32.
        let bits = when(less(byte.clone(), 1), int(1 << 22), shl(byte.clone(), 23));
        return f32_of(when(less(byte, 0xff), bits, int(i64::from(f32::NAN.to_bits()))));
    };
    let top = dtype.bits() as u32 - 1;
    let magnitude = and(byte.clone(), (1 << top) - 1);
    let sign = shl(and(byte.clone(), 1 << top), 31 - top);
    // The exponent moves to f32's bias by a product, numbers below the least normal one with it.
    let scale = constant(DType::F32, 2f64.powi(127 - f.bias));
    let value = mul(f32_of(shl(magnitude.clone(), 23 - f.mantissa_bits)), scale);
    let value = Expr::bits(DType::I32, value);
    let nan = int(i64::from(f32::NAN.to_bits()));
    let value = match dtype {
        DType::F8E4M3FN => when(less(magnitude, f.nan as i64), value, nan),
        DType::F8E5M2 => {
            let special = when(above(f.overflow as i64, magnitude.clone()), nan, int(INFINITY));
            when(less(magnitude, f.overflow as i64), value, special)
        }
        _ if f.unsigned_zero => when(Expr::binary(BinaryOp::Eq, byte, int(f.nan as i64)), nan, value),
        _ => value,
    };
    f32_of(or(value, sign))
}

/// The element that a number of type `from` becomes, as `QuantizeLinear` says: integers saturate.
pub(super) fn saturated(dtype: DType, from: DType, number: Expr, how: SmallRounding) -> Expr {
    if !(dtype.is_small() && dtype.is_int()) {
        return element(dtype, from, number, how);
    }
    let wide = number_type(dtype);
    let scalar = |value| Expr::Const(Scalar::int(wide, value));
    let byte = if from == wide { number } else { Expr::cast(wide, number) };
    let byte = match dtype {
        DType::I4 => Expr::binary(BinaryOp::Max, byte, scalar(-8)),
        _ => byte,
    };
    Expr::bits(dtype, Expr::binary(BinaryOp::Min, byte, scalar(if dtype == DType::I4 { 7 } else { 15 })))
}

/// The element that a number of type `from` becomes, as `Cast` says.
pub(super) fn element(dtype: DType, from: DType, number: Expr, how: SmallRounding) -> Expr {
    if !dtype.is_small() {
        return if from == dtype { number } else { Expr::cast(dtype, number) };
    }
    if dtype.is_int() {
        return whole(dtype, from, number);
    }
    let single = if from == DType::F32 { number } else { Expr::cast(DType::F32, number) };
    let bits = Expr::bits(DType::I32, single);
    let magnitude = and(bits.clone(), i64::from(i32::MAX));
    let code = match small_format(dtype) {
        Some(f) => with_sign(dtype, f, bits, magnitude.clone(), how),
        None => exponent(magnitude, how),
    };
    Expr::bits(dtype, Expr::cast(DType::U8, code))
}

/// An integer of 4 bits: the low bits of another one.
fn whole(dtype: DType, from: DType, number: Expr) -> Expr {
    let wide = number_type(dtype);
    let integer = if from.is_float() { Expr::cast(DType::I32, number) } else { number };
    let byte = if from == wide { integer } else { Expr::cast(wide, integer) };
    let scalar = |value| Expr::Const(Scalar::int(wide, value));
    let four = match dtype {
        DType::I4 => Expr::binary(BinaryOp::Shr, Expr::binary(BinaryOp::Shl, byte, scalar(4)), scalar(4)),
        _ => Expr::binary(BinaryOp::BitAnd, byte, scalar(15)),
    };
    Expr::bits(dtype, four)
}

fn with_sign(dtype: DType, f: SmallFormat, bits: Expr, magnitude: Expr, how: SmallRounding) -> Expr {
    let shift = 23 - f.mantissa_bits;
    let even = and(shr(magnitude.clone(), shift), 1);
    let rounded = add(add(magnitude.clone(), int((1 << (shift - 1)) - 1)), even);
    let normal = sub(shr(rounded, shift), int(i64::from(127 - f.bias) << f.mantissa_bits));
    let step = constant(DType::F32, 2f64.powi(f.bias - 1 + f.mantissa_bits as i32));
    let multiple = Expr::unary(UnaryOp::Round, mul(f32_of(magnitude.clone()), step));
    let least = i64::from(128 - f.bias) << 23;
    let code = when(less(magnitude.clone(), least), Expr::cast(DType::I32, multiple), normal);
    let code = match how.saturate {
        true => both(BinaryOp::Min, code, f.most as i64),
        false => when(above(f.most as i64, code.clone()), int(f.overflow as i64), code),
    };
    let code = when(above(INFINITY, magnitude), int(f.nan as i64), code);
    let top = dtype.bits() as u32 - 1;
    let signed = or(code.clone(), and(shr(bits, 31 - top), 1 << top));
    if f.unsigned_zero { when(Expr::binary(BinaryOp::Eq, code, int(0)), int(0), signed) } else { signed }
}

fn exponent(magnitude: Expr, how: SmallRounding) -> Expr {
    let cut = shr(add(magnitude.clone(), int(how.exponent.addend().into())), 23);
    let small = when(less(magnitude.clone(), how.exponent.least_normal().into()), int(0), int(1));
    let code = when(less(magnitude.clone(), 1 << 23), small, cut);
    let code = both(BinaryOp::Min, code, if how.saturate { 0xfe } else { 0xff });
    let code = when(above(INFINITY, magnitude.clone()), int(0xff), code);
    if how.saturate { code } else { when(less(magnitude, 1 << 22), int(0xff), code) }
}
