//! Minimal filtering of images whose height or width is open: every remainder of a tile, on every level.

use kiln_ir::kernel::plan::Schedule;
use kiln_ir::{Dim, Shape, TensorType, eval};

use super::tests::{assert_close, numbers, target};
use super::*;
use crate::emit;
use crate::passes::layout;
use crate::passes::testing::{at, kernel};
use crate::planner;

/// Channels of the images and of the results.
const CHANNELS: [usize; 2] = [20, 9];

/// A convolution with bias and residual of images whose extents are symbols where `None`.
fn program(extents: [Option<i64>; 2]) -> Program {
    use Role::{Parallel, Reduce};
    let [c, o] = CHANNELS;
    let mut p = Program::new("m");
    for name in ["h", "w"] {
        p.bounds.insert(name.into(), (1, 23).into());
    }
    let [h, w] = [(0, "h"), (1, "w")].map(|(i, name)| extents[i].map_or(Dim::symbol(name), Dim::Const));
    let image = |channels: usize| {
        let shape = vec![Dim::Const(1), Dim::Const(channels as i64), h.clone(), w.clone()];
        TensorType::new(DType::F32, Shape(shape))
    };
    let x = p.add_buffer("x", image(c), BufferKind::Input);
    let r = p.add_buffer("r", image(o), BufferKind::Input);
    p.inputs = vec![x, r];
    let near = p.add_buffer("r.near", image(o), BufferKind::Temp);
    let weights = numbers(&[o, c, 3, 3], 3);
    let f = p.add_buffer("f", weights.ty(), BufferKind::Const(weights));
    let t = p.add_buffer("t", image(o), BufferKind::Temp);
    let y = p.add_buffer("y", image(o), BufferKind::Output);
    p.outputs = vec![y];
    let image = || vec![("n", Dim::Const(1), Parallel), ("o", Dim::Const(o as i64), Parallel)];
    let loops = |list: Vec<(&str, Dim, Role)>| -> Vec<Loop> {
        list.into_iter().map(|(name, extent, role)| Loop { name: name.to_owned(), extent, role }).collect()
    };
    let along = || [("h", h.clone(), Parallel), ("w", w.clone(), Parallel)];
    let all = || vec![at(0), at(1), at(2), at(3)];
    let copy = |from, to| Form::Rearrange { from: Access::new(from, all()), to: Access::new(to, all()) };
    kernel(&mut p, "r.near", loops([image(), along().to_vec()].concat()), copy(r, near));
    let three = Dim::Const(3);
    let window = [("c", Dim::Const(c as i64), Reduce), ("kh", three.clone(), Reduce), ("kw", three, Reduce)];
    let row =
        |out: u16, k: u16| Index::from(Affine::constant(-1i64).plus(LoopId(out), 1i64).plus(LoopId(k), 1i64));
    let index = vec![at(0), at(4), row(2, 5), row(3, 6)];
    let lhs = Access { buffer: x, index, otherwise: Some(Scalar::f32(0.0)) };
    let rhs = Access::new(f, vec![at(1), at(4), at(5), at(6)]);
    let residual = Expr::Load(Access::new(near, all()));
    let value = Expr::binary(kiln_ir::kernel::BinaryOp::Add, Expr::Acc, residual);
    let store = Store { to: Access::new(t, all()), value };
    let form = Form::Contract { acc: DType::F32, lhs, rhs, store };
    kernel(&mut p, "conv", loops([image(), along().to_vec(), window.to_vec()].concat()), form);
    kernel(&mut p, "y", loops([image(), along().to_vec()].concat()), copy(t, y));
    p
}

fn forced(extents: [Option<i64>; 2], filter: Filter) -> Program {
    let mut p = program(extents);
    let conv = Convolution::of(&p, p.kernel(1)).expect("a convolution of 3 x 3");
    let kernels = rewrite(&mut p, 1, &conv, filter, true).unwrap();
    let mut edits = Edits::default();
    edits.replace(1, kernels);
    p.edit(edits);
    kiln_ir::kernel::verify(&p).unwrap();
    p
}

/// Open along both axes or one, and sizes: all remainders of tiles of four, smaller ones than a tile, the greatest.
type Case = ([Option<i64>; 2], Vec<[i64; 2]>);

fn cases() -> Vec<Case> {
    let both = vec![[1, 1], [2, 3], [3, 6], [4, 4], [5, 9], [6, 23], [8, 7], [23, 22], [11, 13]];
    let one = |axis: usize, other: i64| -> Vec<[i64; 2]> {
        (1..=8).chain([23]).map(|n| if axis == 0 { [n, other] } else { [other, n] }).collect()
    };
    vec![([None, None], both), ([None, Some(7)], one(0, 7)), ([Some(6), None], one(1, 6))]
}

fn arguments([h, w]: [i64; 2]) -> Vec<Tensor> {
    let image = |channels: usize, seed| numbers(&[1, channels, h as usize, w as usize], seed);
    vec![image(CHANNELS[0], 1), image(CHANNELS[1], 2)]
}

#[test]
fn tiles_of_open_images_mean_the_same() {
    for (extents, sizes) in cases() {
        for filter in [Filter::Two, Filter::Four] {
            let program = forced(extents, filter);
            for size in sizes.iter().copied() {
                let arguments = arguments(size);
                let expected = eval::kernel::run(&self::program(extents), &arguments).unwrap();
                let got = eval::kernel::run(&program, &arguments).unwrap();
                assert_close(&got, &expected, &format!("{filter:?} {size:?}"));
            }
        }
    }
}

#[test]
fn code_and_plan_store_what_is_there() {
    for (extents, sizes) in cases() {
        for (level, filter) in
            ["sse2", "avx", "avx2", "avx512"].into_iter().flat_map(|l| [(l, Filter::Two), (l, Filter::Four)])
        {
            let target = target(level);
            let mut p = forced(extents, filter);
            layout::run(&mut p).unwrap();
            let plan = planner::build(p, &target).unwrap();
            let open = |k: &kiln_ir::kernel::plan::PlannedKernel| !k.edges().unwrap().is_empty();
            assert!(plan.kernels.iter().any(open), "tiles end where a run says");
            let tiles = plan.kernels.iter().filter(|k| matches!(k.form, Form::Transform { .. }));
            let plain = tiles.filter(|k| matches!(k.schedule, Schedule::Scalar { .. }));
            assert_eq!(plain.map(|k| k.why.as_str()).next(), None, "{level} {filter:?} {extents:?}");
            let code = [1, 2].map(|threads| emit::jit::Model::new(plan.clone(), &target, threads));
            for size in sizes.iter().copied() {
                let arguments = arguments(size);
                let expected = eval::kernel::run(&program(extents), &arguments).unwrap();
                let what = format!("{level} {filter:?} {size:?}");
                assert_close(&eval::plan::run(&plan, &arguments).unwrap(), &expected, &what);
                // A host without the level refuses its code.
                for model in code.iter().flatten() {
                    assert_close(&model.run(&arguments).unwrap(), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn what_the_caller_holds_is_not_tiled() {
    // Rows of the caller's images lie at distances that a run tells.
    let mut p = program([None, None]);
    let result = p.buffers().iter().position(|b| b.name == "y").map(|i| BufferId(i as u32)).unwrap();
    let Form::Contract { store, .. } = &mut p.kernel_mut(1).form else { panic!("a contraction") };
    store.to.buffer = result;
    assert!(Convolution::of(&p, p.kernel(1)).is_none());
}

#[test]
fn what_ends_by_another_expression_is_not_tiled() {
    let mut p = program([None, None]);
    assert!(Convolution::of(&p, p.kernel(1)).is_some());
    let near = p.buffers().iter().position(|b| b.name == "r.near").map(|i| BufferId(i as u32)).unwrap();
    let mut ty = p.buffer(near).ty.clone();
    ty.shape.0[2] = Dim::symbol("other");
    p.set_type(near, ty);
    assert!(Convolution::of(&p, p.kernel(1)).is_none());
}

#[test]
fn the_typical_size_decides() {
    let mut p = program([None, None]);
    let filter = |p: &Program, [h, w]: [i64; 2]| {
        let conv = Convolution::of(p, p.kernel(1)).unwrap();
        assert_eq!([conv.layer.h, conv.layer.w], [h, w]);
        cost::possible(&conv.layer)
    };
    filter(&p, [5, 5]);
    p.bounds.insert("h".into(), kiln_ir::dim::Bound { lo: 1, hi: 23, typical: 20 });
    filter(&p, [20, 5]);
}
