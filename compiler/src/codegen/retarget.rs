//! A module whose functions are compiled for another processor of the same architecture.
//!
//! A Cranelift module compiles everything for one ISA. An artefact has several: the functions that the host calls
//! must run on any machine, since they find out what it is, and each variant's kernels have their own.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Signature;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::{CodegenError, Context};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleDeclarations, ModuleError, ModuleReloc,
    ModuleResult,
};

/// `module`, with functions compiled for `isa`.
pub(super) struct Retargeted<'m, M> {
    pub(super) module: &'m mut M,
    pub(super) isa: OwnedTargetIsa,
}

impl<M: Module> Module for Retargeted<'_, M> {
    fn isa(&self) -> &dyn TargetIsa {
        &*self.isa
    }

    fn declarations(&self) -> &ModuleDeclarations {
        self.module.declarations()
    }

    fn declare_function(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: &Signature,
    ) -> ModuleResult<FuncId> {
        self.module.declare_function(name, linkage, signature)
    }

    fn declare_anonymous_function(&mut self, signature: &Signature) -> ModuleResult<FuncId> {
        self.module.declare_anonymous_function(signature)
    }

    fn declare_data(
        &mut self,
        name: &str,
        linkage: Linkage,
        writable: bool,
        tls: bool,
    ) -> ModuleResult<DataId> {
        self.module.declare_data(name, linkage, writable, tls)
    }

    fn declare_anonymous_data(&mut self, writable: bool, tls: bool) -> ModuleResult<DataId> {
        self.module.declare_anonymous_data(writable, tls)
    }

    fn define_function_with_control_plane(
        &mut self,
        func: FuncId,
        context: &mut Context,
        control: &mut ControlPlane,
    ) -> ModuleResult<()> {
        context.compile(&*self.isa, control)?;
        let missing = || ModuleError::Compilation(CodegenError::Unsupported("no code".to_owned()));
        let compiled = context.compiled_code().ok_or_else(missing)?;
        let buffer = &compiled.buffer;
        let relocs: Vec<ModuleReloc> = buffer
            .relocs()
            .iter()
            .map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, func))
            .collect();
        self.module.define_function_bytes(func, u64::from(buffer.alignment), buffer.data(), &relocs)
    }

    fn define_function_bytes(
        &mut self,
        func: FuncId,
        alignment: u64,
        bytes: &[u8],
        relocs: &[ModuleReloc],
    ) -> ModuleResult<()> {
        self.module.define_function_bytes(func, alignment, bytes, relocs)
    }

    fn define_data(&mut self, data: DataId, description: &DataDescription) -> ModuleResult<()> {
        self.module.define_data(data, description)
    }
}
