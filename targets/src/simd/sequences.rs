//! Operations that some machine has no instruction for, over those that every one has.

use super::{Lane, Op1, Op2, R, Simd, Src, V};

/// A register with the bits in every lane of the type's width; of 32 bits the low ones.
pub fn splat_bits<S: Simd + ?Sized>(s: &mut S, ty: Lane, bits: u64) -> R<V> {
    if ty.is_wide() { s.splat_wide(bits) } else { s.splat(f32::from_bits(bits as u32)) }
}

/// The bits as an operand that fills lanes of the type's width.
pub fn bits(ty: Lane, bits: u64) -> Src<'static> {
    if ty.is_wide() { Src::Wide(bits) } else { Src::Bits(bits as u32) }
}

/// The lane's highest bit alone.
pub fn sign_bit(ty: Lane) -> u64 {
    1 << (ty.bits() - 1)
}

/// Lanes from `n` on become these bits.
pub fn keep_first<S: Simd + ?Sized>(s: &mut S, ty: Lane, d: &V, n: usize, otherwise: u64) -> R {
    let in_words = if ty.is_wide() { 2 * n } else { n };
    if in_words >= s.lanes() {
        return Ok(());
    }
    let mask = s.first(in_words)?;
    s.keep_where(d, &mask, bits(ty, otherwise))?;
    s.free(mask);
    Ok(())
}

/// [`Op2::Min`] and its kin of integers, by a comparison.
pub fn extreme<S: Simd + ?Sized>(s: &mut S, ty: Lane, max: bool, d: &V, other: &V) -> R {
    let mask = s.copy(if max { other } else { d })?;
    s.op2_as(ty, Op2::Lt, &mask, Src::Reg(if max { d } else { other }))?;
    s.keep_where(d, &mask, Src::Reg(other))?;
    s.free(mask);
    Ok(())
}

/// `d = !d`.
pub fn invert<S: Simd + ?Sized>(s: &mut S, d: &V) -> R {
    s.op2(Op2::Xor, d, Src::Bits(u32::MAX))
}

/// [`Op1::Abs`] of signed integers.
pub fn int_abs<S: Simd + ?Sized>(s: &mut S, ty: Lane, d: &V) -> R {
    let sign = splat_bits(s, ty, 0)?;
    s.op2_as(ty, Op2::Sub, &sign, Src::Reg(d))?;
    // The greater of a number and its negative; the least number is both.
    s.op2_as(ty, Op2::Max, d, Src::Reg(&sign))?;
    s.free(sign);
    Ok(())
}

/// [`Op1::Neg`] of integers.
pub fn int_neg<S: Simd + ?Sized>(s: &mut S, ty: Lane, d: &V) -> R {
    let zero = splat_bits(s, ty, 0)?;
    s.op2_as(ty, Op2::Sub, &zero, Src::Reg(d))?;
    s.assign(d, &zero);
    s.free(zero);
    Ok(())
}

/// [`Op1::Sar`] by a logical shift: the sign comes down with the rest, and is then extended by a subtraction.
pub fn arithmetic_shift<S: Simd + ?Sized>(s: &mut S, ty: Lane, d: &V, by: u8) -> R {
    let sign = sign_bit(ty) >> by;
    s.op1_as(ty, Op1::Shr(by), d)?;
    s.op2(Op2::Xor, d, bits(ty, sign))?;
    s.op2_as(ty, Op2::Sub, d, bits(ty, sign))
}

/// [`Op2::Shl`] or [`Op2::Shr`] bit by bit of the counts.
pub fn shift_by_lanes<S: Simd + ?Sized>(s: &mut S, ty: Lane, left: bool, d: &V, counts: &V) -> R {
    let steps = ty.bits().trailing_zeros() as u8;
    for i in 0..steps {
        let shifted = s.copy(d)?;
        s.op1_as(ty, if left { Op1::Shl(1 << i) } else { Op1::Shr(1 << i) }, &shifted)?;
        let mask = s.copy(counts)?;
        s.op2(Op2::And, &mask, bits(ty, 1 << i))?;
        s.op2_as(ty, Op2::Eq, &mask, bits(ty, 0))?;
        s.keep_where(d, &mask, Src::Reg(&shifted))?;
        s.free(mask);
        s.free(shifted);
    }
    // Counts that the bits above say are too large.
    let inside = s.copy(counts)?;
    s.op2(Op2::And, &inside, bits(ty, !(u64::from(ty.bits()) - 1)))?;
    s.op2_as(ty, Op2::Eq, &inside, bits(ty, 0))?;
    s.op2(Op2::And, d, Src::Reg(&inside))?;
    s.free(inside);
    Ok(())
}

/// `floor`, `ceil` or `round` of f64 by adding and subtracting 2^52 with the number's sign.
pub fn round_f64<S: Simd + ?Sized>(s: &mut S, op: Op1, d: &V) -> R {
    const SIGN: u64 = 1 << 63;
    let two_52 = Src::Wide(0x4330_0000_0000_0000);
    let ty = Lane::F64;
    let magic = s.copy(d)?;
    s.op2(Op2::And, &magic, Src::Wide(SIGN))?;
    s.op2(Op2::Or, &magic, two_52)?;
    let rounded = s.copy(d)?;
    s.op2_as(ty, Op2::Add, &rounded, Src::Reg(&magic))?;
    s.op2_as(ty, Op2::Sub, &rounded, Src::Reg(&magic))?;
    let one = Src::Wide(1f64.to_bits());
    match op {
        Op1::Floor => {
            s.assign(&magic, d);
            s.op2_as(ty, Op2::Lt, &magic, Src::Reg(&rounded))?;
            s.op2(Op2::And, &magic, one)?;
            s.op2_as(ty, Op2::Sub, &rounded, Src::Reg(&magic))?;
        }
        Op1::Ceil => {
            s.assign(&magic, &rounded);
            s.op2_as(ty, Op2::Lt, &magic, Src::Reg(d))?;
            s.op2(Op2::And, &magic, one)?;
            s.op2_as(ty, Op2::Add, &rounded, Src::Reg(&magic))?;
        }
        _ => {}
    }
    // -0.3 rounds to -0.
    s.assign(&magic, d);
    s.op2(Op2::And, &magic, Src::Wide(SIGN))?;
    s.op2(Op2::Or, &rounded, Src::Reg(&magic))?;
    // What is an integer already stays, and so does NaN, which compares false.
    s.assign(&magic, d);
    s.op2(Op2::And, &magic, Src::Wide(!SIGN))?;
    s.op2_as(ty, Op2::Lt, &magic, two_52)?;
    s.keep_where(&rounded, &magic, Src::Reg(d))?;
    s.assign(d, &rounded);
    s.free(rounded);
    s.free(magic);
    Ok(())
}
