//! Typed views for programs that compute with `ndarray`. Nothing is copied but by [`tensor`].
//!
//! ```
//! # fn main() -> Result<(), kiln_compiler::Error> {
//! use kiln_compiler::{Compiler, arrays};
//!
//! let model = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").jit(1)?;
//! let mut session = model.session()?;
//! arrays::input::<f32>(&mut session, 0)?.fill(0.5);
//! session.run()?;
//! let probabilities = arrays::output::<f32>(&session, 0)?;
//! assert_eq!(probabilities.shape(), [1, 10]);
//! assert!((probabilities.sum() - 1.0).abs() < 1e-5);
//!
//! // Arrays of the program's own are read and written where they lie.
//! let image = ndarray::Array::from_elem((1, 3, 32, 32), 0.5f32);
//! let mut row = ndarray::Array::<f32, _>::zeros((1, 10));
//! model.run_on(&[arrays::lend(&image)?], &mut [arrays::lend_mut(&mut row)?])?;
//! assert_eq!(row.into_dyn(), arrays::output::<f32>(&session, 0)?);
//! # Ok(())
//! # }
//! ```

use kiln_ir::tensor::Element;
use kiln_ir::{Error, Tensor};
use ndarray::{ArrayD, ArrayRef, ArrayViewD, ArrayViewMutD, Dimension, IxDyn};

use super::ports::PortKey;
use super::session::Session;
use super::views::{View, ViewMut};
use crate::error::Error as ApiError;

/// An input of a session, to be written.
///
/// # Errors
///
/// Those of [`Session::input`].
pub fn input<'s, 'k, T: Element>(
    session: &'s mut Session<'_>,
    which: impl Into<PortKey<'k>>,
) -> Result<ArrayViewMutD<'s, T>, ApiError> {
    let which = which.into();
    let ports = session.model().inputs();
    let shape = session.input_shape(which.find(ports, "input")?).to_vec();
    ArrayViewMutD::from_shape(IxDyn(&shape), session.input(which)?).map_err(|e| wrong(&e))
}

/// An output of a session, as the last run left it.
///
/// # Errors
///
/// Those of [`Session::output`].
pub fn output<'s, 'k, T: Element>(
    session: &'s Session<'_>,
    which: impl Into<PortKey<'k>>,
) -> Result<ArrayViewD<'s, T>, ApiError> {
    let which = which.into();
    let ports = session.model().outputs();
    let shape = session.output_shape(which.find(ports, "output")?).to_vec();
    ArrayViewD::from_shape(IxDyn(&shape), session.output(which)?).map_err(|e| wrong(&e))
}

/// A tensor's elements.
///
/// # Errors
///
/// [`ApiError::Invalid`] where they are of another type, or do not lie at a multiple of their size: bytes of a file may not.
pub fn view<T: Element>(tensor: &Tensor) -> Result<ArrayViewD<'_, T>, ApiError> {
    if tensor.dtype != T::DTYPE {
        return Err(Error::invalid(format!("the tensor is {}, not {}", tensor.ty(), T::DTYPE)).into());
    }
    let elements = bytemuck::try_cast_slice(&tensor.data)
        .map_err(|e| ApiError::from(Error::invalid(format!("the elements cannot be viewed: {e}"))))?;
    ArrayViewD::from_shape(IxDyn(&tensor.shape), elements).map_err(|e| wrong(&e))
}

/// An array as an argument of a run on memory of the caller's own. Nothing is copied.
///
/// # Errors
///
/// [`ApiError::Invalid`] where its elements do not lie dense and row-major.
pub fn lend<T: Element, D: Dimension>(array: &ArrayRef<T, D>) -> Result<View<'_>, ApiError> {
    Ok(View::new(array.shape(), array.as_slice().ok_or_else(strided)?))
}

/// An array as the place of a result. Nothing is copied.
///
/// # Errors
///
/// Those of [`lend`].
pub fn lend_mut<T: Element, D: Dimension>(array: &mut ArrayRef<T, D>) -> Result<ViewMut<'_>, ApiError> {
    let shape = array.shape().to_vec();
    Ok(ViewMut::new(array.as_slice_mut().ok_or_else(strided)?).shaped(&shape))
}

/// A tensor of an array's elements, in the order of their indices.
pub fn tensor<T: Element>(array: &ArrayD<T>) -> Tensor {
    Tensor::from_vec(array.shape(), array.iter().copied().collect())
}

fn strided() -> ApiError {
    let error = Error::invalid("the elements of an array do not lie dense and row-major");
    error.hint("as_standard_layout() copies them so").into()
}

fn wrong(e: &ndarray::ShapeError) -> ApiError {
    Error::internal(format!("a view of a port: {e}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_tensors() {
        let array = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| (10 * i[0] + i[1]) as f32);
        let made = tensor(&array);
        assert_eq!(made, Tensor::from_vec(&[2, 3], vec![0.0f32, 1.0, 2.0, 10.0, 11.0, 12.0]));
        assert_eq!(view::<f32>(&made).unwrap(), array);
        assert!(view::<i32>(&made).is_err());
        assert!(lend(&array).is_ok() && lend(&array.view()).is_ok());
        let turned = array.reversed_axes();
        assert_eq!(tensor(&turned).shape, [3, 2]);
        assert!(lend(&turned).unwrap_err().to_string().contains("row-major"));
    }
}
