//! Small models, built in code.

use kiln_ir::Limits;
use kiln_ir::errors::Result;
use kiln_ir::graph::Graph;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::MessageField;

use super::from_bytes;

/// A dimension: a number, or a name (empty: neither).
pub(crate) enum D {
    N(i64),
    S(&'static str),
}

/// A model of opset 17 around a graph.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 17)],
        graph: MessageField::some(graph),
        ..Default::default()
    }
}

pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version, ..Default::default() }
}

/// A graph from its nodes; `y` of type f32[2, 3] is its result.
pub(crate) fn graph(
    inputs: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
    node: Vec<NodeProto>,
) -> GraphProto {
    let output = vec![value("y", 1, &[D::N(2), D::N(3)])];
    GraphProto { name: "g".into(), input: inputs, initializer, node, output, ..Default::default() }
}

/// `y = Relu(x)` on f32[2, 3].
pub(crate) fn relu() -> ModelProto {
    model(graph(vec![x()], vec![], vec![node("Relu", &["x"], &["y"])]))
}

/// The input `x` of type f32[2, 3].
pub(crate) fn x() -> ValueInfoProto {
    value("x", 1, &[D::N(2), D::N(3)])
}

/// A tensor-typed value.
pub(crate) fn value(name: &str, elem_type: i32, dims: &[D]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| Dimension {
        value: match d {
            D::N(n) => Some(dimension::Value::DimValue(*n)),
            D::S("") => None,
            D::S(s) => Some(dimension::Value::DimParam((*s).into())),
        },
        ..Default::default()
    });
    let shape = MessageField::some(TensorShapeProto { dim: dim.collect(), ..Default::default() });
    let tensor = type_proto::Tensor { elem_type, shape, ..Default::default() };
    let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: MessageField::some(ty), ..Default::default() }
}

/// A node named after its operator and first result.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: format!("{op}_{}", outputs.first().unwrap_or(&"")),
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        ..Default::default()
    }
}

/// A node with attributes.
pub(crate) fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

/// A GRAPH attribute.
pub(crate) fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        type_: AttributeType::GRAPH.into(),
        g: MessageField::some(graph),
        ..Default::default()
    }
}

/// An INT attribute.
pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), type_: AttributeType::INT.into(), i, ..Default::default() }
}

/// A tensor of raw bytes.
pub(crate) fn raw(name: &str, data_type: i32, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), data_type, dims: dims.to_vec(), raw_data, ..Default::default() }
}

/// A key with a value.
pub(crate) fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: value.into(), ..Default::default() }
}

pub(crate) fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().unwrap()
}

/// Through the importer.
pub(crate) fn import(model: &ModelProto) -> Result<Graph> {
    from_bytes(&bytes(model), None, &Limits::default())
}

/// The text of all errors; panics where there is none.
pub(crate) fn refused(model: &ModelProto, exit_code: u8) -> String {
    let errors = import(model).expect_err("the model is accepted");
    assert_eq!(errors.exit_code(), exit_code, "{errors}");
    errors.to_string()
}
