//! Batch normalisation behind a convolution or Gemm is a factor and an addend per channel: the weights and the
//! bias take both, computed in f64 and rounded once.

use kiln_ir::graph::{Graph, Node};
use kiln_ir::{Attr, Result};

use super::product::Product;
use super::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "batch_norm",
    about: "Conv or Gemm, then BatchNormalization: weights and bias take it",
    roots: &["BatchNormalization"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let Some(x) = node.inputs[0] else { return Ok(Outcome::No) };
    let product = match Product::behind(graph, x, node, &["Conv", "Gemm"])? {
        Ok(product) => product,
        Err(no) => return Ok(no.into()),
    };
    let mut parameters = Vec::with_capacity(4);
    for (i, name) in ["scale", "bias", "mean", "variance"].into_iter().enumerate() {
        let constant = node.inputs.get(i + 1).copied().flatten().and_then(|id| graph.constant(id));
        let Some(constant) = constant else {
            return Ok(Outcome::Missed(format!("the {name} is not constant")));
        };
        parameters.push(constant.to_f64s()?);
    }
    let epsilon = match node.op.attrs().get("epsilon") {
        Some(Attr::Float(epsilon)) => f64::from(*epsilon),
        _ => 1e-5,
    };
    let (scale, bias, mean, variance) = (&parameters[0], &parameters[1], &parameters[2], &parameters[3]);
    let factors: Vec<f64> = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let addends: Vec<f64> = bias.iter().zip(mean).zip(&factors).map(|((b, m), f)| b - m * f).collect();
    if factors.len() != product.channels() || addends.len() != product.channels() {
        return Ok(Outcome::No);
    }
    if factors.iter().chain(&addends).any(|v| !v.is_finite()) {
        return Ok(Outcome::Missed("a parameter is not finite, or a variance is negative".into()));
    }
    product.take(graph, node, Some(&factors), Some(&addends))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Attr, Tensor};

    use crate::rules::testing::*;

    fn norm(build: Build, channels: usize, variance: f32) -> Build {
        let build =
            build.constant("scale", &[channels]).constant("shift", &[channels]).constant("mean", &[channels]);
        let build = build.tensor("var", Tensor::from_vec(&[channels], vec![variance; channels]));
        build.with(
            "BatchNormalization",
            &[("epsilon", Attr::Float(1e-3))],
            &["c", "scale", "shift", "mean", "var"],
            "y",
        )
    }

    fn conv(inputs: &[&str]) -> Build {
        let build = Build::new().input("x", &[1, 4, 5, 5]).constant("w", &[6, 4, 3, 3]).constant("b", &[6]);
        build.node("Conv", inputs, "c")
    }

    #[test]
    fn behind_convolutions_and_gemm() {
        for inputs in [&["x", "w"][..], &["x", "w", "b"]] {
            fires(norm(conv(inputs), 6, 0.7).outputs(&["y"]), &["batch_norm"], &["Conv"]);
        }
        for bias in [&[][..], &[7], &[3, 7]] {
            let build = Build::new().input("x", &[3, 5]).constant("w", &[7, 5]).constant("b", bias);
            let build = build.with("Gemm", &[("transB", Attr::Int(1))], &["x", "w", "b"], "c");
            fires(norm(build, 7, 0.7).outputs(&["y"]), &["batch_norm"], &["Gemm"]);
        }
    }

    #[test]
    fn what_must_not_fire() {
        let both = norm(conv(&["x", "w"]), 6, 0.7).outputs(&["y", "c"]);
        misses(both, "batch_norm", "used elsewhere");
        misses(norm(conv(&["x", "w"]), 6, -0.7).outputs(&["y"]), "batch_norm", "variance is negative");
        let open = conv(&["x", "w"]).input("s", &[6]).constant("p", &[6]);
        let open = open.node("BatchNormalization", &["c", "s", "p", "p", "p"], "y");
        misses(open.outputs(&["y"]), "batch_norm", "the scale is not constant");
        ignores(norm(Build::new().input("c", &[1, 6, 5, 5]), 6, 0.7).outputs(&["y"]));
    }
}
