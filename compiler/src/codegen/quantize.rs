//! Numbers that are rounded to integers of 8 or 16 bits: the end of a QuantizeLinear, in fewer operations than its parts.
//!
//! ```text
//!   cast(round(x / s) + z)   =   to_int(clamp(x, (lo - z) s, (hi - z) s) / s) + z
//! ```
//!
//! Rounding is part of the conversion, and `x` is clamped first: from `(hi - z) s` on the result is `hi`. The clamped number is
//! finite, so with multiply-adds its quotient takes three operations (P. Markstein, *Computation of elementary functions on
//! the IBM RISC System/6000 processor*, 1990): with `r = 1 / s` rounded and `q = x r`, `q + (x - q s) r` is the quotient
//! rounded once. Two are enough where that is proved for the scale at hand ([`quotient`]).
//!
//! - A byte that goes to memory is clamped at its lower end by the store, where conversions say how far a number lies below.
//! - A byte that becomes a number again stays one: `round` instead of two conversions.
//! - A sum of two such numbers, quantised again, is a function of two bytes ([`pair`]).

pub(super) mod known;
mod pair;
mod parts;
mod quotient;

use kiln_ir::DType;
use kiln_targets::simd::{Lane, Op1, Op2, Overflow, R, Refusal, Simd, Src, V};

use super::veval::Eval;
use super::vexpr::{Dag, VectorKind};
use known::{Leaf, Pair};
use parts::{Difference, Quantized, range};

/// How a number is divided.
enum Quotient {
    /// By 1.
    Itself,
    /// By a power of two.
    Product(f32),
    Divided(f32),
    /// By the parts of its reciprocal.
    Parts([f32; 2]),
    /// By a product with the reciprocal and what that lacks.
    Corrected(f32),
}

impl Dag {
    /// What becomes of a result that its type cannot hold: stores may be given what is below the least byte.
    pub(super) fn overflow<S: Simd>(&self, s: &S, root: usize) -> Overflow {
        if self.moved(s, self.roots[root]).is_some() {
            return Overflow::Moved;
        }
        if self.extended(s, self.roots[root]).is_some() {
            return Overflow::Byte;
        }
        if self.is_loose(s, self.roots[root]) { Overflow::Saturate } else { Overflow::Wrap }
    }

    /// The byte without a sign that a result is, less half of its range, where the store clamps and moves it.
    fn moved<S: Simd>(&self, s: &S, root: usize) -> Option<usize> {
        self.less_half(root).filter(|byte| s.converts_to_nearest() && self.is_loose(s, *byte))
    }

    /// The quantised byte without a sign that a result is, as a word, where the store clamps it.
    fn extended<S: Simd>(&self, s: &S, root: usize) -> Option<usize> {
        self.as_word(root).filter(|byte| s.clamps_words() && self.is_loose(s, *byte))
    }

    /// Whether a node is a byte that is stored and nothing else, and the store clamps it.
    fn is_loose<S: Simd>(&self, s: &S, n: usize) -> bool {
        let byte = matches!(self.kinds[n], VectorKind::Number(DType::U8 | DType::I8));
        // A conversion to the nearest number takes NaN for 0, which is the least byte where nothing is added to it.
        let nearest =
            || s.converts_to_nearest() && self.quantization(n).is_some_and(|q| q.fits || q.range().0 == 0.0);
        byte && !self.exact
            && self.uses[n] == 1
            && (self.roots.contains(&n) && (s.converts_far() || nearest())
                || self.roots.iter().any(|root| self.less_half(*root) == Some(n)) && nearest()
                || self.roots.iter().any(|root| self.as_word(*root) == Some(n))
                    && s.converts_far()
                    && s.clamps_words())
    }
}

impl Dag {
    fn quotient<S: Simd>(&self, s: &S, q: &Quantized) -> Quotient {
        let Some(scale) = q.scale else { return Quotient::Itself };
        if is_power_of_two(scale) {
            return Quotient::Product(1.0 / scale);
        }
        if !s.fuses() {
            return Quotient::Divided(scale);
        }
        let (lo, hi) = q.range();
        let key = [scale.to_bits(), lo.to_bits(), hi.to_bits()];
        let known = &mut self.known.quotients.borrow_mut();
        let parts = *known.entry(key).or_insert_with(|| quotient::parts(scale, lo, hi));
        parts.map_or(Quotient::Corrected(scale), Quotient::Parts)
    }

    /// The function of two bytes that a quantised value is.
    fn pair<S: Simd>(&self, s: &S, n: usize, q: &Quantized) -> Option<Pair> {
        let known = &mut self.known.pairs.borrow_mut();
        *known.entry(n).or_insert_with(|| pair::find(self, q, s.fuses()))
    }

    /// The number that a conversion computed here begins with, and the registers that it may take beside its result.
    pub(super) fn rounds_beside(&self, n: usize) -> Option<(usize, usize)> {
        let again =
            self.difference(n).and_then(|d| self.quantization(d.of)).filter(|q| !q.to.is_signed_int());
        if let Some(q) = again {
            return Some((q.x, 2));
        }
        // A quotient, an end of the range and what the operation with it takes, and where numbers are.
        self.quantization(n).map(|q| (q.x, if q.to.is_signed_int() { 4 } else { 2 }))
    }

    /// Keeps constants of quantised values in the registers that evaluation and what waits for it leave; what
    /// [`Dag::drop_constants`] gives back.
    pub(super) fn hold_constants<S: Simd>(&self, s: &mut S) -> R<Vec<u32>> {
        let room = self.registers().of(1);
        let mut held = Vec::new();
        for n in 0..self.nodes.len() {
            let Some(q) = self.quantization(n) else { continue };
            let mut all = Vec::new();
            if let Some(pair) = self.pair(s, n, &q) {
                all.extend((pair.constant != 0.0).then_some(pair.constant));
                all.extend([pair.factors[1], pair.factors[0]]);
            } else {
                all.extend((!q.fits).then_some(q.range().1 * q.unit()));
                match self.quotient(s, &q) {
                    Quotient::Itself => {}
                    Quotient::Product(factor) | Quotient::Divided(factor) => all.push(factor),
                    Quotient::Parts(parts) => all.extend(parts),
                    Quotient::Corrected(scale) => all.extend([1.0 / scale, -scale]),
                }
            }
            for bits in all.into_iter().map(f32::to_bits) {
                if s.spare() >= room && s.spare() < usize::MAX && bits != 0 && !s.keeps(bits) {
                    s.prepare_constant(bits)?;
                    held.push(bits);
                }
            }
        }
        Ok(held)
    }

    pub(super) fn drop_constants<S: Simd>(s: &mut S, held: Vec<u32>) {
        held.into_iter().for_each(|bits| s.drop_constant(bits));
    }
}

impl Eval<'_> {
    /// A conversion's values where it is the end of a QuantizeLinear, or takes one's result back to a number; `None` where the
    /// node is something else, and nothing was emitted.
    pub(super) fn quantized<S: Simd>(&mut self, s: &mut S, n: usize) -> R<Option<Vec<V>>> {
        if let Some(byte) = self.values.moved(s, n) {
            return self.quantized(s, byte);
        }
        if let Some(byte) = self.values.extended(s, n) {
            return self.quantized(s, byte);
        }
        if let Some(difference) = self.values.difference(n) {
            return self.number_again(s, difference);
        }
        let Some(q) = self.values.quantization(n) else { return Ok(None) };
        if let Some(pair) = self.values.pair(s, n, &q) {
            return self.of_pair(s, n, &q, &pair).map(Some);
        }
        if q.fits {
            return self.small_integers(s, n, &q).map(Some);
        }
        let loose = self.values.is_loose(s, n) && !q.to.is_signed_int();
        let (lo, hi) = q.range();
        let all = self.reg(s, q.x)?;
        let mut integers = Vec::with_capacity(all.len());
        for v in all {
            // NaN is 0 in the end, which only a result without a sign gets by the clamp, or by the conversion.
            let number = if q.to.is_signed_int() {
                let mask = s.copy(&v)?;
                s.op2(Op2::Eq, &mask, Src::Reg(&v))?;
                Some(mask)
            } else {
                None
            };
            if !loose {
                s.raise(&v, Src::Const(lo * q.unit()))?;
            }
            s.op2(Op2::Min, &v, Src::Const(hi * q.unit()))?;
            let v = self.divided(s, v, &q)?;
            s.op1(Op1::ToInt, &v)?;
            if q.zero != 0.0 {
                s.op2(Op2::IntAdd, &v, Src::Bits(q.zero as i32 as u32))?;
            }
            if let Some(number) = number {
                s.op2(Op2::And, &v, Src::Reg(&number))?;
                s.free(number);
            }
            integers.push(v);
        }
        Ok(Some(integers))
    }

    /// Quantised values that are clamped as integers, by the store where there is nothing between.
    fn small_integers<S: Simd>(&mut self, s: &mut S, n: usize, q: &Quantized) -> R<Vec<V>> {
        let loose = self.values.is_loose(s, n);
        let mut integers = Vec::new();
        for v in self.reg(s, q.x)? {
            let v = self.divided(s, v, q)?;
            small_integer(s, &v, q, loose)?;
            integers.push(v);
        }
        Ok(integers)
    }

    /// A quantised value as a number, less a constant: it never becomes an integer.
    fn number_again<S: Simd>(&mut self, s: &mut S, d: Difference) -> R<Option<Vec<V>>> {
        let Some(q) = self.values.quantization(d.of).filter(|q| !q.to.is_signed_int()) else {
            return Ok(None);
        };
        if self.values.uses[d.of] != 1 {
            return Ok(None);
        }
        let all = self.whole_numbers(s, &q)?;
        // Also where it is 0: that of integers has no sign, the one that is rounded to may.
        let rest = q.zero - d.minus as f32;
        all.iter().try_for_each(|v| s.op2(Op2::Add, v, Src::Const(rest)))?;
        Ok(Some(all))
    }

    /// Quantised values without a sign before their zero point is added, as numbers.
    fn whole_numbers<S: Simd>(&mut self, s: &mut S, q: &Quantized) -> R<Vec<V>> {
        let (lo, hi) = q.range();
        let mut all = Vec::new();
        for v in self.reg(s, q.x)? {
            s.raise(&v, Src::Const(lo * q.unit()))?;
            s.op2(Op2::Min, &v, Src::Const(hi * q.unit()))?;
            let v = self.divided(s, v, q)?;
            s.op1(Op1::Round, &v)?;
            all.push(v);
        }
        Ok(all)
    }

    /// `v / scale`, so that rounded to an integer it is the quotient that was rounded once.
    fn divided<S: Simd>(&mut self, s: &mut S, v: V, q: &Quantized) -> R<V> {
        match self.values.quotient(s, q) {
            Quotient::Itself => Ok(v),
            Quotient::Product(factor) => {
                s.op2(Op2::Mul, &v, Src::Const(factor))?;
                Ok(v)
            }
            Quotient::Divided(scale) => {
                s.op2(Op2::Div, &v, Src::Const(scale))?;
                Ok(v)
            }
            Quotient::Parts([high, low]) => {
                let quotient = s.copy(&v)?;
                s.op2(Op2::Mul, &quotient, Src::Const(low))?;
                s.fma(&quotient, &v, Src::Const(high))?;
                s.free(v);
                Ok(quotient)
            }
            Quotient::Corrected(scale) => {
                let reciprocal = Src::Const(1.0 / scale);
                let quotient = s.copy(&v)?;
                s.op2(Op2::Mul, &quotient, reciprocal)?;
                // What is left of it, exact, then its part of the quotient.
                s.fma(&v, &quotient, Src::Const(-scale))?;
                s.fma(&quotient, &v, reciprocal)?;
                s.free(v);
                Ok(quotient)
            }
        }
    }

    /// Its values.
    fn of_pair<S: Simd>(&mut self, s: &mut S, n: usize, q: &Quantized, pair: &Pair) -> R<Vec<V>> {
        // The longer one first, while nothing else is held.
        let firsts = self.leaf(s, pair.leaves[0])?;
        let seconds = self.leaf(s, pair.leaves[1])?;
        let loose = self.values.is_loose(s, n);
        let mut all = Vec::with_capacity(firsts.len());
        for (a, b) in firsts.into_iter().zip(seconds) {
            let v = if pair.constant == 0.0 {
                s.op2(Op2::Mul, &b, Src::Const(pair.factors[1]))?;
                b
            } else {
                let v = s.splat(pair.constant)?;
                s.fma(&v, &b, Src::Const(pair.factors[1]))?;
                s.free(b);
                v
            };
            s.fma(&v, &a, Src::Const(pair.factors[0]))?;
            s.free(a);
            if pair.positive && !(loose && q.range().0 == 0.0) {
                s.raise(&v, Src::Const(0.0))?;
            }
            small_integer(s, &v, q, loose)?;
            all.push(v);
        }
        Ok(all)
    }

    /// A byte as a number, before anything is subtracted.
    fn leaf<S: Simd>(&mut self, s: &mut S, leaf: Leaf) -> R<Vec<V>> {
        match leaf {
            Leaf::Loaded(n) => {
                let all = self.reg(s, n)?;
                all.iter().try_for_each(|v| s.op1(Op1::ToFloat, v))?;
                Ok(all)
            }
            Leaf::Rounded(n) => {
                let q = self.values.quantization(n);
                self.whole_numbers(s, &q.ok_or_else(|| Refusal::unsupported("a byte that is no end"))?)
            }
        }
    }
}

/// Quotients become integers with their zero point. Unless what follows saturates, they are clamped, which is right for
/// quotients that certainly fit 32 bits.
fn small_integer<S: Simd>(s: &mut S, v: &V, q: &Quantized, loose: bool) -> R<()> {
    s.op1(Op1::ToInt, v)?;
    if q.zero != 0.0 {
        s.op2(Op2::IntAdd, v, Src::Bits(q.zero as i32 as u32))?;
    }
    if !loose {
        let (lo, hi) = range(q.to);
        s.op2_as(Lane::I32, Op2::Max, v, Src::Bits(lo as i32 as u32))?;
        s.op2_as(Lane::I32, Op2::Min, v, Src::Bits(hi as i32 as u32))?;
    }
    Ok(())
}

fn is_power_of_two(scale: f32) -> bool {
    scale.to_bits() & 0x007f_ffff == 0
}
