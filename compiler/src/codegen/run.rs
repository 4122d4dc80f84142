//! The functions that a host calls.
//!
//! ```text
//! NAME_run(inputs, outputs, arena)                      -> NAME_run_parallel(inputs, outputs, arena, null, null)
//! NAME_run_parallel(inputs, outputs, arena, pf, context): checks, makes the frame, branches to the variant that the
//! machine runs (see `choose`), runs kernel after kernel, returns the status that they left in the frame
//!     kernel without a grain:  kernel(frame, 0, steps)
//!     kernel with a grain:     fork(frame, kernel, steps, grain, pf, context)
//! fork: without pf the same call, else pf(context, piece, &closure, ceil(steps / grain))
//! piece(closure, i): kernel(frame, i * grain, min((i + 1) * grain, steps))
//! ```
//!
//! A region is a branch around its calls, or a loop around them, which ends too where a kernel has left a status.
//!
//! A model whose read-only data is outside has an argument more, behind the arena: where it is. It is known by the words that it
//! begins with. A model with open dimensions has an argument more, behind these: their values. They are checked, and the sizes that
//! follow from them are computed before the first kernel runs. Behind a kernel that counts a size its value is read, checked
//! and told the caller, and what follows from it is computed.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, Block, FuncRef, InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use kiln_ir::kernel::outside::Outside;
use kiln_ir::kernel::plan::{Counted, FlatAccess, Plan, Port, Storage};
use kiln_ir::kernel::regions::Step;
use kiln_ir::kernel::{Control, Repeat, Trips};
use kiln_ir::{DType, Dim, Result};
use kiln_runtime::abi::frame as words;
use kiln_runtime::status::Status;
use kiln_targets::isa::Code;

use super::choose::{self, Choice};
use super::maker::{Built, Checks, Kernels, Maker, Stack, internal, kernel_signature, stack_words};
use super::sizes::Sizes;
use crate::variant::{self, Variant};

/// Compiles the host's functions and their helpers.
pub(super) fn define<M: Module>(
    module: &mut M,
    scratch: &mut FunctionBuilderContext,
    variants: &[Variant<'_>],
    kernels: &[Kernels],
    name: &str,
    weights: Option<DataId>,
    code: Code,
) -> Result<Built> {
    let mut maker = Maker::new(module, scratch);
    // A model with open dimensions has one argument more: their values.
    let open = variants.iter().any(|v| !v.plan.bounds.is_empty());
    let given = variant::outside(variants).is_some();
    let words = 3 + usize::from(given) + usize::from(open);
    let (run_signature, parallel_signature) =
        (maker.c_signature(words, true), maker.c_signature(words + 2, true));
    let run = maker.declare(&format!("{name}_run"), Linkage::Export, &run_signature)?;
    let run_parallel =
        maker.declare(&format!("{name}_run_parallel"), Linkage::Export, &parallel_signature)?;
    let forks = if variants.iter().flat_map(|v| &v.plan.kernels).any(|k| k.grain.is_some()) {
        Some(define_fork(&mut maker, name)?)
    } else {
        None
    };
    // Who compiles into memory has looked at the machine already.
    let choice = match code {
        Code::Object => choose::define(&mut maker, name, variants)?,
        Code::Jit => None,
    };
    let fork = forks.map(|(id, _)| id);
    let outer = maker.function(run, run_signature, |module, b, params| {
        let callee = module.declare_func_in_func(run_parallel, b.func);
        let null = b.ins().iconst(types::I64, 0);
        let call = b.ins().call(callee, &[params, &[null, null]].concat());
        let status = b.inst_results(call)[0];
        b.ins().return_(&[status]);
        Ok(())
    })?;
    let inner = maker.function(run_parallel, parallel_signature, |module, b, params| {
        run_body(module, b, params, &Body { variants, kernels, weights, fork, choice })
    })?;
    // The deepest of what it calls.
    let mut called = vec![choice.map_or(Some(0), |choice| choice.stack)];
    for (planned, kernel) in
        variants.iter().zip(kernels).flat_map(|(v, k)| v.plan.kernels.iter().zip(&k.functions))
    {
        let between = forks.filter(|_| planned.is_forked()).map_or(Some(0), |(_, stack)| stack);
        called.push(kernel.stack_bytes.zip(between).map(|(a, b)| a + b));
    }
    let called: Option<Vec<u32>> = called.into_iter().collect();
    let deepest = called.and_then(|all| all.into_iter().max());
    let stack_bytes = outer.zip(inner).zip(deepest).map(|((outer, inner), deepest)| outer + inner + deepest);
    let Maker { code_bytes, unwind, .. } = maker;
    Ok(Built { run, run_parallel, weights, kernels: Vec::new(), code_bytes, stack_bytes, unwind })
}

/// What `NAME_run_parallel` is made of.
struct Body<'a> {
    variants: &'a [Variant<'a>],
    kernels: &'a [Kernels],
    weights: Option<DataId>,
    fork: Option<FuncId>,
    choice: Option<Choice>,
}

fn run_body<M: Module>(
    module: &mut M,
    b: &mut FunctionBuilder<'_>,
    params: &[Value],
    body: &Body<'_>,
) -> Result<()> {
    let (&[inputs, outputs, arena, ref more @ ..], &[.., parallel_for, context]) = (params, params) else {
        return Err(internal(&"five parameters"));
    };
    let outside = variant::outside(body.variants);
    let (given, open) = more.split_at(usize::from(outside.is_some()).min(more.len()));
    let Body { variants, kernels, .. } = *body;
    // Arguments and results are the same in all.
    let plan = variants[0].plan;
    let flags = MemFlagsData::new().with_notrap();
    let mut checks = Checks::new(b);
    if !plan.inputs.is_empty() {
        checks.not_null(inputs);
    }
    if !plan.outputs.is_empty() {
        checks.not_null(outputs);
    }
    for (list, ports) in [(inputs, &plan.inputs), (outputs, &plan.outputs)] {
        for (i, _) in ports.iter().enumerate().filter(|(_, p)| !is_empty(p)) {
            let pointer = checks.b.ins().load(types::I64, flags, list, words::WORD * i as i32);
            checks.not_null(pointer);
        }
    }
    if variant::arena_bytes(variants) > 0 {
        checks.not_null(arena);
        let low = checks.b.ins().band_imm_u(arena, variant::arena_align(variants) as i64 - 1);
        checks.fail_if(low, Status::MisalignedArena);
    }
    let mut sizes = Sizes::default();
    if !plan.bounds.is_empty() {
        let [list, ..] = *open else { return Err(internal(&"a parameter for sizes")) };
        checks.not_null(list);
        sizes = Sizes::read(&mut checks, list, plan);
        sizes.check(&mut checks, &plan.assumed)?;
    }
    let base = match (outside, given, body.weights) {
        (Some(outside), [file], _) => file_of(&mut checks, *file, outside, variant::arena_align(variants)),
        (None, _, Some(data)) if variant::weights_bytes(variants) > 0 => {
            let data = module.declare_data_in_func(data, checks.b.func);
            checks.b.ins().symbol_value(types::I64, data)
        }
        _ => checks.b.ins().iconst(types::I64, 0),
    };
    let frame = stack_words(checks.b, words::WORDS);
    let ok = checks.b.ins().iconst(types::I64, i64::from(Status::Ok as i32));
    let filled = [
        (words::ARENA, arena),
        (words::WEIGHTS, base),
        (words::INPUTS, inputs),
        (words::OUTPUTS, outputs),
        (words::STATUS, ok),
    ];
    for (at, word) in filled {
        checks.b.ins().store(flags, word, frame, at);
    }
    let blocks = body.choice.map(|choice| choice.branch(module, &mut checks, variants.len()));
    let failed = checks.failed;
    for (i, (variant, kernels)) in variants.iter().zip(kernels).enumerate() {
        if let Some(blocks) = &blocks {
            b.switch_to_block(blocks[i]);
        }
        let fork = body.fork.map(|f| (f, parallel_for, context));
        let told = (sizes.clone(), open.first().copied());
        let stopped = call_kernels(module, b, (variant.plan, kernels), frame, told, fork)?;
        let status = b.ins().load(types::I64, flags, frame, words::STATUS);
        let code = b.ins().ireduce(types::I32, status);
        b.ins().return_(&[code]);
        if let Some(block) = stopped {
            // What a kernel has left says more.
            b.switch_to_block(block);
            let status = b.ins().load(types::I64, flags, frame, words::STATUS);
            let ok = b.ins().icmp_imm_u(IntCC::Equal, status, i64::from(Status::Ok as i32));
            let outside = b.ins().iconst(types::I64, i64::from(Status::DimensionOutOfBounds as i32));
            let status = b.ins().select(ok, outside, status);
            let code = b.ins().ireduce(types::I32, status);
            b.ins().return_(&[code]);
        }
    }
    for (block, status) in failed {
        b.switch_to_block(block);
        let code = b.ins().iconst(types::I32, i64::from(status as i32));
        b.ins().return_(&[code]);
    }
    Ok(())
}

/// Where the data of a file begins that the caller has in memory: behind the words by which it is known.
fn file_of(checks: &mut Checks<'_, '_>, file: Value, outside: Outside, align: usize) -> Value {
    let flags = MemFlagsData::new().with_notrap();
    checks.not_null(file);
    let low = checks.b.ins().band_imm_u(file, align as i64 - 1);
    checks.fail_if(low, Status::MisalignedWeights);
    let mut other = checks.b.ins().iconst(types::I64, 0);
    for (i, word) in outside.words.into_iter().enumerate() {
        let found = checks.b.ins().load(types::I64, flags, file, words::WORD * i as i32);
        let expected = checks.b.ins().iconst(types::I64, word as i64);
        let differs = checks.b.ins().bxor(found, expected);
        other = checks.b.ins().bor(other, differs);
    }
    checks.fail_if(other, Status::OtherWeights);
    checks.b.ins().iadd_imm_s(file, Outside::BYTES as i64)
}

/// Calls of a plan's kernels, in order; those that threads share go through the fork with the host's two words. Gives where a
/// run goes on in which a size that was counted is outside its bounds.
fn call_kernels<M: Module>(
    module: &mut M,
    b: &mut FunctionBuilder<'_>,
    (plan, kernels): (&Plan, &Kernels),
    frame: Value,
    (mut sizes, told): (Sizes, Option<Value>),
    fork: Option<(FuncId, Value, Value)>,
) -> Result<Option<Block>> {
    // What kernels, calls and loops ask for is computed before the first, or when it is counted.
    let table = if plan.sizes.is_empty() { None } else { Some(sizes.table(b, &plan.sizes)?) };
    let trips = plan.regions.iter().filter_map(|region| match &region.control {
        Control::Loop(Repeat { trips: Some(Trips::Count(size)), .. }) => Some(size),
        _ => None,
    });
    let steps = kernels.functions.iter().map(|k| &k.steps);
    for size in steps.chain(trips).filter(|size| size.as_const().is_none()) {
        if sizes.follows(size) {
            sizes.value(b, size)?;
        }
    }
    let zero = b.ins().iconst(types::I64, 0);
    let places = kernels.places.map(|data| {
        let data = module.declare_data_in_func(data, b.func);
        b.ins().symbol_value(types::I64, data)
    });
    let mut calls = Calls {
        module,
        b,
        plan,
        kernels,
        frame,
        sizes,
        told,
        stopped: None,
        fork,
        table,
        zero,
        places,
        callees: HashMap::new(),
        row_in_frame: None,
    };
    calls.steps(&plan.steps())?;
    Ok(calls.stopped)
}

/// Calls in the making.
struct Calls<'a, 'f, M> {
    module: &'a mut M,
    b: &'a mut FunctionBuilder<'f>,
    plan: &'a Plan,
    kernels: &'a Kernels,
    frame: Value,
    sizes: Sizes,
    /// The caller's list of open dimensions.
    told: Option<Value>,
    /// Where a run ends in which a size is outside its bounds.
    stopped: Option<Block>,
    fork: Option<(FuncId, Value, Value)>,
    table: Option<Value>,
    zero: Value,
    places: Option<Value>,
    callees: HashMap<FuncId, FuncRef>,
    /// The row of sizes that the frame points to, where that is known.
    row_in_frame: Option<usize>,
}

impl<M: Module> Calls<'_, '_, M> {
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            match step {
                Step::Kernel(i) => {
                    self.kernel(*i)?;
                    self.count(*i)?;
                }
                Step::Region(id, inner) => {
                    let known = self.sizes.extent();
                    // What is in the frame behind a branch depends on whether it was taken.
                    self.row_in_frame = None;
                    match &self.plan.regions[id.0 as usize].control {
                        Control::When { condition, is } => self.when(condition, *is, inner)?,
                        Control::Loop(repeat) => self.repeat(repeat, inner)?,
                    }
                    self.row_in_frame = None;
                    self.sizes.forget(known);
                }
            }
        }
        Ok(())
    }

    /// Reads the sizes that a kernel has counted, and computes what follows from them.
    fn count(&mut self, i: usize) -> Result<()> {
        let flags = MemFlagsData::new().with_notrap();
        let plan = self.plan;
        for Counted { name, offset_bytes, .. } in plan.counted_by(i) {
            let missing = || internal(&format!("nobody is told the size '{name}'"));
            let told = self.told.ok_or_else(missing)?;
            let at = plan.bounds.keys().position(|other| other == name).ok_or_else(missing)?;
            let arena = self.b.ins().load(types::I64, flags, self.frame, words::ARENA);
            let cell = self.b.ins().iadd_imm_s(arena, *offset_bytes as i64);
            let value = self.b.ins().load(types::I64, flags, cell, 0);
            let outside = self.sizes.tell(self.b, name, value);
            self.stop_if(outside);
            self.b.ins().store(flags, value, told, words::WORD * at as i32);
            let follows = |size: &Dim| size.symbols().contains(name);
            if let Some(table) = self.table {
                self.sizes.fill(self.b, table, &plan.sizes, &follows)?;
            }
            for zero in plan.assumed.iter().filter(|zero| follows(zero)) {
                if self.sizes.follows(zero) {
                    let value = self.sizes.value(self.b, zero)?;
                    self.stop_if(value);
                }
            }
        }
        Ok(())
    }

    fn stop_if(&mut self, condition: Value) {
        let stopped = *self.stopped.get_or_insert_with(|| {
            let block = self.b.create_block();
            self.b.set_cold_block(block);
            block
        });
        let next = self.b.create_block();
        self.b.ins().brif(condition, stopped, &[], next, &[]);
        self.b.switch_to_block(next);
    }

    fn kernel(&mut self, i: usize) -> Result<()> {
        let flags = MemFlagsData::new().with_notrap();
        let (planned, kernel) = (&self.plan.kernels[i], &self.kernels.functions[i]);
        let (module, b, frame, zero) = (&mut *self.module, &mut *self.b, self.frame, self.zero);
        let callee =
            *self.callees.entry(kernel.id).or_insert_with(|| module.declare_func_in_func(kernel.id, b.func));
        if let (Some(places), Some(row)) = (self.places, &kernel.row) {
            let row = b.ins().iadd_imm_s(places, i64::from(words::WORD) * row.start as i64);
            b.ins().store(flags, row, frame, words::PLACES);
        }
        let other_row = planned.has_sizes() && self.row_in_frame != Some(kernel.sizes);
        if let Some(table) = self.table.filter(|_| other_row) {
            let row = b.ins().iadd_imm_s(table, i64::from(words::WORD) * kernel.sizes as i64);
            b.ins().store(flags, row, frame, words::SIZES);
            self.row_in_frame = Some(kernel.sizes);
        }
        let steps = self.sizes.value(b, &kernel.steps)?;
        let least = kernel.steps.as_const();
        match (&planned.grain, self.fork) {
            (Some(grain), Some((fork, parallel_for, context))) if planned.is_forked() => {
                let address = b.ins().func_addr(types::I64, callee);
                let grain = self.sizes.value(b, grain)?;
                let fork = module.declare_func_in_func(fork, b.func);
                let host = match least {
                    Some(_) => parallel_for,
                    // A single piece is no reason to wake anybody.
                    None => {
                        let some = b.ins().icmp(IntCC::SignedGreaterThan, steps, grain);
                        b.ins().select(some, parallel_for, zero)
                    }
                };
                b.ins().call(fork, &[frame, address, steps, grain, host, context]);
            }
            _ => {
                b.ins().call(callee, &[frame, zero, steps]);
            }
        }
        Ok(())
    }

    fn when(&mut self, condition: &FlatAccess, is: bool, inner: &[Step]) -> Result<()> {
        let value = self.load(condition)?;
        let (taken, behind) = (self.b.create_block(), self.b.create_block());
        let (yes, no) = if is { (taken, behind) } else { (behind, taken) };
        self.b.ins().brif(value, yes, &[], no, &[]);
        self.b.switch_to_block(taken);
        self.steps(inner)?;
        self.b.ins().jump(behind, &[]);
        self.b.switch_to_block(behind);
        Ok(())
    }

    fn repeat(&mut self, repeat: &Repeat<FlatAccess>, inner: &[Step]) -> Result<()> {
        let flags = MemFlagsData::new().with_notrap();
        let (head, body, behind) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let turn = self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[self.zero.into()]);
        self.b.switch_to_block(head);
        let status = self.b.ins().load(types::I64, flags, self.frame, words::STATUS);
        let mut go = self.b.ins().icmp_imm_u(IntCC::Equal, status, i64::from(Status::Ok as i32));
        let trips = match &repeat.trips {
            None => None,
            Some(Trips::Count(size)) => Some(self.sizes.value(self.b, size)?),
            Some(Trips::Read(cell)) => Some(self.load(cell)?),
        };
        if let Some(trips) = trips {
            let left = self.b.ins().icmp(IntCC::SignedLessThan, turn, trips);
            go = self.b.ins().band(go, left);
        }
        if let Some(condition) = &repeat.condition {
            let value = self.load(condition)?;
            let holds = self.b.ins().icmp_imm_u(IntCC::NotEqual, value, 0);
            go = self.b.ins().band(go, holds);
        }
        self.b.ins().brif(go, body, &[], behind, &[]);
        self.b.switch_to_block(body);
        let (base, at) = self.place(&repeat.counter)?;
        self.b.ins().store(flags, turn, base, at);
        self.steps(inner)?;
        let next = self.b.ins().iadd_imm_s(turn, 1);
        self.b.ins().jump(head, &[next.into()]);
        self.b.switch_to_block(behind);
        Ok(())
    }

    /// The value of a cell: a bool or an i64.
    fn load(&mut self, cell: &FlatAccess) -> Result<Value> {
        let flags = MemFlagsData::new().with_notrap();
        let (base, at) = self.place(cell)?;
        Ok(match cell.dtype {
            DType::Bool => self.b.ins().uload8(types::I64, flags, base, at),
            _ => self.b.ins().load(types::I64, flags, base, at),
        })
    }

    /// Where a cell lies: an address and a displacement.
    fn place(&mut self, cell: &FlatAccess) -> Result<(Value, i32)> {
        let flags = MemFlagsData::new().with_notrap();
        let offset = cell.offset.as_const().ok_or_else(|| internal(&"a cell at an open place"))?;
        let within = offset * cell.dtype.size() as i64;
        let mut word = |at: i32| self.b.ins().load(types::I64, flags, self.frame, at);
        let (base, start) = match cell.storage {
            Storage::Arena { offset_bytes } => (word(words::ARENA), offset_bytes as i64),
            Storage::Weights { offset_bytes } => (word(words::WEIGHTS), offset_bytes as i64),
            Storage::Input(i) | Storage::Output(i) => {
                let input = matches!(cell.storage, Storage::Input(_));
                let list = word(if input { words::INPUTS } else { words::OUTPUTS });
                (self.b.ins().load(types::I64, flags, list, words::WORD * i as i32), 0)
            }
        };
        Ok((self.b.ins().iadd_imm_s(base, start + within), 0))
    }
}

fn is_empty(port: &Port) -> bool {
    port.ty.shape.iter().any(|d| d.is(0))
}

/// `fork` and `piece` of the header comment. The closure is `{kernel, frame, steps, grain}`.
fn define_fork<M: Module>(maker: &mut Maker<'_, M>, name: &str) -> Result<(FuncId, Stack)> {
    let flags = MemFlagsData::new().with_notrap();
    let piece_signature = maker.c_signature(2, false);
    let piece = maker.declare(&format!("{name}_piece"), Linkage::Local, &piece_signature)?;
    maker.function(piece, piece_signature, |_, b, params| {
        let word = |b: &mut FunctionBuilder<'_>, i: i32| b.ins().load(types::I64, flags, params[0], 8 * i);
        let (kernel, frame, steps, grain) = (word(b, 0), word(b, 1), word(b, 2), word(b, 3));
        let begin = b.ins().imul(params[1], grain);
        let end = b.ins().iadd(begin, grain);
        let beyond = b.ins().icmp(IntCC::SignedGreaterThan, end, steps);
        let end = b.ins().select(beyond, steps, end);
        let signature = b.import_signature(kernel_signature());
        b.ins().call_indirect(signature, kernel, &[frame, begin, end]);
        b.ins().return_(&[]);
        Ok(())
    })?;
    let mut fork_signature = kernel_signature();
    fork_signature.params.extend([AbiParam::new(types::I64); 3]);
    let fork = maker.declare(&format!("{name}_fork"), Linkage::Local, &fork_signature)?;
    let host_signature = maker.c_signature(4, false);
    let stack = maker.function(fork, fork_signature, |module, b, params| {
        let [frame, kernel, steps, grain, parallel_for, context] = params[..6] else {
            return Err(internal(&"six parameters"));
        };
        let (serial, parallel) = (b.create_block(), b.create_block());
        let null = b.ins().icmp_imm_u(IntCC::Equal, parallel_for, 0);
        b.ins().brif(null, serial, &[], parallel, &[]);
        b.switch_to_block(serial);
        let zero = b.ins().iconst(types::I64, 0);
        let signature = b.import_signature(kernel_signature());
        b.ins().call_indirect(signature, kernel, &[frame, zero, steps]);
        b.ins().return_(&[]);
        b.switch_to_block(parallel);
        let closure = stack_words(b, 4);
        for (i, word) in [kernel, frame, steps, grain].into_iter().enumerate() {
            b.ins().store(flags, word, closure, 8 * i as i32);
        }
        let callee = module.declare_func_in_func(piece, b.func);
        let task = b.ins().func_addr(types::I64, callee);
        let rounded = b.ins().iadd(steps, grain);
        let rounded = b.ins().iadd_imm_s(rounded, -1);
        let count = b.ins().udiv(rounded, grain);
        let signature = b.import_signature(host_signature);
        b.ins().call_indirect(signature, parallel_for, &[context, task, closure, count]);
        b.ins().return_(&[]);
        Ok(())
    })?;
    Ok((fork, stack))
}
