//! What may go wrong between a model and its results.

use std::fmt;
use std::io;
use std::path::PathBuf;

use kiln_ir::{ErrorKind, Errors};

/// Why there is no artefact, or no result.
///
/// Lists hold everything that is wrong at once: each entry names the node, the operator, the value and what to do.
///
/// ```
/// use kiln_compiler::{Compiler, Error};
///
/// match Compiler::from_bytes(b"no model".to_vec()).jit(1) {
///     Ok(_) => unreachable!(),
///     Err(Error::Unsupported(list)) => list.0.iter().for_each(|e| println!("{}: {}", e.op, e.message)),
///     Err(Error::Write { path, disk_full: true, .. }) => println!("no room for {}", path.display()),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The model or an input breaks the rules of ONNX, or an option asks for what makes no sense.
    Invalid(Errors),
    /// The model is valid and not compiled yet.
    Unsupported(Errors),
    /// Dimensions of the model that nobody gave a value: [`Compiler::dim`](crate::Compiler::dim) does.
    UnboundDimensions(Vec<String>),
    /// A file could not be written; nothing else was either.
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
        /// Whether there was no room: a full disk, or a quota.
        disk_full: bool,
    },
    /// The machine refuses something that is needed: a file that cannot be read, memory, threads.
    Environment(Errors),
    /// A bug of Kiln.
    Internal(Errors),
}

impl Error {
    /// A failure to write a file.
    pub fn write(path: impl Into<PathBuf>, error: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        let disk_full = full.contains(&error.kind());
        Self::Write { path: path.into(), error, disk_full }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(errors)
            | Self::Unsupported(errors)
            | Self::Environment(errors)
            | Self::Internal(errors) => write!(f, "{errors}"),
            Self::UnboundDimensions(names) => {
                let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
                let dimensions = if names.len() == 1 { "dimension" } else { "dimensions" };
                write!(
                    f,
                    "{dimensions} {} of the model: no value is given; Compiler::dim gives one",
                    list.join(", ")
                )
            }
            Self::Write { path, error, .. } => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Errors> for Error {
    fn from(errors: Errors) -> Self {
        match errors.kind() {
            ErrorKind::Invalid | ErrorKind::IndexOutOfRange => Self::Invalid(errors),
            ErrorKind::Unsupported => Self::Unsupported(errors),
            ErrorKind::Environment => Self::Environment(errors),
            ErrorKind::Internal => Self::Internal(errors),
        }
    }
}

impl From<kiln_ir::Error> for Error {
    fn from(error: kiln_ir::Error) -> Self {
        Errors::from(error).into()
    }
}
