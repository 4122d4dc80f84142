//! Of several reshapes in a row only the last counts.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node, Patch};

use super::support;
use super::{Outcome, Rule};

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
