//! Models, built in code as wrong as a test needs them.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::MessageField;

/// `TensorProto.DataType`.
pub(crate) const F32: i32 = 1;
/// `TensorProto.DataType`.
pub(crate) const I32: i32 = 6;
/// `TensorProto.DataType`.
pub(crate) const I64: i32 = 7;

/// A tensor-typed value.
pub(crate) fn value(name: &str, dtype: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = |n: &i64| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Default::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect(), ..Default::default() };
    let shape = MessageField::some(shape);
    let tensor = type_proto::Tensor { elem_type: dtype, shape, ..Default::default() };
    let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: MessageField::some(ty), ..Default::default() }
}

/// A vector of f32 with a named extent.
pub(crate) fn value_of_dim(name: &str, dim: &str) -> ValueInfoProto {
    let mut info = value(name, F32, &[1]);
    if let Some(Value::TensorType(tensor)) = info.type_.as_mut().and_then(|t| t.value.as_mut())
        && let Some(shape) = tensor.shape.as_mut()
    {
        shape.dim[0].value = Some(dimension::Value::DimParam(dim.into()));
    }
    info
}

/// A result of unstated type.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), ..Default::default() }
}

/// A node named `NAME`.
pub(crate) fn node(
    name: &str,
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attrs: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        attribute: attrs,
        ..Default::default()
    }
}

/// An INT attribute.
pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), type_: AttributeType::INT.into(), i, ..Default::default() }
}

/// An INTS attribute.
pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        type_: AttributeType::INTS.into(),
        ints: ints.into(),
        ..Default::default()
    }
}

/// A GRAPH attribute.
pub(crate) fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    let g = MessageField::some(graph);
    AttributeProto { name: name.into(), type_: AttributeType::GRAPH.into(), g, ..Default::default() }
}

/// A constant of f32, all elements 0.5.
pub(crate) fn halves(name: &str, shape: &[i64]) -> TensorProto {
    let count = shape.iter().product::<i64>() as usize;
    raw(name, F32, shape, 0.5f32.to_le_bytes().repeat(count))
}

/// A constant vector of i64.
pub(crate) fn numbers(name: &str, values: &[i64]) -> TensorProto {
    raw(name, I64, &[values.len() as i64], values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A scalar of i64.
pub(crate) fn number(name: &str, value: i64) -> TensorProto {
    raw(name, I64, &[], value.to_le_bytes().into())
}

/// A constant of raw bytes.
pub(crate) fn raw(name: &str, dtype: i32, shape: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: dtype,
        dims: shape.into(),
        raw_data: bytes,
        ..Default::default()
    }
}

/// A constant of 8 halves in an external file.
pub(crate) fn external(name: &str, entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: (*key).into(),
        value: (*value).into(),
        ..Default::default()
    };
    TensorProto {
        name: name.into(),
        data_type: F32,
        dims: vec![8],
        external_data: entries.iter().map(entry).collect(),
        data_location: onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into(),
        ..Default::default()
    }
}

/// A graph.
pub(crate) fn graph(
    inputs: Vec<ValueInfoProto>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    outputs: Vec<ValueInfoProto>,
) -> GraphProto {
    GraphProto {
        name: "g".into(),
        input: inputs,
        initializer: constants,
        node: nodes,
        output: outputs,
        ..Default::default()
    }
}

/// A model of opset 17.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 17)],
        graph: MessageField::some(graph),
        ..Default::default()
    }
}

/// A version of a domain's operators.
pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version, ..Default::default() }
}

/// A model with inputs `x: f32[1, 4, 8, 8]` and `i: i64[2]` and nodes that make `y` of them; only inputs that the
/// nodes read are there.
pub(crate) fn around(constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> ModelProto {
    let all = [value("x", F32, &[1, 4, 8, 8]), value("i", I64, &[2]), value("v", F32, &[8])];
    let read = |v: &ValueInfoProto| nodes.iter().any(|n| n.input.contains(&v.name));
    let inputs = all.into_iter().filter(read).collect();
    model(graph(inputs, constants, nodes, vec![untyped("y")]))
}

/// `y = Relu(v)`, which nothing is wrong with.
pub(crate) fn sound() -> ModelProto {
    around(vec![], vec![node("good", "Relu", &["v"], &["y"], vec![])])
}

/// The file.
pub(crate) fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().unwrap_or_default()
}
