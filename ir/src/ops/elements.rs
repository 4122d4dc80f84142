//! Reading and writing tensors element by element in the interpreters of operators.

use crate::bail_unsupported;
use crate::error::Result;
use crate::numerics::Number;
use crate::tensor::Tensor;
use crate::types::DType;

/// The elements of a tensor by row-major position.
pub(crate) struct Elements<'a> {
    dtype: DType,
    data: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Of a tensor of integers (4-bit ones included), bools or floats of 16 to 64 bits.
    pub(crate) fn new(tensor: &'a Tensor) -> Result<Self> {
        if !(tensor.dtype.is_float() || tensor.dtype.is_int() || tensor.dtype == DType::Bool) {
            bail_unsupported!("elements of type {} are no numbers to compute with", tensor.dtype);
        }
        Ok(Self { dtype: tensor.dtype, data: &tensor.data })
    }

    /// Of a tensor of any type of 4 to 64 bits, for its bits alone.
    pub(crate) fn raw(tensor: &'a Tensor) -> Self {
        Self { dtype: tensor.dtype, data: &tensor.data }
    }

    /// The bits of element `i`, zero-extended.
    pub(crate) fn bits(&self, i: usize) -> u64 {
        let size = self.dtype.size();
        let bytes = &self.data[i * size..][..size];
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        u64::from_le_bytes(wide)
    }

    /// Element `i`.
    pub(crate) fn number(&self, i: usize) -> Number {
        Number::from_bits(self.dtype, self.bits(i))
    }
}

/// A tensor under construction, in row-major order.
pub(crate) struct Builder {
    dtype: DType,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Builder {
    /// A tensor without elements so far.
    pub(crate) fn new(dtype: DType, shape: &[usize]) -> Self {
        let bytes = dtype.bytes_of(shape.iter().product());
        Self { dtype, shape: shape.to_vec(), data: Vec::with_capacity(bytes) }
    }

    /// Appends an element by its bits.
    pub(crate) fn push_bits(&mut self, bits: u64) {
        self.data.extend_from_slice(&self.dtype.stored(bits).to_le_bytes()[..self.dtype.size()]);
    }

    /// Appends an element, converted by the rules of `Cast`.
    pub(crate) fn push(&mut self, value: Number) {
        self.push_bits(value.to_bits(self.dtype));
    }

    /// The tensor; an error when the number of elements is not the shape's.
    pub(crate) fn finish(self) -> Result<Tensor> {
        Tensor::new(self.dtype, self.shape, self.data.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bit_elements_have_a_byte_each() {
        let mut b = Builder::new(DType::I4, &[3]);
        for v in [-1, 7, -8] {
            b.push(Number::Int(v));
        }
        let t = b.finish().unwrap();
        assert_eq!(&t.data[..], &[0xff, 7, 0xf8]);
        assert_eq!(&t.packed()[..], &[0x7f, 0x08]);
        assert_eq!(Tensor::from_packed(DType::I4, vec![3], t.packed()).unwrap(), t);
        let e = Elements::new(&t).unwrap();
        assert_eq!((0..3).map(|i| e.number(i).int()).collect::<Vec<_>>(), [-1, 7, -8]);
    }
}
