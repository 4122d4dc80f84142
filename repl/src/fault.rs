//! What goes wrong in a session, and where in the line.

use std::fmt;
use std::ops::Range;

use kiln_ir::{Error, ErrorKind, Errors};

/// Why a statement or a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it; may be empty.
    pub(crate) hint: String,
    /// The mistake's place in the text, in bytes.
    pub(crate) span: Option<Range<usize>>,
    /// Whether somebody asked for the end of it.
    pub(crate) interrupted: bool,
}

/// `Result` of a session.
pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// Something is wrong, nobody knows where in the text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: String::new(), span: None, interrupted: false }
    }

    /// Something is wrong there.
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::new(message) }
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self { interrupted: true, ..Self::new("interrupted") }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The place, unless an inner one is known.
    pub(crate) fn within(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    /// The text of the mistake with a caret below each character of it; empty where its place is not known.
    pub(crate) fn caret(&self, text: &str) -> String {
        let Some(span) = &self.span else { return String::new() };
        let from = floor(text, span.start);
        let line_start = text[..from].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[from..].find('\n').map_or(text.len(), |i| from + i);
        let to = floor(text, span.end).clamp(from, line_end);
        let blank = " ".repeat(text[line_start..from].chars().count());
        let carets = "^".repeat(text[from..to].chars().count().max(1));
        format!("  {}\n  {blank}{carets}", &text[line_start..line_end])
    }
}

/// The nearest boundary of characters at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let hint = error.hint.clone();
        let bug = if error.kind == ErrorKind::Internal { "internal error: " } else { "" };
        Self::new(format!("{bug}{}", Error { hint: String::new(), ..error })).hint(hint)
    }
}

/// Errors of a list that are told.
const TOLD: usize = 5;

impl From<Errors> for Fault {
    fn from(errors: Errors) -> Self {
        let mut list: Vec<Self> = errors.0.into_iter().map(Self::from).collect();
        if list.len() == 1 {
            return list.remove(0);
        }
        let more = list.len().saturating_sub(TOLD);
        let hint = list.first().map(|f| f.hint.clone()).unwrap_or_default();
        let mut lines: Vec<String> = list.into_iter().take(TOLD).map(|f| f.message).collect();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        Self::new(lines.join("\n  ")).hint(hint)
    }
}

impl From<kiln_compiler::Error> for Fault {
    fn from(error: kiln_compiler::Error) -> Self {
        use kiln_compiler::Error as E;
        match error {
            E::Invalid(list) | E::Unsupported(list) | E::Environment(list) | E::Internal(list) => list.into(),
            E::UnboundDimensions(_) => {
                Self::new(error.to_string()).hint(":set dim.NAME N gives one its value")
            }
            other => Self::new(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_the_mistake() {
        let text = "x = 1\ny = Rélu(x)";
        let fault = Fault::at(10..15, "no such operator");
        assert_eq!(fault.caret(text), "  y = Rélu(x)\n      ^^^^");
        assert_eq!(Fault::at(99..99, "end").caret("ab"), "  ab\n    ^");
        assert_eq!(Fault::new("somewhere").caret(text), "");
    }
}
