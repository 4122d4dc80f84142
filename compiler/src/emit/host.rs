//! This process as a place for code: executable memory, and what the machine has.

#![allow(unsafe_code)]

use cranelift_codegen::ir::AbiParam;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::isa::CallConv;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, default_libcall_names};
use kiln_ir::{Error, Result};
use kiln_targets::Target;
use kiln_targets::isa::{self, isa};

/// Address space reserved for code: kernels are kilobytes, so this is never the limit, and it keeps every call
/// within the reach of a relative branch.
const CODE_RESERVE_BYTES: usize = 1 << 28;

/// Functions in memory: defined through the module, then run. They live as long as this.
pub(super) struct Code {
    // `None` only while dropping.
    module: Option<JITModule>,
}

impl Code {
    /// Nothing yet, for a machine; `symbols` are data that functions may name.
    pub(super) fn new(target: &Target, verify: bool, symbols: &[(&str, *const u8)]) -> Result<Self> {
        let mut builder = JITBuilder::with_isa(isa(target, isa::Code::Jit, verify)?, default_libcall_names());
        let memory = ArenaMemoryProvider::new_with_size(CODE_RESERVE_BYTES)
            .map_err(|e| Error::environment(format!("there is no address space for code: {e}")))?;
        builder.memory_provider(Box::new(memory));
        symbols.iter().for_each(|(name, address)| {
            builder.symbol(*name, *address);
        });
        Ok(Self { module: Some(JITModule::new(builder)) })
    }

    /// Where functions are defined.
    pub(super) fn module(&mut self) -> Result<&mut JITModule> {
        self.module.as_mut().ok_or_else(|| Error::internal("code that is being dropped"))
    }

    /// Defines a kernel by its code, which may lie anywhere.
    pub(super) fn kernel(&mut self, name: &str, bytes: &[u8]) -> Result<FuncId> {
        let internal = |e: ModuleError| Error::internal(format!("placing code: {e}"));
        let module = self.module()?;
        let mut signature = module.make_signature();
        signature.call_conv = CallConv::SystemV;
        signature.params.extend([AbiParam::new(I64); 3]);
        let id = module.declare_function(name, Linkage::Local, &signature).map_err(internal)?;
        module.define_function_bytes(id, 64, bytes, &[]).map_err(internal)?;
        Ok(id)
    }

    /// Makes the defined functions executable and gives the addresses of some.
    pub(super) fn finish(&mut self, functions: &[FuncId]) -> Result<Vec<*const u8>> {
        let module = self.module()?;
        module.finalize_definitions().map_err(|e| match e {
            ModuleError::Allocation { .. } => Error::environment(format!("there is no memory for code: {e}")),
            e => Error::internal(format!("finishing code: {e}")),
        })?;
        Ok(functions.iter().map(|id| module.get_finalized_function(*id)).collect())
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: whoever calls the functions owns this, so that no call outlives it.
            unsafe { module.free_memory() };
        }
    }
}

/// Refuses code that this machine could not run.
pub fn check_host(target: &Target) -> Result<()> {
    let host = kiln_targets::resolve("host", "native", "")?;
    if host.triple.architecture != target.triple.architecture {
        return Err(Error::invalid(format!(
            "code for {} does not run on this {} machine",
            target.triple, host.triple
        ))
        .hint("compile it to a library instead"));
    }
    let missing: Vec<_> = target.features.iter().filter(|f| !host.features.contains(f)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("this machine lacks {}", missing.join(", "))).hint("choose a lower --cpu"))
}
