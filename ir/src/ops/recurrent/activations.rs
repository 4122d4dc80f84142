//! The functions of gates, by the names and parameters of the attributes.

use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, OpDef};
use crate::ops::composed::{Composer, Value};
use crate::ops::{activation, unary};

/// A function with its parameters; those that it lacks are 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activation {
    /// As `activations` calls it.
    name: &'static str,
    alpha: f32,
    beta: f32,
}

/// Names, and the defaults of those parameters that they have.
const KNOWN: [(&str, Option<f32>, Option<f32>); 11] = [
    ("Relu", None, None),
    ("Tanh", None, None),
    ("Sigmoid", None, None),
    ("Softsign", None, None),
    ("Softplus", None, None),
    ("Affine", Some(1.0), Some(0.0)),
    ("LeakyRelu", Some(0.01), None),
    ("ThresholdedRelu", Some(1.0), None),
    ("ScaledTanh", Some(1.0), Some(1.0)),
    ("HardSigmoid", Some(0.2), Some(0.5)),
    ("Elu", Some(1.0), None),
];

/// Functions by their names, whatever the case of the letters. Each that has a parameter takes the next of the list.
pub(super) fn parse(
    names: &[String],
    alphas: Option<&[f32]>,
    betas: Option<&[f32]>,
) -> Result<Vec<Activation>> {
    let (mut alphas, mut betas) =
        (alphas.unwrap_or_default().iter().copied(), betas.unwrap_or_default().iter().copied());
    let one = |name: &String| {
        let Some((known, alpha, beta)) = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
        else {
            bail_invalid!("'{name}' is no activation")
        };
        let next = |default: &Option<f32>, list: &mut dyn Iterator<Item = f32>| {
            default.map_or(0.0, |default| list.next().unwrap_or(default))
        };
        Ok(Activation { name: known, alpha: next(alpha, &mut alphas), beta: next(beta, &mut betas) })
    };
    names.iter().map(one).collect()
}

/// The attributes that `parse` reads.
pub(super) fn attrs(list: &[Activation]) -> Attrs {
    let has = |name: &str| KNOWN.iter().find(|(known, ..)| *known == name);
    let alphas =
        list.iter().filter(|a| has(a.name).is_some_and(|k| k.1.is_some())).map(|a| a.alpha).collect();
    let betas = list.iter().filter(|a| has(a.name).is_some_and(|k| k.2.is_some())).map(|a| a.beta).collect();
    Attrs::from([
        ("activations".to_owned(), Attr::Strs(list.iter().map(|a| a.name.to_owned()).collect())),
        ("activation_alpha".to_owned(), Attr::Floats(alphas)),
        ("activation_beta".to_owned(), Attr::Floats(betas)),
    ])
}

impl Activation {
    /// Of a value.
    pub(super) fn apply(&self, cx: &mut Composer<'_>, x: Value) -> Result<Value> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let mut with = |def: &OpDef, names: &[&str]| {
            let values = [self.alpha, self.beta].map(Attr::Float);
            let list: Vec<(&str, Attr)> = names.iter().copied().zip(values).collect();
            cx.apply(def, &list, &[x])
        };
        match self.name {
            "Relu" => with(&unary::RELU, &[]),
            "Tanh" => with(&unary::TANH, &[]),
            "Sigmoid" => with(&unary::SIGMOID, &[]),
            "Softsign" => with(&unary::SOFTSIGN, &[]),
            "Softplus" => with(&unary::SOFTPLUS, &[]),
            "LeakyRelu" => with(&activation::LEAKY_RELU, &["alpha"]),
            "ThresholdedRelu" => with(&activation::THRESHOLDED_RELU, &["alpha"]),
            "HardSigmoid" => with(&activation::HARD_SIGMOID, &["alpha", "beta"]),
            "Elu" => with(&activation::ELU, &["alpha"]),
            "ScaledTanh" => {
                let inner = cx.times(x, beta)?;
                let value = cx.apply(&unary::TANH, &[], &[inner])?;
                cx.times(value, alpha)
            }
            _ => {
                let product = cx.times(x, alpha)?;
                cx.plus(product, beta)
            }
        }
    }
}
