//! Zeros put around the operand of a convolution become padding of the convolution.

use kiln_ir::graph::{Graph, Node, Patch};
use kiln_ir::{Attr, Dim, Result, types};

use super::rule::{Outcome, Rule};
use super::support;

pub(super) const RULE: Rule = Rule {
    name: "pad_conv",
    about: "Pad with zeros, then Conv: the convolution pads by itself",
    roots: &["Conv"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(middle) = node.inputs[0] else { return Ok(Outcome::No) };
    let Some(pad) = support::made_by(graph, middle, &["Pad"]) else { return Ok(Outcome::No) };
    let Some(source) = pad.inputs[0] else { return Ok(Outcome::No) };
    let missed = |why: &str| Ok(Outcome::Missed(format!("Pad '{}' {why}", pad.name)));
    if !zeros(graph, pad) {
        return missed("does not pad with zeros");
    }
    let rank = support::fact(graph, middle)?.shape.rank();
    let Some(around) = amounts(graph, pad, rank)? else {
        return missed("pads by amounts that are not constant");
    };
    if (0..2).any(|axis| around[axis] != 0 || around[axis + rank] != 0) {
        return missed("pads the batch or the channels");
    }
    if around.iter().any(|&n| n < 0) {
        return missed("cuts elements off");
    }
    let mut attrs = node.op.attrs();
    match attrs.remove("auto_pad") {
        None => {}
        Some(Attr::Str(mode)) if mode == "NOTSET" || mode == "VALID" => {}
        Some(_) => return missed("stands before a Conv that pads automatically"),
    }
    let spatial = rank - 2;
    let mut pads = support::ints(node.op.as_ref(), "pads").unwrap_or_else(|| vec![0; 2 * spatial]);
    if pads.len() != 2 * spatial {
        return Ok(Outcome::No);
    }
    for axis in 0..spatial {
        pads[axis] += around[axis + 2];
        pads[axis + spatial] += around[axis + 2 + rank];
    }
    attrs.insert("pads".into(), Attr::Ints(pads));
    let op = support::operator("Conv", attrs, node.inputs.len())?;
    let mut patch = Patch::new();
    let mut inputs: Vec<_> = node.inputs.iter().map(|v| v.map(Into::into)).collect();
    inputs[0] = Some(source.into());
    // Where the Pad has other readers it stays; the convolution still reads past it.
    let new = patch.shared_node(graph, &node.name, op, &inputs)?[0];
    patch.replace(node.outputs[0], new);
    Ok(Outcome::Fire(patch))
}

fn zeros(graph: &Graph, pad: &Node) -> bool {
    let attrs = pad.op.attrs();
    let constant = attrs.get("mode").is_none_or(|mode| *mode == Attr::Str("constant".into()));
    let attribute = attrs.get("value").is_none_or(|value| *value == Attr::Float(0.0));
    let operand = pad.inputs.get(2).copied().flatten().is_none_or(|id| {
        let values = graph.constant(id).and_then(|t| t.to_f64s().ok());
        values.is_some_and(|v| v.iter().all(|v| *v == 0.0))
    });
    constant && attribute && operand
}

/// What a Pad adds at the beginning of each axis, then at the end of each.
fn amounts(graph: &Graph, pad: &Node, rank: usize) -> Result<Option<Vec<i64>>> {
    let constants = |input: usize| -> Result<Option<Vec<i64>>> {
        let Some(id) = pad.inputs.get(input).copied().flatten() else { return Ok(None) };
        Ok(support::fact(graph, id)?.dims().and_then(|d| d.iter().map(Dim::as_const).collect()))
    };
    let given = match support::ints(pad.op.as_ref(), "pads") {
        Some(pads) => Some(pads),
        None => constants(1)?,
    };
    let axes = match pad.inputs.get(3).copied().flatten() {
        None => Some((0..rank as i64).collect()),
        Some(_) => constants(3)?,
    };
    let (Some(given), Some(axes)) = (given, axes) else { return Ok(None) };
    if given.len() != 2 * axes.len() {
        return Ok(None);
    }
    let mut out = vec![0; 2 * rank];
    for (i, axis) in axes.iter().enumerate() {
        let axis = types::axis_of(*axis, rank)?;
        out[axis] = given[i];
        out[axis + rank] = given[i + axes.len()];
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use kiln_ir::graph::Graph;
    use kiln_ir::{Attr, Tensor};

    use crate::rules::testing::*;

    fn padded(pads: &[i64], value: f32, mode: &str, conv: &[(&str, Attr)]) -> Graph {
        let build = Build::new().input("x", &[1, 2, 5, 6]).constant("w", &[3, 2, 3, 3]);
        let build = build
            .tensor("pads", Tensor::from_vec(&[pads.len()], pads.to_vec()))
            .tensor("v", Tensor::scalar(value));
        let build = build.with("Pad", &[("mode", Attr::Str(mode.into()))], &["x", "pads", "v"], "p");
        build.with("Conv", conv, &["p", "w"], "y").outputs(&["y"])
    }

    #[test]
    fn zeros_become_padding() {
        let pads = [0, 0, 1, 2, 0, 0, 3, 0];
        fires(padded(&pads, 0.0, "constant", &[]), &["pad_conv"], &["Conv"]);
        let own = [("pads", Attr::Ints(vec![1, 0, 2, 1])), ("strides", Attr::Ints(vec![2, 1]))];
        fires(padded(&pads, 0.0, "constant", &own), &["pad_conv"], &["Conv"]);
        fires(
            padded(&pads, 0.0, "constant", &[("auto_pad", Attr::Str("VALID".into()))]),
            &["pad_conv"],
            &["Conv"],
        );
    }

    #[test]
    fn other_paddings_stay() {
        let pads = [0, 0, 1, 2, 0, 0, 3, 0];
        misses(padded(&pads, 1.0, "constant", &[]), "pad_conv", "zeros");
        misses(padded(&pads, 0.0, "reflect", &[]), "pad_conv", "zeros");
        misses(
            padded(&[1, 0, 1, 1, 0, 0, 1, 1], 0.0, "constant", &[]),
            "pad_conv",
            "the batch or the channels",
        );
        misses(padded(&[0, 0, -1, 1, 0, 0, 1, 1], 0.0, "constant", &[]), "pad_conv", "cuts");
        let same = [("auto_pad", Attr::Str("SAME_UPPER".into()))];
        misses(padded(&pads, 0.0, "constant", &same), "pad_conv", "automatically");
    }
}
