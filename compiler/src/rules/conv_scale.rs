//! A product by constant weights, then a multiplication or division by one constant per output channel: the
//! weights take the factor, as they do for batch normalisation.

use kiln_ir::graph::{Graph, Node, Patch};
use kiln_ir::{Result, Tensor};

use super::support::{self, NoTail};
use super::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "conv_scale",
    about: "Conv, Gemm or MatMul, then Mul or Div by a constant per channel: the weights take the factor",
    roots: &["Mul", "Div"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let division = node.op.name() == "Div";
    let tail = match support::tail(graph, node, &["Conv", "Gemm", "MatMul"], division)? {
        Ok(tail) => tail,
        Err(NoTail::No) => return Ok(Outcome::No),
        Err(NoTail::Missed(why)) => return Ok(Outcome::Missed(why)),
    };
    let product = tail.product;
    let Some(bias) = support::bias(graph, product) else {
        return Ok(Outcome::Missed(format!(
            "the bias of {} '{}' is not constant",
            product.op.name(),
            product.name
        )));
    };
    if division && tail.values.contains(&0.0) {
        return Ok(Outcome::Missed("the constant has a zero to divide by".into()));
    }
    let scaled = |tensor: &Tensor, axis: usize| {
        support::map_along(
            tensor,
            axis,
            |v, c| if division { v / tail.values[c] } else { v * tail.values[c] },
        )
    };
    let mut patch = Patch::new();
    let stem = |input: usize| {
        let id = product.inputs[input];
        format!("{}.scaled", id.map_or("", |id| &graph.value(id).name))
    };
    let mut inputs = vec![product.inputs[0].map(Into::into)];
    inputs.push(Some(patch.constant(&stem(1), scaled(tail.weights, tail.weights_axis)?)));
    if let Some(bias) = bias {
        let bias = support::widen_bias(bias, tail.values.len())?;
        inputs.push(Some(patch.constant(&stem(2), scaled(&bias, bias.shape.len() - 1)?)));
    }
    let new = patch.shared_node(graph, &product.name, product.op.clone(), &inputs)?[0];
    patch.replace(node.outputs[0], new);
    Ok(Outcome::Fire(patch))
}
