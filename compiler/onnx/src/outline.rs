//! What a model file says of itself, whether or not it can be compiled.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_ir::errors::Result;
use kiln_ir::{DType, Limits, Tensor};
use onnx_protobuf::tensor_shape_proto::dimension;
use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};

use super::external::{External, Home};
use super::tensor::Tensors;
use super::{file, opsets};

/// A model's declarations, counts and weights.
#[derive(Debug)]
pub struct Outline {
    /// The graph's name.
    pub name: String,
    /// The tool that wrote the file, with its version; may be empty.
    pub producer: String,
    /// Operator set versions by domain, the default domain as `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// Arguments; initializers that stand among them are left out.
    pub inputs: Vec<Declared>,
    /// Results.
    pub outputs: Vec<Declared>,
    /// Nodes by operator, those of subgraphs included; operators of other domains as `domain.Name`.
    pub operators: BTreeMap<String, usize>,
    /// Initializers.
    pub weights: Vec<Weight>,
}

/// A value's name and declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name.
    pub name: String,
    /// `f32` and the like, `seq(f32)` and the like for what is no tensor, `?` where there is no type.
    pub dtype: String,
    /// Extents; `None` where the model declares no shape.
    pub shape: Option<Vec<Extent>>,
}

/// An extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Known.
    Fixed(i64),
    /// Open, by its name; `INPUT.AXIS` for one without.
    Open(String),
}

/// A constant of the model.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The name.
    pub name: String,
    /// `f32` and the like.
    pub dtype: String,
    /// Extents.
    pub shape: Vec<i64>,
    /// The values, where they can be read.
    pub tensor: Option<Tensor>,
}

impl Outline {
    /// Extents that the arguments leave open, in order of first appearance.
    pub fn open(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        for extent in self.inputs.iter().filter_map(|i| i.shape.as_ref()).flatten() {
            if let Extent::Open(name) = extent
                && !out.contains(&&**name)
            {
                out.push(name);
            }
        }
        out
    }
}

/// The outline of a model file; external data is looked for beside it.
pub fn outline(path: &Path, limits: &Limits) -> Result<Outline> {
    file::with_file(path, |reader, len, home| Ok(of(file::checked(reader, len, limits)?, Some(home), limits)))
}

/// The outline of a model in memory.
pub fn outline_from_bytes(bytes: &[u8], limits: &Limits) -> Result<Outline> {
    let proto = file::checked(&mut std::io::Cursor::new(bytes), bytes.len() as u64, limits)?;
    Ok(of(proto, None, limits))
}

fn of(mut model: ModelProto, home: Option<Home>, limits: &Limits) -> Outline {
    let mut graph = model.graph.take().unwrap_or_default();
    let mut tensors = Tensors::new(External::new(home), limits.max_tensor_bytes);
    let weights = weights(&mut graph, &mut tensors);
    let constant = |name: &str| weights.iter().any(|w| w.name == name);
    let mut operators = BTreeMap::new();
    count(&graph.node, &mut operators);
    model.functions.iter().for_each(|f| count(&f.node, &mut operators));
    let domain = |d: &str| if opsets::domain(d).is_empty() { "ai.onnx".to_owned() } else { d.to_owned() };
    Outline {
        name: graph.name.clone(),
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        opsets: model.opset_import.iter().map(|o| (domain(&o.domain), o.version)).collect(),
        inputs: graph.input.iter().filter(|i| !constant(&i.name)).map(|i| declared(i, true)).collect(),
        outputs: graph.output.iter().map(|o| declared(o, false)).collect(),
        operators,
        weights,
    }
}

fn weights(graph: &mut GraphProto, tensors: &mut Tensors) -> Vec<Weight> {
    let dtype = |code: i32| DType::from_onnx(code).map_or_else(|_| "?".to_owned(), |d| d.name().to_owned());
    let mut out = Vec::new();
    for proto in std::mem::take(&mut graph.initializer) {
        let (name, dtype, shape) = (proto.name.clone(), dtype(proto.data_type), proto.dims.clone());
        out.push(Weight { name, dtype, shape, tensor: tensors.dense(proto).ok() });
    }
    for proto in std::mem::take(&mut graph.sparse_initializer) {
        let values = proto.values.get_or_default();
        let (name, dtype, shape) = (values.name.clone(), dtype(values.data_type), proto.dims.clone());
        out.push(Weight { name, dtype, shape, tensor: tensors.sparse(proto).ok() });
    }
    out
}

/// Counts nodes by operator; a graph within a graph is as deep as the limits let it be.
fn count(nodes: &[NodeProto], operators: &mut BTreeMap<String, usize>) {
    for node in nodes {
        let domain = opsets::domain(&node.domain);
        let name =
            if domain.is_empty() { node.op_type.clone() } else { format!("{domain}.{}", node.op_type) };
        *operators.entry(name).or_default() += 1;
        for attribute in &node.attribute {
            let graphs = attribute.g.as_ref().into_iter().chain(&attribute.graphs);
            graphs.for_each(|g| count(&g.node, operators));
        }
    }
}

pub(super) fn declared(info: &ValueInfoProto, is_input: bool) -> Declared {
    let ty = info.type_.as_ref();
    let tensor = match ty.and_then(|t| t.value.as_ref()) {
        Some(Value::TensorType(tensor)) => Some(tensor),
        _ => None,
    };
    let unnamed = |axis| Extent::Open(format!("{}.{axis}", info.name));
    let extent = |(axis, dim): (usize, &onnx_protobuf::tensor_shape_proto::Dimension)| match &dim.value {
        // Exporters write these for an extent that they do not know.
        Some(dimension::Value::DimValue(..=0)) if is_input => unnamed(axis),
        Some(dimension::Value::DimValue(v)) => Extent::Fixed(*v),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Extent::Open(name.clone()),
        _ => unnamed(axis),
    };
    let shape = tensor.and_then(|t| t.shape.as_ref());
    Declared {
        name: info.name.clone(),
        dtype: ty.map_or_else(|| "?".to_owned(), type_name),
        shape: shape.map(|s| s.dim.iter().enumerate().map(extent).collect()),
    }
}

fn type_name(ty: &TypeProto) -> String {
    let element = |code: i32| DType::from_onnx(code).map_or_else(|_| "?".to_owned(), |d| d.name().to_owned());
    let inner = |ty: Option<&TypeProto>| ty.map_or_else(|| "?".to_owned(), type_name);
    match &ty.value {
        Some(Value::TensorType(t)) => element(t.elem_type),
        Some(Value::SparseTensorType(t)) => format!("sparse({})", element(t.elem_type)),
        Some(Value::SequenceType(s)) => format!("seq({})", inner(s.elem_type.as_ref())),
        Some(Value::OptionalType(o)) => format!("optional({})", inner(o.elem_type.as_ref())),
        Some(Value::MapType(m)) => format!("map({}, {})", element(m.key_type), inner(m.value_type.as_ref())),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{D, bytes, graph, model, node, opset, raw, subgraph, value, with};

    #[test]
    fn a_model_that_cannot_be_compiled_is_described() {
        let body = graph(vec![], vec![], vec![node("Relu", &["x"], &["z"])]);
        let custom = onnx_protobuf::NodeProto { domain: "my".into(), ..node("Magic", &["x"], &["a"]) };
        let nodes = vec![custom, with(node("If", &["c"], &["y"]), vec![subgraph("then_branch", body)])];
        let inputs = vec![value("x", 1, &[D::S("n"), D::S(""), D::N(0), D::N(3)]), value("w", 1, &[D::N(2)])];
        let weights = vec![raw("w", 1, &[2], vec![0; 8]), raw("s", 8, &[1], vec![])];
        let mut proto = model(graph(inputs, weights, nodes));
        proto.opset_import.push(opset("my", 3));
        let outline = outline_from_bytes(&bytes(&proto), &Limits::default()).unwrap();
        let [x] = &outline.inputs[..] else { panic!("one input: {:?}", outline.inputs) };
        let open = |name: &str| Extent::Open(name.to_owned());
        assert_eq!(x.shape, Some(vec![open("n"), open("x.1"), open("x.2"), Extent::Fixed(3)]));
        assert_eq!(outline.open(), ["n", "x.1", "x.2"]);
        let counts: Vec<(&str, usize)> = outline.operators.iter().map(|(k, n)| (&**k, *n)).collect();
        assert_eq!(counts, [("If", 1), ("Relu", 1), ("my.Magic", 1)]);
        assert_eq!(outline.opsets["my"], 3);
        assert_eq!(outline.weights.iter().map(|w| w.tensor.is_some()).collect::<Vec<_>>(), [true, false]);
    }
}
