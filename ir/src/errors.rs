//! Everything that is wrong with a model, at once.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// One or more errors of one stage, in the order in which the model gives rise to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

/// `Result` with every error of a stage.
pub type Result<T, E = Errors> = std::result::Result<T, E>;

impl Errors {
    /// The gravest kind among the errors: a bug of Kiln before what the machine refuses before a broken model before a
    /// missing feature.
    pub fn kind(&self) -> ErrorKind {
        let has = |kind| self.0.iter().any(|e| e.kind == kind);
        match () {
            () if self.0.is_empty() || has(ErrorKind::Internal) => ErrorKind::Internal,
            () if has(ErrorKind::Environment) => ErrorKind::Environment,
            () if has(ErrorKind::Invalid) => ErrorKind::Invalid,
            () if has(ErrorKind::IndexOutOfRange) => ErrorKind::IndexOutOfRange,
            () => ErrorKind::Unsupported,
        }
    }

    /// The process exit code: 1 environment, 3 invalid, 4 unsupported, 5 internal.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            ErrorKind::Environment => 1,
            ErrorKind::Invalid | ErrorKind::IndexOutOfRange => 3,
            ErrorKind::Unsupported => 4,
            ErrorKind::Internal => 5,
        }
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Errors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_error_decides() {
        let mut errors = Errors::from(Error::unsupported("a"));
        assert_eq!(errors.exit_code(), 4);
        errors.0.push(Error::invalid("b"));
        assert_eq!(errors.exit_code(), 3);
        errors.0.push(Error::environment("e"));
        assert_eq!(errors.exit_code(), 1);
        errors.0.push(Error::internal("c"));
        assert_eq!(errors.exit_code(), 5);
        assert_eq!(errors.to_string(), "a\nb\ne\nc");
    }
}
