//! Code generation: obeys the plan, decides nothing.
//!
//! A model becomes one local function per kernel and the functions that its host calls. Everything is written
//! against Cranelift's `Module`, so an object file and memory get the same code.

mod constants;
mod function;
pub mod listing;
mod math;
mod nest;
mod run;
mod scalar;
#[cfg(test)]
mod scalar_tests;
mod tile;
mod transform;
mod transpose;
mod value;
pub mod vector;
mod veval;
pub mod vexpr;
mod walk;

use cranelift_codegen::ir::{AbiParam, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{DataId, FuncId, Linkage, Module};
use kiln_ir::kernel::plan::{Plan, PlannedKernel, Schedule};
use kiln_ir::{Error, Result};
use kiln_targets::Target;

/// A kernel's function.
#[derive(Clone, Debug)]
pub struct KernelFunction {
    /// `fn(frame, begin, end)`.
    pub id: FuncId,
    /// It is run completely by the range `0..shared`.
    pub shared: i64,
    /// Size of its code.
    pub code_bytes: usize,
}

/// What [`build`] put into the module.
#[derive(Debug)]
pub struct Built {
    /// `NAME_run`.
    pub run: FuncId,
    /// `NAME_run_parallel`.
    pub run_parallel: FuncId,
    /// The read-only data, declared and to be defined by the caller.
    pub weights: DataId,
    /// In the plan's order.
    pub kernels: Vec<KernelFunction>,
    /// Size of all code.
    pub code_bytes: usize,
}

/// The symbol of the read-only data.
pub fn weights_symbol(name: &str) -> String {
    format!("{name}_weights")
}

/// Compiles every kernel of a plan, and the functions that the host calls, into a module whose ISA is made for
/// `target`. `name` is a C identifier.
pub fn build<M: Module>(module: &mut M, plan: &Plan, target: &Target, name: &str) -> Result<Built> {
    let weights = module
        .declare_data(&weights_symbol(name), Linkage::Import, false, false)
        .map_err(|e| Error::internal(format!("declaring the weights: {e}")))?;
    let mut scratch = FunctionBuilderContext::new();
    let mut kernels = Vec::with_capacity(plan.kernels.len());
    for (i, kernel) in plan.kernels.iter().enumerate() {
        let at = |e: Error| e.at(&kernel.name, kernel.form.name());
        let symbol = format!("{name}_kernel_{i}");
        let id = module
            .declare_function(&symbol, Linkage::Local, &kernel_signature())
            .map_err(|e| at(internal(&e)))?;
        kernels.push(function::define(module, &mut scratch, id, kernel, target).map_err(at)?);
    }
    let mut built = run::define(module, &mut scratch, plan, name, weights, &kernels)?;
    built.code_bytes += kernels.iter().map(|k| k.code_bytes).sum::<usize>();
    built.kernels = kernels;
    Ok(built)
}

/// Iterations of the loop that the range of a kernel's function counts: the one that threads share.
pub fn shared_extent(kernel: &PlannedKernel, target: &Target) -> Result<i64> {
    match &kernel.schedule {
        Schedule::Scalar { .. } => scalar::shared_extent(kernel),
        _ => Ok(vector::shared_extent(kernel, target.lanes())?),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("code generation: {error}"))
}

/// `fn(frame, begin, end)` in the System V convention on every operating system, so that encoded kernels know
/// their registers.
fn kernel_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    signature
}

#[cfg(test)]
mod vector_reference;
#[cfg(test)]
mod vector_testing;
#[cfg(test)]
mod vector_tests;
