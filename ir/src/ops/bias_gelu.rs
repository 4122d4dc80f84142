//! Gaussian error linear units of `com.microsoft`: `BiasGelu`, `FastGelu`, `Gelu` and `QuickGelu`.
//!
//! Spec: ONNX Runtime's contrib operators, version 1.
//!
//! ```text
//! Gelu       gelu(x)
//! BiasGelu   gelu(x + bias)
//! FastGelu   gelu(x + bias) by tanh       the bias may be left out
//! QuickGelu  x * sigmoid(alpha * x)       alpha 1.702
//! ```
//!
//! with `gelu` of [`super::gelu`]. The bias has the length of the last axis. Floats; in the element type.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, gelu, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};

macro_rules! operators {
    ($($constant:ident $kind:ident;)*) => {
        $(
            #[doc = concat!("`com.microsoft::", stringify!($kind), "`.")]
            pub const $constant: OpDef = OpDef {
                name: stringify!($kind),
                domain: MICROSOFT,
                since: (1, 1),
                parse: |node| parse(Kind::$kind, node),
                unsupported: "",
            };
        )*
    };
}
operators! {
    BIAS BiasGelu;
    FAST FastGelu;
    PLAIN Gelu;
    QUICK QuickGelu;
}

/// Which operator.
#[allow(missing_docs)] // the names of the domain
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BiasGelu,
    FastGelu,
    Gelu,
    QuickGelu,
}

/// A unit of the domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BiasGelu {
    /// Which operator.
    pub kind: Kind,
    /// Factor of the gate of `QuickGelu`.
    pub alpha: f32,
}

fn parse(kind: Kind, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(
        match kind {
            Kind::BiasGelu => 2..=2,
            Kind::FastGelu => 1..=2,
            Kind::Gelu | Kind::QuickGelu => 1..=1,
        },
        1..=1,
    )?;
    let alpha = if kind == Kind::QuickGelu { node.float("alpha")?.unwrap_or(1.702) } else { 0.0 };
    Ok(Box::new(BiasGelu { kind, alpha }))
}

impl Op for BiasGelu {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::BiasGelu => BIAS.name,
            Kind::FastGelu => FAST.name,
            Kind::Gelu => PLAIN.name,
            Kind::QuickGelu => QUICK.name,
        }
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let alpha = (self.kind == Kind::QuickGelu).then(|| ("alpha".to_owned(), Attr::Float(self.alpha)));
        alpha.into_iter().collect()
    }

    composed!();
}

impl Composed for BiasGelu {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut x = required(inputs, 0)?;
        let shape = cx.fact(x).shape.clone();
        if let Some(bias) = inputs.get(1).copied().flatten() {
            if cx.fact(bias).shape.rank() != 1 || shape.rank() == 0 {
                bail_invalid!("a bias of shape {} for {shape}", cx.fact(bias).shape);
            }
            x = cx.apply(&binary::ADD, &[], &[x, bias])?;
        }
        Ok(vec![match self.kind {
            Kind::BiasGelu | Kind::Gelu => cx.apply(&gelu::DEF, &[], &[x])?,
            Kind::FastGelu => cx.apply(&gelu::DEF, &[("approximate", Attr::Str("tanh".into()))], &[x])?,
            Kind::QuickGelu => {
                let dtype = cx.fact(x).dtype;
                if !dtype.is_float() {
                    bail_invalid!("takes floats, found {dtype}");
                }
                let alpha = cx.number(dtype, self.alpha.into())?;
                let scaled = cx.apply(&binary::MUL, &[], &[x, alpha])?;
                let gate = cx.apply(&unary::SIGMOID, &[], &[scaled])?;
                cx.apply(&binary::MUL, &[], &[x, gate])?
            }
        }])
    }
}

#[cfg(test)]
mod tests {
    use crate::numerics::erf;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn by_their_formulas() {
        let (x, bias) = (sample(&[3, 5], 5), sample(&[5], 3));
        let exact = |x: f64| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()));
        let tanh = |x: f64| {
            x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        };
        let quick = |x: f64| x / (1.0 + (-1.702 * x).exp());
        type Case<'a> = (&'a str, &'a dyn Fn(f64) -> f64, &'a [usize]);
        let formulas: [Case<'_>; 4] = [
            ("Gelu", &exact, &[1]),
            ("BiasGelu", &exact, &[2]),
            ("FastGelu", &tanh, &[1, 2]),
            ("QuickGelu", &quick, &[1]),
        ];
        for (name, formula, counts) in formulas {
            for &n in counts {
                let op = parse(&format!("com.microsoft::{name}"), 1, &[], n, 1).unwrap();
                let y = run(&*op, &[&x, &bias][..n], &[]).unwrap();
                let (xs, b) = (x.to_f64s().unwrap(), bias.to_f64s().unwrap());
                let shift = |i: usize| if n == 2 { b[i % 5] } else { 0.0 };
                let want = (0..15).map(|i| formula(xs[i] + shift(i)) as f32).collect();
                assert_close(&y[0], &Tensor::from_vec(&[3, 5], want), 1e-6);
            }
        }
    }

    #[test]
    fn refusals() {
        let op = parse("com.microsoft::BiasGelu", 1, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[2, 3]]).contains("a bias of shape"));
    }
}
