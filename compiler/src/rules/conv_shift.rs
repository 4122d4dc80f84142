//! A convolution or Gemm, then the addition or subtraction of one constant per output channel: the bias takes
//! it. (A MatMul has no bias; `absorb` attaches the addition to it in the Kernel IR.)

use kiln_ir::Result;
use kiln_ir::graph::{Graph, Node};

use super::product::{Product, with_constant};
use super::rule::{Outcome, Rule};

pub(super) const RULE: Rule = Rule {
    name: "conv_shift",
    about: "Conv or Gemm, then Add or Sub of a constant per channel: the bias takes it",
    roots: &["Add", "Sub"],
    apply,
};

fn apply(graph: &Graph, node: &Node) -> Result<Outcome> {
    let negative = node.op.name() == "Sub";
    let Some((x, constant)) = with_constant(graph, node, negative) else { return Ok(Outcome::No) };
    let product = match Product::behind(graph, x, node, &["Conv", "Gemm"])? {
        Ok(product) => product,
        Err(no) => return Ok(no.into()),
    };
    let mut addends = match product.per_channel(constant)? {
        Ok(addends) => addends,
        Err(no) => return Ok(no.into()),
    };
    if negative {
        addends.iter_mut().for_each(|a| *a = -*a);
    }
    product.take(graph, node, None, Some(&addends))
}

#[cfg(test)]
mod tests {
    use kiln_ir::Attr;

    use crate::rules::testing::*;

    fn conv(shift: &[usize], bias: bool) -> Build {
        let build = Build::new().input("x", &[1, 4, 5, 5]).constant("w", &[6, 4, 3, 3]).constant("b", &[6]);
        build.constant("shift", shift).node("Conv", if bias { &["x", "w", "b"] } else { &["x", "w"] }, "c")
    }

    #[test]
    fn convolutions() {
        for shift in [&[6, 1, 1][..], &[1, 6, 1, 1], &[1], &[]] {
            for bias in [false, true] {
                for (op, inputs) in
                    [("Add", ["c", "shift"]), ("Add", ["shift", "c"]), ("Sub", ["c", "shift"])]
                {
                    let graph = conv(shift, bias).node(op, &inputs, "y").outputs(&["y"]);
                    fires(graph, &["conv_shift"], &["Conv"]);
                }
            }
        }
    }

    #[test]
    fn batch_normalisation_written_out() {
        let build = conv(&[6, 1, 1], true).constant("scale", &[6, 1, 1]).node("Mul", &["c", "scale"], "m");
        fires(
            build.node("Add", &["m", "shift"], "y").outputs(&["y"]),
            &["conv_scale", "conv_shift"],
            &["Conv"],
        );
    }

    fn gemm(beta: f32, bias: &[usize]) -> Build {
        let build = Build::new()
            .input("x", &[3, 5])
            .constant("w", &[5, 7])
            .constant("b", bias)
            .constant("shift", &[7]);
        build.with("Gemm", &[("beta", Attr::Float(beta)), ("alpha", Attr::Float(0.5))], &["x", "w", "b"], "c")
    }

    #[test]
    fn gemm_with_any_bias() {
        for bias in [&[][..], &[1], &[7], &[3, 1], &[3, 7]] {
            fires(
                gemm(1.0, bias).node("Add", &["c", "shift"], "y").outputs(&["y"]),
                &["conv_shift"],
                &["Gemm"],
            );
        }
    }

    #[test]
    fn what_must_not_fire() {
        let shifted = gemm(2.0, &[7]).node("Add", &["c", "shift"], "y").outputs(&["y"]);
        misses(shifted, "conv_shift", "multiplies its bias by 2");
        let shifted = || conv(&[6, 1, 1], true).node("Add", &["c", "shift"], "y");
        misses(shifted().outputs(&["y", "c"]), "conv_shift", "used elsewhere");
        misses(
            conv(&[6, 3, 3], true).node("Add", &["c", "shift"], "y").outputs(&["y"]),
            "conv_shift",
            "number a channel",
        );
        // Residual connections and reversed subtractions are other things.
        ignores(conv(&[], true).input("r", &[1, 6, 3, 3]).node("Add", &["c", "r"], "y").outputs(&["y"]));
        ignores(conv(&[1], true).node("Sub", &["shift", "c"], "y").outputs(&["y"]));
        let open = Build::new().input("x", &[1, 4, 5, 5]).constant("w", &[6, 4, 3, 3]).input("b", &[6]);
        let open = open.constant("shift", &[1]).node("Conv", &["x", "w", "b"], "c").node(
            "Add",
            &["c", "shift"],
            "y",
        );
        misses(open.outputs(&["y"]), "conv_shift", "bias of Conv 'c' is not constant");
    }
}
