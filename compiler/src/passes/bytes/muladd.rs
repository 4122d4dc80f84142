//! The number of a quantised sum is one multiply-add, and the conversion of the sum is none: where integers may be off by one
//! (`--fast-requantize`).
//!
//! ```text
//!   u8(round(f32(acc + @shift[o]) * @scale[o] / s) + z)
//!   u8(round(muladd(bits(f32, acc + @start[o]), @factor[o], @rest[o])))
//! ```
//!
//! An integer `2^23 + n` is the number whose bits are those of `2^23` plus `n`. So where the sum starts at such an integer `N`,
//! its bits are the number `N + sum`, and the multiply-add takes `N` off again: `(N + sum) f + (z - N f)`, rounded once. The
//! rest would have to have more digits than f32 has, since it is far larger than the results. But `N` may be any of eight
//! million integers, and the digits that `N f` has below those of the rest are `N` times an odd number modulo a power of two,
//! which takes every value there is: `N` is the one for which the rest is exact.
//!
//! Both sides rise with the sum, also where it leaves the integers that are so written, since floats have the order of their
//! bits. What differs is how often numbers of up to 256 are rounded, by 2^-25 of them: an integer is another one, by one, where
//! the quotient is as close to a half as that. Pairs of factors that round every sum as the quotient does are found easily
//! (`factors`), since each pair rounds in its own way; of a single line there are too few to choose from.

use kiln_ir::kernel::{Access, Affine, BinaryOp, BufferKind, Expr, Index, Program, UnaryOp};
use kiln_ir::{DType, Tensor};

use super::bounds::{Range, range};
use super::quotient::{Quotient, is_integer};

/// The first number whose bits count integers, and the first behind them.
const FIRST: i64 = 1 << 23;
const LAST: i64 = 1 << 24;
/// Starts that are tried for one rest.
const STARTS: i64 = 64;
/// Numbers that are converted to integers in 32 bits.
const MOST: f32 = (1 << 22) as f32;

/// A quotient as a multiply-add.
pub(super) struct MulAdd {
    /// What is summed, without a constant.
    sum: Expr,
    /// Where elements of the columns lie; `None`: there is one for all.
    along: Option<Affine>,
    starts: Vec<i32>,
    /// Whether all columns have one factor and rest.
    single: bool,
    factors: Vec<f32>,
    rests: Vec<f32>,
}

impl MulAdd {
    /// What the byte is made of, its zero point included; `None` where a column has no such numbers.
    pub(super) fn of(program: &Program, q: &Quotient<'_>, sums: Range) -> Option<Self> {
        let Expr::Cast(DType::F32, integer) = q.sum else { return None };
        if !is_integer(program, integer) {
            return None;
        }
        let reach = range(program, integer, sums)?;
        let scales = q.scales(program)?;
        let scaled = match q.scale {
            Expr::Load(access) => column(program, access)?,
            _ => None,
        };
        let (sum, along, shifts) = match &**integer {
            Expr::Binary(BinaryOp::Add, sum, shift)
                if let Some((along, shifts)) = shift_of(program, shift) =>
            {
                ((**sum).clone(), along, shifts)
            }
            sum => (sum.clone(), None, vec![0]),
        };
        let along = match (scaled, along) {
            (Some(a), Some(b)) if a != b || scales.len() != shifts.len() => return None,
            (a, b) => a.or(b),
        };
        let columns: Vec<Column> =
            scales.iter().map(|scale| Column::of(*scale, q, reach)).collect::<Option<_>>()?;
        let count = columns.len().max(shifts.len());
        let at = |i: usize, len: usize| if len == 1 { 0 } else { i };
        let start = |i| columns[at(i, columns.len())].start.wrapping_add(shifts[at(i, shifts.len())]);
        Some(Self {
            sum,
            along,
            starts: (0..count).map(start).collect(),
            single: columns.len() == 1,
            factors: columns.iter().map(|c| c.factor).collect(),
            rests: columns.iter().map(|c| c.rest).collect(),
        })
    }

    /// The number that is rounded to the byte, with its constants in the program.
    pub(super) fn expression(self, program: &mut Program) -> Expr {
        let Self { sum, along, starts, single, factors, rests } = self;
        let mut constant = |stem: &str, tensor: Tensor| {
            let index = vec![along.clone().map_or_else(|| Index::from(Affine::constant(0i64)), Index::from)];
            let buffer = program.add_buffer(stem, tensor.ty(), BufferKind::Const(tensor));
            Expr::Load(Access::new(buffer, index))
        };
        let start = constant("start", Tensor::from_vec(&[starts.len()], starts));
        let mut numbers = |stem: &str, all: Vec<f32>| {
            if single { Expr::f32(all[0]) } else { constant(stem, Tensor::from_vec(&[all.len()], all)) }
        };
        let (factor, rest) = (numbers("factor", factors), numbers("rest", rests));
        let number = Expr::bits(DType::F32, Expr::binary(BinaryOp::Add, sum, start));
        Expr::unary(UnaryOp::Round, Expr::mul_add(number, factor, rest))
    }
}

/// What a constant's elements are along; `None` inside: it has one.
fn column(program: &Program, access: &Access) -> Option<Option<Affine>> {
    let mut along = None;
    for (index, extent) in access.index.iter().zip(program.buffer(access.buffer).ty.shape.iter()) {
        match (extent.as_const()?, along.is_none()) {
            (1, _) => {}
            (_, true) => along = Some(index.affine()?.clone()),
            (_, false) => return None,
        }
    }
    access.otherwise.is_none().then_some(along)
}

/// A constant of integers that is added, and what it is along.
fn shift_of(program: &Program, e: &Expr) -> Option<(Option<Affine>, Vec<i32>)> {
    let Expr::Load(access) = e else { return None };
    let BufferKind::Const(tensor) = &program.buffer(access.buffer).kind else { return None };
    let elements = (tensor.dtype == DType::I32).then(|| tensor.as_slice::<i32>().ok())??.into_owned();
    Some((column(program, access)?, elements))
}

/// The numbers of a column.
struct Column {
    /// Added to the sum.
    start: i32,
    factor: f32,
    rest: f32,
}

impl Column {
    fn of(scale: f32, q: &Quotient<'_>, reach: Range) -> Option<Self> {
        let ratio = q.ratio(scale)?;
        // Sums outside are clamped whatever number they have.
        let least = reach.0.max((f64::from(q.least) - 2.0) / ratio).floor() as i64;
        let most = reach.1.min((f64::from(q.most) + 2.0) / ratio).ceil() as i64;
        let factor = ratio as f32;
        let (start, rest) = started(factor, f64::from(q.zero), (least, most))?;
        let start = i64::from((FIRST as f32).to_bits()) + (start - FIRST);
        let found = Self { start: i32::try_from(start).ok()?, factor, rest };
        let fits = |sum: f64| found.number(sum).abs() < MOST;
        (fits(reach.0) && fits(reach.1)).then_some(found)
    }

    /// What a sum becomes; NaN where the integers are bits of no number.
    fn number(&self, sum: f64) -> f32 {
        let bits = u32::try_from(i64::from(self.start) + sum as i64).ok().filter(|bits| *bits < 0x7f80_0000);
        bits.map_or(f32::NAN, f32::from_bits).mul_add(self.factor, self.rest)
    }
}

/// An integer `N` and a rest with `N factor + rest` all but `offset`: the integers from `N + least` to `N + most` are between
/// [`FIRST`] and [`LAST`].
fn started(factor: f32, offset: f64, (least, most): (i64, i64)) -> Option<(i64, f32)> {
    let window = FIRST - least.min(0)..=LAST - most.max(0);
    if window.is_empty() || !factor.is_normal() || factor <= 0.0 {
        return None;
    }
    // The factor is an odd number times a power of two.
    let bits = factor.to_bits();
    let digits = i64::from(bits & 0x007f_ffff | 0x0080_0000);
    let odd = digits >> digits.trailing_zeros();
    let unit = 2f64.powi((bits >> 23) as i32 - 150 + digits.trailing_zeros() as i32);
    // Products have up to 24 digits more than it: those are to be 0 when the offset is taken off.
    let below = 64 - odd.leading_zeros();
    let modulus = 1i64 << below;
    let inverse = inverse(odd, modulus);
    let wanted = offset / unit;
    if wanted.abs() >= (1i64 << 53) as f64 {
        return None;
    }
    let wanted = wanted.round() as i64;
    (0..STARTS).find_map(|i| {
        // Around what is wanted.
        let wanted = wanted + if i % 2 == 0 { i / 2 } else { -(i + 1) / 2 };
        let lowest = (i128::from(wanted) * i128::from(inverse)).rem_euclid(i128::from(modulus)) as i64;
        // The first of its class within the window.
        let start = lowest + (window.start() - lowest + modulus - 1).div_euclid(modulus) * modulus;
        let rest = i128::from(wanted) - i128::from(start) * i128::from(odd);
        let exact = rest as f64 * unit;
        let rest = exact as f32;
        (window.contains(&start) && f64::from(rest) == exact).then_some((start, rest))
    })
}

/// What an odd number has to be multiplied with for 1 modulo a power of two.
fn inverse(odd: i64, modulus: i64) -> i64 {
    // Each step doubles the digits that are right.
    let step = |x: i64, _| x.wrapping_mul(2i64.wrapping_sub(odd.wrapping_mul(x)));
    (0..6).fold(odd, step).rem_euclid(modulus)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::super::factors;
    use super::*;

    /// Bytes of 64 rows by 16 products with 5 columns, before and after.
    fn check(by: f32, zero: i32, ty: &str) -> (Vec<i64>, Vec<i64>, String) {
        let scales = [0.0131, 0.0021, 0.0107, 0.03, 0.0077].map(|s: f32| format!("{s:?}")).join(", ");
        let text = format!(
            "program @m {{
               input %x: u8[64, 16]
               const @w: i8[16, 5] = splat 113 const @s: f32[5] = [{scales}]
               const @b: i32[5] = [7, -70000, 0, -200000, -321987]
               output %y: {ty}[64, 5]
               contract \"y\" [m: 64, n: 5 | k: 16] {{
                 acc: i32 = %x[m, k] * @w[k, n]
                 %y[m, n] = {ty}(round(f32(acc + @b[n]) * @s[n] / {by:?}:f32) + {zero}.0:f32)
               }}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        let x = (0..64 * 16)
            .map(|i| if i / 16 % 7 < i % 16 { (i * 89 % 256) as u8 } else { 255 - (i / 16) as u8 });
        let x = Tensor::from_vec::<u8>(&[64, 16], x.collect());
        let integers = |program: &Program| -> Vec<i64> {
            let results = eval::kernel::run(program, std::slice::from_ref(&x)).unwrap();
            results[0].to_f64s().unwrap().into_iter().map(|v| v as i64).collect()
        };
        let before = integers(&program);
        factors::run(&mut program, true).unwrap();
        kernel::verify(&program).unwrap();
        (before, integers(&program), program.to_string())
    }

    #[test]
    fn integers_are_off_by_one_at_most() {
        let mut differ = 0;
        for (zero, ty) in [(0, "u8"), (131, "u8"), (-5, "i8")] {
            for by in [1.37, 3.3, 9.1, 25.3] {
                let (before, after, text) = check(by, zero, ty);
                assert!(text.contains("muladd(bits(f32, acc + @start[n]), @factor[n], @rest[n])"), "{text}");
                assert!(!text.contains("f32(acc"), "{text}");
                assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= 1), "{text}");
                differ += before.iter().zip(&after).filter(|(a, b)| a != b).count();
            }
        }
        // Of 3,840.
        assert!(differ < 10, "{differ}");
    }

    #[test]
    fn starts_make_rests_exact() {
        for factor in [1.0f32, 0.75, 1.1e-3, 3.7e-5, 0.011_718_751] {
            for offset in [0.0, 1e-6, -3e-6, 131.0, -128.0] {
                for (least, most) in [(0, 1000), (-300_000, 200_000), (-4_000_000, -5)] {
                    let (start, rest) = started(factor, offset, (least, most)).unwrap();
                    let error = start as f64 * f64::from(factor) + f64::from(rest) - offset;
                    assert!(
                        error.abs() <= 64.0 * f64::from(factor) / f64::from(1 << 22),
                        "{factor} {offset}: {error}"
                    );
                    assert!(start + least >= FIRST && start + most <= LAST);
                }
            }
        }
    }

    /// All sums of columns of all kinds, those that are clamped too.
    #[test]
    fn all_sums_become_integers_beside_theirs() {
        let mut state = 11u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let (mut all, mut differ) = (0, 0);
        for i in 0..60 {
            let by = (0.01 + next()) as f32;
            let scale = (f64::from(by) / 2f64.powf(4.0 + 8.0 * next())) as f32;
            let e = Expr::f32(0.0);
            let (least, most, zero) = [(0, 255, 0), (-131, 124, 131)][i % 2];
            let q = Quotient::test(&e, (least, most, zero), by);
            let end = (400.0 * f64::from(by) / f64::from(scale)) as i64;
            let column = Column::of(scale, &q, (-end as f64, end as f64)).unwrap();
            for sum in -end..=end {
                let expected = (sum as f32 * scale / by).round_ties_even() as i32;
                let found = column.number(sum as f64).round_ties_even() as i32 - zero;
                let apart = (found.clamp(least, most) - expected.clamp(least, most)).abs();
                assert!(apart <= 1, "{sum} * {scale} / {by}: {found}, {expected}");
                all += 1;
                differ += apart;
            }
        }
        assert!(f64::from(differ) < 1e-3 * f64::from(all), "{differ} of {all}");
    }
}
