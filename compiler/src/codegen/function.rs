//! One kernel, one function.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{InstBuilder, UserFuncName};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module};
use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_ir::{Error, Result};
use kiln_targets::Target;
use kiln_targets::generic::clif::Clif;

use super::{internal, kernel_signature, scalar, vector};

/// Iterations of the loop that the function's range counts.
pub(super) fn shared_extent(kernel: &PlannedKernel, target: &Target) -> Result<i64> {
    match &kernel.schedule {
        Schedule::Scalar { .. } => scalar::shared_extent(kernel),
        _ => Ok(vector::shared_extent(kernel, target.lanes())?),
    }
}

/// Compiles a kernel; returns the size of its code.
pub(super) fn define<M: Module>(
    module: &mut M,
    scratch: &mut FunctionBuilderContext,
    id: FuncId,
    kernel: &PlannedKernel,
    target: &Target,
) -> Result<usize> {
    let mut context = Context::new();
    context.func.signature = kernel_signature();
    context.func.name = UserFuncName::user(0, id.as_u32());
    let config = module.target_config();
    let mut b = FunctionBuilder::new(&mut context.func, scratch);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry);
    let args = [params[0], params[1], params[2]];
    match &kernel.schedule {
        Schedule::Scalar { order } => scalar::emit(kernel, order, &mut b, args, target)?,
        _ => {
            let mut simd = Clif::new(&mut b, entry, args, target);
            vector::emit(kernel, target.lhs_access, &mut simd).map_err(Error::from)?;
        }
    }
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
    module.define_function(id, &mut context).map_err(|e| internal(&format!("{e:?}")))?;
    Ok(context.compiled_code().map_or(0, |c| c.code_info().total_size as usize))
}
