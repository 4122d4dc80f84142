//! GFLOP/s of register tiles beside the peak of the same multiply-adds without loads.
//!
//! `cargo run --release -p kiln-benches --bin tile [level]`; every level that this machine has by default.
#![allow(unsafe_code)] // calls of emitted code

use kiln_compiler::internals::codegen::vector::Vectors;
use kiln_compiler::internals::emit::leaf::Leaf;
use kiln_compiler::internals::peak;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Provider, Schedule, Shared, Storage, Tile};
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, Role, Store};
use kiln_ir::{DType, Dim};

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
fn matmul(m: i64, n: i64, k: i64, mr: u32, nr: u32, unroll: u32, vector_bytes: u32) -> PlannedKernel {
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
            panel: nr_elems as u32,
            panel_stride: k * nr_elems,
            rhs_padded: true,
            unroll,
            straight: false,
            by_lane: false,
            quad: None,
            eight: None,
            watched: false,
            panels_outermost: true,
            prefetch: 0,
        }),
        provider: Provider::Encoder { vector_bytes },
        shared: Some(Shared { along: LoopId(1), step: nr }),
        why: String::new(),
        grain: None,
        bounds: Default::default(),
    }
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
        let peak = peak::flops(&target).expect("registers enough") / 1e9;
        println!("{name}, {} bits: peak {peak:.1} GFLOP/s", 32 * lanes);
        for (mr, vectors) in
            [(1, 8), (2, 4), (2, 6), (3, 3), (3, 4), (4, 2), (4, 3), (5, 2), (6, 2), (9, 3), (14, 2)]
        {
            for unroll in [1, 2, 4] {
                let nr = vectors * lanes as u32;
                // A depth whose panel stays in the first-level cache.
                let (m, n, k) = (i64::from(mr) * 24, i64::from(nr) * 4, 128);
                let kernel = matmul(m, n, k, mr, nr, unroll, target.vector_bytes as u32);
                let Ok(leaf) = Leaf::new(&target, &Vectors::new(&kernel)) else {
                    println!("  {mr}x{nr}: refused");
                    break;
                };
                let (lhs, rhs) = (vec![1f32; (m * k) as usize], vec![1f32; (n * k) as usize]);
                let mut out = vec![0f32; (m * n) as usize];
                let (inputs, outputs) =
                    ([lhs.as_ptr().cast::<u8>()], [out.as_mut_ptr().cast::<u8>().cast_const()]);
                let frame =
                    [std::ptr::null(), rhs.as_ptr().cast(), inputs.as_ptr().cast(), outputs.as_ptr().cast()];
                let steps = kernel.steps().expect("constant extents");
                // SAFETY: the frame has the operands of exactly these sizes.
                let run = || (0..20).for_each(|_| unsafe { leaf.call(frame.as_ptr(), 0, steps) });
                let seconds = peak::fastest(30, run) / 20.0;
                let rate = 2.0 * (m * n * k) as f64 / seconds / 1e9;
                println!(
                    "  {mr}x{nr} unroll {unroll}: {rate:6.1} GFLOP/s, {:3.0} %, {} bytes",
                    100.0 * rate / peak,
                    leaf.code().len()
                );
                if let Ok(folder) = std::env::var("KILN_BENCH_CODE") {
                    let file = format!("{folder}/{name}_{mr}x{nr}_u{unroll}.bin");
                    std::fs::write(file, leaf.code()).expect("a folder to write code to");
                }
            }
        }
    }
}
