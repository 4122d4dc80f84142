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
mod store;
mod stream;
#[cfg(test)]
mod stream_tests;
pub mod text;
mod tile;
mod transform;
mod transpose;
mod trips;
mod typed;
mod unwind;
mod value;
pub mod vector;
mod veval;
mod vexpr;
mod vroom;
mod walk;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{Linkage, Module};
use kiln_ir::{Dim, Error, Result};
use kiln_targets::encode;
use kiln_targets::isa::{Code, isa};

use crate::digest;
use crate::variant::{self, Variant};
use function::grouped;
pub use function::{Machine, check};
pub use maker::{Built, KernelFunction, Kernels};
use maker::{internal, kernel_signature};
use places::Places;
pub use store::KernelStore;
pub use unwind::{Described, Unwind};

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
    let weights = match variant::outside(variants) {
        Some(_) => None,
        None => {
            let symbol = weights_symbol(name);
            Some(module.declare_data(&symbol, Linkage::Import, false, false).map_err(|e| internal(&e))?)
        }
    };
    let mut kernels = Vec::with_capacity(variants.len());
    let mut unwind = Vec::new();
    for (i, variant) in variants.iter().enumerate() {
        let prefix = match variants.len() {
            1 => name.to_owned(),
            _ => format!("{name}_v{i}_{}", variant.target.level),
        };
        kernels.push(define_kernels(module, variant, &prefix, code, &mut unwind)?);
    }
    let mut scratch = FunctionBuilderContext::new();
    let mut built = run::define(module, &mut scratch, variants, &kernels, name, weights, code)?;
    built.code_bytes +=
        kernels.iter().flat_map(|k| &k.functions).filter(|k| !k.shared).map(|k| k.code_bytes).sum::<usize>();
    built.kernels = kernels;
    built.unwind.extend(unwind);
    Ok(built)
}

/// Compiles a variant's kernels for its own machine, and puts them into the module: one function for kernels that are
/// equal but for their places.
fn define_kernels<M: Module>(
    module: &mut M,
    variant: &Variant<'_>,
    prefix: &str,
    code: Code,
    unwind: &mut Vec<Described>,
) -> Result<Kernels> {
    let Variant { plan, target } = variant;
    let own = isa(target, code, module.isa().flags().enable_verifier())?;
    let groups = grouped(&plan.kernels, target);
    let jobs: Vec<_> = groups.iter().map(|g| (&plan.kernels[g.members[0]], g.places.as_ref())).collect();
    let compiled = parallel::compile(&jobs, target, &*own, None)?;
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
        let Machine { bytes, align, unwind: found } = machine;
        let stack_bytes = encode::stack_bytes(&target.triple, &bytes);
        module.define_function_bytes(id, align, &bytes, &[]).map_err(|e| at(internal(&e)))?;
        unwind.extend(found.map(|unwind| Described { id, bytes: bytes.len() as u32, unwind }));
        for &i in &group.members {
            let row = group.places.is_some().then(|| {
                let row = table.len();
                Places::of(&plan.kernels[i]).iter().for_each(|places| table.extend(places.row()));
                row..table.len()
            });
            functions[i] = Some(KernelFunction {
                id,
                steps: steps.clone(),
                sizes,
                code_bytes: bytes.len(),
                stack_bytes,
                shared: i != first,
                row,
            });
        }
    }
    let functions = functions.into_iter().collect::<Option<Vec<_>>>();
    let functions = functions.ok_or_else(|| internal(&"a kernel without a function"))?;
    let places = if table.is_empty() { None } else { Some(maker::table(module, prefix, &table)?) };
    Ok(Kernels { functions, places, table })
}

/// The kernels of a plan as bytes that may lie anywhere.
#[derive(Debug)]
pub struct Functions {
    /// Each function once.
    pub code: Vec<Arc<Machine>>,
    /// In the plan's order.
    pub kernels: Vec<Function>,
}

/// What a kernel runs.
#[derive(Clone, Debug)]
pub struct Function {
    /// The position of its function in [`Functions::code`].
    pub code: usize,
    /// It is run completely by the range `0..steps`.
    pub steps: Dim,
    /// Where its row begins in the plan's table of sizes.
    pub row: usize,
    /// Where its operands lie, if its function reads that from the frame.
    pub places: Vec<i64>,
}

/// Compiles a plan's kernels for this process, without the functions that a host calls. What the store has is taken from
/// there; `stop` ends it early, with an error.
pub fn functions(
    plan: &kiln_ir::kernel::plan::Plan,
    target: &kiln_targets::Target,
    verify: bool,
    store: &KernelStore,
    stop: &AtomicBool,
) -> Result<Functions> {
    let isa = isa(target, Code::Jit, verify)?;
    let groups = grouped(&plan.kernels, target);
    let machine = format!("{target:?}");
    let keys: Vec<String> = groups
        .iter()
        .map(|g| places::content(&plan.kernels[g.members[0]], g.places.as_ref()))
        .map(|content| digest::of_text(&format!("{machine} {content}")))
        .collect();
    let mut code: Vec<Option<Arc<Machine>>> = keys.iter().map(|key| store.get(key)).collect();
    let missing: Vec<usize> = (0..groups.len()).filter(|i| code[*i].is_none()).collect();
    let jobs: Vec<_> =
        missing.iter().map(|i| (&plan.kernels[groups[*i].members[0]], groups[*i].places.as_ref())).collect();
    for (i, made) in missing.into_iter().zip(parallel::compile(&jobs, target, &*isa, Some(stop))?) {
        let made = Arc::new(made);
        store.put(&keys[i], &made);
        code[i] = Some(made);
    }
    let mut kernels: Vec<Option<Function>> = vec![None; plan.kernels.len()];
    for (position, group) in groups.iter().enumerate() {
        for &i in &group.members {
            let kernel = &plan.kernels[i];
            let at = |what: &str| internal(&what).at(&kernel.name, kernel.form.name());
            let steps = kernel.step_count().ok_or_else(|| at("a shared loop that is not there"))?;
            let row = plan.row_of(kernel).ok_or_else(|| at("sizes that are in no table"))?;
            let places = group.places.as_ref().and_then(|_| Places::of(kernel));
            let places = places.map_or_else(Vec::new, |places| places.row().collect());
            kernels[i] = Some(Function { code: position, steps, row, places });
        }
    }
    let missing = || internal(&"a kernel without a function");
    let code: Option<Vec<_>> = code.into_iter().collect();
    let kernels: Option<Vec<Function>> = kernels.into_iter().collect();
    Ok(Functions { code: code.ok_or_else(missing)?, kernels: kernels.ok_or_else(missing)? })
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
