//! Open dimensions in a header: the struct of sizes, its bounds, and expressions of it.

use std::fmt::Write;

use kiln_ir::dim::Atom;
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Bounds, Dim, Error, Result};

use super::text::c_string;
use crate::names::{c_identifier, is_c_identifier};

/// Members of the struct of sizes, in the order of the dimensions' names.
pub(super) struct Members<'a> {
    plan: &'a Plan,
    bounds: &'a Bounds,
    /// In the order of the dimensions.
    pub(super) names: Vec<String>,
}

impl<'a> Members<'a> {
    /// A member for each dimension, as near to its name as C allows.
    pub(super) fn new(plan: &'a Plan) -> Self {
        let bounds = &plan.bounds;
        let mut names: Vec<String> = Vec::new();
        for symbol in bounds.keys() {
            let stem = if is_c_identifier(symbol) { symbol.to_string() } else { c_identifier(symbol) };
            let numbered = (1..).map(|i| if i == 1 { stem.clone() } else { format!("{stem}_{i}") });
            names.extend(numbered.into_iter().find(|name| !names.contains(name)));
        }
        Self { plan, bounds, names }
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The struct, and what is known of each dimension. Nothing where there is none.
    pub(super) fn text(&self, name: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut out = String::from("\n/* Dimensions that every call has sizes of its own for. */\n");
        let _ = writeln!(out, "#define {name}_DIMS {}", self.names.len());
        for (i, (symbol, bound)) in self.bounds.iter().enumerate() {
            let _ = write!(
                out,
                "#define {name}_DIM_{i}_NAME {}\n#define {name}_DIM_{i}_MIN {}\n#define {name}_DIM_{i}_MAX {}\n",
                c_string(symbol),
                bound.lo,
                bound.hi
            );
        }
        let _ = writeln!(out, "typedef struct {name}_sizes {{");
        for (i, (member, (symbol, bound))) in self.names.iter().zip(self.bounds).enumerate() {
            let told = if self.plan.is_counted(symbol) { ": the call tells it" } else { "" };
            let _ = writeln!(
                out,
                "    int64_t {member}; /* {name}_DIM_{i}_NAME, from {} to {}{told} */",
                bound.lo, bound.hi
            );
        }
        let _ = writeln!(out, "}} {name}_sizes;");
        out
    }

    /// An assignment to every member, for the example.
    pub(super) fn example(&self, name: &str) -> String {
        let list: Vec<String> = self
            .names
            .iter()
            .zip(self.bounds)
            .filter(|(_, (symbol, _))| !self.plan.is_counted(symbol))
            .map(|(member, (_, bound))| format!(".{member} = {}", bound.typical))
            .collect();
        let list = if list.is_empty() { "0".to_owned() } else { list.join(", ") };
        format!(" *     {name}_sizes sizes = {{ {list} }};\n")
    }

    /// An extent as a C expression of a pointer to the struct, the macro's argument `sizes`.
    pub(super) fn expression(&self, dim: &Dim) -> Result<String> {
        if let Some(value) = dim.as_const() {
            return Ok(value.to_string());
        }
        let mut sum = String::new();
        for (atoms, coefficient) in dim.terms() {
            let mut factors = atoms.iter().map(|atom| self.atom(atom)).collect::<Result<Vec<_>>>()?;
            if coefficient != 1 || factors.is_empty() {
                factors.insert(0, coefficient.to_string());
            }
            let plus = if sum.is_empty() { "" } else { " + " };
            let _ = write!(sum, "{plus}{}", factors.join(" * "));
        }
        Ok(format!("({sum})"))
    }

    fn atom(&self, atom: &Atom) -> Result<String> {
        let operands = |x: &Dim, y: &Dim| Ok::<_, Error>((self.expression(x)?, self.expression(y)?));
        Ok(match atom {
            Atom::Symbol(symbol) => {
                let member = self.bounds.keys().zip(&self.names).find(|(s, _)| *s == symbol);
                let (_, member) = member
                    .ok_or_else(|| Error::internal(format!("the dimension '{symbol}' has no bounds")))?;
                format!("(sizes)->{member}")
            }
            Atom::FloorDiv(x, y) => {
                let least = |d: &Dim| d.range(self.bounds).map_or(-1, |r| r.0);
                if least(x) < 0 || least(y) <= 0 {
                    return Err(Error::unsupported(format!(
                        "an extent of {x} divided by {y}, which may be negative"
                    ))
                    .hint("bind its dimensions with --dim"));
                }
                let (x, y) = operands(x, y)?;
                format!("({x} / {y})")
            }
            Atom::Max(x, y) => {
                let (x, y) = operands(x, y)?;
                format!("({x} > {y} ? {x} : {y})")
            }
            Atom::Min(x, y) => {
                let (x, y) = operands(x, y)?;
                format!("({x} < {y} ? {x} : {y})")
            }
            Atom::Unknown => return Err(Error::internal("an extent that was too long to be written out")),
        })
    }
}
