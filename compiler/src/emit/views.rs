//! A caller's own memory as arguments and results of a model: nothing is copied.

use kiln_ir::tensor::Element;
use kiln_ir::{DType, Error, Result, Shape, Tensor, TensorType};

/// Elements of the caller's own that a model reads, row-major. Whether type, shape, size and alignment are what an argument
/// needs is looked at when it is run on; see [`Runner`](crate::Runner).
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// Elements with their shape.
    pub fn new<T: Element>(shape: &'a [usize], elements: &'a [T]) -> Self {
        Self::of_bytes(T::DTYPE, shape, bytemuck::cast_slice(elements))
    }

    /// Elements of any type, as [`Tensor::data`] has them: little-endian, a byte per bool and per element of 4 bits.
    pub fn of_bytes(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { dtype, shape, bytes }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Refuses what is not of a type and a shape, whole and aligned; `what` names it.
    pub(super) fn check(&self, what: &str, name: &str, dtype: DType, shape: &[usize]) -> Result<()> {
        if self.dtype != dtype || self.shape != shape {
            let needed = TensorType::new(dtype, Shape::of(shape));
            let given = TensorType::new(self.dtype, Shape::of(self.shape));
            return Err(Error::invalid(format!("{what} '{name}' is {needed}, {given} is given")));
        }
        check_bytes(what, name, self.bytes, dtype, shape)
    }
}

impl<'a> From<&'a Tensor> for View<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::of_bytes(tensor.dtype, &tensor.shape, &tensor.data)
    }
}

/// Elements of the caller's own that a model writes, row-major: all of them, each run.
#[derive(Debug)]
pub struct ViewMut<'a> {
    dtype: DType,
    /// Where the caller has one of its own, it is compared.
    shape: Option<Vec<usize>>,
    bytes: &'a mut [u8],
}

impl<'a> ViewMut<'a> {
    /// As many elements as the result has.
    pub fn new<T: Element>(elements: &'a mut [T]) -> Self {
        Self::of_bytes(T::DTYPE, bytemuck::cast_slice_mut(elements))
    }

    /// Elements of any type, as [`Tensor::data`] has them: little-endian, a byte per bool and per element of 4 bits.
    pub fn of_bytes(dtype: DType, bytes: &'a mut [u8]) -> Self {
        Self { dtype, shape: None, bytes }
    }

    /// The same of a shape, which must be that of the result.
    #[must_use]
    pub fn shaped(self, shape: &[usize]) -> Self {
        Self { shape: Some(shape.to_vec()), ..self }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// See [`View::check`].
    pub(super) fn check(&self, what: &str, name: &str, dtype: DType, shape: &[usize]) -> Result<()> {
        let same = self.shape.as_ref().is_none_or(|own| own == shape);
        if self.dtype != dtype || !same {
            let needed = TensorType::new(dtype, Shape::of(shape));
            let given = match &self.shape {
                Some(shape) => TensorType::new(self.dtype, Shape::of(shape)).to_string(),
                None => format!("memory for {}", self.dtype),
            };
            return Err(Error::invalid(format!("{what} '{name}' is {needed}, {given} is given")));
        }
        check_bytes(what, name, self.bytes, dtype, shape)
    }
}

fn check_bytes(what: &str, name: &str, bytes: &[u8], dtype: DType, shape: &[usize]) -> Result<()> {
    let needed = dtype.bytes_of(shape.iter().product());
    if bytes.len() != needed {
        let ty = TensorType::new(dtype, Shape::of(shape));
        let given = bytes.len();
        return Err(Error::invalid(format!(
            "{what} '{name}' is {ty}, {needed} bytes, {given} bytes are given"
        )));
    }
    let align = dtype.size().max(1);
    if needed > 0 && bytes.as_ptr().align_offset(align) != 0 {
        let text = format!("the memory of {what} '{name}' does not begin at a multiple of {align} bytes");
        return Err(Error::invalid(text).hint(format!("elements of {dtype} need that")));
    }
    Ok(())
}
