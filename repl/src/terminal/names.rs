//! What can be completed: a copy of the session's names, made before a line is read.

use std::collections::BTreeMap;

use crate::session::Session;

/// Names of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Variables with their types.
    pub(super) variables: BTreeMap<String, String>,
    /// Models with their arguments.
    pub(super) models: BTreeMap<String, Vec<String>>,
    /// Nodes of the models that have been read, by model.
    pub(super) nodes: BTreeMap<String, Vec<String>>,
    /// Tensors of these.
    pub(super) tensors: BTreeMap<String, Vec<String>>,
}

/// Models with more nodes are not completed: nobody types these names.
const MOST_NODES: usize = 20_000;

impl Names {
    pub(super) fn of(session: &Session) -> Self {
        let mut out = Self::default();
        for (name, tensor) in &session.variables {
            out.variables.insert(name.clone(), tensor.ty().to_string());
        }
        for (name, model) in &session.models {
            out.models.insert(name.clone(), model.arguments.clone().unwrap_or_default());
            let Some(document) = model.known_document().filter(|d| d.nodes().len() <= MOST_NODES) else {
                continue;
            };
            let nodes = document.nodes();
            out.nodes.insert(name.clone(), nodes.iter().map(|n| n.label().to_owned()).collect());
            let made = nodes.iter().flat_map(|n| n.outputs()).filter(|n| !n.is_empty()).cloned();
            out.tensors
                .insert(name.clone(), made.chain(model.arguments.clone().unwrap_or_default()).collect());
        }
        out
    }
}
