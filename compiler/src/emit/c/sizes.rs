//! Expressions of open dimensions as C, each computed once: at the start of a run, or when what it follows from is counted.

use std::fmt::Write as _;

use kiln_ir::dim::Atom;
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Bounds, Dim, Error, Result};

/// Variables of sizes: `int64_t d0` for each expression.
pub(super) struct Sizes<'a> {
    bounds: &'a Bounds,
    known: Vec<(Dim, String)>,
    variables: usize,
    /// Declarations that were not taken yet.
    pub(super) text: String,
}

impl<'a> Sizes<'a> {
    /// The open dimensions, in the order of their names, as a list of the caller's: those that it tells.
    pub(super) fn new(plan: &'a Plan, list: &str) -> Self {
        let told = plan.bounds.keys().enumerate().filter(|(_, symbol)| !plan.is_counted(symbol));
        let known = told.map(|(i, symbol)| (Dim::symbol(symbol), format!("{list}[{i}]"))).collect();
        Self { bounds: &plan.bounds, known, variables: 0, text: String::new() }
    }

    /// How much is known so far.
    pub(super) fn extent(&self) -> usize {
        self.known.len()
    }

    /// Only that is known from here on.
    pub(super) fn forget(&mut self, extent: usize) {
        self.known.truncate(extent);
    }

    /// A dimension has a value from here on.
    pub(super) fn tell(&mut self, symbol: &str, value: String) {
        self.known.push((Dim::symbol(symbol), value));
    }

    /// Whether a size follows from what has been told.
    pub(super) fn follows(&self, size: &Dim) -> bool {
        size.symbols().iter().all(|name| self.known.iter().any(|(known, _)| *known == Dim::symbol(name)))
    }

    /// A variable or number that has the value.
    pub(super) fn value(&mut self, size: &Dim) -> Result<String> {
        if let Some(value) = size.as_const() {
            return Ok(value.to_string());
        }
        if let Some((_, name)) = self.known.iter().find(|(known, _)| known == size) {
            return Ok(name.clone());
        }
        let mut sum = Vec::new();
        for (atoms, coefficient) in size.terms() {
            let mut factors = atoms.iter().map(|atom| self.atom(atom)).collect::<Result<Vec<_>>>()?;
            if coefficient != 1 || factors.is_empty() {
                factors.insert(0, format!("(int64_t){coefficient}"));
            }
            sum.push(factors.join(" * "));
        }
        let value = if sum.is_empty() { "0".to_owned() } else { sum.join(" + ") };
        let name = self.variable(&value);
        self.known.push((size.clone(), name.clone()));
        Ok(name)
    }

    fn variable(&mut self, value: &str) -> String {
        let name = format!("d{}", self.variables);
        self.variables += 1;
        let _ = writeln!(self.text, "    const int64_t {name} = {value};");
        name
    }

    fn atom(&mut self, atom: &Atom) -> Result<String> {
        Ok(match atom {
            Atom::Symbol(name) => {
                let symbol = Dim::symbol(name);
                let found = self.known.iter().find(|(known, _)| *known == symbol);
                let missing = || Error::internal(format!("the dimension '{name}' has no value"));
                found.map(|(_, value)| value.clone()).ok_or_else(missing)?
            }
            Atom::FloorDiv(dividend, divisor) => {
                if divisor.range(self.bounds).is_none_or(|(least, _)| least <= 0) {
                    return Err(Error::unsupported(format!(
                        "a size that is divided by {divisor}, which may be 0"
                    ))
                    .hint("bind its dimensions with --dim"));
                }
                let (n, by) = (self.value(dividend)?, self.value(divisor)?);
                // Towards zero, and one less where a negative number leaves something.
                self.variable(&format!("({n}) / ({by}) - (({n}) % ({by}) < 0)"))
            }
            Atom::Max(x, y) => {
                let (x, y) = (self.value(x)?, self.value(y)?);
                self.variable(&format!("{x} > {y} ? {x} : {y}"))
            }
            Atom::Min(x, y) => {
                let (x, y) = (self.value(x)?, self.value(y)?);
                self.variable(&format!("{x} < {y} ? {x} : {y}"))
            }
            Atom::Unknown => return Err(Error::internal("a size that was too long to be written out")),
        })
    }
}
