//! Tensors with values: initialisers, folded constants, inputs and outputs of the interpreters.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::types::{DType, Shape, TensorType};

/// A dense, row-major, little-endian tensor. Cloning shares the bytes. Elements of 4 bits have a byte each, as
/// [`DType::stored`] says; [`Tensor::from_packed`] and [`Tensor::packed`] are what ONNX files have.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type; never [`DType::String`].
    pub dtype: DType,
    /// Extents from the outermost axis to the innermost.
    pub shape: Vec<usize>,
    /// The elements, [`DType::size`] bytes each.
    pub data: Bytes,
}

/// A Rust type that is the storage of one [`DType`].
pub trait Element: bytemuck::Pod + Send + Sync {
    /// The element type that it stores.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
element!(f32 => F32, f64 => F64, u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64,
         i64 => I64, half::f16 => F16, half::bf16 => BF16);

impl Tensor {
    /// A tensor from its parts; the byte count must be what type and shape need.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self> {
        if dtype == DType::String {
            return Err(Error::unsupported("tensors of strings are not supported"));
        }
        let elements = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        let needed = elements.filter(|n| n.checked_mul(16).is_some()).map(|n| dtype.bytes_of(n));
        match needed {
            Some(n) if n == data.len() => Ok(Self { dtype, shape, data }),
            Some(n) => Err(Error::invalid(format!(
                "{dtype} tensor of shape {shape:?} needs {n} bytes of data and has {}",
                data.len()
            ))),
            None => {
                Err(Error::invalid(format!("shape {shape:?} has more elements than memory has addresses")))
            }
        }
    }

    /// A tensor from bytes as ONNX's `raw_data` holds them: two 4-bit elements share one, the first in its low half.
    pub fn from_packed(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self> {
        if dtype.bits() != 4 {
            return Self::new(dtype, shape, data);
        }
        let elements: usize = shape.iter().product();
        if data.len() != dtype.packed_bytes_of(elements) {
            return Err(Error::invalid(format!(
                "{dtype} tensor of shape {shape:?} needs {} bytes of data and has {}",
                dtype.packed_bytes_of(elements),
                data.len()
            )));
        }
        let halves = data.iter().flat_map(|b| [b & 0xf, b >> 4]).take(elements);
        let bytes: Vec<u8> = halves.map(|half| dtype.stored(half.into()) as u8).collect();
        Self::new(dtype, shape, bytes.into())
    }

    /// The bytes as ONNX's `raw_data` holds them.
    pub fn packed(&self) -> Bytes {
        if self.dtype.bits() != 4 {
            return self.data.clone();
        }
        let pair = |pair: &[u8]| (pair[0] & 0xf) | pair.get(1).map_or(0, |high| high << 4);
        self.data.chunks(2).map(pair).collect::<Vec<u8>>().into()
    }

    /// A tensor of `values`, which must be as many as the shape needs (a mismatch is our bug: it panics).
    pub fn from_vec<T: Element>(shape: &[usize], values: Vec<T>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?} and value count differ");
        Self { dtype: T::DTYPE, shape: shape.to_vec(), data: Bytes::from_owner(ElementBytes(values)) }
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_vec(&[], vec![value])
    }

    /// Booleans, stored one a byte as 0 and 1.
    pub fn from_bools(shape: &[usize], values: impl IntoIterator<Item = bool>) -> Self {
        let bytes: Vec<u8> = values.into_iter().map(u8::from).collect();
        assert_eq!(shape.iter().product::<usize>(), bytes.len(), "shape {shape:?} and value count differ");
        Self { dtype: DType::Bool, shape: shape.to_vec(), data: bytes.into() }
    }

    /// Zeros of any type.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Self {
        let bytes = dtype.bytes_of(shape.iter().product());
        Self { dtype, shape: shape.to_vec(), data: vec![0; bytes].into() }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::of(&self.shape))
    }

    /// The elements as `T`, borrowed where the bytes are aligned for it. An error when the type is another.
    pub fn as_slice<T: Element>(&self) -> Result<Cow<'_, [T]>> {
        let stored = if self.dtype == DType::Bool { DType::U8 } else { self.dtype };
        if stored != T::DTYPE {
            return Err(Error::internal(format!("{} tensor read as {}", self.dtype, T::DTYPE)));
        }
        Ok(match bytemuck::try_cast_slice(&self.data) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::allocation::pod_collect_to_vec(&self.data)),
        })
    }

    /// The single element of an integer tensor, or all of them: any integer type or bool, widened.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        macro_rules! widen {
            ($t:ty) => {
                Ok(self.as_slice::<$t>()?.iter().map(|&v| v as i64).collect())
            };
        }
        match self.dtype {
            DType::I64 => widen!(i64),
            DType::I32 => widen!(i32),
            DType::I16 => widen!(i16),
            DType::I8 => widen!(i8),
            DType::U8 | DType::Bool => widen!(u8),
            DType::I4 => Ok(self.data.iter().map(|&b| (b as i8).into()).collect()),
            DType::U4 => Ok(self.data.iter().map(|&b| b.into()).collect()),
            DType::U16 => widen!(u16),
            DType::U32 => widen!(u32),
            DType::U64 => widen!(u64),
            other => Err(Error::invalid(format!("integers expected, found {other}"))),
        }
    }

    /// Every element as f64: any float or integer type or bool.
    pub fn to_f64s(&self) -> Result<Vec<f64>> {
        match self.dtype {
            DType::F32 => Ok(self.as_slice::<f32>()?.iter().map(|&v| v.into()).collect()),
            DType::F64 => Ok(self.as_slice::<f64>()?.into_owned()),
            DType::F16 => Ok(self.as_slice::<half::f16>()?.iter().map(|&v| v.into()).collect()),
            DType::BF16 => Ok(self.as_slice::<half::bf16>()?.iter().map(|&v| v.into()).collect()),
            DType::U64 => Ok(self.as_slice::<u64>()?.iter().map(|&v| v as f64).collect()),
            _ => Ok(self.to_i64s()?.into_iter().map(|v| v as f64).collect()),
        }
    }

    /// The same elements under another shape of as many.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self> {
        Self::new(self.dtype, shape.to_vec(), self.data.clone())
    }
}

struct ElementBytes<T>(Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for ElementBytes<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty())?;
        if self.elements() <= 8
            && self.dtype.bits() >= 8
            && self.dtype != DType::C64
            && self.dtype != DType::C128
        {
            write!(f, " {:?}", self.to_f64s().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Row-major strides, in elements, of a shape.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}
