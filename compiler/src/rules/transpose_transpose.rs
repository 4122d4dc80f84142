//! Two transposes in a row are one.

use std::collections::BTreeMap;

use kiln_ir::graph::{Graph, Node, Patch};
use kiln_ir::{Attr, Result};

use super::rule::{Outcome, Rule};
use super::support;

pub(super) const RULE: Rule = Rule {
    name: "transpose_transpose",
    about: "two Transposes in a row become one, or none",
    roots: &["Transpose"],
    apply,
};

/// The axis of the operand that each axis of a Transpose's result is.
pub(super) fn permutation(node: &Node, rank: usize) -> Option<Vec<usize>> {
    let Some(perm) = support::ints(node.op.as_ref(), "perm") else { return Some((0..rank).rev().collect()) };
    let perm: Vec<usize> =
        perm.into_iter().filter_map(|a| usize::try_from(a).ok()).filter(|a| *a < rank).collect();
    (perm.len() == rank).then_some(perm)
}

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(middle) = node.inputs[0] else { return Ok(Outcome::No) };
    let Some(first) = support::made_by(graph, middle, &["Transpose"]) else { return Ok(Outcome::No) };
    let Some(source) = first.inputs[0] else { return Ok(Outcome::No) };
    let rank = support::fact(graph, source)?.shape.rank();
    let (Some(p), Some(q)) = (permutation(first, rank), permutation(node, rank)) else {
        return Ok(Outcome::No);
    };
    // Where the first transpose has other readers it stays; this one still reads past it.
    let perm: Vec<usize> = q.iter().map(|&axis| p[axis]).collect();
    let mut patch = Patch::new();
    if perm.is_sorted() && support::may_alias(graph, node.outputs[0], source) {
        patch.replace(node.outputs[0], source);
    } else {
        let perm = Attr::Ints(perm.into_iter().map(|a| a as i64).collect());
        let op = support::operator("Transpose", BTreeMap::from([("perm".into(), perm)]), 1)?;
        let new = patch.shared_node(graph, &node.name, op, &[Some(source.into())])?[0];
        patch.replace(node.outputs[0], new);
    }
    Ok(Outcome::Fire(patch))
}

#[cfg(test)]
mod tests {
    use kiln_ir::Attr;

    use crate::rules::testing::*;

    fn two(p: &[i64], q: &[i64]) -> Build {
        let perm = |p: &[i64]| [("perm", Attr::Ints(p.to_vec()))];
        let build = Build::new().input("x", &[2, 3, 4, 5]).node("Relu", &["x"], "r");
        build.with("Transpose", &perm(p), &["r"], "a").with("Transpose", &perm(q), &["a"], "b")
    }

    #[test]
    fn two_become_one_or_none() {
        let none = two(&[0, 2, 3, 1], &[0, 3, 1, 2]).node("Relu", &["b"], "y").outputs(&["y"]);
        fires(none, &["transpose_transpose"], &["Relu", "Relu"]);
        let one = two(&[0, 2, 3, 1], &[1, 0, 3, 2]).outputs(&["b"]);
        fires(one, &["transpose_transpose"], &["Relu", "Transpose"]);
    }

    #[test]
    fn the_first_stays_for_its_other_readers() {
        let graph = two(&[0, 2, 3, 1], &[1, 0, 3, 2]).node("Relu", &["a"], "z").outputs(&["b", "z"]);
        let after = fires(graph, &["transpose_transpose"], &["Relu", "Transpose", "Relu", "Transpose"]);
        assert_eq!(after.output_names(), ["b", "z"]);
    }

    #[test]
    fn without_perm_the_order_is_reversed() {
        let build =
            Build::new().input("x", &[2, 3, 4]).node("Relu", &["x"], "r").node("Transpose", &["r"], "a");
        fires(build.node("Transpose", &["a"], "b").outputs(&["b"]), &["transpose_transpose"], &["Relu"]);
    }

    #[test]
    fn something_between_them_keeps_both() {
        let build =
            Build::new().input("x", &[2, 3, 4]).node("Transpose", &["x"], "a").node("Relu", &["a"], "b");
        ignores(build.node("Transpose", &["b"], "y").outputs(&["y"]));
    }
}
