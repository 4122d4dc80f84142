//! GFLOP/s of register tiles beside the peak of the same multiply-adds without loads.
//!
//! `cargo run --release -p kiln-benches --bin tile [level]`; every level that this machine has by default.
#![allow(unsafe_code)] // calls of emitted code

use std::time::Instant;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, InstBuilder};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use kiln_compiler::codegen::vector;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Schedule, Storage, Tile};
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, Role, Store};
use kiln_ir::{DType, Dim};
use kiln_targets::Target;
use kiln_targets::encode::{Program, encode};
use kiln_targets::generic::clif::Clif;
use kiln_targets::isa::{Code, isa};
use kiln_targets::simd::{R, Simd, Src};

/// Something to emit.
trait Emit {
    fn emit<S: Simd>(&self, target: &Target, s: &mut S) -> R;
}

struct Kernel(PlannedKernel);

impl Emit for Kernel {
    fn emit<S: Simd>(&self, target: &Target, s: &mut S) -> R {
        vector::emit(&self.0, target.lhs_access, s)
    }
}

/// `end` times 24 multiply-adds on 12 accumulators.
struct Peak;

impl Emit for Peak {
    fn emit<S: Simd>(&self, _: &Target, s: &mut S) -> R {
        let x = s.splat(0.0)?;
        let acc = (0..12).map(|_| s.splat(1.0)).collect::<R<Vec<_>>>()?;
        let count = s.arg(2)?;
        s.repeat_ptr(count, &mut |s| {
            // In a register: the loop counts in the frame.
            s.repeat(100, &mut |s| acc.iter().chain(&acc).try_for_each(|acc| s.fma(acc, &x, Src::Reg(&x))))
        })
    }
}

type Run = extern "sysv64" fn(*const *const u8, i64, i64);

/// For the encoder.
struct Encoded<'e, E>(&'e Target, &'e E);

impl<E: Emit> Program for Encoded<'_, E> {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        self.1.emit(self.0, s)
    }
}

/// The code lives until the end of the program.
fn compile(target: &Target, what: &impl Emit) -> Option<(Run, Vec<u8>)> {
    let isa = isa(target, Code::Jit).expect("consistent settings");
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut ctx = module.make_context();
    ctx.func.signature.call_conv = CallConv::SystemV;
    ctx.func.signature.params.extend([AbiParam::new(I64); 3]);
    let id = module.declare_function("f", Linkage::Export, &ctx.func.signature).expect("a new name");
    let code = if let Some(code) = encode(target, &Encoded(target, what)).ok()? {
        module.define_function_bytes(id, 64, &code, &[]).expect("a declared function");
        code
    } else {
        let mut contexts = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut contexts);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let args = [0, 1, 2].map(|i| b.block_params(entry)[i]);
        what.emit(target, &mut Clif::new(&mut b, entry, args, target)).ok()?;
        b.ins().return_(&[]);
        b.finalize(module.target_config());
        module.define_function(id, &mut ctx).expect("code");
        ctx.compiled_code().expect("code").code_buffer().to_vec()
    };
    module.finalize_definitions().expect("memory");
    let run = module.get_finalized_function(id);
    std::mem::forget(module);
    // SAFETY: emitted with this signature and convention.
    Some((unsafe { std::mem::transmute::<*const u8, Run>(run) }, code))
}

fn access(storage: Storage, strides: &[i64]) -> FlatAccess {
    FlatAccess {
        name: "x".to_owned(),
        storage,
        dtype: DType::F32,
        offset: Dim::Const(0),
        strides: strides.iter().map(|s| Dim::Const(*s)).collect(),
        gathers: Vec::new(),
        guards: Vec::new(),
        otherwise: None,
    }
}

/// `m` x `n` results with `k` products each, a clamp at 0, packed weights.
fn matmul(m: i64, n: i64, k: i64, mr: u32, nr: u32, unroll: u32) -> PlannedKernel {
    let l = |name: &str, n: i64, role| Loop { name: name.to_owned(), extent: Dim::Const(n), role };
    let nr_elems = i64::from(nr);
    PlannedKernel {
        name: "matmul".to_owned(),
        nodes: Vec::new(),
        loops: vec![l("m", m, Role::Parallel), l("n", n, Role::Parallel), l("k", k, Role::Reduce)],
        form: Form::Contract {
            acc: DType::F32,
            lhs: access(Storage::Input(0), &[k, 0, 1]),
            rhs: access(Storage::Weights { offset_bytes: 0 }, &[0, 1, nr_elems]),
            store: Store {
                to: access(Storage::Output(0), &[n, 1, 0]),
                value: Expr::binary(BinaryOp::Max, Expr::Acc, Expr::f32(0.0)),
            },
        },
        schedule: Schedule::Tile(Tile {
            outer: Vec::new(),
            row: Some(LoopId(0)),
            col: LoopId(1),
            depth: vec![LoopId(2)],
            mr,
            nr,
            panel_stride: k * nr_elems,
            rhs_padded: true,
            unroll,
            panels_outermost: true,
            prefetch: 0,
        }),
        why: String::new(),
        grain: None,
    }
}

/// Seconds of the fastest of several runs.
fn best(mut run: impl FnMut()) -> f64 {
    (0..30)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let wanted = std::env::args().nth(1);
    for (level, features) in [("sse2", ""), ("avx", ""), ("avx", "+fma"), ("avx2", ""), ("avx512", "")] {
        let name = format!("{level}{features}");
        if wanted.as_ref().is_some_and(|w| *w != name) {
            continue;
        }
        let target = kiln_targets::resolve("host", level, features).expect("a level of this machine");
        let lanes = target.lanes() as i64;
        // The machine's peak at this width: with FMA, whatever the level has.
        let mut fused = target.clone();
        if target.lanes() == 4 {
            fused = kiln_targets::resolve("host", "avx", "+fma").expect("a level of this machine");
        }
        let (peak, _) = compile(&fused, &Peak).expect("registers enough");
        let peak = 2.0 * 24.0 * lanes as f64 * 1e6 / best(|| peak(std::ptr::null(), 0, 10_000)) / 1e9;
        println!("{name}, {} bits: peak {peak:.1} GFLOP/s", 32 * lanes);
        for (mr, vectors) in
            [(1, 8), (2, 4), (2, 6), (3, 3), (3, 4), (4, 2), (4, 3), (5, 2), (6, 2), (9, 3), (14, 2)]
        {
            for unroll in [1, 2, 4] {
                let nr = vectors * lanes as u32;
                // A depth whose panel stays in the first-level cache.
                let (m, n, k) = (i64::from(mr) * 24, i64::from(nr) * 4, 128);
                let kernel = Kernel(matmul(m, n, k, mr, nr, unroll));
                let Some((run, code)) = compile(&target, &kernel) else {
                    println!("  {mr}x{nr}: refused");
                    break;
                };
                let (lhs, rhs) = (vec![1f32; (m * k) as usize], vec![1f32; (n * k) as usize]);
                let mut out = vec![0f32; (m * n) as usize];
                let (inputs, outputs) =
                    ([lhs.as_ptr().cast::<u8>()], [out.as_mut_ptr().cast::<u8>().cast_const()]);
                let frame =
                    [std::ptr::null(), rhs.as_ptr().cast(), inputs.as_ptr().cast(), outputs.as_ptr().cast()];
                let shared = vector::shared_extent(&kernel.0, lanes as usize).expect("a tile");
                let seconds = best(|| (0..20).for_each(|_| run(frame.as_ptr(), 0, shared))) / 20.0;
                let rate = 2.0 * (m * n * k) as f64 / seconds / 1e9;
                println!(
                    "  {mr}x{nr} unroll {unroll}: {rate:6.1} GFLOP/s, {:3.0} %, {} bytes",
                    100.0 * rate / peak,
                    code.len()
                );
                if let Ok(folder) = std::env::var("KILN_BENCH_CODE") {
                    let file = format!("{folder}/{name}_{mr}x{nr}_u{unroll}.bin");
                    std::fs::write(file, code).expect("a folder to write code to");
                }
            }
        }
    }
}
