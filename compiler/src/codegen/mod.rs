//! Code generation: obeys the plan, decides nothing.
//!
//! A model becomes one local function per kernel and the functions that its host calls. Everything is written
//! against Cranelift's `Module`, so an object file and memory get the same code.

mod choose;
mod constants;
mod digits;
mod dots;
#[cfg(test)]
mod dots_tests;
mod dynamic;
mod function;
mod gather;
mod guard;
pub mod listing;
mod maker;
mod math;
mod nest;
mod parallel;
mod places;
mod quantize;
mod remainder;
mod run;
mod scalar;
#[cfg(test)]
mod scalar_tests;
mod share;
mod sizes;
mod sparse;
mod stream;
#[cfg(test)]
mod stream_tests;
mod tile;
mod transform;
mod transpose;
mod typed;
mod value;
pub mod vector;
mod veval;
mod vexpr;
mod vroom;
mod walk;

use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{Linkage, Module};
use kiln_ir::{Error, Result};
use kiln_targets::isa::{Code, isa};

use crate::variant::Variant;
pub use function::check;
use function::{Machine, grouped};
pub use maker::{Built, KernelFunction, Kernels};
use maker::{internal, kernel_signature};
use places::Places;

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
    let mut kernels = Vec::with_capacity(variants.len());
    for (i, variant) in variants.iter().enumerate() {
        let prefix = match variants.len() {
            1 => name.to_owned(),
            _ => format!("{name}_v{i}_{}", variant.target.level),
        };
        kernels.push(define_kernels(module, variant, &prefix, code)?);
    }
    let mut scratch = FunctionBuilderContext::new();
    let mut built = run::define(module, &mut scratch, variants, &kernels, name, weights, code)?;
    built.code_bytes +=
        kernels.iter().flat_map(|k| &k.functions).filter(|k| !k.shared).map(|k| k.code_bytes).sum::<usize>();
    built.kernels = kernels;
    Ok(built)
}

/// Compiles a variant's kernels for its own machine, and puts them into the module: one function for kernels that are
/// equal but for their places.
fn define_kernels<M: Module>(
    module: &mut M,
    variant: &Variant<'_>,
    prefix: &str,
    code: Code,
) -> Result<Kernels> {
    let Variant { plan, target } = variant;
    let own = isa(target, code, module.isa().flags().enable_verifier())?;
    let groups = grouped(&plan.kernels, target);
    let jobs: Vec<_> = groups.iter().map(|g| (&plan.kernels[g.members[0]], g.places.as_ref())).collect();
    let compiled = parallel::compile(&jobs, target, &*own)?;
    let mut functions: Vec<Option<KernelFunction>> = vec![None; plan.kernels.len()];
    let mut table = Vec::new();
    for (group, machine) in groups.iter().zip(compiled) {
        let first = group.members[0];
        let kernel = &plan.kernels[first];
        let at = |e: Error| e.at(&kernel.name, kernel.form.name());
        let steps = kernel.step_count().ok_or_else(|| at(internal(&"a shared loop that is not there")))?;
        let sizes = plan.row_of(kernel).ok_or_else(|| at(internal(&"sizes that are in no table")))?;
        let id = module
            .declare_function(&format!("{prefix}_kernel_{first}"), Linkage::Local, &kernel_signature())
            .map_err(|e| at(internal(&e)))?;
        let Machine { bytes, align } = machine;
        module.define_function_bytes(id, align, &bytes, &[]).map_err(|e| at(internal(&e)))?;
        for &i in &group.members {
            let row = group.places.is_some().then(|| {
                let row = table.len();
                Places::of(&plan.kernels[i]).iter().for_each(|places| table.extend(places.row()));
                row..table.len()
            });
            let code_bytes = bytes.len();
            functions[i] =
                Some(KernelFunction { id, steps: steps.clone(), sizes, code_bytes, shared: i != first, row });
        }
    }
    let functions = functions.into_iter().collect::<Option<Vec<_>>>();
    let functions = functions.ok_or_else(|| internal(&"a kernel without a function"))?;
    let places = if table.is_empty() { None } else { Some(maker::table(module, prefix, &table)?) };
    Ok(Kernels { functions, places, table })
}

#[cfg(test)]
mod movement_tests;
#[cfg(test)]
mod plane_tests;
#[cfg(test)]
mod tile_tests;
#[cfg(test)]
mod vector_testing;
#[cfg(test)]
mod vector_tests;
