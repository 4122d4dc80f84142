//! Memory of a model for run after run.

#![allow(unsafe_code)]

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use kiln_ir::kernel::plan::Port;
use kiln_ir::tensor::Element;
use kiln_ir::{Error, Result, Shape, Tensor, TensorType};

use super::jit::Model;
use super::ports::{PortKey, of_type};
use super::runner::{self, Runner};
use crate::error::Error as ApiError;
use crate::lines::Lines;

/// Memory of a model for run after run: lends the inputs to be written and the outputs to be read.
///
/// ```
/// # fn main() -> Result<(), kiln_compiler::Error> {
/// use kiln_compiler::Compiler;
///
/// let model = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").jit(1)?;
/// let mut session = model.session()?;
/// for brightness in [0.0f32, 0.5, 1.0] {
///     session.input::<f32>(0)?.fill(brightness);
///     session.run()?;
///     let probabilities: &[f32] = session.output(0)?;
///     assert_eq!(probabilities.len(), 10);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Session<'a> {
    runner: Runner<'a>,
    inputs: Vec<Lines>,
    outputs: Vec<Lines>,
}

impl Model {
    /// Memory for repeated runs: nothing is allocated between them. The inputs are zeros at first, and open dimensions have
    /// their greatest values: see [`Session::set_size`].
    ///
    /// # Errors
    ///
    /// [`ApiError::Environment`] where there is no memory for it.
    pub fn session(&self) -> Result<Session<'_>, ApiError> {
        let (inputs, outputs) = (runner::memory(self, &self.inputs)?, runner::memory(self, &self.outputs)?);
        Ok(Session { runner: self.runner()?, inputs, outputs })
    }

    /// The same with inputs in place.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] names the input whose number, type or shape is wrong.
    pub fn session_with(&self, inputs: &[Tensor]) -> Result<Session<'_>, ApiError> {
        if inputs.len() != self.inputs.len() {
            let (needs, given) = (self.inputs.len(), inputs.len());
            return Err(Error::invalid(format!("the model has {needs} inputs, {given} are given")).into());
        }
        let mut session = self.session()?;
        if !self.bounds.is_empty() {
            let declared: Vec<_> = self.inputs.iter().map(|p| (&*p.name, &p.ty)).collect();
            let found = kiln_ir::eval::bind(&declared, inputs, &self.bounds)?;
            session.runner.resize(found.into_iter())?;
        }
        for (i, tensor) in inputs.iter().enumerate() {
            session.set_input(i, tensor)?;
        }
        Ok(session)
    }
}

impl<'a> Session<'a> {
    /// Gives an open dimension the value that it has from now on. Inputs and outputs then have shapes that follow from it;
    /// what inputs held is of no meaning any more.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such open dimension, or the value is outside its bounds.
    pub fn set_size(&mut self, dimension: &str, value: usize) -> Result<(), ApiError> {
        let model = self.model();
        let told = |name: &&std::sync::Arc<str>| !model.is_counted(name);
        let Some(name) = model.bounds.keys().filter(told).find(|name| ***name == *dimension) else {
            let all: Vec<&str> = model.bounds.keys().filter(told).map(|name| &**name).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let error = Error::invalid(format!("the model has no open dimension '{dimension}'"));
            return Err(error.hint(format!("its open dimensions: {all}")).into());
        };
        Ok(self.runner.resize([(name.clone(), i64::try_from(value).unwrap_or(i64::MAX))].into_iter())?)
    }

    /// The elements of an input, to be written: zeros at first, then what was written last.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input, or one of another type than `T`; see
    /// [`input_bytes`](Self::input_bytes) for bools.
    pub fn input<'k, T: Element>(&mut self, which: impl Into<PortKey<'k>>) -> Result<&mut [T], ApiError> {
        let i = which.into().find(&self.model().inputs, "input")?;
        of_type::<T>(&self.model().inputs[i], "input")?;
        Ok(bytemuck::cast_slice_mut(self.input_bytes(i)?))
    }

    /// The bytes of an input, as [`Tensor::data`] has them: little-endian, a byte per bool.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input.
    pub fn input_bytes<'k>(&mut self, which: impl Into<PortKey<'k>>) -> Result<&mut [u8], ApiError> {
        let i = which.into().find(&self.model().inputs, "input")?;
        let bytes = bytes_of(&self.model().inputs[i], self.runner.input_shape(i));
        Ok(&mut self.inputs[i].bytes_mut()[..bytes])
    }

    /// Copies a tensor to an input.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input, or one of another type or shape.
    pub fn set_input<'k>(&mut self, which: impl Into<PortKey<'k>>, tensor: &Tensor) -> Result<(), ApiError> {
        let i = which.into().find(&self.model().inputs, "input")?;
        let port = &self.model().inputs[i];
        if port.ty.dtype != tensor.dtype || self.runner.input_shape(i) != tensor.shape {
            let now = TensorType::new(port.ty.dtype, Shape::of(self.runner.input_shape(i)));
            let text = format!("input '{}' is {now}, {} is given", port.name, tensor.ty());
            return Err(Error::invalid(text).into());
        }
        self.input_bytes(i)?.copy_from_slice(&tensor.data);
        Ok(())
    }

    /// Runs the model once on what the inputs hold.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] with the status that the run ended with.
    pub fn run(&mut self) -> Result<(), ApiError> {
        self.launch(None).map(|_| ())
    }

    fn launch(&mut self, stop: Option<&AtomicBool>) -> Result<bool, ApiError> {
        self.runner.point(&mut self.inputs, &mut self.outputs);
        // SAFETY: the memory is this session's, on cache lines, and holds the ports' largest sizes.
        unsafe { self.runner.launch(stop) }
    }

    /// Runs the model once, unless another thread asks it to stop: gives whether it came to the end. That is looked for
    /// between kernels, and between the parts of one that threads could share; the outputs of a run that was stopped are
    /// unspecified, and the next run is as good as any.
    ///
    /// ```
    /// # fn main() -> Result<(), kiln_compiler::Error> {
    /// use std::sync::atomic::AtomicBool;
    ///
    /// use kiln_compiler::Compiler;
    ///
    /// let model = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").jit(1)?;
    /// let mut session = model.session()?;
    /// // Another thread would set it meanwhile.
    /// assert!(!session.run_unless(&AtomicBool::new(true))?);
    /// assert!(session.run_unless(&AtomicBool::new(false))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] with the status that the run ended with.
    pub fn run_unless(&mut self, stop: &AtomicBool) -> Result<bool, ApiError> {
        self.launch(Some(stop))
    }

    /// The model that runs.
    pub fn model(&self) -> &'a Model {
        self.runner.model()
    }

    /// Extents of input `i` as they are now.
    #[cfg(feature = "ndarray")]
    pub(super) fn input_shape(&self, i: usize) -> &[usize] {
        self.runner.input_shape(i)
    }

    /// Extents of output `i` as they are now.
    #[cfg(feature = "ndarray")]
    pub(super) fn output_shape(&self, i: usize) -> &[usize] {
        self.runner.output_shape(i)
    }

    /// The elements of an output, as the last run left them.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such output, or one of another type than `T`; see
    /// [`output_bytes`](Self::output_bytes) for bools.
    pub fn output<'k, T: Element>(&self, which: impl Into<PortKey<'k>>) -> Result<&[T], ApiError> {
        let i = which.into().find(&self.model().outputs, "output")?;
        of_type::<T>(&self.model().outputs[i], "output")?;
        Ok(bytemuck::cast_slice(self.output_bytes(i)?))
    }

    /// The bytes of an output, as [`Tensor::data`] has them: little-endian, a byte per bool.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such output.
    pub fn output_bytes<'k>(&self, which: impl Into<PortKey<'k>>) -> Result<&[u8], ApiError> {
        let i = which.into().find(&self.model().outputs, "output")?;
        let bytes = bytes_of(&self.model().outputs[i], self.runner.output_shape(i));
        Ok(&self.outputs[i].bytes()[..bytes])
    }

    /// Copies of all outputs, as the last run left them.
    ///
    /// # Errors
    ///
    /// None, for models that [`Compiler::jit`](crate::Compiler::jit) made.
    pub fn outputs(&self) -> Result<Vec<Tensor>, ApiError> {
        let copy = |(i, port): (usize, &Port)| {
            let shape = self.runner.output_shape(i).to_vec();
            Ok(Tensor::new(port.ty.dtype, shape, Bytes::copy_from_slice(self.output_bytes(i)?))?)
        };
        self.model().outputs.iter().enumerate().map(copy).collect()
    }

    /// Runs kernel `i` alone, on one thread, after a complete run has left its operands in the arena.
    #[doc(hidden)]
    pub fn run_kernel(&mut self, i: usize) {
        self.runner.point(&mut self.inputs, &mut self.outputs);
        // SAFETY: as in `launch`.
        unsafe { self.runner.run_alone(i) };
    }
}

/// The size of a port's elements when it has that shape.
fn bytes_of(port: &Port, shape: &[usize]) -> usize {
    port.ty.dtype.bytes_of(shape.iter().product())
}
