//! A model as code in this process.

#![allow(unsafe_code)]

use std::sync::Mutex;

use cranelift_module::FuncId;
use kiln_ir::kernel::plan::{Counted, Plan, Port};
use kiln_ir::{Bounds, Dim, Error, Result};
use kiln_runtime::abi::{RunParallel, RunParallelOpen};
use kiln_runtime::pool::Pool;
use kiln_targets::Target;
use kiln_targets::isa;

use super::gathers::gathers;
use super::host::Code;
pub use super::host::check_host;
use super::image::{Data, Image};
pub use super::kernels::KernelInfo;
use super::ports::port_bytes;
use super::steer::{Room, Steering};
use crate::codegen::{self, weights_symbol};
use crate::lines::Lines;
use crate::variant::Variant;

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
    pub(super) run: Run,
    pub(super) kernels: Vec<KernelInfo>,
    /// In which order they run.
    pub(super) steering: Steering,
    /// The open dimensions.
    pub(super) bounds: Bounds,
    /// Those of them that a run counts.
    pub(super) counted: Vec<Counted>,
    /// The table of sizes.
    pub(super) sizes: Vec<Dim>,
    /// Expressions of them that must be 0 in every run.
    pub(super) assumed: Vec<Dim>,
    pub(super) weights: Data,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) arena_bytes: usize,
    code_bytes: usize,
    pub(super) arenas: Mutex<Vec<Lines>>,
    pub(super) pool: Option<Pool>,
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
        let steering = Steering::of(&plan)?;
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
            grain: planned.grain.clone(),
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
            steering,
            weights: Data::Own(weights),
            bounds: plan.bounds,
            counted: plan.counted,
            sizes: plan.sizes,
            assumed: plan.assumed,
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
        let (sizes, assumed) =
            (description.sizes().ok_or_else(damaged)?, description.assumed().ok_or_else(damaged)?);
        let (bounds, counted) = (description.bounds(), description.counted());
        let fits = |c: &Counted| {
            let within = c.offset_bytes.checked_add(8).is_some_and(|end| end <= description.arena_bytes);
            within && c.offset_bytes.is_multiple_of(8) && c.after < description.kernels.len()
        };
        if !counted.iter().all(fits) {
            return Err(damaged());
        }
        for entry in description.kernels {
            let (steps, grain) = entry.steps().zip(entry.grain()).ok_or_else(damaged)?;
            let function = *functions.get(entry.function).ok_or_else(damaged)?;
            kernels.push(KernelInfo {
                name: entry.name,
                code_bytes: description.functions[entry.function].bytes,
                gathers: entry.gathers,
                node: entry.node,
                places: entry.places,
                function,
                steps,
                grain,
                row: entry.row,
            });
        }
        let ports =
            |list: &[super::image::Declared]| list.iter().map(|d| d.port()).collect::<Option<Vec<_>>>();
        let inputs = ports(&description.inputs).ok_or_else(damaged)?;
        let outputs = ports(&description.outputs).ok_or_else(damaged)?;
        let sizes_of =
            |list: &[Port]| list.iter().map(|p| port_bytes(p, &bounds)).collect::<Result<Vec<usize>>>();
        let room = Room {
            arena: description.arena_bytes,
            weights: data.bytes().len(),
            inputs: &sizes_of(&inputs)?,
            outputs: &sizes_of(&outputs)?,
        };
        let steering = description.regions.steering(kernels.len(), &room).ok_or_else(damaged)?;
        Ok(Self {
            _code: code,
            run: Run::Kernels,
            kernels,
            steering,
            weights: data,
            bounds,
            counted,
            sizes,
            assumed,
            inputs,
            outputs,
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

    /// The dimensions that each run has values of its own for, with their bounds. They follow from the shapes of the inputs,
    /// but for [sizes that are counted](Model::is_counted).
    pub fn open_dimensions(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether a dimension is a size that depends on data: a run tells it.
    pub fn is_counted(&self, dimension: &str) -> bool {
        self.counted.iter().any(|c| *c.name == *dimension)
    }

    /// The kernels in execution order.
    #[doc(hidden)]
    pub fn kernels(&self) -> &[KernelInfo] {
        &self.kernels
    }

    /// The machine code of kernel `i` where it lies: several may share it.
    #[doc(hidden)]
    pub fn machine_code(&self, i: usize) -> &[u8] {
        let kernel = &self.kernels[i];
        // SAFETY: the function has so many bytes, which are never written again and live as long as the model; pages of
        // code can be read.
        unsafe { std::slice::from_raw_parts(kernel.function, kernel.code_bytes) }
    }
}

fn pool(threads: usize) -> Result<Option<Pool>> {
    let failed = |e| Error::environment(format!("cannot start {threads} threads: {e}"));
    if threads > 1 { Pool::new(threads).map(Some).map_err(failed) } else { Ok(None) }
}

/// The function that the host calls.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Fixed(RunParallel),
    /// Of a model with open dimensions.
    Open(RunParallelOpen),
    /// There is none: the kernels of an [`Image`] are called one by one.
    Kernels,
}
