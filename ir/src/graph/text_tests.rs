//! `parse(print(g)) == g`, the verifier and the interpreter on graphs written by hand.

use proptest::prelude::*;

use super::{Graph, dot, parse, verify};
use crate::op::Fact;
use crate::text::testing;
use crate::{DType, Shape, Tensor, eval};

const CONV: &str = "\
graph @m opset(17, \"com.example\" = 1) {
  dim batch = 1..8
  input %x: f32[batch, 1, 4, 4]
  const @w: f32[2, 1, 3, 3] = splat 0.5
  const @b: f32[2] = [0.25, -inf]
  %c: f32[batch, 2, 4, 4] = Conv(%x, @w, @b) {pads = [1, 1, 1, 1]} \"conv 1\"
  %\"r/0\": f32[batch, 2, 4, 4] = Relu(%c) \"relu\"
  output %\"r/0\" as \"y\"
  output %x
}";

/// Printing again must give the same text whatever the operators print as defaults.
fn round_trip(text: &str) -> Graph {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let printed = graph.to_string();
    let back = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(back.to_string(), printed);
    graph
}

#[test]
fn written_by_hand() {
    let graph = round_trip(CONV);
    verify(&graph).unwrap();
    assert_eq!(graph.output_names(), ["y", "x"]);
    let printed = graph.to_string();
    for line in CONV.lines().filter(|l| !l.contains("Conv")) {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    let x = Tensor::from_vec(&[1, 1, 4, 4], (0..16).map(|i| i as f32).collect());
    let mut seen = Vec::new();
    let out = eval::graph::run_with(&graph, std::slice::from_ref(&x), &mut |v, t| {
        seen.push((v.name.clone(), t.elements()))
    });
    let out = out.unwrap();
    assert_eq!(seen, [("c".to_owned(), 32), ("r/0".to_owned(), 32)]);
    assert_eq!(out[0].to_f64s().unwrap()[..2], [5.25, 9.25]);
    assert!(out[0].to_f64s().unwrap()[16..].iter().all(|v| *v == 0.0));
    assert!(out[1] == x);
    let wrong =
        eval::graph::run(&graph, &[Tensor::zeros(DType::F32, &[9, 1, 4, 4])]).unwrap_err().to_string();
    assert!(wrong.contains("dimension 'batch' is 9, outside 1..8"), "{wrong}");
}

#[test]
fn left_out_inputs_known_elements_and_tensor_attributes() {
    let graph = round_trip(
        "graph @m opset(17) {
          input %x: f32[n, 3] // a comment
          %s: i64[2] as dims [n, 3] = Shape(%x)
          %k: f32[2] as [1.0, nan] = Constant() {value = tensor f32[2] [1.0, nan]}
          const @max: f32[] = [6.0]
          %y: f32[n, 3] = Clip(%x, _, @max)
          output %y output %s output %k
        }",
    );
    verify(&graph).unwrap();
    let text = graph.to_string();
    assert!(text.contains("%s: i64[2] as dims [n, 3] = Shape(%x)"), "{text}");
    assert!(text.contains("Clip(%x, _, @max)"), "{text}");
}

#[test]
fn summaries_leave_long_constants_out() {
    let mut graph = Graph::new("m");
    let values = (0..100).map(|i| i as f32).collect();
    let w = graph.add_const("w", Tensor::from_vec(&[100], values)).unwrap();
    graph.add_output(w);
    let text = graph.summary().to_string();
    assert!(text.contains("const @w: f32[100] = ...\n"), "{text}");
    assert!(parse(&text).unwrap_err().to_string().contains("left out"));
}

#[test]
fn errors_name_line_and_column() {
    let error = |line: &str| {
        parse(&format!("graph @m opset(17) {{\n input %x: f32[2]\n {line}\n}}")).unwrap_err().to_string()
    };
    assert!(error("%y = Relu(%z)").contains("line 3, column 12: value '%z' is not defined above"));
    assert!(error("%y = Rleu(%x)").contains("line 3, column 7: operator 'Rleu' of domain '' is unknown"));
    assert!(error("%y = Relu(%x) {alpha = 1.0}").contains("Relu has no attribute 'alpha'"));
    assert!(error("%x = Relu(%x)").contains("'x' is defined twice"));
    assert!(error("%y = Relu(%x) {axes = []}").contains("an empty list needs its kind"));
}

#[test]
fn the_verifier_compares_facts_with_inference() {
    let text = "graph @m opset(17) { input %x: f32[2] %y: f32[3] = Relu(%x) \"r\" output %y }";
    let error = verify(&parse(text).unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("node 'r' (Relu)") && error.contains("is f32[2], its fact says f32[3]"),
        "{error}"
    );
    let partial = "graph @m opset(17) { input %x: f32[2] %y = Relu(%x) output %y }";
    verify(&parse(partial).unwrap()).unwrap();
}

#[test]
fn dot_names_every_node() {
    let text = dot(&parse(CONV).unwrap());
    assert!(text.contains("n0 [label=\"Conv\\nconv 1\\n@w f32[2, 1, 3, 3]\\n@b f32[2]\"]"), "{text}");
    assert!(text.contains("n0 -> n1 [label=\"f32[batch, 2, 4, 4]\"]"), "{text}");
    assert!(text.contains("n1 -> o0"), "{text}");
}

proptest! {
    #[test]
    fn names_types_and_constants_survive(
        names in prop::collection::btree_set(testing::name(), 6),
        symbol in testing::name(),
        tensors in prop::collection::vec(testing::tensor(), 3),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut graph = Graph::new(&names[0]);
        graph.opsets.insert(String::new(), 17);
        graph.opsets.insert(names[1].clone() + ".d", 3);
        graph.bounds.insert(symbol.as_str().into(), (1, i64::MAX).into());
        let shape = Shape(vec![crate::Dim::symbol(&symbol), 3usize.into()]);
        let mut value = graph.add_input(&names[0], Fact::new(DType::F32, shape)).unwrap();
        for (name, tensor) in names[1..4].iter().zip(&tensors) {
            graph.add_const(name, tensor.clone()).unwrap();
        }
        for name in &names[4..] {
            let mut attrs = crate::Attrs::new();
            let mut proto = crate::NodeProto { attrs: &mut attrs, opset: 17, inputs: &[true], outputs: 1 };
            let relu = (crate::ops::find("", "Relu").unwrap().parse)(&mut proto).unwrap();
            let node = graph.add_node(name, relu.into(), vec![Some(value)], std::slice::from_ref(name)).unwrap();
            value = graph.node(node).outputs[0];
        }
        graph.add_output_named(value, &names[1]);
        let text = graph.to_string();
        let back = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(back.to_string(), text);
        for (name, tensor) in names[1..4].iter().zip(&tensors) {
            let id = back.find(name).unwrap();
            prop_assert!(back.constant(id) == Some(tensor));
        }
    }
}
