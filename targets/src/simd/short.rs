//! Floats of 16 bits: to f32 and back by bits, where a machine has no instruction for it.

use super::convert::convert;
use super::{Lane, Op1, Op2, R, Simd, Src, V};

const SIGN: u32 = 0x8000_0000;
/// Magnitudes of f16's infinity and NaN begin here, moved to where f32 has its digits.
const SPECIAL: u32 = 0x7c00 << 13;
const EXPONENT: u32 = 0x7f80_0000;
/// The difference of the exponents' biases as a factor: 2^112.
const REBIAS: f32 = f32::from_bits(0x7780_0000);
/// From here on f32 is beyond f16: 2^16.
const TOO_LARGE: u32 = 0x4780_0000;
/// f16's least normal number: 2^-14.
const LEAST: u32 = 0x3880_0000;
const HALF: u32 = 0x3f00_0000;

/// The low 16 bits of every lane, the others being 0, become f32: exact, NaN keeps its digits.
pub fn from_f16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let sign = s.copy(d)?;
    s.op1(Op1::Shl(16), &sign)?;
    s.op2(Op2::And, &sign, Src::Bits(SIGN))?;
    s.op2(Op2::And, d, Src::Bits(0x7fff))?;
    s.op1(Op1::Shl(13), d)?;
    let special = s.splat(f32::from_bits(SPECIAL - 1))?;
    s.op2_as(Lane::I32, Op2::Lt, &special, Src::Reg(d))?;
    s.op2(Op2::And, &special, Src::Bits(EXPONENT))?;
    s.op2(Op2::Or, &sign, Src::Reg(&special))?;
    s.free(special);
    // The product moves the exponent, of numbers below the least normal one too. A special one has no meaning
    // before its exponent is set.
    s.op2(Op2::Mul, d, Src::Const(REBIAS))?;
    s.op2(Op2::Or, d, Src::Reg(&sign))?;
    s.free(sign);
    Ok(())
}

/// The low 16 bits of every lane, the others being copies of the highest of them, become f32: exact, for numbers that
/// are finite.
pub fn from_finite_f16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    s.op1(Op1::Shl(13), d)?;
    s.op2(Op2::And, d, Src::Bits(SIGN | 0x7fff << 13))?;
    s.op2(Op2::Mul, d, Src::Const(REBIAS))
}

/// f32 becomes f16 in the low 16 bits of the lane, the others being 0: to nearest, halves to even; NaN stays one.
pub fn to_f16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let sign = s.copy(d)?;
    s.op1(Op1::Shr(16), &sign)?;
    s.op2(Op2::And, &sign, Src::Bits(0x8000))?;
    s.op2(Op2::And, d, Src::Bits(!SIGN))?;
    // Normal: rebias, add just below half, and one more where the result would be odd.
    let normal = s.copy(d)?;
    s.op1(Op1::Shr(13), &normal)?;
    s.op2(Op2::And, &normal, Src::Bits(1))?;
    s.op2(Op2::IntAdd, &normal, Src::Reg(d))?;
    s.op2(Op2::IntAdd, &normal, Src::Bits((0xfff_u32).wrapping_sub(0x3800_0000)))?;
    s.op1(Op1::Shr(13), &normal)?;
    // Below: adding 0.5 leaves multiples of 2^-24 in the low bits, rounded by the addition.
    let small = s.copy(d)?;
    s.op2(Op2::Add, &small, Src::Bits(HALF))?;
    s.op2(Op2::IntSub, &small, Src::Bits(HALF))?;
    let mask = s.copy(d)?;
    s.op2_as(Lane::I32, Op2::Lt, &mask, Src::Bits(LEAST))?;
    s.keep_where(&small, &mask, Src::Reg(&normal))?;
    s.assign(&normal, &small);
    // Infinity, and above it NaN.
    s.assign(&mask, d);
    s.op2_as(Lane::I32, Op2::Lt, &mask, Src::Bits(TOO_LARGE))?;
    s.keep_where(&normal, &mask, Src::Bits(0x7c00))?;
    s.assign(&mask, d);
    s.op2(Op2::Eq, &mask, Src::Reg(d))?;
    s.keep_where(&normal, &mask, Src::Bits(0x7e00))?;
    s.assign(d, &normal);
    s.op2(Op2::Or, d, Src::Reg(&sign))?;
    for v in [sign, normal, small, mask] {
        s.free(v);
    }
    Ok(())
}

/// Every lane becomes the nearest number that f16 holds, halves to even; NaN stays one.
pub fn round_to_f16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    if s.has_halves() {
        return s.round_to_halves(d);
    }
    to_f16(s, d)?;
    from_f16(s, d)
}

/// The same for bf16.
pub fn round_to_bf16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    to_bf16(s, d)?;
    s.op1(Op1::Shl(16), d)
}

/// f32 becomes bf16 in the low 16 bits of the lane, the others being 0: to nearest, halves to even; NaN stays one.
pub fn to_bf16<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let number = s.copy(d)?;
    s.op2(Op2::Eq, &number, Src::Reg(d))?;
    let quiet = s.copy(d)?;
    s.op2(Op2::Or, &quiet, Src::Bits(0x0040_0000))?;
    let odd = s.copy(d)?;
    s.op1(Op1::Shr(16), &odd)?;
    s.op2(Op2::And, &odd, Src::Bits(1))?;
    s.op2(Op2::IntAdd, d, Src::Bits(0x7fff))?;
    s.op2(Op2::IntAdd, d, Src::Reg(&odd))?;
    s.keep_where(d, &number, Src::Reg(&quiet))?;
    s.op1(Op1::Shr(16), d)?;
    for v in [number, quiet, odd] {
        s.free(v);
    }
    Ok(())
}

/// f64 becomes f32 by rounding to odd: what rounds it again to fewer than 22 digits rounds as if from f64.
pub fn f64_to_odd<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let single = s.copy(d)?;
    convert(s, Lane::F64, Lane::F32, &single)?;
    let back = s.copy(&single)?;
    convert(s, Lane::F32, Lane::F64, &back)?;
    // Towards zero: one less where it went away from it.
    let away = s.copy(&back)?;
    s.op1_as(Lane::F64, Op1::Abs, &away)?;
    let magnitude = s.copy(d)?;
    s.op1_as(Lane::F64, Op1::Abs, &magnitude)?;
    s.op2_as(Lane::F64, Op2::Lt, &magnitude, Src::Reg(&away))?;
    s.free(away);
    convert(s, Lane::I64, Lane::I32, &magnitude)?;
    s.op2(Op2::IntAdd, &single, Src::Reg(&magnitude))?;
    s.free(magnitude);
    // Odd where anything was lost; NaN is neither equal nor harmed.
    s.op2_as(Lane::F64, Op2::Eq, &back, Src::Reg(d))?;
    convert(s, Lane::I64, Lane::I32, &back)?;
    s.op2(Op2::AndNot, &back, Src::Bits(1))?;
    s.op2(Op2::Or, &single, Src::Reg(&back))?;
    s.free(back);
    s.assign(d, &single);
    s.free(single);
    Ok(())
}
