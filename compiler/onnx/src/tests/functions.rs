//! Functions that a model brings along.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, FunctionProto, ModelProto, NodeProto};

use crate::testing::*;

fn function(name: &str, input: &[&str], output: &[&str], node: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "local".into(),
        input: input.iter().map(|s| (*s).to_owned()).collect(),
        output: output.iter().map(|s| (*s).to_owned()).collect(),
        opset_import: vec![opset("", 17), opset("local", 1)],
        node,
        ..Default::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto { domain: "local".into(), ..node(name, inputs, outputs) }
}

fn calling(functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> ModelProto {
    let opset_import = vec![opset("", 17), opset("local", 1)];
    ModelProto { functions, opset_import, ..model(graph(vec![x()], vec![], nodes)) }
}

fn twice() -> FunctionProto {
    function("Twice", &["a"], &["b"], vec![node("Relu", &["a"], &["t"]), node("Add", &["t", "t"], &["b"])])
}

#[test]
fn calls_become_the_nodes_of_the_function() {
    let outer =
        function("Outer", &["p"], &["q"], vec![call("Twice", &["p"], &["m"]), call("Twice", &["m"], &["q"])]);
    let graph = import(&calling(vec![twice(), outer], vec![call("Outer", &["x"], &["y"])])).unwrap();
    assert_eq!(graph.node_count(), 4);
    let names: Vec<_> = graph.node_ids().map(|n| graph.node(n).op.name()).collect();
    assert_eq!(names, ["Relu", "Add", "Relu", "Add"]);
    assert!(graph.find("Outer_y/Twice_m/t").is_some());
}

#[test]
fn attributes_reach_the_nodes() {
    let refer = AttributeProto {
        name: "axis".into(),
        type_: AttributeType::INT.into(),
        ref_attr_name: "along".into(),
        ..Default::default()
    };
    let mut soft =
        function("Soft", &["a"], &["b"], vec![with(node("Softmax", &["a"], &["b"]), vec![refer.clone()])]);
    soft.attribute_proto = vec![int("along", -1)];
    let axis = |attributes: Vec<AttributeProto>| {
        let nodes = vec![with(call("Soft", &["x"], &["y"]), attributes)];
        let graph = import(&calling(vec![soft.clone()], nodes)).unwrap();
        let node = graph.node(graph.node_ids().next().unwrap());
        node.op.attrs().get("axis").cloned()
    };
    assert_ne!(axis(vec![int("along", 0)]), axis(vec![]));
    let text = refused(
        &calling(vec![soft.clone()], vec![with(call("Soft", &["x"], &["y"]), vec![int("other", 0)])]),
        3,
    );
    assert!(text.contains("no attribute 'other'"), "{text}");
    let text = refused(
        &model(graph(vec![x()], vec![], vec![with(node("Softmax", &["x"], &["y"]), vec![refer])])),
        3,
    );
    assert!(text.contains("outside of any"), "{text}");
}

#[test]
fn a_function_that_calls_itself() {
    let own = function("Own", &["a"], &["b"], vec![call("Own", &["a"], &["b"])]);
    let text = refused(&calling(vec![own], vec![call("Own", &["x"], &["y"])]), 3);
    assert!(text.contains("calls itself"), "{text}");
    let ping = function("Ping", &["a"], &["b"], vec![call("Pong", &["a"], &["b"])]);
    let pong = function("Pong", &["a"], &["b"], vec![call("Ping", &["a"], &["b"])]);
    assert!(
        refused(&calling(vec![ping, pong], vec![call("Ping", &["x"], &["y"])]), 3).contains("calls itself")
    );
}

#[test]
fn exponential_calls_end() {
    let mut functions = vec![twice()];
    functions[0].name = "F0".into();
    for i in 1..40 {
        let inner = format!("F{}", i - 1);
        let nodes = vec![call(&inner, &["a"], &["t"]), call(&inner, &["t"], &["b"])];
        functions.push(function(&format!("F{i}"), &["a"], &["b"], nodes));
    }
    let errors = import(&calling(functions, vec![call("F39", &["x"], &["y"])])).unwrap_err();
    assert_eq!((errors.0.len(), errors.exit_code()), (1, 4));
    let text = errors.to_string();
    assert!(text.contains("functions expand to more than"), "{text}");
}

#[test]
fn broken_functions() {
    let open = function("Open", &["a"], &["b"], vec![node("Relu", &["c"], &["b"])]);
    assert!(refused(&calling(vec![open], vec![call("Open", &["x"], &["y"])]), 3).contains("'c' of a node"));
    let empty = function("Empty", &["a"], &["b"], vec![]);
    assert!(refused(&calling(vec![empty], vec![call("Empty", &["x"], &["y"])]), 3).contains("result 'b'"));
    let text = refused(&calling(vec![twice()], vec![call("Twice", &["x", "x"], &["y"])]), 3);
    assert!(text.contains("has 1 inputs"), "{text}");
    let text = refused(&calling(vec![twice(), twice()], vec![call("Twice", &["x"], &["y"])]), 3);
    assert!(text.contains("defined twice"), "{text}");
    // An input that the call leaves out reaches a node as left out.
    let text = refused(&calling(vec![twice()], vec![call("Twice", &[], &["y"])]), 3);
    assert!(text.contains("needs 1 inputs"), "{text}");
}

#[test]
fn calls_nest_to_a_bound() {
    let mut functions = vec![twice()];
    functions[0].name = "F0".into();
    for i in 1..5000 {
        functions.push(function(
            &format!("F{i}"),
            &["a"],
            &["b"],
            vec![call(&format!("F{}", i - 1), &["a"], &["b"])],
        ));
    }
    assert!(import(&calling(functions.clone(), vec![call("F60", &["x"], &["y"])])).is_ok());
    let text = refused(&calling(functions, vec![call("F4999", &["x"], &["y"])]), 4);
    assert!(text.contains("64 deep"), "{text}");
}

#[test]
fn nodes_of_one_name_do_not_meet() {
    let mut nodes = vec![call("Twice", &["x"], &["m"]), call("Twice", &["m"], &["y"])];
    nodes.iter_mut().for_each(|n| n.name = "same".into());
    assert_eq!(import(&calling(vec![twice()], nodes)).unwrap().node_count(), 4);
}
