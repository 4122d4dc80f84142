//! From a definition to the vector builder: recorded first, so that at each step it is known which values are needed
//! again. The others give their register to the result.

use kiln_ir::kernel::UnaryOp;

use super::arithmetic::{Arithmetic, Format};
use super::functions::function;
use crate::simd::{Op1, Op2, R, Refusal, Simd, Src, V};

/// A value of the tape: the step that makes it. The first is the operand.
pub type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Operand,
    Const(f32),
    Bits(u32),
    Op1(Op1, Id),
    Op2(Op2, Id, Id),
    /// `c + a * b`.
    Fma(Id, Id, Id),
    /// `if mask { a } else { b }`.
    Select(Id, Id, Id),
    Scale(Id, Id),
}

impl Step {
    fn operands(self) -> impl Iterator<Item = Id> {
        let all = match self {
            Self::Operand | Self::Const(_) | Self::Bits(_) => [None; 3],
            Self::Op1(_, a) => [Some(a), None, None],
            Self::Op2(_, a, b) | Self::Scale(a, b) => [Some(a), Some(b), None],
            Self::Fma(a, b, c) | Self::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        all.into_iter().flatten()
    }

    /// Registers that the builder may use beside operands and result: constants, products, masks.
    fn beside(self) -> usize {
        match self {
            Self::Op1(Op1::Floor | Op1::Ceil | Op1::Round, _) => 3,
            Self::Fma(..)
            | Self::Select(..)
            | Self::Op2(Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan, ..) => 2,
            Self::Operand => 0,
            _ => 1,
        }
    }
}

/// A function's steps.
#[derive(Debug)]
pub struct Tape {
    steps: Vec<Step>,
    result: Id,
    scales: bool,
}

/// The steps of a function of f32, where it has that form, for a builder that scales or not.
pub fn record(op: UnaryOp, scales: bool) -> Option<Tape> {
    let mut tape = Tape { steps: vec![Step::Operand], result: 0, scales };
    tape.result = function(&mut tape, op, 0)?;
    Some(tape)
}

/// Whether a function has a form for vectors of f32.
pub fn has_form(op: UnaryOp) -> bool {
    record(op, false).is_some()
}

/// The function's value, in the operand's register or another. A refusal where it has no form for vectors.
pub fn emit<S: Simd>(s: &mut S, op: UnaryOp, x: V) -> R<V> {
    let tape = record(op, s.scales()).ok_or_else(|| Refusal::unsupported(format!("{op:?} in vectors")))?;
    Replay::new(&tape, x).run(s)
}

/// Vector registers that the function may need at once, its operand's included: an upper bound.
pub fn registers(op: UnaryOp) -> usize {
    let Some(tape) = record(op, false) else { return 0 };
    let mut left = tape.uses();
    let mut held = vec![false; tape.steps.len()];
    let mut most = 0;
    for (i, step) in tape.steps.iter().enumerate() {
        if tape.is_constant(i) || left[i] == 0 {
            continue;
        }
        let mut gone = false;
        for a in step.operands().filter(|a| !tape.is_constant(*a)) {
            left[a] -= 1;
            gone |= left[a] == 0;
        }
        // The result takes the place of an operand that is needed no more.
        let here = held.iter().filter(|h| **h).count() + usize::from(!gone);
        most = most.max(here + step.beside());
        step.operands().for_each(|a| held[a] &= left[a] > 0);
        held[i] = true;
    }
    let several = tape.steps.iter().filter(|s| s.operands().next().is_some()).count() > 1;
    most + usize::from(several)
}

impl Tape {
    fn push(&mut self, step: Step) -> Id {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn is_constant(&self, id: Id) -> bool {
        matches!(self.steps[id], Step::Const(_) | Step::Bits(_))
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
}

impl Arithmetic for Tape {
    type V = Id;

    fn format(&self) -> Format {
        Format::F32
    }
    fn c(&mut self, value: f64) -> Id {
        self.push(Step::Const(value as f32))
    }
    fn int(&mut self, bits: u64) -> Id {
        self.push(Step::Bits(bits as u32))
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
        let ones = self.int(u32::MAX.into());
        self.op2(Op2::Xor, mask, ones)
    }
    fn scales(&self) -> bool {
        self.scales
    }
    fn scale(&mut self, x: Id, n: Id) -> Id {
        self.push(Step::Scale(x, n))
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
    fn new(tape: &'t Tape, x: V) -> Self {
        let mut held: Vec<Option<V>> = tape.steps.iter().map(|_| None).collect();
        held[0] = Some(x);
        Self { tape, held, left: tape.uses() }
    }

    fn run<S: Simd>(mut self, s: &mut S) -> R<V> {
        for (i, step) in self.tape.steps.iter().enumerate() {
            if self.left[i] == 0 {
                continue;
            }
            let made = match *step {
                Step::Operand | Step::Const(_) | Step::Bits(_) => continue,
                Step::Op1(op, a) => {
                    let d = self.take(s, a)?;
                    s.op1(op, &d)?;
                    d
                }
                Step::Op2(op, a, b) => {
                    let d = self.take(s, a)?;
                    s.op2(op, &d, self.source(b)?)?;
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
            s.mul_add(&d, held, self.source(c)?)?;
            self.done(s, other);
            self.done(s, c);
            return Ok(d);
        }
        let d = self.take(s, c)?;
        let held = self.held[a].as_ref().ok_or_else(missing)?;
        s.fma(&d, held, self.source(b)?)?;
        self.done(s, a);
        self.done(s, b);
        Ok(d)
    }

    /// The value in a register of its own, of which one use is done.
    fn take<S: Simd>(&mut self, s: &mut S, id: Id) -> R<V> {
        match self.tape.steps[id] {
            Step::Const(value) => return s.splat(value),
            Step::Bits(bits) => return s.splat(f32::from_bits(bits)),
            _ => {}
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
            Step::Const(value) => Src::Const(value),
            Step::Bits(bits) => Src::Bits(bits),
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
