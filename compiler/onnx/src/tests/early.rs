//! Nodes of opsets before 7.

use kiln_ir::op::Graph;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto};

use crate::testing::*;

fn of_opset(version: i64, inputs: usize, op: &str, attributes: Vec<AttributeProto>) -> ModelProto {
    let names: Vec<String> = (0..inputs).map(|i| format!("x{i}")).collect();
    let values = names.iter().map(|n| value(n, 1, &[D::N(2), D::N(3)])).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let made: NodeProto = with(node(op, &names, &["y"]), attributes);
    ModelProto { opset_import: vec![opset("", version)], ..model(graph(values, vec![], vec![made])) }
}

fn attrs(graph: &Graph) -> String {
    let id = graph.producer(graph.outputs()[0]).unwrap();
    format!("{:?}", graph.node(id).op.attrs())
}

fn text(name: &str, s: &str) -> AttributeProto {
    let s = s.as_bytes().to_vec();
    AttributeProto { name: name.into(), type_: AttributeType::STRING.into(), s, ..Default::default() }
}

#[test]
fn an_operand_along_an_axis() {
    let at = |broadcast| vec![int("broadcast", broadcast), int("axis", 1)];
    let aligned = "{\"kiln.axis\": Int(1)}";
    assert_eq!(attrs(&import(&of_opset(6, 2, "Add", at(1))).unwrap()), aligned);
    assert_eq!(attrs(&import(&of_opset(6, 2, "Add", at(0))).unwrap()), "{}");
    assert_eq!(attrs(&import(&of_opset(6, 2, "PRelu", vec![])).unwrap()), aligned);
    assert_eq!(attrs(&import(&of_opset(7, 2, "PRelu", vec![])).unwrap()), "{}");
    assert!(refused(&of_opset(7, 2, "Add", at(1)), 4).contains("is not known in opset 7"));
    assert!(refused(&of_opset(6, 2, "Add", vec![text("axis", "1")]), 3).contains("must be an integer"));
}

#[test]
fn training() {
    for (op, inputs) in [("BatchNormalization", 5), ("Dropout", 1)] {
        assert!(import(&of_opset(6, inputs, op, vec![int("is_test", 1)])).is_ok());
        assert!(refused(&of_opset(6, inputs, op, vec![int("is_test", 0)]), 4).contains("training mode"));
        assert!(refused(&of_opset(6, inputs, op, vec![]), 4).contains("training mode"));
    }
}

#[test]
fn the_first_opset() {
    let hint = AttributeProto {
        name: "consumed_inputs".into(),
        type_: AttributeType::INTS.into(),
        ints: vec![0, 0],
        ..Default::default()
    };
    assert!(import(&of_opset(1, 1, "Relu", vec![hint.clone()])).is_ok());
    assert!(refused(&of_opset(6, 1, "Relu", vec![hint]), 4).contains("'consumed_inputs' is not known"));
    let cast = import(&of_opset(1, 1, "Cast", vec![text("to", "DOUBLE")])).unwrap();
    assert_eq!(attrs(&cast), "{\"to\": Int(11)}");
    assert!(refused(&of_opset(1, 1, "Cast", vec![text("to", "REAL")]), 3).contains("names no type"));
    assert!(attrs(&import(&of_opset(1, 1, "Selu", vec![])).unwrap()).contains("1.6732"));
    assert!(import(&of_opset(1, 2, "Concat", vec![])).is_ok());
    assert!(refused(&of_opset(4, 2, "Concat", vec![]), 3).contains("'axis' is missing"));
    assert!(refused(&of_opset(4, 2, "Reshape", vec![]), 4).contains("supported from version 5 on"));
}
