//! Every builder against the scalar meaning of each operation on lanes of every type, and of elements in memory.

use kiln_ir::DType;
use kiln_ir::eval::scalar::apply_cast;
use kiln_ir::kernel::Scalar;

use crate::simd::sequences::keep_first;
use crate::simd::{Across, Element, Lane, Narrow, Op1, Op2, Overflow, R, Simd, SimdExt as _, Src, short};
use crate::testing::{compile_for, run_on};

const TYPES: [Lane; 6] = [Lane::F32, Lane::I32, Lane::U32, Lane::F64, Lane::I64, Lane::U64];

/// What happens to a vector `a`, with `b` beside it.
#[derive(Clone, Copy, Debug)]
enum What {
    One(Op1),
    /// The second operand in a register.
    Two(Op2),
    /// The second operand in memory.
    TwoMem(Op2),
    /// The second operand a constant: the bits.
    TwoConst(Op2, u64),
    /// `a * b + b`.
    Fma,
    /// `if a == b { a } else { b }`.
    Choice,
    Convert(Lane),
    /// Lanes from `n` on replaced by the bits, then the rest combined.
    Combined(Across, usize, u64),
    /// Rounding to odd, to f32.
    Odd,
}

/// `out[i] = what(a[i], b[i])` for `begin` elements, vector after vector: `a`, `b` and `out` lie one after the other.
struct Lanes {
    ty: Lane,
    what: What,
}

fn element(ty: Lane) -> Element {
    if ty.is_wide() { Element::B64 } else { Element::B32 }
}

impl Lanes {
    fn result(&self) -> Lane {
        match self.what {
            What::Convert(to) => to,
            What::Odd => Lane::F32,
            _ => self.ty,
        }
    }

    fn per_vector(&self, lanes: usize) -> usize {
        if self.ty.is_wide() || self.result().is_wide() { lanes / 2 } else { lanes }
    }
}

/// Elements of each operand: vectors of every size fit.
const COUNT: usize = 32;

impl crate::encode::Program for Lanes {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let ty = self.ty;
        let n = self.per_vector(s.lanes());
        let (size, out_size) = (element(ty).bytes(), element(self.result()).bytes());
        let a = s.arg(0)?;
        let count = s.arg(2)?;
        let (b, out) = (s.copy_ptr(&a)?, s.copy_ptr(&a)?);
        // Each operand has `begin` bytes.
        let skip = s.arg(1)?;
        s.advance_by(&b, &skip, 1)?;
        s.advance_by(&out, &skip, 2)?;
        s.free_ptr(skip);
        let groups = COUNT / n;
        s.repeat_ptr(count, &mut |s| {
            s.repeat(groups as u32, &mut |s| {
                let v = s.load_as(element(ty), &a, 0, n)?;
                match self.what {
                    What::One(op) => s.op1_as(ty, op, &v)?,
                    What::Two(op) => {
                        let other = s.load_as(element(ty), &b, 0, n)?;
                        s.op2_as(ty, op, &v, Src::Reg(&other))?;
                        s.free(other);
                    }
                    What::TwoMem(op) => s.op2_as(ty, op, &v, Src::Mem(&b, 0))?,
                    What::TwoConst(op, bits) if ty.is_wide() => s.op2_as(ty, op, &v, Src::Wide(bits))?,
                    What::TwoConst(op, bits) => s.op2_as(ty, op, &v, Src::Bits(bits as u32))?,
                    What::Fma => {
                        let sum = s.load_as(element(ty), &b, 0, n)?;
                        s.fma_as(ty, &sum, &v, Src::Mem(&b, 0))?;
                        s.assign(&v, &sum);
                        s.free(sum);
                    }
                    What::Choice => {
                        let mask = s.copy(&v)?;
                        s.op2_as(ty, Op2::Eq, &mask, Src::Mem(&b, 0))?;
                        s.keep_where(&v, &mask, Src::Mem(&b, 0))?;
                        s.free(mask);
                    }
                    What::Convert(to) => s.convert(ty, to, &v)?,
                    What::Combined(op, n, bits) => {
                        keep_first(s, ty, &v, n, bits)?;
                        s.across_as(ty, op, &v)?;
                    }
                    What::Odd => crate::simd::short::f64_to_odd(s, &v)?,
                }
                s.store_as(element(self.result()), &out, 0, &v, n)?;
                s.free(v);
                s.advance(&a, (n * size) as i64);
                s.advance(&b, (n * size) as i64);
                s.advance(&out, (n * out_size) as i64);
                Ok(())
            })
        })
    }
}

fn bytes_of(ty: Lane, xs: &[u64]) -> Vec<u8> {
    xs.iter().flat_map(|x| x.to_le_bytes().into_iter().take(element(ty).bytes())).collect()
}

fn bits_at(ty: Lane, bytes: &[u8]) -> Vec<u64> {
    let size = element(ty).bytes();
    bytes
        .chunks_exact(size)
        .map(|c| c.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
        .collect()
}

/// The results of `what` for all elements, by every builder: name, lanes of a vector, bits.
fn apply(ty: Lane, what: What, a: &[u64], b: &[u64]) -> Vec<(String, usize, Vec<u64>)> {
    let program = Lanes { ty, what };
    let count = a.len().next_multiple_of(COUNT);
    let padded =
        |xs: &[u64]| -> Vec<u64> { xs.iter().copied().chain(std::iter::repeat(0)).take(count).collect() };
    let operand = bytes_of(ty, &padded(a));
    let mut data = operand.clone();
    data.extend(bytes_of(ty, &padded(b)));
    data.extend(vec![0; 8 * count]);
    run_on(&program, &data, operand.len() as i64, (count / COUNT) as i64)
        .into_iter()
        .map(|ran| {
            let mut out = bits_at(program.result(), &ran.data[2 * operand.len()..]);
            out.truncate(a.len());
            (ran.name, program.per_vector(ran.lanes), out)
        })
        .collect()
}

/// Numbers at the edges of the type, as bits.
fn edges(ty: Lane) -> Vec<u64> {
    let floats = [
        0.0,
        0.3,
        0.5,
        1.0,
        1.5,
        2.5,
        3.7,
        100.25,
        255.5,
        65504.0,
        65520.0,
        8388607.5,
        16777217.0,
        2147483647.0,
        2147483648.0,
        4294967295.0,
        4294967296.0,
        4503599627370495.5,
        9007199254740993.0,
        9.2e18,
        9223372036854775808.0,
        1.8e19,
        18446744073709551616.0,
        1e30,
        1e-40,
        3e-320,
        1e300,
        f64::INFINITY,
        f64::NAN,
    ];
    let signed = floats.iter().flat_map(|x| [*x, -*x]);
    match ty {
        Lane::F32 => signed.map(|x| u64::from((x as f32).to_bits())).collect(),
        Lane::F64 => signed.map(f64::to_bits).collect(),
        _ => {
            let near = |x: u64| [x, x.wrapping_add(1), x.wrapping_sub(1)];
            let mut all: Vec<u64> =
                [0, 5, 31, 63, 1 << 16, 1 << 24, 1 << 31, 1 << 32, 1 << 53, 3 << 53, 1 << 63]
                    .into_iter()
                    .flat_map(near)
                    .chain([
                        0x8000_0040_0000_0000,
                        0x8000_0040_0000_0001,
                        0x1234_5678_9abc_def0,
                        0xdead_beef_0bad_cafe,
                    ])
                    .collect();
            if !ty.is_wide() {
                all.iter_mut().for_each(|x| *x &= 0xffff_ffff);
            }
            all
        }
    }
}

/// All pairs.
fn pairs(ty: Lane) -> (Vec<u64>, Vec<u64>) {
    let edges = edges(ty);
    edges.iter().flat_map(|a| edges.iter().map(move |b| (*a, *b))).unzip()
}

fn is_nan(ty: Lane, bits: u64) -> bool {
    match ty {
        Lane::F32 => f32::from_bits(bits as u32).is_nan(),
        Lane::F64 => f64::from_bits(bits).is_nan(),
        _ => false,
    }
}

fn same(ty: Lane, a: u64, b: u64) -> bool {
    a == b || is_nan(ty, a) && is_nan(ty, b)
}

/// The scalar meaning on Rust's types: integers by `i128`, floats by themselves.
fn two(ty: Lane, op: Op2, a: u64, b: u64) -> Option<u64> {
    let mask = if ty.is_wide() { u64::MAX } else { 0xffff_ffff };
    let all = |yes: bool| if yes { mask } else { 0 };
    match op {
        Op2::And => return Some(a & b),
        Op2::Or => return Some(a | b),
        Op2::Xor => return Some(a ^ b),
        Op2::AndNot => return Some(!a & b & mask),
        Op2::Shl => return Some(if b < ty.bits().into() { (a << b) & mask } else { 0 }),
        Op2::Shr => return Some(if b < ty.bits().into() { a >> b } else { 0 }),
        Op2::IntAdd | Op2::IntSub => return None,
        _ => {}
    }
    macro_rules! float {
        ($f:ty, $x:expr, $y:expr) => {{
            let (x, y): ($f, $f) = ($x, $y);
            let value = match op {
                Op2::Add => x + y,
                Op2::Sub => x - y,
                Op2::Mul => x * y,
                Op2::Div => x / y,
                Op2::Lt => return Some(all(x < y)),
                Op2::Le => return Some(all(x <= y)),
                Op2::Eq => return Some(all(x == y)),
                Op2::Min | Op2::MinNan if x.is_nan() => x,
                Op2::Max | Op2::MaxNan if x.is_nan() => x,
                Op2::MinNan | Op2::MaxNan if y.is_nan() => y,
                // Of zeros either: the second where they are equal is what the machines do, but it is not promised.
                _ if x == y => return None,
                Op2::Min | Op2::MinNan => x.min(y),
                _ => x.max(y),
            };
            u64::from(value.to_bits())
        }};
    }
    match ty {
        Lane::F32 => return Some(float!(f32, f32::from_bits(a as u32), f32::from_bits(b as u32))),
        Lane::F64 => return Some(float!(f64, f64::from_bits(a), f64::from_bits(b))),
        _ => {}
    }
    let (x, y) = (integer(ty, a), integer(ty, b));
    let value = match op {
        Op2::Add => x + y,
        Op2::Sub => x - y,
        Op2::Mul => x.wrapping_mul(y),
        Op2::Min | Op2::MinNan => x.min(y),
        Op2::Max | Op2::MaxNan => x.max(y),
        Op2::Lt => return Some(all(x < y)),
        Op2::Le => return Some(all(x <= y)),
        Op2::Eq => return Some(all(x == y)),
        _ => return None,
    };
    Some(value as u64 & mask)
}

fn integer(ty: Lane, bits: u64) -> i128 {
    match ty {
        Lane::I32 => i128::from(bits as u32 as i32),
        Lane::I64 => i128::from(bits as i64),
        _ => i128::from(bits),
    }
}

const OPS: [Op2; 16] = [
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
    Op2::Shl,
];

#[test]
fn two_operands_of_every_type() {
    for ty in TYPES {
        let (a, b) = pairs(ty);
        for op in OPS.into_iter().chain([Op2::Shr]) {
            if !ty.is_float() && op == Op2::Div || ty.is_float() && matches!(op, Op2::Shl | Op2::Shr) {
                continue;
            }
            for what in [What::Two(op), What::TwoMem(op)] {
                for (name, lanes, got) in apply(ty, what, &a, &b) {
                    assert!(lanes >= 2);
                    for ((a, b), got) in a.iter().zip(&b).zip(got) {
                        let Some(want) = two(ty, op, *a, *b) else { continue };
                        // A NaN in the second operand alone may be dropped, or kept.
                        let loose = matches!(op, Op2::Min | Op2::Max) && is_nan(ty, *b);
                        assert!(
                            same(ty, got, want) || loose,
                            "{name}: {a:#x} {op:?} {b:#x} of {ty:?}: {got:#x}, not {want:#x}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn constants_of_every_type() {
    for ty in TYPES {
        let a = edges(ty);
        let constant = a[7];
        for op in [Op2::Add, Op2::Mul, Op2::Lt, Op2::MaxNan, Op2::Xor] {
            for (name, _, got) in apply(ty, What::TwoConst(op, constant), &a, &a) {
                for (a, got) in a.iter().zip(got) {
                    let Some(want) = two(ty, op, *a, constant) else { continue };
                    assert!(
                        same(ty, got, want),
                        "{name}: {a:#x} {op:?} {constant:#x} of {ty:?}: {got:#x}, not {want:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn one_operand_of_every_type() {
    for ty in TYPES {
        let (a, width) = (edges(ty), ty.bits());
        let mask = if ty.is_wide() { u64::MAX } else { 0xffff_ffff };
        let mut ops = vec![Op1::Abs, Op1::Neg];
        if ty.is_float() {
            ops.extend([Op1::Sqrt, Op1::Floor, Op1::Ceil, Op1::Round]);
        } else {
            for n in [0, 1, 7, width / 2, width - 1] {
                ops.extend([Op1::Shl(n), Op1::Shr(n), Op1::Sar(n)]);
            }
        }
        macro_rules! float {
            ($x:expr, $op:expr) => {{
                let x = $x;
                u64::from(
                    match $op {
                        Op1::Abs => x.abs(),
                        Op1::Neg => -x,
                        Op1::Sqrt => x.sqrt(),
                        Op1::Floor => x.floor(),
                        Op1::Ceil => x.ceil(),
                        _ => x.round_ties_even(),
                    }
                    .to_bits(),
                )
            }};
        }
        for op in ops {
            for (name, _, got) in apply(ty, What::One(op), &a, &a) {
                for (a, got) in a.iter().zip(got) {
                    let signed = integer(ty.signed(), *a);
                    let want = match (ty, op) {
                        (Lane::F32, _) => float!(f32::from_bits(*a as u32), op),
                        (Lane::F64, _) => float!(f64::from_bits(*a), op),
                        (_, Op1::Abs) if ty.is_signed() => signed.unsigned_abs() as u64 & mask,
                        (_, Op1::Abs) => *a,
                        (_, Op1::Neg) => signed.wrapping_neg() as u64 & mask,
                        (_, Op1::Shl(n)) => a << n & mask,
                        (_, Op1::Shr(n)) => a >> n,
                        (_, Op1::Sar(n)) => (signed >> n) as u64 & mask,
                        _ => unreachable!(),
                    };
                    assert!(
                        same(ty, got, want),
                        "{name}: {op:?} of {a:#x} as {ty:?}: {got:#x}, not {want:#x}"
                    );
                }
            }
        }
    }
}

/// `Cast` by Rust's `as`, which saturates, gives 0 for NaN and rounds once.
fn cast(from: Lane, to: Lane, a: u64) -> u64 {
    macro_rules! to {
        ($x:expr) => {{
            let x = $x;
            match to {
                Lane::F32 => u64::from((x as f32).to_bits()),
                Lane::F64 => (x as f64).to_bits(),
                Lane::I32 => u64::from(x as i32 as u32),
                Lane::U32 => u64::from(x as u32),
                Lane::I64 => x as i64 as u64,
                Lane::U64 => x as u64,
            }
        }};
    }
    match from {
        Lane::F32 => to!(f32::from_bits(a as u32)),
        Lane::F64 => to!(f64::from_bits(a)),
        Lane::I32 => to!(a as u32 as i32),
        Lane::U32 => to!(a as u32),
        Lane::I64 => to!(a as i64),
        Lane::U64 => to!(a),
    }
}

#[test]
fn conversions_between_all_types() {
    for from in TYPES {
        let all = edges(from);
        // Short ways are taken where all lanes are near 0.
        let near = |a: &&u64| f64::from_bits(cast(from, Lane::F64, **a)).abs() < 1e9;
        let some: Vec<u64> = all.iter().filter(near).copied().collect();
        for (to, a) in TYPES.into_iter().flat_map(|to| [(to, &all), (to, &some)]) {
            for (name, _, got) in apply(from, What::Convert(to), a, a) {
                for (a, got) in a.iter().zip(got) {
                    let want = cast(from, to, *a);
                    assert!(
                        same(to, got, want),
                        "{name}: {a:#x} as {from:?} to {to:?}: {got:#x}, not {want:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn rounding_to_odd_loses_nothing_for_short_floats() {
    let mut a = edges(Lane::F64);
    // Just above and below ties of both formats.
    for tie in [1.0 + 2f64.powi(-11), 1.0 + 2f64.powi(-8), 3.0 * 2f64.powi(-25), 65520.0] {
        a.extend([tie, tie * (1.0 + 2f64.powi(-40)), tie * (1.0 - 2f64.powi(-40))].map(f64::to_bits));
    }
    for (name, _, got) in apply(Lane::F64, What::Odd, &a, &a) {
        for (a, got) in a.iter().map(|a| f64::from_bits(*a)).zip(got) {
            let got = f32::from_bits(got as u32);
            for short in [DType::F16, DType::BF16] {
                let once = apply_cast(short, Scalar::of(DType::F64, a)).expect("a cast");
                let twice = apply_cast(short, Scalar::f32(got)).expect("a cast");
                assert!(once == twice || a.is_nan(), "{name}: {a:e} as {short}: {twice:?}, not {once:?}");
            }
            assert_eq!(got.is_nan(), a.is_nan(), "{name}: {a:e}");
        }
    }
}

#[test]
fn multiply_adds_and_choices() {
    for ty in TYPES {
        let (a, b) = pairs(ty);
        for (name, _, got) in apply(ty, What::Choice, &a, &b) {
            for ((a, b), got) in a.iter().zip(&b).zip(got) {
                let equal = two(ty, Op2::Eq, *a, *b) != Some(0);
                assert_eq!(got, if equal { *a } else { *b }, "{name}: {a:#x} or {b:#x} of {ty:?}");
            }
        }
        // Small integers, so that one or two roundings do not matter.
        let small = |i: u64| cast(Lane::I64, ty, i.wrapping_sub(20));
        let (a, b): (Vec<u64>, Vec<u64>) = (0..40).map(|i| (small(i), small(7 * i % 40))).unzip();
        for (name, _, got) in apply(ty, What::Fma, &a, &b) {
            for ((a, b), got) in a.iter().zip(&b).zip(got) {
                let want = two(ty, Op2::Mul, *a, *b).and_then(|product| two(ty, Op2::Add, *b, product));
                assert_eq!(Some(got), want, "{name}: {a:#x} * {b:#x} + {b:#x} of {ty:?}");
            }
        }
    }
}

#[test]
fn lanes_of_every_type_combine() {
    for ty in TYPES {
        let a: Vec<u64> = (0..64).map(|i| cast(Lane::I64, ty, (i * 7 % 13) + 1)).collect();
        let one = cast(Lane::I64, ty, 1);
        for across in [Across::Sum, Across::Max, Across::Min, Across::Prod] {
            for n in [1, 2, 3, 5] {
                for (name, lanes, got) in apply(ty, What::Combined(across, n, one), &a, &a) {
                    for (vector, got) in a.chunks(lanes).zip(got.chunks(lanes)) {
                        let kept = vector.iter().take(n).copied();
                        let kept = kept.chain(std::iter::repeat_n(one, lanes.saturating_sub(n)));
                        let want =
                            kept.reduce(|a, b| two(ty, across.op2(), a, b).unwrap_or(a)).expect("lanes");
                        assert!(
                            got.iter().all(|g| *g == want),
                            "{name}: {across:?} of {n} of {ty:?}: {got:x?}, not {want:x}"
                        );
                    }
                }
            }
        }
    }
}

/// Cranelift has a pattern for everything on the machine that is not run here.
#[test]
fn every_operation_compiles_for_aarch64() {
    let compile = |ty, what| compile_for("aarch64-unknown-linux-gnu", &Lanes { ty, what });
    for ty in TYPES {
        let floats_only = |op: &Op2| *op == Op2::Div && !ty.is_float();
        for op in OPS.into_iter().filter(|op| !floats_only(op)) {
            assert!(!compile(ty, What::TwoMem(op)).is_empty());
        }
        for op in [Op1::Abs, Op1::Neg, Op1::Shl(3), Op1::Shr(3), Op1::Sar(3)] {
            compile(ty, What::One(op));
        }
        for to in TYPES {
            compile(ty, What::Convert(to));
        }
        for op in [Across::Sum, Across::Max] {
            compile(ty, What::Combined(op, 1, 0));
        }
        compile(ty, What::Fma);
        compile(ty, What::Choice);
    }
    for element in ELEMENTS {
        for n in [1, 2, 3, 4] {
            compile_for("aarch64-unknown-linux-gnu", &Elements { element, n });
        }
    }
}

/// Elements to lanes of 32 bits and back, `n` of them: `data` is 16 elements, their lanes, the first one in
/// every lane, and the elements again.
struct Elements {
    element: Element,
    n: usize,
}

/// Bytes of each part of the data.
const PART: usize = 160;

impl crate::encode::Program for Elements {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let (size, lanes) = (self.element.bytes(), s.lanes());
        let most = if size == 8 { lanes / 2 } else { lanes };
        for at in (0..16).step_by(most) {
            let n = self.n.min(most);
            let disp = (at * size) as i32;
            let v = s.load_as(self.element, &data, disp, n)?;
            s.store(&data, (PART + 4 * at * size.div_ceil(4)) as i32, &v, lanes)?;
            // Away from the alignment of whole vectors.
            s.store_as(self.element, &data, 3 * PART as i32 + disp + 1, &v, n)?;
            s.free(v);
        }
        let v = s.load_splat_as(self.element, &data, size as i32)?;
        s.store(&data, 2 * PART as i32, &v, lanes)?;
        s.free(v);
        Ok(())
    }
}

/// The lane of an element given by its bits.
fn lane(element: Element, bits: u64) -> u64 {
    u64::from(match element {
        Element::U8 | Element::U16 | Element::B32 => bits as u32,
        Element::I8 => bits as u8 as i8 as u32,
        Element::I16 => bits as u16 as i16 as u32,
        Element::F16 => half::f16::from_bits(bits as u16).to_f32().to_bits(),
        Element::BF16 => half::bf16::from_bits(bits as u16).to_f32().to_bits(),
        Element::Bool => (bits as u32).wrapping_neg(),
        Element::B64 => return bits,
    })
}

const ELEMENTS: [Element; 9] = [
    Element::U8,
    Element::I8,
    Element::U16,
    Element::I16,
    Element::F16,
    Element::BF16,
    Element::Bool,
    Element::B32,
    Element::B64,
];

#[test]
fn elements_in_memory_become_lanes_and_back() {
    for element in ELEMENTS {
        let size = element.bytes();
        let mut elements: Vec<u64> =
            (0..16u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 60)).collect();
        if element == Element::Bool {
            elements.iter_mut().for_each(|x| *x &= 1);
        }
        let mask = u64::MAX >> (64 - 8 * size);
        elements.iter_mut().for_each(|x| *x &= mask);
        let mut data: Vec<u8> =
            elements.iter().flat_map(|x| x.to_le_bytes().into_iter().take(size)).collect();
        data.resize(4 * PART, 0xa5);
        for n in 1..=16 {
            for ran in run_on(&Elements { element, n }, &data, 0, 0) {
                let most = if size == 8 { ran.lanes / 2 } else { ran.lanes };
                if n > most {
                    continue;
                }
                let lane_size = if size == 8 { 8 } else { 4 };
                let read = |at: usize, size: usize| {
                    ran.data[at..at + size].iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte))
                };
                for (i, x) in elements.iter().enumerate() {
                    let at = format!("{}: {n} of {element:?}, element {i}", ran.name);
                    let inside = i % most < n;
                    let want = if inside { lane(element, *x) } else { 0 };
                    let got = read(PART + i * lane_size, lane_size);
                    let nan = |bits: u64| f32::from_bits(bits as u32).is_nan() && size == 2;
                    assert!(got == want || nan(got) && nan(want), "{at}: loaded {got:#x}, not {want:#x}");
                    let back = read(3 * PART + 1 + i * size, size);
                    let guard = u64::from_le_bytes([0xa5; 8]) & mask;
                    let nan = |bits: u64| nan(lane(element, bits));
                    let kept = if inside { *x } else { guard };
                    assert!(back == kept || nan(back) && nan(kept), "{at}: stored {back:#x}, not {kept:#x}");
                }
                let first = read(2 * PART + 4 * ran.lanes - lane_size, lane_size);
                let want = lane(element, elements[1]);
                let nan = |bits: u64| f32::from_bits(bits as u32).is_nan() && size == 2;
                let right = first == want || nan(first) && nan(want);
                assert!(right, "{}: {element:?} in every lane: {first:#x}, not {want:#x}", ran.name);
                assert_eq!(ran.data[3 * PART], 0xa5);
                assert!(ran.data[3 * PART + 1 + 16 * size..].iter().all(|b| *b == 0xa5), "written beyond");
            }
        }
    }
}

/// All numbers of a range to f16 or bf16 and, from f16, back.
struct Rounded(Element);

impl crate::encode::Program for Rounded {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (data, count, lanes) = (s.arg(0)?, s.arg(2)?, s.lanes());
        let out = s.copy_ptr(&data)?;
        s.repeat_ptr(count, &mut |s| {
            for i in 0..16 / lanes {
                let v = s.load(&data, (4 * lanes * i) as i32, lanes)?;
                s.store_as(self.0, &out, (2 * lanes * i) as i32, &v, lanes)?;
                s.free(v);
            }
            s.advance(&data, 64);
            s.advance(&out, 32);
            Ok(())
        })
    }
}

#[test]
fn short_floats_round_to_even() {
    // Every 1009th number, and what lies around every tie of f16 and every 64th of bf16.
    let mut xs: Vec<u32> = (0..=u32::MAX).step_by(1009 * 64).collect();
    for bits in 0..0x7c01u16 {
        let tie = (half::f16::from_bits(bits).to_f64() + half::f16::from_bits(bits + 1).to_f64()) / 2.0;
        let near = (tie as f32).to_bits();
        xs.extend([near - u32::from(near > 0), near, near + 1, near | 0x8000_0000]);
    }
    xs.extend((0..0x7f80u32).step_by(64).flat_map(|high| {
        let tie = high << 16 | 0x8000;
        [tie - 1, tie, tie + 1, tie + 0x1_0000, tie | 0x8000_0000]
    }));
    xs.extend([0x7f80_0000, 0xff80_0000, 0x7f80_0001, 0x7fc0_0000, 0xffff_ffff, 0x477f_f000, 0x477f_efff]);
    xs.resize(xs.len().next_multiple_of(16), 0);
    let data: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
    for element in [Element::F16, Element::BF16] {
        for ran in run_on(&Rounded(element), &data, 0, (xs.len() / 16) as i64) {
            for (x, got) in xs.iter().map(|x| f32::from_bits(*x)).zip(ran.data.chunks_exact(2)) {
                let got = u16::from_le_bytes([got[0], got[1]]);
                let (want, nan) = match element {
                    Element::F16 => (half::f16::from_f32(x).to_bits(), half::f16::from_bits(got).is_nan()),
                    _ => (half::bf16::from_f32(x).to_bits(), half::bf16::from_bits(got).is_nan()),
                };
                let right = if x.is_nan() { nan } else { got == want };
                assert!(
                    right,
                    "{}: {x:e} ({:#x}) as {element:?}: {got:#x}, not {want:#x}",
                    ran.name,
                    x.to_bits()
                );
            }
        }
    }
}

/// All floats of 16 bits as f32, behind them.
struct Widened {
    element: Element,
    /// Loaded as numbers that are finite.
    finite: bool,
    /// Rounded to what they are already.
    rounded: bool,
}

impl crate::encode::Program for Widened {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (data, count, lanes) = (s.arg(0)?, s.arg(2)?, s.lanes());
        let out = s.copy_ptr(&data)?;
        s.advance(&out, 2 << 16);
        s.repeat_ptr(count, &mut |s| {
            for i in 0..16 / lanes {
                let disp = (2 * lanes * i) as i32;
                let v = match self.finite {
                    true => s.load_finite(self.element, &data, disp, lanes)?,
                    false => s.load_as(self.element, &data, disp, lanes)?,
                };
                match (self.rounded, self.element) {
                    (false, _) => {}
                    (true, Element::F16) => short::round_to_f16(s, &v)?,
                    (true, _) => short::round_to_bf16(s, &v)?,
                }
                s.store(&out, (4 * lanes * i) as i32, &v, lanes)?;
                s.free(v);
            }
            s.advance(&data, 32);
            s.advance(&out, 64);
            Ok(())
        })
    }
}

#[test]
fn every_short_float_is_a_float() {
    let mut data: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    data.resize(6 << 16, 0);
    for element in [Element::F16, Element::BF16] {
        for (finite, rounded) in [(false, false), (true, false), (false, true)] {
            for ran in run_on(&Widened { element, finite, rounded }, &data, 0, 1 << 12) {
                for (bits, got) in (0..=u16::MAX).zip(ran.data[2 << 16..].chunks_exact(4)) {
                    let got = f32::from_le_bytes([got[0], got[1], got[2], got[3]]);
                    let want = f32::from_bits(lane(element, bits.into()) as u32);
                    let right = got.to_bits() == want.to_bits()
                        || got.is_nan() && want.is_nan()
                        || finite && !want.is_finite();
                    assert!(right, "{}: {bits:#x} of {element:?}: {got:e}, not {want:e}", ran.name);
                }
            }
        }
    }
}

/// The first `n` lanes of each vector of `data` as short integers, behind it.
struct Saturated(Narrow, usize);

impl crate::encode::Program for Saturated {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (data, lanes) = (s.arg(0)?, s.lanes());
        for at in (0..32).step_by(lanes) {
            let v = s.load(&data, 4 * at as i32, lanes)?;
            let disp = 128 + (at * self.0.bytes()) as i32;
            s.store_narrow(self.0, Overflow::Saturate, &data, disp, &v, self.1.min(lanes))?;
            s.free(v);
        }
        Ok(())
    }
}

#[test]
fn stores_saturate() {
    let xs: Vec<i32> = (0..8)
        .flat_map(|i| [[0, 127, 255, 32767, 65535, 1 << 20, i32::MAX, 100][i]].into_iter())
        .flat_map(|x| [x, x.wrapping_add(1), -x, -x - 1])
        .collect();
    let mut data: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
    data.resize(128 + 64 + 8, 0xa5);
    for two in [false, true] {
        for signed in [false, true] {
            let narrow = Narrow { two, signed };
            let ((least, most), size) = (narrow.range(), narrow.bytes());
            for n in 1..=16 {
                for ran in run_on(&Saturated(narrow, n), &data, 0, 0) {
                    for (i, x) in xs.iter().enumerate() {
                        let got = &ran.data[128 + i * size..][..size];
                        let want = (*x).clamp(least, most).to_le_bytes();
                        let inside = i % ran.lanes < n;
                        let want = if inside { &want[..size] } else { &[0xa5; 2][..size] };
                        assert_eq!(got, want, "{}: {x} as {narrow:?}, {n} at once", ran.name);
                    }
                    assert!(ran.data[128 + 32 * size..].iter().all(|b| *b == 0xa5), "written beyond");
                }
            }
        }
    }
}
