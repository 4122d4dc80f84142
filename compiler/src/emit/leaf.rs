//! One function of the vector builder in this process, by itself: for measuring machines and tiles.

#![allow(unsafe_code)]

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, InstBuilder};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{Linkage, Module};
use kiln_ir::{Error, Result};
use kiln_targets::Target;
use kiln_targets::call::Kernel;
use kiln_targets::encode::{Program, encode};
use kiln_targets::generic::clif::Clif;

use super::host::{Code, check_host};

/// `fn(frame, begin, end)`, as kernels are.
pub struct Leaf {
    // Owns what the function points to.
    _code: Code,
    function: Kernel<*const u8>,
    bytes: Vec<u8>,
}

impl Leaf {
    /// Compiles a program of the vector builder. Errors when it needs more registers than the encoder has, or a
    /// feature that this machine lacks.
    pub fn new(target: &Target, program: &impl Program) -> Result<Self> {
        check_host(target)?;
        let internal = |e: &dyn std::fmt::Display| Error::internal(format!("a function by itself: {e}"));
        let mut code = Code::new(target, cfg!(debug_assertions), &[])?;
        let module = code.module()?;
        let mut context = module.make_context();
        context.func.signature.call_conv = CallConv::SystemV;
        context.func.signature.params.extend([AbiParam::new(I64); 3]);
        let id = module
            .declare_function("leaf", Linkage::Export, &context.func.signature)
            .map_err(|e| internal(&e))?;
        let bytes = if let Some(encoded) = encode(target, program)? {
            let bytes = encoded.code;
            module.define_function_bytes(id, 64, &bytes, &[]).map_err(|e| internal(&e))?;
            bytes
        } else {
            let mut scratch = FunctionBuilderContext::new();
            let mut b = FunctionBuilder::new(&mut context.func, &mut scratch);
            let entry = b.create_block();
            b.append_block_params_for_function_params(entry);
            b.switch_to_block(entry);
            let args = [0, 1, 2].map(|i| b.block_params(entry)[i]);
            program.emit(&mut Clif::new(&mut b, entry, args, target))?;
            b.ins().return_(&[]);
            b.seal_all_blocks();
            b.finalize(module.target_config());
            module.define_function(id, &mut context).map_err(|e| internal(&e))?;
            context.compiled_code().map(|c| c.code_buffer().to_vec()).unwrap_or_default()
        };
        let function = *code.finish(&[id])?.first().ok_or_else(|| internal(&"none was made"))?;
        // SAFETY: the function was defined with exactly this signature and convention.
        let function = unsafe { std::mem::transmute::<*const u8, Kernel<*const u8>>(function) };
        Ok(Self { _code: code, function, bytes })
    }

    /// Runs it.
    ///
    /// # Safety
    ///
    /// `frame` must point to what the program reads and writes for this range of iterations.
    pub unsafe fn call(&self, frame: *const *const u8, begin: i64, end: i64) {
        // SAFETY: the code lives as long as `self`; the rest is the caller's promise.
        unsafe { (self.function)(frame.cast_mut(), begin, end) }
    }

    /// Its bytes.
    pub fn code(&self) -> &[u8] {
        &self.bytes
    }
}
