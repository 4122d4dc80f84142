//! Every builder against the scalar meaning of each operation.

use crate::simd::{Across, Op1, Op2, P, R, Refusal, Simd, Src, V};
use crate::testing::{LEVELS, Unary, map, map_encoded, pointers};

/// The operand in its different forms.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Const,
    Reg,
}

const FORMS: [Form; 2] = [Form::Const, Form::Reg];

/// `v = v op s`.
struct Binary(Op2, f32, Form);

impl Unary for Binary {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        match self.2 {
            Form::Const => s.op2(self.0, v, Src::Const(self.1)),
            Form::Reg => {
                let other = s.splat(self.1)?;
                s.op2(self.0, v, Src::Reg(&other))?;
                s.free(other);
                Ok(())
            }
        }
    }
}

struct Single(Op1);

impl Unary for Single {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        s.op1(self.0, v)
    }
}

/// Lanes from `n` on replaced, then the rest combined.
struct Combined(Across, usize, f32);

impl Unary for Combined {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        s.keep_first(v, self.1, self.2)?;
        s.across(self.0, v)
    }
}

/// `v = v * 2 + v * 3 [lane 1] + 5`, by way of every multiply-add, parking in between.
struct MultiplyAdds;

impl Unary for MultiplyAdds {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        let x = s.copy(v)?;
        s.op2(Op2::Mul, v, Src::Const(0.0))?;
        s.fma(v, &x, Src::Const(2.0))?;
        let three = s.splat(3.0)?;
        s.fma_lane(v, &three, &x, 1)?;
        s.free(three);
        let parked = s.park(x)?;
        let one = s.splat(1.0)?;
        s.mul_add(v, &one, Src::Const(5.0))?;
        s.free(one);
        let x = s.unpark(parked)?;
        s.free(x);
        Ok(())
    }
}

fn numbers() -> Vec<f32> {
    let mut xs = vec![
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        -0.3,
        0.49999997,
        8388607.5,
        -8388609.0,
        3e9,
        1e-40,
    ];
    xs.extend((-40..40).map(|i| i as f32 * 0.37));
    xs
}

fn by_all(f: &impl Unary, xs: &[f32]) -> Vec<(usize, Vec<f32>)> {
    let narrow = LEVELS.into_iter().map(|level| (4, map(level, f, xs)));
    let wide = [32, 64].into_iter().filter_map(|bytes| Some((bytes / 4, map_encoded(bytes, f, xs)?)));
    narrow.chain(wide).collect()
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn operations_of_one_operand() {
    type Meaning = fn(f32) -> f32;
    let ops: [(Op1, Meaning); 8] = [
        (Op1::Sqrt, f32::sqrt),
        (Op1::Abs, f32::abs),
        (Op1::Neg, |x| -x),
        (Op1::Floor, f32::floor),
        (Op1::Ceil, f32::ceil),
        (Op1::Round, f32::round_ties_even),
        (Op1::Shl(3), |x| f32::from_bits(x.to_bits() << 3)),
        (Op1::Shr(31), |x| f32::from_bits(x.to_bits() >> 31)),
    ];
    let xs = numbers();
    for (op, meaning) in ops {
        for (lanes, got) in by_all(&Single(op), &xs) {
            for (x, got) in xs.iter().zip(got) {
                assert!(same(got, meaning(*x)), "{op:?} of {x} in {lanes} lanes: {got}");
            }
        }
    }
}

#[test]
fn conversions_to_integers_and_back() {
    let xs: Vec<f32> = numbers().into_iter().filter(|x| x.abs() <= 4_194_304.0).collect();
    for (lanes, got) in by_all(&Single(Op1::ToInt), &xs) {
        for (x, got) in xs.iter().zip(&got) {
            assert_eq!(got.to_bits() as i32, x.round_ties_even() as i32, "{x} in {lanes} lanes");
        }
        for (_, back) in by_all(&Single(Op1::ToFloat), &got) {
            for (got, back) in got.iter().zip(back) {
                assert_eq!(back, got.to_bits() as i32 as f32);
            }
        }
    }
}

#[test]
fn operations_of_two_operands() {
    let bits = |b: bool| f32::from_bits(if b { u32::MAX } else { 0 });
    let meaning = |op: Op2, d: f32, s: f32| -> f32 {
        let (x, y) = (d.to_bits(), s.to_bits());
        match op {
            Op2::Add => d + s,
            Op2::Sub => d - s,
            Op2::Mul => d * s,
            Op2::Div => d / s,
            Op2::Min if d.is_nan() => d,
            Op2::Min => d.min(s),
            Op2::Max if d.is_nan() => d,
            Op2::Max => d.max(s),
            Op2::MinNan | Op2::MaxNan if d.is_nan() || s.is_nan() => f32::NAN,
            Op2::MinNan => d.min(s),
            Op2::MaxNan => d.max(s),
            Op2::And => f32::from_bits(x & y),
            Op2::Or => f32::from_bits(x | y),
            Op2::Xor => f32::from_bits(x ^ y),
            Op2::AndNot => f32::from_bits(!x & y),
            Op2::Lt => bits(d < s),
            Op2::Le => bits(d <= s),
            Op2::Eq => bits(d == s),
            Op2::IntAdd => f32::from_bits(x.wrapping_add(y)),
            Op2::IntSub => f32::from_bits(x.wrapping_sub(y)),
        }
    };
    let ops = [
        Op2::Add,
        Op2::Sub,
        Op2::Mul,
        Op2::Div,
        Op2::Min,
        Op2::Max,
        Op2::MinNan,
        Op2::MaxNan,
        Op2::And,
        Op2::Or,
        Op2::Xor,
        Op2::AndNot,
        Op2::Lt,
        Op2::Le,
        Op2::Eq,
        Op2::IntAdd,
        Op2::IntSub,
    ];
    let xs = numbers();
    for op in ops {
        for other in [1.5f32, -0.37, 7.0, f32::NAN] {
            for form in FORMS {
                for (lanes, got) in by_all(&Binary(op, other, form), &xs) {
                    for (x, got) in xs.iter().zip(got) {
                        let want = meaning(op, *x, other);
                        // A NaN in the second operand alone may be dropped, or kept.
                        let loose = matches!(op, Op2::Min | Op2::Max) && other.is_nan() && got.is_nan();
                        assert!(same(got, want) || loose, "{x} {op:?} {other} in {lanes} lanes: {got}");
                    }
                }
            }
        }
    }
}

#[test]
fn lanes_combine() {
    let xs: Vec<f32> = (0..64).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
    for op in [Across::Sum, Across::Max, Across::Min, Across::Prod] {
        for n in [1, 2, 3, 4] {
            for (lanes, got) in by_all(&Combined(op, n, 1.0), &xs) {
                for (vector, got) in xs.chunks(lanes).zip(got.chunks(lanes)) {
                    let kept = vector.iter().take(n).copied().chain(std::iter::repeat_n(1.0, lanes - n));
                    let want = kept
                        .reduce(|a, b| match op {
                            Across::Sum => a + b,
                            Across::Max => a.max(b),
                            Across::Min => a.min(b),
                            Across::Prod => a * b,
                        })
                        .expect("lanes");
                    assert!(got.iter().all(|g| *g == want), "{op:?} of {n} in {lanes} lanes: {got:?}");
                }
            }
        }
    }
}

#[test]
fn multiply_adds() {
    let xs: Vec<f32> = (0..64).map(|i| i as f32).collect();
    for (lanes, got) in by_all(&MultiplyAdds, &xs) {
        for (i, got) in got.iter().enumerate() {
            let lane1 = (i / lanes * lanes + 1) as f32;
            assert_eq!(*got, xs[i] * 2.0 + 3.0 * lane1 + 5.0, "element {i} in {lanes} lanes");
        }
    }
}

/// Adds up `0 + 1 + ... ` by nested loops with as many pointers alive as asked for.
struct Nested {
    pointers: usize,
    depth: u32,
}

impl Nested {
    fn level<S: Simd>(&self, s: &mut S, sum: &P, depth: u32) -> R {
        if depth == 0 {
            s.advance(sum, 1);
            return Ok(());
        }
        s.repeat(2, &mut |s| self.level(s, sum, depth - 1))
    }
}

impl crate::encode::Program for Nested {
    /// `*frame = 2^depth * (end - begin limited to 0..=3) + pointers`.
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (frame, begin, end) = (s.arg(0)?, s.arg(1)?, s.arg(2)?);
        let held = (0..self.pointers).map(|_| s.copy_ptr(&begin)).collect::<R<Vec<_>>>()?;
        let sum = s.difference(&begin, &begin)?;
        s.at_most(&end, 3)?;
        s.at_least(&begin, 0)?;
        let count = s.difference(&end, &begin)?;
        s.free_ptr(begin);
        s.free_ptr(end);
        s.repeat_ptr(count, &mut |s| self.level(s, &sum, self.depth))?;
        for p in held {
            s.advance(&sum, 1);
            s.free_ptr(p);
        }
        // The sum goes out as the distance from an address to itself plus the sum.
        s.advance_by(&frame, &sum, 4)?;
        let v = s.splat(1.0)?;
        s.store(&frame, 0, &v, 1)?;
        s.free(v);
        Ok(())
    }
}

#[test]
fn loops_and_pointers() {
    for (count, pointers_held, depth) in [(0, 0, 1), (1, 1, 2), (3, 4, 3), (3, 8, 4), (-1, 0, 1), (9, 2, 1)] {
        let nested = Nested { pointers: pointers_held, depth };
        let want = (1usize << depth) * (count.clamp(0, 3) as usize) + pointers_held;
        for mut out in pointers(&nested, 64, 0, count) {
            assert_eq!(out.iter().position(|x| *x == 1.0), Some(want), "{count} {pointers_held} {depth}");
            out[want] = 0.0;
            assert!(out.iter().all(|x| *x == 0.0), "written elsewhere");
        }
    }
}

#[test]
fn too_many_registers_are_refused() {
    struct Greedy;
    impl crate::encode::Program for Greedy {
        fn emit<S: Simd>(&self, s: &mut S) -> R {
            (0..40).map(|_| s.splat(1.0)).collect::<R<Vec<_>>>().map(|_| ())
        }
    }
    let target = crate::resolve("x86_64-unknown-linux-gnu", "avx512", "").expect("a known level");
    assert_eq!(crate::encode::encode(&target, &Greedy), Err(Refusal::OutOfRegisters));
    assert_eq!(
        crate::encode::encode(&target, &Nested { pointers: 20, depth: 1 }),
        Err(Refusal::OutOfRegisters)
    );
}
