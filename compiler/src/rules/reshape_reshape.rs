//! Of several reshapes in a row only the last counts.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::rule::{Outcome, Rule};
use super::support;

/// Operators that give their first operand another shape and nothing else.
pub(super) const RESHAPES: [&str; 4] = ["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

pub(super) const RULE: Rule = Rule {
    name: "reshape_reshape",
    about: "Reshape, Flatten, Squeeze and Unsqueeze in a row become one Reshape",
    roots: &RESHAPES,
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(middle) = node.inputs[0] else { return Ok(Outcome::No) };
    let Some(first) = support::made_by(graph, middle, &RESHAPES) else { return Ok(Outcome::No) };
    let Some(source) = first.inputs[0] else { return Ok(Outcome::No) };
    let result = node.outputs[0];
    // Where the first has other readers it stays; this one still reads past it.
    let mut patch = Patch::new();
    match support::reshape(graph, &mut patch, &node.name, source, &support::fact(graph, result)?.shape)? {
        Some(new) => patch.replace(result, new),
        None => return Ok(Outcome::Missed("a Reshape cannot say more than one open extent".into())),
    }
    Ok(Outcome::Fire(patch))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Tensor};

    use crate::rules::testing::*;

    fn shape(extents: &[i64]) -> Tensor {
        Tensor::from_vec(&[extents.len()], extents.to_vec())
    }

    #[test]
    fn only_the_last_counts() {
        let build =
            Build::new().input("x", &[2, 3, 4]).tensor("s", shape(&[6, 4])).tensor("t", shape(&[0, 2, -1]));
        let build = build.node("Reshape", &["x", "s"], "a").node("Reshape", &["a", "t"], "y");
        fires(build.outputs(&["y"]), &["reshape_reshape"], &["Reshape"]);
        let build =
            Build::new().input("x", &[2, 3, 1, 1]).with("Flatten", &[("axis", Attr::Int(1))], &["x"], "a");
        let build = build.tensor("axes", shape(&[0])).node("Unsqueeze", &["a", "axes"], "y");
        fires(build.outputs(&["y"]), &["reshape_reshape"], &["Reshape"]);
    }

    #[test]
    fn the_first_stays_for_its_other_readers() {
        let build =
            Build::new().input("x", &[2, 3, 4]).tensor("s", shape(&[6, 4])).tensor("t", shape(&[3, 8]));
        let build = build.node("Reshape", &["x", "s"], "a").node("Reshape", &["a", "t"], "y").node(
            "Relu",
            &["a"],
            "z",
        );
        fires(build.outputs(&["y", "z"]), &["reshape_reshape"], &["Reshape", "Relu", "Reshape"]);
    }

    #[test]
    fn something_between_them_keeps_both() {
        let build =
            Build::new().input("x", &[2, 3, 4]).tensor("s", shape(&[6, 4])).tensor("t", shape(&[3, 8]));
        let build = build.node("Reshape", &["x", "s"], "a").node("Relu", &["a"], "b").node(
            "Reshape",
            &["b", "t"],
            "y",
        );
        ignores(build.outputs(&["y"]));
    }
}
