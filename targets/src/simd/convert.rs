//! Numbers of one type as another, where a machine has no instruction for it.
//!
//! The meaning is `Cast`'s: float to integer rounds towards zero and saturates, NaN gives 0; integer to float and
//! between floats rounds once, halves to even; between integers the low bits are kept, a wider one extended.

use super::Lane::{F32, F64, I32, I64, U32, U64};
use super::{Lane, Op1, Op2, R, Simd, Src, V};

/// 2^52 as f64: a number of 52 bits or'ed to its bits is added to it.
const TWO_52: u64 = 0x4330_0000_0000_0000;
/// 2^84, whose last 32 bits of digits count 2^32.
const TWO_84: u64 = 0x4530_0000_0000_0000;
const LOW: u64 = 0xffff_ffff;
const SIGN: u64 = 1 << 63;

fn float(value: f64) -> Src<'static> {
    Src::Wide(value.to_bits())
}

/// Every lane of type `from` becomes one of type `to`. Between widths, as many lanes as there are wide ones.
pub fn convert<S: Simd + ?Sized>(s: &mut S, from: Lane, to: Lane, d: &V) -> R {
    let integers = !from.is_float() && !to.is_float();
    if from == to || integers && from.is_wide() == to.is_wide() || s.convert_directly(from, to, d)? {
        return Ok(());
    }
    match (from, to) {
        (I32, U64) => convert(s, I32, I64, d),
        (U32, I64) => convert(s, U32, U64, d),
        (I64 | U64, I32 | U32) => convert(s, I64, I32, d),
        (U32, F32) => u32_to_f32(s, d),
        (F32, U32) => f32_to_u32(s, d),
        (U32, F64) => {
            convert(s, U32, U64, d)?;
            s.op2(Op2::Or, d, Src::Wide(TWO_52))?;
            s.op2_as(F64, Op2::Sub, d, Src::Wide(TWO_52))
        }
        (I64 | U64, F64) => long_to_f64(s, from == I64, d),
        (I64, F32) => long_to_f32(s, d),
        (U64, F32) => any_long_to_f32(s, from, d),
        (F32, I64) => f32_to_long(s, d),
        (F32, U64) => {
            convert(s, F32, F64, d)?;
            convert(s, F64, to, d)
        }
        (F64, I32 | U32) => {
            let (low, high) =
                if to == I32 { (f64::from(i32::MIN), i32::MAX.into()) } else { (0.0, u32::MAX.into()) };
            number_or_zero(s, d)?;
            s.op2_as(F64, Op2::Max, d, float(low))?;
            s.op2_as(F64, Op2::Min, d, float(high))?;
            truncate(s, d)?;
            // Its low bits are those of the number in two's complement.
            s.op2_as(F64, Op2::Add, d, float(1.5 * 2f64.powi(52)))?;
            convert(s, I64, I32, d)
        }
        (F64, _) => f64_to_long(s, to, d),
        // What every builder does itself.
        _ => Err(super::Refusal::unsupported(format!("conversion from {from:?} to {to:?}"))),
    }
}

/// The halves apart are exact; their sum is rounded.
fn u32_to_f32<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let high = s.copy(d)?;
    s.op1(Op1::Shr(16), &high)?;
    s.op1(Op1::ToFloat, &high)?;
    s.op2(Op2::Mul, &high, Src::Const(65536.0))?;
    s.op2(Op2::And, d, Src::Bits(0xffff))?;
    s.op1(Op1::ToFloat, d)?;
    s.op2(Op2::Add, d, Src::Reg(&high))?;
    s.free(high);
    Ok(())
}

/// Two signed conversions that saturate: of the number, and of what is beyond 2^31.
fn f32_to_u32<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    const HALF: f32 = 2_147_483_648.0;
    s.op2(Op2::Max, d, Src::Const(0.0))?;
    let beyond = s.copy(d)?;
    s.op2(Op2::Sub, &beyond, Src::Const(HALF))?;
    s.op2(Op2::Max, &beyond, Src::Const(0.0))?;
    convert(s, F32, I32, &beyond)?;
    let large = s.splat(HALF)?;
    s.op2(Op2::Le, &large, Src::Reg(d))?;
    convert(s, F32, I32, d)?;
    s.op2(Op2::IntAdd, d, Src::Reg(&beyond))?;
    // The first of them ends one below 2^31.
    s.op2(Op2::IntSub, d, Src::Reg(&large))?;
    s.free(beyond);
    s.free(large);
    Ok(())
}

/// High and low halves as floats by their bits; their sum is rounded.
fn long_to_f64<S: Simd + ?Sized>(s: &mut S, signed: bool, d: &V) -> R {
    let low = s.copy(d)?;
    s.op2(Op2::And, &low, Src::Wide(LOW))?;
    s.op2(Op2::Or, &low, Src::Wide(TWO_52))?;
    s.op1_as(U64, Op1::Shr(32), d)?;
    let mut offset = f64::from_bits(TWO_84) + f64::from_bits(TWO_52);
    if signed {
        s.op2(Op2::Xor, d, Src::Wide(1 << 31))?;
        offset += 2f64.powi(63);
    }
    s.op2(Op2::Or, d, Src::Wide(TWO_84))?;
    s.op2_as(F64, Op2::Sub, d, float(offset))?;
    s.op2_as(F64, Op2::Add, d, Src::Reg(&low))?;
    s.free(low);
    Ok(())
}

/// By way of i32, which holds most.
fn long_to_f32<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let low = s.copy(d)?;
    convert(s, I64, I32, &low)?;
    let far = s.copy(&low)?;
    convert(s, I32, I64, &far)?;
    s.op2(Op2::Xor, &far, Src::Reg(d))?;
    s.op2_as(I32, Op2::Eq, &far, Src::Bits(0))?;
    super::sequences::invert(s, &far)?;
    s.either(far, &mut |s| any_long_to_f32(s, I64, d), &mut |s| {
        s.assign(d, &low);
        convert(s, I32, F32, d)
    })?;
    s.free(low);
    Ok(())
}

fn any_long_to_f32<S: Simd + ?Sized>(s: &mut S, from: Lane, d: &V) -> R {
    keep_53_bits(s, from, d)?;
    convert(s, from, F64, d)?;
    convert(s, F64, F32, d)
}

/// By way of i32 where it holds all of them, else of f64.
fn f32_to_long<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    /// The bits of the last number below 2^31; those of infinity and NaN are greater.
    const LARGEST: u32 = 0x4eff_ffff;
    let size = s.copy(d)?;
    s.op1(Op1::Abs, &size)?;
    let far = s.splat(f32::from_bits(LARGEST))?;
    s.op2_as(I32, Op2::Lt, &far, Src::Reg(&size))?;
    s.free(size);
    s.either(
        far,
        &mut |s| {
            convert(s, F32, F64, d)?;
            convert(s, F64, I64, d)
        },
        &mut |s| {
            convert(s, F32, I32, d)?;
            convert(s, I32, I64, d)
        },
    )
}

/// An integer that f64 holds, and that rounds to f32 as this one does: beyond 2^53 the last bit kept stands for
/// those below it.
fn keep_53_bits<S: Simd + ?Sized>(s: &mut S, from: Lane, d: &V) -> R {
    let kept = s.copy(d)?;
    s.op2(Op2::And, &kept, Src::Wide(0x7ff))?;
    s.op2_as(I64, Op2::Add, &kept, Src::Wide(0x7ff))?;
    s.op2(Op2::Or, &kept, Src::Reg(d))?;
    s.op2(Op2::And, &kept, Src::Wide(!0x7ff))?;
    let small = s.copy(d)?;
    let mut limit = 1 << 53;
    if from == I64 {
        s.op2_as(I64, Op2::Add, &small, Src::Wide(1 << 53))?;
        limit = 1 << 54;
    }
    s.op2_as(U64, Op2::Lt, &small, Src::Wide(limit))?;
    s.keep_where(d, &small, Src::Reg(&kept))?;
    s.free(small);
    s.free(kept);
    Ok(())
}

/// NaN becomes 0.
fn number_or_zero<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let number = s.copy(d)?;
    s.op2_as(F64, Op2::Eq, &number, Src::Reg(d))?;
    s.op2(Op2::And, d, Src::Reg(&number))?;
    s.free(number);
    Ok(())
}

/// Rounds towards zero.
fn truncate<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    let sign = s.copy(d)?;
    s.op2(Op2::And, &sign, Src::Wide(SIGN))?;
    s.op1_as(F64, Op1::Abs, d)?;
    s.op1_as(F64, Op1::Floor, d)?;
    s.op2(Op2::Or, d, Src::Reg(&sign))?;
    s.free(sign);
    Ok(())
}

/// By its halves: the quotient by 2^32 rounded down, and the rest.
fn f64_to_long<S: Simd + ?Sized>(s: &mut S, to: Lane, d: &V) -> R {
    let (low, high, least, most) = match to {
        I64 => (-(2f64.powi(63)), 2f64.powi(63), i64::MIN as u64, i64::MAX as u64),
        _ => (0.0, 2f64.powi(64), 0, u64::MAX),
    };
    number_or_zero(s, d)?;
    s.op2_as(F64, Op2::Max, d, float(low))?;
    let inside = s.copy(d)?;
    s.op2_as(F64, Op2::Lt, &inside, float(high))?;
    truncate(s, d)?;
    let upper = s.copy(d)?;
    s.op2_as(F64, Op2::Mul, &upper, float(2f64.powi(-32)))?;
    s.op1_as(F64, Op1::Floor, &upper)?;
    let part = s.copy(&upper)?;
    s.op2_as(F64, Op2::Mul, &part, float(2f64.powi(32)))?;
    s.op2_as(F64, Op2::Sub, d, Src::Reg(&part))?;
    s.free(part);
    // Their low 32 bits; of the upper half in two's complement.
    s.op2_as(F64, Op2::Add, d, float(2f64.powi(52)))?;
    s.op2(Op2::And, d, Src::Wide(LOW))?;
    s.op2_as(F64, Op2::Add, &upper, float(1.5 * 2f64.powi(52)))?;
    s.op1_as(U64, Op1::Shl(32), &upper)?;
    s.op2(Op2::Or, d, Src::Reg(&upper))?;
    s.free(upper);
    debug_assert_eq!(least, low as i64 as u64);
    s.keep_where(d, &inside, Src::Wide(most))?;
    s.free(inside);
    Ok(())
}
