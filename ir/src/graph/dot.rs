//! Graphs in the language of Graphviz.

use std::fmt::Write as _;

use super::{Graph, Source, ValueId};

/// A digraph: a box per node, an edge per operand labelled with its type; constants stay inside their reader's box.
pub fn dot(graph: &Graph) -> String {
    let mut out =
        format!("digraph {} {{\n  node [shape=box, fontname=\"sans-serif\"];\n", text(&[&graph.name]));
    for (i, &id) in graph.inputs().iter().enumerate() {
        let label = text(&[&graph.value(id).name, &type_of(graph, id)]);
        let _ = writeln!(out, "  i{i} [shape=ellipse, label={label}];");
    }
    let order = graph.topological_order().unwrap_or_else(|_| graph.node_ids().collect());
    let position = |id| order.iter().position(|n| *n == id).unwrap_or_default();
    let origin = |id: ValueId| match &graph.value(id).source {
        Source::Input(i) => Some(format!("i{i}")),
        Source::Node(node, _) => Some(format!("n{}", position(*node))),
        Source::Const(_) => None,
    };
    for (n, &id) in order.iter().enumerate() {
        let node = graph.node(id);
        let constants: Vec<String> = node
            .inputs
            .iter()
            .flatten()
            .filter(|v| graph.constant(**v).is_some())
            .map(|v| format!("@{} {}", graph.value(*v).name, type_of(graph, *v)))
            .collect();
        let mut lines = vec![node.op.name(), node.name.as_str()];
        lines.extend(constants.iter().map(String::as_str));
        let _ = writeln!(out, "  n{n} [label={}];", text(&lines));
        for value in node.inputs.iter().flatten() {
            if let Some(from) = origin(*value) {
                let _ = writeln!(out, "  {from} -> n{n} [label={}];", text(&[&type_of(graph, *value)]));
            }
        }
    }
    for (i, (&id, name)) in graph.outputs().iter().zip(graph.output_names()).enumerate() {
        let _ = writeln!(out, "  o{i} [shape=ellipse, label={}];", text(&[name]));
        if let Some(from) = origin(id) {
            let _ = writeln!(out, "  {from} -> o{i} [label={}];", text(&[&type_of(graph, id)]));
        }
    }
    out + "}\n"
}

fn type_of(graph: &Graph, id: ValueId) -> String {
    graph.value(id).fact.as_ref().map_or(String::new(), |f| f.ty().to_string())
}

/// A quoted label; Graphviz knows two escapes in it.
fn text(lines: &[&str]) -> String {
    let escape = |line: &&str| line.replace('\\', "\\\\").replace('"', "\\\"").replace(char::is_control, " ");
    format!("\"{}\"", lines.iter().map(escape).collect::<Vec<_>>().join("\\n"))
}
