//! Quotients of quantised sums become products, by factors for which every sum gives the same integer.
//!
//! ```text
//!   u8(round(f32(acc + @shift[o]) * @scale[o] / s) + z)
//!   u8(round(f32(acc + @shift[o]) * @first[o] * @second[o]) + z)
//! ```
//!
//! Both sides rise with the sum, so they agree for all sums if they step from each of the 256 integers to the next at the same
//! one. Each rounds twice, by 2^-24 of the number: where they step differs only if that close to a half there is a sum at all,
//! which of the sums of up to 2^18 that 8 bits are made of is none or a few. For these the factors are tried: there are as many
//! pairs of factors with nearly that product as one likes, and each rounds in its own way. Where one factor is enough for every
//! column there is no second one. Where a column has no factors, and for numbers that are not those of sums, the quotient stays.

use kiln_ir::kernel::{BinaryOp, BufferKind, Expr, Form, Kernel, Program};
use kiln_ir::{DType, Result, Tensor};

use super::bounds::{Range, range, sums};
use super::muladd::MulAdd;
use super::quotient::{Quotient, is_integer};

/// How close to a half, as a part of it, numbers are that may round either way: more than both sides err.
const CLOSE: f64 = 1.0 / (1 << 20) as f64;
/// Sums up to which f32 is exact.
const EXACT: f64 = (1 << 24) as f64;
/// First factors that are tried.
const TRIES: u32 = 1 << 13;
/// Sums that may round either way, of which there are few.
const MOST_SUMS: usize = 512;

/// Rewrites the results of all sums of bytes. `loose`: integers may be off by one, and all machines have multiply-adds that
/// round once.
pub fn run(program: &mut Program, loose: bool) -> Result<()> {
    for i in 0..program.kernels().len() {
        let kernel = program.kernel(i);
        let Some(sums) = sums_of_bytes(program, kernel)? else { continue };
        let (Form::Contract { store, .. } | Form::Window { store, .. }) = &kernel.form else { continue };
        let mut found = Vec::new();
        each(&store.value, &mut |e| found.extend(Quotient::of(e)));
        let known = |q: &Quotient<'_>| {
            let one = if loose { MulAdd::of(program, q, sums) } else { None };
            match one {
                Some(one) => Some((q.number.clone(), Number::MulAdd(one))),
                None => Some((q.whole.clone(), Number::Product(Product::of(program, q, sums)?))),
            }
        };
        let known: Vec<(Expr, Number)> = found.iter().filter_map(known).collect();
        for (quotient, number) in known {
            let new = match number {
                Number::MulAdd(one) => one.expression(program),
                Number::Product(product) => product.expression(program),
            };
            if let Form::Contract { store, .. } | Form::Window { store, .. } = &mut program.kernel_mut(i).form
            {
                store.value = store.value.replace(&mut |e| (*e == quotient).then(|| new.clone()));
            }
        }
    }
    Ok(())
}

fn each<'e>(e: &'e Expr, f: &mut impl FnMut(&'e Expr)) {
    f(e);
    e.children().into_iter().for_each(|child| each(child, f));
}

/// What the sums of a kernel of bytes may be.
fn sums_of_bytes(program: &Program, kernel: &Kernel) -> Result<Option<Range>> {
    let rhs = match &kernel.form {
        Form::Contract { acc: DType::I32, rhs, .. } => rhs,
        Form::Window { weight: Some(weight), .. } => weight,
        _ => return Ok(None),
    };
    if program.buffer(rhs.buffer).ty.dtype != DType::I8 {
        return Ok(None);
    }
    sums(program, kernel, rhs)
}

/// What a quotient becomes.
enum Number {
    Product(Product),
    MulAdd(MulAdd),
}

/// A sum times one factor or two, each of which has an element where the scale had one.
struct Product {
    sum: Expr,
    scale: Expr,
    factors: Vec<Vec<f32>>,
}

impl Product {
    /// The product that a quotient is for all sums.
    fn of(program: &Program, q: &Quotient<'_>, sums: Range) -> Option<Self> {
        let Expr::Cast(DType::F32, integer) = q.sum else { return None };
        if !is_integer(program, integer) {
            return None;
        }
        let reach = range(program, integer, sums)?;
        let reach = reach.0.abs().max(reach.1.abs());
        let scales = q.scales(program)?;
        let close = |scale: &f32| Close::of(*scale, q, reach);
        let close: Vec<Close> = scales.iter().map(close).collect::<Option<_>>()?;
        let single: Option<Vec<f32>> = close.iter().map(Close::factor).collect();
        let factors = match single {
            Some(single) => vec![single],
            None => {
                let pairs: Vec<[f32; 2]> = close.iter().map(Close::factors).collect::<Option<_>>()?;
                (0..2).map(|i| pairs.iter().map(|pair| pair[i]).collect()).collect()
            }
        };
        Some(Self { sum: q.sum.clone(), scale: q.scale.clone(), factors })
    }

    /// The product, with its factors in the program.
    fn expression(self, program: &mut Program) -> Expr {
        let Self { sum, scale, factors } = self;
        factors.into_iter().fold(sum, |product, factor| {
            let factor = match &scale {
                Expr::Load(access) => {
                    let buffer = program.buffer(access.buffer);
                    let (stem, ty) = (format!("{}.factor", buffer.name), buffer.ty.clone());
                    let tensor = match &buffer.kind {
                        BufferKind::Const(scales) => Tensor::from_vec::<f32>(&scales.shape, factor),
                        _ => Tensor::from_vec::<f32>(&[factor.len()], factor),
                    };
                    let mut access = access.clone();
                    access.buffer = program.add_buffer(&stem, ty, BufferKind::Const(tensor));
                    Expr::Load(access)
                }
                _ => Expr::f32(factor[0]),
            };
            Expr::binary(BinaryOp::Mul, product, factor)
        })
    }
}

/// What must be right of a column: sums whose numbers are close to a half, and whether these are above it.
struct Close {
    ratio: f64,
    scale: f32,
    /// The sum, the integer above the half, and whether the sum becomes that at least.
    sums: Vec<(f32, f32, bool)>,
}

impl Close {
    /// `None` where scales or sums are out of range, or where so many are close that they are none of 8 bits.
    fn of(scale: f32, q: &Quotient<'_>, reach: f64) -> Option<Self> {
        let ratio = q.ratio(scale)?;
        let mut sums = Vec::new();
        for k in q.least..q.most {
            let half = (f64::from(k) + 0.5) / ratio;
            let near = half.abs() * CLOSE;
            if half.abs() - near > reach {
                continue;
            }
            if half.abs() + near >= EXACT {
                return None;
            }
            let above = (k + 1) as f32;
            let mut sum = (half - near).ceil();
            while sum <= half + near {
                let x = sum as f32;
                sums.push((x, above, (x * scale / q.by).round_ties_even() >= above));
                sum += 1.0;
            }
            if sums.len() > MOST_SUMS {
                return None;
            }
        }
        Some(Self { ratio, scale, sums })
    }

    fn is_right(&self, product: impl Fn(f32) -> f32) -> bool {
        self.sums.iter().all(|(x, above, is)| (product(*x).round_ties_even() >= *above) == *is)
    }

    /// The one factor of the column: that nearest to the ratio, or one beside it.
    fn factor(&self) -> Option<f32> {
        moved(self.ratio as f32).find(|f| self.is_right(|x| x * f))
    }

    /// Two factors of the column, the first one at most twice the scale.
    fn factors(&self) -> Option<[f32; 2]> {
        (0..TRIES).find_map(|i| {
            let first = (f64::from(self.scale) * (1.0 + f64::from(i) / f64::from(TRIES))) as f32;
            let second =
                moved((self.ratio / f64::from(first)) as f32).find(|f| self.is_right(|x| x * first * f));
            Some([first, second?])
        })
    }
}

/// A number and those beside it.
fn moved(x: f32) -> impl Iterator<Item = f32> {
    [x, x.next_up(), x.next_down()].into_iter()
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    /// What becomes of a product of 3 x 4 bytes with 2 columns, for all the sums that are computed.
    fn check(scales: [f32; 2], by: f32, zero: i32, ty: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: u8[3, 4]
               const @w: i8[4, 2] = splat 127 const @s: f32[2] = [{:?}, {:?}] const @b: i32[2] = [7, -70000]
               output %y: {ty}[3, 2]
               contract \"y\" [m: 3, n: 2 | k: 4] {{
                 acc: i32 = %x[m, k] * @w[k, n]
                 %y[m, n] = {ty}(round(f32(acc + @b[n]) * @s[n] / {by:?}:f32) + {zero}.0:f32)
               }}
             }}",
            scales[0], scales[1]
        );
        let mut program = kernel::parse(&text).unwrap();
        let x = Tensor::from_vec::<u8>(&[3, 4], vec![0, 1, 2, 3, 255, 255, 255, 255, 100, 1, 0, 9]);
        let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        run(&mut program, false).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected, "{program}");
        program.to_string()
    }

    #[test]
    fn quotients_become_products() {
        for (zero, ty) in [(0, "u8"), (131, "u8"), (-5, "i8")] {
            let text = check([0.013, 0.0021], 0.37, zero, ty);
            assert!(text.contains("* @s.factor[n]") && !text.contains("/ 0.37"), "{text}");
        }
    }

    #[test]
    fn other_numbers_stay_quotients() {
        // Beyond what f32 holds of sums, and scales far from what they are.
        for scales in [[1e-13, 0.5], [1e13, 0.5]] {
            assert!(check(scales, 0.3, 0, "u8").contains("/ 0.3"));
        }
        assert!(check([0.1, 0.5], 1e-20, 0, "u8").contains("/ 1e-20"));
    }

    #[test]
    fn all_sums_become_the_same_integers() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let (mut one, mut two) = (0, 0);
        for i in 0..60 {
            // Sums of 2^10 to 2^19 for 8 bits.
            let by = (0.01 + next()) as f32;
            let scale = (f64::from(by) / 2f64.powf(2.0 + 9.0 * next())) as f32;
            let e = Expr::f32(0.0);
            let (least, most) = [(0, 255), (-131, 124)][i % 2];
            let q = Quotient::test(&e, (least, most, 0), by);
            let close = Close::of(scale, &q, 1e9).unwrap();
            let [first, second] = match close.factor() {
                Some(factor) => {
                    one += 1;
                    [factor, 1.0]
                }
                None => {
                    two += 1;
                    close.factors().unwrap()
                }
            };
            let end = (300.0 / close.ratio) as i32;
            for sum in -end..end {
                let x = sum as f32;
                let integer = |x: f32| (x.round_ties_even() as i32).clamp(least, most);
                assert_eq!(integer(x * scale / by), integer(x * first * second), "{sum} * {scale} / {by}");
            }
        }
        assert!(one > 10 && two > 3, "{one} {two}");
    }
}
