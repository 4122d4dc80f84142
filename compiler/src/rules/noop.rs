//! Layout changes that change nothing.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::reshape_reshape::RESHAPES;
use super::support;
use super::transpose_transpose::permutation;
use super::{Outcome, Rule};

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
