//! The one error type of Kiln's lower layers.
//!
//! The command line maps the kinds to exit codes: *invalid* (the model breaks the ONNX rules) and *index out of
//! range* (an index in the model or in the data of a run does) to 3, *unsupported* (valid, not compiled yet) to 4,
//! *internal* (our own bug) to 5 and *environment* (the machine has no memory or space, or refuses access) to 1. None
//! of them may ever become a wrong answer.

use std::fmt;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The model or an input breaks the rules of ONNX or of the file format.
    Invalid,
    /// An index, as a rule one that a run was given, is outside the axis that it is for: what compiled code reports
    /// by the status of the same name.
    IndexOutOfRange,
    /// Valid, but not compiled yet.
    Unsupported,
    /// A broken invariant of Kiln itself.
    Internal,
    /// What the machine refuses: memory, space, access. Neither the model nor Kiln is at fault.
    Environment,
}

/// An error with the place it belongs to and, where there is one, what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// The node's name in the model, empty when no node is concerned.
    pub node: String,
    /// The operator, for instance `Conv`, empty when no operator is concerned.
    pub op: String,
    /// What is wrong, with the value that is wrong.
    pub message: String,
    /// What the user can do, empty when there is nothing to say.
    pub hint: String,
}

/// `Result` with Kiln's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, node: String::new(), op: String::new(), message: message.into(), hint: String::new() }
    }

    /// The model is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An index is outside an axis of `extent` elements, which may be counted from either end.
    pub fn index_out_of_range(index: i64, extent: i64) -> Self {
        Self::new(ErrorKind::IndexOutOfRange, format!("index {index} is outside [-{extent}, {extent})"))
    }

    /// The model is right and Kiln is not there yet.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Kiln is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The machine refuses.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Environment, message)
    }

    /// Adds what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Names the node and its operator, unless an inner place has been named already.
    pub fn at(mut self, node: &str, op: &str) -> Self {
        if self.node.is_empty() && self.op.is_empty() {
            self.node = node.to_owned();
            self.op = op.to_owned();
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.node.is_empty(), self.op.is_empty()) {
            (false, false) => write!(f, "node '{}' ({}): ", Printable(&self.node), Printable(&self.op))?,
            (false, true) => write!(f, "node '{}': ", Printable(&self.node))?,
            (true, false) => write!(f, "{}: ", Printable(&self.op))?,
            (true, true) => {}
        }
        write!(f, "{}", Printable(&self.message))?;
        if !self.hint.is_empty() {
            write!(f, "; {}", Printable(&self.hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Displays text from a model file with its control characters escaped, so that no name reaches a terminal raw.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// Returns early with an *invalid* error: `bail_invalid!("axis {axis} is outside rank {rank}")`.
#[macro_export]
macro_rules! bail_invalid {
    ($($arg:tt)*) => { return Err($crate::Error::invalid(format!($($arg)*))) };
}

/// Returns early with an *unsupported* error.
#[macro_export]
macro_rules! bail_unsupported {
    ($($arg:tt)*) => { return Err($crate::Error::unsupported(format!($($arg)*))) };
}

/// Returns early with an *internal* error.
#[macro_export]
macro_rules! bail_internal {
    ($($arg:tt)*) => { return Err($crate::Error::internal(format!($($arg)*))) };
}
