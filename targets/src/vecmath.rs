//! Elementary functions on vectors, written once over [`Simd`]. Every function replaces its operand by its value.
//!
//! Bounds are in units in the last place of the result, measured over dense samples in the tests, and hold with
//! and without FMA, for results above 1e-36; below, errors are absolute,
//! and results below 1.2e-38 may be 0. NaN gives NaN. Coefficients:
//! S. Moshier, Cephes (`expf`, `logf`, `sinf`, `cosf`); Eigen, `MathFunctionsImpl.h` (`tanh`, `erf`: rational minimax).

use crate::simd::{Op1, Op2, R, Simd, Src, V};

/// Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
const MAGIC: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN2_HIGH: f32 = 0.693_359_4; // few bits: products with small integers are exact
const LN2_LOW: f32 = -2.121_944_4e-4;
const SIGN: u32 = 0x8000_0000;
/// `exp` is infinite from here on.
const EXP_HIGH: f32 = 88.722_83;
/// `exp` is below the least normal number up to here.
const EXP_LOW: f32 = -87.336_54;
/// Bounds that keep the exponent of `exp` in its field; at the upper one `2^128` is infinite.
const EXP_CLAMP: (f32, f32) = (-87.0, 88.8);
/// Beyond these `exp` is 0 and infinite in f32.
const EXP_BEYOND: (f32, f32) = (-105.0, 89.0);

/// `d = c[0] x^n + ... + c[n]`.
fn poly<S: Simd>(s: &mut S, x: &V, coefficients: &[f32]) -> R<V> {
    let (first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
    let acc = s.splat(*first)?;
    for c in rest {
        s.mul_add(&acc, x, Src::Const(*c))?;
    }
    Ok(acc)
}

/// `exp(x)` on `[-ln 2 / 2, ln 2 / 2]`, relative error 2e-9: minimax by the exchange algorithm of Remez, rounded to f32
/// with 1 for the last two.
const EXP: [f32; 7] = [1.383_684_5e-3, 8.374_818e-3, 4.166_822_5e-2, 1.666_642e-1, 4.999_999e-1, 1.0, 1.0];

/// `exp(sign * x)` before the scaling: `(m, k)` with `exp(sign * x) = m * 2^k`, `m` in `[0.7, 1.42]`. `k` is a number
/// where the builder scales, else it is in the low bits. `x` is finite or NaN, and is consumed.
fn exp_parts<S: Simd>(s: &mut S, x: V, sign: f32) -> R<(V, V)> {
    let (t, k) = if s.scales() {
        let k = s.copy(&x)?;
        s.op2(Op2::Mul, &k, Src::Const(sign * LOG2_E))?;
        s.op1(Op1::Round, &k)?;
        (None, k)
    } else {
        let t = s.splat(MAGIC)?;
        s.fma(&t, &x, Src::Const(sign * LOG2_E))?;
        let k = s.copy(&t)?;
        s.op2(Op2::Sub, &k, Src::Const(MAGIC))?;
        (Some(t), k)
    };
    s.fma(&x, &k, Src::Const(-sign * LN2_HIGH))?;
    s.fma(&x, &k, Src::Const(-sign * LN2_LOW))?;
    // The polynomial of -x has the odd coefficients' signs changed.
    let coefficients: Vec<f32> =
        EXP.iter().rev().enumerate().map(|(i, c)| if i % 2 == 1 { sign * c } else { *c }).rev().collect();
    let m = poly(s, &x, &coefficients)?;
    s.free(x);
    Ok(match t {
        None => (m, k),
        Some(t) => {
            s.free(k);
            (m, t)
        }
    })
}

/// `exp(sign * x)` for `x` consumed; the product is within [`EXP_CLAMP`], or it is NaN.
fn exp_inside<S: Simd>(s: &mut S, x: V, sign: f32) -> R<V> {
    let (m, k) = exp_parts(s, x, sign)?;
    if s.scales() {
        s.scale(&m, &k)?;
    } else {
        // (k + 127) << 23 is 2^k; a product keeps NaN, which adding to the exponent would not.
        s.op1(Op1::Shl(23), &k)?;
        s.op2(Op2::IntAdd, &k, Src::Bits(0x3f80_0000))?;
        s.op2(Op2::Mul, &m, Src::Reg(&k))?;
    }
    s.free(k);
    Ok(m)
}

/// `e^x`, 2 ULP; results below 1.2e-38 may be 0.
pub fn exp<S: Simd>(s: &mut S, d: &V) -> R {
    if s.scales() {
        // Infinity minus infinity would be NaN; the bounds are far enough out for infinity and 0.
        s.op2(Op2::Min, d, Src::Const(EXP_BEYOND.1))?;
        s.op2(Op2::Max, d, Src::Const(EXP_BEYOND.0))?;
        let x = s.copy(d)?;
        let e = exp_inside(s, x, 1.0)?;
        s.assign(d, &e);
        s.free(e);
        return Ok(());
    }
    let x = s.copy(d)?;
    let (m, t) = exp_parts(s, x, 1.0)?;
    s.op1(Op1::Shl(23), &t)?;
    s.op2(Op2::IntAdd, &m, Src::Reg(&t))?; // reaches 2^128 * 0.99 where a factor could not
    s.free(t);
    let inside = s.copy(d)?;
    s.op2(Op2::Le, &inside, Src::Const(EXP_HIGH))?;
    let tiny = s.copy(d)?;
    s.op2(Op2::Le, &tiny, Src::Const(EXP_LOW))?;
    // Above: x * inf is inf, and NaN for NaN.
    s.op2(Op2::Mul, d, Src::Const(f32::INFINITY))?;
    s.keep_where(&m, &inside, Src::Reg(d))?;
    s.op2(Op2::AndNot, &tiny, Src::Reg(&m))?;
    s.assign(d, &tiny);
    for v in [m, inside, tiny] {
        s.free(v);
    }
    Ok(())
}

/// `1 / (1 + e^-x)`: 3 ULP; 0 below -88.4.
pub fn sigmoid<S: Simd>(s: &mut S, d: &V) -> R {
    s.op2(Op2::Min, d, Src::Const(-EXP_CLAMP.0))?;
    s.op2(Op2::Max, d, Src::Const(-EXP_CLAMP.1))?;
    let x = s.copy(d)?;
    let e = exp_inside(s, x, -1.0)?;
    s.op2(Op2::Add, &e, Src::Const(1.0))?;
    let one = s.splat(1.0)?;
    s.op2(Op2::Div, &one, Src::Reg(&e))?;
    s.assign(d, &one);
    s.free(one);
    s.free(e);
    Ok(())
}

/// `x * p(x^2) / q(x^2)` of `x` clamped to `[-limit, limit]`.
fn odd_rational<S: Simd>(s: &mut S, d: &V, limit: f32, p: &[f32], q: &[f32]) -> R {
    s.op2(Op2::Min, d, Src::Const(limit))?;
    s.op2(Op2::Max, d, Src::Const(-limit))?;
    let square = s.copy(d)?;
    s.op2(Op2::Mul, &square, Src::Reg(d))?;
    let numerator = poly(s, &square, p)?;
    s.op2(Op2::Mul, d, Src::Reg(&numerator))?;
    s.free(numerator);
    let denominator = poly(s, &square, q)?;
    s.op2(Op2::Div, d, Src::Reg(&denominator))?;
    s.free(denominator);
    s.free(square);
    Ok(())
}

/// Hyperbolic tangent, 6 ULP.
pub fn tanh<S: Simd>(s: &mut S, d: &V) -> R {
    odd_rational(
        s,
        d,
        7.905_311,
        &[
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297e-8,
            1.485_722_4e-5,
            6.372_619_3e-4,
            4.893_524_6e-3,
        ],
        &[1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3],
    )
}

/// Error function, 6 ULP.
pub fn erf<S: Simd>(s: &mut S, d: &V) -> R {
    odd_rational(
        s,
        d,
        4.0,
        &[
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_4e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
        &[-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2],
    )?;
    // The quotient rounds above 1 at the clamp.
    s.op2(Op2::Min, d, Src::Const(1.0))?;
    s.op2(Op2::Max, d, Src::Const(-1.0))
}

/// Natural logarithm, 2 ULP. -inf for 0, NaN for negative numbers.
pub fn log<S: Simd>(s: &mut S, d: &V) -> R {
    // Numbers below the least normal one are scaled up by 2^23 first.
    let small = s.copy(d)?;
    s.op2(Op2::Lt, &small, Src::Const(f32::MIN_POSITIVE))?;
    let m = s.copy(d)?;
    s.op2(Op2::Mul, &m, Src::Const(8_388_608.0))?;
    let swapped = s.copy(d)?;
    s.keep_where(&m, &small, Src::Reg(&swapped))?;
    s.free(swapped);
    s.op2(Op2::And, &small, Src::Const(23.0))?; // what the exponent is too high by
    // m = 2^e * x, x in [sqrt(1/2), sqrt(2)): the exponent of m * sqrt(2)'s bits, rounded down.
    let e = s.copy(&m)?;
    s.op2(Op2::IntSub, &e, Src::Bits(0x3f35_04f3))?;
    let exponent = s.copy(&e)?;
    s.op2(Op2::And, &exponent, Src::Bits(0xff80_0000))?;
    s.op2(Op2::IntSub, &m, Src::Reg(&exponent))?;
    s.free(exponent);
    // An arithmetic shift by way of a biased logical one.
    s.op2(Op2::IntAdd, &e, Src::Bits(0x4000_0000))?;
    s.op1(Op1::Shr(23), &e)?;
    s.op2(Op2::IntSub, &e, Src::Bits(128))?;
    s.op1(Op1::ToFloat, &e)?;
    s.op2(Op2::Sub, &e, Src::Reg(&small))?;
    s.free(small);

    s.op2(Op2::Sub, &m, Src::Const(1.0))?;
    let square = s.copy(&m)?;
    s.op2(Op2::Mul, &square, Src::Reg(&m))?;
    let y = poly(
        s,
        &m,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_4e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    )?;
    s.op2(Op2::Mul, &y, Src::Reg(&m))?;
    s.op2(Op2::Mul, &y, Src::Reg(&square))?;
    s.fma(&y, &e, Src::Const(LN2_LOW))?;
    s.fma(&y, &square, Src::Const(-0.5))?;
    s.free(square);
    s.op2(Op2::Add, &m, Src::Reg(&y))?;
    s.free(y);
    s.fma(&m, &e, Src::Const(LN2_HIGH))?;
    s.free(e);

    // Zero gives -inf; infinity and NaN stay; negative numbers give NaN.
    let finite = s.copy(d)?;
    s.op2(Op2::Lt, &finite, Src::Const(f32::INFINITY))?;
    s.keep_where(&m, &finite, Src::Reg(d))?;
    s.free(finite);
    let positive = s.splat(0.0)?;
    s.op2(Op2::Lt, &positive, Src::Reg(d))?;
    let zero = s.copy(d)?;
    s.op2(Op2::Eq, &zero, Src::Const(0.0))?;
    let special = s.splat(f32::NEG_INFINITY)?;
    s.keep_where(&special, &zero, Src::Const(f32::NAN))?;
    s.keep_where(&m, &positive, Src::Reg(&special))?;
    s.assign(d, &m);
    for v in [zero, special, positive, m] {
        s.free(v);
    }
    Ok(())
}

/// `sin(x + quarters * pi / 2)`.
fn sin_shifted<S: Simd>(s: &mut S, d: &V, quarters: u32) -> R {
    // x = n * pi/2 + r, |r| <= pi/4.
    let t = s.splat(MAGIC)?;
    s.fma(&t, d, Src::Const(std::f32::consts::FRAC_2_PI))?;
    let n = s.copy(&t)?;
    s.op2(Op2::Sub, &n, Src::Const(MAGIC))?;
    for part in [-1.570_312_5, -4.837_513e-4, -7.549_79e-8] {
        s.fma(d, &n, Src::Const(part))?;
    }
    s.free(n);
    if quarters != 0 {
        s.op2(Op2::IntAdd, &t, Src::Bits(quarters))?;
    }
    let square = s.copy(d)?;
    s.op2(Op2::Mul, &square, Src::Reg(d))?;
    // cos(r) = 1 - r^2 / 2 + r^4 p(r^2)
    let cos = poly(s, &square, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2, -0.5, 1.0])?;
    // sin(r) = r + r r^2 p(r^2)
    let sin = poly(s, &square, &[-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1])?;
    s.op2(Op2::Mul, &sin, Src::Reg(&square))?;
    s.free(square);
    s.op2(Op2::Mul, &sin, Src::Reg(d))?;
    s.op2(Op2::Add, d, Src::Reg(&sin))?;
    s.free(sin);
    // Bit 0 of the quadrant chooses the cosine, bit 1 the sign.
    let odd = s.copy(&t)?;
    s.op1(Op1::Shl(31), &odd)?;
    s.op1(Op1::Shr(31), &odd)?;
    let mask = s.splat(0.0)?;
    s.op2(Op2::IntSub, &mask, Src::Reg(&odd))?;
    s.free(odd);
    s.keep_where(&cos, &mask, Src::Reg(d))?;
    s.free(mask);
    s.op1(Op1::Shl(30), &t)?;
    s.op2(Op2::And, &t, Src::Bits(SIGN))?;
    s.op2(Op2::Xor, &cos, Src::Reg(&t))?;
    s.free(t);
    s.assign(d, &cos);
    s.free(cos);
    Ok(())
}

/// Sine; absolute error below 2e-7 for magnitudes up to 8192, growing with the argument above.
pub fn sin<S: Simd>(s: &mut S, d: &V) -> R {
    sin_shifted(s, d, 0)
}

/// Cosine; absolute error below 2e-7 for magnitudes up to 8192, growing with the argument above.
pub fn cos<S: Simd>(s: &mut S, d: &V) -> R {
    sin_shifted(s, d, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LEVELS, Unary, map, map_encoded};

    #[derive(Clone, Copy, PartialEq)]
    enum Function {
        Exp,
        Log,
        Tanh,
        Sigmoid,
        Erf,
        Sin,
        Cos,
    }

    impl Unary for Function {
        fn emit<S: Simd>(&self, s: &mut S, v: &V) -> R {
            match self {
                Self::Exp => exp(s, v),
                Self::Log => log(s, v),
                Self::Tanh => tanh(s, v),
                Self::Sigmoid => sigmoid(s, v),
                Self::Erf => erf(s, v),
                Self::Sin => sin(s, v),
                Self::Cos => cos(s, v),
            }
        }
    }

    /// Every 997th number of either sign, and the neighbourhood of special ones.
    fn samples() -> Vec<f32> {
        let dense = (0..0x7f80_0000u32).step_by(997).flat_map(|bits| {
            let x = f32::from_bits(bits);
            [x, -x]
        });
        let near = [0.0f32, 1.0, 87.3365, 88.376, 88.7228, 7.9, 4.0, std::f32::consts::FRAC_PI_2]
            .into_iter()
            .flat_map(|x| {
                (0..64u32).flat_map(move |i| {
                    let up = f32::from_bits(x.to_bits() + i);
                    let down = f32::from_bits(x.to_bits().saturating_sub(i));
                    [up, down, -up, -down]
                })
            });
        dense.chain(near).chain([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).collect()
    }

    /// The function by every builder that this machine can run.
    fn by_all(f: Function, xs: &[f32]) -> Vec<Vec<f32>> {
        let wide = [32, 64].into_iter().filter_map(|bytes| map_encoded(bytes, &f, xs));
        LEVELS.into_iter().map(|level| map(level, &f, xs)).chain(wide).collect()
    }

    /// Largest error in units in the last place of the result.
    fn worst(f: Function, exact: impl Fn(f64) -> f64, inside: impl Fn(f32) -> bool) -> f64 {
        let xs: Vec<f32> = samples().into_iter().filter(|x| inside(*x)).collect();
        let mut worst = (0.0, 0.0, 0.0);
        for all in by_all(f, &xs) {
            for (x, got) in xs.iter().zip(all) {
                let want = exact(f64::from(*x));
                if want.is_nan() || (want as f32).is_infinite() {
                    assert!(got.is_nan() == want.is_nan(), "{x}: {got}, should be {want}");
                    assert!(got.is_nan() || got == want as f32, "{x}: {got}, should be {want}");
                    continue;
                }
                let ulp = want.abs().max(1e-36) * 2f64.powi(-23);
                let error = (f64::from(got) - want).abs() / ulp;
                // Flushed to zero; the last number below infinity taken for it.
                let flushed = want.abs() < 1.2e-38 && got == 0.0;
                let overflown = want >= f64::from(f32::MAX) && got.is_infinite();
                let error = if flushed || overflown { 0.0 } else { error };
                if error > worst.0 || error.is_nan() {
                    worst = (error, *x, got);
                }
            }
        }
        println!("worst {} at {:?} giving {:?}", worst.0, worst.1, worst.2);
        worst.0
    }

    #[test]
    fn exp_is_within_2_ulp() {
        assert!(worst(Function::Exp, f64::exp, |_| true) <= 2.0);
    }

    #[test]
    fn log_is_within_2_ulp() {
        assert!(worst(Function::Log, f64::ln, |_| true) <= 2.0);
    }

    #[test]
    fn sigmoid_is_within_3_ulp() {
        assert!(worst(Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), |_| true) <= 3.0);
    }

    #[test]
    fn tanh_is_within_6_ulp() {
        assert!(worst(Function::Tanh, f64::tanh, |_| true) <= 6.0);
    }

    #[test]
    fn erf_is_within_6_ulp() {
        assert!(worst(Function::Erf, kiln_ir::numerics::erf, |x| !x.is_nan()) <= 6.0);
    }

    #[test]
    fn sine_and_cosine_are_within_2e_7() {
        for (f, exact) in [(Function::Sin, f64::sin as fn(f64) -> f64), (Function::Cos, f64::cos)] {
            let xs: Vec<f32> =
                samples().into_iter().filter(|x| x.abs() <= 8192.0 || !x.is_finite()).collect();
            for all in by_all(f, &xs) {
                for (x, got) in xs.iter().zip(all) {
                    let want = exact(f64::from(*x));
                    let near = (f64::from(got) - want).abs() <= 2e-7;
                    assert!(near || got.is_nan() && want.is_nan(), "{x}: {got}, should be {want}");
                }
            }
        }
    }
}
