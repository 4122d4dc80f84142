//! A definition's steps, recorded so that at each it is known which values are needed again.

use super::arithmetic::{Arithmetic, Format};
use super::functions::Function;
use super::rare::Rare;
use crate::simd::{Lane, Op1, Op2};

/// A value of the tape: the step that makes it. The operands come first.
pub type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
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
            Self::Select(..) | Self::Op2(Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan, ..) => 2,
            Self::Operand => 0,
            Self::Rarely(rare, ..) => {
                tape.part(rare).map_or(0, |part| {
                    let alone = part.needs().map(|need| need.of(1)).max().unwrap_or(0);
                    // Operands of f32 wait beside their copies.
                    alone + if tape.format == Format::F32 { part.operands } else { 0 }
                })
            }
            _ => 1,
        }
    }
}

/// A function's steps.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) format: Format,
    /// Results are rounded to f32.
    short: bool,
    scales: bool,
    operands: usize,
    pub(super) steps: Vec<Step>,
    pub(super) result: Id,
}

/// Vector registers that are needed at once where several vectors are computed side by side: an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// For each of the vectors.
    pub each: usize,
    /// For whatever is done to one of them at a time.
    pub beside: usize,
}

impl Need {
    /// For so many vectors.
    pub fn of(self, vectors: usize) -> usize {
        self.each * vectors + self.beside
    }

    /// Enough for either of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { each: self.each.max(other.each), beside: self.beside.max(other.beside) }
    }

    /// With more for each of the vectors.
    #[must_use]
    pub fn and(self, each: usize) -> Self {
        Self { each: self.each + each, ..self }
    }
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
pub(super) fn form(function: Function, ty: Lane, scales: bool) -> Option<Tape> {
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
    form(function, Lane::F32, false).is_some_and(|tape| tape.is_long(Lane::F32))
}

/// The steps of the form for arguments near 0, and up to which magnitude it holds, where there is one.
pub(super) fn near(function: Function, ty: Lane, scales: bool) -> Option<(f64, Tape)> {
    let Function::Unary(op) = function else { return None };
    let limit = Function::near(op).filter(|_| ty == Lane::F32 && !scales)?;
    Some((limit, record(Function::Near(op), Format::F32, false, false)?))
}

/// Vector registers that the function may need on lanes of a type, its operands' included.
pub fn registers(function: Function, ty: Lane) -> Need {
    let Some(tape) = form(function, ty, false) else { return Need { each: 1, beside: 0 } };
    let alone = tape.needs().map(|need| need.of(1)).max().unwrap_or(0);
    let each = tape.operands;
    if tape.floats() != ty {
        // Operands of 32 bits wait beside their copies, whose conversion may take three.
        return Need { each, beside: alone.max(3) };
    }
    if tape.is_long(ty) {
        return Need { each, beside: alone.saturating_sub(each) };
    }
    let near = near(function, ty, false);
    let all = tape.needs().chain(near.iter().flat_map(|(_, near)| near.needs()));
    all.fold(Need { each, beside: 0 }, Need::or)
}

/// The constants of a function on lanes of f32, in the order in which several vectors side by side need them; none of long
/// ones.
pub fn constants(function: Function, scales: bool) -> Vec<u32> {
    let tape = near(function, Lane::F32, scales).map(|(_, near)| near);
    let Some(tape) = tape.or_else(|| form(function, Lane::F32, scales)) else { return Vec::new() };
    if tape.is_long(Lane::F32) {
        return Vec::new();
    }
    let mut list: Vec<u32> = Vec::new();
    for (step, uses) in tape.steps.iter().zip(tape.uses()) {
        if let Step::Const(bits) = step
            && uses > 0
            && !list.contains(&(*bits as u32))
        {
            list.push(*bits as u32);
        }
    }
    list
}

impl Tape {
    fn push(&mut self, step: Step) -> Id {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The steps of what hardly ever is needed: in f64.
    pub(super) fn part(&self, rare: Rare) -> Option<Tape> {
        record(Function::Rare(rare), Format::F64, self.short || self.format == Format::F32, false)
    }

    pub(super) fn is_constant(&self, id: Id) -> bool {
        matches!(self.steps[id], Step::Const(_))
    }

    pub(super) fn uses(&self) -> Vec<usize> {
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

    /// What each step needs.
    fn needs(&self) -> impl Iterator<Item = Need> {
        let mut left = self.uses();
        let mut held = vec![false; self.steps.len()];
        held[..self.operands].fill(true);
        self.steps.iter().enumerate().skip(self.operands).filter_map(move |(i, step)| {
            if self.is_constant(i) || left[i] == 0 {
                return None;
            }
            for a in step.operands().filter(|a| !self.is_constant(*a)) {
                left[a] -= 1;
            }
            let once = |a: &Id| step.operands().filter(|other| other == a).count() == 1;
            let dies = |a: &Id| !self.is_constant(*a) && left[*a] == 0 && once(a);
            // The operand whose place the result can take.
            let in_place = match *step {
                Step::Fma(c, a, b) => dies(&c) || dies(&b) || dies(&a) && !self.is_constant(b),
                Step::Select(_, a, _) | Step::Rarely(_, _, a, ..) => dies(&a),
                _ => step.operands().next().is_some_and(|a| dies(&a)),
            };
            let each = held.iter().filter(|h| **h).count() + usize::from(!in_place);
            step.operands().for_each(|a| held[a] &= left[a] > 0);
            held[i] = true;
            Some(Need { each, beside: step.beside(self) })
        })
    }

    /// Whether vectors are computed one after the other: those of 32 bits in f64, and parts that hardly ever are needed.
    pub(super) fn is_long(&self, ty: Lane) -> bool {
        self.floats() != ty || self.steps.iter().any(|step| matches!(step, Step::Rarely(..)))
    }

    /// What operations on numbers take the lanes for.
    pub(super) fn floats(&self) -> Lane {
        match self.format {
            Format::F32 => Lane::F32,
            Format::F64 => Lane::F64,
        }
    }

    /// What operations on integers take the lanes for.
    pub(super) fn integers(&self) -> Lane {
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
