//! From a definition to the vector builder: recorded first, so that at each step it is known which values are needed
//! again. The others give their register to the result.

use super::arithmetic::{Arithmetic, Format};
use super::functions::Function;
use super::rare::Rare;
use crate::simd::sequences::{bits, splat_bits};
use crate::simd::{Lane, Op1, Op2, R, Refusal, Simd, SimdExt as _, Src, V};

/// A value of the tape: the step that makes it. The operands come first.
pub type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Operand,
    /// The bits of a number or an integer of the format's width.
    Const(u64),
    Op1(Op1, Id),
    Op2(Op2, Id, Id),
    /// `c + a * b`.
    Fma(Id, Id, Id),
    /// `if mask { a } else { b }`.
    Select(Id, Id, Id),
    Scale(Id, Id),
    /// `if mask { the function of x and y } else { usual }`: mask, usual, x, y.
    Rarely(Rare, Id, Id, Id, Option<Id>),
}

impl Step {
    fn operands(self) -> impl Iterator<Item = Id> {
        let all = match self {
            Self::Operand | Self::Const(_) => [None; 4],
            Self::Op1(_, a) => [Some(a), None, None, None],
            Self::Op2(_, a, b) | Self::Scale(a, b) => [Some(a), Some(b), None, None],
            Self::Fma(a, b, c) | Self::Select(a, b, c) => [Some(a), Some(b), Some(c), None],
            Self::Rarely(_, a, b, c, d) => [Some(a), Some(b), Some(c), d],
        };
        all.into_iter().flatten()
    }

    /// Registers that the builder may use beside operands and result: constants, products, masks.
    fn beside(self, tape: &Tape) -> usize {
        match self {
            Self::Op1(Op1::Floor | Op1::Ceil | Op1::Round, _) => 3,
            Self::Fma(..)
            | Self::Select(..)
            | Self::Op2(Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan, ..) => 2,
            Self::Operand => 0,
            Self::Rarely(rare, ..) => {
                tape.part(rare).map_or(0, |part| {
                    // Operands of f32 wait beside their copies.
                    part.registers() + if tape.format == Format::F32 { part.operands } else { 0 }
                })
            }
            _ => 1,
        }
    }
}

/// A function's steps.
#[derive(Debug)]
struct Tape {
    format: Format,
    /// Results are rounded to f32.
    short: bool,
    scales: bool,
    operands: usize,
    steps: Vec<Step>,
    result: Id,
}

/// The steps of a function in a format, where it has that form; `scales`: for a builder that does.
fn record(function: Function, format: Format, short: bool, scales: bool) -> Option<Tape> {
    let operands = function.operands();
    let steps = vec![Step::Operand; operands];
    let mut tape = Tape { format, short, scales, operands, steps, result: 0 };
    let ids: Vec<Id> = (0..operands).collect();
    tape.result = function.define(&mut tape, &ids)?;
    Some(tape)
}

/// The steps on lanes of a type: in that type, or in f64 if the lanes have 32 bits.
fn form(function: Function, ty: Lane, scales: bool) -> Option<Tape> {
    match ty {
        Lane::F32 => {
            let native = record(function, Format::F32, false, scales);
            native.or_else(|| record(function, Format::F64, true, false))
        }
        Lane::F64 => record(function, Format::F64, false, false),
        Lane::I32 | Lane::U32 => record(function, Format::F64, true, false),
        Lane::I64 | Lane::U64 => None,
    }
}

/// Whether a function has a form for vectors of a type.
pub fn has_form(function: Function, ty: Lane) -> bool {
    form(function, ty, false).is_some()
}

/// Whether a function has a form for vectors of f32, but not in f32 throughout.
pub fn is_long(function: Function) -> bool {
    let tape = form(function, Lane::F32, false);
    let rare = |tape: &Tape| tape.steps.iter().any(|step| matches!(step, Step::Rarely(..)));
    tape.is_some_and(|tape| tape.format == Format::F64 || rare(&tape))
}

/// The function's value on lanes of a type, in an operand's register or another. A refusal where it has no form for
/// vectors.
pub fn emit<S: Simd>(s: &mut S, function: Function, ty: Lane, operands: Vec<V>) -> R<V> {
    let tape = form(function, ty, s.scales());
    let tape = tape.ok_or_else(|| Refusal::unsupported(format!("{function:?} of {ty:?} in vectors")))?;
    if tape.floats() == ty { Replay::new(&tape, operands).run(s) } else { in_f64(s, &tape, ty, operands) }
}

/// A function of lanes of 32 bits by its steps in f64: of the lower half of the lanes, twice, as the halves take turns.
fn in_f64<S: Simd>(s: &mut S, tape: &Tape, ty: Lane, mut operands: Vec<V>) -> R<V> {
    let half = s.lanes() / 2;
    s.repeat(2, &mut |s| {
        let mut wide = Vec::with_capacity(operands.len());
        for v in &operands {
            let v = s.copy(v)?;
            s.convert(ty, Lane::F64, &v)?;
            wide.push(v);
        }
        let y = Replay::new(tape, wide).run(s)?;
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

/// Vector registers that the function may need at once on lanes of a type, its operands' included: an upper bound.
pub fn registers(function: Function, ty: Lane) -> usize {
    form(function, ty, false).map_or(0, |tape| {
        // Operands of 32 bits wait beside their copies, whose conversion may take three.
        let waiting = if tape.floats() == ty { 0 } else { tape.operands };
        tape.registers().max(3) + waiting
    })
}

impl Tape {
    fn push(&mut self, step: Step) -> Id {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The steps of what hardly ever is needed: in f64.
    fn part(&self, rare: Rare) -> Option<Tape> {
        record(Function::Rare(rare), Format::F64, self.short || self.format == Format::F32, false)
    }

    fn is_constant(&self, id: Id) -> bool {
        matches!(self.steps[id], Step::Const(_))
    }

    fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.steps.len()];
        uses[self.result] += 1;
        for (i, step) in self.steps.iter().enumerate().rev() {
            // What nothing needs is not computed.
            if uses[i] > 0 {
                step.operands().for_each(|a| uses[a] += 1);
            }
        }
        uses
    }

    fn registers(&self) -> usize {
        let mut left = self.uses();
        let mut held = vec![false; self.steps.len()];
        held[..self.operands].fill(true);
        let mut most = 0;
        for (i, step) in self.steps.iter().enumerate().skip(self.operands) {
            if self.is_constant(i) || left[i] == 0 {
                continue;
            }
            let mut gone = false;
            for a in step.operands().filter(|a| !self.is_constant(*a)) {
                left[a] -= 1;
                gone |= left[a] == 0;
            }
            // The result takes the place of an operand that is needed no more.
            let here = held.iter().filter(|h| **h).count() + usize::from(!gone);
            most = most.max(here + step.beside(self));
            step.operands().for_each(|a| held[a] &= left[a] > 0);
            held[i] = true;
        }
        let several = self.steps.iter().filter(|s| s.operands().next().is_some()).count() > 1;
        most + usize::from(several)
    }

    /// What operations on numbers take the lanes for.
    fn floats(&self) -> Lane {
        match self.format {
            Format::F32 => Lane::F32,
            Format::F64 => Lane::F64,
        }
    }

    /// What operations on integers take the lanes for.
    fn integers(&self) -> Lane {
        match self.format {
            Format::F32 => Lane::U32,
            Format::F64 => Lane::U64,
        }
    }
}

impl Arithmetic for Tape {
    type V = Id;

    fn format(&self) -> Format {
        self.format
    }
    fn is_short(&self) -> bool {
        self.short
    }
    fn c(&mut self, value: f64) -> Id {
        self.push(Step::Const(match self.format {
            Format::F32 => (value as f32).to_bits().into(),
            Format::F64 => value.to_bits(),
        }))
    }
    fn int(&mut self, bits: u64) -> Id {
        self.push(Step::Const(bits))
    }
    fn op1(&mut self, op: Op1, a: Id) -> Id {
        self.push(Step::Op1(op, a))
    }
    fn op2(&mut self, op: Op2, a: Id, b: Id) -> Id {
        let commutes =
            matches!(op, Op2::Add | Op2::Mul | Op2::And | Op2::Or | Op2::Xor | Op2::IntAdd | Op2::Eq);
        let (a, b) = if commutes && self.is_constant(a) { (b, a) } else { (a, b) };
        self.push(Step::Op2(op, a, b))
    }
    fn fma(&mut self, c: Id, a: Id, b: Id) -> Id {
        let (a, b) = if self.is_constant(a) { (b, a) } else { (a, b) };
        self.push(Step::Fma(c, a, b))
    }
    fn select(&mut self, mask: Id, a: Id, b: Id) -> Id {
        self.push(Step::Select(mask, a, b))
    }
    fn not(&mut self, mask: Id) -> Id {
        let ones = self.int(u64::MAX);
        self.op2(Op2::Xor, mask, ones)
    }
    fn scales(&self) -> bool {
        self.scales && self.format == Format::F32
    }
    fn scale(&mut self, x: Id, n: Id) -> Id {
        self.push(Step::Scale(x, n))
    }
    fn rarely(&mut self, rare: Rare, mask: Id, usual: Id, x: &[Id]) -> Id {
        self.push(Step::Rarely(rare, mask, usual, x[0], x.get(1).copied()))
    }
}

/// The steps on registers.
struct Replay<'t> {
    tape: &'t Tape,
    held: Vec<Option<V>>,
    /// Uses still to come.
    left: Vec<usize>,
}

impl<'t> Replay<'t> {
    fn new(tape: &'t Tape, operands: Vec<V>) -> Self {
        let mut held: Vec<Option<V>> = operands.into_iter().map(Some).collect();
        held.resize_with(tape.steps.len(), || None);
        Self { tape, held, left: tape.uses() }
    }

    fn run<S: Simd>(mut self, s: &mut S) -> R<V> {
        for (i, step) in self.tape.steps.iter().enumerate() {
            if self.left[i] == 0 {
                // An operand that the function does not read.
                if let Some(v) = self.held[i].take() {
                    s.free(v);
                }
                continue;
            }
            let made = match *step {
                Step::Operand | Step::Const(_) => continue,
                Step::Op1(op, a) => {
                    let d = self.take(s, a)?;
                    let ty = match op {
                        Op1::Shl(_) | Op1::Shr(_) | Op1::Sar(_) => self.tape.integers(),
                        _ => self.tape.floats(),
                    };
                    s.op1_as(ty, op, &d)?;
                    d
                }
                Step::Op2(op, a, b) => {
                    let d = self.take(s, a)?;
                    let (ty, op) = match op {
                        Op2::IntAdd => (self.tape.integers(), Op2::Add),
                        Op2::IntSub => (self.tape.integers(), Op2::Sub),
                        op => (self.tape.floats(), op),
                    };
                    s.op2_as(ty, op, &d, self.source(b)?)?;
                    self.done(s, b);
                    d
                }
                Step::Fma(c, a, b) => self.fma(s, c, a, b)?,
                Step::Select(mask, a, b) => {
                    let d = self.take(s, a)?;
                    let held = self.held[mask].as_ref().ok_or_else(missing)?;
                    s.keep_where(&d, held, self.source(b)?)?;
                    self.done(s, b);
                    self.done(s, mask);
                    d
                }
                Step::Scale(x, n) => {
                    let d = self.take(s, x)?;
                    s.scale(&d, self.held[n].as_ref().ok_or_else(missing)?)?;
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
                    let part = self.tape.part(rare).ok_or_else(missing)?;
                    let chosen = self.held[mask].as_ref().ok_or_else(missing)?;
                    s.when_any(chosen, &mut |s| {
                        let operands = std::mem::take(&mut operands);
                        let y = match self.tape.format {
                            Format::F32 => in_f64(s, &part, Lane::F32, operands)?,
                            Format::F64 => Replay::new(&part, operands).run(s)?,
                        };
                        s.keep_where(&y, chosen, Src::Reg(&d))?;
                        s.assign(&d, &y);
                        s.free(y);
                        Ok(())
                    })?;
                    self.done(s, mask);
                    d
                }
            };
            self.held[i] = Some(made);
        }
        self.take(s, self.tape.result)
    }

    /// `c + a * b`, in the place of the operand that is not needed any more.
    fn fma<S: Simd>(&mut self, s: &mut S, c: Id, a: Id, b: Id) -> R<V> {
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
            s.mul_add_as(self.tape.floats(), &d, held, self.source(c)?)?;
            self.done(s, other);
            self.done(s, c);
            return Ok(d);
        }
        let d = self.take(s, c)?;
        let held = self.held[a].as_ref().ok_or_else(missing)?;
        s.fma_as(self.tape.floats(), &d, held, self.source(b)?)?;
        self.done(s, a);
        self.done(s, b);
        Ok(d)
    }

    /// The value in a register of its own, of which one use is done.
    fn take<S: Simd>(&mut self, s: &mut S, id: Id) -> R<V> {
        if let Step::Const(value) = self.tape.steps[id] {
            return splat_bits(s, self.tape.floats(), value);
        }
        self.left[id] -= 1;
        match &self.held[id] {
            Some(v) if self.left[id] > 0 => s.copy(v),
            _ => self.held[id].take().ok_or_else(missing),
        }
    }

    /// The value as a second operand.
    fn source(&self, id: Id) -> R<Src<'_>> {
        Ok(match self.tape.steps[id] {
            Step::Const(value) => bits(self.tape.floats(), value),
            _ => Src::Reg(self.held[id].as_ref().ok_or_else(missing)?),
        })
    }

    /// Notes that a use as a second operand is over.
    fn done<S: Simd>(&mut self, s: &mut S, id: Id) {
        if self.tape.is_constant(id) {
            return;
        }
        self.left[id] -= 1;
        if self.left[id] == 0
            && let Some(v) = self.held[id].take()
        {
            s.free(v);
        }
    }
}

fn missing() -> Refusal {
    Refusal::unsupported("a value of a function that is gone before its last use")
}
