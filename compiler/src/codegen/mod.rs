//! Code generation: obeys the plan, decides nothing.
//!
//! A model becomes one local function per kernel and the functions that its host calls. Everything is written
//! against Cranelift's `Module`, so an object file and memory get the same code.

mod choose;
mod constants;
mod function;
pub mod listing;
mod maker;
mod math;
mod nest;
mod retarget;
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

use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{Linkage, Module};
use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_ir::{Error, Result};
use kiln_targets::Target;
use kiln_targets::isa::{Code, isa};

use crate::variant::Variant;
pub use maker::{Built, KernelFunction};
use maker::{internal, kernel_signature};
use retarget::Retargeted;

/// The symbol of the read-only data.
pub fn weights_symbol(name: &str) -> String {
    format!("{name}_weights")
}

/// Compiles every kernel of a model's variants, and the functions that the host calls, into a module. `name` is a C
/// identifier; the variants come least demanding first.
///
/// For memory there is one variant, and the module's ISA is made for it. An object's ISA is made for the target's
/// minimum: its functions find out which variant the machine can run before they enter it.
pub fn build<M: Module>(module: &mut M, variants: &[Variant<'_>], name: &str, code: Code) -> Result<Built> {
    if variants.is_empty() || variants.len() > 1 && code == Code::Jit {
        return Err(internal(&format!("{} variants", variants.len())));
    }
    let weights = module
        .declare_data(&weights_symbol(name), Linkage::Import, false, false)
        .map_err(|e| internal(&e))?;
    let mut scratch = FunctionBuilderContext::new();
    let mut kernels = Vec::with_capacity(variants.len());
    for (i, variant) in variants.iter().enumerate() {
        let prefix = match variants.len() {
            1 => name.to_owned(),
            _ => format!("{name}_v{i}_{}", variant.target.level),
        };
        kernels.push(match code {
            Code::Jit => define_kernels(module, &mut scratch, variant, &prefix)?,
            Code::Object => {
                let mut module = Retargeted { module: &mut *module, isa: isa(variant.target, code)? };
                define_kernels(&mut module, &mut scratch, variant, &prefix)?
            }
        });
    }
    let mut built = run::define(module, &mut scratch, variants, &kernels, name, weights, code)?;
    built.code_bytes += kernels.iter().flatten().map(|k| k.code_bytes).sum::<usize>();
    built.kernels = kernels;
    Ok(built)
}

fn define_kernels<M: Module>(
    module: &mut M,
    scratch: &mut FunctionBuilderContext,
    variant: &Variant<'_>,
    prefix: &str,
) -> Result<Vec<KernelFunction>> {
    let mut kernels = Vec::with_capacity(variant.plan.kernels.len());
    for (i, kernel) in variant.plan.kernels.iter().enumerate() {
        let at = |e: Error| e.at(&kernel.name, kernel.form.name());
        let id = module
            .declare_function(&format!("{prefix}_kernel_{i}"), Linkage::Local, &kernel_signature())
            .map_err(|e| at(internal(&e)))?;
        kernels.push(function::define(module, scratch, id, kernel, variant.target).map_err(at)?);
    }
    Ok(kernels)
}

/// Iterations of the loop that the range of a kernel's function counts: the one that threads share.
pub fn shared_extent(kernel: &PlannedKernel, target: &Target) -> Result<i64> {
    match &kernel.schedule {
        Schedule::Scalar { .. } => scalar::shared_extent(kernel),
        _ => Ok(vector::shared_extent(kernel, target.lanes())?),
    }
}

/// Bits of the vectors that a kernel is compiled to: those of the target, or Cranelift's where the encoder has too
/// few registers; 0 for plain loops.
pub fn vector_bits(kernel: &PlannedKernel, target: &Target) -> Result<usize> {
    function::vector_bits(kernel, target)
}

#[cfg(test)]
mod vector_reference;
#[cfg(test)]
mod vector_testing;
#[cfg(test)]
mod vector_tests;
