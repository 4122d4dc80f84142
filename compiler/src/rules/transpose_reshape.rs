//! A transpose that moves only axes of extent 1 leaves the elements where they are: it is a reshape.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::rule::{Outcome, Rule};
use super::support;
use super::transpose_transpose::permutation;

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

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Dim};

    use crate::rules::testing::*;

    #[test]
    fn axes_of_extent_one_move_for_free() {
        let perm = |p: &[i64]| [("perm", Attr::Ints(p.to_vec()))];
        let build =
            Build::new().input("x", &[1, 8, 1, 1]).with("Transpose", &perm(&[0, 2, 3, 1]), &["x"], "y");
        fires(build.outputs(&["y"]), &["transpose_reshape"], &["Reshape"]);
        let build =
            Build::new().input("x", &[1, 8, 1, 5]).with("Transpose", &perm(&[0, 2, 3, 1]), &["x"], "y");
        ignores(build.outputs(&["y"]));
        let open = |n: Dim| Build::new().open_input("x", &[Dim::symbol("a"), Dim::Const(1), n]);
        let one = open(Dim::Const(4)).with("Transpose", &perm(&[1, 0, 2]), &["x"], "y").outputs(&["y"]);
        assert_eq!(
            {
                let mut g = one;
                crate::rules::run(&mut g).unwrap();
                operators(&g)
            },
            ["Reshape"]
        );
        let two = open(Dim::symbol("b")).with("Transpose", &perm(&[1, 0, 2]), &["x"], "y").outputs(&["y"]);
        misses(two, "transpose_reshape", "more than one open extent");
    }
}
