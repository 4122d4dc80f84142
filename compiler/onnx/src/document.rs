//! A model file to be changed and written again.
//!
//! What is not changed stays as it was: names, order, metadata, subgraphs, operators that nobody here knows. Constants are
//! tensors, wherever the file had them; a file that is written has all of its data inside.

mod node;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::path::Path;

use kiln_ir::errors::Result;
use kiln_ir::{DType, Error, Limits, Tensor};
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    GraphProto, Message, ModelProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use protobuf::MessageField;

use super::external::{External, Home};
use super::file::{self, with_file};
use super::opsets;
use super::outline::{Declared, declared};
use super::tensor::Tensors;
pub use node::Node;

/// What protobuf can hold.
const MOST_BYTES: u64 = (1 << 31) - 1;

/// A model file to be changed.
#[derive(Clone, Debug)]
pub struct Document {
    /// Everything but the nodes and the constants.
    proto: ModelProto,
    nodes: Vec<Node>,
    constants: BTreeMap<String, Tensor>,
    /// Constants in the order of the file, then in that in which they were added. May name some that are gone.
    order: Vec<String>,
}

impl Document {
    /// A model without nodes.
    pub fn new(name: &str, opset: i64) -> Self {
        let graph = MessageField::some(GraphProto { name: name.to_owned(), ..Default::default() });
        let proto = ModelProto { graph, ..Default::default() };
        let mut document = Self { proto, nodes: Vec::new(), constants: BTreeMap::new(), order: Vec::new() };
        document.raise_opset(opset);
        document
    }

    /// Adds an argument, behind those that are there.
    pub fn add_input(&mut self, name: &str, dtype: DType, shape: &[usize]) {
        let extent = |e: &usize| Dimension {
            value: Some(dimension::Value::DimValue(*e as i64)),
            ..Default::default()
        };
        let shape = TensorShapeProto { dim: shape.iter().map(extent).collect(), ..Default::default() };
        let tensor = type_proto::Tensor {
            elem_type: dtype.to_onnx(),
            shape: MessageField::some(shape),
            ..Default::default()
        };
        let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
        let info =
            ValueInfoProto { name: name.to_owned(), type_: MessageField::some(ty), ..Default::default() };
        self.proto.graph.mut_or_insert_default().input.push(info);
    }

    /// Reads a model file; external data is looked for beside it.
    ///
    /// # Errors
    ///
    /// Those of [`load`](crate::load) that concern the file and its tensors. Names and operators are not checked.
    pub fn load(path: &Path, limits: &Limits) -> Result<Self> {
        with_file(path, |reader, len, home| of(file::checked(reader, len, limits)?, Some(home), limits))
    }

    /// Reads a model from memory, without external data.
    ///
    /// # Errors
    ///
    /// Those of [`Document::load`].
    pub fn from_bytes(bytes: &[u8], limits: &Limits) -> Result<Self> {
        of(file::checked(&mut Cursor::new(bytes), bytes.len() as u64, limits)?, None, limits)
    }

    /// The file's bytes.
    ///
    /// # Errors
    ///
    /// *Unsupported* where the model has more bytes than a file of this format can have.
    pub fn to_bytes(&self) -> kiln_ir::Result<Vec<u8>> {
        let data: u64 = self.constants.values().map(|t| t.data.len() as u64).sum();
        let too_large = || {
            Error::unsupported(format!(
                "the model has {data} bytes of constants; a file of its format ends at {MOST_BYTES} bytes"
            ))
            .hint("models with external data are read, but not written yet")
        };
        if data > MOST_BYTES {
            return Err(too_large());
        }
        let mut proto = self.proto.clone();
        let graph = proto.graph.mut_or_insert_default();
        graph.node = self.nodes.iter().map(|n| n.proto.clone()).collect();
        let tensors = self.order.iter().filter_map(|n| self.constants.get_key_value(n));
        graph.initializer.extend(tensors.map(|(name, tensor)| encoded(name, tensor)));
        let known = self.names();
        graph.value_info.retain(|info| known.contains(info.name.as_str()));
        match proto.write_to_bytes() {
            Ok(bytes) if bytes.len() as u64 <= MOST_BYTES => Ok(bytes),
            Ok(_) => Err(too_large()),
            Err(e) => Err(Error::internal(format!("the model cannot be encoded: {e}"))),
        }
    }

    /// The version of the default operator set.
    pub fn opset(&self) -> i64 {
        let own = self.proto.opset_import.iter().find(|o| opsets::domain(&o.domain).is_empty());
        own.map_or(1, |o| o.version)
    }

    /// Raises the default operator set to `version`, and the file's version to the first that knows it. Whether the nodes
    /// mean the same there is the caller's to know.
    pub fn raise_opset(&mut self, version: i64) {
        let own = self.proto.opset_import.iter_mut().find(|o| opsets::domain(&o.domain).is_empty());
        match own {
            Some(own) => own.version = own.version.max(version),
            None => self.proto.opset_import.push(OperatorSetIdProto { version, ..Default::default() }),
        }
        let needed = match version {
            ..=12 => 6,
            13..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            _ => 10,
        };
        self.proto.ir_version = self.proto.ir_version.max(needed);
    }

    /// The nodes in the order of the file.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The same, to be changed. A node must stand behind those that it reads.
    pub fn nodes_mut(&mut self) -> &mut Vec<Node> {
        &mut self.nodes
    }

    /// A constant by name.
    pub fn constant(&self, name: &str) -> Option<&Tensor> {
        self.constants.get(name)
    }

    /// Adds a constant, or gives one another value.
    pub fn set_constant(&mut self, name: &str, tensor: Tensor) {
        if self.constants.insert(name.to_owned(), tensor).is_none() {
            self.order.push(name.to_owned());
        }
    }

    /// Takes out the constants that nothing reads.
    pub fn drop_unused(&mut self) {
        let mut read: BTreeSet<String> = self.outputs().into_iter().map(str::to_owned).collect();
        for node in &self.nodes {
            read.extend(node.inputs().iter().cloned());
            read.extend(node.captures());
        }
        self.constants.retain(|name, _| read.contains(name));
        let kept = &self.constants;
        self.order.retain(|name| kept.contains_key(name));
    }

    /// Arguments in order, constants among them left out.
    pub fn inputs(&self) -> Vec<Declared> {
        self.proto.graph.input.iter().map(|info| declared(info, true)).collect()
    }

    /// Names of the results in order.
    pub fn outputs(&self) -> Vec<&str> {
        self.proto.graph.output.iter().map(|o| &*o.name).collect()
    }

    /// Makes these values results too, behind the model's own.
    pub fn add_outputs<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let outputs = &mut self.proto.graph.mut_or_insert_default().output;
        for name in names {
            if !outputs.iter().any(|o| o.name == name) {
                outputs.push(ValueInfoProto { name: name.to_owned(), ..Default::default() });
            }
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.proto.graph.as_ref().map_or("", |g| &g.name)
    }

    /// Gives constants their places among the model's; those that are there are not asked for.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.constants.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The part of the model that makes `outputs` of `inputs`, which become its arguments: nodes, constants and subgraphs
    /// that it needs, and nothing else.
    ///
    /// # Errors
    ///
    /// *Invalid* where an output is no value of the model, and where it needs an argument that is not among the inputs.
    pub fn cut(&self, inputs: &[(String, DType, Vec<usize>)], outputs: &[&str]) -> kiln_ir::Result<Self> {
        let mut makers: HashMap<&str, usize> = HashMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            makers.extend(node.outputs().iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), i)));
        }
        let given: BTreeSet<&str> = inputs.iter().map(|(name, ..)| name.as_str()).collect();
        let (mut open, mut seen): (Vec<String>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
        open.extend(outputs.iter().map(|o| (*o).to_owned()));
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        while let Some(name) = open.pop() {
            if name.is_empty()
                || given.contains(&*name) && !outputs.contains(&&*name)
                || !seen.insert(name.clone())
            {
                continue;
            }
            if self.constants.contains_key(&name) {
                continue;
            }
            let Some(&i) = makers.get(&*name) else {
                if given.contains(&*name) {
                    continue;
                }
                let is_argument = self.proto.graph.iter().flat_map(|g| &g.input).any(|i| i.name == name);
                if !is_argument && !outputs.contains(&&*name) {
                    // A name of a subgraph's own.
                    continue;
                }
                let message = match is_argument {
                    true => {
                        format!("the part needs the model's argument '{name}', which is not among its inputs")
                    }
                    false => format!("the model has no value '{name}'"),
                };
                return Err(Error::invalid(message));
            };
            if kept.insert(i) {
                open.extend(self.nodes[i].inputs().iter().cloned());
                open.extend(self.nodes[i].captures());
            }
        }
        let mut part = self.clone();
        part.nodes = kept.into_iter().map(|i| self.nodes[i].clone()).collect();
        let graph = part.proto.graph.mut_or_insert_default();
        graph.input.clear();
        graph.output = outputs
            .iter()
            .map(|name| ValueInfoProto { name: (*name).to_owned(), ..Default::default() })
            .collect();
        graph.quantization_annotation.clear();
        inputs.iter().for_each(|(name, dtype, shape)| part.add_input(name, *dtype, shape));
        part.constants.retain(|name, _| !given.contains(name.as_str()));
        part.drop_unused();
        Ok(part)
    }

    /// Forgets what the file says of the types of values between its arguments and results, for those whose shapes change.
    pub fn forget_types(&mut self) {
        self.proto.graph.mut_or_insert_default().value_info.clear();
    }

    /// Names that are taken: values, constants, arguments.
    pub fn names(&self) -> BTreeSet<&str> {
        let graph = &self.proto.graph;
        let results = self.nodes.iter().flat_map(|n| n.outputs().iter().map(String::as_str));
        let arguments = graph.input.iter().chain(&graph.output).map(|i| &*i.name);
        self.constants.keys().map(String::as_str).chain(results).chain(arguments).collect()
    }
}

fn of(mut proto: ModelProto, home: Option<Home>, limits: &Limits) -> Result<Document> {
    opsets::read(&proto.opset_import)?;
    let Some(graph) = proto.graph.as_mut() else {
        return Err(Error::invalid("the model has no graph").into());
    };
    let mut tensors = Tensors::new(External::new(home), limits.max_tensor_bytes);
    let (constants, order) = constants(graph, &mut tensors)?;
    // An initialiser under an argument's name is its default, which is what the model is compiled with.
    graph.input.retain(|i| !constants.contains_key(&i.name));
    let nodes = std::mem::take(&mut graph.node).into_iter().map(Node::from).collect();
    Ok(Document { proto, nodes, constants, order })
}

type Constants = (BTreeMap<String, Tensor>, Vec<String>);

/// The constants of a graph, taken out of it, and their order. Sparse ones stay as they are.
fn constants(graph: &mut GraphProto, tensors: &mut Tensors) -> kiln_ir::Result<Constants> {
    let (mut found, mut order) = (BTreeMap::new(), Vec::new());
    for mut proto in std::mem::take(&mut graph.initializer) {
        let name = std::mem::take(&mut proto.name);
        let tensor = tensors.dense(proto).map_err(|mut e| {
            e.message = format!("initializer '{name}': {}", e.message);
            e
        })?;
        if found.insert(name.clone(), tensor).is_some() {
            return Err(Error::invalid(format!("value '{name}' is defined twice")));
        }
        order.push(name);
    }
    Ok((found, order))
}

pub(crate) fn encoded(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: tensor.dtype.to_onnx(),
        dims: tensor.shape.iter().map(|&e| e as i64).collect(),
        raw_data: tensor.packed().to_vec(),
        ..Default::default()
    }
}

/// Which nodes read each value, by position; readers within subgraphs count.
pub fn readers(nodes: &[Node]) -> HashMap<&str, Vec<usize>> {
    let mut out: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.inputs().iter().map(String::as_str).chain(node.captured()) {
            let list = out.entry(name).or_default();
            if list.last() != Some(&i) {
                list.push(i);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, bytes, graph, int, node, raw, subgraph, value, with};

    fn document(proto: &ModelProto) -> Document {
        Document::from_bytes(&bytes(proto), &Limits::default()).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays() {
        let mut proto = testing::model(graph(
            vec![testing::x(), value("w", 1, &[testing::D::N(3)])],
            vec![raw("w", 1, &[3], vec![0; 12])],
            vec![with(node("Magic", &["x", "w"], &["y"]), vec![int("strange", 7)])],
        ));
        proto.producer_name = "someone".into();
        proto.graph.mut_or_insert_default().value_info.push(value("gone", 1, &[]));
        let read = document(&proto);
        assert_eq!(read.inputs().len(), 1);
        let written = document(&ModelProto::parse_from_bytes(&read.to_bytes().unwrap()).unwrap());
        assert_eq!(written.proto.producer_name, "someone");
        assert_eq!(written.nodes[0].int("strange"), Some(7));
        assert_eq!(written.constant("w").unwrap().shape, [3]);
        // What no value bears any more is not described either.
        assert!(written.proto.graph.value_info.is_empty());
    }

    #[test]
    fn constants_that_nothing_reads_go() {
        let body = graph(vec![], vec![], vec![node("Relu", &["inner"], &["z"])]);
        let weights = ["read", "inner", "unread"].map(|name| raw(name, 1, &[1], vec![0; 4]));
        let nodes = vec![
            with(node("If", &["read"], &["a"]), vec![subgraph("then_branch", body)]),
            node("Relu", &["x"], &["y"]),
        ];
        let mut read = document(&testing::model(graph(vec![testing::x()], weights.to_vec(), nodes)));
        read.drop_unused();
        assert_eq!(read.constants.keys().collect::<Vec<_>>(), ["inner", "read"]);
        assert_eq!(readers(read.nodes())["inner"], [0]);
    }

    #[test]
    fn results_are_added_once_and_the_importer_reads_them() {
        let mut read = document(&testing::relu());
        read.nodes_mut().push(Node::new("more", "Neg", &["y"], &["z"]));
        read.add_outputs(["y", "z"]);
        assert_eq!(read.outputs(), ["y", "z"]);
        read.raise_opset(21);
        assert_eq!((read.opset(), read.proto.ir_version), (21, 10));
        let graph = crate::from_bytes(&read.to_bytes().unwrap(), None, &Limits::default()).unwrap();
        assert_eq!(graph.outputs().len(), 2);
    }
}
