//! Procedures, once for both interpreters of kernels.
//!
//! Results are written to copies first, from which statements read what they have written; every element that was written goes
//! where it belongs in the end, once.

use std::collections::BTreeMap;

use super::code::{Code, Flat, Loops, Storage, for_each, put};
use super::level::{Level, Sink, code, dtype_of};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::procedure::{Procedure, Statement};
use crate::types::DType;

/// A level whose loads of results are let through.
struct Own<'a, L> {
    level: &'a mut L,
    /// Positions in memory of what is written.
    results: Vec<usize>,
}

impl<L: Level> Level for Own<'_, L> {
    type Access = L::Access;

    fn dtype(&self, access: &L::Access) -> DType {
        self.level.dtype(access)
    }

    fn load(&mut self, access: &L::Access) -> Result<Flat> {
        let (own, _) = self.level.result(access)?;
        if self.results.contains(&own.buffer) { Ok(own) } else { self.level.load(access) }
    }

    fn store(&mut self, access: &L::Access, clipped: bool) -> Result<Flat> {
        self.level.store(access, clipped)
    }

    fn result(&mut self, access: &L::Access) -> Result<(Flat, usize)> {
        self.level.result(access)
    }

    fn size(&self, size: &Dim) -> Result<i64> {
        self.level.size(size)
    }

    fn parts(&mut self) -> (&[Storage], &mut dyn Sink) {
        self.level.parts()
    }
}

/// A store: where it goes among the results, where in memory, and what is written.
struct Target {
    to: Flat,
    own: Flat,
    value: Code,
}

/// What runs, with the state of a run.
struct Machine<'a> {
    extents: &'a [i64],
    terms: Vec<Code>,
    targets: Vec<Target>,
    memory: Vec<Storage>,
    /// By position in memory and element: the store that wrote it last.
    written: BTreeMap<(usize, i64), usize>,
}

/// Runs a procedure.
pub(super) fn run<L: Level>(p: &Procedure<L::Access>, loops: &Loops, level: &mut L) -> Result<()> {
    p.check()?;
    let mut places = Vec::new();
    let mut bytes = BTreeMap::new();
    for store in &p.stores {
        let to = level.store(&store.to, false)?;
        let (own, size) = level.result(&store.to)?;
        bytes.insert(own.buffer, size);
        places.push((to, own));
    }
    let mut level = Own { level, results: bytes.keys().copied().collect() };
    let mut targets = Vec::new();
    for ((to, own), store) in places.into_iter().zip(&p.stores) {
        let dtype = dtype_of(&level, &store.value, None)?;
        if dtype != to.dtype {
            return Err(Error::internal(format!("stores {dtype} to {}", to.dtype)));
        }
        targets.push(Target { to, own, value: code(&mut level, &store.value, None)? });
    }
    let terms = p.terms.iter().map(|t| code(&mut level, t, None)).collect::<Result<_>>()?;
    let mut memory = level.parts().0.to_vec();
    for (place, size) in bytes {
        memory[place] = Storage::Owned(vec![0; size]);
    }
    let written = BTreeMap::new();
    let mut machine = Machine { extents: &loops.extents, terms, targets, memory, written };
    let mut iteration = vec![0; loops.extents.len()];
    let mut outcome = Ok(());
    for_each(&loops.parallel, &loops.extents, &mut iteration, |iteration| {
        if outcome.is_ok() {
            outcome = machine.all(&p.body, iteration);
        }
    });
    outcome?;
    let (_, sink) = level.parts();
    for ((place, element), store) in &machine.written {
        let to = &machine.targets[*store].to;
        let bits = super::code::get(machine.memory[*place].bytes(), to.dtype.size() * 8, *element as usize);
        sink.put(to, *element, &iteration, bits);
    }
    Ok(())
}

impl Machine<'_> {
    fn term(&self, term: usize, iteration: &[i64]) -> u64 {
        self.terms[term].eval(iteration, 0, &self.memory)
    }

    fn all(&mut self, body: &[Statement], iteration: &mut [i64]) -> Result<()> {
        body.iter().try_for_each(|s| self.statement(s, iteration))
    }

    fn statement(&mut self, s: &Statement, iteration: &mut [i64]) -> Result<()> {
        match s {
            Statement::For(l, body) => {
                for count in 0..self.extents[l.0 as usize] {
                    iteration[l.0 as usize] = count;
                    self.all(body, iteration)?;
                }
            }
            Statement::While(term, body) => {
                while self.term(*term, iteration) != 0 {
                    self.all(body, iteration)?;
                }
            }
            Statement::If(term, then, otherwise) => {
                let taken = if self.term(*term, iteration) != 0 { then } else { otherwise };
                self.all(taken, iteration)?;
            }
            Statement::Set(l, term) => {
                let (value, extent) = (self.term(*term, iteration) as i64, self.extents[l.0 as usize]);
                if !(0..extent).contains(&value) {
                    return Err(Error::index_out_of_range(value, extent));
                }
                iteration[l.0 as usize] = value;
            }
            Statement::Store(n) => {
                let Target { own, value, .. } = &self.targets[*n];
                let bits = value.eval(iteration, 0, &self.memory);
                let Some(element) = own.locate(iteration, &self.memory) else { return Ok(()) };
                let (place, width) = (own.buffer, own.dtype.size() * 8);
                let Storage::Owned(bytes) = &mut self.memory[place] else {
                    return Err(Error::internal("a result that is not written"));
                };
                if element < 0 || (element as usize + 1) * width > bytes.len() * 8 {
                    return Err(Error::internal(format!("element {element} of a result is outside of it")));
                }
                put(bytes, width, element as usize, bits);
                self.written.insert((place, element), *n);
            }
        }
        Ok(())
    }
}
