//! Bodies of control flow: names from outside, shadowed names, what is unsupported inside.

use onnx_protobuf::{GraphProto, ModelProto};

use crate::testing::*;

fn body(nodes: Vec<onnx_protobuf::NodeProto>) -> GraphProto {
    GraphProto { input: vec![], ..graph(vec![], vec![], nodes) }
}

/// An operator that no build knows, so that the test does not depend on which control flow is supported.
fn branch(then: GraphProto, otherwise: GraphProto) -> ModelProto {
    let unknown =
        with(node("Branch", &["x"], &["y"]), vec![subgraph("then", then), subgraph("else", otherwise)]);
    model(graph(vec![x()], vec![], vec![unknown]))
}

#[test]
fn what_is_unsupported_inside_is_told_too() {
    let text = refused(
        &branch(body(vec![node("Unheard", &["x"], &["y"])]), body(vec![node("Relu", &["x"], &["y"])])),
        4,
    );
    assert!(text.contains("operator Branch"), "{text}");
    assert!(text.contains("node 'Unheard_y'"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_name_that_no_scope_has() {
    let text = refused(
        &branch(body(vec![node("Relu", &["nowhere"], &["y"])]), body(vec![node("Relu", &["x"], &["y"])])),
        3,
    );
    assert!(text.contains("input 'nowhere' is not defined"), "{text}");
}

#[test]
fn a_cycle_through_a_body() {
    let text = refused(
        &branch(body(vec![node("Relu", &["after"], &["y"])]), body(vec![node("Relu", &["x"], &["y"])])),
        3,
    );
    assert!(text.contains("'after' is not defined"), "{text}");
    let unknown = with(
        node("Branch", &["x"], &["y"]),
        vec![subgraph(
            "then",
            body(vec![node("Relu", &["after"], &["inner"]), node("Relu", &["inner"], &["y"])]),
        )],
    );
    let nodes = vec![unknown, node("Relu", &["y"], &["after"])];
    let text = refused(&model(graph(vec![x()], vec![], nodes)), 3);
    assert!(text.contains("cycle"), "{text}");
}

#[test]
fn a_body_may_hide_an_outer_name() {
    let mut hiding = body(vec![node("Relu", &["x"], &["y"])]);
    hiding.initializer = vec![raw("x", 1, &[2, 3], vec![0; 24])];
    // Only the operator is refused.
    let text = refused(&branch(hiding, body(vec![node("Relu", &["x"], &["y"])])), 4);
    assert_eq!(text.lines().count(), 1, "{text}");
}
