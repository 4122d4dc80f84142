//! How debuggers and profilers find the callers of a module's functions.

use cranelift_codegen::CompiledCode;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::UnwindInfo;
use cranelift_module::FuncId;
use kiln_ir::{Error, Result};
use kiln_targets::encode::returns;
use kiln_targets::unwind::{self, CallFrameInstruction};

/// For one function.
#[derive(Clone, Debug, PartialEq)]
pub enum Unwind {
    /// By an encoder of our own.
    Encoded(unwind::Unwind),
    /// By Cranelift, and what it does not say of returns.
    Compiled(UnwindInfo, Vec<(u32, CallFrameInstruction)>),
}

/// A function of a module that callers are found for.
#[derive(Clone, Debug)]
pub struct Described {
    /// The function.
    pub id: FuncId,
    /// Bytes of its code.
    pub bytes: u32,
    /// How.
    pub unwind: Unwind,
}

/// For a function by Cranelift, where the ISA's code is described at all.
pub(super) fn compiled(code: &CompiledCode, isa: &dyn TargetIsa) -> Result<Option<Unwind>> {
    if !isa.flags().unwind_info() {
        return Ok(None);
    }
    let info = code.create_unwind_info(isa).map_err(|e| Error::internal(format!("code generation: {e}")))?;
    Ok(info.map(|info| Unwind::Compiled(info, returns(isa.triple(), code.code_buffer()))))
}
