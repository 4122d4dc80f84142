//! Typed single elements: every operation of expressions for every element type.
//!
//! A value is held as it is stored; bools are bytes 0 and 1, f16 and bf16 their bits. Arithmetic on short floats
//! goes through f32, whose digits suffice for one correct rounding of sums, products, quotients and roots.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use kiln_ir::kernel::{BinaryOp, Scalar, UnaryOp};
use kiln_ir::{DType, Error, Result};
use kiln_targets::math::{self, Format, Function};

use super::constants::Constants;
use super::math::Scalars;

/// Emits operations at the current position of a function.
pub(super) struct Values<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) constants: Constants,
    pub(super) rounds: bool,
}

/// How a type's elements are held.
pub(super) fn clif_type(dtype: DType) -> Result<Type> {
    Ok(match dtype {
        DType::F32 => F32,
        DType::F64 => F64,
        // Everything else as the bits that it is.
        other => match other.size() {
            1 => I8,
            2 => I16,
            4 => I32,
            8 => I64,
            _ => return Err(Error::internal(format!("elements of type {other} in machine code"))),
        },
    })
}

fn short(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

fn no_meaning(op: &dyn std::fmt::Debug, dtype: DType) -> Error {
    Error::internal(format!("{op:?} of {dtype} has no meaning"))
}

impl<'f> Values<'_, 'f> {
    /// A constant.
    pub(super) fn constant(&mut self, scalar: Scalar) -> Result<Value> {
        let ty = clif_type(scalar.dtype)?;
        Ok(self.constants.bits(self.b, ty, scalar.bits))
    }

    fn int(&mut self, ty: Type, value: i64) -> Value {
        self.constants.int(self.b, ty, value)
    }

    fn cast_bits(&mut self, ty: Type, value: Value) -> Value {
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    /// The same bits as an element of another type of as many bytes.
    pub(super) fn bits(&mut self, to: DType, value: Value) -> Result<Value> {
        let (from, to) = (self.b.func.dfg.value_type(value), clif_type(to)?);
        Ok(if from == to { value } else { self.cast_bits(to, value) })
    }

    /// `if condition { a } else { b }`.
    pub(super) fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        self.b.ins().select(condition, a, b)
    }

    pub(super) fn unary(&mut self, op: UnaryOp, dtype: DType, a: Value) -> Result<Value> {
        match dtype {
            DType::Bool if op == UnaryOp::Not => {
                let one = self.int(I8, 1);
                Ok(self.b.ins().bxor(a, one))
            }
            _ if short(dtype) => {
                let wide = self.cast(dtype, DType::F32, a)?;
                let value = self.unary(op, DType::F32, wide)?;
                if op.result(dtype) == DType::Bool {
                    return Ok(value);
                }
                self.cast(DType::F32, dtype, value)
            }
            DType::F32 | DType::F64 => self.float_unary(op, dtype, a),
            _ if dtype.is_int() => self.int_unary(op, dtype, a),
            _ => Err(no_meaning(&op, dtype)),
        }
    }

    fn int_unary(&mut self, op: UnaryOp, dtype: DType, a: Value) -> Result<Value> {
        let ty = clif_type(dtype)?;
        let zero = self.int(ty, 0);
        Ok(match op {
            UnaryOp::Neg => self.b.ins().ineg(a),
            UnaryOp::BitNot => self.b.ins().bnot(a),
            UnaryOp::Abs if dtype.is_unsigned_int() => a,
            UnaryOp::Abs => {
                let minus = self.b.ins().ineg(a);
                let negative = self.b.ins().icmp(IntCC::SignedLessThan, a, zero);
                self.b.ins().select(negative, minus, a)
            }
            UnaryOp::Sign => {
                let (one, minus) = (self.int(ty, 1), self.int(ty, -1));
                let some = self.b.ins().icmp(IntCC::NotEqual, a, zero);
                let value = self.b.ins().select(some, one, zero);
                if dtype.is_unsigned_int() {
                    return Ok(value);
                }
                let negative = self.b.ins().icmp(IntCC::SignedLessThan, a, zero);
                self.b.ins().select(negative, minus, value)
            }
            _ => return Err(no_meaning(&op, dtype)),
        })
    }

    fn float_unary(&mut self, op: UnaryOp, dtype: DType, a: Value) -> Result<Value> {
        let format = if dtype == DType::F32 { Format::F32 } else { Format::F64 };
        let mut l = self.arithmetic(format);
        if let Some(value) = math::exact(&mut l, op, a) {
            return Ok(if op.result(dtype) == dtype { l.number(value) } else { value });
        }
        let mut found = false;
        let value = self.through_f64(dtype, [a], |l, [x]| {
            let value = Function::Unary(op).define(l, &[x]);
            found = value.is_some();
            value.unwrap_or(x)
        });
        if found { Ok(value) } else { Err(no_meaning(&op, dtype)) }
    }

    fn arithmetic(&mut self, format: Format) -> Scalars<'_, 'f> {
        Scalars { b: &mut *self.b, constants: &mut self.constants, rounds: self.rounds, format, short: false }
    }

    /// Computes in f64 and rounds to f32 where that is the type: within 1 ULP of the exact value.
    fn through_f64<const N: usize>(
        &mut self,
        dtype: DType,
        args: [Value; N],
        f: impl FnOnce(&mut Scalars<'_, '_>, [Value; N]) -> Value,
    ) -> Value {
        let single = dtype == DType::F32;
        let args = args.map(|a| if single { self.b.ins().fpromote(F64, a) } else { a });
        let mut l = self.arithmetic(Format::F64);
        l.short = single;
        let value = f(&mut l, args);
        let value = l.number(value);
        if single { self.b.ins().fdemote(F32, value) } else { value }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, dtype: DType, x: Value, y: Value) -> Result<Value> {
        match dtype {
            DType::Bool => Ok(match op {
                BinaryOp::And | BinaryOp::Min => self.b.ins().band(x, y),
                BinaryOp::Or | BinaryOp::Max => self.b.ins().bor(x, y),
                BinaryOp::Xor => self.b.ins().bxor(x, y),
                BinaryOp::Eq => self.b.ins().icmp(IntCC::Equal, x, y),
                BinaryOp::Lt => self.b.ins().icmp(IntCC::UnsignedLessThan, x, y),
                BinaryOp::Le => self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, x, y),
                _ => return Err(no_meaning(&op, dtype)),
            }),
            _ if short(dtype) => {
                let (x, y) = (self.cast(dtype, DType::F32, x)?, self.cast(dtype, DType::F32, y)?);
                let value = self.binary(op, DType::F32, x, y)?;
                if op.result(dtype) == DType::Bool {
                    return Ok(value);
                }
                self.cast(DType::F32, dtype, value)
            }
            DType::F32 | DType::F64 => self.float_binary(op, dtype, x, y),
            _ if dtype.is_int() => self.int_binary(op, dtype, x, y),
            _ => Err(no_meaning(&op, dtype)),
        }
    }

    fn float_binary(&mut self, op: BinaryOp, dtype: DType, x: Value, y: Value) -> Result<Value> {
        Ok(match op {
            BinaryOp::Add => self.b.ins().fadd(x, y),
            BinaryOp::Sub => self.b.ins().fsub(x, y),
            BinaryOp::Mul => self.b.ins().fmul(x, y),
            BinaryOp::Div => self.b.ins().fdiv(x, y),
            BinaryOp::Min => self.b.ins().fmin(x, y),
            BinaryOp::Max => self.b.ins().fmax(x, y),
            BinaryOp::Eq => self.b.ins().fcmp(FloatCC::Equal, x, y),
            BinaryOp::Lt => self.b.ins().fcmp(FloatCC::LessThan, x, y),
            BinaryOp::Le => self.b.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
            BinaryOp::Pow => {
                self.through_f64(dtype, [x, y], |l, xy| Function::Binary(op).define(l, &xy).unwrap_or(xy[0]))
            }
            BinaryOp::Rem => self.through_f64(dtype, [x, y], |l, [x, y]| l.remainder(x, y)),
            BinaryOp::Mod => {
                let rest = self.through_f64(dtype, [x, y], |l, [x, y]| l.remainder(x, y));
                let zero = self.constant(Scalar::of(dtype, 0.0))?;
                let some = self.b.ins().fcmp(FloatCC::NotEqual, rest, zero);
                let rest_negative = self.b.ins().fcmp(FloatCC::LessThan, rest, zero);
                let negative = self.b.ins().fcmp(FloatCC::LessThan, y, zero);
                let differ = self.b.ins().bxor(rest_negative, negative);
                let correct = self.b.ins().band(some, differ);
                let moved = self.b.ins().fadd(rest, y);
                self.b.ins().select(correct, moved, rest)
            }
            _ => return Err(no_meaning(&op, dtype)),
        })
    }

    fn int_binary(&mut self, op: BinaryOp, dtype: DType, x: Value, y: Value) -> Result<Value> {
        let signed = dtype.is_signed_int();
        let less = if signed { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
        Ok(match op {
            BinaryOp::Add => self.b.ins().iadd(x, y),
            BinaryOp::Sub => self.b.ins().isub(x, y),
            BinaryOp::Mul => self.multiply(dtype, x, y)?,
            BinaryOp::Div | BinaryOp::Rem | BinaryOp::Mod => self.divide(op, dtype, x, y)?,
            BinaryOp::Min => {
                let c = self.b.ins().icmp(less, x, y);
                self.b.ins().select(c, x, y)
            }
            BinaryOp::Max => {
                let c = self.b.ins().icmp(less, x, y);
                self.b.ins().select(c, y, x)
            }
            BinaryOp::Pow => self.int_pow(dtype, x, y)?,
            BinaryOp::Eq => self.b.ins().icmp(IntCC::Equal, x, y),
            BinaryOp::Lt => self.b.ins().icmp(less, x, y),
            BinaryOp::Le => {
                let cc = if signed { IntCC::SignedLessThanOrEqual } else { IntCC::UnsignedLessThanOrEqual };
                self.b.ins().icmp(cc, x, y)
            }
            BinaryOp::BitAnd => self.b.ins().band(x, y),
            BinaryOp::BitOr => self.b.ins().bor(x, y),
            BinaryOp::BitXor => self.b.ins().bxor(x, y),
            BinaryOp::Shr if signed => {
                // Negative counts are large unsigned ones.
                let ty = clif_type(dtype)?;
                let most = self.int(ty, i64::from(ty.bits()) - 1);
                let count = self.b.ins().umin(y, most);
                self.b.ins().sshr(x, count)
            }
            BinaryOp::Shl | BinaryOp::Shr => {
                let ty = clif_type(dtype)?;
                let (width, zero) = (self.int(ty, i64::from(ty.bits())), self.int(ty, 0));
                let shifted =
                    if op == BinaryOp::Shl { self.b.ins().ishl(x, y) } else { self.b.ins().ushr(x, y) };
                // Negative counts are large unsigned ones.
                let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, y, width);
                self.b.ins().select(inside, shifted, zero)
            }
            _ => return Err(no_meaning(&op, dtype)),
        })
    }

    fn multiply(&mut self, dtype: DType, x: Value, y: Value) -> Result<Value> {
        if dtype.bits() >= 32 {
            return Ok(self.b.ins().imul(x, y));
        }
        // Low bits do not depend on how the operands are extended.
        let (x, y) = (self.b.ins().uextend(I32, x), self.b.ins().uextend(I32, y));
        let product = self.b.ins().imul(x, y);
        Ok(self.b.ins().ireduce(clif_type(dtype)?, product))
    }

    /// Quotients and remainders with no operand that traps.
    fn divide(&mut self, op: BinaryOp, dtype: DType, x: Value, y: Value) -> Result<Value> {
        let signed = dtype.is_signed_int();
        let wide = if dtype.bits() == 64 { I64 } else { I32 };
        let (x, y) = (self.extend(dtype, wide, x)?, self.extend(dtype, wide, y)?);
        let (zero, one) = (self.int(wide, 0), self.int(wide, 1));
        let by_zero = self.b.ins().icmp(IntCC::Equal, y, zero);
        let safe = self.b.ins().select(by_zero, one, y);
        let value = if signed {
            // MIN / -1 traps: dividing by 1 and negating wraps.
            let minus_one = self.int(wide, -1);
            let by_minus_one = self.b.ins().icmp(IntCC::Equal, y, minus_one);
            let safe = self.b.ins().select(by_minus_one, one, safe);
            if op == BinaryOp::Div {
                let quotient = self.b.ins().sdiv(x, safe);
                let minus = self.b.ins().ineg(quotient);
                self.b.ins().select(by_minus_one, minus, quotient)
            } else {
                let rest = self.b.ins().srem(x, safe);
                if op == BinaryOp::Mod {
                    let some = self.b.ins().icmp(IntCC::NotEqual, rest, zero);
                    let mixed = self.b.ins().bxor(rest, safe);
                    let differ = self.b.ins().icmp(IntCC::SignedLessThan, mixed, zero);
                    let correct = self.b.ins().band(some, differ);
                    let moved = self.b.ins().iadd(rest, safe);
                    self.b.ins().select(correct, moved, rest)
                } else {
                    rest
                }
            }
        } else if op == BinaryOp::Div {
            self.b.ins().udiv(x, safe)
        } else {
            self.b.ins().urem(x, safe)
        };
        let value = self.b.ins().select(by_zero, zero, value);
        Ok(self.reduce(clif_type(dtype)?, value))
    }

    /// The low bits of a power by squaring. Negative exponents: 1 and -1 have whole powers, all others give 0.
    fn int_pow(&mut self, dtype: DType, x: Value, y: Value) -> Result<Value> {
        let (x, y) = (self.extend(dtype, I64, x)?, self.extend(dtype, I64, y)?);
        let (zero, one, minus) = (self.int(I64, 0), self.int(I64, 1), self.int(I64, -1));
        let vars = [(); 3].map(|()| self.b.declare_var(I64));
        let [base, exponent, out] = vars;
        // The parity of a negative exponent decides for -1, and 1 does not care.
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, y, zero);
        let negative = if dtype.is_signed_int() { negative } else { self.int(I8, 0) };
        let parity = self.b.ins().band(y, one);
        let count = self.b.ins().select(negative, parity, y);
        let is_one = self.b.ins().icmp(IntCC::Equal, x, one);
        let is_minus = self.b.ins().icmp(IntCC::Equal, x, minus);
        let unit = self.b.ins().bor(is_one, is_minus);
        let start = self.b.ins().select(unit, one, zero);
        let start = self.b.ins().select(negative, start, one);
        for (var, value) in vars.into_iter().zip([x, count, start]) {
            self.b.def_var(var, value);
        }
        let (header, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        let left = self.b.use_var(exponent);
        self.b.ins().brif(left, body, &[], after, &[]);
        self.b.switch_to_block(body);
        let (value, factor) = (self.b.use_var(out), self.b.use_var(base));
        let product = self.b.ins().imul(value, factor);
        let odd = self.b.ins().band(left, one);
        let value = self.b.ins().select(odd, product, value);
        let square = self.b.ins().imul(factor, factor);
        let half = self.b.ins().ushr(left, one);
        self.b.def_var(out, value);
        self.b.def_var(base, square);
        self.b.def_var(exponent, half);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(after);
        let value = self.b.use_var(out);
        Ok(self.reduce(clif_type(dtype)?, value))
    }

    /// An integer or bool in a type at least as wide.
    pub(super) fn extend(&mut self, dtype: DType, to: Type, a: Value) -> Result<Value> {
        Ok(match (clif_type(dtype)? == to, dtype.is_signed_int()) {
            (true, _) => a,
            (_, true) => self.b.ins().sextend(to, a),
            (_, false) => self.b.ins().uextend(to, a),
        })
    }

    fn reduce(&mut self, to: Type, a: Value) -> Value {
        if self.b.func.dfg.value_type(a) == to { a } else { self.b.ins().ireduce(to, a) }
    }

    pub(super) fn cast(&mut self, from: DType, to: DType, a: Value) -> Result<Value> {
        let (from_type, to_type) = (clif_type(from)?, clif_type(to)?);
        if from == to {
            return Ok(a);
        }
        if short(from) {
            let wide = self.widen_short(from, a);
            return self.cast(DType::F32, to, wide);
        }
        Ok(match (from.is_float(), to.is_float()) {
            (true, true) => match (from, to) {
                (DType::F32, DType::F64) => self.b.ins().fpromote(F64, a),
                (DType::F64, DType::F32) => self.b.ins().fdemote(F32, a),
                (DType::F64, _) => {
                    let rounded = self.round_to_odd(a);
                    self.narrow_short(to, rounded)
                }
                _ => self.narrow_short(to, a),
            },
            (true, false) if to == DType::Bool => {
                let zero = self.constant(Scalar::of(from, 0.0))?;
                self.b.ins().fcmp(FloatCC::NotEqual, a, zero)
            }
            (true, false) => self.float_to_int(to, a)?,
            (false, true) => {
                let wide = self.extend(from, I64, a)?;
                // Halves of the longest integers are rounded twice on the way to short floats.
                let float = match to {
                    DType::F32 => F32,
                    _ => F64,
                };
                let value = if from == DType::U64 {
                    self.b.ins().fcvt_from_uint(float, wide)
                } else {
                    self.b.ins().fcvt_from_sint(float, wide)
                };
                if short(to) { self.cast(DType::F64, to, value)? } else { value }
            }
            (false, false) if to == DType::Bool => {
                let zero = self.int(from_type, 0);
                self.b.ins().icmp(IntCC::NotEqual, a, zero)
            }
            (false, false) if to_type.bits() > from_type.bits() => self.extend(from, to_type, a)?,
            (false, false) => self.reduce(to_type, a),
        })
    }

    fn float_to_int(&mut self, to: DType, a: Value) -> Result<Value> {
        let ty = clif_type(to)?;
        let wide = if to.bits() == 64 { I64 } else { I32 };
        if to.is_unsigned_int() {
            let value = self.b.ins().fcvt_to_uint_sat(wide, a);
            if ty == wide {
                return Ok(value);
            }
            let limit = self.int(wide, (1 << to.bits()) - 1);
            let above = self.b.ins().icmp(IntCC::UnsignedGreaterThan, value, limit);
            let value = self.b.ins().select(above, limit, value);
            return Ok(self.b.ins().ireduce(ty, value));
        }
        let value = self.b.ins().fcvt_to_sint_sat(wide, a);
        if ty == wide {
            return Ok(value);
        }
        let half = 1 << (to.bits() - 1);
        let (low, high) = (self.int(wide, -half), self.int(wide, half - 1));
        let above = self.b.ins().icmp(IntCC::SignedGreaterThan, value, high);
        let value = self.b.ins().select(above, high, value);
        let below = self.b.ins().icmp(IntCC::SignedLessThan, value, low);
        let value = self.b.ins().select(below, low, value);
        Ok(self.b.ins().ireduce(ty, value))
    }

    /// f16 or bf16 to f32: exact.
    fn widen_short(&mut self, from: DType, a: Value) -> Value {
        let wide = self.b.ins().uextend(I32, a);
        if from == DType::BF16 {
            let shift = self.int(I32, 16);
            let bits = self.b.ins().ishl(wide, shift);
            return self.cast_bits(F32, bits);
        }
        let (sign_bit, rest) = (self.int(I32, 0x8000), self.int(I32, 0x7fff));
        let (to_sign, to_mantissa) = (self.int(I32, 16), self.int(I32, 13));
        let sign = self.b.ins().band(wide, sign_bit);
        let sign = self.b.ins().ishl(sign, to_sign);
        let magnitude = self.b.ins().band(wide, rest);
        let shifted = self.b.ins().ishl(magnitude, to_mantissa);
        // The product moves the exponent to f32's bias, numbers below the least normal one included.
        let float = self.cast_bits(F32, shifted);
        let factor = self.constants.bits(self.b, F32, 0x7780_0000); // 2^112
        let scaled = self.b.ins().fmul(float, factor);
        let scaled = self.cast_bits(I32, scaled);
        let (special, exponent) = (self.int(I32, 0x7c00), self.int(I32, 0x7f80_0000));
        let is_special = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, magnitude, special);
        let endless = self.b.ins().bor(shifted, exponent);
        let bits = self.b.ins().select(is_special, endless, scaled);
        let bits = self.b.ins().bor(bits, sign);
        self.cast_bits(F32, bits)
    }

    /// f32 to f16 or bf16: to nearest, halves to even.
    fn narrow_short(&mut self, to: DType, a: Value) -> Value {
        let bits = self.cast_bits(I32, a);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
        let (one, sixteen) = (self.int(I32, 1), self.int(I32, 16));
        if to == DType::BF16 {
            let high = self.b.ins().ushr(bits, sixteen);
            let odd = self.b.ins().band(high, one);
            let bias = self.int(I32, 0x7fff);
            let sum = self.b.ins().iadd(bits, bias);
            let sum = self.b.ins().iadd(sum, odd);
            let rounded = self.b.ins().ushr(sum, sixteen);
            let quiet = self.int(I32, 0x40);
            let kept = self.b.ins().bor(high, quiet);
            let value = self.b.ins().select(nan, kept, rounded);
            return self.b.ins().ireduce(I16, value);
        }
        let (mask, sign_bit, thirteen) =
            (self.int(I32, 0x7fff_ffff), self.int(I32, 0x8000), self.int(I32, 13));
        let magnitude = self.b.ins().band(bits, mask);
        let sign = self.b.ins().ushr(bits, sixteen);
        let sign = self.b.ins().band(sign, sign_bit);
        // Normal: rebias, add just below half, and one more where the result would be odd.
        let shifted = self.b.ins().ushr(magnitude, thirteen);
        let odd = self.b.ins().band(shifted, one);
        let bias = self.int(I32, 0xfff - 0x3800_0000);
        let sum = self.b.ins().iadd(magnitude, bias);
        let sum = self.b.ins().iadd(sum, odd);
        let normal = self.b.ins().ushr(sum, thirteen);
        // Below: adding 0.5 leaves multiples of 2^-24 in the low bits, rounded by the addition.
        let float = self.cast_bits(F32, magnitude);
        let half = self.constants.bits(self.b, F32, 0x3f00_0000);
        let small = self.b.ins().fadd(float, half);
        let small = self.cast_bits(I32, small);
        let half_bits = self.int(I32, 0x3f00_0000);
        let small = self.b.ins().isub(small, half_bits);
        let least = self.int(I32, 0x3880_0000);
        let is_small = self.b.ins().icmp(IntCC::UnsignedLessThan, magnitude, least);
        let value = self.b.ins().select(is_small, small, normal);
        let (overflow, infinity, quiet) =
            (self.int(I32, 0x4780_0000), self.int(I32, 0x7c00), self.int(I32, 0x7e00));
        let too_large = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, magnitude, overflow);
        let value = self.b.ins().select(too_large, infinity, value);
        let value = self.b.ins().select(nan, quiet, value);
        let value = self.b.ins().bor(value, sign);
        self.b.ins().ireduce(I16, value)
    }

    /// An f64 that rounds to any shorter format as an exact sum would, from its rounding `near` towards the
    /// nearest in f32: inexact values get an odd last bit.
    fn round_to_odd(&mut self, x: Value) -> Value {
        let near = self.b.ins().fdemote(F32, x);
        let back = self.b.ins().fpromote(F64, near);
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        let bits = self.b.ins().bitcast(I32, flags, near);
        let error = self.b.ins().fsub(x, back);
        // Towards the exact value; magnitudes grow when it is further from zero.
        let a = self.b.ins().fabs(x);
        let near_abs = self.b.ins().fabs(back);
        let away = self.b.ins().fcmp(FloatCC::GreaterThan, a, near_abs);
        let (one, minus) = (self.constants.int(self.b, I32, 1), self.constants.int(self.b, I32, -1));
        let step = self.b.ins().select(away, one, minus);
        let moved = self.b.ins().iadd(bits, step);
        let (zero, endless) = (self.constants.f64(self.b, 0.0), self.constants.f64(self.b, f64::INFINITY));
        let exact = self.b.ins().fcmp(FloatCC::Equal, error, zero);
        let odd = self.b.ins().band(bits, one);
        let infinite = self.b.ins().fcmp(FloatCC::Equal, near_abs, endless);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        let odd = self.b.ins().icmp_imm_u(IntCC::NotEqual, odd, 0);
        let keep = self.b.ins().bor(exact, odd);
        let keep = self.b.ins().bor(keep, infinite);
        let keep = self.b.ins().bor(keep, nan);
        let bits = self.b.ins().select(keep, bits, moved);
        self.b.ins().bitcast(F32, flags, bits)
    }
}
