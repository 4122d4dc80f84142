//! Procedures: statements that run in order, for what is no nest of loops over elements: scattering, selecting, merging.
//!
//! ```text
//! procedure "y" [b: 8 | i: 100, at: 1000] {
//!   for i {
//!     at = i64(%indices[b, i])
//!     %y[b, at] = %y[b, at] + %updates[b, i]
//!   }
//! }
//! ```
//!
//! Every iteration of the parallel loops runs the statements once. The kernel's other loops are counters: one that `for` counts
//! from 0 up to its extent, or one that statements set, a *register*. Both lie from 0 to below the loop's extent, so that what is
//! known of loops holds for them: accesses are indexed by them, with strides in a plan, and stay inside their buffers. Setting a
//! register to another value ends the iteration, and the run with it: an index is out of range.
//!
//! What a procedure writes it may read: elements that it has written in the same iteration.

use super::access::{Access, LoopId};
use super::expr::Expr;
use super::store::Store;
use crate::error::{Error, Result};

/// A statement. Expressions and stores are named by their positions in the procedure's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Runs statements for every value of a counter.
    For(LoopId, Vec<Statement>),
    /// Runs statements as long as a condition holds.
    While(usize, Vec<Statement>),
    /// Runs the first statements if a condition holds, else the second ones.
    If(usize, Vec<Statement>, Vec<Statement>),
    /// Sets a register to a value of type i64.
    Set(LoopId, usize),
    /// Writes an element.
    Store(usize),
}

/// Statements with what they compute and write. Positions of both lists are in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Procedure<A = Access> {
    /// What runs.
    pub body: Vec<Statement>,
    /// Conditions and values of registers.
    pub terms: Vec<Expr<A>>,
    /// Elements that are written.
    pub stores: Vec<Store<A>>,
}

impl<A> Default for Procedure<A> {
    fn default() -> Self {
        Self { body: vec![], terms: vec![], stores: vec![] }
    }
}

/// Makes a [`Procedure`], a statement after the other.
#[derive(Debug)]
pub struct Steps<A = Access> {
    made: Procedure<A>,
}

impl<A> Default for Steps<A> {
    fn default() -> Self {
        Self { made: Procedure::default() }
    }
}

impl<A> Steps<A> {
    fn term(&mut self, value: Expr<A>) -> usize {
        self.made.terms.push(value);
        self.made.terms.len() - 1
    }

    fn inside<E>(&mut self, body: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<Vec<Statement>, E> {
        let before = std::mem::take(&mut self.made.body);
        let done = body(self);
        let inner = std::mem::replace(&mut self.made.body, before);
        done.map(|()| inner)
    }

    /// Sets a register.
    pub fn set(&mut self, l: LoopId, value: Expr<A>) {
        let value = self.term(value);
        self.made.body.push(Statement::Set(l, value));
    }

    /// Writes an element.
    pub fn store(&mut self, to: A, value: Expr<A>) {
        self.made.stores.push(Store { to, value });
        self.made.body.push(Statement::Store(self.made.stores.len() - 1));
    }

    /// Statements for every value of a counter.
    pub fn each<E>(&mut self, l: LoopId, body: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let inner = self.inside(body)?;
        self.made.body.push(Statement::For(l, inner));
        Ok(())
    }

    /// Statements inside of counters, the first one outermost.
    pub fn nest<E>(
        &mut self,
        loops: &[LoopId],
        body: &mut dyn FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        match loops.split_first() {
            Some((l, rest)) => self.each(*l, |steps| steps.nest(rest, body)),
            None => body(self),
        }
    }

    /// Statements as long as a condition holds.
    pub fn repeat<E>(
        &mut self,
        condition: Expr<A>,
        body: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let condition = self.term(condition);
        let inner = self.inside(body)?;
        self.made.body.push(Statement::While(condition, inner));
        Ok(())
    }

    /// One or the other.
    pub fn choose<E>(
        &mut self,
        condition: Expr<A>,
        then: impl FnOnce(&mut Self) -> Result<(), E>,
        otherwise: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let condition = self.term(condition);
        let then = self.inside(then)?;
        let otherwise = self.inside(otherwise)?;
        self.made.body.push(Statement::If(condition, then, otherwise));
        Ok(())
    }

    /// What was made.
    pub fn finish(self) -> Procedure<A> {
        self.made
    }
}

impl Statement {
    /// Statements inside.
    pub fn inner(&self) -> Vec<&[Statement]> {
        match self {
            Self::For(_, body) | Self::While(_, body) => vec![body],
            Self::If(_, then, otherwise) => vec![then, otherwise],
            Self::Set(..) | Self::Store(_) => vec![],
        }
    }

    /// Calls `f` with this statement and all inside, in order.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Statement)) {
        f(self);
        self.inner().into_iter().flatten().for_each(|s| s.walk(f));
    }

    fn renumber(&mut self, f: &dyn Fn(LoopId) -> LoopId) {
        match self {
            Self::For(l, body) => {
                *l = f(*l);
                body.iter_mut().for_each(|s| s.renumber(f));
            }
            Self::While(_, body) => body.iter_mut().for_each(|s| s.renumber(f)),
            Self::If(_, then, otherwise) => {
                then.iter_mut().chain(otherwise).for_each(|s| s.renumber(f));
            }
            Self::Set(l, _) => *l = f(*l),
            Self::Store(_) => {}
        }
    }
}

impl<A> Procedure<A> {
    /// Every statement, those inside of others too, in order.
    pub fn statements(&self) -> Vec<&Statement> {
        let mut all = Vec::new();
        self.body.iter().for_each(|s| s.walk(&mut |s| all.push(s)));
        all
    }

    /// Loops that statements set, once, ascending.
    pub fn registers(&self) -> Vec<LoopId> {
        let set = |s: &&Statement| if let Statement::Set(l, _) = s { Some(*l) } else { None };
        let mut all: Vec<LoopId> = self.statements().iter().filter_map(set).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether a statement names a loop.
    pub fn names(&self, l: LoopId) -> bool {
        self.statements()
            .into_iter()
            .any(|s| matches!(s, Statement::For(x, _) | Statement::Set(x, _) if *x == l))
    }

    /// Gives loops that statements name other ids.
    pub(super) fn renumber(&mut self, f: &dyn Fn(LoopId) -> LoopId) {
        self.body.iter_mut().for_each(|s| s.renumber(f));
    }

    /// Refuses positions that are in no list or not in the order of the text, and loops that are counted by `for` inside
    /// themselves or are registers as well.
    ///
    /// # Errors
    ///
    /// What is wrong, as an internal error.
    pub fn check(&self) -> Result<()> {
        let (mut terms, mut stores) = (0, 0);
        for s in self.statements() {
            match s {
                Statement::While(t, _) | Statement::If(t, ..) | Statement::Set(_, t) => {
                    if *t != terms {
                        return Err(Error::internal(format!(
                            "term {t} of a procedure stands in place {terms}"
                        )));
                    }
                    terms += 1;
                }
                Statement::Store(n) => {
                    if *n != stores {
                        return Err(Error::internal(format!(
                            "store {n} of a procedure stands in place {stores}"
                        )));
                    }
                    stores += 1;
                }
                Statement::For(..) => {}
            }
        }
        if (terms, stores) != (self.terms.len(), self.stores.len()) {
            return Err(Error::internal("a procedure has terms or stores that no statement names"));
        }
        let registers = self.registers();
        self.body.iter().try_for_each(|s| nested(s, &registers, &mut Vec::new()))
    }
}

fn nested(s: &Statement, registers: &[LoopId], open: &mut Vec<LoopId>) -> Result<()> {
    let counted = if let Statement::For(l, _) = s { Some(*l) } else { None };
    if let Some(l) = counted {
        if open.contains(&l) || registers.contains(&l) {
            return Err(Error::internal(format!("loop #{} is counted twice at once, or set as well", l.0)));
        }
        open.push(l);
    }
    s.inner().into_iter().flatten().try_for_each(|s| nested(s, registers, open))?;
    if counted.is_some() {
        open.pop();
    }
    Ok(())
}
