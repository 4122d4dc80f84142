//! Names for what is added to a model.

use std::collections::BTreeSet;

use kiln_onnx::Document;

/// Names that are taken.
pub struct Names(BTreeSet<String>);

impl Names {
    /// Those of a document.
    pub fn of(document: &Document) -> Self {
        Self(document.names().into_iter().map(str::to_owned).collect())
    }

    /// A name that nothing has, `stem` itself if possible.
    pub fn fresh(&mut self, stem: &str) -> String {
        let numbered = (1..).map(|i| format!("{stem}.{i}"));
        let mut all = std::iter::once(stem.to_owned()).chain(numbered);
        let name = all.find(|n| !self.0.contains(n)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}
