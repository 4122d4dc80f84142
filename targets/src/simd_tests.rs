//! Every builder against the scalar meaning of each operation.

use crate::simd::{Across, Op1, Op2, P, R, Refusal, Simd, Src, V};
use crate::testing::{Unary, map_by_all, run_by_all, run_on};

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

/// The halves of the register in each other's place.
struct Swapped;

impl Unary for Swapped {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        s.swap_halves(v)
    }
}

/// All lanes one more if any is negative.
struct IfAny;

impl Unary for IfAny {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        let mask = s.copy(v)?;
        s.op2(Op2::Lt, &mask, Src::Const(0.0))?;
        s.when_any(&mask, &mut |s| {
            let one = s.splat(1.0)?;
            s.op2(Op2::Add, v, Src::Reg(&one))?;
            s.free(one);
            Ok(())
        })?;
        s.free(mask);
        Ok(())
    }
}

/// All lanes one more if any is negative, else one less.
struct Either;

impl Unary for Either {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        let mask = s.copy(v)?;
        s.op2(Op2::Lt, &mask, Src::Const(0.0))?;
        s.either(mask, &mut |s| s.op2(Op2::Add, v, Src::Const(1.0)), &mut |s| {
            s.op2(Op2::Sub, v, Src::Const(1.0))
        })
    }
}

/// Differences from copies, of which one is still needed and one is the other operand.
struct Copies;

impl Unary for Copies {
    fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
        let square = s.copy(v)?;
        s.op2(Op2::Mul, &square, Src::Reg(&square))?;
        let less = s.copy(&square)?;
        s.op2(Op2::Sub, &less, Src::Reg(v))?;
        // The copy is made before the loop and changed in it.
        let sum = s.copy(v)?;
        s.repeat(3, &mut |s| s.op2(Op2::Add, &sum, Src::Reg(&square)))?;
        s.op2(Op2::Add, &sum, Src::Reg(&less))?;
        s.assign(v, &sum);
        [square, less, sum].into_iter().for_each(|v| s.free(v));
        Ok(())
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

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn operations_of_one_operand() {
    type Meaning = fn(f32) -> f32;
    let ops: [(Op1, Meaning); 9] = [
        (Op1::Sqrt, f32::sqrt),
        (Op1::Abs, f32::abs),
        (Op1::Neg, |x| -x),
        (Op1::Floor, f32::floor),
        (Op1::Ceil, f32::ceil),
        (Op1::Round, f32::round_ties_even),
        (Op1::Shl(3), |x| f32::from_bits(x.to_bits() << 3)),
        (Op1::Shr(31), |x| f32::from_bits(x.to_bits() >> 31)),
        (Op1::Sar(9), |x| f32::from_bits((x.to_bits() as i32 >> 9) as u32)),
    ];
    let xs = numbers();
    for (op, meaning) in ops {
        for (lanes, got) in map_by_all(&Single(op), &xs) {
            for (x, got) in xs.iter().zip(got) {
                assert!(same(got, meaning(*x)), "{op:?} of {x} in {lanes} lanes: {got}");
            }
        }
    }
}

#[test]
fn halves_change_places() {
    let xs: Vec<f32> = (0..64u8).map(f32::from).collect();
    for (lanes, got) in map_by_all(&Swapped, &xs) {
        for (xs, got) in xs.chunks(lanes).zip(got.chunks(lanes)) {
            assert_eq!((&got[..lanes / 2], &got[lanes / 2..]), (&xs[lanes / 2..], &xs[..lanes / 2]));
        }
    }
}

#[test]
fn branches_are_taken_for_any_lane() {
    for negative in [vec![], vec![0], vec![15], vec![5, 20], (0..64).collect::<Vec<usize>>()] {
        let xs: Vec<f32> = (0..64).map(|i| if negative.contains(&i) { -3.0 } else { 2.0 }).collect();
        let ran = [(map_by_all(&IfAny, &xs), 0.0), (map_by_all(&Either, &xs), -1.0)];
        for ((lanes, got), otherwise) in
            ran.into_iter().flat_map(|(ran, o)| ran.into_iter().map(move |r| (r, o)))
        {
            for (xs, got) in xs.chunks(lanes).zip(got.chunks(lanes)) {
                let more = if xs.contains(&-3.0) { 1.0 } else { otherwise };
                assert!(
                    xs.iter().zip(got).all(|(x, got)| *got == x + more),
                    "{xs:?} in {lanes} lanes: {got:?}"
                );
            }
        }
    }
}

#[test]
fn copies_are_what_was_copied() {
    let xs: Vec<f32> = (0..64u8).map(f32::from).collect();
    for (lanes, got) in map_by_all(&Copies, &xs) {
        for (x, got) in xs.iter().zip(got) {
            assert_eq!(got, 4.0 * x * x, "{x} in {lanes} lanes");
        }
    }
}

#[test]
fn conversions_to_integers_and_back() {
    let xs: Vec<f32> = numbers().into_iter().filter(|x| x.abs() <= 4_194_304.0).collect();
    for (lanes, got) in map_by_all(&Single(Op1::ToInt), &xs) {
        for (x, got) in xs.iter().zip(&got) {
            assert_eq!(got.to_bits() as i32, x.round_ties_even() as i32, "{x} in {lanes} lanes");
        }
        for (_, back) in map_by_all(&Single(Op1::ToFloat), &got) {
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
            Op2::Shl => f32::from_bits(x.checked_shl(y).unwrap_or(0)),
            Op2::Shr => f32::from_bits(x.checked_shr(y).unwrap_or(0)),
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
        Op2::Shl,
        Op2::Shr,
    ];
    let xs = numbers();
    for op in ops {
        for other in [1.5f32, -0.37, 7.0, f32::NAN, f32::from_bits(5)] {
            for form in FORMS {
                for (lanes, got) in map_by_all(&Binary(op, other, form), &xs) {
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
            for (lanes, got) in map_by_all(&Combined(op, n, 1.0), &xs) {
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
    for (lanes, got) in map_by_all(&MultiplyAdds, &xs) {
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
        for mut out in run_by_all(&nested, 64, 0, count) {
            assert_eq!(out.iter().position(|x| *x == 1.0), Some(want), "{count} {pointers_held} {depth}");
            out[want] = 0.0;
            assert!(out.iter().all(|x| *x == 0.0), "written elsewhere");
        }
    }
}

/// Every operation on a vector in memory, and parts of vectors: `data` is 16 elements `1, 2, ...`, then results.
struct Memory;

/// `data[16..]`: 8 elements per result.
const RESULTS: usize = 9;

impl crate::encode::Program for Memory {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        // Off the alignment of vectors.
        let (data, lanes) = (s.arg(0)?, s.lanes());
        for i in 0..16 {
            let v = s.splat(i as f32 + 1.0)?;
            s.store(&data, 4 * i, &v, 1)?;
            s.free(v);
        }
        let at = |result: i32| 4 * (16 + 8 * result);
        let store = |s: &mut S, result: i32, v: V| {
            s.store(&data, at(result), &v, lanes.min(8))?;
            s.free(v);
            Ok(())
        };
        for n in 1..4 {
            let v = s.load(&data, 4, n)?;
            store(s, n as i32 - 1, v)?;
            let v = s.load(&data, 8, lanes.min(8))?;
            s.store(&data, at(n as i32 + 2), &v, n)?;
            s.free(v);
        }
        let source = Src::Mem(&data, 4);
        let v = s.load_splat(&data, 12)?;
        s.op2(Op2::Mul, &v, source)?;
        store(s, 6, v)?;
        let (v, three) = (s.load_splat(&data, 8)?, s.splat(3.0)?);
        s.fma(&v, &three, source)?;
        s.fma(&v, &three, Src::Splat(&data, 16))?;
        s.mul_add(&v, &three, source)?;
        store(s, 7, v)?;
        let v = s.splat(2.5)?;
        s.op2(Op2::Le, &v, source)?;
        s.keep_where(&three, &v, source)?;
        s.free(v);
        s.op2(Op2::Max, &three, Src::Splat(&data, 4))?;
        store(s, 8, three)
    }
}

#[test]
fn operands_in_memory() {
    for (i, out) in run_by_all(&Memory, 16 + 8 * RESULTS, 0, 0).into_iter().enumerate() {
        let of = |result: usize| &out[16 + 8 * result..][..8];
        let lanes = if of(6)[7] == 0.0 { 4 } else { 8 };
        let start = |n: usize, from: f32| -> Vec<f32> {
            (0..8).map(|i| if i < n { from + i as f32 } else { 0.0 }).collect()
        };
        for n in 1..4 {
            assert_eq!(of(n - 1), start(n, 2.0), "builder {i}: {n} elements loaded");
            assert_eq!(of(n + 2), start(n, 3.0), "builder {i}: {n} elements stored");
        }
        for lane in 0..lanes {
            let x = lane as f32 + 2.0;
            assert_eq!(of(6)[lane], 4.0 * x, "builder {i}: a product");
            assert_eq!(of(7)[lane], (3.0 + 3.0 * x + 3.0 * 5.0) * 3.0 + x, "builder {i}: multiply-adds");
            assert_eq!(of(8)[lane], if 2.5 <= x { 3.0 } else { x }, "builder {i}: a choice");
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

/// Adds the numbers that indices lead to: `sum += table[i]` for each index, `-1` the last one; of one outside the table
/// it tells.
struct Indexed {
    /// Indices have 8 bytes.
    wide: bool,
    /// Numbers in the table.
    extent: i64,
}

/// Words: the table of four, where the sum goes, where an index outside is told, then the indices.
const TABLE: i64 = 4;

impl crate::encode::Program for Indexed {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (data, begin, count) = (s.arg(0)?, s.arg(1)?, s.arg(2)?);
        let next = s.copy_ptr(&data)?;
        s.advance(&next, 8 * (TABLE + 2));
        let size = if self.wide { 8 } else { 4 };
        s.advance_by(&next, &begin, size)?;
        s.repeat_ptr(count, &mut |s| {
            let index = s.load_index(&next, 0, self.wide)?;
            s.wrap(&index, self.extent)?;
            s.when_below(
                &index,
                self.extent,
                &mut |s| {
                    let at = s.copy_ptr(&data)?;
                    s.advance_by(&at, &index, 8)?;
                    let number = s.load(&at, 0, 1)?;
                    s.op2(Op2::IntAdd, &number, Src::Mem(&data, 8 * TABLE as i32))?;
                    s.store(&data, 8 * TABLE as i32, &number, 1)?;
                    s.free(number);
                    s.free_ptr(at);
                    Ok(())
                },
                &mut |s| {
                    s.store_word(&data, 8 * (TABLE as i32 + 1), -7);
                    Ok(())
                },
            )?;
            s.free_ptr(index);
            s.advance(&next, size);
            Ok(())
        })
    }
}

#[test]
fn indices_are_wrapped_and_checked() {
    for (wide, extent) in [(true, 4), (false, 4), (false, 3), (true, 1)] {
        for indices in [&[0i64, 3, -1, 2][..], &[-4, 4], &[i32::MIN.into(), 1], &[i32::MAX.into()], &[]] {
            let mut words = vec![10u64, 200, 3000, 40000, 0, 0];
            let mut want = words.clone();
            for &i in indices {
                let i = if i < 0 { i + extent } else { i };
                match (0..extent).contains(&i) {
                    true => want[4] += words[i as usize],
                    false => want[5] = -7i64 as u64,
                }
            }
            let mut data: Vec<u8> = words.drain(..).flat_map(u64::to_le_bytes).collect();
            for i in indices {
                if wide {
                    data.extend(i.to_le_bytes());
                } else {
                    data.extend((*i as i32).to_le_bytes());
                }
            }
            // Beside the sum: a whole vector is read there.
            data.extend([0; 64]);
            let want: Vec<u8> = want.into_iter().flat_map(u64::to_le_bytes).collect();
            for ran in run_on(&Indexed { wide, extent }, &data, 0, indices.len() as i64) {
                assert_eq!(ran.data[..want.len()], want, "{indices:?} of {extent} by {}", ran.name);
            }
        }
    }
}
