//! Arithmetic of operators that are made of others, by short names.

use super::composed::{Composer, Value};
use super::{binary, concat, gather, reduce, unary, variadic, where_};
use crate::error::{Error, Result};
use crate::op::{Attr, OpDef};
use crate::types::DType;

impl Composer<'_> {
    /// The element type of a value.
    pub(super) fn dtype(&self, value: Value) -> DType {
        self.fact(value).dtype
    }

    /// Floats of 16 bits as f32, in which positions are exact.
    pub(super) fn widened(&mut self, value: Value) -> Result<Value> {
        if self.dtype(value).is_short_float() { self.cast(value, DType::F32) } else { Ok(value) }
    }

    /// The extents of a value, which must be constants. `what` names it in errors.
    pub(super) fn extents(&self, value: Value, what: &str) -> Result<Vec<i64>> {
        let shape = &self.fact(value).shape;
        let constant = shape.iter().map(crate::dim::Dim::as_const).collect::<Option<Vec<i64>>>();
        constant.ok_or_else(|| {
            Error::unsupported(format!("{what} of the open shape {shape} is not supported"))
                .hint("bind its dimensions with --dim")
        })
    }

    fn two(&mut self, def: &OpDef, a: Value, b: Value) -> Result<Value> {
        self.apply(def, &[], &[a, b])
    }

    /// A number of the type of `like`.
    pub(super) fn number_like(&mut self, like: Value, number: f64) -> Result<Value> {
        self.number(self.dtype(like), number)
    }

    /// `a + b`.
    pub(super) fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::ADD, a, b)
    }

    /// `a - b`.
    pub(super) fn sub(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::SUB, a, b)
    }

    /// `a * b`.
    pub(super) fn mul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::MUL, a, b)
    }

    /// `a / b`.
    pub(super) fn div(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::DIV, a, b)
    }

    /// `a + number`.
    pub(super) fn plus(&mut self, a: Value, number: f64) -> Result<Value> {
        if number == 0.0 {
            return Ok(a);
        }
        let number = self.number_like(a, number)?;
        self.add(a, number)
    }

    /// `a * number`.
    pub(super) fn times(&mut self, a: Value, number: f64) -> Result<Value> {
        if number == 1.0 {
            return Ok(a);
        }
        let number = self.number_like(a, number)?;
        self.mul(a, number)
    }

    /// `number - a`.
    pub(super) fn number_less(&mut self, number: f64, a: Value) -> Result<Value> {
        let number = self.number_like(a, number)?;
        self.sub(number, a)
    }

    /// `a` where it is within `lo..=hi`, else the end that is nearer.
    pub(super) fn clamp(&mut self, a: Value, lo: f64, hi: f64) -> Result<Value> {
        let (lo, hi) = (self.number_like(a, lo)?, self.number_like(a, hi)?);
        let a = self.two(&variadic::MAX, a, lo)?;
        self.two(&variadic::MIN, a, hi)
    }

    /// `a < b`.
    pub(super) fn less(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::LESS, a, b)
    }

    /// Whether `lo <= a` and `a <= hi`.
    pub(super) fn within(&mut self, a: Value, lo: f64, hi: f64) -> Result<Value> {
        let (lo, hi) = (self.number_like(a, lo)?, self.number_like(a, hi)?);
        let above = self.two(&binary::LESS_OR_EQUAL, lo, a)?;
        let below = self.two(&binary::LESS_OR_EQUAL, a, hi)?;
        self.and(above, below)
    }

    /// Whether both hold.
    pub(super) fn and(&mut self, a: Value, b: Value) -> Result<Value> {
        self.two(&binary::AND, a, b)
    }

    /// `a` where the condition holds, else `b`.
    pub(super) fn choose(&mut self, condition: Value, a: Value, b: Value) -> Result<Value> {
        self.apply(&where_::DEF, &[], &[condition, a, b])
    }

    /// Towards negative infinity.
    pub(super) fn floor(&mut self, a: Value) -> Result<Value> {
        self.apply(&unary::FLOOR, &[], &[a])
    }

    /// Values one behind the other along an axis.
    pub(super) fn concat(&mut self, values: &[Value], axis: i64) -> Result<Value> {
        match values {
            [one] => Ok(*one),
            _ => self.apply(&concat::DEF, &[("axis", Attr::Int(axis))], values),
        }
    }

    /// Elements of an axis by their positions.
    pub(super) fn gather(&mut self, x: Value, positions: Value, axis: i64) -> Result<Value> {
        self.apply(&gather::DEF, &[("axis", Attr::Int(axis))], &[x, positions])
    }

    /// Sums along axes, which are gone.
    pub(super) fn sum(&mut self, x: Value, axes: &[i64]) -> Result<Value> {
        self.reduce(&reduce::SUM, x, axes)
    }

    /// Any reduction along axes, which are gone.
    pub(super) fn reduce(&mut self, def: &OpDef, x: Value, axes: &[i64]) -> Result<Value> {
        let axes = self.integers(axes);
        self.apply(def, &[("keepdims", Attr::Int(0))], &[x, axes])
    }
}
