//! Element types, shapes and the facts that every value of a graph carries.

use std::fmt;

use crate::dim::Dim;
use crate::error::{Error, Result};

/// Element types: those of ONNX 1.19 (`TensorProto.DataType`).
#[allow(missing_docs)] // the names say it
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    String,
    Bool,
    F16,
    F64,
    U32,
    U64,
    C64,
    C128,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    U4,
    I4,
    F4E2M1,
    F8E8M0,
}

impl DType {
    /// All, ordered by their number in ONNX, which starts at 1.
    pub const ALL: [DType; 24] = [
        Self::F32,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::String,
        Self::Bool,
        Self::F16,
        Self::F64,
        Self::U32,
        Self::U64,
        Self::C64,
        Self::C128,
        Self::BF16,
        Self::F8E4M3FN,
        Self::F8E4M3FNUZ,
        Self::F8E5M2,
        Self::F8E5M2FNUZ,
        Self::U4,
        Self::I4,
        Self::F4E2M1,
        Self::F8E8M0,
    ];

    /// From `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Result<Self> {
        match number {
            0 => Err(Error::invalid("element type 0 (UNDEFINED) is no type")),
            1..=24 => Ok(Self::ALL[number as usize - 1]),
            _ => Err(Error::unsupported(format!("element type number {number} is not known"))),
        }
    }

    /// As `TensorProto.DataType`.
    pub fn to_onnx(self) -> i32 {
        Self::ALL.iter().position(|d| *d == self).map_or(0, |i| i as i32 + 1)
    }

    /// Bits of one element by its definition, which ONNX packs 4-bit ones by; 0 for strings. Elsewhere they have a byte each:
    /// [`DType::size`].
    pub fn bits(self) -> usize {
        match self {
            Self::String => 0,
            Self::U4 | Self::I4 | Self::F4E2M1 => 4,
            Self::U8 | Self::I8 | Self::Bool => 8,
            Self::F8E4M3FN | Self::F8E4M3FNUZ | Self::F8E5M2 | Self::F8E5M2FNUZ | Self::F8E8M0 => 8,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 16,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 64,
            Self::C128 => 128,
        }
    }

    /// Bytes of `elements` of this type in tensors, buffers and what callers give and get.
    pub fn bytes_of(self, elements: usize) -> usize {
        elements.saturating_mul(self.size())
    }

    /// Bytes of `elements` of this type in ONNX files: two 4-bit elements share a byte, low half first.
    pub fn packed_bytes_of(self, elements: usize) -> usize {
        if self.bits() == 4 { elements.div_ceil(2) } else { self.bytes_of(elements) }
    }

    /// Bytes of one element in tensors, buffers and what callers give and get; 0 for strings. An element of 4 bits has a byte
    /// of its own, see [`DType::stored`].
    pub fn size(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// The byte (or bytes) that hold an element, given its bits: those of `i4` have their sign extended, those of the other
    /// 4-bit types zeros above them.
    pub fn stored(self, bits: u64) -> u64 {
        match self {
            Self::I4 => (bits & 0xf) | if bits & 8 != 0 { 0xf0 } else { 0 },
            Self::U4 | Self::F4E2M1 => bits & 0xf,
            _ => bits,
        }
    }

    /// Whether kernels do nothing with elements of this type but move them and take them for the integers that their bits are:
    /// integers and floats of 4 bits, floats of 8 bits.
    pub fn is_small(self) -> bool {
        self.bits() == 4 || matches!(self.to_onnx(), 17..=20) || self == Self::F8E8M0
    }

    /// Whether machine code holds elements of this type: they fit a register. Those that are neither numbers
    /// nor bools it only moves.
    pub fn is_compiled(self) -> bool {
        matches!(self.size(), 1 | 2 | 4 | 8)
    }

    /// f16, bf16, f32 or f64.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// f16 or bf16: numbers that are stored in 16 bits and computed with in f32.
    pub fn is_short_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16)
    }

    /// The type that sums of products of this one's numbers are carried in: f32 for floats of 16 bits, else itself.
    pub fn accumulator(self) -> Self {
        if self.is_short_float() { Self::F32 } else { self }
    }

    /// A signed or unsigned integer of 4 to 64 bits.
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }

    /// A signed integer.
    pub fn is_signed_int(self) -> bool {
        matches!(self, Self::I4 | Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }

    /// An unsigned integer.
    pub fn is_unsigned_int(self) -> bool {
        matches!(self, Self::U4 | Self::U8 | Self::U16 | Self::U32 | Self::U64)
    }

    /// The name in text forms and JSON: `f32`, `i64`, `bool`, `f8e4m3fn`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::String => "string",
            Self::Bool => "bool",
            Self::F16 => "f16",
            Self::F64 => "f64",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::C64 => "c64",
            Self::C128 => "c128",
            Self::BF16 => "bf16",
            Self::F8E4M3FN => "f8e4m3fn",
            Self::F8E4M3FNUZ => "f8e4m3fnuz",
            Self::F8E5M2 => "f8e5m2",
            Self::F8E5M2FNUZ => "f8e5m2fnuz",
            Self::U4 => "u4",
            Self::I4 => "i4",
            Self::F4E2M1 => "f4e2m1",
            Self::F8E8M0 => "f8e8m0",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Extents from the outermost axis to the innermost.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of constants.
    pub fn of(extents: &[usize]) -> Self {
        Self(extents.iter().map(|&e| e.into()).collect())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The extents, when none is symbolic.
    pub fn as_const(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::as_usize).collect()
    }

    /// The product of the extents.
    pub fn elements(&self) -> Dim {
        self.0.iter().fold(Dim::Const(1), |n, d| n * d.clone())
    }

    /// The axis that `axis` means, negative values counting from the end.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.rank())
    }
}

/// The axis in `0..rank` that `axis` means, negative values counting from the end.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let signed = rank as i64;
    if axis < -signed || axis >= signed {
        return Err(Error::invalid(format!(
            "axis {axis} is outside [-{rank}, {rank}) of a tensor of rank {rank}"
        )));
    }
    Ok(if axis < 0 { (axis + signed) as usize } else { axis as usize })
}

impl std::ops::Deref for Shape {
    type Target = [Dim];
    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Self {
        Self(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Element type and shape of a value: `f32[1, 3, 224, 224]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Self { dtype, shape }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// ONNX's multidirectional (NumPy) broadcast of two shapes.
///
/// A symbolic extent against another that is neither equal nor 1 is assumed equal to it: ONNX leaves that
/// check to run time, and inputs are checked against the bound symbols there.
pub fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Const(1);
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(one.clone(), |j| s[j].clone());
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (x, y) if x == one => Ok(y),
            (x, y) if y == one => Ok(x),
            (x @ Dim::Const(_), Dim::Expr(_)) | (Dim::Expr(_), x @ Dim::Const(_)) => Ok(x),
            (x @ Dim::Expr(_), Dim::Expr(_)) => Ok(x),
            (x, y) => Err(Error::invalid(format!("shapes {a} and {b} do not broadcast: {x} against {y}"))),
        })
        .collect()
}
