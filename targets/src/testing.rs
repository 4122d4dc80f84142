//! Runs code of the vector builders in memory: for the tests of this crate.
#![allow(unsafe_code)] // calls of emitted code

use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, InstBuilder, types::I64};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};

use crate::Target;
use crate::call::Kernel;
use crate::emulated;
use crate::encode::{Program, encode};
use crate::generic::clif::Clif;
use crate::isa::{Code, isa};
use crate::simd::{R, Refusal, Simd, V};

/// The levels of x86-64 that Cranelift's code differs for.
const LEVELS: [&str; 3] = ["sse2", "avx", "avx2"];

/// What the encoder's code differs for: level, changes of features, bytes of a vector.
const ENCODED: [(&str, &str, usize); 11] = [
    ("sse2", "", 16),
    ("sse2", "+sse4.1", 16),
    ("avx", "", 16),
    ("avx", "+fma", 16),
    ("avx", "+f16c", 16),
    ("avx2", "", 32),
    ("avx2", "-f16c", 32),
    ("avx2", "+avxvnni", 32),
    ("avx512", "", 64),
    ("avx512vnni", "", 64),
    ("avx512vnni", "+avx512vbmi", 64),
];

/// Levels of AArch64 and processors that the encoder's code differs for.
const EMULATED: [&str; 7] = ["neon", "cortex-a53", "dotprod", "cortex-a55", "i8mm", "armv8.6", "cortex-a510"];

/// A program's code for every level of AArch64 that the emulator runs, unless it is refused.
fn emulated(program: &impl Program) -> Vec<(&'static str, Vec<u8>)> {
    let levels = EMULATED.into_iter().filter(|_| emulated::exists());
    let code = levels.filter_map(|level| {
        let target = crate::resolve("aarch64-unknown-linux-gnu", level, "").expect("a known level");
        match encode(&target, program) {
            // Kernels like this are Cranelift's.
            Err(Refusal::Unsupported(_) | Refusal::OutOfRegisters) => None,
            code => Some((level, code.expect("a program").expect("an encoder").code)),
        }
    });
    let mut code: Vec<(&'static str, Vec<u8>)> = code.collect();
    // Most programs are the same on every level.
    code.dedup_by(|later, earlier| later.1 == earlier.1);
    code
}

/// The target of an entry of [`ENCODED`]; `None` where this machine is another.
fn encoded_target((level, features, vector_bytes): (&str, &str, usize)) -> Option<Target> {
    let native = crate::resolve("", "native", "").expect("this machine");
    let target = crate::resolve("x86_64-unknown-linux-gnu", level, features).expect("a known level");
    assert_eq!(target.vector_bytes, vector_bytes);
    target.features.iter().all(|f| native.features.contains(f)).then_some(target)
}

/// A function on one vector.
pub(crate) trait Unary {
    /// Replaces the register's lanes.
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R;
}

/// The loop over vectors around a function, for the encoder.
struct Looped<'f, F>(&'f F);

impl<F: Unary> Program for Looped<'_, F> {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        loop_over(s, self.0)
    }
}

/// `f` of every number, by Cranelift's code for the level.
fn map(level: &str, f: &impl Unary, xs: &[f32]) -> Vec<f32> {
    let target = crate::resolve("x86_64-unknown-linux-gnu", level, "").expect("a known level");
    let (mut module, id, mut ctx) = module(&target);
    build(&mut ctx, &target, module.target_config(), &Looped(f));
    module.define_function(id, &mut ctx).expect("verified code");
    run(module, id, xs, 4)
}

/// `f` of every number by every builder that this machine can run, each with its lanes.
pub(crate) fn map_by_all(f: &impl Unary, xs: &[f32]) -> Vec<(usize, Vec<f32>)> {
    let cranelift = LEVELS.into_iter().map(|level| (4, map(level, f, xs)));
    let encoded = ENCODED.into_iter().filter_map(encoded_target).map(|target| {
        let code = encode(&target, &Looped(f)).expect("registers enough").expect("an encoder");
        let (mut module, id, _) = module(&target);
        module.define_function_bytes(id, 64, &code.code, &[]).expect("a declared function");
        (target.lanes(), run(module, id, xs, target.lanes()))
    });
    let emulated = emulated(&Looped(f)).into_iter().map(|(_, code)| {
        let vectors = xs.len().div_ceil(4);
        let mut data: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
        data.resize(16 * vectors, 0);
        let mut found = floats(&emulated::run(&code, &data, 0, vectors as i64));
        found.truncate(xs.len());
        (4, found)
    });
    cranelift.chain(encoded).chain(emulated).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// `program(data, begin, end)` on zeros by every builder that this machine can run; what it leaves there.
pub(crate) fn run_by_all(program: &impl Program, elements: usize, begin: i64, end: i64) -> Vec<Vec<f32>> {
    run_on(program, &vec![0; 4 * elements], begin, end).into_iter().map(|ran| floats(&ran.data)).collect()
}

/// Cranelift's code for another machine: that there is some.
pub(crate) fn compile_for(triple: &str, program: &impl Program) -> Vec<u8> {
    let target = crate::resolve(triple, "", "").expect("a known machine");
    let isa = isa(&target, Code::Object, true).expect("consistent settings");
    let mut ctx = Context::new();
    ctx.func.signature.params.extend([AbiParam::new(I64); 3]);
    build(&mut ctx, &target, isa.frontend_config(), program);
    let code = ctx.compile(&*isa, &mut Default::default()).expect("a pattern for every operation");
    code.code_buffer().to_vec()
}

/// The program as the body of a function of Cranelift's.
fn build(ctx: &mut Context, target: &Target, config: TargetFrontendConfig, program: &impl Program) {
    let mut contexts = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut contexts);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let args = [0, 1, 2].map(|i| b.block_params(entry)[i]);
    program.emit(&mut Clif::new(&mut b, entry, args, target)).expect("no limit of registers");
    b.ins().return_(&[]);
    b.finalize(config);
}

/// What a builder's code made of the data.
pub(crate) struct Ran {
    /// The builder and the level.
    pub(crate) name: String,
    /// Lanes of 32 bits.
    pub(crate) lanes: usize,
    /// The data afterwards.
    pub(crate) data: Vec<u8>,
}

/// `program(data, begin, end)` by every builder that this machine can run. The data is off any alignment.
pub(crate) fn run_on(program: &impl Program, data: &[u8], begin: i64, end: i64) -> Vec<Ran> {
    run_at(program, data, begin, end, &LEVELS)
}

/// The same of a program that Cranelift has no code for without AVX.
pub(crate) fn run_supported(program: &impl Program, data: &[u8], begin: i64, end: i64) -> Vec<Ran> {
    run_at(program, data, begin, end, &LEVELS[1..])
}

/// The same by the encoder alone, where it supports it.
pub(crate) fn run_encoded(program: &impl Program, data: &[u8], begin: i64, end: i64) -> Vec<Ran> {
    run_at(program, data, begin, end, &[])
}

fn run_at(program: &impl Program, data: &[u8], begin: i64, end: i64, levels: &[&str]) -> Vec<Ran> {
    let cranelift = levels.iter().map(|level| {
        let target = crate::resolve("x86_64-unknown-linux-gnu", level, "").expect("a known level");
        let (mut module, id, mut ctx) = module(&target);
        build(&mut ctx, &target, module.target_config(), program);
        module.define_function(id, &mut ctx).expect("verified code");
        (format!("Cranelift for {level}"), 4, module, id)
    });
    let encoded = ENCODED.into_iter().filter_map(|entry| Some((entry, encoded_target(entry)?)));
    let encoded = encoded.filter_map(|((level, features, _), target)| {
        let code = match encode(&target, program) {
            // Kernels like this are Cranelift's.
            Err(Refusal::Unsupported(_) | Refusal::OutOfRegisters) => return None,
            code => code.expect("a program").expect("an encoder"),
        };
        let (mut module, id, _) = module(&target);
        module.define_function_bytes(id, 64, &code.code, &[]).expect("a declared function");
        Some((format!("{level}{features}"), target.lanes(), module, id))
    });
    cranelift
        .chain(encoded)
        .map(|(name, lanes, mut module, id)| {
            module.finalize_definitions().expect("memory for code");
            let mut all = vec![0; 1];
            all.extend(data);
            // SAFETY: the code was emitted with this signature and convention; the caller's program stays inside.
            unsafe {
                let code = module.get_finalized_function(id);
                let run = std::mem::transmute::<*const u8, Kernel<u8>>(code);
                run(all.as_mut_ptr().add(1), begin, end);
                module.free_memory();
            }
            Ran { name, lanes, data: all.split_off(1) }
        })
        .chain(emulated(program).into_iter().map(|(level, code)| Ran {
            name: format!("AArch64 {level}"),
            lanes: 4,
            data: emulated::run(&code, data, begin, end),
        }))
        .collect()
}

fn module(target: &Target) -> (JITModule, FuncId, Context) {
    let isa = isa(target, Code::Jit, true).expect("consistent settings");
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut ctx = module.make_context();
    ctx.func.signature.call_conv = CallConv::SystemV;
    ctx.func.signature.params.extend([AbiParam::new(I64); 3]);
    let id = module.declare_function("map", Linkage::Export, &ctx.func.signature).expect("a new name");
    (module, id, ctx)
}

fn run(mut module: JITModule, id: FuncId, xs: &[f32], lanes: usize) -> Vec<f32> {
    module.finalize_definitions().expect("memory for code");
    let out = call(module.get_finalized_function(id), xs, lanes);
    // SAFETY: the code is not called any more.
    unsafe { module.free_memory() };
    out
}

/// `fn(data, unused, vectors)`: every vector of the data is replaced.
fn loop_over<S: Simd>(s: &mut S, f: &impl Unary) -> R {
    let (data, count) = (s.arg(0)?, s.arg(2)?);
    let lanes = s.lanes();
    s.repeat_ptr(count, &mut |s| {
        let v = s.load(&data, 0, lanes)?;
        f.emit(s, &v)?;
        s.store(&data, 0, &v, lanes)?;
        s.free(v);
        s.advance(&data, 4 * lanes as i64);
        Ok(())
    })
}

fn call(code: *const u8, xs: &[f32], lanes: usize) -> Vec<f32> {
    let mut data = xs.to_vec();
    data.resize(xs.len().next_multiple_of(lanes), 1.0);
    // SAFETY: the code was emitted with this signature and convention; it touches the vectors of `data` only.
    unsafe {
        let run = std::mem::transmute::<*const u8, Kernel<f32>>(code);
        run(data.as_mut_ptr(), 0, (data.len() / lanes) as i64);
    }
    data.truncate(xs.len());
    data
}

/// What code that asks the processor for its features stores.
pub(crate) fn ask(code: &[u8], words: usize) -> Vec<u32> {
    let target = crate::resolve("x86_64-unknown-linux-gnu", "", "").expect("a known level");
    let (mut module, id, _) = module(&target);
    module.define_function_bytes(id, 64, code, &[]).expect("a declared function");
    module.finalize_definitions().expect("memory for code");
    // Words behind the answer stay as they are.
    let mut answer = vec![0xA5A5_A5A5_u32; words + 1];
    // SAFETY: the code has this convention, ignores further arguments and stores that many words.
    unsafe {
        let code = module.get_finalized_function(id);
        std::mem::transmute::<*const u8, Kernel<u32>>(code)(answer.as_mut_ptr(), 0, 0);
        module.free_memory();
    }
    assert_eq!(answer.pop(), Some(0xA5A5_A5A5));
    answer
}
