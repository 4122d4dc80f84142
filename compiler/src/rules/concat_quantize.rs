//! Numbers that are put side by side and quantised together are quantised first: bytes are put side by side.

use std::sync::Arc;

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::rule::{Outcome, Rule};
use super::support;

pub(super) const RULE: Rule = Rule {
    name: "concat_quantize",
    about: "QuantizeLinear of a Concat of dequantised parts: each part is quantised, where it is made",
    roots: &["QuantizeLinear"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(middle) = node.inputs[0] else { return Ok(Outcome::No) };
    let Some(concat) = support::made_by(graph, middle, &["Concat"]) else { return Ok(Outcome::No) };
    let made_from_bytes = |part: &Option<_>| {
        part.is_some_and(|part| support::made_by(graph, part, &["DequantizeLinear"]).is_some())
    };
    if !concat.inputs.iter().all(made_from_bytes) {
        return Ok(Outcome::No);
    }
    let missed = |why: &str| Ok(Outcome::Missed(format!("Concat '{}' {why}", concat.name)));
    let single = |id| graph.constant(id).is_some_and(|tensor| tensor.shape.is_empty());
    if !node.inputs[1].is_some_and(single) {
        return missed("is quantised with a scale for each position");
    }
    if !support::only_use(graph, middle) {
        return missed("is read as numbers too");
    }
    let mut patch = Patch::new();
    let mut parts = Vec::with_capacity(concat.inputs.len());
    for (i, part) in concat.inputs.iter().enumerate() {
        let mut inputs: Vec<_> = node.inputs.iter().map(|v| v.map(Into::into)).collect();
        inputs[0] = part.map(Into::into);
        let name = format!("{}.{i}", node.name);
        parts.push(Some(patch.shared_node(graph, &name, Arc::clone(&node.op), &inputs)?[0]));
    }
    let new = patch.shared_node(graph, &concat.name, Arc::clone(&concat.op), &parts)?[0];
    patch.replace(node.outputs[0], new);
    Ok(Outcome::Fire(patch))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Tensor};

    use crate::rules::testing::*;

    fn parts(scale: Tensor) -> Build {
        // Of a scale for each position, zero points are left out.
        let last: &[&str] = if scale.shape.is_empty() { &["c", "s", "z"] } else { &["c", "s"] };
        let build = Build::new().input("a", &[1, 2, 5]).input("b", &[1, 3, 5]).tensor("s", scale);
        let build = build.tensor("t", Tensor::scalar(0.013f32)).tensor("z", Tensor::scalar(7u8));
        let build = ["a", "b"].into_iter().fold(build, |build, x| {
            let (q, d) = (format!("{x}q"), format!("{x}d"));
            build.node("QuantizeLinear", &[x, "t", "z"], &q).node("DequantizeLinear", &[&q, "t", "z"], &d)
        });
        let axis = [("axis", Attr::Int(1))];
        build.with("Concat", &axis, &["ad", "bd"], "c").node("QuantizeLinear", last, "y")
    }

    #[test]
    fn parts_are_quantised_where_they_are_made() {
        fires(
            parts(Tensor::scalar(0.021f32)).outputs(&["y"]),
            &["concat_quantize"],
            &[
                "QuantizeLinear",
                "DequantizeLinear",
                "QuantizeLinear",
                "DequantizeLinear",
                "QuantizeLinear",
                "QuantizeLinear",
                "Concat",
            ],
        );
    }

    #[test]
    fn numbers_that_others_read_stay() {
        let graph = parts(Tensor::scalar(0.021f32)).node("Relu", &["c"], "r").outputs(&["y", "r"]);
        misses(graph, "concat_quantize", "read as numbers");
        let scales = Tensor::from_vec(&[5], vec![0.1f32, 0.2, 0.3, 0.4, 0.5]);
        misses(parts(scales).outputs(&["y"]), "concat_quantize", "a scale for each position");
    }
}
