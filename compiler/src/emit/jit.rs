//! A model as code in this process.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Mutex;

use bytes::Bytes;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, ModuleError, default_libcall_names};
use kiln_ir::kernel::plan::{FlatAccess, Gather, Plan, PlannedKernel, Port};
use kiln_ir::{Error, Result, Tensor};
use kiln_runtime::abi::{Frame, RunParallel};
use kiln_runtime::pool::Pool;
use kiln_runtime::status::Status;
use kiln_targets::Target;
use kiln_targets::call::Kernel;
use kiln_targets::isa::{self, isa};

use crate::codegen::{self, weights_symbol};
use crate::variant::Variant;

/// Address space reserved for code: kernels are kilobytes, so this is never the limit, and it keeps every call
/// within the reach of a relative branch.
const CODE_RESERVE_BYTES: usize = 1 << 28;

/// Memory on cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: plain bytes without padding.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: plain bytes without padding.
unsafe impl bytemuck::Pod for Line {}

/// Zeroed memory of at least `bytes` bytes, aligned to 64.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn new(bytes: usize) -> Result<Self> {
        let lines = bytemuck::allocation::try_zeroed_vec(bytes.div_ceil(64));
        lines.map(Self).map_err(|()| Error::environment(format!("there is no memory for {bytes} bytes")))
    }

    fn bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    fn pointer(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// Functions in memory: defined through the module, then run. They live as long as this.
pub(super) struct Code {
    // `None` only while dropping.
    module: Option<JITModule>,
}

impl Code {
    /// Nothing yet, for a machine; `symbols` are data that functions may name.
    pub(super) fn new(target: &Target, verify: bool, symbols: &[(&str, *const u8)]) -> Result<Self> {
        let mut builder = JITBuilder::with_isa(isa(target, isa::Code::Jit, verify)?, default_libcall_names());
        let memory = ArenaMemoryProvider::new_with_size(CODE_RESERVE_BYTES)
            .map_err(|e| Error::environment(format!("there is no address space for code: {e}")))?;
        builder.memory_provider(Box::new(memory));
        symbols.iter().for_each(|(name, address)| {
            builder.symbol(*name, *address);
        });
        Ok(Self { module: Some(JITModule::new(builder)) })
    }

    /// Where functions are defined.
    pub(super) fn module(&mut self) -> Result<&mut JITModule> {
        self.module.as_mut().ok_or_else(|| Error::internal("code that is being dropped"))
    }

    /// Makes the defined functions executable and gives the addresses of some.
    pub(super) fn finish(&mut self, functions: &[FuncId]) -> Result<Vec<*const u8>> {
        let module = self.module()?;
        module.finalize_definitions().map_err(|e| match e {
            ModuleError::Allocation { .. } => Error::environment(format!("there is no memory for code: {e}")),
            e => Error::internal(format!("finishing code: {e}")),
        })?;
        Ok(functions.iter().map(|id| module.get_finalized_function(*id)).collect())
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: whoever calls the functions owns this, so that no call outlives it.
            unsafe { module.free_memory() };
        }
    }
}

/// One kernel of a [`Model`], for profiles.
#[derive(Clone, Debug)]
pub struct KernelInfo {
    /// Its name in the plan.
    pub name: String,
    /// Size of its code.
    pub code_bytes: usize,
    /// What it reads by indices that arrive at run time, in words, and the node that does.
    gathers: Vec<String>,
    node: String,
    function: *const u8,
    steps: i64,
}

/// A compiled model in memory. It may run on several threads at once: every run has an arena of its own.
pub struct Model {
    // Owns what the pointers below point to.
    _code: Code,
    run: RunParallel,
    kernels: Vec<KernelInfo>,
    weights: Lines,
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
    pub fn new(plan: Plan, target: &Target, threads: usize) -> Result<Self> {
        Self::verified(plan, target, threads, cfg!(debug_assertions))
    }

    /// The same; `verify` lets Cranelift check each function before it compiles it.
    pub fn verified(plan: Plan, target: &Target, threads: usize, verify: bool) -> Result<Self> {
        check_host(target)?;
        let name = "model";
        let mut weights = Lines::new(plan.weights_bytes)?;
        let mut plan = plan;
        for weight in std::mem::take(&mut plan.weights) {
            weights.bytes()[weight.offset_bytes..][..weight.tensor.data.len()]
                .copy_from_slice(&weight.tensor.data);
        }
        let symbol = weights_symbol(name);
        let mut code = Code::new(target, verify, &[(&symbol, weights.pointer() as *const u8)])?;
        let variant = Variant { plan: &plan, target };
        let built = codegen::build(code.module()?, &[variant], name, isa::Code::Jit)?;
        let of_kernels = || built.kernels.iter().flatten();
        let ids: Vec<FuncId> = of_kernels().map(|k| k.id).chain([built.run_parallel]).collect();
        let mut functions = code.finish(&ids)?;
        let run = functions.pop().ok_or_else(|| Error::internal("a model without a function"))?;
        let kernels = plan.kernels.iter().zip(of_kernels()).zip(functions);
        let kernels = kernels.map(|((planned, kernel), function)| KernelInfo {
            name: planned.name.clone(),
            code_bytes: kernel.code_bytes,
            gathers: gathers(planned),
            node: if let [node] = &planned.nodes[..] { node.clone() } else { planned.name.clone() },
            function,
            steps: kernel.steps,
        });
        let kernels = kernels.collect();
        // SAFETY: `codegen::build` made this function with exactly this signature.
        let run = unsafe { std::mem::transmute::<*const u8, RunParallel>(run) };
        let pool = if threads > 1 {
            Some(
                Pool::new(threads)
                    .map_err(|e| Error::environment(format!("cannot start {threads} threads: {e}")))?,
            )
        } else {
            None
        };
        Ok(Self {
            _code: code,
            run,
            kernels,
            weights,
            inputs: plan.inputs,
            outputs: plan.outputs,
            arena_bytes: plan.arena_bytes,
            code_bytes: built.code_bytes,
            arenas: Mutex::default(),
            pool,
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
        self.weights.0.len() * 64
    }

    /// The kernels in execution order.
    pub fn kernels(&self) -> &[KernelInfo] {
        &self.kernels
    }

    /// Runs the model. Errors name the input whose number, type or shape is wrong.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut session = self.session(inputs)?;
        session.run()?;
        session.into_outputs()
    }

    /// Memory for repeated runs on the same inputs: nothing is allocated between them.
    pub fn session(&self, inputs: &[Tensor]) -> Result<Session<'_>> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::invalid(format!(
                "the model has {} inputs, {} are given",
                self.inputs.len(),
                inputs.len()
            )));
        }
        for (port, tensor) in self.inputs.iter().zip(inputs) {
            if port.ty != tensor.ty() {
                return Err(Error::invalid(format!(
                    "input '{}' is {}, {} is given",
                    port.name,
                    port.ty,
                    tensor.ty()
                )));
            }
        }
        let copy = |t: &Tensor| {
            let mut lines = Lines::new(t.data.len())?;
            lines.bytes()[..t.data.len()].copy_from_slice(&t.data);
            Ok(lines)
        };
        let mut inputs = inputs.iter().map(copy).collect::<Result<Vec<Lines>>>()?;
        let mut outputs =
            self.outputs.iter().map(|p| Lines::new(port_bytes(p)?)).collect::<Result<Vec<_>>>()?;
        let spare = self.arenas.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let arena = spare.map_or_else(|| Lines::new(self.arena_bytes), Ok)?;
        Ok(Session {
            model: self,
            input_pointers: inputs.iter_mut().map(|l| l.pointer().cast_const()).collect(),
            output_pointers: outputs.iter_mut().map(Lines::pointer).collect(),
            _inputs: inputs,
            outputs,
            arena,
        })
    }
}

/// What a kernel reads or writes by indices that arrive at run time.
fn gathers(kernel: &PlannedKernel) -> Vec<String> {
    let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
    let told = |access: &FlatAccess| {
        let tell =
            |g: &Gather| format!("'{}' is an index into {} of '{}'", g.index.name, elements(g), access.name);
        access.gathers.iter().map(tell).collect::<Vec<_>>()
    };
    let mut list: Vec<String> = accesses.flat_map(told).collect();
    list.dedup();
    list
}

fn elements(gather: &Gather) -> String {
    match gather.extent.as_const() {
        Some(1) => "the one element of an axis".to_owned(),
        _ => format!("the {} elements of an axis", gather.extent),
    }
}

fn port_bytes(port: &Port) -> Result<usize> {
    let shape = port
        .ty
        .shape
        .as_const()
        .ok_or_else(|| Error::internal(format!("'{}' has an open shape", port.name)))?;
    Ok(port.ty.dtype.bytes_of(shape.iter().product()))
}

/// Refuses code that this machine could not run.
pub fn check_host(target: &Target) -> Result<()> {
    let host = kiln_targets::resolve("host", "native", "")?;
    if host.triple.architecture != target.triple.architecture {
        return Err(Error::invalid(format!(
            "code for {} does not run on this {} machine",
            target.triple, host.triple
        ))
        .hint("compile it to a library instead"));
    }
    let missing: Vec<_> = target.features.iter().filter(|f| !host.features.contains(f)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("this machine lacks {}", missing.join(", "))).hint("choose a lower --cpu"))
}

/// A model with inputs in place, an arena and room for the outputs.
pub struct Session<'a> {
    model: &'a Model,
    _inputs: Vec<Lines>,
    outputs: Vec<Lines>,
    arena: Lines,
    input_pointers: Vec<*const c_void>,
    output_pointers: Vec<*mut c_void>,
}

impl Session<'_> {
    /// Runs the model once.
    pub fn run(&mut self) -> Result<()> {
        let pool = self.model.pool.as_ref();
        let context = pool.map_or(std::ptr::null_mut(), |p| std::ptr::from_ref(p).cast_mut().cast());
        // SAFETY: the pointers are to live memory of the sizes that the plan states, the arena is aligned to 64
        // bytes and used by this session alone, and the pool outlives the call.
        let status = unsafe {
            (self.model.run)(
                self.input_pointers.as_ptr(),
                self.output_pointers.as_ptr(),
                self.arena.pointer(),
                pool.map(|_| Pool::parallel_for as _),
                context,
            )
        };
        match Status::from_code(status) {
            Some(Status::Ok) => Ok(()),
            Some(Status::IndexOutOfRange) => Err(self.index_error()),
            Some(status) => Err(Error::invalid(format!("the run ended with a status: {}", status.meaning()))),
            None => Err(Error::internal(format!("the run returned the unknown status {status}"))),
        }
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
        Error::invalid(message).at(&kernel.node, "").hint("give indices that are inside")
    }

    /// Runs kernel `i` alone, on one thread, after a complete run has left its operands in the arena.
    pub fn run_kernel(&mut self, i: usize) {
        self.run_alone(i);
    }

    /// The same; gives the number of its status.
    fn run_alone(&mut self, i: usize) -> i64 {
        let kernel = &self.model.kernels[i];
        let mut frame = Frame {
            arena: self.arena.pointer(),
            weights: self.model.weights.0.as_ptr().cast(),
            inputs: self.input_pointers.as_ptr(),
            outputs: self.output_pointers.as_ptr(),
            status: Status::Ok as i64,
        };
        // SAFETY: kernels have this signature and convention; the frame is the one that `run` would make.
        unsafe {
            let function = std::mem::transmute::<*const u8, Kernel<Frame>>(kernel.function);
            function(&raw mut frame, 0, kernel.steps);
        }
        frame.status
    }

    /// The outputs of the last run.
    pub fn into_outputs(mut self) -> Result<Vec<Tensor>> {
        let arena = std::mem::take(&mut self.arena);
        self.model.arenas.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(arena);
        let ports = self.model.outputs.iter().zip(std::mem::take(&mut self.outputs));
        ports
            .map(|(port, mut lines)| {
                let bytes = port_bytes(port)?;
                let shape = port.ty.shape.as_const().unwrap_or_default();
                Tensor::new(port.ty.dtype, shape, Bytes::copy_from_slice(&lines.bytes()[..bytes]))
            })
            .collect()
    }
}
