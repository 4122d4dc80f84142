//! Sweeps of streams against the interpreter of plans.

use Role::{Parallel, Reduce};
use kiln_ir::DType;
use kiln_ir::kernel::plan::{PlannedKernel, Schedule, Storage, Stream};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, Role, Store};

use super::vector_testing::{Memory, access, check, kernel, l, numbers};

/// Two products `out[b][n] = max(sum over h and k of lhs[b][h][k] * rhs[b][h][k][n] + bias[n], 0)`, or the sum alone.
fn stream(n: i64, k: i64, width: u32, rows: u32, epilogue: bool) -> (PlannedKernel, Memory) {
    let (products, high) = (2, 2);
    let bias = Expr::Load(access(Storage::Input(2), 0, &[0, 1, 0, 0]));
    let sum = Expr::binary(BinaryOp::Add, Expr::Acc, bias);
    let form = Form::Contract {
        acc: DType::F32,
        lhs: access(Storage::Input(0), 0, &[high * k, 0, k, 1]),
        rhs: access(Storage::Input(1), 0, &[high * k * n, 1, k * n, n]),
        store: Store {
            to: access(Storage::Output(0), 0, &[n, 1, 0, 0]),
            value: if epilogue { Expr::binary(BinaryOp::Max, sum, Expr::f32(0.0)) } else { Expr::Acc },
        },
    };
    let schedule =
        Stream { outer: vec![LoopId(0)], col: LoopId(1), width, depth: vec![LoopId(2), LoopId(3)], rows };
    let loops =
        vec![l("b", products, Parallel), l("n", n, Parallel), l("h", high, Reduce), l("k", k, Reduce)];
    let memory = Memory {
        inputs: vec![
            numbers((products * high * k) as usize, 31),
            numbers((products * high * k * n) as usize, 32),
            numbers(n as usize, 33),
        ],
        weights: Vec::new(),
        outputs: vec![vec![0.0; (products * n) as usize]],
    };
    (kernel(loops, form, Schedule::Stream(schedule)), memory)
}

#[test]
fn panels_of_all_remainders() {
    for width in [16, 64] {
        for n in [1, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 130] {
            let (kernel, memory) = stream(n, 7, width, 4, n % 2 == 1);
            check(&kernel, &memory);
        }
    }
}

#[test]
fn rows_of_all_remainders() {
    for rows in [1, 2, 4, 5] {
        for k in [1, 2, 3, 4, 5, 8, 9, 11] {
            let (kernel, memory) = stream(37, k, 32, rows, k % 2 == 0);
            check(&kernel, &memory);
        }
    }
}

#[test]
fn panels_are_shared_without_outer_loops() {
    let (mut kernel, mut memory) = stream(75, 6, 32, 4, true);
    let Schedule::Stream(stream) = &mut kernel.schedule else { panic!("a stream") };
    stream.outer.clear();
    // One product: the loop over products becomes one more of depth.
    stream.depth.insert(0, LoopId(0));
    kernel.loops[0].role = Reduce;
    let Form::Contract { store, .. } = &mut kernel.form else { panic!("a product") };
    store.to = access(Storage::Output(0), 0, &[0, 1, 0, 0]);
    memory.outputs[0].truncate(75);
    check(&kernel, &memory);
}
