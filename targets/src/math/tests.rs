//! Every function of floats by every vector builder, over all exponents and special values, against the bounds of
//! `docs/functions.md`.

use kiln_ir::kernel::{BinaryOp, UnaryOp};

use super::arithmetic::Format;
use super::functions::Function;
use super::{replay, tape};
use crate::simd::{Element, Lane, P, Program, R, Simd, SimdExt as _, V};
use crate::testing::run_on;

/// A function of numbers one after the other: operands, then results in the place of the first.
struct Map {
    function: Function,
    format: Format,
    numbers: usize,
    /// Vectors side by side at most.
    vectors: usize,
}

/// A multiple of all vectors that are computed at once.
const STEP: usize = 64;

fn lane(format: Format) -> Lane {
    match format {
        Format::F32 => Lane::F32,
        Format::F64 => Lane::F64,
    }
}

impl Map {
    fn size(&self) -> usize {
        match self.format {
            Format::F32 => 4,
            Format::F64 => 8,
        }
    }
}

impl Program for Map {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (size, element) = match self.format {
            Format::F32 => (4, Element::B32),
            Format::F64 => (8, Element::B64),
        };
        let lanes = 4 * s.lanes() / size;
        // No more registers than the function asks for.
        let need = tape::registers(self.function, lane(self.format));
        let vectors = (1..=self.vectors).rev().find(|n| n.is_power_of_two() && need.of(*n) <= s.spare());
        let vectors = vectors.unwrap_or(1);
        if self.format == Format::F32 && s.spare() <= 32 {
            for bits in tape::constants(self.function, s.scales()) {
                if s.spare() > need.of(vectors) {
                    s.prepare_constant(bits)?;
                }
            }
        }
        let room = need.of(vectors) <= s.spare();
        let taken = if s.spare() > 32 { 0 } else { s.spare().saturating_sub(need.of(vectors)) };
        let taken = (0..taken).map(|_| s.splat(0.0)).collect::<R<Vec<V>>>()?;
        assert_eq!(self.numbers % (vectors * lanes), 0);
        let pointers = (0..self.function.operands()).map(|i| {
            let p = s.arg(0)?;
            s.advance(&p, (i * size * self.numbers) as i64);
            Ok(p)
        });
        let pointers = pointers.collect::<R<Vec<P>>>()?;
        let ran = s.repeat((self.numbers / lanes / vectors) as u32, &mut |s| {
            let at = |i: usize| (i * size * lanes) as i32;
            let operands =
                pointers.iter().map(|p| (0..vectors).map(|i| s.load_as(element, p, at(i), lanes)).collect());
            let operands = operands.collect::<R<Vec<Vec<V>>>>()?;
            for (i, y) in replay::emit(s, self.function, lane(self.format), operands)?.into_iter().enumerate()
            {
                s.store_as(element, &pointers[0], at(i), &y, lanes)?;
                s.free(y);
            }
            pointers.iter().for_each(|p| s.advance(p, at(vectors).into()));
            Ok(())
        });
        assert!(ran.is_ok() || !room, "{:?} needs more than {need:?} for {vectors} vectors", self.function);
        ran?;
        taken.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

/// The function of numbers of the format, by every builder that this machine can run, alone and side by side.
fn by_all(function: Function, format: Format, operands: &[&[f64]]) -> Vec<(String, Vec<f64>)> {
    [1, 4].into_iter().flat_map(|vectors| side_by_side(vectors, function, format, operands)).collect()
}

fn side_by_side(
    vectors: usize,
    function: Function,
    format: Format,
    operands: &[&[f64]],
) -> Vec<(String, Vec<f64>)> {
    let count = operands[0].len();
    let numbers = count.next_multiple_of(STEP);
    let map = Map { function, format, numbers, vectors };
    let mut data = Vec::new();
    for xs in operands {
        let padded = xs.iter().copied().chain(std::iter::repeat_n(1.0, numbers - count));
        padded.for_each(|x| match format {
            Format::F32 => data.extend((x as f32).to_le_bytes()),
            Format::F64 => data.extend(x.to_le_bytes()),
        });
    }
    let ran = run_on(&map, &data, 0, 0);
    let number = |bytes: &[u8]| match format {
        Format::F32 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes"))),
        Format::F64 => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
    };
    ran.into_iter()
        .map(|ran| {
            (
                format!("{}, {vectors} at once", ran.name),
                ran.data.chunks_exact(map.size()).map(number).take(count).collect(),
            )
        })
        .collect()
}

/// Every so many-th f32 of either sign, the neighbourhood of special ones, and special ones.
fn samples_f32() -> Vec<f64> {
    let dense = (0..0x7f80_0000u32).step_by(9973).flat_map(|bits| {
        let x = f32::from_bits(bits);
        [x, -x]
    });
    let bends = [
        0.0f32,
        0.5,
        1.0,
        87.3365,
        88.376,
        88.7228,
        103.97,
        0.55,
        0.927_734_4,
        9.01,
        4.0,
        39_000.0,
        1_048_576.0,
    ]
    .into_iter()
    .chain(
        (1..40)
            .chain((600..60_000).step_by(797))
            .map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32),
    );
    let near = bends.flat_map(|x| {
        (0..32u32).flat_map(move |i| {
            let up = f32::from_bits(x.to_bits() + i);
            let down = f32::from_bits(x.to_bits().saturating_sub(i));
            [up, down, -up, -down]
        })
    });
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45];
    dense.chain(near).chain(special).map(f64::from).collect()
}

/// The error of `got` in units in the last place that f32 has where `want` is; beyond the largest number stands 2^128.
fn ulp_f32(got: f64, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() == want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if want == 0.0 {
        return if got.to_bits() == want.to_bits() { 0.0 } else { f64::INFINITY };
    }
    let most = 2f64.powi(128);
    let (got, want) = (got.clamp(-most, most), want.clamp(-most, most));
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    (got - want).abs() * 2f64.powi(23 - exponent.clamp(-126, 127))
}

/// The error of `got` in units in the last place of f64 at `want`, to which thousandths of one are added.
fn ulp_f64(got: f64, want: f64, beyond: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() == want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if want == 0.0 && beyond == 0.0 || want.is_infinite() {
        return if got.to_bits() == want.to_bits() { 0.0 } else { f64::INFINITY };
    }
    // Bits of numbers of one sign count units; over 0 the other sign's are negative.
    let place = |x: f64| if x < 0.0 { -((x.to_bits() << 1 >> 1) as i64) } else { x.to_bits() as i64 };
    let (got, want, beyond) = if want < 0.0 { (-got, -want, beyond) } else { (got, want, beyond) };
    ((place(got) - place(want)) as f64 - beyond / 1000.0).abs()
}

/// A function's row of the table: bounds in f32 and f64.
fn bounds(name: &str) -> (f64, f64) {
    let table = include_str!("../../../docs/functions.md");
    let row = table.lines().find_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        (cells.next()? == name).then(|| cells.map(str::to_owned).collect::<Vec<_>>())
    });
    let row = row.unwrap_or_else(|| panic!("docs/functions.md has no row for {name}"));
    let bound = |i: usize| row[i].parse().unwrap_or_else(|_| panic!("the bounds of {name} are numbers"));
    (bound(0), bound(1))
}

/// Fails where the error of some builder's result is above the bound.
fn check(
    function: Function,
    format: Format,
    operands: &[&[f64]],
    bound: f64,
    error: impl Fn(usize, f64) -> f64,
) {
    for (name, got) in by_all(function, format, operands) {
        let errors = got.iter().enumerate().map(|(i, got)| (error(i, *got), i));
        let (worst, at) = errors.fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
        let xs: Vec<f64> = operands.iter().map(|x| x[at]).collect();
        eprintln!("{function:?} of {format:?} by {name}: {worst:.3} ULP at {xs:?}");
        assert!(worst <= bound, "{function:?} of {xs:?} is {:e} by {name}: {worst} ULP", got[at]);
    }
}

const SPECIAL: [f64; 5] = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];

/// Every function whose standard library version is within 1 ULP or so.
fn is_close_in_std(op: UnaryOp) -> bool {
    use UnaryOp::{Acos, Asin, Atan, Cos, Cosh, Exp, Expm1, Log, Sin, Sinh, Tan, Tanh};
    matches!(op, Exp | Expm1 | Log | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh)
}

/// The function in f32 and in f64, on every level, against its row of the table.
fn sweep(op: UnaryOp) {
    let exact = op.of_floats().expect("a function of floats");
    let (single, double) = bounds(&format!("{op:?}"));
    let function = Function::Unary(op);
    let xs = samples_f32();
    let want: Vec<f64> = xs.iter().map(|x| exact(*x)).collect();
    check(function, Format::F32, &[&xs], single, |i, got| ulp_f32(got, want[i]));

    let number = |text: &str| f64::from_bits(u64::from_str_radix(text, 16).expect("bits"));
    let points: Vec<(f64, f64, f64)> = include_str!("points.txt")
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let known = words[0] == op.word();
            known.then(|| (number(words[1]), number(words[2]), words[3].parse().expect("thousandths")))
        })
        .chain(SPECIAL.map(|x| (x, exact(x), 0.0)))
        .collect();
    assert!(points.len() > 200);
    let xs: Vec<f64> = points.iter().map(|p| p.0).collect();
    check(function, Format::F64, &[&xs], double, |i, got| ulp_f64(got, points[i].1, points[i].2));

    if is_close_in_std(op) {
        let xs: Vec<f64> = (0..0x7ff0_0000_0000_0000u64)
            .step_by(0x0000_d3b7_9a1c_53e1)
            .flat_map(|bits| [f64::from_bits(bits), -f64::from_bits(bits)])
            .chain((-20_000..20_000).map(|i| f64::from(i) * 1.001e-3))
            .collect();
        let want: Vec<f64> = xs.iter().map(|x| exact(*x)).collect();
        check(function, Format::F64, &[&xs], double + 1.5, |i, got| ulp_f64(got, want[i], 0.0));
    }
}

macro_rules! sweeps {
    ($($name:ident $op:ident)*) => {
        $(#[test] fn $name() { sweep(UnaryOp::$op); })*

        #[test]
        fn every_function_is_swept() {
            let swept = [$(UnaryOp::$op),*];
            let rounded = UnaryOp::ALL.iter().filter(|op| op.of_floats().is_some() && !is_exact(**op));
            rounded.for_each(|op| assert!(swept.contains(op), "{op:?} is not swept"));
        }
    };
}
sweeps! {
    acos Acos
    acosh Acosh
    asin Asin
    asinh Asinh
    atan Atan
    atanh Atanh
    cos Cos
    cosh Cosh
    erf Erf
    exp Exp
    expm1 Expm1
    log Log
    sigmoid Sigmoid
    sin Sin
    sinh Sinh
    softplus Softplus
    tan Tan
    tanh Tanh
}

fn is_exact(op: UnaryOp) -> bool {
    use UnaryOp::{Abs, Ceil, Floor, IsInf, IsNan, Neg, Round, Sign, Sqrt};
    matches!(op, Abs | Ceil | Floor | IsInf | IsNan | Neg | Round | Sign | Sqrt)
}

#[test]
fn exact_functions_are_exact() {
    for op in UnaryOp::ALL.iter().copied().filter(|op| is_exact(*op)) {
        let exact = op.of_floats().expect("a function of floats");
        let is_mask = op.result(kiln_ir::DType::F32) == kiln_ir::DType::Bool;
        let xs: Vec<f64> = samples_f32().into_iter().step_by(5).chain(SPECIAL).collect();
        for format in [Format::F32, Format::F64] {
            check(Function::Unary(op), format, &[&xs], 0.0, |i, got| {
                let x = if format == Format::F32 { f64::from(xs[i] as f32) } else { xs[i] };
                let want = exact(x);
                let same = match format {
                    // All ones are a NaN.
                    _ if is_mask => got.is_nan() == (want == 1.0),
                    Format::F32 => got.to_bits() == f64::from(want as f32).to_bits(),
                    Format::F64 => got.to_bits() == want.to_bits(),
                };
                f64::from(u8::from(!(same || got.is_nan() && want.is_nan())))
            });
        }
    }
}

/// Pairs of magnitudes, whole and half exponents, and special numbers.
fn pairs() -> (Vec<f64>, Vec<f64>) {
    let magnitudes = (0..0x7f80_0000u32).step_by(0x0051_e3c7).map(f32::from_bits);
    let some = [0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 10.0, 7.25, 300.5, 1e9, f32::INFINITY, f32::NAN];
    let bases: Vec<f32> = magnitudes.chain(some).flat_map(|x| [x, -x]).collect();
    let exponents: Vec<f32> =
        some.into_iter().chain([0.1, 1.7, 12.5, 1e-3, 1e-30, 33.0]).flat_map(|x| [x, -x]).collect();
    let pairs = bases.iter().flat_map(|x| exponents.iter().map(|y| (f64::from(*x), f64::from(*y))));
    pairs.unzip()
}

#[test]
fn powers() {
    let (single, double) = bounds("Pow");
    let (xs, ys) = pairs();
    let want: Vec<f64> = xs.iter().zip(&ys).map(|(x, y)| x.powf(*y)).collect();
    let function = Function::Binary(BinaryOp::Pow);
    check(function, Format::F32, &[&xs, &ys], single, |i, got| ulp_f32(got, want[i]));
    // The standard library's is within 0.6.
    check(function, Format::F64, &[&xs, &ys], double + 0.6, |i, got| ulp_f64(got, want[i], 0.0));
}

#[test]
fn remainders_are_exact() {
    let (xs, ys) = pairs();
    let (xs, ys) = (xs.iter().chain(&ys).copied().collect(), ys.iter().chain(&xs).copied().collect());
    let operands: [Vec<f64>; 2] = [xs, ys];
    let function = Function::Binary(BinaryOp::Rem);
    check(function, Format::F32, &[&operands[0], &operands[1]], 0.0, |i, got| {
        ulp_f32(got, operands[0][i] % operands[1][i])
    });
}

/// `numbers` integers and as many again; results in the place of the first.
struct Integers(BinaryOp, Lane, usize);

impl Program for Integers {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let Self(op, ty, numbers) = *self;
        let (x, y, lanes) = (s.arg(0)?, s.arg(0)?, s.lanes());
        s.advance(&y, 4 * numbers as i64);
        s.repeat((numbers / lanes) as u32, &mut |s| {
            let operands = vec![s.load(&x, 0, lanes)?, s.load(&y, 0, lanes)?];
            let operands = operands.into_iter().map(|v| vec![v]).collect();
            let [z] =
                <[V; 1]>::try_from(replay::emit(s, Function::Whole(op), ty, operands)?).expect("one vector");
            s.store(&x, 0, &z, lanes)?;
            s.free(z);
            s.advance(&x, 4 * lanes as i64);
            s.advance(&y, 4 * lanes as i64);
            Ok(())
        })
    }
}

#[test]
fn quotients_of_integers_are_exact() {
    let some = [0u32, 1, 2, 3, 7, 10, 1 << 16, 65_537, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0x8000_0001];
    let all: Vec<u32> =
        some.into_iter().flat_map(|x| [x, x.wrapping_neg(), x.wrapping_mul(0x9e37_79b9)]).collect();
    let pairs: Vec<(u32, u32)> = all.iter().flat_map(|x| all.iter().map(|y| (*x, *y))).collect();
    assert_eq!(pairs.len() % 16, 0);
    let data: Vec<u8> =
        pairs.iter().map(|p| p.0).chain(pairs.iter().map(|p| p.1)).flat_map(u32::to_le_bytes).collect();
    for ty in [Lane::I32, Lane::U32] {
        for op in [BinaryOp::Div, BinaryOp::Rem, BinaryOp::Mod] {
            let exact = op.of_ints().expect("a function of integers");
            let wide = |x: u32| if ty == Lane::I32 { i128::from(x as i32) } else { x.into() };
            for ran in run_on(&Integers(op, ty, pairs.len()), &data, 0, 0) {
                for ((x, y), got) in pairs.iter().zip(ran.data.chunks_exact(4)) {
                    let got = u32::from_le_bytes(got.try_into().expect("four bytes"));
                    let want = exact(wide(*x), wide(*y)) as u32;
                    assert_eq!(got, want, "{op:?} of {ty:?} {x:#x} and {y:#x} by {}", ran.name);
                }
            }
        }
    }
}

/// Kernels of 16 registers have room for these; the others are made in 128 bits, where the compiler spills.
#[test]
fn functions_leave_room() {
    for op in UnaryOp::ALL.iter().filter(|op| tape::has_form(Function::Unary(**op), Lane::F32)) {
        let [single, double] =
            [Lane::F32, Lane::F64].map(|ty| tape::registers(Function::Unary(*op), ty).of(1));
        let circular = matches!(op, UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Tan);
        assert!((2..=if circular { 21 } else { 13 }).contains(&single), "{op:?} needs {single} registers");
        assert!((2..=if circular { 19 } else { 13 }).contains(&double), "{op:?} needs {double} registers");
    }
}
