//! A convolution or Gemm, then the addition or subtraction of one constant per output channel: the bias takes
//! it. (A MatMul has no bias; `absorb` attaches the addition to it in the Kernel IR.)

use kiln_ir::graph::{Graph, Node, Patch};
use kiln_ir::{Attr, DType, Result, Tensor};

use super::support::{self, NoTail};
use super::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "conv_shift",
    about: "Conv or Gemm, then Add or Sub of a constant per channel: the bias takes it",
    roots: &["Add", "Sub"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let negative = node.op.name() == "Sub";
    let tail = match support::tail(graph, node, &["Conv", "Gemm"], negative)? {
        Ok(tail) => tail,
        Err(NoTail::No) => return Ok(Outcome::No),
        Err(NoTail::Missed(why)) => return Ok(Outcome::Missed(why)),
    };
    let product = tail.product;
    let what = format!("{} '{}'", product.op.name(), product.name);
    if let Some(Attr::Float(beta)) = product.op.attrs().get("beta")
        && *beta != 1.0
    {
        return Ok(Outcome::Missed(format!("{what} multiplies its bias by {beta}")));
    }
    let Some(bias) = support::bias(graph, product) else {
        return Ok(Outcome::Missed(format!("the bias of {what} is not constant")));
    };
    let channels = tail.values.len();
    let shift = |c: usize| if negative { -tail.values[c] } else { tail.values[c] };
    let bias = match bias {
        Some(bias) => {
            let bias = support::widen_bias(bias, channels)?;
            support::map_along(&bias, bias.shape.len() - 1, |v, c| v + shift(c))?
        }
        None if tail.weights.dtype == DType::F64 => {
            Tensor::from_vec(&[channels], (0..channels).map(shift).collect())
        }
        None => Tensor::from_vec(&[channels], (0..channels).map(|c| shift(c) as f32).collect()),
    };
    let mut patch = Patch::new();
    let bias = patch.constant(&format!("{}.bias", product.name), bias);
    let inputs = [product.inputs[0].map(Into::into), product.inputs[1].map(Into::into), Some(bias)];
    let new = patch.shared_node(graph, &product.name, product.op.clone(), &inputs)?[0];
    patch.replace(node.outputs[0], new);
    Ok(Outcome::Fire(patch))
}
