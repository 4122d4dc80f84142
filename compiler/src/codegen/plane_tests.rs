//! Windows and reductions whose vectors lie along rows that they slide over, as their schedules make them.

use Role::{Parallel, Reduce};
use kiln_ir::kernel::plan::{FlatAccess, Schedule, Storage};
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, ReduceOp, Role, Store, WindowOp};

use super::vector_testing::{Memory, access, check, guarded, kernel, l, numbers};
use crate::flatten::FlatKernel;
use crate::schedule::{self, Choices};

const IN: Storage = Storage::Input(0);
const OUT: Storage = Storage::Output(0);
const WEIGHTS: Storage = Storage::Weights { offset_bytes: 0 };

/// A window over planes of `h` rows: of `size`, its steps and its padding on every side.
#[derive(Clone, Copy, Debug)]
struct Case {
    size: (i64, i64),
    stride: i64,
    dilation: i64,
    pad: i64,
    h: i64,
    ow: i64,
}

/// Three planes under a window; the loops and the form before they have a schedule.
fn planes(op: WindowOp, case: Case) -> (FlatKernel, Memory) {
    let Case { size: (kh, kw), stride, dilation, pad, h, ow } = case;
    let planes = 3;
    let oh = (h + 2 * pad - (kh - 1) * dilation - 1) / stride + 1;
    let w = (ow - 1) * stride + (kw - 1) * dilation + 1 - 2 * pad;
    let outside = if op == WindowOp::Max { f32::NEG_INFINITY } else { 0.0 };
    let mut input = access(IN, -pad * w - pad, &[h * w, stride * w, stride, dilation * w, dilation]);
    if pad > 0 {
        let guards: [(i64, &[i64], i64); 2] =
            [(-pad, &[0, stride, 0, dilation, 0], h), (-pad, &[0, 0, stride, 0, dilation], w)];
        input = guarded(input, &guards, outside);
    }
    let weight = (op == WindowOp::Dot).then(|| access(WEIGHTS, 0, &[kh * kw, 0, 0, kw, 1]));
    let value = Expr::binary(BinaryOp::Max, Expr::Acc, Expr::f32(-0.5));
    let store = Store { to: access(OUT, 0, &[oh * ow, ow, 1, 0, 0]), value };
    let loops = vec![
        l("c", planes, Parallel),
        l("oh", oh, Parallel),
        l("ow", ow, Parallel),
        l("kh", kh, Reduce),
        l("kw", kw, Reduce),
    ];
    let memory = Memory {
        inputs: vec![numbers((planes * h * w) as usize, 11)],
        weights: numbers((planes * kh * kw) as usize, 12),
        outputs: vec![vec![0.0; (planes * oh * ow) as usize]],
    };
    (flat(loops, Form::Window { op, input, weight, store }), memory)
}

fn flat(loops: Vec<Loop>, form: Form<FlatAccess>) -> FlatKernel {
    FlatKernel { name: "k".to_owned(), nodes: Vec::new(), loops, form, bounds: Default::default() }
}

/// Checks the kernel with vectors along a loop, as it is scheduled for the fewest registers.
fn check_along(flat: &FlatKernel, memory: &Memory, along: LoopId) {
    let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
    let chosen = schedule::choose(flat, &target, &Choices::default());
    let Schedule::Nest(nest) = &chosen.schedule else { panic!("{}: {flat:#?}", chosen.why) };
    assert_eq!(nest.vector, along, "{}", chosen.why);
    check(&kernel(flat.loops.clone(), flat.form.clone(), chosen.schedule), memory);
}

/// Around the widths of one and two vectors of 4, 8 and 16 lanes.
const WIDTHS: [i64; 12] = [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32, 35];

#[test]
fn windows_of_every_step() {
    for op in [WindowOp::Dot, WindowOp::Sum, WindowOp::Max] {
        for (size, stride, dilation) in
            [((3, 3), 1, 1), ((3, 3), 2, 1), ((2, 2), 2, 1), ((3, 3), 1, 2), ((1, 4), 4, 1), ((2, 3), 3, 1)]
        {
            for ow in WIDTHS {
                let case = Case { size, stride, dilation, pad: 0, h: 11, ow };
                let (flat, memory) = planes(op, case);
                check_along(&flat, &memory, LoopId(2));
            }
        }
    }
}

#[test]
fn windows_with_borders() {
    for op in [WindowOp::Dot, WindowOp::Sum, WindowOp::Max] {
        for (size, stride, dilation, pad) in [
            ((3, 3), 1, 1, 1),
            ((3, 3), 2, 1, 1),
            ((3, 3), 1, 2, 2),
            ((5, 5), 2, 1, 2),
            ((7, 7), 1, 1, 3),
            ((3, 2), 3, 1, 1),
        ] {
            for ow in [7, 9, 16, 18, 19, 34, 37] {
                let case = Case { size, stride, dilation, pad, h: 12, ow };
                let (flat, memory) = planes(op, case);
                check_along(&flat, &memory, LoopId(2));
            }
        }
    }
}

#[test]
fn nan_and_infinities_win_where_they_should() {
    let case = Case { size: (3, 3), stride: 2, dilation: 1, pad: 1, h: 7, ow: 18 };
    let (flat, mut memory) = planes(WindowOp::Max, case);
    for (i, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0].into_iter().enumerate() {
        memory.inputs[0][37 * i + 5] = value;
    }
    check_along(&flat, &memory, LoopId(2));
}

/// Sums of squares over neighbouring planes, as normalisations across channels have them.
#[test]
fn reductions_with_borders() {
    for (channels, size) in [(1, 3), (5, 3), (7, 5), (9, 4), (3, 9)] {
        for n in WIDTHS {
            let before = (size - 1) / 2;
            let x = guarded(access(IN, -before * n, &[n, 1, n]), &[(-before, &[1, 0, 1], channels)], 0.0);
            let value = Expr::binary(BinaryOp::Mul, Expr::Load(x.clone()), Expr::Load(x));
            let own = Expr::Load(access(IN, 0, &[n, 1, 0]));
            let store =
                Store { to: access(OUT, 0, &[n, 1, 0]), value: Expr::binary(BinaryOp::Add, own, Expr::Acc) };
            let loops = vec![l("c", channels, Parallel), l("n", n, Parallel), l("k", size, Reduce)];
            let flat = flat(loops, Form::Reduce { op: ReduceOp::Sum, value, store });
            let memory = Memory {
                inputs: vec![numbers((channels * n) as usize, 13)],
                weights: Vec::new(),
                outputs: vec![vec![0.0; (channels * n) as usize]],
            };
            check_along(&flat, &memory, LoopId(1));
        }
    }
}

/// What would be too much code stays in plain loops, and says why.
#[test]
fn borders_everywhere_are_refused() {
    let case = Case { size: (15, 15), stride: 1, dilation: 1, pad: 14, h: 16, ow: 40 };
    let (flat, _) = planes(WindowOp::Sum, case);
    let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
    let chosen = schedule::choose(&flat, &target, &Choices::default());
    assert!(matches!(chosen.schedule, Schedule::Scalar { .. }));
    assert!(chosen.why.contains("too many cases"), "{}", chosen.why);
}
