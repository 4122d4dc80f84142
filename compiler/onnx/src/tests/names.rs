//! Names: defined once, before use, in an order that exists.

use kiln_ir::Dim;
use onnx_protobuf::GraphProto;

use crate::testing::*;

#[test]
fn nodes_in_any_order() {
    let nodes =
        vec![node("Relu", &["b"], &["y"]), node("Relu", &["x"], &["a"]), node("Relu", &["a"], &["b"])];
    let graph = import(&model(graph(vec![x()], vec![], nodes))).unwrap();
    assert_eq!(graph.node_count(), 3);
}

#[test]
fn a_cycle_names_a_node_on_it() {
    let nodes = vec![
        node("Relu", &["b"], &["after"]),
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Relu", &["b"], &["y"]),
    ];
    let text = refused(&model(graph(vec![x()], vec![], nodes)), 3);
    assert!(text.contains("cycle") && (text.contains("Add_a") || text.contains("Relu_b")), "{text}");
    let text = refused(&model(graph(vec![x()], vec![], vec![node("Relu", &["y"], &["y"])])), 3);
    assert!(text.contains("node 'Relu_y' (Relu): is part of a cycle"), "{text}");
}

#[test]
fn values_defined_twice() {
    let twice = vec![node("Relu", &["x"], &["y"]), node("Relu", &["x"], &["y"])];
    assert!(refused(&model(graph(vec![x()], vec![], twice)), 3).contains("'y' is defined twice"));
    let own = vec![node("Relu", &["x"], &["x"]), node("Relu", &["x"], &["y"])];
    assert!(refused(&model(graph(vec![x()], vec![], own)), 3).contains("'x' is defined twice"));
    let w = || raw("w", 1, &[1], vec![0; 4]);
    let text = refused(&model(graph(vec![x()], vec![w(), w()], vec![node("Relu", &["x"], &["y"])])), 3);
    assert!(text.contains("'w' is defined twice"), "{text}");
    let text = refused(&model(graph(vec![x(), x()], vec![], vec![node("Relu", &["x"], &["y"])])), 3);
    assert!(text.contains("input 'x' is defined twice"), "{text}");
}

#[test]
fn values_that_nothing_makes() {
    let text = refused(&model(graph(vec![x()], vec![], vec![node("Relu", &["z"], &["y"])])), 3);
    assert!(text.contains("node 'Relu_y' (Relu): input 'z' is not defined"), "{text}");
    let text = refused(&model(graph(vec![x()], vec![], vec![node("Relu", &["x"], &["z"])])), 3);
    assert!(text.contains("nothing makes the output 'y'"), "{text}");
    let none = GraphProto { output: vec![], ..graph(vec![x()], vec![], vec![node("Relu", &["x"], &["y"])]) };
    assert!(refused(&model(none), 3).contains("no output"));
}

#[test]
fn everything_unsupported_at_once() {
    let mut nameless = node("Missing", &["a"], &["b"]);
    nameless.name.clear();
    let nodes = vec![node("Unheard", &["x"], &["a"]), nameless, node("Relu", &["b"], &["y"])];
    let text = refused(&model(graph(vec![x()], vec![], nodes)), 4);
    assert!(
        text.contains("node 'Unheard_a' (Unheard): operator Unheard in opset 17 is not supported"),
        "{text}"
    );
    assert!(text.contains("node 'b' (Missing)"), "{text}");
    let mut foreign = node("Gelu", &["x"], &["y"]);
    foreign.domain = "com.example".into();
    let text = refused(&model(graph(vec![x()], vec![], vec![foreign])), 4);
    assert!(text.contains("of domain 'com.example'"), "{text}");
}

#[test]
fn arity_and_attributes() {
    let text = refused(&model(graph(vec![x()], vec![], vec![node("Relu", &["x", "x"], &["y"])])), 3);
    assert!(text.contains("needs 1 inputs, found 2"), "{text}");
    let text = refused(&model(graph(vec![x()], vec![], vec![node("Relu", &[], &["y"])])), 3);
    assert!(text.contains("needs 1 inputs, found 0"), "{text}");
    let extra = with(node("Relu", &["x"], &["y"]), vec![int("surprise", 1)]);
    assert!(refused(&model(graph(vec![x()], vec![], vec![extra])), 4).contains("'surprise' is not known"));
    // What text forms write of softmax before opset 13 is no attribute of models.
    for private in ["kiln.coerced", "coerced"] {
        let softmax = with(node("Softmax", &["x"], &["y"]), vec![int(private, 1)]);
        assert!(
            refused(&model(graph(vec![x()], vec![], vec![softmax])), 4).contains("is not known"),
            "{private}"
        );
    }
    let twice = with(node("Softmax", &["x"], &["y"]), vec![int("axis", 1), int("axis", 1)]);
    assert!(refused(&model(graph(vec![x()], vec![], vec![twice])), 3).contains("given twice"));
}

#[test]
fn terminal_escapes_stay_in_the_file() {
    let mut bad = node("Relu", &["z"], &["y"]);
    bad.name = "\u{1b}[31mred".into();
    let text = refused(&model(graph(vec![x()], vec![], vec![bad])), 3);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn symbols_of_inputs() {
    let input = value("x", 1, &[D::S("batch"), D::S(""), D::N(0), D::N(-1), D::N(4), D::S("?"), D::S("?")]);
    let outputs = [D::S("batch"), D::S(""), D::S(""), D::N(-1), D::N(4), D::S("?"), D::S("?")];
    let proto = GraphProto {
        output: vec![value("y", 1, &outputs)],
        ..graph(vec![input], vec![], vec![node("Relu", &["x"], &["y"])])
    };
    let graph = import(&model(proto)).unwrap();
    let shape = &graph.value(graph.inputs()[0]).fact.as_ref().unwrap().shape;
    let symbols = ["batch", "x.1", "x.2", "x.3"].map(Dim::symbol);
    assert_eq!(shape.0[..4], symbols);
    assert_eq!(shape.0[4], Dim::Const(4));
    // No name: exporters write it for whatever they do not know.
    assert_eq!(shape.0[5..], ["x.5", "x.6"].map(Dim::symbol));
}

#[test]
fn extents_out_of_range() {
    for n in [-2, i64::MIN, i64::MAX, 1 << 50] {
        let text = refused(
            &model(graph(vec![value("x", 1, &[D::N(n)])], vec![], vec![node("Relu", &["x"], &["y"])])),
            3,
        );
        assert!(text.contains(&format!("input 'x': axis 0 has the extent {n}")), "{text}");
    }
}

#[test]
fn inputs_without_a_type_or_of_another_kind() {
    let mut untyped = x();
    untyped.type_ = None.into();
    let text = refused(&model(graph(vec![untyped], vec![], vec![node("Relu", &["x"], &["y"])])), 3);
    assert!(text.contains("input 'x' has no type"), "{text}");
    let text =
        refused(&model(graph(vec![value("x", 8, &[])], vec![], vec![node("Relu", &["x"], &["y"])])), 4);
    assert!(text.contains("strings"), "{text}");
    let text =
        refused(&model(graph(vec![value("x", 0, &[])], vec![], vec![node("Relu", &["x"], &["y"])])), 3);
    assert!(text.contains("UNDEFINED"), "{text}");
    let text =
        refused(&model(graph(vec![value("x", 99, &[])], vec![], vec![node("Relu", &["x"], &["y"])])), 4);
    assert!(text.contains("99"), "{text}");
}

#[test]
fn an_initializer_under_the_name_of_an_input() {
    let w = value("w", 1, &[D::N(3)]);
    let data = raw("w", 1, &[3], vec![0; 12]);
    let add = || vec![node("Add", &["x", "w"], &["y"])];
    let ok = import(&model(graph(vec![x(), w], vec![data.clone()], add()))).unwrap();
    assert_eq!(ok.inputs().len(), 1);
    let other = value("w", 1, &[D::N(4)]);
    let text = refused(&model(graph(vec![x(), other], vec![data], add())), 3);
    assert!(text.contains("'w' is declared as f32[4] and is f32[3]"), "{text}");
}
