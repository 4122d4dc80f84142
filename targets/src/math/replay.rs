//! A definition's steps on registers: a value that is not needed again gives its register to the result.
//!
//! Several vectors are computed side by side, each step of all of them before the next one. A definition is a chain of
//! operations that wait for each other; so the machine finds others between them, and a constant is loaded once for all.

use super::functions::Function;
use super::tape::{Id, Step, Tape, form, near};
use crate::simd::sequences::{bits, splat_bits};
use crate::simd::{Lane, Op1, Op2, R, Refusal, Simd, SimdExt as _, Src, V};

/// Registers that stay free when a constant gets one: what a step may take beside its operands.
const LEFT_FREE: usize = 2;

/// The function's values on lanes of a type, in operands' registers or others. `operands[i]` are the `i`th ones of all
/// vectors. A refusal where it has no form for vectors.
pub fn emit<S: Simd>(s: &mut S, function: Function, ty: Lane, operands: Vec<Vec<V>>) -> R<Vec<V>> {
    let tape = form(function, ty, s.scales());
    let tape = tape.ok_or_else(|| Refusal::unsupported(format!("{function:?} of {ty:?} in vectors")))?;
    if tape.is_long(ty) {
        return one_by_one(operands).map(|operands| alone(s, &tape, ty, operands)).collect();
    }
    // One vector alone would pay more for the question than it gains.
    let several = operands.first().is_some_and(|first| first.len() > 1);
    match near(function, ty, s.scales()).filter(|_| several) {
        Some((limit, near)) => {
            near_or_any(s, (limit as f32, &near), &tape, operands.into_iter().flatten().collect())
        }
        None => Replay::new(&tape, operands).run(s),
    }
}

/// One vector's value.
fn alone<S: Simd>(s: &mut S, tape: &Tape, ty: Lane, operands: Vec<V>) -> R<V> {
    if tape.floats() != ty {
        return in_f64(s, tape, ty, operands);
    }
    let operands = operands.into_iter().map(|v| vec![v]).collect();
    Replay::new(tape, operands).run(s)?.pop().ok_or_else(missing)
}

/// The operands of one vector after the other.
fn one_by_one(operands: Vec<Vec<V>>) -> impl Iterator<Item = Vec<V>> {
    let mut left: Vec<_> = operands.into_iter().map(Vec::into_iter).collect();
    std::iter::from_fn(move || left.iter_mut().map(Iterator::next).collect::<Option<Vec<V>>>())
}

/// By the form for arguments near 0 where all are, else by that for any; in their places.
fn near_or_any<S: Simd>(s: &mut S, near: (f32, &Tape), any: &Tape, x: Vec<V>) -> R<Vec<V>> {
    let (limit, near) = near;
    let far = beyond(s, &x, limit)?;
    let mut near_ones = Some(&x);
    let mut far_ones = Some(&x);
    s.either(
        far,
        &mut |s| {
            for x in far_ones.take().into_iter().flatten() {
                Replay::at_home(any, std::slice::from_ref(x)).run_at_home(s)?;
            }
            Ok(())
        },
        &mut |s| near_ones.take().map_or(Ok(()), |x| Replay::at_home(near, x).run_at_home(s)),
    )?;
    Ok(x)
}

/// The mask of lanes in which any vector's magnitude is above the limit, or no number.
fn beyond<S: Simd>(s: &mut S, x: &[V], limit: f32) -> R<V> {
    let mut largest: Option<V> = None;
    for v in x {
        let size = s.copy(v)?;
        s.op1(Op1::Abs, &size)?;
        match &largest {
            // As integers, of which those of infinity and NaN are the greatest.
            Some(largest) => {
                s.op2_as(Lane::I32, Op2::Max, largest, Src::Reg(&size))?;
                s.free(size);
            }
            None => largest = Some(size),
        }
    }
    let largest = largest.ok_or_else(missing)?;
    let mask = s.splat(limit)?;
    s.op2_as(Lane::I32, Op2::Lt, &mask, Src::Reg(&largest))?;
    s.free(largest);
    Ok(mask)
}

/// A function of lanes of 32 bits by its steps in f64: of the lower half of the lanes, twice, as the halves take turns.
fn in_f64<S: Simd>(s: &mut S, tape: &Tape, ty: Lane, mut operands: Vec<V>) -> R<V> {
    let half = s.lanes() / 2;
    s.repeat(2, &mut |s| {
        let mut wide = Vec::with_capacity(operands.len());
        for v in &operands {
            let v = s.copy(v)?;
            s.convert(ty, Lane::F64, &v)?;
            wide.push(vec![v]);
        }
        let y = Replay::new(tape, wide).run(s)?.pop().ok_or_else(missing)?;
        if ty == Lane::F32 {
            s.convert(Lane::F64, ty, &y)?;
        } else {
            // Integers wrap: the low bits of 1.5 * 2^52 and one more.
            s.op2_as(Lane::F64, Op2::Add, &y, Src::Wide(6_755_399_441_055_744f64.to_bits()))?;
            s.convert(Lane::I64, Lane::I32, &y)?;
        }
        let lower = s.first(half)?;
        s.keep_where(&y, &lower, Src::Reg(&operands[0]))?;
        s.free(lower);
        s.assign(&operands[0], &y);
        s.free(y);
        operands.iter().try_for_each(|v| s.swap_halves(v))
    })?;
    operands.drain(1..).for_each(|v| s.free(v));
    operands.pop().ok_or_else(missing)
}

/// The steps on registers.
struct Replay<'t> {
    tape: &'t Tape,
    /// Of all vectors.
    held: Vec<Option<Vec<V>>>,
    /// Uses still to come.
    left: Vec<usize>,
    vectors: usize,
    /// Registers that are somebody else's: the results go there.
    homes: Vec<u32>,
}

impl<'t> Replay<'t> {
    fn new(tape: &'t Tape, operands: Vec<Vec<V>>) -> Self {
        let vectors = operands.first().map_or(0, Vec::len);
        let mut held: Vec<Option<Vec<V>>> = operands.into_iter().map(Some).collect();
        held.resize_with(tape.steps.len(), || None);
        Self { tape, held, left: tape.uses(), vectors, homes: Vec::new() }
    }

    /// Of functions of one number, whose registers stay the caller's.
    fn at_home(tape: &'t Tape, operands: &[V]) -> Self {
        let homes: Vec<u32> = operands.iter().map(|v| v.0).collect();
        Self { homes, ..Self::new(tape, vec![operands.iter().map(|v| V(v.0)).collect()]) }
    }

    fn run_at_home<S: Simd>(mut self, s: &mut S) -> R {
        self.steps(s)?;
        let values = self.take(s, self.tape.result)?;
        for (home, y) in self.homes.iter().zip(values).filter(|(home, y)| **home != y.0) {
            s.assign(&V(*home), &y);
            s.free(y);
        }
        Ok(())
    }

    fn run<S: Simd>(mut self, s: &mut S) -> R<Vec<V>> {
        self.steps(s)?;
        self.take(s, self.tape.result)
    }

    /// Gives a register back that is nobody else's.
    fn free<S: Simd>(&self, s: &mut S, v: V) {
        if !self.homes.contains(&v.0) {
            s.free(v);
        }
    }

    fn steps<S: Simd>(&mut self, s: &mut S) -> R {
        let tape = self.tape;
        for (i, step) in tape.steps.iter().enumerate() {
            if self.left[i] == 0 {
                // An operand that the function does not read.
                for v in self.held[i].take().into_iter().flatten() {
                    self.free(s, v);
                }
                continue;
            }
            let made = match *step {
                Step::Operand | Step::Const(_) => continue,
                Step::Op1(op, a) => {
                    let ty = match op {
                        Op1::Shl(_) | Op1::Shr(_) | Op1::Sar(_) => tape.integers(),
                        _ => tape.floats(),
                    };
                    self.changed(s, a, None, &mut |s, d, _| s.op1_as(ty, op, d))?
                }
                Step::Op2(op, a, b) => {
                    let (ty, op) = match op {
                        Op2::IntAdd => (tape.integers(), Op2::Add),
                        Op2::IntSub => (tape.integers(), Op2::Sub),
                        op => (tape.floats(), op),
                    };
                    self.changed(s, a, Some(b), &mut |s, d, b| s.op2_as(ty, op, d, b))?
                }
                Step::Fma(c, a, b) => self.fma(s, c, a, b)?,
                Step::Select(mask, a, b) => {
                    let d = self.take(s, a)?;
                    let masks = self.held[mask].as_ref().ok_or_else(missing)?;
                    self.each(s, b, &mut |s, i, b| s.keep_where(&d[i], &masks[i], b))?;
                    self.done(s, b);
                    self.done(s, mask);
                    d
                }
                Step::Scale(x, n) => {
                    let d = self.take(s, x)?;
                    let by = self.held[n].as_ref().ok_or_else(missing)?;
                    d.iter().zip(by).try_for_each(|(d, n)| s.scale(d, n))?;
                    self.done(s, n);
                    d
                }
                Step::Rarely(rare, mask, usual, x, y) => {
                    let d = self.take(s, usual)?;
                    // A last use is inside: whether the branch is taken or not, nobody reads the register afterwards.
                    let mut operands = vec![self.take(s, x)?];
                    if let Some(y) = y {
                        operands.push(self.take(s, y)?);
                    }
                    let part = tape.part(rare).ok_or_else(missing)?;
                    let masks = self.held[mask].as_ref().ok_or_else(missing)?;
                    for ((d, chosen), operands) in d.iter().zip(masks).zip(one_by_one(operands)) {
                        let mut operands = Some(operands);
                        s.when_any(chosen, &mut |s| {
                            let y = alone(s, &part, tape.floats(), operands.take().ok_or_else(missing)?)?;
                            s.keep_where(&y, chosen, Src::Reg(d))?;
                            s.assign(d, &y);
                            s.free(y);
                            Ok(())
                        })?;
                    }
                    self.done(s, mask);
                    d
                }
            };
            self.held[i] = Some(made);
        }
        Ok(())
    }

    /// The values changed by an operation, of which one use is done. Copies come right before it: where three operands are one
    /// instruction, they are none.
    fn changed<S: Simd>(
        &mut self,
        s: &mut S,
        a: Id,
        b: Option<Id>,
        operation: &mut dyn FnMut(&mut S, &V, Src<'_>) -> R,
    ) -> R<Vec<V>> {
        let kept = match self.tape.steps[a] {
            Step::Const(_) => false,
            _ => self.left[a] > 1 && self.held[a].is_some(),
        };
        let mut made = if kept { Vec::with_capacity(self.vectors) } else { self.take(s, a)? };
        let source = self.held[a].as_deref().filter(|_| kept);
        let mut one = |s: &mut S, i: usize, b: Src<'_>| {
            if let Some(source) = source {
                made.push(s.copy(&source[i])?);
            }
            operation(s, &made[i], b)
        };
        match b {
            Some(b) => self.each(s, b, &mut one)?,
            None => (0..self.vectors).try_for_each(|i| one(s, i, Src::Bits(0)))?,
        }
        if kept {
            self.left[a] -= 1;
        }
        if let Some(b) = b {
            self.done(s, b);
        }
        Ok(made)
    }

    /// `c + a * b`, in the place of the operand that is not needed any more.
    fn fma<S: Simd>(&mut self, s: &mut S, c: Id, a: Id, b: Id) -> R<Vec<V>> {
        let ty = self.tape.floats();
        let dies = |this: &Self, v: Id| this.held[v].is_some() && this.left[v] == 1;
        let constant = |v| self.tape.is_constant(v);
        // The factor that may give its register away, and the other one, which must have a register.
        let factors = match () {
            () if dies(self, c) => None,
            () if dies(self, a) && !constant(b) => Some((a, b)),
            () if dies(self, b) => Some((b, a)),
            () if constant(c) && constant(b) => Some((b, a)),
            () => None,
        };
        if let Some((d, other)) = factors {
            let d = self.take(s, d)?;
            let held = self.held[other].as_ref().ok_or_else(missing)?;
            self.each(s, c, &mut |s, i, c| s.mul_add_as(ty, &d[i], &held[i], c))?;
            self.done(s, other);
            self.done(s, c);
            return Ok(d);
        }
        let d = self.take(s, c)?;
        let held = self.held[a].as_ref().ok_or_else(missing)?;
        self.each(s, b, &mut |s, i, b| s.fma_as(ty, &d[i], &held[i], b))?;
        self.done(s, a);
        self.done(s, b);
        Ok(d)
    }

    /// Does something to every vector with its second operand.
    fn each<S: Simd>(&self, s: &mut S, id: Id, operation: &mut dyn FnMut(&mut S, usize, Src<'_>) -> R) -> R {
        let Step::Const(value) = self.tape.steps[id] else {
            let held = self.held[id].as_ref().ok_or_else(missing)?;
            return held.iter().enumerate().try_for_each(|(i, v)| operation(s, i, Src::Reg(v)));
        };
        let ty = self.tape.floats();
        if self.vectors == 1 || s.spare() <= LEFT_FREE || !ty.is_wide() && s.keeps(value as u32) {
            return (0..self.vectors).try_for_each(|i| operation(s, i, bits(ty, value)));
        }
        let shared = splat_bits(s, ty, value)?;
        (0..self.vectors).try_for_each(|i| operation(s, i, Src::Reg(&shared)))?;
        s.free(shared);
        Ok(())
    }

    /// The values in registers of their own, of which one use is done.
    fn take<S: Simd>(&mut self, s: &mut S, id: Id) -> R<Vec<V>> {
        if let Step::Const(value) = self.tape.steps[id] {
            return (0..self.vectors).map(|_| splat_bits(s, self.tape.floats(), value)).collect();
        }
        self.left[id] -= 1;
        match &self.held[id] {
            Some(held) if self.left[id] > 0 => held.iter().map(|v| s.copy(v)).collect(),
            _ => self.held[id].take().ok_or_else(missing),
        }
    }

    /// Notes that a use as a second operand is over.
    fn done<S: Simd>(&mut self, s: &mut S, id: Id) {
        if self.tape.is_constant(id) {
            return;
        }
        self.left[id] -= 1;
        if self.left[id] == 0 {
            for v in self.held[id].take().into_iter().flatten() {
                self.free(s, v);
            }
        }
    }
}

fn missing() -> Refusal {
    Refusal::unsupported("a value of a function that is gone before its last use")
}
