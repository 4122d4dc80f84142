//! Which variant the machine can run, found out at run time.
//!
//! ```text
//! word NAME_variant = 0      the choice: 0 while it is not known, else 1 + the variant's position
//! probe(words)               the target's code that asks the processor
//! choose() -> choice         asks, takes the last variant that the answer allows, keeps it in the word
//! ```
//!
//! The word is the one thing that an artefact keeps between calls, and only artefacts with something to choose or
//! to refuse have it. It is harmless: every thread that finds 0 computes the same choice, and the word is loaded
//! and stored as a whole, so nobody sees anything but 0 or that choice.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, Block, InstBuilder, MemFlagsData, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use kiln_ir::Result;
use kiln_runtime::status::Status;
use kiln_targets::encode::stack_bytes;
use kiln_targets::unwind;
use target_lexicon::OperatingSystem;

use super::maker::{Checks, Maker, Stack, internal, stack_words};
use super::unwind::{Described, Unwind};
use crate::variant::Variant;

/// Bytes of the word.
const WORD_BYTES: usize = 8;

/// The word and the function that fills it.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    word: DataId,
    choose: FuncId,
    /// Of the function and of the one that it calls.
    pub(super) stack: Stack,
}

/// What is needed to choose; `None` where any machine runs the only variant, or where only the operating system
/// could tell.
pub(super) fn define<M: Module>(
    maker: &mut Maker<'_, M>,
    name: &str,
    variants: &[Variant<'_>],
) -> Result<Option<Choice>> {
    let required = variants.iter().map(|v| v.target.required()).collect::<Result<Vec<_>>>()?;
    if variants.len() == 1 && required[0].iter().all(|bits| *bits == 0) {
        return Ok(None);
    }
    let probe = variants[0].target.probe()?.ok_or_else(|| internal(&"variants that cannot be told apart"))?;

    let word = maker
        .module
        .declare_data(&format!("{name}_variant"), Linkage::Local, true, false)
        .map_err(|e| internal(&e))?;
    let mut zero = DataDescription::new();
    zero.define_zeroinit(WORD_BYTES);
    zero.set_align(WORD_BYTES as u64);
    maker.module.define_data(word, &zero).map_err(|e| internal(&e))?;

    let mut ask_signature = Signature::new(CallConv::SystemV);
    ask_signature.params.push(AbiParam::new(types::I64));
    let ask = maker.declare(&format!("{name}_probe"), Linkage::Local, &ask_signature)?;
    maker.module.define_function_bytes(ask, 16, &probe.code, &[]).map_err(|e| internal(&e))?;
    maker.code_bytes += probe.code.len();
    let isa = maker.module.isa();
    // Windows takes what has no description for a leaf.
    if isa.flags().unwind_info() && isa.triple().operating_system != OperatingSystem::Windows {
        let unwind = Unwind::Encoded(unwind::Unwind::Dwarf(probe.rules));
        maker.unwind.push(Described { id: ask, bytes: probe.code.len() as u32, unwind });
    }

    let mut signature = Signature::new(CallConv::SystemV);
    signature.returns.push(AbiParam::new(types::I64));
    let choose = maker.declare(&format!("{name}_choose"), Linkage::Local, &signature)?;
    let own = maker.function(choose, signature, |module, b, _| {
        let flags = MemFlagsData::new().with_notrap();
        let answer = stack_words(b, probe.words.div_ceil(2) as u32);
        let callee = module.declare_func_in_func(ask, b.func);
        b.ins().call(callee, &[answer]);
        let mut choice = b.ins().iconst(types::I64, 0);
        for (i, bits) in required.iter().enumerate() {
            let mut missing = b.ins().iconst(types::I32, 0);
            for (w, bits) in bits.iter().enumerate().filter(|(_, bits)| **bits != 0) {
                let has = b.ins().load(types::I32, flags, answer, 4 * w as i32);
                let bits = b.ins().iconst(types::I32, i64::from(*bits));
                let lacks = b.ins().band_not(bits, has);
                missing = b.ins().bor(missing, lacks);
            }
            let runs = b.ins().icmp_imm_u(IntCC::Equal, missing, 0);
            let this = b.ins().iconst(types::I64, i as i64 + 1);
            choice = b.ins().select(runs, this, choice);
        }
        let data = module.declare_data_in_func(word, b.func);
        let address = b.ins().symbol_value(types::I64, data);
        b.ins().atomic_store(flags, choice, address);
        b.ins().return_(&[choice]);
        Ok(())
    })?;
    let asking = stack_bytes(maker.module.isa().triple(), &probe.code);
    Ok(Some(Choice { word, choose, stack: own.zip(asking).map(|(a, b)| a + b) }))
}

impl Choice {
    /// One block per variant, to which the code branches by the choice: with a load and a branch for the last
    /// variant, which is the best, once the choice is known. Leaves with a status where no variant runs.
    pub(super) fn branch<M: Module>(
        self,
        module: &mut M,
        checks: &mut Checks<'_, '_>,
        variants: usize,
    ) -> Vec<Block> {
        let blocks: Vec<_> = (0..variants).map(|_| checks.b.create_block()).collect();
        let data = module.declare_data_in_func(self.word, checks.b.func);
        let address = checks.b.ins().symbol_value(types::I64, data);
        let known = checks.b.ins().atomic_load(types::I64, MemFlagsData::new().with_notrap(), address);
        for i in (0..variants).rev() {
            branch_if(checks.b, known, i, blocks[i], i == 0);
        }
        let choose = module.declare_func_in_func(self.choose, checks.b.func);
        let call = checks.b.ins().call(choose, &[]);
        let choice = checks.b.inst_results(call)[0];
        let none = checks.b.ins().icmp_imm_u(IntCC::Equal, choice, 0);
        checks.fail_if(none, Status::UnsupportedCpu);
        for i in (1..variants).rev() {
            branch_if(checks.b, choice, i, blocks[i], true);
        }
        checks.b.ins().jump(blocks[0], &[]);
        blocks
    }
}

/// Goes to `block` if the choice is variant `i`, and on in a new block else.
fn branch_if(b: &mut FunctionBuilder<'_>, choice: Value, i: usize, block: Block, cold: bool) {
    let next = b.create_block();
    if cold {
        b.set_cold_block(next);
    }
    let this = b.ins().icmp_imm_u(IntCC::Equal, choice, i as i64 + 1);
    b.ins().brif(this, block, &[], next, &[]);
    b.switch_to_block(next);
}
