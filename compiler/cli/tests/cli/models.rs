//! Small models.

use std::path::Path;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::MessageField;

/// Writes a model; gives its path.
pub(crate) fn write(folder: &Path, name: &str, model: &ModelProto) -> String {
    let path = folder.join(name);
    std::fs::write(&path, model.write_to_bytes().unwrap()).unwrap();
    path.display().to_string()
}

fn model(inputs: Vec<ValueInfoProto>, weights: Vec<TensorProto>, nodes: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        name: "g".into(),
        input: inputs,
        initializer: weights,
        node: nodes,
        output: vec![ValueInfoProto { name: "y".into(), ..Default::default() }],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: 17, ..Default::default() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: MessageField::some(graph),
        ..Default::default()
    }
}

/// A tensor-typed value; a text for an open extent.
fn value(name: &str, elem_type: i32, dims: &[Result<i64, &str>]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| Dimension {
        value: Some(match d {
            Ok(n) => dimension::Value::DimValue(*n),
            Err(s) => dimension::Value::DimParam((*s).into()),
        }),
        ..Default::default()
    });
    let shape = MessageField::some(TensorShapeProto { dim: dim.collect(), ..Default::default() });
    let tensor = type_proto::Tensor { elem_type, shape, ..Default::default() };
    let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: MessageField::some(ty), ..Default::default() }
}

fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs.iter().map(|s| (*s).to_owned()).collect(),
        ..Default::default()
    }
}

/// A tensor of raw bytes.
pub(crate) fn tensor(name: &str, data_type: i32, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), data_type, dims: dims.to_vec(), raw_data, ..Default::default() }
}

/// `y = a + b` on f32[4].
pub(crate) fn two_inputs() -> ModelProto {
    let inputs = vec![value("a", 1, &[Ok(4)]), value("b", 1, &[Ok(4)])];
    model(inputs, vec![], vec![node("add", "Add", &["a", "b"], &["y"])])
}

/// `y = Relu(x)` on f32[1, 4].
pub(crate) fn relu() -> ModelProto {
    model(vec![value("x", 1, &[Ok(1), Ok(4)])], vec![], vec![node("relu", "Relu", &["x"], &["y"])])
}

/// `y = x` by way of two halves side by side: `x` is f32[n] with an even n.
pub(crate) fn half_open() -> ModelProto {
    let shape = tensor("shape", 7, &[2], [2i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect());
    let back = tensor("back", 7, &[1], (-1i64).to_le_bytes().to_vec());
    let nodes = vec![
        node("halves", "Reshape", &["x", "shape"], &["h"]),
        node("whole", "Reshape", &["h", "back"], &["y"]),
    ];
    model(vec![value("x", 1, &[Err("n")])], vec![shape, back], nodes)
}

/// `y = x * w` with f32[n, 4] and f32[4, 3].
pub(crate) fn product() -> ModelProto {
    let w = tensor("w", 1, &[4, 3], vec![0; 48]);
    model(
        vec![value("x", 1, &[Err("n"), Ok(4)])],
        vec![w],
        vec![node("product", "MatMul", &["x", "w"], &["y"])],
    )
}

/// `y = Reshape(x, s)` with the shape as an input.
pub(crate) fn reshape() -> ModelProto {
    let inputs = vec![value("x", 1, &[Ok(1), Ok(4)]), value("s", 7, &[Ok(2)])];
    model(inputs, vec![], vec![node("reshape", "Reshape", &["x", "s"], &["y"])])
}

/// `y = Reshape(x, s + s)` with `s` as an input.
pub(crate) fn reshape_doubled() -> ModelProto {
    let inputs = vec![value("x", 1, &[Ok(1), Ok(4)]), value("s", 7, &[Ok(2)])];
    let nodes =
        vec![node("double", "Add", &["s", "s"], &["t"]), node("reshape", "Reshape", &["x", "t"], &["y"])];
    model(inputs, vec![], nodes)
}

/// So many nodes of an operator that nobody knows, `foo_0` and so on, around a Relu.
pub(crate) fn unknown_operators(count: usize) -> ModelProto {
    let mut nodes = vec![node("relu", "Relu", &["x"], &["v0"])];
    for i in 0..count {
        let to = if i + 1 == count { "y".to_owned() } else { format!("v{}", i + 1) };
        nodes.push(node(&format!("foo_{i}"), "Foo", &[&format!("v{i}")], &[&to]));
    }
    model(vec![value("x", 1, &[Err("n"), Ok(4)])], vec![], nodes)
}

/// A Loop whose body leaves the types of its inputs to the operator.
pub(crate) fn untyped_loop() -> ModelProto {
    let untyped = |name: &str| ValueInfoProto { name: name.into(), ..Default::default() };
    let body = GraphProto {
        name: "body".into(),
        input: vec![untyped("i"), untyped("c"), untyped("s")],
        output: vec![untyped("c2"), untyped("s2")],
        node: vec![node("go", "Identity", &["c"], &["c2"]), node("step", "Relu", &["s"], &["s2"])],
        ..Default::default()
    };
    let attribute = AttributeProto {
        name: "body".into(),
        type_: AttributeType::GRAPH.into(),
        g: MessageField::some(body),
        ..Default::default()
    };
    let mut repeat = node("loop", "Loop", &["n", "", "x"], &["y"]);
    repeat.attribute.push(attribute);
    let n = tensor("n", 7, &[], 2i64.to_le_bytes().to_vec());
    model(vec![value("x", 1, &[Ok(1), Ok(4)])], vec![n], vec![repeat])
}
