//! What the text forms of both IR levels share: tokens, names, dimensions, types, literals and tensors.
//!
//! Values print as `%name`, constants as `@name`; names that are no run of letters, digits, `_` and `.` are quoted.
//! Comments run from `//` to the end of the line.

mod cursor;
mod literal;
mod tensor;
#[cfg(test)]
pub(crate) mod testing;

use cursor::is_name_char;
pub(crate) use cursor::{Cursor, Token};
pub(crate) use literal::{literal_text, scalar_text};
pub(crate) use tensor::{tensor_text, typed_tensor_text};

use crate::dim::{Bound, Bounds, Dim};
use crate::error::Result;
use crate::types::{DType, Shape, TensorType};

/// A name behind its sigil.
pub(crate) fn name_text(sigil: char, name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_name_char) {
        format!("{sigil}{name}")
    } else {
        format!("{sigil}{name:?}")
    }
}

/// Whether a name can stand without quotes and sigil where identifiers stand.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `items` with `, ` between them.
pub(crate) fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

/// `  dim batch = 1..8` for every symbol, a line each; `1..8:4` where something else than the mean is typical.
pub(crate) fn bounds_text(word: &str, bounds: &Bounds, indent: &str) -> String {
    let line = |(s, bound): (&std::sync::Arc<str>, &Bound)| {
        let Bound { lo, hi, typical } = *bound;
        let typical = if *bound == Bound::from((lo, hi)) { String::new() } else { format!(":{typical}") };
        format!("{indent}{word} {} = {lo}..{hi}{typical}\n", Dim::symbol(s))
    };
    bounds.iter().map(line).collect()
}

impl Cursor {
    /// The name of a dimension.
    pub(crate) fn symbol(&mut self) -> Result<String> {
        match self.next() {
            Token::Ident(name) | Token::Symbol(name) => Ok(name),
            other => Err(self.error_before(format!("the name of a dimension expected, found {other}"))),
        }
    }

    /// What follows `dim`: `batch = 1..8` or `batch = 1..8:4`.
    pub(crate) fn bound(&mut self, bounds: &mut Bounds) -> Result<()> {
        let name = self.symbol()?;
        self.expect("=")?;
        let lo = self.integer()?;
        self.expect("..")?;
        let hi = self.integer()?;
        let mut bound = Bound::from((lo, hi));
        if self.eat(":") {
            bound.typical = self.integer()?;
        }
        bounds.insert(name.into(), bound);
        Ok(())
    }

    /// `f32[batch, 3]`.
    pub(crate) fn tensor_type(&mut self) -> Result<TensorType> {
        let dtype = self.dtype()?;
        self.expect("[")?;
        let dims = self.list("]", Self::dim)?;
        Ok(TensorType::new(dtype, Shape(dims)))
    }

    /// `f32`.
    pub(crate) fn dtype(&mut self) -> Result<DType> {
        let name = self.ident()?;
        DType::parse(&name).ok_or_else(|| self.error_before(format!("'{name}' is no element type")))
    }

    /// A dimension: `2*seq + 1`, `floordiv(a, 2)`.
    pub(crate) fn dim(&mut self) -> Result<Dim> {
        let mut sum = Dim::Const(0);
        let mut negative = self.eat("-");
        loop {
            // The least integer has no positive counterpart: its sign belongs to the number.
            let signed = negative && matches!(self.peek(), Token::Number(_));
            if signed {
                self.back();
            }
            let mut term = if signed { Dim::Const(self.integer()?) } else { self.dim_factor()? };
            while self.eat("*") {
                term = term * self.dim_factor()?;
            }
            sum = if negative && !signed { sum - term } else { sum + term };
            if self.eat("+") {
                negative = false;
            } else if self.eat("-") {
                negative = true;
            } else {
                return Ok(sum);
            }
        }
    }

    /// A factor of a dimension's term: a number, a symbol, a call or a sum in parentheses.
    pub(crate) fn dim_factor(&mut self) -> Result<Dim> {
        let token = self.next();
        match token {
            Token::Number(_) | Token::Punct("-") => {
                self.back();
                Ok(Dim::Const(self.integer()?))
            }
            Token::Symbol(name) => Ok(Dim::symbol(&name)),
            Token::Punct("(") => {
                let dim = self.nested(Self::dim)?;
                self.expect(")")?;
                Ok(dim)
            }
            Token::Ident(name) if matches!(&name[..], "floordiv" | "max" | "min") => {
                self.expect("(")?;
                let a = self.nested(Self::dim)?;
                self.expect(",")?;
                let b = self.nested(Self::dim)?;
                self.expect(")")?;
                match &name[..] {
                    "max" => Ok(a.max_with(&b)),
                    "min" => Ok(a.min_with(&b)),
                    _ => a.floor_div(&b).ok_or_else(|| self.error_before("division by zero")),
                }
            }
            Token::Ident(name) => Ok(Dim::symbol(&name)),
            other => Err(self.error_before(format!("a dimension expected, found {other}"))),
        }
    }
}

/// Parses a dimension on its own.
pub fn parse_dim(text: &str) -> Result<Dim> {
    let mut cursor = Cursor::new(text)?;
    let dim = cursor.dim()?;
    cursor.end()?;
    Ok(dim)
}

/// Parses a tensor type on its own: `f32[batch, 3]`.
pub fn parse_type(text: &str) -> Result<TensorType> {
    let mut cursor = Cursor::new(text)?;
    let ty = cursor.tensor_type()?;
    cursor.end()?;
    Ok(ty)
}
