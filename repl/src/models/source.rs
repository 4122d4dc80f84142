//! Where a model comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_compiler::internals::digest;
use kiln_compiler::{Compiler, Limits};
use kiln_ir::graph::Graph;
use kiln_onnx::Document;

use crate::cache::{self, Cache};
use crate::fault::{Fault, Result};

/// Larger files have their data inside; smaller ones are quickly read to look for it.
const WITH_DATA_BESIDE: u64 = 32 << 20;

/// Where a model comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Made here, of another one or of text.
    Document(Arc<Document>),
    /// A graph: an expression, or a model with further results.
    Graph(Arc<Graph>),
}

impl Source {
    /// A compiler for it.
    pub(crate) fn compiler(&self) -> Result<Compiler> {
        Ok(match self {
            Self::File(path) => Compiler::from_path(path),
            Self::Document(document) => Compiler::from_bytes(document.to_bytes()?),
            Self::Graph(graph) => Compiler::from_graph((**graph).clone()),
        })
    }

    /// The model, to be changed and written again.
    pub(crate) fn document(&self) -> Result<Arc<Document>> {
        match self {
            Self::File(path) => Ok(Arc::new(Document::load(path, &Limits::default())?)),
            Self::Document(document) => Ok(Arc::clone(document)),
            Self::Graph(_) => Err(Fault::new("an expression is no model")),
        }
    }

    /// A text that is another one for another model.
    pub(crate) fn identity(&self, cache: Option<&Cache>) -> Result<String> {
        let failed = |path: &Path, e| Fault::new(format!("cannot read {}: {e}", path.display()));
        match self {
            Self::File(path) => {
                let others = || kiln_onnx::data_files(path, &Limits::default()).unwrap_or_default();
                let found = match cache {
                    Some(cache) => {
                        let path = path.canonicalize().map_err(|e| failed(path, e))?;
                        cache.digest(&path, &others)
                    }
                    // Within a session the stamp tells a file that was written again.
                    None => {
                        let size = std::fs::metadata(path).map_or(0, |m| m.len());
                        let data = if size < WITH_DATA_BESIDE { others() } else { Vec::new() };
                        cache::stamps(std::iter::once(path).chain(&data))
                    }
                };
                found.map_err(|e| failed(path, e))
            }
            Self::Document(document) => {
                let mut all = digest::Digest::default();
                all.bytes(&document.to_bytes()?);
                Ok(all.hex())
            }
            Self::Graph(graph) => Ok(digest::of_text(&graph.to_string())),
        }
    }
}
