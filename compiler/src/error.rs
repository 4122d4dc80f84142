//! What may go wrong on the way from a model to an artefact.

use std::fmt;
use std::io;
use std::path::PathBuf;

use kiln_ir::{Error, Errors};

/// Why there is no artefact.
#[derive(Debug)]
pub enum BuildError {
    /// The model is at fault, or Kiln.
    Model(Errors),
    /// A file could not be written.
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(errors) => write!(f, "{errors}"),
            Self::Write { path, error } => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<Errors> for BuildError {
    fn from(errors: Errors) -> Self {
        Self::Model(errors)
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        Self::Model(error.into())
    }
}
