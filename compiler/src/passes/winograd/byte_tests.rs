//! Convolutions of bytes: the same bits as their definition, extreme factors included.

use kiln_ir::eval;
use kiln_ir::kernel::{BinaryOp, UnaryOp, verify};

use super::*;
use crate::emit;
use crate::passes::testing::{at, kernel, loops};
use crate::passes::{layout, words};
use crate::planner;

/// Extents of the result; padding on all sides, with `zero`.
#[derive(Clone, Copy)]
struct Case {
    c: i64,
    o: i64,
    h: i64,
    w: i64,
    pad: i64,
    zero: i64,
}

/// How factors are chosen.
#[derive(Clone, Copy, Debug)]
enum Factors {
    /// Anything.
    Any,
    /// 255 and -128.
    Least,
    /// 255 and 127 where coefficients of transforms add up, else 0 and -128.
    Signs,
}

fn byte(seed: u64, i: usize) -> u8 {
    let x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0x85eb_ca6b));
    (x >> 29) as u8
}

impl Case {
    fn input(&self) -> [usize; 4] {
        [1, self.c, self.h + 2 - 2 * self.pad, self.w + 2 - 2 * self.pad].map(|n| n as usize)
    }

    fn activations(&self, factors: Factors) -> Tensor {
        let shape = self.input();
        let value = |i: usize| match factors {
            Factors::Any => byte(1, i),
            Factors::Least => 255,
            Factors::Signs => 255 * u8::from(i % shape[3] % 3 != 1),
        };
        Tensor::from_vec::<u8>(&shape, (0..shape.iter().product()).map(value).collect())
    }

    /// Sums of i32, and bytes that they are quantised to.
    fn program(&self, factors: Factors) -> Program {
        use Role::{Parallel, Reduce};
        let Self { c, o, h, w, pad, zero } = *self;
        let mut p = Program::new("m");
        let input = TensorType::new(DType::U8, Shape::of(&self.input()));
        let x = p.add_buffer("x", input, BufferKind::Input);
        p.inputs.push(x);
        let shape = [o, c, 3, 3].map(|n| n as usize);
        let weight = |i: usize| match factors {
            Factors::Any => byte(2, i) as i8,
            Factors::Least => -128,
            Factors::Signs => [127, -128, 127][i % 3],
        };
        let weights = Tensor::from_vec::<i8>(&shape, (0..shape.iter().product()).map(weight).collect());
        let f = p.add_buffer("f", weights.ty(), BufferKind::Const(weights));
        let bias = Tensor::from_vec::<i32>(&[o as usize], (0..o as i32).map(|i| 1000 * i - 7).collect());
        let b = p.add_buffer("b", bias.ty(), BufferKind::Const(bias));
        let result = [1, o, h, w].map(|n| n as usize);
        let all = || vec![at(0), at(1), at(2), at(3)];
        for (name, dtype) in [("sums", DType::I32), ("bytes", DType::U8)] {
            let ty = TensorType::new(dtype, Shape::of(&result));
            let t = p.add_buffer(&format!("{name}.t"), ty.clone(), BufferKind::Temp);
            let y = p.add_buffer(name, ty, BufferKind::Output);
            p.outputs.push(y);
            let conv = loops(&[
                ("n", 1, Parallel),
                ("o", o, Parallel),
                ("h", h, Parallel),
                ("w", w, Parallel),
                ("c", c, Reduce),
                ("kh", 3, Reduce),
                ("kw", 3, Reduce),
            ]);
            let row = |out: u16, k: u16| {
                Index::from(Affine::constant(-pad).plus(LoopId(out), 1i64).plus(LoopId(k), 1i64))
            };
            let lhs = Access {
                buffer: x,
                index: vec![at(0), at(4), row(2, 5), row(3, 6)],
                otherwise: (pad > 0).then(|| Scalar::int(DType::U8, zero)),
            };
            let rhs = Access::new(f, vec![at(1), at(4), at(5), at(6)]);
            let sum = Expr::binary(BinaryOp::Add, Expr::Acc, Expr::Load(Access::new(b, vec![at(1)])));
            let value = if dtype == DType::I32 {
                sum
            } else {
                let scaled = Expr::binary(BinaryOp::Mul, Expr::cast(DType::F32, sum), Expr::f32(0.000_31));
                Expr::cast(DType::U8, Expr::unary(UnaryOp::Round, scaled))
            };
            let store = Store { to: Access::new(t, all()), value };
            kernel(&mut p, name, conv, Form::Contract { acc: DType::I32, lhs, rhs, store });
            let copy =
                loops(&[("n", 1, Parallel), ("o", o, Parallel), ("h", h, Parallel), ("w", w, Parallel)]);
            let form = Form::Rearrange { from: Access::new(t, all()), to: Access::new(y, all()) };
            kernel(&mut p, &format!("{name}.copy"), copy, form);
        }
        verify(&p).unwrap();
        p
    }
}

/// The program with its convolutions rewritten, whatever that costs.
fn forced(case: &Case, factors: Factors, filter: Filter) -> Program {
    let mut p = case.program(factors);
    for name in ["sums", "bytes"] {
        let i = p.kernels().iter().position(|k| k.name == name).unwrap();
        let conv = Convolution::of(&p, p.kernel(i)).expect("a convolution of 3 x 3");
        assert!(filter.holds(conv.layer.most.unwrap()));
        let kernels = rewrite(&mut p, i, &conv, filter, name == "bytes").unwrap();
        let mut edits = Edits::default();
        edits.replace(i, kernels);
        p.edit(edits);
    }
    verify(&p).unwrap();
    p
}

/// Channels that fill vectors of words, that leave a rest, and sizes that tiles do not divide.
fn cases() -> [Case; 4] {
    [
        Case { c: 16, o: 32, h: 8, w: 8, pad: 1, zero: 0 },
        Case { c: 36, o: 17, h: 7, w: 5, pad: 1, zero: 131 },
        Case { c: 4, o: 9, h: 6, w: 3, pad: 0, zero: 0 },
        Case { c: 40, o: 20, h: 5, w: 6, pad: 2, zero: 255 },
    ]
}

#[test]
fn the_meaning_stays() {
    for case in cases() {
        for factors in [Factors::Any, Factors::Least, Factors::Signs] {
            let x = [case.activations(factors)];
            let expected = eval::kernel::run(&case.program(factors), &x).unwrap();
            for filter in [Filter::Two, Filter::Four] {
                let got = eval::kernel::run(&forced(&case, factors, filter), &x).unwrap();
                assert_eq!(got, expected, "{filter:?} {factors:?}");
            }
        }
    }
}

#[test]
fn emitted_code_has_the_same_bits_on_every_level() {
    for case in cases() {
        for factors in [Factors::Any, Factors::Least, Factors::Signs] {
            let x = [case.activations(factors)];
            let expected = eval::kernel::run(&case.program(factors), &x).unwrap();
            for level in ["sse2", "avx", "avx2", "avx512", "avx512vnni"] {
                let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
                let definition = case.program(factors);
                let filters = [Filter::Two, Filter::Four].map(|filter| forced(&case, factors, filter));
                for mut p in [definition].into_iter().chain(filters) {
                    words::run(&mut p, std::slice::from_ref(&target));
                    layout::run(&mut p).unwrap();
                    let plan = planner::build(p, &target).unwrap();
                    kiln_ir::kernel::verify_plan(&plan).unwrap();
                    if matches!((factors, level), (Factors::Any, "avx2" | "avx512vnni")) {
                        assert_eq!(eval::plan::run(&plan, &x).unwrap(), expected, "{level} {plan}");
                    }
                    // A host without the level refuses its code.
                    let Ok(model) = emit::jit::Model::new(plan, &target, 1) else { continue };
                    assert_eq!(model.run(&x).unwrap(), expected, "{level} {factors:?}");
                }
            }
        }
    }
}

#[test]
fn sums_that_would_not_fit_stay() {
    // 255 * 128 * 9 * 128 is beyond 2^25.
    let case = Case { c: 128, o: 16, h: 14, w: 14, pad: 1, zero: 0 };
    let of = |factors| {
        let p = case.program(factors);
        Convolution::of(&p, p.kernel(0)).unwrap().layer.most.unwrap()
    };
    assert!(!Filter::Four.holds(of(Factors::Least)) && Filter::Two.holds(of(Factors::Least)));
    assert_eq!(of(Factors::Least), 255 * 128 * 9 * 128);
}
