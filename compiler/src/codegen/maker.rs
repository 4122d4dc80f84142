//! What functions of a module are made with: their signatures, their checks, their errors.

use std::ops::Range;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, InstBuilder, Signature, StackSlotData, StackSlotKind, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use kiln_ir::{Dim, Error, Result};
use kiln_runtime::status::Status;
use kiln_targets::encode::stack_bytes;

use super::unwind::{self, Described};

/// A kernel's function.
#[derive(Clone, Debug)]
pub struct KernelFunction {
    /// `fn(frame, begin, end)`.
    pub id: FuncId,
    /// It is run completely by the range `0..steps`.
    pub steps: Dim,
    /// Where its row of sizes begins in the plan's table.
    pub sizes: usize,
    /// Size of its code.
    pub code_bytes: usize,
    /// Bytes of stack that it takes at most; `None` where its code does not show that.
    pub stack_bytes: Option<u32>,
    /// An earlier kernel has the same function.
    pub shared: bool,
    /// Its words of the table of places, if its function reads its places from the frame.
    pub row: Option<Range<usize>>,
}

/// A variant's kernels.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// In the plan's order.
    pub functions: Vec<KernelFunction>,
    /// The table of places in the module, where there is one.
    pub places: Option<DataId>,
    /// Its words.
    pub table: Vec<i64>,
}

/// What `build` put into the module.
#[derive(Debug)]
pub struct Built {
    /// `NAME_run`.
    pub run: FuncId,
    /// `NAME_run_parallel`.
    pub run_parallel: FuncId,
    /// The read-only data, declared and to be defined by the caller; `None` where calls are given it.
    pub weights: Option<DataId>,
    /// Of each variant.
    pub kernels: Vec<Kernels>,
    /// Size of all code.
    pub code_bytes: usize,
    /// Bytes of stack that a call of `NAME_run` takes at most, below the stack pointer at the call; `None` where a function's code
    /// does not show its part.
    pub stack_bytes: Option<u32>,
    /// How the callers of functions are found, where the ISA's code is described.
    pub unwind: Vec<Described>,
}

/// Bytes of stack that a function takes, calls of others left out.
pub(super) type Stack = Option<u32>;

/// A function under construction with its parameters.
pub(super) struct Maker<'a, M: Module> {
    pub(super) module: &'a mut M,
    scratch: &'a mut FunctionBuilderContext,
    pub(super) code_bytes: usize,
    pub(super) unwind: Vec<Described>,
}

impl<'a, M: Module> Maker<'a, M> {
    pub(super) fn new(module: &'a mut M, scratch: &'a mut FunctionBuilderContext) -> Self {
        Self { module, scratch, code_bytes: 0, unwind: Vec::new() }
    }

    pub(super) fn function(
        &mut self,
        id: FuncId,
        signature: Signature,
        body: impl FnOnce(&mut M, &mut FunctionBuilder<'_>, &[Value]) -> Result<()>,
    ) -> Result<Stack> {
        let mut context = Context::new();
        context.func.signature = signature;
        context.func.name = UserFuncName::user(0, id.as_u32());
        let config = self.module.target_config();
        let mut b = FunctionBuilder::new(&mut context.func, self.scratch);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let params = b.block_params(entry).to_vec();
        body(self.module, &mut b, &params)?;
        b.seal_all_blocks();
        b.finalize(config);
        self.module.define_function(id, &mut context).map_err(|e| internal(&format!("{e:?}")))?;
        let code = context.compiled_code().ok_or_else(|| internal(&"a function without code"))?;
        let bytes = code.code_info().total_size;
        self.code_bytes += bytes as usize;
        let unwind = unwind::compiled(code, self.module.isa())?;
        self.unwind.extend(unwind.map(|unwind| Described { id, bytes, unwind }));
        Ok(stack_bytes(self.module.isa().triple(), code.code_buffer()))
    }

    pub(super) fn declare(
        &mut self,
        symbol: &str,
        linkage: Linkage,
        signature: &Signature,
    ) -> Result<FuncId> {
        self.module.declare_function(symbol, linkage, signature).map_err(|e| internal(&e))
    }

    /// A signature in the platform's C convention.
    pub(super) fn c_signature(&self, params: usize, returns: bool) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params.extend(vec![AbiParam::new(types::I64); params]);
        signature.returns.extend(returns.then(|| AbiParam::new(types::I32)));
        signature
    }
}

/// Defines the table of places.
pub(super) fn table<M: Module>(module: &mut M, prefix: &str, words: &[i64]) -> Result<DataId> {
    let id = module
        .declare_data(&format!("{prefix}_places"), Linkage::Local, false, false)
        .map_err(|e| internal(&e))?;
    let mut data = DataDescription::new();
    data.define(words.iter().flat_map(|word| word.to_le_bytes()).collect());
    data.set_align(8);
    module.define_data(id, &data).map_err(|e| internal(&e))?;
    Ok(id)
}

/// A stack slot of 8-byte words; its address.
pub(super) fn stack_words(b: &mut FunctionBuilder<'_>, words: u32) -> Value {
    let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * words, 3));
    b.ins().stack_addr(types::I64, slot, 0)
}

/// Tests that leave the function with a status, one block per status.
pub(super) struct Checks<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) failed: Vec<(Block, Status)>,
}

impl<'a, 'f> Checks<'a, 'f> {
    pub(super) fn new(b: &'a mut FunctionBuilder<'f>) -> Self {
        Self { b, failed: Vec::new() }
    }

    pub(super) fn fail_if(&mut self, condition: Value, status: Status) {
        let failed = match self.failed.iter().find(|f| f.1 == status) {
            Some(f) => f.0,
            None => {
                let block = self.b.create_block();
                self.b.set_cold_block(block);
                self.failed.push((block, status));
                block
            }
        };
        let next = self.b.create_block();
        self.b.ins().brif(condition, failed, &[], next, &[]);
        self.b.switch_to_block(next);
    }

    pub(super) fn not_null(&mut self, pointer: Value) {
        let null = self.b.ins().icmp_imm_u(IntCC::Equal, pointer, 0);
        self.fail_if(null, Status::NullPointer);
    }
}

pub(super) fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("code generation: {error}"))
}

/// `fn(frame, begin, end)` in the System V convention on every operating system, so that encoded kernels know
/// their registers.
pub(super) fn kernel_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    signature
}
