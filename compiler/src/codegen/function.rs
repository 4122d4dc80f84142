//! One kernel, one function.

use cranelift_codegen::Context;
use cranelift_codegen::ir::{InstBuilder, UserFuncName};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module};
use kiln_ir::Result;
use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_targets::Target;
use kiln_targets::encode::{Program, encode};
use kiln_targets::generic::clif::Clif;
use kiln_targets::simd::{R, Refusal, Simd};

use super::maker::{KernelFunction, internal, kernel_signature};
use super::{scalar, vector};

/// A cache line: encoded functions carry constants that are as wide.
const CODE_ALIGN: u64 = 64;

/// Bytes of Cranelift's vectors.
const CRANELIFT_BYTES: usize = 16;

/// A vector kernel for an encoder.
struct Encoded<'k> {
    kernel: &'k PlannedKernel,
    target: &'k Target,
}

impl Program for Encoded<'_> {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        vector::emit(self.kernel, self.target.lhs_access, s)
    }
}

/// A kernel on its way into a module.
pub(super) enum Made {
    /// Encoded, free of relocations.
    Code(Vec<u8>),
    /// For Cranelift to compile.
    Input(Box<Context>),
}

/// Generates a kernel's code; with it the iterations that threads share. `number` names the function.
pub(super) fn make(
    config: TargetFrontendConfig,
    scratch: &mut FunctionBuilderContext,
    number: u32,
    kernel: &PlannedKernel,
    target: &Target,
) -> Result<(Made, i64)> {
    if let Some(code) = encoded(kernel, target)? {
        return Ok((Made::Code(code), vector::shared_extent(kernel, target.lanes())?));
    }
    let mut context = Box::new(Context::new());
    context.func.signature = kernel_signature();
    context.func.name = UserFuncName::user(0, number);
    let mut b = FunctionBuilder::new(&mut context.func, scratch);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry);
    let args = [params[0], params[1], params[2]];
    let shared = match &kernel.schedule {
        Schedule::Scalar { order } => {
            scalar::emit(kernel, order, &mut b, args, target)?;
            scalar::shared_extent(kernel)?
        }
        _ => {
            let mut simd = Clif::new(&mut b, entry, args, target);
            vector::emit(kernel, target.lhs_access, &mut simd)?;
            vector::shared_extent(kernel, simd.lanes())?
        }
    };
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
    Ok((Made::Input(context), shared))
}

/// Compiles a kernel; returns its function and its size.
pub(super) fn define<M: Module>(
    module: &mut M,
    scratch: &mut FunctionBuilderContext,
    id: FuncId,
    kernel: &PlannedKernel,
    target: &Target,
) -> Result<KernelFunction> {
    let (made, shared) = make(module.target_config(), scratch, id.as_u32(), kernel, target)?;
    let code_bytes = match made {
        Made::Code(code) => {
            module.define_function_bytes(id, CODE_ALIGN, &code, &[]).map_err(|e| internal(&e))?;
            code.len()
        }
        Made::Input(mut context) => {
            module.define_function(id, &mut context).map_err(|e| internal(&format!("{e:?}")))?;
            context.compiled_code().map_or(0, |c| c.code_info().total_size as usize)
        }
    };
    Ok(KernelFunction { id, shared, code_bytes })
}

/// Bits of the vectors that [`define`] compiles a kernel to; 0 for plain loops.
pub(super) fn vector_bits(kernel: &PlannedKernel, target: &Target) -> Result<usize> {
    Ok(match &kernel.schedule {
        Schedule::Scalar { .. } => 0,
        _ if encoded(kernel, target)?.is_some() => 8 * target.vector_bytes,
        _ => 8 * target.vector_bytes.min(CRANELIFT_BYTES),
    })
}

/// The kernel by an encoder. `None` where the target has none, and for kernels that need more registers than
/// there are: Cranelift spills.
fn encoded(kernel: &PlannedKernel, target: &Target) -> Result<Option<Vec<u8>>> {
    match &kernel.schedule {
        Schedule::Scalar { .. } => Ok(None),
        // Blocks of 4 x 4 are turned in 128 bits.
        Schedule::Transpose(_) if target.lanes() > 4 => Ok(None),
        _ => match encode(target, &Encoded { kernel, target }) {
            Err(Refusal::OutOfRegisters) => Ok(None),
            result => Ok(result?),
        },
    }
}
