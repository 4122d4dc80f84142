//! A model of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_compiler::internals::passes::bind::DimValue;
use kiln_ir::Tensor;
use kiln_onnx::Document;

use super::source::Source;
use crate::fault::Result;

/// A model of a session.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Where it comes from.
    pub(crate) source: Source,
    /// What it is, if somebody has asked.
    document: Option<Arc<Document>>,
    /// What tells it from others, if somebody has asked.
    identity: Option<String>,
    /// Names of its arguments, once it has been read.
    pub(crate) arguments: Option<Vec<String>>,
    /// Values of dimensions with which it is known to leave others open.
    pub(crate) open_with: Option<BTreeMap<String, DimValue>>,
    /// What it was before it was changed, and by what.
    pub(crate) before: Vec<(Source, String)>,
    /// What it was last called with.
    pub(crate) last: Option<Last>,
    /// Calls with different arguments, the oldest first.
    calls: Vec<Last>,
}

/// Calls that are kept, and bytes of all of their arguments.
const MOST_CALLS: usize = 64;
const MOST_BYTES: usize = 256 << 20;

/// A call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    /// Tensors by the names of the arguments.
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// Dimensions that were given.
    pub(crate) dims: BTreeMap<String, i64>,
}

impl Model {
    /// A model that nothing has been done with.
    pub(crate) fn new(source: Source) -> Self {
        let (document, identity, arguments, open_with) = (None, None, None, None);
        Self {
            source,
            document,
            identity,
            arguments,
            open_with,
            before: Vec::new(),
            last: None,
            calls: Vec::new(),
        }
    }

    /// Its nodes and constants; read once.
    pub(crate) fn document(&mut self) -> Result<Arc<Document>> {
        if self.document.is_none() {
            self.document = Some(self.source.document()?);
        }
        self.document.clone().map_or_else(|| self.source.document(), Ok)
    }

    /// The same if somebody has asked before.
    pub(crate) fn known_document(&self) -> Option<&Document> {
        match &self.source {
            Source::Document(document) => Some(document),
            _ => self.document.as_deref(),
        }
    }

    /// What tells it from others.
    pub(crate) fn identity(&mut self, cache: Option<&crate::cache::Cache>) -> Result<String> {
        if let Some(known) = &self.identity {
            return Ok(known.clone());
        }
        let found = self.source.identity(cache)?;
        self.identity = Some(found.clone());
        Ok(found)
    }

    /// Notes a call.
    pub(crate) fn called(&mut self, call: Last) {
        self.calls.retain(|known| known.inputs != call.inputs);
        self.calls.push(call.clone());
        let bytes =
            |calls: &[Last]| calls.iter().flat_map(|c| &c.inputs).map(|(_, t)| t.data.len()).sum::<usize>();
        while self.calls.len() > MOST_CALLS || self.calls.len() > 1 && bytes(&self.calls) > MOST_BYTES {
            self.calls.remove(0);
        }
        self.last = Some(call);
    }

    /// Calls with different arguments, the oldest first.
    pub(crate) fn calls(&self) -> &[Last] {
        &self.calls
    }

    /// Makes it another one; `what` says how.
    pub(crate) fn change(&mut self, source: Source, what: String) {
        let old = std::mem::replace(&mut self.source, source);
        self.before.push((old, what));
        self.forget();
    }

    /// Makes it what it was before the last change; what that was.
    pub(crate) fn undo(&mut self) -> Option<String> {
        let (source, what) = self.before.pop()?;
        self.source = source;
        self.forget();
        Some(what)
    }

    fn forget(&mut self) {
        (self.document, self.identity, self.open_with) = (None, None, None);
    }
}
