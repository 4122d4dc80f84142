//! Why a subcommand did not do its work, as an exit code, as JSON and as text.

use std::fmt;
use std::io::{self, ErrorKind as Io};
use std::path::Path;

use kiln_ir::{Error, ErrorKind, Errors};
use serde_json::{Value, json};

/// Done.
pub(super) const EXIT_DONE: u8 = 0;
/// Ran, and the answer is no; or the machine did not let it run to its end.
pub(super) const EXIT_NO: u8 = 1;
/// Wrong usage.
pub(super) const EXIT_USAGE: u8 = 2;
/// Valid, but not compiled yet.
pub(super) const EXIT_UNSUPPORTED: u8 = 4;
/// Our bug.
pub(super) const EXIT_INTERNAL: u8 = 5;

/// Why a subcommand did not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// The model or an input is at fault, or Kiln, or the machine refuses.
    Errors(Errors),
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::Errors(errors)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Errors(error.into())
    }
}

impl From<kiln_compiler::Error> for Failure {
    fn from(error: kiln_compiler::Error) -> Self {
        use kiln_compiler::Error as E;
        match error {
            E::Invalid(list) | E::Unsupported(list) | E::Environment(list) | E::Internal(list) => {
                Self::Errors(list)
            }
            E::Write { path, error, .. } => Self::write(&path, &error),
            other => {
                Error::unsupported(other.to_string()).hint("--dim NAME=N gives a dimension its value").into()
            }
        }
    }
}

impl Failure {
    /// Wrong usage.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What the machine refuses.
    pub(super) fn environment(message: impl Into<String>) -> Self {
        Error::environment(message).into()
    }

    /// `path` could not be written. A path that cannot name a file is wrong usage; everything else is the machine's.
    pub(super) fn write(path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot write {}: {error}", path.display());
        let hint = match error.kind() {
            Io::NotADirectory | Io::IsADirectory | Io::NotFound | Io::InvalidFilename | Io::InvalidInput => {
                return Self::Usage(message);
            }
            Io::StorageFull | Io::QuotaExceeded => "free some space or write elsewhere",
            Io::PermissionDenied | Io::ReadOnlyFilesystem => "name a folder that you may write to",
            Io::FileTooLarge => "a limit on the size of files is in force (ulimit -f)",
            _ => "",
        };
        Error::environment(message).hint(hint).into()
    }

    /// The process's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Errors(errors) => errors.exit_code(),
        }
    }

    /// What `--json` prints as `error`.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Usage(message) => {
                json!({ "kind": "usage", "exit_code": EXIT_USAGE, "message": message, "errors": [] })
            }
            Self::Errors(errors) => json!({
                "kind": kind_name(errors.kind()),
                "exit_code": errors.exit_code(),
                "message": errors.to_string(),
                "errors": errors.0.iter().map(|e| json!({
                    "kind": kind_name(e.kind), "node": e.node, "op": e.op, "message": e.message, "hint": e.hint,
                })).collect::<Vec<_>>(),
            }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Errors(errors) => write!(f, "{errors}"),
        }
    }
}

/// `invalid`, `index_out_of_range`, `unsupported`, `internal` or `environment`.
pub(super) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::IndexOutOfRange => "index_out_of_range",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Internal => "internal",
        ErrorKind::Environment => "environment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_exit_codes() {
        assert_eq!(Failure::usage("x").exit_code(), 2);
        assert_eq!(Failure::from(Error::invalid("x")).exit_code(), 3);
        assert_eq!(Failure::from(Error::unsupported("x")).exit_code(), 4);
        assert_eq!(Failure::from(Error::internal("x")).exit_code(), 5);
        let json = Failure::from(Error::unsupported("x").at("n", "Foo")).to_json();
        assert_eq!(json["errors"][0]["op"], "Foo");
        assert_eq!(json["kind"], "unsupported");
    }

    #[test]
    fn a_full_disk_is_neither_usage_nor_our_bug() {
        let of = |kind| Failure::write(Path::new("out/m.h"), &io::Error::from(kind));
        for kind in [Io::StorageFull, Io::PermissionDenied, Io::FileTooLarge, Io::BrokenPipe, Io::Other] {
            assert_eq!(of(kind).exit_code(), EXIT_NO, "{kind}");
            assert_eq!(of(kind).to_json()["kind"], "environment");
        }
        assert_eq!(of(Io::NotADirectory).exit_code(), EXIT_USAGE);
        assert!(of(Io::StorageFull).to_string().contains("out/m.h"));
    }
}
