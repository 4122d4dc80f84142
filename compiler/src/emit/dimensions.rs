//! Open dimensions in generated text: members of a struct of sizes, in the order of the dimensions' names, and extents as
//! expressions of them.

use std::fmt::Write;
use std::sync::Arc;

use kiln_ir::dim::{Atom, Bound};
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Bounds, Dim, Error, Result};

/// The language of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Members of what the pointer `sizes` leads to.
    C,
    /// Members of `sizes`.
    Rust,
}

impl Language {
    fn member(self, name: &str) -> String {
        match self {
            Self::C => format!("(sizes)->{name}"),
            Self::Rust => format!("sizes.{name}"),
        }
    }

    /// `x` where the comparison holds, else `y`.
    fn chosen(self, x: &str, comparison: char, y: &str) -> String {
        match self {
            Self::C => format!("({x} {comparison} {y} ? {x} : {y})"),
            Self::Rust => format!("(if {x} {comparison} {y} {{ {x} }} else {{ {y} }})"),
        }
    }
}

/// A member of the struct.
pub(super) struct Member<'a> {
    /// Its name in the language.
    pub(super) name: String,
    /// The dimension's name in the model.
    pub(super) symbol: &'a Arc<str>,
    /// Its bounds.
    pub(super) bound: Bound,
    /// The call tells it.
    pub(super) counted: bool,
}

/// The members.
pub(super) struct Members<'a> {
    pub(super) list: Vec<Member<'a>>,
    bounds: &'a Bounds,
    language: Language,
}

impl<'a> Members<'a> {
    /// A member for each dimension, its name as near to the dimension's as `stem` can make it.
    pub(super) fn new(plan: &'a Plan, language: Language, stem: impl Fn(&str) -> String) -> Self {
        let mut list: Vec<Member<'a>> = Vec::new();
        for (symbol, bound) in &plan.bounds {
            let stem = stem(symbol);
            let taken = |name: &String| list.iter().any(|m| m.name == *name);
            let mut numbered = (1..).map(|i| if i == 1 { stem.clone() } else { format!("{stem}_{i}") });
            let name = numbered.find(|name| !taken(name)).unwrap_or_default();
            list.push(Member { name, symbol, bound: *bound, counted: plan.is_counted(symbol) });
        }
        Self { list, bounds: &plan.bounds, language }
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// An extent as an expression of the struct.
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
                let member = self.list.iter().find(|m| m.symbol == symbol);
                let member = member
                    .ok_or_else(|| Error::internal(format!("the dimension '{symbol}' has no bounds")))?;
                self.language.member(&member.name)
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
                self.language.chosen(&x, '>', &y)
            }
            Atom::Min(x, y) => {
                let (x, y) = operands(x, y)?;
                self.language.chosen(&x, '<', &y)
            }
            Atom::Unknown => return Err(Error::internal("an extent that was too long to be written out")),
        })
    }
}
