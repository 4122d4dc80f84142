//! Sweeps of the vector generators against the interpreter of plans.

use Role::{Parallel, Reduce};
use kiln_ir::kernel::plan::{self, FlatAccess, Nest, PlannedKernel, Schedule, Storage, Transpose};
use kiln_ir::kernel::{BinaryOp, Expr, Form, LoopId, ReduceOp, Role, Side, Store, UnaryOp, WindowOp};
use kiln_ir::{DType, Tensor};
use kiln_targets::vector_expr;

use super::vector_testing::{Memory, access, check, guarded, kernel, l, load, numbers, relu};

const WEIGHTS: Storage = Storage::Weights { offset_bytes: 0 };
const IN: Storage = Storage::Input(0);
const OUT: Storage = Storage::Output(0);

/// None, one, and around one and two vectors of 4, 8 and 16 lanes.
const SIZES: [i64; 14] = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 32, 35];

/// A depthwise convolution or pooling of NHWC.
fn depthwise(
    op: WindowOp,
    h: i64,
    w: i64,
    c: i64,
    stride: i64,
    tile: u32,
    vectors: u32,
) -> (PlannedKernel, Memory) {
    let (window, pad) = (3, 1);
    let (oh, ow) = ((h + 2 * pad - window) / stride + 1, (w + 2 * pad - window) / stride + 1);
    // Loops: oh, ow, c, kh, kw.
    let row = w * c;
    let outside = if op == WindowOp::Max { f32::NEG_INFINITY } else { 0.0 };
    let input = guarded(
        access(IN, -pad * row - pad * c, &[stride * row, stride * c, 1, row, c]),
        &[(-pad, &[stride, 0, 0, 1, 0], h), (-pad, &[0, stride, 0, 0, 1], w)],
        outside,
    );
    let weight = (op == WindowOp::Dot).then(|| access(WEIGHTS, 0, &[0, 0, 1, window * c, c]));
    let store = Store { to: access(OUT, 0, &[ow * c, c, 1, 0, 0]), value: relu(Expr::Acc) };
    let nest = Nest {
        order: vec![LoopId(0), LoopId(1), LoopId(3), LoopId(4)],
        vector: LoopId(2),
        vectors,
        tile: (tile > 1).then_some((LoopId(1), tile)),
        unrolled: if tile == 1 { Vec::new() } else { vec![LoopId(3), LoopId(4)] },
        columns: false,
        quads: false,
    };
    let loops = vec![
        l("oh", oh, Parallel),
        l("ow", ow, Parallel),
        l("c", c, Parallel),
        l("kh", window, Reduce),
        l("kw", window, Reduce),
    ];
    let memory = Memory {
        inputs: vec![numbers((h * w * c) as usize, 5)],
        weights: numbers((window * window * c) as usize, 6),
        outputs: vec![vec![0.0; (oh * ow * c) as usize]],
    };
    (kernel(loops, Form::Window { op, input, weight, store }, Schedule::Nest(nest)), memory)
}

/// A window of NHWC without padding.
fn valid_window(
    op: WindowOp,
    h: i64,
    w: i64,
    c: i64,
    window: i64,
    stride: i64,
    vectors: u32,
) -> (PlannedKernel, Memory) {
    let (oh, ow) = ((h - window) / stride + 1, (w - window) / stride + 1);
    let row = w * c;
    let input = access(IN, 0, &[stride * row, stride * c, 1, row, c]);
    let weight = (op == WindowOp::Dot).then(|| access(WEIGHTS, 0, &[0, 0, 1, window * c, c]));
    let store = Store { to: access(OUT, 0, &[ow * c, c, 1, 0, 0]), value: relu(Expr::Acc) };
    let nest = Nest {
        order: vec![LoopId(0), LoopId(1), LoopId(3), LoopId(4)],
        vector: LoopId(2),
        vectors,
        tile: None,
        unrolled: vec![LoopId(3), LoopId(4)],
        columns: false,
        quads: false,
    };
    let loops = vec![
        l("oh", oh, Parallel),
        l("ow", ow, Parallel),
        l("c", c, Parallel),
        l("kh", window, Reduce),
        l("kw", window, Reduce),
    ];
    let memory = Memory {
        inputs: vec![numbers((h * w * c) as usize, 5)],
        weights: numbers((window * window * c) as usize, 6),
        outputs: vec![vec![0.0; (oh * ow * c) as usize]],
    };
    (kernel(loops, Form::Window { op, input, weight, store }, Schedule::Nest(nest)), memory)
}

#[test]
fn windows_with_padding() {
    for op in [WindowOp::Dot, WindowOp::Sum, WindowOp::Max] {
        for c in [0, 1, 3, 4, 5, 8, 11, 15, 16, 17, 33] {
            for (stride, tile, vectors) in [(1, 4, 1), (2, 3, 2), (1, 1, 1)] {
                let (kernel, memory) = depthwise(op, 6, 9, c, stride, tile, vectors);
                check(&kernel, &memory);
            }
        }
    }
}

#[test]
fn windows_that_share_columns() {
    for op in [WindowOp::Dot, WindowOp::Sum, WindowOp::Max] {
        for c in [0, 1, 4, 5, 8, 11, 15, 16, 17, 19] {
            for (window, stride, tile, vectors) in
                [(3, 1, 4, 1), (3, 2, 3, 2), (3, 1, 8, 1), (5, 1, 7, 1), (5, 2, 4, 1), (2, 3, 4, 1)]
            {
                let (mut kernel, memory) = valid_window(op, 6, 11, c, window, stride, vectors);
                let Schedule::Nest(nest) = &mut kernel.schedule else { panic!("a nest") };
                nest.tile = Some((LoopId(1), tile));
                nest.columns = true;
                check(&kernel, &memory);
            }
        }
    }
}

#[test]
fn reductions_along_and_across_lanes() {
    let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
    for op in ops {
        for n in SIZES {
            for (across, squares) in [(true, false), (true, true), (false, false), (false, true)] {
                // Rows of 5: reduced along the row of n, or along the 5.
                let roles = if across { (Parallel, Reduce) } else { (Reduce, Parallel) };
                let to: &[i64] = if across { &[1, 0] } else { &[0, 1] };
                let x = load(access(IN, 0, &[n, 1]));
                let value = if squares {
                    Expr::binary(BinaryOp::Mul, x.clone(), x)
                } else {
                    Expr::unary(UnaryOp::Exp, x)
                };
                let store = Store {
                    to: access(OUT, 0, to),
                    value: Expr::binary(BinaryOp::Mul, Expr::Acc, Expr::f32(0.5)),
                };
                let nest = Nest {
                    order: vec![LoopId(0)],
                    vector: LoopId(1),
                    vectors: 2,
                    tile: None,
                    unrolled: Vec::new(),
                    columns: false,
                    quads: false,
                };
                let kernel = kernel(
                    vec![l("r", 5, roles.0), l("n", n, roles.1)],
                    Form::Reduce { op, value, store },
                    Schedule::Nest(nest),
                );
                let memory = Memory {
                    inputs: vec![numbers(5 * n as usize, 7)],
                    weights: Vec::new(),
                    outputs: vec![vec![0.0; if across { 5 } else { n as usize }]],
                };
                check(&kernel, &memory);
            }
        }
    }
}

fn map1(n: i64, values: &[Expr<FlatAccess>], inputs: Vec<Vec<f32>>, vectors: u32) -> (PlannedKernel, Memory) {
    let stores = values
        .iter()
        .enumerate()
        .map(|(i, value)| Store { to: access(Storage::Output(i), 0, &[1]), value: value.clone() })
        .collect();
    let nest = Nest {
        order: Vec::new(),
        vector: LoopId(0),
        vectors,
        tile: None,
        unrolled: Vec::new(),
        columns: false,
        quads: false,
    };
    let memory = Memory { inputs, weights: vec![], outputs: vec![vec![0.0; n as usize]; values.len()] };
    (kernel(vec![l("n", n, Parallel)], Form::Map { stores }, Schedule::Nest(nest)), memory)
}

#[test]
fn maps_of_every_operation() {
    let x = || load(access(IN, 0, &[1]));
    let y = || load(access(Storage::Input(1), 0, &[1]));
    let mut values = Vec::new();
    let floats =
        UnaryOp::ALL.iter().filter(|op| op.of_floats().is_some() && op.result(DType::F32) == DType::F32);
    values.extend(floats.map(|op| Expr::unary(*op, x())));
    for op in [BinaryOp::Pow, BinaryOp::Rem] {
        values.push(Expr::binary(op, x(), y()));
        values.push(Expr::binary(op, x(), Expr::f32(1.7)));
    }
    for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Min, BinaryOp::Max] {
        values.push(Expr::binary(op, x(), y()));
        values.push(Expr::binary(op, Expr::f32(0.5), Expr::unary(UnaryOp::Neg, x())));
    }
    for op in [BinaryOp::Lt, BinaryOp::Le, BinaryOp::Eq] {
        values.push(Expr::select(Expr::binary(op, x(), y()), Expr::f32(2.0), Expr::unary(UnaryOp::Neg, y())));
        values.push(Expr::cast(DType::F32, Expr::binary(op, x(), y())));
    }
    for exponent in [-1.0, 1.0, 2.0, 3.0, 4.0] {
        values.push(Expr::binary(BinaryOp::Pow, x(), Expr::f32(exponent)));
    }
    let is = |op| Expr::unary(op, x());
    let either = Expr::binary(BinaryOp::Or, is(UnaryOp::IsNan), is(UnaryOp::IsInf));
    values.push(Expr::cast(DType::F32, Expr::unary(UnaryOp::Not, either)));
    // A shared part: swish, and a product that is both added and used.
    values.push(Expr::binary(BinaryOp::Mul, x(), Expr::unary(UnaryOp::Sigmoid, x())));
    let product = Expr::binary(BinaryOp::Mul, x(), y());
    values.push(Expr::binary(BinaryOp::Add, Expr::binary(BinaryOp::Add, product.clone(), x()), product));
    values.push(Expr::binary(BinaryOp::Div, x(), Expr::f32(8.0)));

    let mut xs = numbers(35, 8);
    xs[..8].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 2.5, -3.5, 1e9]);
    let mut ys = numbers(35, 9);
    ys[0] = 1.0;
    ys[6] = f32::NAN;
    for (i, value) in values.iter().enumerate() {
        assert_eq!(vector_expr::dtype(value, None), Ok(DType::F32), "{value:?}");
        for n in [35, 19, 17, 16, 15, 3, 0] {
            let cut = |v: &[f32]| v[..n].to_vec();
            let (kernel, mut memory) =
                map1(n as i64, std::slice::from_ref(value), vec![cut(&xs), cut(&ys)], 2);
            // Large results would hide errors in small ones.
            if i % 2 == 0 && n > 7 {
                memory.inputs[0][7] = 2.25;
            }
            check(&kernel, &memory);
        }
    }
}

/// Four vectors at once, of which as many are computed side by side as have room; one of them, or a part of it, far from 0.
#[test]
fn functions_of_several_vectors() {
    let x = || load(access(IN, 0, &[1]));
    let chains = UnaryOp::ALL.iter().filter(|op| vector_expr::is_chain(**op));
    let mut values: Vec<_> = chains.map(|op| Expr::unary(*op, x())).collect();
    let swish = Expr::binary(BinaryOp::Mul, x(), Expr::unary(UnaryOp::Sigmoid, x()));
    values.push(Expr::binary(BinaryOp::Add, swish, load(access(Storage::Input(1), 0, &[0]))));
    for value in &values {
        for n in [133, 64, 61, 33, 17] {
            for far in [None, Some(0), Some(n / 2), Some(n - 1)] {
                let mut xs = numbers(n, 8);
                if let Some(far) = far {
                    xs[far] = -95.0;
                }
                let (kernel, memory) =
                    map1(n as i64, std::slice::from_ref(value), vec![xs, vec![0.75; 1]], 4);
                check(&kernel, &memory);
            }
        }
    }
}

#[test]
fn maps_of_two_stores_share_values() {
    let x = load(access(IN, 0, &[1]));
    let e = Expr::unary(UnaryOp::Exp, x.clone());
    let values = [Expr::binary(BinaryOp::Add, e.clone(), x), Expr::binary(BinaryOp::Mul, e.clone(), e)];
    for n in SIZES {
        let (kernel, memory) = map1(n, &values, vec![numbers(n as usize, 10)], 2);
        check(&kernel, &memory);
    }
}

#[test]
fn copies_with_padding() {
    // Rows of 5 in rows of 9: two elements before, two behind, one row above and below.
    for vector in [LoopId(1), LoopId(0)] {
        let (h, w) = (6, 9);
        let from = guarded(access(IN, -7, &[5, 1]), &[(-1, &[1, 0], 4), (-2, &[0, 1], 5)], 0.25);
        let to = access(OUT, 0, &[w, 1]);
        let form = Form::Rearrange { from, to };
        if vector == LoopId(0) {
            continue;
        }
        let nest = Nest {
            order: vec![LoopId(0)],
            vector,
            vectors: 1,
            tile: None,
            unrolled: Vec::new(),
            columns: false,
            quads: false,
        };
        let kernel = kernel(vec![l("h", h, Parallel), l("w", w, Parallel)], form, Schedule::Nest(nest));
        let memory = Memory {
            inputs: vec![numbers(20, 11)],
            weights: Vec::new(),
            outputs: vec![vec![0.0; (h * w) as usize]],
        };
        check(&kernel, &memory);
    }
}

#[test]
fn transposes_of_all_remainders() {
    for rows in [1, 3, 4, 5, 9, 16, 39] {
        for columns in [1, 2, 3, 4, 6, 8, 17] {
            // Three matrices.
            let size = rows * columns;
            let form = Form::Rearrange {
                from: access(IN, 0, &[size, columns, 1]),
                to: access(OUT, 0, &[size, 1, rows]),
            };
            let schedule = Transpose { outer: vec![LoopId(0)], read: LoopId(2), write: LoopId(1) };
            let loops = vec![l("b", 3, Parallel), l("r", rows, Parallel), l("c", columns, Parallel)];
            let kernel = kernel(loops, form, Schedule::Transpose(schedule));
            let memory = Memory {
                inputs: vec![numbers(3 * size as usize, 12)],
                weights: Vec::new(),
                outputs: vec![vec![0.0; 3 * size as usize]],
            };
            check(&kernel, &memory);
        }
    }
}

/// Tiles of `h` x `w` x `c` inputs with padding to clipped tiles, with an epilogue.
fn transform(
    left: &[&[f32]],
    right: &[&[f32]],
    step: i64,
    (h, w, c): (i64, i64, i64),
) -> (PlannedKernel, Memory) {
    let matrix = |rows: &[&[f32]]| Tensor::from_vec(&[rows.len(), rows[0].len()], rows.concat());
    let (i, j) = (left.len() as i64, right.len() as i64);
    let (th, tw) = ((h + i - 1) / i, (w + j - 1) / j);
    // Loops: th, tw, c, i, j, k, l.
    let row = w * c;
    let from = access(IN, -row - c, &[step * row, step * c, 1, 0, 0, row, c]);
    let from = guarded(from, &[(-1, &[step, 0, 0, 0, 0, 1, 0], h), (-1, &[0, step, 0, 0, 0, 0, 1], w)], 0.0);
    let clipped = |a| guarded(a, &[(0, &[i, 0, 0, 1, 0, 0, 0], h), (0, &[0, j, 0, 0, 1, 0, 0], w)], 0.0);
    let to = clipped(access(OUT, 0, &[i * row, j * c, 1, row, c, 0, 0]));
    let sum = load(clipped(access(Storage::Input(1), 0, &[i * row, j * c, 1, row, c, 0, 0])));
    let bias = load(access(WEIGHTS, 0, &[0, 0, 1, 0, 0, 0, 0]));
    let value = relu(Expr::binary(BinaryOp::Add, Expr::binary(BinaryOp::Add, Expr::Acc, bias), sum));
    let form = Form::Transform {
        left: Side { matrix: matrix(left), to: LoopId(3), over: LoopId(5) },
        right: Side { matrix: matrix(right), to: LoopId(4), over: LoopId(6) },
        from,
        store: Store { to, value },
    };
    let loops = vec![
        l("th", th, Parallel),
        l("tw", tw, Parallel),
        l("c", c, Parallel),
        l("i", i, Parallel),
        l("j", j, Parallel),
        l("k", left[0].len() as i64, Reduce),
        l("l", right[0].len() as i64, Reduce),
    ];
    let schedule = plan::Transform { outer: vec![LoopId(0), LoopId(1)], lane: Some(LoopId(2)) };
    let memory = Memory {
        inputs: vec![numbers((h * w * c) as usize, 13), numbers((h * w * c) as usize, 14)],
        weights: numbers(c as usize, 15),
        outputs: vec![vec![0.0; (h * w * c) as usize]],
    };
    (kernel(loops, form, Schedule::Transform(schedule)), memory)
}

#[test]
fn transforms_of_clipped_tiles() {
    // Columns in pairs, rows in pairs, neither, and a row of zeros.
    let columns: &[&[f32]] = &[
        &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ];
    let rows: &[&[f32]] =
        &[&[4.0, 0.0, -5.0, 1.0], &[0.0, -4.0, 1.0, -1.0], &[0.0, 4.0, 1.0, 1.0], &[0.5, 0.0, 0.0, -1.0]];
    let plain: &[&[f32]] = &[&[2.0, 0.0, -1.0], &[0.0, 0.0, 0.0], &[1.0, 1.0, 3.0]];
    for (left, right) in [(columns, columns), (rows, columns), (plain, rows), (columns, plain)] {
        for size in [(7, 7, 5), (4, 8, 16), (5, 9, 35), (1, 3, 8)] {
            let (kernel, memory) = transform(left, right, 2, size);
            check(&kernel, &memory);
        }
    }
}

#[test]
fn transforms_without_a_contiguous_loop() {
    let plain: &[&[f32]] = &[&[2.0, 0.0, -1.0], &[1.0, 1.0, 3.0]];
    let (mut kernel, memory) = transform(plain, plain, 2, (5, 3, 2));
    kernel.schedule =
        Schedule::Transform(plan::Transform { outer: vec![LoopId(2), LoopId(0), LoopId(1)], lane: None });
    check(&kernel, &memory);
}
