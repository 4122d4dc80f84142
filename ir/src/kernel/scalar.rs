//! Typed constants.

use std::fmt;

use crate::types::DType;

/// A typed constant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar {
    /// Its type.
    pub dtype: DType,
    /// Its bits as they are stored, zero-extended: see [`DType::stored`].
    pub bits: u64,
}

impl Scalar {
    /// An f32.
    pub fn f32(value: f32) -> Self {
        Self { dtype: DType::F32, bits: value.to_bits().into() }
    }

    /// A number converted to `dtype` (rounded or truncated as Rust's `as` does).
    pub fn of(dtype: DType, value: f64) -> Self {
        let int = value as i64;
        let bits = match dtype {
            DType::F32 => (value as f32).to_bits().into(),
            DType::F64 => value.to_bits(),
            DType::F16 => half::f16::from_f64(value).to_bits().into(),
            DType::BF16 => half::bf16::from_f64(value).to_bits().into(),
            DType::U64 => value as u64,
            _ => int as u64,
        };
        Self { dtype, bits: dtype.stored(bits & mask(dtype)) }
    }

    /// An integer or bool.
    pub fn int(dtype: DType, value: i64) -> Self {
        Self { dtype, bits: dtype.stored(value as u64 & mask(dtype)) }
    }

    /// The value as f64 (integers above 2^53 are rounded).
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::F32 => f32::from_bits(self.bits as u32).into(),
            DType::F64 => f64::from_bits(self.bits),
            DType::F16 => half::f16::from_bits(self.bits as u16).into(),
            DType::BF16 => half::bf16::from_bits(self.bits as u16).into(),
            DType::U64 => self.bits as f64,
            _ => self.to_i64() as f64,
        }
    }

    /// The value of an integer or bool, sign-extended.
    pub fn to_i64(self) -> i64 {
        let shift = 64 - self.dtype.bits().clamp(1, 64);
        if self.dtype.is_signed_int() { ((self.bits << shift) as i64) >> shift } else { self.bits as i64 }
    }
}

fn mask(dtype: DType) -> u64 {
    match dtype.bits() {
        0 => 0,
        bits if bits >= 64 => u64::MAX,
        bits => (1 << bits) - 1,
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dtype.is_float() {
            write!(f, "{:?}:{}", self.to_f64(), self.dtype)
        } else {
            write!(f, "{}:{}", self.to_i64(), self.dtype)
        }
    }
}
