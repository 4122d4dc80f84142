//! Runs on memory of the caller's own.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use kiln_ir::dim::Symbols;
use kiln_ir::kernel::plan::Port;
use kiln_ir::kernel::regions;
use kiln_ir::{Bound, Dim, Error, ErrorKind, Result, Tensor};
use kiln_runtime::abi::Frame;
use kiln_runtime::pool::Pool;
use kiln_runtime::status::Status;

use super::jit::{Model, Run};
use super::ports::{port_bytes, shape_at};
use super::steer::{Steering, Walk};
use super::views::{View, ViewMut};
use crate::error::Error as ApiError;
use crate::lines::Lines;

/// Runs a model on memory of the caller's own, again and again: arguments are read where they lie, and results are written
/// where the caller wants them. Nothing is copied, and nothing is allocated between runs.
///
/// Memory begins at a multiple of its element's size, as every slice of Rust does; more is not needed, though vectors are
/// a little faster where it begins at a multiple of 64 bytes. Elements are dense and row-major. That arguments and results
/// do not overlap is what borrows say.
///
/// ```
/// # fn main() -> Result<(), kiln_compiler::Error> {
/// use kiln_compiler::{Compiler, View, ViewMut};
///
/// let model = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").jit(1)?;
/// let mut runner = model.runner()?;
/// let images = vec![0.5f32; 4 * 3072];
/// let mut probabilities = vec![0.0f32; 4 * 10];
/// for (image, row) in images.chunks(3072).zip(probabilities.chunks_mut(10)) {
///     runner.run(&[View::new(&[1, 3, 32, 32], image)], &mut [ViewMut::new(row)])?;
/// }
/// assert!((probabilities[30..].iter().sum::<f32>() - 1.0).abs() < 1e-5);
///
/// // What does not fit is an error, not a run.
/// let e = runner.run(&[View::new(&[1, 3, 32, 32], &images[..7])], &mut []).unwrap_err();
/// assert!(e.to_string().contains("28 bytes are given"), "{e}");
/// # Ok(())
/// # }
/// ```
pub struct Runner<'a> {
    model: &'a Model,
    at: At,
    arena: Lines,
    // Set for every run.
    inputs: Vec<*const c_void>,
    outputs: Vec<*mut c_void>,
}

// SAFETY: the pointers are set for each run, to memory that is borrowed for it; the model may be shared.
unsafe impl Send for Runner<'_> {}

/// The open dimensions with their values, and what follows from these.
struct At {
    symbols: Symbols,
    /// In the order of their names.
    values: Vec<i64>,
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    /// The shapes that results have where most is counted.
    room: Vec<Vec<usize>>,
    /// The table of sizes.
    sizes: Vec<i64>,
}

impl At {
    fn new(model: &Model, symbols: Symbols) -> Result<Self> {
        let all = |ports: &[Port], symbols: &Symbols| {
            ports.iter().map(|p| shape_at(p, symbols)).collect::<Result<Vec<_>>>()
        };
        let (inputs, outputs) = (all(&model.inputs, &symbols)?, all(&model.outputs, &symbols)?);
        let mut most = symbols.clone();
        most.extend(
            model.counted.iter().filter_map(|c| Some((c.name.clone(), model.bounds.get(&c.name)?.hi))),
        );
        let room = if model.counted.is_empty() { outputs.clone() } else { all(&model.outputs, &most)? };
        let sizes: Option<Vec<i64>> = model.sizes.iter().map(|size| size.eval(&symbols)).collect();
        let sizes = sizes.ok_or_else(|| Error::internal("a size without a value"))?;
        Ok(Self { values: symbols.values().copied().collect(), symbols, inputs, outputs, room, sizes })
    }

    /// Reads the sizes that kernel `i` has counted. An error names the one that is outside its bounds, or what does not hold
    /// that is assumed of them.
    ///
    /// # Safety
    ///
    /// The kernel has run on this frame, of a run of the model.
    unsafe fn count(&mut self, model: &Model, frame: &Frame, i: usize) -> Result<()> {
        let counted = model.counted.iter().filter(|c| c.after == i);
        let mut symbols = self.symbols.clone();
        let mut any = false;
        for c in counted {
            any = true;
            // SAFETY: models have these places inside the arena, aligned, and the kernel has written them.
            let value = unsafe { frame.arena.cast::<u8>().add(c.offset_bytes).cast::<i64>().read() };
            let Bound { lo, hi, .. } = model.bounds.get(&c.name).copied().unwrap_or_else(|| (0, 0).into());
            if !(lo..=hi).contains(&value) {
                let text = format!(
                    "the run counts {value} for '{}', which is outside its bounds {lo}..{hi}",
                    c.name
                );
                return Err(Error::invalid(text).hint("a larger --bound or --dim makes room for it"));
            }
            symbols.insert(c.name.clone(), value);
        }
        if !any {
            return Ok(());
        }
        if symbols != self.symbols {
            *self = At::new(model, symbols)?;
        }
        let later =
            |zero: &Dim| model.counted.iter().any(|c| c.after > i && zero.symbols().contains(&c.name));
        self.assume(model.assumed.iter().filter(|zero| !later(zero)))
    }

    /// An error for the first of `assumed` that is not 0 in this run.
    fn assume<'a>(&self, mut assumed: impl Iterator<Item = &'a Dim>) -> Result<()> {
        let Some(zero) = assumed.find(|zero| zero.eval(&self.symbols) != Some(0)) else { return Ok(()) };
        let values = zero.symbols().into_iter().map(|name| match self.symbols.get(&name) {
            Some(value) => format!("{name} = {value}"),
            None => format!("{name} unknown"),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        Err(Error::invalid(format!("sizes do not agree: {zero} is to be 0, with {values}")))
    }
}

impl Model {
    /// Runs on memory of the caller's own. Several threads may do so at once.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::run`], and [`ApiError::Environment`] where there is no memory for an arena.
    pub fn run_on(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<(), ApiError> {
        self.runner()?.run(inputs, outputs)
    }

    /// For repeated runs on memory of the caller's own. Open dimensions have their greatest values until it has run.
    ///
    /// # Errors
    ///
    /// [`ApiError::Environment`] where there is no memory for an arena.
    pub fn runner(&self) -> Result<Runner<'_>, ApiError> {
        let spare = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let symbols: Symbols = self.bounds.iter().map(|(name, b)| (name.clone(), b.hi)).collect();
        Ok(Runner {
            model: self,
            at: At::new(self, symbols)?,
            arena: spare.map_or_else(|| Lines::new(self.arena_bytes), Ok)?,
            inputs: vec![std::ptr::null(); self.inputs.len()],
            outputs: vec![std::ptr::null_mut(); self.outputs.len()],
        })
    }

    /// Runs the model on the inputs in their order; gives the outputs in theirs. Several threads may do so at once.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] names the input whose number, type or shape is wrong, or tells what the model's run ended
    /// with.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ApiError> {
        let results = self.results(inputs, None)?;
        results.ok_or_else(|| Error::internal("a run that nobody stopped did not end").into())
    }

    /// The same, unless another thread asks it to stop: then nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Model::run`].
    pub fn run_unless(&self, inputs: &[Tensor], stop: &AtomicBool) -> Result<Option<Vec<Tensor>>, ApiError> {
        self.results(inputs, Some(stop))
    }

    fn results(&self, inputs: &[Tensor], stop: Option<&AtomicBool>) -> Result<Option<Vec<Tensor>>, ApiError> {
        let mut runner = self.runner()?;
        // Elements of a file may lie anywhere.
        let aligned = |t: &Tensor| t.data.as_ptr().align_offset(t.dtype.size().max(1)) == 0;
        let copied = |t: &Tensor| {
            let mut lines = Lines::new(t.data.len())?;
            lines.bytes_mut()[..t.data.len()].copy_from_slice(&t.data);
            Ok(lines)
        };
        let copies: Vec<Option<Lines>> = inputs
            .iter()
            .map(|t| if aligned(t) { Ok(None) } else { copied(t).map(Some) })
            .collect::<Result<_>>()?;
        let views: Vec<View<'_>> = (inputs.iter().zip(&copies))
            .map(|(t, copy)| match copy {
                Some(lines) => View::of_bytes(t.dtype, &t.shape, &lines.bytes()[..t.data.len()]),
                None => View::from(t),
            })
            .collect();
        runner.take(&views)?;
        let bytes =
            |i: usize, shapes: &[Vec<usize>]| self.outputs[i].ty.dtype.bytes_of(shapes[i].iter().product());
        let room = (0..self.outputs.len()).map(|i| Lines::new(bytes(i, &runner.at.room)));
        let mut lines = room.collect::<Result<Vec<_>>>()?;
        for (pointer, lines) in runner.outputs.iter_mut().zip(&mut lines) {
            *pointer = lines.pointer();
        }
        // SAFETY: arguments were checked, and results are as large as their shapes say.
        if !unsafe { runner.launch(stop) }? {
            return Ok(None);
        }
        let results = lines.into_iter().enumerate().map(|(i, lines)| {
            let data = bytes::Bytes::from_owner(lines).slice(..bytes(i, &runner.at.outputs));
            Tensor::new(self.outputs[i].ty.dtype, runner.at.outputs[i].clone(), data)
        });
        Ok(Some(results.collect::<Result<_>>()?))
    }
}

impl<'a> Runner<'a> {
    /// Runs the model once. Open dimensions follow from the shapes of the arguments.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] names the argument or result whose number, type, shape, size or alignment is wrong, or tells
    /// what the run ended with; then results are unspecified.
    pub fn run(&mut self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<(), ApiError> {
        self.give(inputs, outputs)?;
        // SAFETY: arguments and results were checked, and are borrowed through the call.
        unsafe { self.launch(None) }.map(|_| ())
    }

    /// The same, unless another thread asks it to stop: gives whether it came to the end. See
    /// [`Session::run_unless`](crate::Session::run_unless).
    ///
    /// # Errors
    ///
    /// Those of [`Runner::run`].
    pub fn run_unless(
        &mut self,
        inputs: &[View<'_>],
        outputs: &mut [ViewMut<'_>],
        stop: &AtomicBool,
    ) -> Result<bool, ApiError> {
        self.give(inputs, outputs)?;
        // SAFETY: as above.
        unsafe { self.launch(Some(stop)) }
    }

    /// The shapes that results have for arguments: what memory a run with open dimensions needs. Where a result's size depends
    /// on data it is the greatest that it can have; [`Runner::output_shape`] tells the one that it had.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::run`] for its arguments.
    pub fn output_shapes(&mut self, inputs: &[View<'_>]) -> Result<&[Vec<usize>], ApiError> {
        self.take(inputs)?;
        Ok(&self.at.room)
    }

    /// Extents of output `i` as the last run left them: its elements lie dense and row-major at the start of its memory.
    pub fn output_shape(&self, i: usize) -> &[usize] {
        self.at.outputs.get(i).map_or(&[], Vec::as_slice)
    }

    /// The model that runs.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Points to arguments and results that fit.
    fn give(&mut self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        self.take(inputs)?;
        count("output", self.model.outputs.len(), outputs.len())?;
        for (i, view) in outputs.iter_mut().enumerate() {
            let port = &self.model.outputs[i];
            view.check("output", &port.name, port.ty.dtype, &self.at.room[i])?;
            self.outputs[i] = view.bytes_mut().as_mut_ptr().cast();
        }
        Ok(())
    }

    /// Points to arguments that fit.
    fn take(&mut self, inputs: &[View<'_>]) -> Result<()> {
        let model = self.model;
        count("input", model.inputs.len(), inputs.len())?;
        if !model.bounds.is_empty() {
            let declared: Vec<_> = model.inputs.iter().map(|p| (&*p.name, &p.ty)).collect();
            let given: Vec<_> = inputs.iter().map(|v| (v.dtype(), v.shape())).collect();
            let found = kiln_ir::eval::bind_shapes(&declared, &given, &model.bounds)?;
            self.resize(found.into_iter())?;
        }
        for (i, view) in inputs.iter().enumerate() {
            let port = &model.inputs[i];
            view.check("input", &port.name, port.ty.dtype, &self.at.inputs[i])?;
            self.inputs[i] = view.bytes().as_ptr().cast();
        }
        Ok(())
    }

    /// Gives open dimensions values.
    pub(super) fn resize(&mut self, sizes: impl Iterator<Item = (Arc<str>, i64)>) -> Result<()> {
        let mut symbols = self.at.symbols.clone();
        for (name, value) in sizes {
            let Some(Bound { lo, hi, .. }) = self.model.bounds.get(&name) else { continue };
            if self.model.is_counted(&name) {
                continue;
            }
            if !(lo..=hi).contains(&&value) {
                return Err(Error::invalid(format!("dimension '{name}' is {value}, outside {lo}..{hi}")));
            }
            symbols.insert(name, value);
        }
        if symbols != self.at.symbols {
            self.at = At::new(self.model, symbols)?;
        }
        Ok(())
    }

    /// Extents of input `i` as they are now.
    pub(super) fn input_shape(&self, i: usize) -> &[usize] {
        &self.at.inputs[i]
    }

    /// Points to memory that holds each port's largest size.
    pub(super) fn point(&mut self, inputs: &mut [Lines], outputs: &mut [Lines]) {
        for (pointer, lines) in self.inputs.iter_mut().zip(inputs) {
            *pointer = lines.pointer().cast_const();
        }
        for (pointer, lines) in self.outputs.iter_mut().zip(outputs) {
            *pointer = lines.pointer();
        }
    }

    /// Runs once, unless somebody asks it to stop; whether it came to the end.
    ///
    /// # Safety
    ///
    /// The pointers are to live, aligned memory of the sizes that the ports have now, and nobody else uses that of results.
    pub(super) unsafe fn launch(&mut self, stop: Option<&AtomicBool>) -> Result<bool, ApiError> {
        let model = self.model;
        let pool = model.pool.as_ref();
        let context = pool.map_or(std::ptr::null_mut(), |p| std::ptr::from_ref(p).cast_mut().cast());
        let parallel_for = pool.map(|_| Pool::parallel_for as _);
        let (inputs, outputs, arena) = (self.inputs.as_ptr(), self.outputs.as_ptr(), self.arena.pointer());
        let status = match (model.run, stop) {
            // SAFETY: the caller's promise; the arena is aligned to 64 bytes and used by this run alone, and the pool
            // outlives the call.
            (Run::Fixed(run), None) => unsafe { run(inputs, outputs, arena, parallel_for, context) },
            // SAFETY: the same, and there is a value for each open dimension.
            (Run::Open(run), None) => unsafe {
                run(inputs, outputs, arena, self.at.values.as_mut_ptr(), parallel_for, context)
            },
            // SAFETY: the caller's promise.
            _ => match unsafe { self.run_each(stop) } {
                End::Done => Status::Ok as i32,
                End::Sizes(error) => return Err(error.into()),
                End::Failed { status, .. } => i32::try_from(status).unwrap_or(i32::MAX),
                End::Stopped => return Ok(false),
            },
        };
        match Status::from_code(status) {
            Some(Status::Ok) => {
                self.told()?;
                Ok(true)
            }
            // SAFETY: the caller's promise.
            Some(Status::IndexOutOfRange) => Err(unsafe { self.index_error() }.into()),
            // SAFETY: the caller's promise.
            Some(Status::DimensionOutOfBounds) => Err(unsafe { self.size_error() }.into()),
            Some(status) => {
                Err(Error::invalid(format!("the run ended with a status: {}", status.meaning())).into())
            }
            None => Err(Error::internal(format!("the run returned the unknown status {status}")).into()),
        }
    }

    /// Sizes that the run has counted, in the list, are those of its results.
    fn told(&mut self) -> Result<()> {
        if self.model.counted.is_empty() {
            return Ok(());
        }
        let names = self.at.symbols.keys().cloned();
        let symbols: Symbols = names.zip(self.at.values.iter().copied()).collect();
        if symbols != self.at.symbols {
            self.at = At::new(self.model, symbols)?;
        }
        Ok(())
    }

    /// Calls the kernels one after the other, as branches and loops want it. What the function for hosts checks of sizes is
    /// checked here.
    ///
    /// # Safety
    ///
    /// That of [`Runner::launch`].
    unsafe fn run_each(&mut self, stop: Option<&AtomicBool>) -> End {
        let model = self.model;
        let told = |zero: &&Dim| !zero.symbols().iter().any(|name| model.is_counted(name));
        if let Err(error) = self.at.assume(model.assumed.iter().filter(told)) {
            return End::Sizes(error);
        }
        let mut frame = self.frame();
        let at = RefCell::new(&mut self.at);
        let size = |size: &Dim| size.eval(&at.borrow().symbols).unwrap_or(0);
        let kernel = |frame: &mut Frame, i: usize| {
            let kernel = &model.kernels[i];
            frame.sizes = at.borrow().sizes[kernel.row..].as_ptr();
            let steps = (size(&kernel.steps), kernel.grain.as_ref().map(size));
            // SAFETY: the frame is the one that a run of this model makes, of memory that the caller vouches for.
            if !unsafe { kernel.call(frame, steps, model.pool.as_ref(), stop) } {
                return Err(End::Stopped);
            }
            let status = frame.status;
            if status != Status::Ok as i64 {
                return Err(End::Failed { kernel: i, status });
            }
            // SAFETY: the kernel has just run on this frame.
            unsafe { at.borrow_mut().count(model, frame, i) }
                .map_err(|error| End::Sizes(error.at(&kernel.node, "")))
        };
        let Steering { regions, steps } = &model.steering;
        let mut walk = Walk { frame: &mut frame, kernel, size };
        regions::run(regions, steps, &mut walk).err().unwrap_or(End::Done)
    }

    /// Runs kernel `i` alone, on one thread.
    ///
    /// # Safety
    ///
    /// That of [`Runner::launch`].
    pub(super) unsafe fn run_alone(&mut self, i: usize) {
        let kernel = &self.model.kernels[i];
        let mut frame = self.frame();
        frame.sizes = self.at.sizes[kernel.row..].as_ptr();
        let steps = self.size(&kernel.steps);
        // SAFETY: as in `run_each`.
        unsafe { kernel.call(&mut frame, (steps, None), None, None) };
    }

    fn frame(&mut self) -> Frame {
        Frame {
            arena: self.arena.pointer(),
            weights: self.model.weights.bytes().as_ptr().cast(),
            inputs: self.inputs.as_ptr(),
            outputs: self.outputs.as_ptr(),
            status: Status::Ok as i64,
            places: std::ptr::null(),
            sizes: std::ptr::null(),
        }
    }

    fn size(&self, size: &Dim) -> i64 {
        size.eval(&self.at.symbols).unwrap_or(0)
    }

    /// The error of a run that ended because of its sizes: it runs once more, kernel by kernel, to tell which.
    ///
    /// # Safety
    ///
    /// That of [`Runner::launch`].
    unsafe fn size_error(&mut self) -> Error {
        // SAFETY: the caller's promise.
        match unsafe { self.run_each(None) } {
            End::Sizes(error) => error,
            _ => Error::invalid(format!(
                "the run ended with a status: {}",
                Status::DimensionOutOfBounds.meaning()
            )),
        }
    }

    /// Which kernel met an index outside its axis: the run is done again, kernel by kernel.
    ///
    /// # Safety
    ///
    /// That of [`Runner::launch`].
    unsafe fn index_error(&mut self) -> Error {
        let model = self.model;
        // SAFETY: the caller's promise.
        let met = match unsafe { self.run_each(None) } {
            End::Failed { kernel, .. } => Some(kernel),
            _ => None,
        };
        let meaning = Status::IndexOutOfRange.meaning();
        let Some(kernel) = met.map(|i| &model.kernels[i]) else { return Error::invalid(meaning) };
        let message = match kernel.gathers.is_empty() {
            true => meaning.to_owned(),
            false => format!("{meaning}: {}", kernel.gathers.join(", or ")),
        };
        let error = Error { kind: ErrorKind::IndexOutOfRange, ..Error::invalid(message) };
        error.at(&kernel.node, "").hint("give indices that are inside")
    }
}

/// How a run ends in which kernels are called one by one.
enum End {
    Done,
    /// Open dimensions do not agree, or one that was counted is outside its bounds.
    Sizes(Error),
    /// Somebody asked for it.
    Stopped,
    /// A kernel left a status.
    Failed {
        kernel: usize,
        status: i64,
    },
}

impl Drop for Runner<'_> {
    /// Leaves the arena to the next one.
    fn drop(&mut self) {
        let arena = std::mem::take(&mut self.arena);
        self.model.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
    }
}

/// Memory for each port's largest size.
pub(super) fn memory(model: &Model, ports: &[Port]) -> Result<Vec<Lines>> {
    ports.iter().map(|p| Lines::new(port_bytes(p, &model.bounds)?)).collect()
}

fn count(what: &str, needed: usize, given: usize) -> Result<()> {
    if needed == given {
        return Ok(());
    }
    Err(Error::invalid(format!("the model has {needed} {what}s, {given} are given")))
}
