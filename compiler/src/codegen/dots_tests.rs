//! Sweeps of dot products against the interpreter of plans.

use Role::{Parallel, Reduce};
use kiln_ir::DType;
use kiln_ir::kernel::plan::{Dots, PlannedKernel, Schedule, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, Role, Store};
use kiln_targets::simd::Refusal;

use super::vector_testing::{Emitted, Machine, Memory, access, check, kernel, l, numbers};

const WEIGHTS: Storage = Storage::Weights { offset_bytes: 0 };

/// `out[n][m] = max(sum over h and k of lhs[m * step + h * 7 * k + k] * rhs[n][h][k] + bias[n], 0)`: rows that overlap,
/// two loops of depth, a result that lies the other way round.
fn dots(m: i64, n: i64, k: i64, (row, col, vectors): (u32, u32, u32)) -> (PlannedKernel, Memory) {
    let (high, step) = (2, 3);
    let inputs = (m - 1) * step + (high - 1) * 7 * k + k;
    let bias = access(Storage::Weights { offset_bytes: (4 * n * high * k) as usize }, 0, &[0, 1, 0, 0]);
    let sum = Expr::binary(BinaryOp::Add, Expr::Acc, Expr::Load(bias));
    let form = Form::Contract {
        acc: DType::F32,
        lhs: access(Storage::Input(0), 0, &[step, 0, 7 * k, 1]),
        rhs: access(WEIGHTS, 0, &[0, high * k, k, 1]),
        store: Store {
            to: access(Storage::Output(0), 0, &[1, m, 0, 0]),
            value: Expr::binary(BinaryOp::Max, sum, Expr::f32(0.0)),
        },
    };
    let schedule = Dots {
        outer: Vec::new(),
        row: Some((LoopId(0), row)),
        col: Some((LoopId(1), col)),
        depth: vec![LoopId(2)],
        lane: LoopId(3),
        vectors,
    };
    let loops = vec![l("m", m, Parallel), l("n", n, Parallel), l("h", high, Reduce), l("k", k, Reduce)];
    let memory = Memory {
        inputs: vec![numbers(inputs as usize, 21)],
        weights: numbers((n * high * k + n) as usize, 22),
        outputs: vec![vec![0.0; (m * n) as usize]],
    };
    (kernel(loops, form, Schedule::Dots(schedule)), memory)
}

/// Tiles for which every machine has the registers.
const TILES: [(u32, u32, u32); 8] =
    [(1, 1, 1), (1, 1, 8), (8, 1, 1), (1, 8, 1), (3, 3, 1), (4, 2, 1), (2, 2, 2), (2, 3, 1)];

#[test]
fn tiles_of_all_remainders() {
    for tile in TILES {
        for m in [1, 2, 3, 8, 9] {
            for n in [1, 2, 5, 9] {
                let (kernel, memory) = dots(m, n, 21, tile);
                check(&kernel, &memory);
            }
        }
    }
}

#[test]
fn depths_of_all_remainders() {
    for tile in [(1, 1, 4), (2, 2, 2), (3, 3, 1)] {
        for k in [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 130] {
            let (kernel, memory) = dots(3, 4, k, tile);
            check(&kernel, &memory);
        }
    }
}

#[test]
fn single_products_and_outer_loops() {
    for vectors in [1, 4] {
        let (mut kernel, memory) = dots(5, 4, 37, (1, 1, vectors));
        let Schedule::Dots(dots) = &mut kernel.schedule else { panic!("dots") };
        (dots.outer, dots.row, dots.col) = (vec![LoopId(1), LoopId(0)], None, None);
        check(&kernel, &memory);
    }
}

#[test]
fn operands_that_are_not_contiguous_are_refused() {
    let (mut kernel, _) = dots(2, 2, 8, (1, 1, 1));
    let Form::Contract { rhs, .. } = &mut kernel.form else { panic!("a product") };
    *rhs = access(WEIGHTS, 0, &[0, 16, 1, 2]);
    let refusal = Emitted::new(&kernel, Machine::Ymm).err();
    assert!(matches!(refusal, Some(Refusal::Unsupported(_))), "{refusal:?}");
}
