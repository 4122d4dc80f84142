//! `Mod`: remainders.
//!
//! Spec: ONNX Mod, versions 10 to 24. Without `fmod` the result has the sign of the divisor (Python's `%`),
//! for integers only; with `fmod` that of the dividend (C's `fmod`). A remainder by zero is 0 for integers, where
//! the spec leaves it undefined, and NaN for floats. Remainders of integers that follow from extents stay known.

use super::{broadcast, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `Mod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mod {
    /// Whether the result has the sign of the dividend.
    pub fmod: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Mod { fmod: node.flag("fmod", false)? }))
}

/// `Mod`.
pub const DEF: OpDef = OpDef { name: "Mod", domain: "", since: (10, 13), parse, unsupported: "" };

impl Op for Mod {
    fn name(&self) -> &'static str {
        "Mod"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("fmod".to_owned(), Attr::Int(self.fmod.into()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (a, b) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let dtype = operand::same_types(&[a, b])?;
        let accepted = dtype.is_int() || (dtype.is_float() && self.fmod);
        if !accepted {
            bail_invalid!("takes integers, or floats where attribute 'fmod' is 1; found {dtype}");
        }
        let shape = operand::checked(broadcast::shapes([&a.shape, &b.shape])?)?;
        let known = operand::zip_known(a, b, |a, b| {
            if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
                return Some(Dim::Const(remainder(self.fmod, a.into(), b.into()) as i64));
            }
            let decided = operand::at_least_zero(a) && operand::at_least_zero(b);
            decided.then(|| Some(a.clone() - a.floor_div(b)? * b.clone())).flatten()
        });
        Ok(vec![operand::with_dims(dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let operands = [operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?];
        let y = broadcast::map(operands[0].dtype, &operands, |v| match (v[0], v[1]) {
            (Number::Int(a), Number::Int(b)) => Number::Int(remainder(self.fmod, a, b)),
            (a, b) => Number::Float(a.float() % b.float()),
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let op = if self.fmod { BinaryOp::Rem } else { BinaryOp::Mod };
        cx.pointwise(|operands| {
            let [a, b] = <[Expr; 2]>::try_from(operands).map_err(|_| Error::internal("needs 2 inputs"))?;
            Ok(Expr::binary(op, a, b))
        })
    }
}

fn remainder(fmod: bool, a: i128, b: i128) -> i128 {
    match a.checked_rem(b) {
        None => 0,
        Some(r) if !fmod && r != 0 && (r < 0) != (b < 0) => r + b,
        Some(r) => r,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_zero() {
        let a = Tensor::from_vec(&[7], vec![-4i32, 7, 5, 4, -7, 8, 3]);
        let b = Tensor::from_vec(&[7], vec![2i32, -3, 8, -2, 3, 5, 0]);
        let eval = |fmod| Mod { fmod }.eval(&[Some(&a), Some(&b)]).unwrap().swap_remove(0);
        assert_eq!(eval(false), Tensor::from_vec(&[7], vec![0i32, -2, 5, 0, 2, 3, 0]));
        assert_eq!(eval(true), Tensor::from_vec(&[7], vec![0i32, 1, 5, 0, -1, 3, 0]));
        let (x, y) = (Tensor::scalar(-4.3f32), Tensor::scalar(2.1f32));
        let z = Mod { fmod: true }.eval(&[Some(&x), Some(&y)]).unwrap();
        assert_eq!(z[0], Tensor::scalar(-4.3f32 % 2.1));
        assert!(Mod { fmod: false }.infer(&[Some(&Fact::of(&x)), Some(&Fact::of(&y))]).is_err());
    }
}
