//! Kernels as C: vectors by the vector builder of text, plain loops from what Cranelift would be given.

mod plain;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::FunctionBuilderContext;
use kiln_ir::kernel::plan::{Plan, PlannedKernel, Provider};
use kiln_ir::{Dim, Error, Result};
use kiln_targets::Target;
use kiln_targets::c::{Text, text};

use super::function::{Made, grouped, make};
use super::maker::internal;
use super::places::Places;
use super::vector::Vectors;

/// A plan's kernels as texts.
#[derive(Debug)]
pub struct Texts {
    /// Each function once, with the positions of the kernels that run it, ascending.
    pub functions: Vec<(Text, Vec<usize>)>,
    /// In the plan's order.
    pub kernels: Vec<Call>,
    /// Words of the rows that functions read their places from.
    pub places: Vec<i64>,
}

/// How a kernel is run.
#[derive(Clone, Debug)]
pub struct Call {
    /// The position of its function in [`Texts::functions`].
    pub function: usize,
    /// It is run completely by the range `0..steps`.
    pub steps: Dim,
    /// Where its row of sizes begins in the plan's table.
    pub sizes: usize,
    /// Where its row of places begins, if its function reads one.
    pub places: Option<usize>,
}

/// The texts of a plan for a target of [`kiln_targets::c`].
pub fn texts(plan: &Plan, target: &Target) -> Result<Texts> {
    let mut scratch = FunctionBuilderContext::new();
    let mut functions = Vec::new();
    let mut kernels: Vec<Option<Call>> = vec![None; plan.kernels.len()];
    let mut places = Vec::new();
    for group in grouped(&plan.kernels, target) {
        let first = &plan.kernels[group.members[0]];
        let at = |e: Error| e.at(&first.name, first.form.name());
        let body = one(first, group.places.as_ref(), target, &mut scratch).map_err(at)?;
        for &i in &group.members {
            let kernel = &plan.kernels[i];
            let open = || internal(&"sizes that are in no table").at(&kernel.name, kernel.form.name());
            let row = group.places.is_some().then(|| {
                let row = places.len();
                Places::of(kernel).iter().for_each(|own| places.extend(own.row()));
                row
            });
            kernels[i] = Some(Call {
                function: functions.len(),
                steps: kernel.step_count().ok_or_else(open)?,
                sizes: plan.row_of(kernel).ok_or_else(open)?,
                places: row,
            });
        }
        functions.push((body, group.members));
    }
    let kernels: Option<Vec<Call>> = kernels.into_iter().collect();
    let kernels = kernels.ok_or_else(|| internal(&"a kernel without a function"))?;
    Ok(Texts { functions, kernels, places })
}

fn one(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    target: &Target,
    scratch: &mut FunctionBuilderContext,
) -> Result<Text> {
    if kernel.provider != Provider::Plain {
        return Ok(text(target, &Vectors::placed(kernel, places))?);
    }
    // Of the machine it takes the convention of calls alone, and there are none.
    let config = TargetFrontendConfig {
        default_call_conv: CallConv::SystemV,
        pointer_width: target_lexicon::PointerWidth::U64,
        page_size_align_log2: 12,
    };
    debug_assert_eq!(config.pointer_type(), I64);
    match make(config, scratch, 0, (kernel, places), target)? {
        Made::Input(context) => plain::text(&context.func),
        Made::Code(_) => Err(internal(&"machine code for C")),
    }
}
