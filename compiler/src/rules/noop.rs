//! Layout changes that change nothing.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::reshape_reshape::RESHAPES;
use super::rule::{Outcome, Rule};
use super::support;
use super::transpose_transpose::permutation;

pub(super) const RULE: Rule = Rule {
    name: "noop",
    about: "a Reshape to the same shape or a Transpose to the same order goes away",
    roots: &["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let (Some(source), result) = (node.inputs[0], node.outputs[0]) else { return Ok(Outcome::No) };
    let (from, to) = (support::fact(graph, source)?, support::fact(graph, result)?);
    let same = match node.op.name() {
        name if RESHAPES.contains(&name) => from.shape == to.shape,
        _ => permutation(node, from.shape.rank()).is_some_and(|p| p.is_sorted()),
    };
    if !same {
        return Ok(Outcome::No);
    }
    if !support::may_alias(graph, result, source) {
        return Ok(Outcome::Missed("a result of the graph needs a node that makes it".into()));
    }
    let mut patch = Patch::new();
    patch.replace(result, source);
    Ok(Outcome::Fire(patch))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Dim, Tensor};

    use crate::rules::testing::*;

    #[test]
    fn reshapes_and_transposes_that_change_nothing() {
        let build = Build::new()
            .input("x", &[2, 3])
            .node("Relu", &["x"], "a")
            .tensor("s", Tensor::from_vec(&[2], vec![2i64, -1]));
        let build = build.node("Reshape", &["a", "s"], "b");
        let build = build.with("Transpose", &[("perm", Attr::Ints(vec![0, 1]))], &["b"], "c").node(
            "Relu",
            &["c"],
            "y",
        );
        fires(build.outputs(&["y"]), &["noop", "noop"], &["Relu", "Relu"]);
        let open = Build::new().open_input("x", &[Dim::symbol("n"), Dim::Const(3)]).node("Relu", &["x"], "a");
        let open = open.tensor("s", Tensor::from_vec(&[2], vec![0i64, 3])).node("Reshape", &["a", "s"], "y");
        let mut graph = open.outputs(&["y"]);
        crate::rules::run(&mut graph).unwrap();
        assert_eq!(operators(&graph), ["Relu"]);
        assert_eq!(graph.output_names(), ["y"]);
    }

    #[test]
    fn results_keep_a_node_of_their_own() {
        let same = Attr::Ints(vec![0, 1]);
        let build =
            Build::new().input("x", &[2, 3]).with("Transpose", &[("perm", same.clone())], &["x"], "y");
        let mut graph = build.outputs(&["y"]);
        let fired = crate::rules::run(&mut graph).unwrap();
        assert!(fired.iter().any(|f| f.rule == "noop" && f.missed.is_some()), "{fired:?}");
        assert_eq!(graph.node_count(), 1);
        let build = Build::new().input("x", &[2, 3]).node("Relu", &["x"], "a");
        let build = build.with("Transpose", &[("perm", same)], &["a"], "y");
        assert_eq!(
            {
                let mut g = build.outputs(&["y", "a"]);
                crate::rules::run(&mut g).unwrap();
                g.node_count()
            },
            2
        );
    }
}
