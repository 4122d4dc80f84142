//! A product by constant weights, then a multiplication or division by one constant per output channel: the
//! weights take the factor. Batch normalisation is decomposed into this and an addition.

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node};

use super::product::{Product, with_constant};
use super::rule::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "conv_scale",
    about: "Conv, Gemm or MatMul, then Mul or Div by a constant per channel: the weights take the factor",
    roots: &["Mul", "Div"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let division = node.op.name() == "Div";
    let Some((x, constant)) = with_constant(graph, node, division) else { return Ok(Outcome::No) };
    let product = match Product::behind(graph, x, node, &["Conv", "Gemm", "MatMul"])? {
        Ok(product) => product,
        Err(no) => return Ok(no.into()),
    };
    let mut factors = match product.per_channel(constant)? {
        Ok(factors) => factors,
        Err(no) => return Ok(no.into()),
    };
    if division {
        if factors.contains(&0.0) {
            return Ok(Outcome::Missed("the constant has a zero to divide by".into()));
        }
        factors.iter_mut().for_each(|f| *f = f.recip());
    }
    product.take(graph, node, Some(&factors), None)
}

#[cfg(test)]
mod tests {
    use kiln_ir::graph::Graph;
    use kiln_ir::{Attr, Tensor};

    use crate::rules::testing::*;

    fn conv(factor: &[usize]) -> Build {
        Build::new()
            .input("x", &[1, 4, 5, 5])
            .constant("w", &[6, 2, 3, 3])
            .constant("b", &[6])
            .constant("factor", factor)
            .with("Conv", &[("group", Attr::Int(2))], &["x", "w", "b"], "c")
    }

    fn fires_on(graph: Graph, op: &str) {
        fires(graph, &["conv_scale"], &[op]);
    }

    #[test]
    fn convolutions() {
        for factor in [&[6, 1, 1][..], &[1, 6, 1, 1], &[1], &[], &[1, 1, 1, 1]] {
            fires_on(conv(factor).node("Mul", &["c", "factor"], "y").outputs(&["y"]), "Conv");
            fires_on(conv(factor).node("Mul", &["factor", "c"], "y").outputs(&["y"]), "Conv");
            fires_on(conv(factor).node("Div", &["c", "factor"], "y").outputs(&["y"]), "Conv");
        }
    }

    #[test]
    fn matrix_products() {
        for bias in [&[][..], &[1], &[7], &[1, 7], &[3, 1], &[3, 7]] {
            for (trans, w) in [(0, [5, 7]), (1, [7, 5])] {
                let attrs =
                    [("transB", Attr::Int(trans)), ("alpha", Attr::Float(0.5)), ("beta", Attr::Float(2.0))];
                let build = Build::new()
                    .input("x", &[3, 5])
                    .constant("w", &w)
                    .constant("bias", bias)
                    .constant("factor", &[7]);
                let build = build.with("Gemm", &attrs, &["x", "w", "bias"], "c");
                fires_on(build.node("Mul", &["c", "factor"], "y").outputs(&["y"]), "Gemm");
            }
        }
        let build = Build::new().input("x", &[2, 3, 5]).constant("w", &[5, 7]).constant("factor", &[7]);
        fires_on(
            build.node("MatMul", &["x", "w"], "c").node("Mul", &["c", "factor"], "y").outputs(&["y"]),
            "MatMul",
        );
    }

    #[test]
    fn results_that_are_used_elsewhere() {
        let scaled = || conv(&[6, 1, 1]).node("Mul", &["c", "factor"], "y");
        misses(scaled().outputs(&["y", "c"]), "conv_scale", "used elsewhere");
        misses(scaled().node("Relu", &["c"], "z").outputs(&["y", "z"]), "conv_scale", "used elsewhere");
    }

    #[test]
    fn constants_of_other_shapes() {
        for factor in [&[3][..], &[6, 3, 3], &[1, 1, 3]] {
            misses(
                conv(factor).node("Mul", &["c", "factor"], "y").outputs(&["y"]),
                "conv_scale",
                "number a channel",
            );
        }
        for factor in [&[2, 6, 1, 1][..], &[1, 1, 1, 1, 1]] {
            misses(conv(factor).node("Mul", &["c", "factor"], "y").outputs(&["y"]), "conv_scale", "enlarges");
        }
        let zero = conv(&[1]).tensor("zero", Tensor::scalar(0f32)).node("Div", &["c", "zero"], "y");
        misses(zero.outputs(&["y"]), "conv_scale", "zero");
        // The reciprocal is beyond f32, the quotients of small results are not.
        let tiny = conv(&[1]).tensor("tiny", Tensor::scalar(1e-40f32)).node("Div", &["c", "tiny"], "y");
        misses(tiny.outputs(&["y"]), "conv_scale", "would overflow");
        let nan = conv(&[1]).tensor("nan", Tensor::scalar(f32::NAN)).node("Mul", &["c", "nan"], "y");
        misses(nan.outputs(&["y"]), "conv_scale", "finite");
    }

    #[test]
    fn operands_that_are_not_constant() {
        let build = Build::new().input("x", &[3, 5]).input("w", &[5, 7]).constant("factor", &[7]);
        let build = build.node("MatMul", &["x", "w"], "c").node("Mul", &["c", "factor"], "y");
        misses(build.outputs(&["y"]), "conv_scale", "weights of MatMul 'c' are not constant");
        ignores(conv(&[]).input("f", &[6, 1, 1]).node("Mul", &["c", "f"], "y").outputs(&["y"]));
        ignores(conv(&[1]).node("Div", &["factor", "c"], "y").outputs(&["y"]));
    }
}
