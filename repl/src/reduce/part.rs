//! Some nodes of a model, which end in one tensor; what they read from outside are arguments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_compiler::Tensor;
use kiln_onnx::Document;

use crate::fault::Result;

/// Values of a model's inputs, by name.
pub(super) type Arguments = Vec<(String, Tensor)>;

/// Some nodes of a model.
#[derive(Clone)]
pub(super) struct Part<'d> {
    document: &'d Document,
    values: &'d BTreeMap<String, Tensor>,
    kept: BTreeSet<usize>,
    /// The node whose first result is the part's.
    end: usize,
}

impl<'d> Part<'d> {
    /// Node `end` and all that it needs.
    pub(super) fn up_to(document: &'d Document, values: &'d BTreeMap<String, Tensor>, end: usize) -> Self {
        let mut part = Self::alone(document, values, end);
        while part.grow() {}
        part
    }

    /// Node `end` by itself.
    pub(super) fn alone(document: &'d Document, values: &'d BTreeMap<String, Tensor>, end: usize) -> Self {
        Self { document, values, kept: BTreeSet::from([end]), end }
    }

    /// Positions of the nodes, the last one first.
    pub(super) fn nodes(&self) -> Vec<usize> {
        self.kept.iter().rev().copied().collect()
    }

    /// Takes in the nodes that make what the others read; `false` where there are none.
    pub(super) fn grow(&mut self) -> bool {
        let makers = self.makers();
        let more: BTreeSet<usize> =
            self.reads().iter().filter_map(|name| makers.get(name.as_str())).copied().collect();
        let before = self.kept.len();
        self.kept.extend(more);
        self.kept.len() > before
    }

    /// The part without a node, and without those that only it needed.
    pub(super) fn without(&self, node: usize) -> Self {
        let mut less = self.clone();
        if node == self.end {
            return less;
        }
        less.kept.remove(&node);
        let makers = self.makers();
        let mut needed = BTreeSet::from([less.end]);
        let mut open = vec![less.end];
        while let Some(i) = open.pop() {
            for name in reads_of(self.document, i) {
                let maker = makers.get(name.as_str()).filter(|m| less.kept.contains(m));
                open.extend(maker.filter(|m| needed.insert(**m)));
            }
        }
        less.kept = needed;
        less
    }

    /// The part as a model with its arguments; nothing where the value of one is not known.
    pub(super) fn document(&self) -> Result<Option<(Document, Arguments)>> {
        let Some(output) = self.document.nodes()[self.end].outputs().iter().find(|o| !o.is_empty()) else {
            return Ok(None);
        };
        let mut inputs = Vec::new();
        for name in self.reads() {
            let Some(tensor) = self.values.get(&name) else { return Ok(None) };
            inputs.push((name, tensor.clone()));
        }
        let declared: Vec<_> = inputs.iter().map(|(n, t)| (n.clone(), t.dtype, t.shape.clone())).collect();
        Ok(Some((self.document.cut(&declared, &[output])?, inputs)))
    }

    /// Names that the nodes read and do not make; constants left out.
    fn reads(&self) -> Vec<String> {
        let made: BTreeSet<&str> =
            self.kept.iter().flat_map(|i| self.document.nodes()[*i].outputs()).map(String::as_str).collect();
        let known = self.document.names();
        let mut out: Vec<String> = Vec::new();
        for i in &self.kept {
            for name in reads_of(self.document, *i) {
                let outer = known.contains(name.as_str()) && self.document.constant(&name).is_none();
                if outer && !made.contains(&*name) && !out.contains(&name) {
                    out.push(name);
                }
            }
        }
        out
    }

    fn makers(&self) -> HashMap<&'d str, usize> {
        let nodes = self.document.nodes().iter().enumerate();
        nodes
            .flat_map(|(i, n)| n.outputs().iter().filter(|o| !o.is_empty()).map(move |o| (o.as_str(), i)))
            .collect()
    }
}

fn reads_of(document: &Document, i: usize) -> Vec<String> {
    let node = &document.nodes()[i];
    node.inputs().iter().filter(|n| !n.is_empty()).cloned().chain(node.captures()).collect()
}
