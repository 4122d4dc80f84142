//! Dimensions as text.

use std::fmt;
use std::sync::Arc;

use super::{Atom, Dim, Sum};

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Expr(sum) = self else { return write!(f, "{}", self.as_const().unwrap_or(0)) };
        // The constant comes last: `seq + 1`.
        let terms = sum
            .terms
            .iter()
            .filter(|(a, _)| !a.is_empty())
            .chain(sum.terms.iter().filter(|(a, _)| a.is_empty()));
        for (i, (atoms, coefficient)) in terms.enumerate() {
            match (i, *coefficient < 0) {
                (0, true) => write!(f, "-")?,
                (0, false) => {}
                (_, true) => write!(f, " - ")?,
                (_, false) => write!(f, " + ")?,
            }
            let size = coefficient.unsigned_abs();
            if size != 1 || atoms.is_empty() {
                write!(f, "{size}")?;
                if !atoms.is_empty() {
                    write!(f, "*")?;
                }
            }
            for (j, atom) in atoms.iter().enumerate() {
                if j > 0 {
                    write!(f, "*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) => write!(f, "{}", quote_symbol(name)),
            Self::Unknown => write!(f, "?"),
            Self::FloorDiv(a, b) => write!(f, "floordiv({a}, {b})"),
            Self::Max(a, b) => write!(f, "max({a}, {b})"),
            Self::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Dim::Expr(Arc::new(self.clone())))
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A symbol as it stands in text: bare when it is an identifier, else `$"..."`.
fn quote_symbol(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(name, "floordiv" | "max" | "min");
    if plain { name.to_owned() } else { format!("${name:?}") }
}
