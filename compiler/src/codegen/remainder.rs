//! The exact remainder of two f64: the only function that loops.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::F64;
use cranelift_codegen::ir::{InstBuilder, Value};
use kiln_targets::math::Arithmetic;
use kiln_targets::simd::Op2;

use super::math::Scalars;

const TWO_52: f64 = 4_503_599_627_370_496.0;

impl Scalars<'_, '_> {
    /// C's `fmod`: exact. Subtracts the divisor, scaled to the dividend's exponent, until less than it is left.
    pub(super) fn remainder(&mut self, x: Value, y: Value) -> Value {
        let divisor = self.abs(y);
        let dividend = self.abs(x);
        // A divisor below the normal numbers has no exponent of its own: two steps, the first by a multiple.
        let small = self.is(Op2::Lt, divisor, f64::MIN_POSITIVE);
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
        let zero = self.is(Op2::Eq, y, 0.0);
        let finite = self.is(Op2::Lt, dividend, f64::INFINITY);
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
        let bits = self.integer(y);
        let mantissa = self.b.ins().band_not(bits, exponent_mask);
        let rest = self.b.declare_var(F64);
        self.b.def_var(rest, r);
        let (header, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        // The loop ends: values that would not get smaller never enter it.
        let positive = self.above(y, 0.0);
        let finite = self.is(Op2::Lt, r, f64::INFINITY);
        let proper = self.b.ins().band(positive, finite);
        self.b.ins().brif(proper, header, &[], after, &[]);
        self.b.switch_to_block(header);
        let r = self.b.use_var(rest);
        let more = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, r, y);
        self.b.ins().brif(more, body, &[], after, &[]);
        self.b.switch_to_block(body);
        let bits = self.integer(r);
        let exponent = self.b.ins().band(bits, exponent_mask);
        let scaled = self.b.ins().bor(exponent, mantissa);
        let scaled = self.number(scaled);
        let too_large = self.b.ins().fcmp(FloatCC::GreaterThan, scaled, r);
        let half = self.mul_c(scaled, 0.5);
        let step = self.select(too_large, half, scaled);
        let less = self.sub(r, step);
        self.b.def_var(rest, less);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(after);
        self.b.use_var(rest)
    }
}
