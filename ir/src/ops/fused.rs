//! `FusedConv` and `FusedGemm` of `com.microsoft`: an operator of ONNX and the activation behind it.
//!
//! Spec: ONNX Runtime's contrib operators, version 1.
//!
//! ```text
//! FusedConv   activation(Conv(x, w, b) + z)       b and z may be left out
//! FusedGemm   activation(Gemm(a, b, c))
//! ```
//!
//! Activations: Relu, Tanh, Sigmoid, HardSwish, LeakyRelu (alpha), HardSigmoid (alpha, beta) and Clip (least, most), with
//! their numbers in `activation_params`, for FusedGemm in `activation_alpha` and `activation_beta`. The other attributes are
//! those of the operator.
//!
//! Numerics: those of the operators.

use std::sync::Arc;

use super::composed::{Composed, Composer, Value, composed};
use super::{activation, binary, clip, conv, gemm, unary};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, MICROSOFT, NEWEST_OPSET, NodeProto, Op, OpDef};
use crate::{bail_invalid, bail_unsupported};

/// `com.microsoft::FusedConv`.
pub const CONV: OpDef = OpDef {
    name: "FusedConv",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse(true, node),
    unsupported: "more than 3 spatial axes",
};

/// `com.microsoft::FusedGemm`.
pub const GEMM: OpDef =
    OpDef { name: "FusedGemm", parse: |node| parse(false, node), unsupported: "", ..CONV };

/// An operator and the activation behind it.
#[derive(Clone, Debug)]
pub struct Fused {
    conv: bool,
    /// The operator of ONNX.
    inner: Arc<dyn Op>,
    /// Word and numbers of the activation.
    activation: Option<(String, Vec<f32>)>,
}

const GEMM_PARAMS: [&str; 3] = ["activation_alpha", "activation_beta", "activation_gamma"];

fn parse(conv: bool, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=if conv { 4 } else { 3 }, 1..=1)?;
    let word = node.string("activation")?.filter(|word| !word.is_empty());
    let mut params = if conv { node.floats("activation_params")?.unwrap_or_default() } else { vec![] };
    if !conv {
        for name in GEMM_PARAMS {
            params.extend(node.float(name)?);
        }
    }
    let activation = word.map(|word| (word, params));
    if let Some((word, params)) = &activation {
        known(word, params)?;
    }
    // What is added is no input of the operator.
    let count = node.inputs.iter().take(3).rposition(|p| *p).map_or(0, |i| i + 1);
    let inputs = &node.inputs[..count];
    let mut inside = NodeProto { attrs: &mut *node.attrs, opset: NEWEST_OPSET, inputs, outputs: 1 };
    let def = if conv { conv::DEF } else { gemm::DEF };
    let inner: Arc<dyn Op> = Arc::from((def.parse)(&mut inside)?);
    Ok(Box::new(Fused { conv, inner, activation }))
}

/// The definition of an activation and its attributes.
fn known(word: &str, params: &[f32]) -> Result<(&'static OpDef, Vec<(&'static str, Attr)>)> {
    let (def, names): (&'static OpDef, &[&'static str]) = match word {
        "Relu" => (&unary::RELU, &[]),
        "Tanh" => (&unary::TANH, &[]),
        "Sigmoid" => (&unary::SIGMOID, &[]),
        "HardSwish" => (&unary::HARD_SWISH, &[]),
        "LeakyRelu" => (&activation::LEAKY_RELU, &["alpha"]),
        "HardSigmoid" => (&activation::HARD_SIGMOID, &["alpha", "beta"]),
        "Clip" => (&clip::DEF, &["min", "max"]),
        other => bail_unsupported!("the activation '{other}' is not supported"),
    };
    if params.len() < names.len() {
        bail_invalid!("the activation {word} needs {} numbers, found {}", names.len(), params.len());
    }
    Ok((def, names.iter().zip(params).map(|(name, v)| (*name, Attr::Float(*v))).collect()))
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        if self.conv { CONV.name } else { GEMM.name }
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.inner.attrs();
        if let Some((word, params)) = &self.activation {
            attrs.insert("activation".into(), Attr::Str(word.clone()));
            if self.conv && !params.is_empty() {
                attrs.insert("activation_params".into(), Attr::Floats(params.clone()));
            }
            let named = GEMM_PARAMS.iter().zip(params).filter(|_| !self.conv);
            attrs.extend(named.map(|(name, v)| ((*name).to_owned(), Attr::Float(*v))));
        }
        attrs
    }

    composed!(product);
}

impl Composed for Fused {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let own = &inputs[..inputs.len().min(3)];
        let own = &own[..own.iter().rposition(Option::is_some).map_or(0, |i| i + 1)];
        let all = cx.node(self.inner.clone(), own)?;
        let mut y = all.first().copied().ok_or_else(|| Error::internal("operator without a result"))?;
        if let Some(addend) = inputs.get(3).copied().flatten() {
            let shape = cx.fact(y).shape.clone();
            y = cx.apply(&binary::ADD, &[], &[y, addend])?;
            if cx.fact(y).shape != shape {
                bail_invalid!("the addend does not have the shape {shape} of the result");
            }
        }
        if let Some((word, params)) = &self.activation {
            let (def, list) = known(word, params)?;
            y = cx.apply(def, &list, &[y])?;
        }
        Ok(vec![y])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, ints, parse, run, sample};
    use crate::tensor::Tensor;

    fn mapped(x: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
        Tensor::from_vec(&x.shape, x.to_f64s().unwrap().into_iter().map(|v| f(v) as f32).collect())
    }

    #[test]
    fn convolutions() {
        let (x, w, b) = (sample(&[1, 2, 5, 6], 5), sample(&[3, 2, 3, 3], 3), sample(&[3], 7));
        let z = sample(&[1, 3, 5, 6], 11);
        let pads = ("pads", ints(&[1, 1, 1, 1]));
        let plain = parse("Conv", 11, std::slice::from_ref(&pads), 3, 1).unwrap();
        let plain = run(&*plain, &[&x, &w, &b], &[]).unwrap().swap_remove(0);
        type Word<'a> = (&'a str, &'a [f32], fn(f64) -> f64);
        let words: [Word<'_>; 4] = [
            ("Relu", &[], |v| v.max(0.0)),
            ("LeakyRelu", &[0.25], |v| if v < 0.0 { v / 4.0 } else { v }),
            ("Clip", &[-1.0, 2.0], |v| v.clamp(-1.0, 2.0)),
            ("HardSigmoid", &[0.125, 0.5], |v| (v / 8.0 + 0.5).clamp(0.0, 1.0)),
        ];
        for (word, params, f) in words {
            let list = [
                pads.clone(),
                ("activation", Attr::Str(word.into())),
                ("activation_params", Attr::Floats(params.to_vec())),
            ];
            let list = if params.is_empty() { &list[..2] } else { &list };
            let op = parse("com.microsoft::FusedConv", 1, list, 3, 1).unwrap();
            assert_close(&run(&*op, &[&x, &w, &b], &[]).unwrap()[0], &mapped(&plain, f), 1e-6);
            let op = parse("com.microsoft::FusedConv", 1, list, 4, 1).unwrap();
            let sums = plain.to_f64s().unwrap().into_iter().zip(z.to_f64s().unwrap());
            let sums = Tensor::from_vec(&z.shape, sums.map(|(a, b)| (a + b) as f32).collect());
            assert_close(&run(&*op, &[&x, &w, &b, &z], &[]).unwrap()[0], &mapped(&sums, f), 1e-6);
        }
    }

    #[test]
    fn matrices() {
        let (a, b, c) = (sample(&[3, 5], 5), sample(&[4, 5], 3), sample(&[4], 7));
        let list = [("transB", Attr::Int(1)), ("alpha", Attr::Float(0.5))];
        let plain = run(&*parse("Gemm", 13, &list, 3, 1).unwrap(), &[&a, &b, &c], &[]).unwrap();
        let mut all = list.to_vec();
        all.extend([("activation", Attr::Str("LeakyRelu".into())), ("activation_alpha", Attr::Float(0.25))]);
        let op = parse("com.microsoft::FusedGemm", 1, &all, 3, 1).unwrap();
        let want = mapped(&plain[0], |v| if v < 0.0 { v / 4.0 } else { v });
        assert_close(&run(&*op, &[&a, &b, &c], &[]).unwrap()[0], &want, 1e-6);
    }

    #[test]
    fn refusals() {
        let with = |word: &str| {
            parse("com.microsoft::FusedConv", 1, &[("activation", Attr::Str(word.into()))], 2, 1)
        };
        assert!(with("Softplus").unwrap_err().message.contains("activation 'Softplus' is not supported"));
        assert!(with("LeakyRelu").unwrap_err().message.contains("needs 1 numbers, found 0"));
    }
}
