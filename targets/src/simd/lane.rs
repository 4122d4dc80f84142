//! What lanes and elements in memory are taken for.

/// What the lanes of a register are taken for. Registers themselves have no type: it is the operation's.
///
/// A register has [`lanes`](super::Simd::lanes) lanes of 32 bits, or half as many of 64. Beside lanes of 64 bits a kernel
/// keeps as many of 32: they lie in the low half of a register, and what lies above them is of no consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// 32 bits.
    F32,
    /// 32 bits, two's complement.
    I32,
    /// 32 bits.
    U32,
    /// 64 bits.
    F64,
    /// 64 bits, two's complement.
    I64,
    /// 64 bits.
    U64,
}

impl Lane {
    /// Whether lanes have 64 bits.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::F64 | Self::I64 | Self::U64)
    }

    /// Whether lanes are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether lanes are integers with a sign.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }

    /// Bits of a lane.
    pub fn bits(self) -> u8 {
        if self.is_wide() { 64 } else { 32 }
    }

    /// The signed integers of the same width.
    pub fn signed(self) -> Self {
        if self.is_wide() { Self::I64 } else { Self::I32 }
    }
}

/// Elements in memory: how they become lanes and how lanes become them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// A byte, zero-extended to 32 bits.
    U8,
    /// A byte, sign-extended to 32 bits.
    I8,
    /// Two bytes, zero-extended to 32 bits.
    U16,
    /// Two bytes, sign-extended to 32 bits.
    I16,
    /// Float of 16 bits with 5 of exponent, as f32. Stores round to nearest, halves to even; NaN stays NaN.
    F16,
    /// Float of 16 bits with 8 of exponent, as f32. Stores round to nearest, halves to even; NaN stays NaN.
    BF16,
    /// A byte 0 or 1, as a mask of 32 bits: 0 or all ones.
    Bool,
    /// Four bytes as they are.
    B32,
    /// Eight bytes as they are, for lanes of 64 bits.
    B64,
}

impl Element {
    /// Bytes in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::B32 => 4,
            Self::B64 => 8,
        }
    }
}

/// Integers of 8 and 16 bits in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Narrow {
    /// Two bytes instead of one.
    pub two: bool,
    /// With a sign.
    pub signed: bool,
}

impl Narrow {
    /// Bytes in memory.
    pub fn bytes(self) -> usize {
        1 + usize::from(self.two)
    }

    /// The least and the greatest number.
    pub fn range(self) -> (i32, i32) {
        let bits = 8 * self.bytes() as u32;
        if self.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }
}

/// What becomes of a number that a [`Narrow`] cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// Its low bits are kept.
    Wrap,
    /// The nearest that can be held; the lane is a signed number.
    Saturate,
    /// Of bytes without a sign: the nearest, less half of their range. Only where [`Simd::converts_to_nearest`](super::Simd::converts_to_nearest).
    Moved,
    /// Of words: the nearest byte without a sign. Only where [`Simd::clamps_words`](super::Simd::clamps_words).
    Byte,
}
