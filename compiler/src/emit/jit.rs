//! A model as code in this process.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cranelift_module::FuncId;
use kiln_ir::dim::Symbols;
use kiln_ir::kernel::plan::{Plan, Port};
use kiln_ir::tensor::Element;
use kiln_ir::{Bound, Bounds, Dim, Error, ErrorKind, Result, Shape, Tensor, TensorType};
use kiln_runtime::abi::{Frame, RunParallel, RunParallelOpen};
use kiln_runtime::pool::Pool;
use kiln_runtime::status::Status;
use kiln_targets::Target;
use kiln_targets::call::Kernel;
use kiln_targets::isa;

use super::gathers::gathers;
use super::host::Code;
pub use super::host::check_host;
use super::image::{Data, Image};
pub use super::ports::PortKey;
use super::ports::{of_type, port_bytes, shape_at};
use crate::codegen::{self, weights_symbol};
use crate::error::Error as ApiError;
use crate::lines::Lines;
use crate::variant::Variant;

/// One kernel of a [`Model`], for profiles.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct KernelInfo {
    /// Its name in the plan.
    pub name: String,
    /// Size of its code.
    pub code_bytes: usize,
    /// What it reads by indices that arrive at run time, in words, and the node that does.
    gathers: Vec<String>,
    node: String,
    /// Of a function that others share: where this kernel's operands lie.
    places: Vec<i64>,
    function: *const u8,
    steps: Dim,
    /// Steps that a thread takes at a time.
    grain: Option<i64>,
    /// Where its row begins in the table of sizes.
    row: usize,
}

/// A compiled model in memory. It may run on several threads at once: every run has an arena of its own.
///
/// ```
/// # fn main() -> Result<(), kiln_compiler::Error> {
/// use kiln_compiler::{Compiler, DType, Tensor};
///
/// let model = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").jit(1)?;
/// let port = &model.inputs()[0];
/// let shape = port.ty.shape.as_const().unwrap();
/// assert_eq!(port.ty.dtype, DType::F32);
/// let outputs = model.run(&[Tensor::zeros(DType::F32, &shape)])?;
/// assert_eq!(outputs[0].shape, [1, 10]);
/// let probabilities = outputs[0].as_slice::<f32>().unwrap();
/// assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    // Owns what the pointers below point to.
    _code: Code,
    run: Run,
    kernels: Vec<KernelInfo>,
    /// There are regions.
    steered: bool,
    /// The open dimensions.
    bounds: Bounds,
    /// The table of sizes.
    sizes: Vec<Dim>,
    weights: Data,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    arena_bytes: usize,
    code_bytes: usize,
    arenas: Mutex<Vec<Lines>>,
    pool: Option<Pool>,
}

// SAFETY: code and weights are never written after construction, function pointers are plain addresses, and the
// arenas are behind a mutex.
unsafe impl Send for Model {}
// SAFETY: as above; `run` only reads the model.
unsafe impl Sync for Model {}

impl Model {
    /// Compiles a plan for this machine. `threads` are those that a run may use, the caller's included.
    ///
    /// Errors when the target needs a feature that this machine lacks.
    #[doc(hidden)]
    pub fn new(plan: Plan, target: &Target, threads: usize) -> Result<Self> {
        Self::verified(plan, target, threads, cfg!(debug_assertions))
    }

    /// The same; `verify` lets Cranelift check each function before it compiles it.
    #[doc(hidden)]
    pub fn verified(plan: Plan, target: &Target, threads: usize, verify: bool) -> Result<Self> {
        check_host(target)?;
        let name = "model";
        let mut weights = Lines::new(plan.weights_bytes)?;
        let mut plan = plan;
        for weight in std::mem::take(&mut plan.weights) {
            weights.bytes_mut()[weight.offset_bytes..][..weight.tensor.data.len()]
                .copy_from_slice(&weight.tensor.data);
        }
        let symbol = weights_symbol(name);
        let mut code = Code::new(target, verify, &[(&symbol, weights.pointer() as *const u8)])?;
        let variant = Variant { plan: &plan, target };
        let built = codegen::build(code.module()?, &[variant], name, isa::Code::Jit)?;
        let of_kernels = || built.kernels.iter().flat_map(|k| &k.functions);
        let table: Vec<i64> = built.kernels.iter().flat_map(|k| &k.table).copied().collect();
        let ids: Vec<FuncId> = of_kernels().map(|k| k.id).chain([built.run_parallel]).collect();
        let mut functions = code.finish(&ids)?;
        let run = functions.pop().ok_or_else(|| Error::internal("a model without a function"))?;
        let kernels = plan.kernels.iter().zip(of_kernels()).zip(functions);
        let kernels = kernels.map(|((planned, kernel), function)| KernelInfo {
            name: planned.name.clone(),
            code_bytes: kernel.code_bytes,
            gathers: gathers(planned),
            node: if let [node] = &planned.nodes[..] { node.clone() } else { planned.name.clone() },
            places: kernel.row.clone().map_or_else(Vec::new, |row| table[row].to_vec()),
            function,
            steps: kernel.steps.clone(),
            grain: planned.grain.map(i64::from),
            row: kernel.sizes,
        });
        let kernels = kernels.collect();
        // SAFETY: `codegen::build` made this function with exactly this signature.
        let run = unsafe {
            match plan.bounds.is_empty() {
                true => Run::Fixed(std::mem::transmute::<*const u8, RunParallel>(run)),
                false => Run::Open(std::mem::transmute::<*const u8, RunParallelOpen>(run)),
            }
        };
        Ok(Self {
            _code: code,
            run,
            kernels,
            steered: !plan.regions.is_empty(),
            weights: Data::Own(weights),
            bounds: plan.bounds,
            sizes: plan.sizes,
            inputs: plan.inputs,
            outputs: plan.outputs,
            arena_bytes: plan.arena_bytes,
            code_bytes: built.code_bytes,
            arenas: Mutex::default(),
            pool: pool(threads)?,
        })
    }

    /// A model of its bytes; read-only data is used where it lies. `target` is what they were made for.
    #[doc(hidden)]
    pub fn from_image(image: Image, target: &Target, threads: usize) -> Result<Self> {
        check_host(target)?;
        let damaged = || Error::internal("a compiled model whose parts do not fit each other");
        let Image { description, code: bytes, data } = image;
        let mut code = Code::new(target, false, &[])?;
        let mut ids = Vec::with_capacity(description.functions.len());
        for (i, range) in description.functions.iter().enumerate() {
            let function = bytes.get(range.at..range.at + range.bytes).ok_or_else(damaged)?;
            ids.push(code.kernel(&format!("function_{i}"), function)?);
        }
        let functions = code.finish(&ids)?;
        let mut kernels = Vec::with_capacity(description.kernels.len());
        for entry in description.kernels {
            let function = *functions.get(entry.function).ok_or_else(damaged)?;
            kernels.push(KernelInfo {
                name: entry.name,
                code_bytes: description.functions[entry.function].bytes,
                gathers: entry.gathers,
                node: entry.node,
                places: entry.places,
                function,
                steps: Dim::Const(entry.steps),
                grain: entry.grain.map(i64::from),
                row: 0,
            });
        }
        let ports =
            |list: &[super::image::Declared]| list.iter().map(|d| d.port()).collect::<Option<Vec<_>>>();
        Ok(Self {
            _code: code,
            run: Run::Kernels,
            kernels,
            steered: false,
            weights: data,
            bounds: Bounds::default(),
            sizes: Vec::new(),
            inputs: ports(&description.inputs).ok_or_else(damaged)?,
            outputs: ports(&description.outputs).ok_or_else(damaged)?,
            arena_bytes: description.arena_bytes,
            code_bytes: bytes.len(),
            arenas: Mutex::default(),
            pool: pool(threads)?,
        })
    }

    /// Arguments in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Results in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Size of all code.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Size of the arena of one run.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Size of the read-only data.
    pub fn weights_bytes(&self) -> usize {
        self.weights.bytes().len()
    }

    /// The dimensions that each run has values of its own for, with their bounds. They follow from the shapes of the inputs.
    pub fn open_dimensions(&self) -> &Bounds {
        &self.bounds
    }

    /// The kernels in execution order.
    #[doc(hidden)]
    pub fn kernels(&self) -> &[KernelInfo] {
        &self.kernels
    }

    /// Runs the model on the inputs in their order; gives the outputs in theirs. Several threads may do so at once.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] names the input whose number, type or shape is wrong, or tells what the model's run ended
    /// with.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ApiError> {
        let mut session = self.session_with(inputs)?;
        session.run()?;
        session.outputs()
    }

    /// Memory for repeated runs: nothing is allocated between them. The inputs are zeros at first, and open dimensions have
    /// their greatest values: see [`Session::set_size`].
    ///
    /// # Errors
    ///
    /// [`ApiError::Environment`] where there is no memory for it.
    pub fn session(&self) -> Result<Session<'_>, ApiError> {
        let lines = |ports: &[Port]| {
            ports.iter().map(|p| Lines::new(port_bytes(p, &self.bounds)?)).collect::<Result<Vec<_>>>()
        };
        let (inputs, outputs) = (lines(&self.inputs)?, lines(&self.outputs)?);
        let spare = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let symbols: Symbols = self.bounds.iter().map(|(name, b)| (name.clone(), b.hi)).collect();
        let shapes = Shapes::at(self, &symbols)?;
        Ok(Session {
            model: self,
            values: symbols.values().copied().collect(),
            symbols,
            table: None,
            shapes,
            input_pointers: vec![std::ptr::null(); inputs.len()],
            output_pointers: vec![std::ptr::null_mut(); outputs.len()],
            inputs,
            outputs,
            arena: spare.map_or_else(|| Lines::new(self.arena_bytes), Ok)?,
        })
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
            session.resize(found.into_iter())?;
        }
        for (i, tensor) in inputs.iter().enumerate() {
            session.set_input(i, tensor)?;
        }
        Ok(session)
    }
}

impl KernelInfo {
    /// Runs it completely, in parts where threads could share it; whether it came to the end before somebody asked it to
    /// stop. The parts are the same for any number of threads.
    ///
    /// # Safety
    ///
    /// The frame's pointers are to the memory of a run of this kernel's model.
    unsafe fn call(&self, frame: &mut Frame, pool: Option<&Pool>, stop: Option<&AtomicBool>) -> bool {
        frame.places = self.places.as_ptr();
        // SAFETY: kernels have this signature and convention.
        let function = unsafe { std::mem::transmute::<*const u8, Kernel<Frame>>(self.function) };
        let stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if stopped() {
            return false;
        }
        let steps = self.steps.as_const().unwrap_or(0);
        let grain = self.grain.filter(|_| pool.is_some() || stop.is_some());
        // Who may be stopped looks for that more often than threads take new work.
        let grain =
            grain.map(|grain| if stop.is_some() { grain.min(steps / MOST_PARTS).max(1) } else { grain });
        let grain = grain.filter(|grain| *grain < steps);
        let Some(grain) = grain else {
            // SAFETY: the caller's promise.
            unsafe { function(frame, 0, steps) };
            return true;
        };
        let parts = Parts { function, frame, steps, grain, stop };
        let count = ((steps + grain - 1) / grain) as usize;
        let closure = std::ptr::from_ref(&parts).cast_mut().cast();
        match pool {
            // SAFETY: parts of a kernel may run at once, they live through the call, and kernels do not unwind.
            Some(pool) => unsafe { pool.run(part, closure, count) },
            // SAFETY: the same, one after the other.
            None => (0..count).for_each(|i| unsafe { part(closure, i) }),
        }
        !stopped()
    }
}

/// Parts of a kernel that may be stopped between any two.
const MOST_PARTS: i64 = 64;

/// A kernel in parts.
struct Parts<'a> {
    function: Kernel<Frame>,
    frame: *mut Frame,
    steps: i64,
    grain: i64,
    stop: Option<&'a AtomicBool>,
}

/// Runs part `i`.
///
/// # Safety
///
/// `closure` points to [`Parts`] whose frame is that of a run.
unsafe extern "C" fn part(closure: *mut c_void, i: usize) {
    // SAFETY: the caller's promise.
    let parts = unsafe { &*closure.cast::<Parts<'_>>() };
    if parts.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        return;
    }
    let begin = i as i64 * parts.grain;
    // SAFETY: the caller's promise.
    unsafe { (parts.function)(parts.frame, begin, parts.steps.min(begin + parts.grain)) };
}

fn pool(threads: usize) -> Result<Option<Pool>> {
    let failed = |e| Error::environment(format!("cannot start {threads} threads: {e}"));
    if threads > 1 { Pool::new(threads).map(Some).map_err(failed) } else { Ok(None) }
}

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
    model: &'a Model,
    /// The open dimensions, and their values in the order of their names.
    symbols: Symbols,
    /// The plan's table of sizes for them, where a kernel has run alone.
    table: Option<Vec<i64>>,
    values: Vec<i64>,
    shapes: Shapes,
    inputs: Vec<Lines>,
    outputs: Vec<Lines>,
    arena: Lines,
    // Set for every run.
    input_pointers: Vec<*const c_void>,
    output_pointers: Vec<*mut c_void>,
}

// SAFETY: the pointers are set for each run, to memory that the session owns; what it borrows may be shared.
unsafe impl Send for Session<'_> {}

impl Session<'_> {
    /// Gives an open dimension the value that it has from now on. Inputs and outputs then have shapes that follow from it;
    /// what inputs held is of no meaning any more.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such open dimension, or the value is outside its bounds.
    pub fn set_size(&mut self, dimension: &str, value: usize) -> Result<(), ApiError> {
        let Some((name, _)) = self.model.bounds.get_key_value(dimension) else {
            let all: Vec<&str> = self.model.bounds.keys().map(|name| &**name).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let error = Error::invalid(format!("the model has no open dimension '{dimension}'"));
            return Err(error.hint(format!("its open dimensions: {all}")).into());
        };
        Ok(self.resize([(name.clone(), i64::try_from(value).unwrap_or(i64::MAX))].into_iter())?)
    }

    fn resize(&mut self, sizes: impl Iterator<Item = (Arc<str>, i64)>) -> Result<()> {
        let mut symbols = self.symbols.clone();
        for (name, value) in sizes {
            let Some(Bound { lo, hi, .. }) = self.model.bounds.get(&name) else { continue };
            if !(lo..=hi).contains(&&value) {
                return Err(Error::invalid(format!("dimension '{name}' is {value}, outside {lo}..{hi}")));
            }
            symbols.insert(name, value);
        }
        self.shapes = Shapes::at(self.model, &symbols)?;
        self.values = symbols.values().copied().collect();
        self.symbols = symbols;
        self.table = None;
        Ok(())
    }

    /// The elements of an input, to be written: zeros at first, then what was written last.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input, or one of another type than `T`; see
    /// [`input_bytes`](Self::input_bytes) for bools.
    pub fn input<'k, T: Element>(&mut self, which: impl Into<PortKey<'k>>) -> Result<&mut [T], ApiError> {
        let i = which.into().find(&self.model.inputs, "input")?;
        of_type::<T>(&self.model.inputs[i], "input")?;
        Ok(bytemuck::cast_slice_mut(self.input_bytes(i)?))
    }

    /// The bytes of an input, as [`Tensor::data`] has them: little-endian, a byte per bool.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input.
    pub fn input_bytes<'k>(&mut self, which: impl Into<PortKey<'k>>) -> Result<&mut [u8], ApiError> {
        let i = which.into().find(&self.model.inputs, "input")?;
        let bytes = bytes_of(&self.model.inputs[i], &self.shapes.inputs[i]);
        Ok(&mut self.inputs[i].bytes_mut()[..bytes])
    }

    /// Copies a tensor to an input.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such input, or one of another type or shape.
    pub fn set_input<'k>(&mut self, which: impl Into<PortKey<'k>>, tensor: &Tensor) -> Result<(), ApiError> {
        let i = which.into().find(&self.model.inputs, "input")?;
        let port = &self.model.inputs[i];
        if port.ty.dtype != tensor.dtype || self.shapes.inputs[i] != tensor.shape {
            let now = TensorType::new(port.ty.dtype, Shape::of(&self.shapes.inputs[i]));
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
        if let Run::Kernels = self.model.run {
            return self.run_each(None).map(|_| ());
        }
        self.point();
        let pool = self.model.pool.as_ref();
        let context = pool.map_or(std::ptr::null_mut(), |p| std::ptr::from_ref(p).cast_mut().cast());
        // SAFETY: the pointers are to live memory of the sizes that the plan states, the arena is aligned to 64
        // bytes and used by this session alone, and the pool outlives the call.
        let status = unsafe {
            let (inputs, outputs) = (self.input_pointers.as_ptr(), self.output_pointers.as_ptr());
            let (arena, parallel_for) = (self.arena.pointer(), pool.map(|_| Pool::parallel_for as _));
            match self.model.run {
                Run::Fixed(run) => run(inputs, outputs, arena, parallel_for, context),
                Run::Open(run) => {
                    run(inputs, outputs, arena, self.values.as_mut_ptr(), parallel_for, context)
                }
                // Done above.
                Run::Kernels => Status::Ok as i32,
            }
        };
        self.ended(i64::from(status))
    }

    /// What the status of a run means.
    fn ended(&mut self, status: i64) -> Result<(), ApiError> {
        match i32::try_from(status).ok().and_then(Status::from_code) {
            Some(Status::Ok) => Ok(()),
            Some(Status::IndexOutOfRange) => Err(self.index_error().into()),
            Some(status) => {
                Err(Error::invalid(format!("the run ended with a status: {}", status.meaning())).into())
            }
            None => Err(Error::internal(format!("the run returned the unknown status {status}")).into()),
        }
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
        match self.model.run {
            // What the entry checks of sizes is checked there.
            Run::Open(_) => {
                let asked = stop.load(Ordering::Relaxed);
                if asked { Ok(false) } else { self.run().map(|()| true) }
            }
            // Branches and loops are in the function.
            Run::Fixed(_) if self.model.steered => {
                let asked = stop.load(Ordering::Relaxed);
                if asked { Ok(false) } else { self.run().map(|()| true) }
            }
            Run::Fixed(_) | Run::Kernels => self.run_each(Some(stop)),
        }
    }

    /// Calls the kernels one after the other.
    fn run_each(&mut self, stop: Option<&AtomicBool>) -> Result<bool, ApiError> {
        self.point();
        let model = self.model;
        let mut frame = Frame {
            arena: self.arena.pointer(),
            weights: model.weights.bytes().as_ptr().cast(),
            inputs: self.input_pointers.as_ptr(),
            outputs: self.output_pointers.as_ptr(),
            status: Status::Ok as i64,
            places: std::ptr::null(),
            sizes: std::ptr::null(),
        };
        for kernel in &model.kernels {
            // SAFETY: the frame is the one that a run of this model makes, of memory of the sizes that the ports state;
            // without open dimensions no kernel reads sizes.
            if !unsafe { kernel.call(&mut frame, model.pool.as_ref(), stop) } {
                return Ok(false);
            }
        }
        self.ended(frame.status).map(|()| true)
    }

    /// The model that runs.
    pub fn model(&self) -> &Model {
        self.model
    }

    /// Extents of input `i` as they are now.
    #[cfg(feature = "ndarray")]
    pub(super) fn input_shape(&self, i: usize) -> &[usize] {
        &self.shapes.inputs[i]
    }

    /// Extents of output `i` as they are now.
    #[cfg(feature = "ndarray")]
    pub(super) fn output_shape(&self, i: usize) -> &[usize] {
        &self.shapes.outputs[i]
    }

    /// Which kernel met an index outside its axis: the run is done again, kernel by kernel.
    fn index_error(&mut self) -> Error {
        let met = (0..self.model.kernels.len()).find(|&i| self.run_alone(i) != Status::Ok as i64);
        let meaning = Status::IndexOutOfRange.meaning();
        let Some(kernel) = met.map(|i| &self.model.kernels[i]) else { return Error::invalid(meaning) };
        let message = match kernel.gathers.is_empty() {
            true => meaning.to_owned(),
            false => format!("{meaning}: {}", kernel.gathers.join(", or ")),
        };
        let error = Error { kind: ErrorKind::IndexOutOfRange, ..Error::invalid(message) };
        error.at(&kernel.node, "").hint("give indices that are inside")
    }

    /// The elements of an output, as the last run left them.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such output, or one of another type than `T`; see
    /// [`output_bytes`](Self::output_bytes) for bools.
    pub fn output<'k, T: Element>(&self, which: impl Into<PortKey<'k>>) -> Result<&[T], ApiError> {
        let i = which.into().find(&self.model.outputs, "output")?;
        of_type::<T>(&self.model.outputs[i], "output")?;
        Ok(bytemuck::cast_slice(self.output_bytes(i)?))
    }

    /// The bytes of an output, as [`Tensor::data`] has them: little-endian, a byte per bool.
    ///
    /// # Errors
    ///
    /// [`ApiError::Invalid`] where the model has no such output.
    pub fn output_bytes<'k>(&self, which: impl Into<PortKey<'k>>) -> Result<&[u8], ApiError> {
        let i = which.into().find(&self.model.outputs, "output")?;
        let bytes = bytes_of(&self.model.outputs[i], &self.shapes.outputs[i]);
        Ok(&self.outputs[i].bytes()[..bytes])
    }

    /// Copies of all outputs, as the last run left them.
    ///
    /// # Errors
    ///
    /// None, for models that [`Compiler::jit`](crate::Compiler::jit) made.
    pub fn outputs(&self) -> Result<Vec<Tensor>, ApiError> {
        let copy = |(i, port): (usize, &Port)| {
            let shape = self.shapes.outputs[i].clone();
            Ok(Tensor::new(port.ty.dtype, shape, Bytes::copy_from_slice(self.output_bytes(i)?))?)
        };
        self.model.outputs.iter().enumerate().map(copy).collect()
    }

    /// Runs kernel `i` alone, on one thread, after a complete run has left its operands in the arena.
    #[doc(hidden)]
    pub fn run_kernel(&mut self, i: usize) {
        self.run_alone(i);
    }

    /// The same; gives the number of its status.
    fn run_alone(&mut self, i: usize) -> i64 {
        self.point();
        let kernel = &self.model.kernels[i];
        let size = |size: &Dim| size.eval(&self.symbols).unwrap_or(0);
        let table = self.table.get_or_insert_with(|| self.model.sizes.iter().map(size).collect());
        let (sizes, steps) = (&table[kernel.row..], size(&kernel.steps));
        let mut frame = Frame {
            arena: self.arena.pointer(),
            weights: self.model.weights.bytes().as_ptr().cast(),
            inputs: self.input_pointers.as_ptr(),
            outputs: self.output_pointers.as_ptr(),
            status: Status::Ok as i64,
            places: kernel.places.as_ptr(),
            sizes: sizes.as_ptr(),
        };
        // SAFETY: kernels have this signature and convention; the frame is the one that `run` would make.
        unsafe {
            let function = std::mem::transmute::<*const u8, Kernel<Frame>>(kernel.function);
            function(&raw mut frame, 0, steps);
        }
        frame.status
    }

    /// Sets the pointers to where inputs and outputs are.
    fn point(&mut self) {
        for (pointer, lines) in self.input_pointers.iter_mut().zip(&mut self.inputs) {
            *pointer = lines.pointer().cast_const();
        }
        for (pointer, lines) in self.output_pointers.iter_mut().zip(&mut self.outputs) {
            *pointer = lines.pointer();
        }
    }
}

/// The function that the host calls.
#[derive(Clone, Copy)]
enum Run {
    Fixed(RunParallel),
    /// Of a model with open dimensions.
    Open(RunParallelOpen),
    /// There is none: the kernels of an [`Image`] are called one by one.
    Kernels,
}

/// Shapes of inputs and outputs, for values of the open dimensions.
struct Shapes {
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
}

impl Shapes {
    fn at(model: &Model, symbols: &Symbols) -> Result<Self> {
        let all = |ports: &[Port]| ports.iter().map(|p| shape_at(p, symbols)).collect::<Result<Vec<_>>>();
        Ok(Self { inputs: all(&model.inputs)?, outputs: all(&model.outputs)? })
    }
}

/// The size of a port's elements when it has that shape.
fn bytes_of(port: &Port, shape: &[usize]) -> usize {
    port.ty.dtype.bytes_of(shape.iter().product())
}

impl Drop for Session<'_> {
    /// Leaves the arena to the next session.
    fn drop(&mut self) {
        let arena = std::mem::take(&mut self.arena);
        self.model.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
    }
}
