//! `Gelu`: the Gaussian error linear unit.
//!
//! Spec: ONNX Gelu, version 20. `y = x / 2 * (1 + erf(x / sqrt(2)))`, or with `approximate = tanh`
//! `y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`. Floats; the output has the type of `x`.

use super::elementwise::{add, mul, num, un};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{Lowering, UnaryOp};
use crate::numerics;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// `Gelu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gelu {
    /// Whether to use the approximation by tanh.
    pub tanh: bool,
}

const CUBIC: f64 = 0.044715;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    match node.string("approximate")?.as_deref() {
        None | Some("none") => Ok(Box::new(Gelu { tanh: false })),
        Some("tanh") => Ok(Box::new(Gelu { tanh: true })),
        Some(other) => bail_invalid!("attribute 'approximate' must be none or tanh, found '{other}'"),
    }
}

/// `Gelu`.
pub const DEF: OpDef = OpDef { name: "Gelu", domain: "", since: (20, 20), parse, unsupported: "" };

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "Gelu"
    }

    fn attrs(&self) -> Attrs {
        let approximate = if self.tanh { "tanh" } else { "none" };
        Attrs::from([("approximate".to_owned(), Attr::Str(approximate.to_owned()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !x.dtype.is_float() {
            bail_invalid!("takes floats, found {}", x.dtype);
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let gate = |x: f64| match self.tanh {
            true => (FRAC_2_PI.sqrt() * (x + CUBIC * x.powi(3))).tanh(),
            false => numerics::erf(x * FRAC_1_SQRT_2),
        };
        Ok(vec![broadcast::map_floats(x.dtype, &[x], |v| 0.5 * v[0] * (1.0 + gate(v[0])))?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let t = cx.fact(0)?.dtype;
        cx.pointwise(|operands| {
            let x = operands.into_iter().next().ok_or_else(|| Error::internal("needs 1 input"))?;
            let gate = if self.tanh {
                let scale = FRAC_2_PI.sqrt();
                let square = mul(x.clone(), x.clone());
                let slope = add(mul(square, num(t, scale * CUBIC)), num(t, scale));
                un(UnaryOp::Tanh, mul(x.clone(), slope))
            } else {
                un(UnaryOp::Erf, mul(x.clone(), num(t, FRAC_1_SQRT_2)))
            };
            Ok(mul(mul(x, num(t, 0.5)), add(gate, num(t, 1.0))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::check_digits;

    #[test]
    fn large_negative_numbers_give_0() {
        let xs: Vec<f32> = vec![-30.0, -1e3, -1e10, -1e19, -1e30, -3.4e38];
        for tanh in [false, true] {
            check_digits(&Gelu { tanh }, |_| 0.0, &xs, 0.0);
        }
    }

    #[test]
    fn values_of_the_onnx_node_tests() {
        let x = Tensor::from_vec(&[3], vec![-1f64, 0.0, 1.0]);
        let check = |tanh, expected: [f64; 3]| {
            let y = Gelu { tanh }.eval(&[Some(&x)]).unwrap()[0].to_f64s().unwrap();
            assert!(y.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{y:?}");
        };
        check(false, [-0.15865526, 0.0, 0.84134474]);
        check(true, [-0.158808, 0.0, 0.841192]);
    }
}
