//! A node of a file, with its attributes as they are.

use kiln_ir::{DType, Limits, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto};

use crate::external::External;
use crate::opsets;
use crate::tensor::Tensors;

/// A node of a file.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) proto: NodeProto,
    /// Names of outer values that its subgraphs read.
    captured: Vec<String>,
}

impl From<NodeProto> for Node {
    fn from(proto: NodeProto) -> Self {
        let mut captured = Vec::new();
        for attribute in &proto.attribute {
            attribute.g.as_ref().into_iter().chain(&attribute.graphs).for_each(|g| names(g, &mut captured));
        }
        captured.sort();
        captured.dedup();
        Self { proto, captured }
    }
}

impl Node {
    /// A node of the default domain without attributes.
    pub fn new(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let (input, output) = (list(inputs), list(outputs));
        NodeProto { name: name.into(), op_type: op.into(), input, output, ..Default::default() }.into()
    }

    /// The same with an INT attribute, in place of any of that name.
    pub fn with_int(mut self, name: &str, i: i64) -> Self {
        self.remove_attribute(name);
        let type_ = AttributeType::INT.into();
        self.proto.attribute.push(AttributeProto { name: name.into(), type_, i, ..Default::default() });
        self
    }

    /// Gives an INT attribute a value.
    pub fn set_int(&mut self, name: &str, i: i64) {
        *self = self.clone().with_int(name, i);
    }

    /// The name; may be empty.
    pub fn name(&self) -> &str {
        &self.proto.name
    }

    /// What messages call it: its name, or that of its first result.
    pub fn label(&self) -> &str {
        let first = self.proto.output.first().map_or("", String::as_str);
        if self.proto.name.is_empty() { first } else { &self.proto.name }
    }

    /// The operator of the default domain; empty for one of another.
    pub fn op(&self) -> &str {
        if opsets::domain(&self.proto.domain).is_empty() { &self.proto.op_type } else { "" }
    }

    /// The operator in words: with its domain, where that is not the default one.
    pub fn op_in_words(&self) -> String {
        match opsets::domain(&self.proto.domain) {
            "" => self.proto.op_type.clone(),
            domain => format!("{domain}.{}", self.proto.op_type),
        }
    }

    /// Names of the operands; empty for those left out.
    pub fn inputs(&self) -> &[String] {
        &self.proto.input
    }

    /// The operand at a position, if it is there.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.proto.input.get(i).map(String::as_str).filter(|n| !n.is_empty())
    }

    /// Gives an operand another name; those before it that are missing are left out.
    pub fn set_input(&mut self, i: usize, name: &str) {
        if self.proto.input.len() <= i {
            self.proto.input.resize(i + 1, String::new());
        }
        self.proto.input[i] = name.to_owned();
    }

    /// Gives the node other operands.
    pub fn set_inputs(&mut self, names: &[&str]) {
        self.proto.input = names.iter().map(|n| (*n).to_owned()).collect();
    }

    /// The node with another name and operator of the default domain, and the same attributes.
    pub fn renamed(mut self, name: &str, op: &str) -> Self {
        (self.proto.name, self.proto.op_type) = (name.to_owned(), op.to_owned());
        self.proto.domain.clear();
        self
    }

    /// Names of the results; empty for those left out.
    pub fn outputs(&self) -> &[String] {
        &self.proto.output
    }

    /// Gives a result another name.
    pub fn set_output(&mut self, i: usize, name: &str) {
        if let Some(output) = self.proto.output.get_mut(i) {
            *output = name.to_owned();
        }
    }

    /// Names that subgraphs of the node use and may have from outside.
    pub fn captured(&self) -> impl Iterator<Item = &str> {
        self.captured.iter().map(String::as_str)
    }

    /// The same, owned.
    pub fn captures(&self) -> Vec<String> {
        self.captured.clone()
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    /// Removes an attribute, if there is one of that name.
    pub fn remove_attribute(&mut self, name: &str) {
        self.proto.attribute.retain(|a| a.name != name);
    }

    /// An INT attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|a| a.i)
    }

    /// A FLOAT attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).map(|a| a.f)
    }

    /// An INTS attribute.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| &*a.ints)
    }

    /// A STRING attribute.
    pub fn string(&self, name: &str) -> Option<String> {
        self.attribute(name).map(|a| String::from_utf8_lossy(&a.s).into_owned())
    }

    /// The value of a `Constant`, where it is a dense tensor or a number of the usual types.
    pub fn constant(&self) -> Option<Tensor> {
        if self.op() != "Constant" {
            return None;
        }
        let [attribute] = &self.proto.attribute[..] else { return None };
        match &*attribute.name {
            "value" => {
                let proto = attribute.t.as_ref().filter(|t| DType::from_onnx(t.data_type).is_ok())?.clone();
                Tensors::new(External::new(None), Limits::default().max_tensor_bytes).dense(proto).ok()
            }
            "value_float" => Some(Tensor::scalar(attribute.f)),
            "value_int" => Some(Tensor::scalar(attribute.i)),
            "value_floats" => Some(Tensor::from_vec(&[attribute.floats.len()], attribute.floats.clone())),
            "value_ints" => Some(Tensor::from_vec(&[attribute.ints.len()], attribute.ints.clone())),
            _ => None,
        }
    }
}

/// Names that a subgraph and those within it read or give. Some may be its own: to take them for outer ones does no harm.
/// Subgraphs nest no deeper than the check of the file allows.
fn names(graph: &GraphProto, out: &mut Vec<String>) {
    for node in &graph.node {
        out.extend(node.input.iter().filter(|n| !n.is_empty()).cloned());
        for attribute in &node.attribute {
            attribute.g.as_ref().into_iter().chain(&attribute.graphs).for_each(|g| names(g, out));
        }
    }
    out.extend(graph.output.iter().map(|o| o.name.clone()));
}
