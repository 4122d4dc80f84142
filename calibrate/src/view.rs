//! Who makes and who reads each value of a document.

use std::collections::{BTreeSet, HashMap};

use kiln_ir::{DType, Tensor};
use kiln_onnx::{Document, Node, readers};

/// A document with its links.
pub struct View<'d> {
    document: &'d Document,
    producers: HashMap<&'d str, usize>,
    readers: HashMap<&'d str, Vec<usize>>,
    /// Values that are results of the model, or read within a subgraph: they must keep their names.
    seen: BTreeSet<&'d str>,
}

impl<'d> View<'d> {
    /// Finds the links of a document.
    pub fn of(document: &'d Document) -> Self {
        let nodes = document.nodes();
        let made = nodes.iter().enumerate().flat_map(|(i, n)| n.outputs().iter().map(move |o| (&**o, i)));
        let captured = nodes.iter().flat_map(|n| n.captured());
        Self {
            document,
            producers: made.filter(|(name, _)| !name.is_empty()).collect(),
            readers: readers(nodes),
            seen: document.outputs().into_iter().chain(captured).collect(),
        }
    }

    /// The node at a position.
    pub fn node(&self, i: usize) -> &'d Node {
        &self.document.nodes()[i]
    }

    /// All nodes.
    pub fn nodes(&self) -> &'d [Node] {
        self.document.nodes()
    }

    /// The node that makes a value, and its position.
    pub fn producer(&self, name: &str) -> Option<(usize, &'d Node)> {
        self.producers.get(name).map(|&i| (i, self.node(i)))
    }

    /// The nodes that read a value.
    pub fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a value is a result of the model, or read within a subgraph.
    pub fn is_seen(&self, name: &str) -> bool {
        self.seen.contains(name)
    }

    /// The one node that reads a value which nobody else sees.
    pub fn sole_reader(&self, name: &str) -> Option<usize> {
        match self.readers(name) {
            [reader] if !self.is_seen(name) => Some(*reader),
            _ => None,
        }
    }

    /// A constant.
    pub fn constant(&self, name: &str) -> Option<&'d Tensor> {
        self.document.constant(name)
    }

    /// A constant of f32.
    pub fn floats(&self, name: &str) -> Option<&'d Tensor> {
        self.constant(name).filter(|t| t.dtype == DType::F32)
    }

    /// The value of a constant with one element.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.constant(name)?.to_f64s().ok()?[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}
