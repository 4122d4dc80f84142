//! Operations of expressions on lanes other than f32: which of the vector builder's each becomes.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, UnaryOp};
use kiln_targets::math::{Function, replay};
use kiln_targets::simd::sequences::{bits, invert};
use kiln_targets::simd::{Lane, Op1, Op2, R, Refusal, Simd, SimdExt as _, Src, V, short};

use super::vexpr::{VectorKind, lane};

fn none<T>(op: &dyn std::fmt::Debug, dtype: DType) -> R<T> {
    Err(Refusal::unsupported(format!("{op:?} of {dtype} in vectors")))
}

/// Brings lanes back to what their type can hold: short integers wrap, short floats round.
pub(super) fn round<S: Simd>(s: &mut S, dtype: DType, d: &V) -> R {
    match dtype {
        DType::F16 => short::round_to_f16(s, d),
        DType::BF16 => short::round_to_bf16(s, d),
        DType::U8 => s.op2(Op2::And, d, Src::Bits(0xff)),
        DType::U16 => s.op2(Op2::And, d, Src::Bits(0xffff)),
        DType::I8 | DType::I16 => {
            let by = 32 - dtype.bits() as u8;
            s.op1(Op1::Shl(by), d)?;
            s.op1(Op1::Sar(by), d)
        }
        _ => Ok(()),
    }
}

/// The builder's operation for integers and f64.
pub(super) fn binary(op: BinaryOp, dtype: DType) -> R<Op2> {
    Ok(match op {
        BinaryOp::Add => Op2::Add,
        BinaryOp::Sub => Op2::Sub,
        BinaryOp::Mul => Op2::Mul,
        BinaryOp::Div if dtype.is_float() => Op2::Div,
        BinaryOp::Min => Op2::MinNan,
        BinaryOp::Max => Op2::MaxNan,
        BinaryOp::Eq => Op2::Eq,
        BinaryOp::Lt => Op2::Lt,
        BinaryOp::Le => Op2::Le,
        BinaryOp::BitAnd => Op2::And,
        BinaryOp::BitOr => Op2::Or,
        BinaryOp::BitXor => Op2::Xor,
        BinaryOp::Shl => Op2::Shl,
        BinaryOp::Shr => Op2::Shr,
        _ => return none(&op, dtype),
    })
}

pub(super) fn commutes(op: BinaryOp) -> bool {
    use BinaryOp::{Add, BitAnd, BitOr, BitXor, Eq, Max, Min, Mul};
    matches!(op, Add | Mul | Min | Max | Eq | BitAnd | BitOr | BitXor)
}

/// Whether the result of short integers may be none.
pub(super) fn leaves_range(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Shl)
}

/// `d = d op s` of masks of one width.
pub(super) fn of_masks<S: Simd>(s: &mut S, op: BinaryOp, d: &V, other: Src<'_>) -> R {
    match op {
        BinaryOp::And | BinaryOp::Min => s.op2(Op2::And, d, other),
        BinaryOp::Or | BinaryOp::Max => s.op2(Op2::Or, d, other),
        BinaryOp::Xor => s.op2(Op2::Xor, d, other),
        BinaryOp::Eq => {
            s.op2(Op2::Xor, d, other)?;
            invert(s, d)
        }
        // False is less than true.
        BinaryOp::Lt => s.op2(Op2::AndNot, d, other),
        BinaryOp::Le => {
            invert(s, d)?;
            s.op2(Op2::Or, d, other)
        }
        _ => none(&op, DType::Bool),
    }
}

/// A function of f32, or of masks, of several vectors.
pub(super) fn of_f32<S: Simd>(s: &mut S, op: UnaryOp, d: Vec<V>) -> R<Vec<V>> {
    if op == UnaryOp::Not {
        d.iter().try_for_each(|d| invert(s, d))?;
        return Ok(d);
    }
    replay::emit(s, Function::Unary(op), Lane::F32, vec![d])
}

/// A function of anything but f32, of several vectors.
pub(super) fn unary<S: Simd>(s: &mut S, op: UnaryOp, dtype: DType, d: Vec<V>) -> R<Vec<V>> {
    if dtype == DType::F64 {
        return replay::emit(s, Function::Unary(op), Lane::F64, vec![d]);
    }
    if dtype.is_float() {
        let d = of_f32(s, op, d)?;
        if !op.is_exact() {
            d.iter().try_for_each(|d| round(s, dtype, d))?;
        }
        return Ok(d);
    }
    d.iter().try_for_each(|d| of_integers(s, op, dtype, d))?;
    Ok(d)
}

fn of_integers<S: Simd>(s: &mut S, op: UnaryOp, dtype: DType, d: &V) -> R {
    let ty = lane(dtype);
    match op {
        UnaryOp::Neg => s.op1_as(ty, Op1::Neg, d)?,
        UnaryOp::Abs if dtype.is_unsigned_int() => {}
        UnaryOp::Abs => s.op1_as(ty, Op1::Abs, d)?,
        UnaryOp::BitNot => invert(s, d)?,
        UnaryOp::Sign => {
            s.op2_as(ty, Op2::Min, d, bits(ty, 1))?;
            if ty.is_signed() {
                s.op2_as(ty, Op2::Max, d, bits(ty, u64::MAX))?;
            }
        }
        _ => return none(&op, dtype),
    }
    round(s, dtype, d)
}

/// Lanes of one kind become lanes of another, as `Cast` says.
pub(super) fn cast<S: Simd>(s: &mut S, from: VectorKind, to: VectorKind, d: &V) -> R {
    match (from, to) {
        (VectorKind::Mask { wide: from }, VectorKind::Mask { wide: to }) => match (from, to) {
            (false, true) => s.convert(Lane::I32, Lane::I64, d),
            (true, false) => s.convert(Lane::I64, Lane::I32, d),
            _ => Ok(()),
        },
        (VectorKind::Mask { .. }, VectorKind::Number(dtype)) => {
            let ty = lane(dtype);
            cast(s, from, VectorKind::Mask { wide: ty.is_wide() }, d)?;
            match ty {
                Lane::F32 => s.op2(Op2::And, d, Src::Const(1.0)),
                Lane::F64 => s.op2(Op2::And, d, Src::Wide(1f64.to_bits())),
                _ => s.op2(Op2::And, d, bits(ty, 1)),
            }
        }
        // Whether it is other than 0; NaN is.
        (VectorKind::Number(dtype), VectorKind::Mask { wide }) => {
            let ty = lane(dtype);
            s.op2_as(ty, Op2::Eq, d, bits(ty, 0))?;
            invert(s, d)?;
            cast(s, VectorKind::Mask { wide: ty.is_wide() }, VectorKind::Mask { wide }, d)
        }
        (VectorKind::Number(from), VectorKind::Number(to)) => number(s, from, to, d),
    }
}

/// Lanes of numbers become those of another type with the same bits in memory. Short integers are extended as the new type
/// is; wider ones and floats are what they are.
pub(super) fn bits_of<S: Simd>(s: &mut S, from: VectorKind, to: DType, d: &V) -> R {
    match from {
        VectorKind::Number(from) if from.is_signed_int() != to.is_signed_int() => round(s, to, d),
        _ => Ok(()),
    }
}

fn number<S: Simd>(s: &mut S, from: DType, to: DType, d: &V) -> R {
    let (source, target) = (lane(from), lane(to));
    match to {
        // Floats saturate at the bounds of short integers, integers wrap.
        DType::I8 | DType::I16 | DType::U8 | DType::U16 if from.is_float() => {
            s.convert(source, Lane::I32, d)?;
            let width = to.bits() as u32;
            let (least, most) = if to.is_signed_int() {
                (-(1i32 << (width - 1)), (1i32 << (width - 1)) - 1)
            } else {
                (0, (1i32 << width) - 1)
            };
            s.op2_as(Lane::I32, Op2::Max, d, Src::Bits(least as u32))?;
            s.op2_as(Lane::I32, Op2::Min, d, Src::Bits(most as u32))
        }
        DType::BF16 if from.is_int() && from.size() >= 4 => {
            s.convert(source, Lane::F64, d)?;
            short::f64_to_odd(s, d)?;
            round(s, to, d)
        }
        DType::F16 | DType::BF16 if from == DType::F64 => {
            short::f64_to_odd(s, d)?;
            round(s, to, d)
        }
        _ => {
            s.convert(source, target, d)?;
            // From unsigned bytes to two signed ones, say, nothing is lost.
            let kept = from.is_int() && to.is_int() && from.bits() < to.bits() && !from.is_signed_int();
            if to.size() < 4 && !kept { round(s, to, d) } else { Ok(()) }
        }
    }
}
