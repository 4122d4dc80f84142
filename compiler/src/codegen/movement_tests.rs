//! Nests that pad, that follow indices read at run time, and that put loads together element by element.

use Role::{Parallel, Reduce};
use kiln_ir::kernel::plan::{FlatAccess, Gather, Nest, PlannedKernel, Schedule, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, ReduceOp, Role, Store};
use kiln_ir::{DType, Dim};
use kiln_runtime::status::Status;

use super::vector_testing::{Memory, access, check, guarded, kernel, l, numbers, run_everywhere};

const WEIGHTS: Storage = Storage::Weights { offset_bytes: 0 };
const IN: Storage = Storage::Input(0);
const OUT: Storage = Storage::Output(0);

/// Around one and two vectors of 4, 8 and 16 lanes.
const SIZES: [i64; 13] = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 32, 35];

fn nest(order: &[u16], vector: u16, vectors: u32) -> Schedule {
    Schedule::Nest(Nest {
        order: order.iter().copied().map(LoopId).collect(),
        vector: LoopId(vector),
        vectors,
        tile: None,
        unrolled: Vec::new(),
        columns: false,
        quads: false,
    })
}

/// `out[i][c] = x[index[i]][c]` for rows of `n` elements of a table of three.
fn rows(indices: &[i32], n: i64) -> (PlannedKernel, Memory) {
    let index = FlatAccess { dtype: DType::I32, ..access(WEIGHTS, 0, &[1, 0]) };
    let gather =
        Gather { index: Box::new(index), extent: Dim::Const(3), stride: Dim::Const(n), known: false };
    let from = FlatAccess { gathers: vec![gather], ..access(IN, 0, &[0, 1]) };
    let form = Form::Rearrange { from, to: access(OUT, 0, &[n, 1]) };
    let loops = vec![l("i", indices.len() as i64, Parallel), l("c", n, Parallel)];
    let memory = Memory {
        inputs: vec![numbers(3 * n as usize, 5)],
        weights: indices.iter().map(|i| f32::from_bits(*i as u32)).collect(),
        outputs: vec![vec![7.0; indices.len() * n as usize]],
    };
    (kernel(loops, form, nest(&[0], 1, 2)), memory)
}

#[test]
fn rows_by_index_in_every_remainder() {
    for n in SIZES {
        let (kernel, memory) = rows(&[2, 0, -1, 1, -3], n);
        check(&kernel, &memory);
    }
}

#[test]
fn rows_that_are_not_there_are_told_and_nothing_is_written() {
    for n in [3, 16, 35] {
        let (kernel, memory) = rows(&[1, 3, i32::MIN, -4, 0, i32::MAX], n);
        for (machine, after, status) in run_everywhere(&kernel, &memory) {
            let row = |of: &[f32], i: usize| of[i * n as usize..][..n as usize].to_vec();
            for (i, from) in [(0, Some(1)), (1, None), (2, None), (3, None), (4, Some(0)), (5, None)] {
                let want = from.map_or_else(|| vec![7.0; n as usize], |from| row(&memory.inputs[0], from));
                assert_eq!(row(&after.outputs[0], i), want, "{machine:?}: row {i} of {n}");
            }
            assert_eq!(status, Status::IndexOutOfRange as usize, "{machine:?}");
        }
        let (kernel, memory) = rows(&[1, 2], n);
        assert!(run_everywhere(&kernel, &memory).iter().all(|(_, _, status)| *status == 0));
    }
}

/// Sums over rows that an index outside the reduced loop leads to, with what is added to each.
#[test]
fn reductions_of_rows_by_index() {
    for n in SIZES {
        let index = FlatAccess { dtype: DType::I32, ..access(WEIGHTS, 0, &[1, 0, 0]) };
        let gather =
            Gather { index: Box::new(index), extent: Dim::Const(2), stride: Dim::Const(5 * n), known: false };
        let from = FlatAccess { gathers: vec![gather], ..access(IN, 0, &[0, n, 1]) };
        let value = Expr::binary(BinaryOp::Mul, Expr::Load(from), Expr::f32(2.0));
        for (vector, role, order) in [(2, Parallel, [0, 1]), (2, Reduce, [0, 1])] {
            let (inner, strides) = match role {
                Parallel => (l("c", n, Parallel), [n, 0, 1]),
                Reduce => (l("c", n, Reduce), [1, 0, 0]),
            };
            let store = Store { to: access(OUT, 0, &strides), value: Expr::Acc };
            let form = Form::Reduce { op: ReduceOp::Sum, value: value.clone(), store };
            let loops = vec![l("i", 3, Parallel), l("r", 5, Reduce), inner];
            let outputs = if role == Parallel { 3 * n } else { 3 };
            let memory = Memory {
                inputs: vec![numbers(10 * n as usize, 6)],
                weights: [1, 0, -1].map(|i: i32| f32::from_bits(i as u32)).to_vec(),
                outputs: vec![vec![0.0; outputs as usize]],
            };
            check(&kernel(loops, form, nest(&order, vector, 1)), &memory);
        }
    }
}

/// `h` x `w` elements with a border of `before` and `after` each way, negated.
#[test]
fn maps_are_cut_where_padding_begins_and_ends() {
    for w in SIZES {
        for (before, after) in [(0, 1), (1, 0), (2, 3), (17, 1), (-1, 2)] {
            let (h, ow) = (3, w + before + after);
            let from = access(IN, -before * w - before, &[w, 1]);
            let from = guarded(from, &[(-before, &[1, 0], h), (-before, &[0, 1], w)], 9.0);
            let value = Expr::binary(BinaryOp::Sub, Expr::f32(0.0), Expr::Load(from.clone()));
            let oh = h + before + after;
            let loops = vec![l("i", oh, Parallel), l("j", ow, Parallel)];
            if ow < 1 {
                continue;
            }
            let to = access(OUT, 0, &[ow, 1]);
            let memory = Memory {
                inputs: vec![numbers((h * w) as usize, 7)],
                weights: Vec::new(),
                outputs: vec![vec![0.0; (oh * ow) as usize]],
            };
            let map = Form::Map { stores: vec![Store { to: to.clone(), value }] };
            check(&kernel(loops.clone(), map, nest(&[0], 1, 2)), &memory);
            check(&kernel(loops, Form::Rearrange { from, to }, nest(&[0], 1, 1)), &memory);
        }
    }
}

/// A guard that two loops decide: every iteration of the outer one has a border of its own.
#[test]
fn borders_that_two_loops_make() {
    // Every row has a border of its own: as many as there are masks for parts of a vector.
    for n in [1, 3, 4] {
        // A triangle: `j <= i`.
        let from = guarded(access(IN, 0, &[n, 1]), &[(0, &[1, -1], n)], 0.5);
        let store = Store { to: access(OUT, 0, &[n, 1]), value: Expr::Load(from) };
        let memory = Memory {
            inputs: vec![numbers((n * n) as usize, 8)],
            weights: Vec::new(),
            outputs: vec![vec![0.0; (n * n) as usize]],
        };
        let loops = vec![l("i", n, Parallel), l("j", n, Parallel)];
        let form = Form::Map { stores: vec![store] };
        check(&kernel(loops, form, nest(&[0], 1, 2)), &memory);
    }
}

#[test]
fn loads_are_put_together_from_any_stride() {
    for n in SIZES {
        for stride in [2, 3, -1, 100] {
            let start = if stride < 0 { (n - 1) * -stride } else { 0 };
            let from = access(IN, start, &[1, stride]);
            let store = Store {
                to: access(OUT, 0, &[n, 1]),
                value: Expr::binary(BinaryOp::Add, Expr::Load(from), Expr::f32(1.0)),
            };
            let elements = (n - 1) * stride.abs() + 3;
            let memory = Memory {
                inputs: vec![numbers(elements as usize, 9)],
                weights: Vec::new(),
                outputs: vec![vec![0.0; 3 * n as usize]],
            };
            let loops = vec![l("i", 3, Parallel), l("j", n, Parallel)];
            let form = Form::Map { stores: vec![store] };
            check(&kernel(loops, form, nest(&[0], 1, 2)), &memory);
        }
    }
}

/// `out[i][c][r] = x[i][c]`, each element so many times.
#[test]
fn elements_are_repeated_in_every_remainder() {
    for (n, times) in SIZES.into_iter().flat_map(|n| [(n, 2), (n, 4)]) {
        for vectors in [1, 2] {
            let form = Form::Rearrange {
                from: access(IN, 0, &[n, 1, 0]),
                to: access(OUT, 0, &[n * times, times, 1]),
            };
            let loops = vec![l("i", 3, Parallel), l("c", n, Parallel), l("r", times, Parallel)];
            let Schedule::Nest(plain) = nest(&[0, 2], 1, vectors) else { return };
            let schedule =
                Schedule::Nest(Nest { tile: Some((LoopId(2), times as u32)), quads: true, ..plain });
            let memory = Memory {
                inputs: vec![numbers(3 * n as usize, 5)],
                weights: vec![],
                outputs: vec![vec![7.0; (3 * n * times) as usize]],
            };
            check(&kernel(loops, form, schedule), &memory);
        }
    }
}
