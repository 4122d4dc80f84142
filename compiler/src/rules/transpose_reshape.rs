//! A transpose that moves only axes of extent 1 leaves the elements where they are: it is a reshape.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::support;
use super::transpose_transpose::permutation;
use super::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "transpose_reshape",
    about: "a Transpose that moves only axes of extent 1 becomes a Reshape, which costs nothing",
    roots: &["Transpose"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(source) = node.inputs[0] else { return Ok(Outcome::No) };
    let shape = &support::fact(graph, source)?.shape;
    let Some(perm) = permutation(node, shape.rank()) else { return Ok(Outcome::No) };
    let moved = perm.into_iter().filter(|&axis| !shape[axis].is(1));
    if !moved.is_sorted() {
        return Ok(Outcome::No);
    }
    let mut patch = Patch::new();
    let result = node.outputs[0];
    match support::reshape(graph, &mut patch, &node.name, source, &support::fact(graph, result)?.shape)? {
        Some(new) => patch.replace(result, new),
        None => return Ok(Outcome::Missed("a Reshape cannot say more than one open extent".into())),
    }
    Ok(Outcome::Fire(patch))
}
