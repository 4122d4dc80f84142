//! Plain loops over single elements, any type.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan::PlannedKernel;
use kiln_ir::{Error, Result};
use kiln_targets::Target;

/// Iterations of the outermost parallel loop, which threads share.
pub(super) fn shared_extent(_kernel: &PlannedKernel) -> Result<i64> {
    Err(Error::unsupported("plain loops are not compiled yet"))
}

/// Emits the loops of a kernel at the current position; `args` are frame, begin, end.
pub(super) fn emit(
    _kernel: &PlannedKernel,
    _order: &[LoopId],
    _b: &mut FunctionBuilder<'_>,
    _args: [Value; 3],
    _target: &Target,
) -> Result<()> {
    Err(Error::unsupported("plain loops are not compiled yet"))
}
