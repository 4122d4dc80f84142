//! Which convolutions are rewritten, and that the result is the same.

use kiln_ir::kernel::{BinaryOp, verify};
use kiln_ir::{Dim, eval};

use super::*;
use crate::emit;
use crate::passes::layout;
use crate::passes::testing::{at, buffer, kernel, loops};
use crate::planner;

/// A convolution of images with a residual and relu in its epilogue.
#[derive(Clone, Copy)]
struct Case {
    n: i64,
    c: i64,
    o: i64,
    /// Of the result.
    h: i64,
    w: i64,
    pad: i64,
    step: i64,
    dilation: i64,
    window: i64,
}

impl Case {
    fn new(c: i64, o: i64, h: i64, w: i64) -> Self {
        Self { n: 1, c, o, h, w, pad: 1, step: 1, dilation: 1, window: 3 }
    }

    fn input(&self) -> [usize; 4] {
        let extent = |out: i64| (out - 1) * self.step + (self.window - 1) * self.dilation + 1 - 2 * self.pad;
        [self.n, self.c, extent(self.h), extent(self.w)].map(|n| n as usize)
    }

    fn program(&self) -> Program {
        use Role::{Parallel, Reduce};
        let Self { n, c, o, h, w, pad, step, dilation, window } = *self;
        let mut p = Program::new("m");
        let x = buffer(&mut p, "x", &self.input(), BufferKind::Input);
        let shape = [n, o, h, w].map(|n| n as usize);
        let r = buffer(&mut p, "r", &shape, BufferKind::Input);
        let weights = numbers(&[o, c, window, window].map(|n| n as usize), 3);
        let f = p.add_buffer("f", weights.ty(), BufferKind::Const(weights));
        let bias = numbers(&[o as usize], 4);
        let b = p.add_buffer("b", bias.ty(), BufferKind::Const(bias));
        let t = buffer(&mut p, "t", &shape, BufferKind::Temp);
        let y = buffer(&mut p, "y", &shape, BufferKind::Output);
        let conv = loops(&[
            ("n", n, Parallel),
            ("o", o, Parallel),
            ("h", h, Parallel),
            ("w", w, Parallel),
            ("c", c, Reduce),
            ("kh", window, Reduce),
            ("kw", window, Reduce),
        ]);
        let row = |out: u16, k: u16| {
            let index = Affine::constant(-pad).plus(LoopId(out), step).plus(LoopId(k), dilation);
            Index::from(index)
        };
        let lhs = Access {
            buffer: x,
            index: vec![at(0), at(4), row(2, 5), row(3, 6)],
            otherwise: (pad > 0).then(|| Scalar::f32(0.0)),
        };
        let rhs = Access::new(f, vec![at(1), at(4), at(5), at(6)]);
        let all = || vec![at(0), at(1), at(2), at(3)];
        let plus = |a, b| Expr::binary(BinaryOp::Add, a, b);
        let bias = Expr::Load(Access::new(b, vec![at(1)]));
        let sum = plus(plus(Expr::Acc, bias), Expr::Load(Access::new(r, all())));
        let value = Expr::binary(BinaryOp::Max, sum, Expr::f32(0.0));
        let store = Store { to: Access::new(t, all()), value };
        kernel(&mut p, "conv", conv, Form::Contract { acc: DType::F32, lhs, rhs, store });
        let copy = loops(&[("n", n, Parallel), ("o", o, Parallel), ("h", h, Parallel), ("w", w, Parallel)]);
        kernel(&mut p, "y", copy, Form::Rearrange { from: Access::new(t, all()), to: Access::new(y, all()) });
        p
    }

    fn arguments(&self) -> Vec<Tensor> {
        let result = [self.n, self.o, self.h, self.w].map(|n| n as usize);
        vec![numbers(&self.input(), 1), numbers(&result, 2)]
    }
}

/// Uniformly distributed in -1..1.
pub(super) fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::from_vec::<f32>(shape, (0..shape.iter().product::<usize>()).map(|_| next()).collect())
}

/// The program with its convolution rewritten, whatever it costs.
fn forced(case: &Case, filter: Filter) -> Program {
    let mut p = case.program();
    let conv = Convolution::of(&p, p.kernel(0)).expect("a convolution of 3 x 3");
    let kernels = rewrite(&mut p, 0, &conv, filter, true).unwrap();
    let mut edits = Edits::default();
    edits.replace(0, kernels);
    p.edit(edits);
    verify(&p).unwrap();
    p
}

pub(super) fn target(level: &str) -> Target {
    kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap()
}

fn is_rewritten(case: &Case) -> bool {
    let mut p = case.program();
    run(&mut p, &target("avx2")).unwrap();
    verify(&p).unwrap();
    p.kernels().len() > 2
}

pub(super) fn assert_close(got: &[Tensor], expected: &[Tensor], what: &str) {
    let (got, expected) = (got[0].to_f64s().unwrap(), expected[0].to_f64s().unwrap());
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        assert!((g - e).abs() <= 2e-5 * scale, "{what}: element {i} is {g}, should be {e}");
    }
}

/// Sizes that tiles divide and that they do not, channels that fill vectors and that do not.
fn cases() -> Vec<Case> {
    vec![
        Case::new(5, 9, 7, 7),
        Case::new(16, 32, 14, 14),
        Case { n: 2, ..Case::new(20, 3, 5, 9) },
        Case { pad: 0, ..Case::new(8, 17, 6, 5) },
        Case { pad: 2, ..Case::new(3, 4, 8, 3) },
        Case::new(2, 4, 1, 1),
    ]
}

#[test]
fn a_large_convolution_becomes_three_kernels() {
    let case = Case::new(64, 64, 56, 56);
    let mut p = case.program();
    run(&mut p, &target("avx2")).unwrap();
    let names: Vec<_> = p.kernels().iter().map(|k| (k.name.as_str(), k.form.name())).collect();
    assert_eq!(
        names,
        [
            ("conv.tiles", "transform"),
            ("conv.product", "contract"),
            ("conv", "transform"),
            ("y", "rearrange")
        ]
    );
    // F(4x4, 3x3): 14 x 14 tiles of 36.
    let tiles = p.buffer(p.kernel(0).form.stores()[0].buffer);
    assert_eq!(tiles.ty.shape, Shape::of(&[6, 6, 1, 14, 14, 64]));
    assert!(p.kernels().iter().take(3).all(|k| k.nodes == ["conv"]));
}

#[test]
fn other_convolutions_stay() {
    let large = Case::new(64, 64, 56, 56);
    assert!(is_rewritten(&large));
    assert!(!is_rewritten(&Case { step: 2, ..large }), "stride");
    assert!(!is_rewritten(&Case { dilation: 2, ..large }), "dilation");
    assert!(!is_rewritten(&Case { window: 5, ..large }), "window");
    assert!(!is_rewritten(&Case { window: 1, pad: 0, ..large }), "window");
    assert!(!is_rewritten(&Case { c: 3, ..large }), "few channels");
    assert!(!is_rewritten(&Case { h: 1, w: 1, ..large }), "a single pixel");
}

#[test]
fn near_misses_stay() {
    let case = Case::new(64, 64, 28, 28);
    let stays = |change: &dyn Fn(&mut Program)| {
        let mut p = case.program();
        change(&mut p);
        run(&mut p, &target("avx2")).unwrap();
        p.kernels().len() == 2
    };
    assert!(!stays(&|_| {}));
    // Weights known at run time only.
    assert!(stays(&|p| {
        let Form::Contract { rhs, .. } = &p.kernel(0).form else { panic!("a contraction") };
        let weights = rhs.buffer;
        p.set_kind(weights, BufferKind::Input);
    }));
    // Padding with another value.
    assert!(stays(&|p| {
        let Form::Contract { lhs, .. } = &mut p.kernel_mut(0).form else { panic!("a contraction") };
        lhs.otherwise = Some(Scalar::f32(1.0));
    }));
    // An epilogue without a vector form.
    assert!(stays(&|p| {
        let Form::Contract { store, .. } = &mut p.kernel_mut(0).form else { panic!("a contraction") };
        store.value = Expr::unary(kiln_ir::kernel::UnaryOp::Tan, store.value.clone());
    }));
    // A result inside a larger buffer: nothing would clip the last tiles.
    assert!(stays(&|p| {
        let Form::Contract { store, .. } = &p.kernel(0).form else { panic!("a contraction") };
        let result = store.to.buffer;
        let mut ty = p.buffer(result).ty.clone();
        ty.shape.0[2] = Dim::Const(30);
        p.set_type(result, ty);
    }));
}

#[test]
fn the_meaning_stays() {
    for case in cases() {
        let expected = eval::kernel::run(&case.program(), &case.arguments()).unwrap();
        for filter in [Filter::Two, Filter::Four] {
            let got = eval::kernel::run(&forced(&case, filter), &case.arguments()).unwrap();
            assert_close(&got, &expected, &format!("{filter:?}"));
        }
    }
}

#[test]
fn emitted_code_does_the_same_on_every_level() {
    for case in cases().into_iter().chain([Case::new(16, 16, 56, 56)]) {
        let expected = eval::kernel::run(&case.program(), &case.arguments()).unwrap();
        for (level, filter) in
            ["sse2", "avx", "avx2", "avx512"].into_iter().flat_map(|l| [(l, Filter::Two), (l, Filter::Four)])
        {
            let target = target(level);
            let mut p = forced(&case, filter);
            layout::run(&mut p).unwrap();
            let plan = planner::build(p, &target).unwrap();
            // A host without the level refuses its code.
            let Ok(model) = emit::jit::Model::new(plan, &target, 1) else { continue };
            let got = model.run(&case.arguments()).unwrap();
            assert_close(&got, &expected, &format!("{level} {filter:?}"));
        }
    }
}

#[test]
fn other_machines_get_code() {
    let target = kiln_targets::resolve("aarch64-unknown-linux-gnu", "", "").unwrap();
    for filter in [Filter::Two, Filter::Four] {
        let mut p = forced(&Case::new(20, 9, 7, 5), filter);
        layout::run(&mut p).unwrap();
        let plan = planner::build(p, &target).unwrap();
        assert!(emit::object::emit(plan, &target, "m", &emit::object::ObjectOptions::default()).is_ok());
    }
}

/// The bounds that the module states.
#[test]
fn rounding_is_bounded() {
    let level = ["avx2", "sse2"].into_iter().find(|l| {
        let target = target(l);
        let mut p = Case::new(2, 2, 4, 4).program();
        layout::run(&mut p).unwrap();
        planner::build(p, &target).is_ok_and(|plan| emit::jit::Model::new(plan, &target, 1).is_ok())
    });
    let Some(target) = level.map(target) else { return };
    for (filter, bound) in [(Filter::Two, 2.0), (Filter::Four, 20.0)] {
        let mut worst = 0.0f64;
        for (c, size) in [(16, 14), (64, 8), (256, 5)] {
            let case = Case::new(c, 16, size, size);
            let exact = eval::kernel::run(&case.program(), &case.arguments()).unwrap()[0].to_f64s().unwrap();
            let mut p = forced(&case, filter);
            layout::run(&mut p).unwrap();
            let model = emit::jit::Model::new(planner::build(p, &target).unwrap(), &target, 1).unwrap();
            let got = model.run(&case.arguments()).unwrap()[0].to_f64s().unwrap();
            // max |x| is 1.
            let weights = numbers(&[16, c as usize, 3, 3], 3).to_f64s().unwrap();
            let sums = weights.chunks(c as usize * 9).map(|w| w.iter().map(|v| v.abs()).sum::<f64>());
            let scale = sums.fold(0.0, f64::max);
            let error = got.iter().zip(&exact).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
            worst = worst.max(error / scale * f64::from(1 << 24));
        }
        assert!(worst < bound, "{filter:?}: {worst} u s");
    }
}
