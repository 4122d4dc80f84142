//! Numbers of every element type, their rounding and saturation.

use super::small_float::{SmallRounding, small_float, to_small_float};
use crate::kernel::Scalar;
use crate::types::DType;

/// Halves to even, the rounding of ONNX `Round` and `QuantizeLinear`.
pub fn round_half_even(x: f64) -> f64 {
    x.round_ties_even()
}

/// The value of one element, wide enough for every supported type.
///
/// Sums, differences, products, quotients and square roots of two f32, f16 or bf16 computed in f64 and rounded
/// once more to the narrow type equal the correctly rounded result, because f64 has more than twice their
/// digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Of an integer type or bool.
    Int(i128),
    /// Of a floating-point type.
    Float(f64),
}

impl Number {
    /// The value that the low bits of `bits` stand for in `dtype`: a float, an integer or bool.
    pub fn from_bits(dtype: DType, bits: u64) -> Self {
        let scalar = Scalar { dtype, bits };
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Self::Float(scalar.to_f64()),
            DType::Bool => Self::Int((bits & 0xff != 0).into()),
            DType::U64 => Self::Int(bits.into()),
            _ => match small_float(dtype, bits) {
                Some(value) => Self::Float(value),
                None => Self::Int(scalar.to_i64().into()),
            },
        }
    }

    /// The bits in `dtype`, by the rules of ONNX `Cast`: to floats rounded to nearest even, from floats to
    /// integers rounded towards zero, between integers wrapped, to bool whether it differs from zero, to floats of 4 and 8
    /// bits as [`to_small_float`] of the nearest f32 saturates.
    ///
    /// Where ONNX leaves the result undefined, floats saturate at the ends of the integer type and NaN gives 0; integers of
    /// 4 bits are the low bits of one of 32.
    pub fn to_bits(self, dtype: DType) -> u64 {
        if let Some(bits) = to_small_float(dtype, self.single(), SmallRounding::default()) {
            return bits;
        }
        match (dtype, self) {
            (DType::Bool, Self::Int(v)) => (v != 0).into(),
            (DType::Bool, Self::Float(v)) => (v != 0.0).into(),
            (DType::F64, Self::Float(v)) => v.to_bits(),
            (DType::F64, Self::Int(v)) => (v as f64).to_bits(),
            (DType::F32, Self::Float(v)) => (v as f32).to_bits().into(),
            (DType::F32, Self::Int(v)) => (v as f32).to_bits().into(),
            (DType::F16, v) => half::f16::from_f64(v.float()).to_bits().into(),
            (DType::BF16, v) => half::bf16::from_f64(v.float()).to_bits().into(),
            (_, Self::Int(v)) => dtype.stored(v as u64 & low_bits(dtype.bits())),
            // Of 4 bits the low ones of the integer.
            (DType::I4 | DType::U4, Self::Float(v)) => {
                dtype.stored(saturate(v.trunc(), DType::I32) as u64 & 0xf)
            }
            (_, Self::Float(v)) => saturate(v.trunc(), dtype) as u64 & low_bits(dtype.bits()),
        }
    }

    /// The nearest f32.
    pub fn single(self) -> f32 {
        match self {
            Self::Int(v) => v as f32,
            Self::Float(v) => v as f32,
        }
    }

    /// As a float, rounded to nearest where f64 does not hold the integer.
    pub fn float(self) -> f64 {
        match self {
            Self::Int(v) => v as f64,
            Self::Float(v) => v,
        }
    }

    /// As an integer, rounded towards zero.
    pub fn int(self) -> i128 {
        match self {
            Self::Int(v) => v,
            Self::Float(v) => v as i128,
        }
    }
}

/// ONNX `Cast` of one element; see [`Number::to_bits`].
pub fn cast(value: Scalar, to: DType) -> Scalar {
    Scalar { dtype: to, bits: Number::from_bits(value.dtype, value.bits).to_bits(to) }
}

/// The least and the greatest value of an integer type or bool.
pub fn int_range(dtype: DType) -> (i128, i128) {
    let bits = dtype.bits() as u32;
    match dtype {
        DType::Bool => (0, 1),
        _ if dtype.is_signed_int() => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        _ => (0, (1 << bits) - 1),
    }
}

/// An integral float as the nearest value of an integer type; NaN gives 0.
pub fn saturate(value: f64, dtype: DType) -> i128 {
    let (lo, hi) = int_range(dtype);
    (value as i128).clamp(lo, hi)
}

fn low_bits(bits: usize) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast_f64(value: f64, to: DType) -> f64 {
        cast(Scalar { dtype: DType::F64, bits: value.to_bits() }, to).to_f64()
    }

    #[test]
    fn floats_round_towards_zero_and_saturate_as_integers() {
        assert_eq!(cast_f64(-2.9, DType::I32), -2.0);
        assert_eq!(cast_f64(300.0, DType::U8), 255.0);
        assert_eq!(cast_f64(-300.0, DType::I8), -128.0);
        assert_eq!(cast_f64(-1.0, DType::U64), 0.0);
        assert_eq!(cast_f64(f64::NAN, DType::I64), 0.0);
        assert_eq!(cast_f64(f64::INFINITY, DType::I64), i64::MAX as f64);
        assert_eq!(cast_f64(f64::NAN, DType::Bool), 1.0);
    }

    #[test]
    fn integers_wrap_and_round_once() {
        assert_eq!(cast(Scalar::int(DType::I32, 257), DType::U8).to_i64(), 1);
        assert_eq!(cast(Scalar::int(DType::I8, -1), DType::U32).to_i64(), 0xffff_ffff);
        assert_eq!(cast(Scalar::int(DType::U64, -1), DType::I64).to_i64(), -1);
        // Through f64 this integer would be rounded twice and come out as the next f32 below.
        let odd = (1i64 << 60) + (1 << 36) + 1;
        assert_eq!(
            cast(Scalar::int(DType::I64, odd), DType::F32).to_f64(),
            ((1i64 << 60) + (1 << 37)) as f64
        );
    }
}
