//! Cranelift's scalars as the builder of `kiln_targets::math`.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I32, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use kiln_targets::math::{Arithmetic, Format, Function, Rare, round};
use kiln_targets::simd::{Op1, Op2};

use super::constants::Constants;

/// A function under construction. Numbers and integers change into each other as operations need them; a mask is a byte,
/// 0 or 1, or an integer, all ones or 0.
pub(super) struct Scalars<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) constants: &'a mut Constants,
    /// Rounding to integers is an instruction.
    pub(super) rounds: bool,
    pub(super) format: Format,
    /// Results are rounded to 24 bits or fewer.
    pub(super) short: bool,
}

impl Scalars<'_, '_> {
    fn types(&self) -> (Type, Type) {
        match self.format {
            Format::F32 => (F32, I32),
            Format::F64 => (F64, I64),
        }
    }

    fn of(&mut self, ty: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            return v;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), v)
    }

    /// The value as a number.
    pub(super) fn number(&mut self, v: Value) -> Value {
        self.of(self.types().0, v)
    }

    /// The value as an integer.
    pub(super) fn integer(&mut self, v: Value) -> Value {
        self.of(self.types().1, v)
    }

    fn is_byte(&self, v: Value) -> bool {
        self.b.func.dfg.value_type(v) == I8
    }

    fn bitwise(&mut self, op: Op2, a: Value, b: Value) -> Value {
        match (self.is_byte(a), self.is_byte(b)) {
            (true, false) => {
                let b = self.integer(b);
                let zero = self.int(0);
                return match op {
                    Op2::AndNot => self.b.ins().select(a, zero, b),
                    _ => self.b.ins().select(a, b, zero),
                };
            }
            (false, false) => {
                let (a, b) = (self.integer(a), self.integer(b));
                return self.same(op, a, b);
            }
            _ => {}
        }
        self.same(op, a, b)
    }

    fn same(&mut self, op: Op2, a: Value, b: Value) -> Value {
        match op {
            Op2::And => self.b.ins().band(a, b),
            Op2::Or => self.b.ins().bor(a, b),
            Op2::Xor => self.b.ins().bxor(a, b),
            _ => self.b.ins().band_not(b, a),
        }
    }

    fn compare(&mut self, cc: FloatCC, a: Value, b: Value) -> Value {
        let (a, b) = (self.number(a), self.number(b));
        self.b.ins().fcmp(cc, a, b)
    }
}

impl Arithmetic for Scalars<'_, '_> {
    type V = Value;

    fn format(&self) -> Format {
        self.format
    }

    fn is_short(&self) -> bool {
        self.short
    }

    /// Only in f64, in which scalars compute all functions.
    fn rarely(&mut self, rare: Rare, mask: Value, usual: Value, x: &[Value]) -> Value {
        let usual = self.number(usual);
        let x: Vec<Value> = x.iter().map(|x| self.number(*x)).collect();
        let value = self.b.declare_var(F64);
        self.b.def_var(value, usual);
        let (part, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(mask, part, &[], done, &[]);
        self.b.switch_to_block(part);
        let other = Function::Rare(rare).define(self, &x).unwrap_or(usual);
        let other = self.number(other);
        self.b.def_var(value, other);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
        self.b.use_var(value)
    }

    fn c(&mut self, value: f64) -> Value {
        match self.format {
            Format::F32 => self.constants.bits(self.b, F32, (value as f32).to_bits().into()),
            Format::F64 => self.constants.f64(self.b, value),
        }
    }

    fn int(&mut self, bits: u64) -> Value {
        let ty = self.types().1;
        self.constants.bits(self.b, ty, bits)
    }

    fn op1(&mut self, op: Op1, a: Value) -> Value {
        let (float, _) = self.types();
        match op {
            Op1::Shl(n) | Op1::Shr(n) | Op1::Sar(n) => {
                let a = self.integer(a);
                let n = self.int(n.into());
                return match op {
                    Op1::Shl(_) => self.b.ins().ishl(a, n),
                    Op1::Shr(_) => self.b.ins().ushr(a, n),
                    _ => self.b.ins().sshr(a, n),
                };
            }
            Op1::ToFloat => {
                let a = self.integer(a);
                return self.b.ins().fcvt_from_sint(float, a);
            }
            _ => {}
        }
        let a = self.number(a);
        match op {
            Op1::Sqrt => self.b.ins().sqrt(a),
            Op1::Abs => self.b.ins().fabs(a),
            Op1::Neg => self.b.ins().fneg(a),
            Op1::Floor if self.rounds => self.b.ins().floor(a),
            Op1::Ceil if self.rounds => self.b.ins().ceil(a),
            Op1::Round if self.rounds => self.b.ins().nearest(a),
            Op1::ToInt => {
                let a = self.b.ins().nearest(a);
                let ty = self.types().1;
                self.b.ins().fcvt_to_sint_sat(ty, a)
            }
            _ if self.format == Format::F64 => {
                let rounded = round(self, op, a);
                self.number(rounded)
            }
            _ => {
                // The definition is of f64, in which an f32's integer is exact.
                let wide = self.b.ins().fpromote(F64, a);
                let mut lanes = Scalars {
                    b: &mut *self.b,
                    constants: &mut *self.constants,
                    rounds: false,
                    format: Format::F64,
                    short: false,
                };
                let rounded = lanes.op1(op, wide);
                self.b.ins().fdemote(F32, rounded)
            }
        }
    }

    fn op2(&mut self, op: Op2, a: Value, b: Value) -> Value {
        match op {
            Op2::And | Op2::Or | Op2::Xor | Op2::AndNot => return self.bitwise(op, a, b),
            Op2::IntAdd | Op2::IntSub => {
                let (a, b) = (self.integer(a), self.integer(b));
                return if op == Op2::IntAdd { self.b.ins().iadd(a, b) } else { self.b.ins().isub(a, b) };
            }
            Op2::Shl | Op2::Shr => {
                let (a, b) = (self.integer(a), self.integer(b));
                let shifted = if op == Op2::Shl { self.b.ins().ishl(a, b) } else { self.b.ins().ushr(a, b) };
                let (width, zero) = (self.types().1.bits(), self.int(0));
                let width = self.int(width.into());
                let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, b, width);
                return self.b.ins().select(inside, shifted, zero);
            }
            _ => {}
        }
        let (a, b) = (self.number(a), self.number(b));
        match op {
            Op2::Add => self.b.ins().fadd(a, b),
            Op2::Sub => self.b.ins().fsub(a, b),
            Op2::Mul => self.b.ins().fmul(a, b),
            Op2::Div => self.b.ins().fdiv(a, b),
            Op2::Min | Op2::MinNan => self.b.ins().fmin(a, b),
            Op2::Max | Op2::MaxNan => self.b.ins().fmax(a, b),
            Op2::Lt => self.compare(FloatCC::LessThan, a, b),
            Op2::Le => self.compare(FloatCC::LessThanOrEqual, a, b),
            _ => self.compare(FloatCC::Equal, a, b),
        }
    }

    /// In two operations: one would be a library call where the machine has no such instruction.
    fn fma(&mut self, c: Value, a: Value, b: Value) -> Value {
        let product = self.mul(a, b);
        self.add(product, c)
    }

    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let (a, b) = (self.number(a), self.number(b));
        self.b.ins().select(mask, a, b)
    }

    fn not(&mut self, mask: Value) -> Value {
        if self.is_byte(mask) {
            let one = self.constants.int(self.b, I8, 1);
            return self.b.ins().bxor(mask, one);
        }
        self.b.ins().bnot(mask)
    }

    fn with_sign(&mut self, magnitude: Value, sign: Value) -> Value {
        let (magnitude, sign) = (self.number(magnitude), self.number(sign));
        self.b.ins().fcopysign(magnitude, sign)
    }
}
