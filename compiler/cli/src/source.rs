//! Where a model comes from: a file, or whatever is piped in.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use kiln_compiler::Compiler;
use kiln_ir::{Error, Limits};
use kiln_onnx::{Document, Outline};

use super::failure::Failure;

/// A model that is there to be read.
pub(super) enum Source {
    /// A file, with external data beside it.
    File(PathBuf),
    /// What came through a pipe. It has no folder that external data could lie in.
    Bytes(Vec<u8>),
}

impl Source {
    /// The model at `path`. `-` is standard input; it and other pipes are read to their end.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Error::invalid(format!("cannot read {}: {e}", path.display()));
        if path == Path::new("-") {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                return Err(Failure::usage(
                    "the model '-' is read from a pipe, and standard input is a terminal",
                ));
            }
            return Ok(Self::Bytes(read(stdin.lock(), limits)?));
        }
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() && !meta.is_dir() => {
                Ok(Self::Bytes(read(std::fs::File::open(path).map_err(failed)?, limits)?))
            }
            // What is wrong with it is told when it is read.
            _ => Ok(Self::File(path.to_owned())),
        }
    }

    /// What the model says of itself.
    pub(super) fn outline(&self, limits: &Limits) -> Result<Outline, Failure> {
        Ok(match self {
            Self::File(path) => kiln_onnx::outline(path, limits)?,
            Self::Bytes(bytes) => kiln_onnx::outline_from_bytes(bytes, limits)?,
        })
    }

    /// The model, to be changed and written again.
    pub(super) fn document(&self, limits: &Limits) -> Result<Document, Failure> {
        Ok(match self {
            Self::File(path) => Document::load(path, limits)?,
            Self::Bytes(bytes) => Document::from_bytes(bytes, limits)?,
        })
    }

    /// A compiler for it.
    pub(super) fn compiler(self) -> Compiler {
        match self {
            Self::File(path) => Compiler::from_path(path),
            Self::Bytes(bytes) => Compiler::from_bytes(bytes),
        }
    }
}

fn read(from: impl Read, limits: &Limits) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = limits.max_model_bytes;
    from.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::invalid(format!("cannot read the model: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(Error::unsupported(format!("the model has more than {most} bytes, which is the limit"))
            .hint("raise --max-model-bytes")
            .into());
    }
    Ok(bytes)
}

/// Refuses to write over a file that is read: `read` beside `written`, which need not exist.
pub(super) fn keep_inputs<'a>(
    read: impl IntoIterator<Item = &'a Path>,
    written: &[PathBuf],
) -> Result<(), Failure> {
    let real = |p: &Path| p.canonicalize().ok();
    for input in read {
        let Some(input_path) = real(input) else { continue };
        if let Some(output) = written.iter().find(|w| real(w).as_ref() == Some(&input_path)) {
            return Err(Failure::usage(format!(
                "{} would be written over {}, which is read: choose another folder or name",
                output.display(),
                input.display()
            )));
        }
    }
    Ok(())
}
