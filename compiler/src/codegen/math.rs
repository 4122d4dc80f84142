//! Elementary functions of one number, computed in f64 for every float type.
//!
//! For f32 and shorter types the result is then rounded once: it is within 1 ULP of the exact value everywhere. For
//! f64 the error stays below 8 ULP, except for `pow` (1e-13 relative, from the product in the exponent), and for
//! `sin`, `cos` and `tan` of arguments beyond 1e6, whose reduction to a quarter turn loses digits. Nothing branches
//! but [`Math::remainder`], and no operation ends in a library call.
//!
//! Polynomials: fdlibm (`log`, `sin`, `cos`), Cephes (`atan`); `exp` is a Taylor sum over half an octave's reach.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;

use super::constants::Constants;

/// Adding it leaves the nearest integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
const TWO_52: f64 = 4_503_599_627_370_496.0;
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
const PI_2: f64 = std::f64::consts::FRAC_PI_2;

/// A function under construction, with its constants.
pub(super) struct Math<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) constants: &'a mut Constants,
    /// Rounding to integers is an instruction.
    pub(super) rounds: bool,
}

/// Directions of [`Math::round`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Down,
    Up,
    Nearest,
}

impl Math<'_, '_> {
    fn c(&mut self, value: f64) -> Value {
        self.constants.f64(self.b, value)
    }
    fn int(&mut self, value: i64) -> Value {
        self.constants.int(self.b, I64, value)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }
    fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fdiv(a, b)
    }
    fn add_c(&mut self, a: Value, c: f64) -> Value {
        let c = self.c(c);
        self.add(a, c)
    }
    fn mul_c(&mut self, a: Value, c: f64) -> Value {
        let c = self.c(c);
        self.mul(a, c)
    }
    /// `c - a`.
    fn c_sub(&mut self, c: f64, a: Value) -> Value {
        let c = self.c(c);
        self.sub(c, a)
    }
    /// `c / a`.
    fn c_div(&mut self, c: f64, a: Value) -> Value {
        let c = self.c(c);
        self.div(c, a)
    }
    fn bits(&mut self, a: Value) -> Value {
        self.b.ins().bitcast(I64, MemFlagsData::new().with_endianness(Endianness::Little), a)
    }
    fn float(&mut self, a: Value) -> Value {
        self.b.ins().bitcast(F64, MemFlagsData::new().with_endianness(Endianness::Little), a)
    }
    fn is(&mut self, cc: FloatCC, a: Value, c: f64) -> Value {
        let c = self.c(c);
        self.b.ins().fcmp(cc, a, c)
    }
    fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        self.b.ins().select(condition, a, b)
    }
    fn abs(&mut self, a: Value) -> Value {
        self.b.ins().fabs(a)
    }
    fn sqrt(&mut self, a: Value) -> Value {
        self.b.ins().sqrt(a)
    }
    fn with_sign(&mut self, magnitude: Value, sign: Value) -> Value {
        self.b.ins().fcopysign(magnitude, sign)
    }

    /// `c[0] x^n + ... + c[n]`.
    fn poly(&mut self, x: Value, coefficients: &[f64]) -> Value {
        let mut acc = self.c(coefficients[0]);
        for c in &coefficients[1..] {
            acc = self.mul(acc, x);
            acc = self.add_c(acc, *c);
        }
        acc
    }

    /// To an integer; signs of zeros, infinities and NaN are kept.
    pub(super) fn round(&mut self, x: Value, rounding: Rounding) -> Value {
        if self.rounds {
            return match rounding {
                Rounding::Down => self.b.ins().floor(x),
                Rounding::Up => self.b.ins().ceil(x),
                Rounding::Nearest => self.b.ins().nearest(x),
            };
        }
        let a = self.abs(x);
        let shifted = self.add_c(a, TWO_52);
        let rounded = self.add_c(shifted, -TWO_52);
        let rounded = self.with_sign(rounded, x);
        let stepped = match rounding {
            Rounding::Nearest => rounded,
            Rounding::Down => {
                let beyond = self.b.ins().fcmp(FloatCC::GreaterThan, rounded, x);
                let less = self.add_c(rounded, -1.0);
                self.select(beyond, less, rounded)
            }
            Rounding::Up => {
                let short = self.b.ins().fcmp(FloatCC::LessThan, rounded, x);
                let more = self.add_c(rounded, 1.0);
                self.select(short, more, rounded)
            }
        };
        let stepped = self.with_sign(stepped, x);
        let small = self.is(FloatCC::LessThan, a, TWO_52);
        self.select(small, stepped, x)
    }

    pub(super) fn exp(&mut self, x: Value) -> Value {
        let (low, high) = (self.c(-746.0), self.c(710.0));
        let x = self.b.ins().fmax(x, low);
        let x = self.b.ins().fmin(x, high);
        let t = self.mul_c(x, std::f64::consts::LOG2_E);
        let t = self.add_c(t, MAGIC);
        let k = self.add_c(t, -MAGIC);
        let high = self.mul_c(k, LN2_HIGH);
        let r = self.sub(x, high);
        let low = self.mul_c(k, LN2_LOW);
        let r = self.sub(r, low);
        let mut coefficients = [1.0; 14];
        let mut factorial = 1.0;
        for (n, c) in coefficients.iter_mut().rev().enumerate() {
            factorial *= n.max(1) as f64;
            *c = 1.0 / factorial;
        }
        let p = self.poly(r, &coefficients);
        // 2^k in two factors: one alone would not reach the ends. The low bits of t are k.
        let (bits, magic) = (self.bits(t), self.int(MAGIC.to_bits() as i64));
        let k = self.b.ins().isub(bits, magic);
        let one = self.int(1);
        let half = self.b.ins().sshr(k, one);
        let rest = self.b.ins().isub(k, half);
        let p = self.scale(p, half);
        self.scale(p, rest)
    }

    /// `x * 2^k` for `k` within the exponents of normal numbers.
    fn scale(&mut self, x: Value, k: Value) -> Value {
        let (bias, shift) = (self.int(1023), self.int(52));
        let biased = self.b.ins().iadd(k, bias);
        let bits = self.b.ins().ishl(biased, shift);
        let factor = self.float(bits);
        self.mul(x, factor)
    }

    pub(super) fn log(&mut self, x: Value) -> Value {
        let small = self.is(FloatCC::LessThan, x, f64::MIN_POSITIVE);
        let scaled = self.mul_c(x, 18_014_398_509_481_984.0); // 2^54
        let y = self.select(small, scaled, x);
        let (shifted, zero) = (self.c(-54.0), self.c(0.0));
        let lift = self.select(small, shifted, zero);
        // y = 2^e * m, m in [sqrt(1/2), sqrt(2)).
        let bits = self.bits(y);
        let origin = self.int(std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64);
        let shift = self.int(52);
        let above = self.b.ins().isub(bits, origin);
        let e = self.b.ins().sshr(above, shift);
        let exponent = self.b.ins().ishl(e, shift);
        let m = self.b.ins().isub(bits, exponent);
        let m = self.float(m);
        let e = self.b.ins().fcvt_from_sint(F64, e);
        let e = self.add(e, lift);
        let f = self.add_c(m, -1.0);
        let f2 = self.add_c(f, 2.0);
        let s = self.div(f, f2);
        let z = self.mul(s, s);
        let r = self.poly(
            z,
            &[
                1.479_819_860_511_658_6e-1,
                1.531_383_769_920_937_3e-1,
                1.818_357_216_161_805e-1,
                2.222_219_843_214_978_4e-1,
                2.857_142_874_366_239e-1,
                3.999_999_999_940_942e-1,
                6.666_666_666_666_735e-1,
                0.0,
            ],
        );
        let half = self.mul_c(f, 0.5);
        let half_square = self.mul(half, f);
        let sum = self.add(half_square, r);
        let t = self.mul(s, sum);
        let low = self.mul_c(e, LN2_LOW);
        let t = self.add(t, low);
        let t = self.sub(half_square, t);
        let t = self.sub(t, f);
        let high = self.mul_c(e, LN2_HIGH);
        let value = self.sub(high, t);
        // Infinity and NaN stay, 0 gives -inf, negative numbers NaN.
        let finite = self.is(FloatCC::LessThan, x, f64::INFINITY);
        let value = self.select(finite, value, x);
        let zero = self.is(FloatCC::Equal, x, 0.0);
        let negative = self.is(FloatCC::LessThan, x, 0.0);
        let (infinite, nan) = (self.c(f64::NEG_INFINITY), self.c(f64::NAN));
        let value = self.select(zero, infinite, value);
        self.select(negative, nan, value)
    }

    /// `log(1 + x)`: the error of `1 + x` divides out.
    fn log1p(&mut self, x: Value) -> Value {
        let u = self.add_c(x, 1.0);
        let log = self.log(u);
        let d = self.add_c(u, -1.0);
        let scaled = self.mul(log, x);
        let value = self.div(scaled, d);
        let tiny = self.is(FloatCC::Equal, d, 0.0);
        let value = self.select(tiny, x, value);
        let infinite = self.is(FloatCC::Equal, d, f64::INFINITY);
        self.select(infinite, x, value)
    }

    /// `exp(x) - 1` for `x` up to 40: the error of the exponential divides out.
    fn expm1(&mut self, x: Value) -> Value {
        let u = self.exp(x);
        let d = self.add_c(u, -1.0);
        let log = self.log(u);
        let scaled = self.mul(d, x);
        let value = self.div(scaled, log);
        let tiny = self.is(FloatCC::Equal, d, 0.0);
        let value = self.select(tiny, x, value);
        let low = self.is(FloatCC::LessThan, x, -1.0);
        self.select(low, d, value)
    }

    pub(super) fn sigmoid(&mut self, x: Value) -> Value {
        let minus = self.b.ins().fneg(x);
        let e = self.exp(minus);
        let d = self.add_c(e, 1.0);
        self.c_div(1.0, d)
    }

    pub(super) fn tanh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let twice = self.mul_c(a, -2.0);
        let e = self.expm1(twice);
        let d = self.add_c(e, 2.0);
        let quotient = self.div(e, d);
        let magnitude = self.abs(quotient);
        self.with_sign(magnitude, x)
    }

    /// `exp(|x| / 2)^2 / 2`, which overflows where `sinh` and `cosh` do.
    fn half_exp(&mut self, a: Value) -> Value {
        let half = self.mul_c(a, 0.5);
        let root = self.exp(half);
        let scaled = self.mul_c(root, 0.5);
        self.mul(scaled, root)
    }

    pub(super) fn sinh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let e = self.expm1(a);
        let e1 = self.add_c(e, 1.0);
        let quotient = self.div(e, e1);
        let sum = self.add(e, quotient);
        let small = self.mul_c(sum, 0.5);
        let large = self.half_exp(a);
        let above = self.is(FloatCC::GreaterThan, a, 22.0);
        let magnitude = self.select(above, large, small);
        self.with_sign(magnitude, x)
    }

    pub(super) fn cosh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let e = self.exp(a);
        let grown = self.mul_c(e, 0.5);
        let decayed = self.c_div(0.5, e);
        let small = self.add(grown, decayed);
        let large = self.half_exp(a);
        let above = self.is(FloatCC::GreaterThan, a, 22.0);
        self.select(above, large, small)
    }

    pub(super) fn asinh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let square = self.mul(a, a);
        let plus = self.add_c(square, 1.0);
        let root = self.sqrt(plus);
        let root = self.add_c(root, 1.0);
        let quotient = self.div(square, root);
        let sum = self.add(a, quotient);
        let small = self.log1p(sum);
        let log = self.log(a);
        let large = self.add_c(log, std::f64::consts::LN_2);
        let above = self.is(FloatCC::GreaterThan, a, 1e8);
        let magnitude = self.select(above, large, small);
        self.with_sign(magnitude, x)
    }

    pub(super) fn acosh(&mut self, x: Value) -> Value {
        let t = self.add_c(x, -1.0);
        let t2 = self.add_c(t, 2.0);
        let square = self.mul(t, t2);
        let root = self.sqrt(square);
        let sum = self.add(t, root);
        let small = self.log1p(sum);
        let log = self.log(x);
        let large = self.add_c(log, std::f64::consts::LN_2);
        let above = self.is(FloatCC::GreaterThan, x, 1e8);
        let value = self.select(above, large, small);
        let outside = self.is(FloatCC::LessThan, x, 1.0);
        let nan = self.c(f64::NAN);
        self.select(outside, nan, value)
    }

    pub(super) fn atanh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let twice = self.mul_c(a, 2.0);
        let rest = self.c_sub(1.0, a);
        let quotient = self.div(twice, rest);
        let log = self.log1p(quotient);
        let magnitude = self.mul_c(log, 0.5);
        self.with_sign(magnitude, x)
    }

    pub(super) fn atan(&mut self, x: Value) -> Value {
        // Above tan(3 pi / 8): pi/2 - atan(1/a); above 0.66: pi/4 + atan((a - 1) / (a + 1)).
        let a = self.abs(x);
        let inverse = self.c_div(-1.0, a);
        let (less, more) = (self.add_c(a, -1.0), self.add_c(a, 1.0));
        let middle = self.div(less, more);
        let steep = self.is(FloatCC::GreaterThan, a, 2.414_213_562_373_095);
        let medium = self.is(FloatCC::GreaterThan, a, 0.66);
        let r = self.select(medium, middle, a);
        let r = self.select(steep, inverse, r);
        let (zero, quarter, half) = (self.c(0.0), self.c(PI_2 / 2.0), self.c(PI_2));
        let base = self.select(medium, quarter, zero);
        let base = self.select(steep, half, base);
        let (rest_quarter, rest_half) =
            (self.c(3.061_616_997_868_383e-17), self.c(6.123_233_995_736_766e-17));
        let rest = self.select(medium, rest_quarter, zero);
        let rest = self.select(steep, rest_half, rest);
        let z = self.mul(r, r);
        let p = self.poly(
            z,
            &[
                -8.750_608_600_031_904e-1,
                -1.615_753_718_733_365e1,
                -7.500_855_792_314_705e1,
                -1.228_866_684_490_136_2e2,
                -6.485_021_904_942_025e1,
            ],
        );
        let q = self.poly(
            z,
            &[
                1.0,
                2.485_846_490_142_306_3e1,
                1.650_270_098_316_988_5e2,
                4.328_810_604_912_903e2,
                4.853_903_996_359_137e2,
                1.945_506_571_482_614e2,
            ],
        );
        let quotient = self.div(p, q);
        let t = self.mul(z, quotient);
        let t = self.mul(t, r);
        let t = self.add(t, rest);
        let t = self.add(t, r);
        let magnitude = self.add(base, t);
        self.with_sign(magnitude, x)
    }

    pub(super) fn asin(&mut self, x: Value) -> Value {
        let (less, more) = (self.c_sub(1.0, x), self.add_c(x, 1.0));
        let product = self.mul(less, more);
        let root = self.sqrt(product);
        let slope = self.div(x, root);
        self.atan(slope)
    }

    pub(super) fn acos(&mut self, x: Value) -> Value {
        let (less, more) = (self.c_sub(1.0, x), self.add_c(x, 1.0));
        let quotient = self.div(less, more);
        let root = self.sqrt(quotient);
        let half = self.atan(root);
        self.mul_c(half, 2.0)
    }

    /// Sine and cosine of `x`.
    fn sin_cos(&mut self, x: Value) -> (Value, Value) {
        let t = self.mul_c(x, std::f64::consts::FRAC_2_PI);
        let t = self.add_c(t, MAGIC);
        let n = self.add_c(t, -MAGIC);
        let mut r = x;
        for part in [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21] {
            let product = self.mul_c(n, part);
            r = self.sub(r, product);
        }
        let z = self.mul(r, r);
        let p = self.poly(
            z,
            &[
                1.589_690_995_211_55e-10,
                -2.505_076_025_340_686_3e-8,
                2.755_731_370_707_006_8e-6,
                -1.984_126_982_985_795e-4,
                8.333_333_333_322_49e-3,
                -1.666_666_666_666_663_2e-1,
                0.0,
            ],
        );
        let p = self.mul(p, r);
        let sin = self.add(r, p);
        let q = self.poly(
            z,
            &[
                -1.135_964_755_778_819_5e-11,
                2.087_572_321_298_175e-9,
                -2.755_731_435_139_066_3e-7,
                2.480_158_728_947_673e-5,
                -1.388_888_888_887_411e-3,
                4.166_666_666_666_66e-2,
                -0.5,
                1.0,
            ],
        );
        // Bit 0 of the quadrant swaps the two, bit 1 of n and of n + 1 are their signs.
        let quadrant = self.bits(t);
        let (one, two) = (self.int(1), self.int(2));
        let odd = self.b.ins().band(quadrant, one);
        let next = self.b.ins().iadd(quadrant, one);
        let (s, c) = (self.select(odd, q, sin), self.select(odd, sin, q));
        let mut signed = |value: Value, quadrant: Value| {
            let negative = self.b.ins().band(quadrant, two);
            let minus = self.b.ins().fneg(value);
            self.b.ins().select(negative, minus, value)
        };
        (signed(s, quadrant), signed(c, next))
    }

    pub(super) fn sin(&mut self, x: Value) -> Value {
        let value = self.sin_cos(x).0;
        // Also keeps the sign of zero.
        let zero = self.is(FloatCC::Equal, x, 0.0);
        self.select(zero, x, value)
    }

    pub(super) fn cos(&mut self, x: Value) -> Value {
        self.sin_cos(x).1
    }

    pub(super) fn tan(&mut self, x: Value) -> Value {
        let (sin, cos) = self.sin_cos(x);
        let value = self.div(sin, cos);
        let zero = self.is(FloatCC::Equal, x, 0.0);
        self.select(zero, x, value)
    }

    /// Below 2 the Taylor sum of `exp(x^2) erf(x)`, all of whose terms are positive; above one minus the continued
    /// fraction of the complement; both are cut where f64 no longer sees the rest.
    pub(super) fn erf(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let limit = self.c(6.5);
        let a = self.b.ins().fmin(a, limit);
        let square = self.mul(a, a);
        let minus = self.b.ins().fneg(square);
        let gauss = self.exp(minus);
        let mut coefficients: Vec<f64> = Vec::new();
        let mut c = 1.0;
        for n in 0..44 {
            coefficients.push(c);
            c *= 2.0 / f64::from(2 * n + 3);
        }
        coefficients.reverse();
        let sum = self.poly(square, &coefficients);
        let sum = self.mul(sum, a);
        let sum = self.mul_c(sum, std::f64::consts::FRAC_2_SQRT_PI);
        let near = self.mul(sum, gauss);
        let mut fraction = a;
        for k in (1..=48).rev() {
            let quotient = self.c_div(f64::from(k) / 2.0, fraction);
            fraction = self.add(a, quotient);
        }
        let scaled = self.mul_c(gauss, std::f64::consts::FRAC_2_SQRT_PI / 2.0);
        let tail = self.div(scaled, fraction);
        let far = self.c_sub(1.0, tail);
        let is_near = self.is(FloatCC::LessThan, a, 2.0);
        let magnitude = self.select(is_near, near, far);
        self.with_sign(magnitude, x)
    }

    /// C's `pow`.
    pub(super) fn pow(&mut self, x: Value, y: Value) -> Value {
        let a = self.abs(x);
        let log = self.log(a);
        let product = self.mul(y, log);
        let magnitude = self.exp(product);
        let whole = self.round(y, Rounding::Down);
        let is_whole = self.b.ins().fcmp(FloatCC::Equal, whole, y);
        let half = self.mul_c(y, 0.5);
        let whole_half = self.round(half, Rounding::Down);
        let is_fraction = self.b.ins().fcmp(FloatCC::NotEqual, whole_half, half);
        let odd = self.b.ins().band(is_whole, is_fraction);
        // The sign bit counts: -0 to an odd power is -0.
        let signed = self.with_sign(magnitude, x);
        let value = self.select(odd, signed, magnitude);
        let negative = self.is(FloatCC::LessThan, x, 0.0);
        let below = self.is(FloatCC::Equal, x, f64::NEG_INFINITY);
        let fraction = self.b.ins().fcmp(FloatCC::NotEqual, whole, y);
        let undefined = self.b.ins().band(negative, fraction);
        let undefined = self.b.ins().band_not(undefined, below);
        let nan = self.c(f64::NAN);
        let value = self.select(undefined, nan, value);
        let unit = self.is(FloatCC::Equal, a, 1.0);
        let distance = self.abs(y);
        let endless = self.is(FloatCC::Equal, distance, f64::INFINITY);
        let unit = self.b.ins().band(unit, endless);
        let certain = self.is(FloatCC::Equal, x, 1.0);
        let empty = self.is(FloatCC::Equal, y, 0.0);
        let certain = self.b.ins().bor(certain, empty);
        let certain = self.b.ins().bor(certain, unit);
        let one = self.c(1.0);
        self.select(certain, one, value)
    }

    /// C's `fmod`: exact. Subtracts the divisor, scaled to the dividend's exponent, until less than it is left.
    pub(super) fn remainder(&mut self, x: Value, y: Value) -> Value {
        let divisor = self.abs(y);
        let dividend = self.abs(x);
        // A divisor below the normal numbers has no exponent of its own: two steps, the first by a multiple.
        let small = self.is(FloatCC::LessThan, divisor, f64::MIN_POSITIVE);
        let lifted = self.mul_c(divisor, TWO_52);
        let multiple = self.select(small, lifted, divisor);
        let rest = self.reduce(dividend, multiple);
        let lifted_rest = self.mul_c(rest, TWO_52);
        let rest = self.select(small, lifted_rest, rest);
        let rest = self.reduce(rest, multiple);
        let lowered = self.mul_c(rest, 1.0 / TWO_52);
        let rest = self.select(small, lowered, rest);
        let value = self.with_sign(rest, x);
        // NaN, infinite dividends and division by zero.
        let zero = self.is(FloatCC::Equal, y, 0.0);
        let finite = self.is(FloatCC::LessThan, dividend, f64::INFINITY);
        let sum = self.b.ins().fadd(x, y);
        let unordered = self.b.ins().fcmp(FloatCC::Unordered, x, y);
        let nan = self.c(f64::NAN);
        let value = self.select(finite, value, nan);
        let value = self.select(zero, nan, value);
        self.select(unordered, sum, value)
    }

    /// `r` modulo `y` for a normal `y`; anything where either is NaN, infinite or `y` is 0.
    fn reduce(&mut self, r: Value, y: Value) -> Value {
        let exponent_mask = self.int(0x7ff0_0000_0000_0000);
        let bits = self.bits(y);
        let mantissa = self.b.ins().band_not(bits, exponent_mask);
        let rest = self.b.declare_var(F64);
        self.b.def_var(rest, r);
        let (header, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        // The loop ends: values that would not get smaller never enter it.
        let positive = self.is(FloatCC::GreaterThan, y, 0.0);
        let finite = self.is(FloatCC::LessThan, r, f64::INFINITY);
        let proper = self.b.ins().band(positive, finite);
        self.b.ins().brif(proper, header, &[], after, &[]);
        self.b.switch_to_block(header);
        let r = self.b.use_var(rest);
        let more = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, r, y);
        self.b.ins().brif(more, body, &[], after, &[]);
        self.b.switch_to_block(body);
        let bits = self.bits(r);
        let exponent = self.b.ins().band(bits, exponent_mask);
        let scaled = self.b.ins().bor(exponent, mantissa);
        let scaled = self.float(scaled);
        let too_large = self.b.ins().fcmp(FloatCC::GreaterThan, scaled, r);
        let half = self.mul_c(scaled, 0.5);
        let step = self.select(too_large, half, scaled);
        let less = self.sub(r, step);
        self.b.def_var(rest, less);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(after);
        self.b.use_var(rest)
    }

    /// -1, 1, or `x` itself where it is a zero or NaN.
    pub(super) fn sign(&mut self, x: Value) -> Value {
        let one = self.c(1.0);
        let unit = self.with_sign(one, x);
        let a = self.abs(x);
        let some = self.is(FloatCC::GreaterThan, a, 0.0);
        self.select(some, unit, x)
    }

    /// An f64 that rounds to any shorter format as an exact sum would, from its rounding `near` towards the
    /// nearest in f32: inexact values get an odd last bit.
    pub(super) fn round_to_odd(&mut self, x: Value) -> Value {
        use cranelift_codegen::ir::types::{F32, I32};
        let near = self.b.ins().fdemote(F32, x);
        let back = self.b.ins().fpromote(F64, near);
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let bits = self.b.ins().bitcast(I32, flags, near);
        let error = self.sub(x, back);
        // Towards the exact value; magnitudes grow when it is further from zero.
        let a = self.abs(x);
        let near_abs = self.abs(back);
        let away = self.b.ins().fcmp(FloatCC::GreaterThan, a, near_abs);
        let (one, minus) = (self.constants.int(self.b, I32, 1), self.constants.int(self.b, I32, -1));
        let step = self.b.ins().select(away, one, minus);
        let moved = self.b.ins().iadd(bits, step);
        let exact = self.is(FloatCC::Equal, error, 0.0);
        let odd = self.b.ins().band(bits, one);
        let infinite = self.is(FloatCC::Equal, near_abs, f64::INFINITY);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        let odd = self.b.ins().icmp_imm_u(IntCC::NotEqual, odd, 0);
        let keep = self.b.ins().bor(exact, odd);
        let keep = self.b.ins().bor(keep, infinite);
        let keep = self.b.ins().bor(keep, nan);
        let bits = self.b.ins().select(keep, bits, moved);
        self.b.ins().bitcast(F32, flags, bits)
    }
}
