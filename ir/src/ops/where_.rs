//! `Where`: chooses elements by a condition.
//!
//! Spec: ONNX Where, versions 9 to 24. `output = condition ? x : y` over the broadcast of all three. Integers
//! that follow from extents stay known where the condition is a constant.

use super::elements::{Builder, Elements};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Expr, Lowering};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `Where`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    Ok(Box::new(Where))
}

/// `Where`.
pub const DEF: OpDef = OpDef { name: "Where", domain: "", since: (9, 16), parse, unsupported: "" };

impl Op for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (condition, x, y) =
            (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?, operand::fact(inputs, 2)?);
        if condition.dtype != DType::Bool {
            bail_invalid!("the condition must be bool, found {}", condition.dtype);
        }
        if x.dtype != y.dtype {
            bail_invalid!("both choices must have one type, found {} and {}", x.dtype, y.dtype);
        }
        let shape = operand::checked(broadcast::shapes([&condition.shape, &x.shape, &y.shape])?)?;
        let chosen = || -> Option<Vec<Dim>> {
            let (x, y) = (operand::known_dims(x)?, operand::known_dims(y)?);
            let flags = condition.tensor().filter(|t| t.shape.len() <= 1)?.to_i64s().ok()?;
            let count = shape.elements().as_usize()?;
            let at = |i: usize, n: usize| if n == 1 { 0 } else { i };
            let pick = |i: usize| match flags.get(at(i, flags.len()))? {
                0 => y.get(at(i, y.len())).cloned(),
                _ => x.get(at(i, x.len())).cloned(),
            };
            (0..count).map(pick).collect()
        };
        let known = if shape.rank() <= 1 { chosen() } else { None };
        Ok(vec![operand::with_dims(x.dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all = [operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?, operand::tensor(inputs, 2)?];
        let elements = all.map(Elements::raw);
        let (shape, strides) = broadcast::aligned(&all)?;
        let mut out = Builder::new(all[1].dtype, &shape);
        broadcast::for_each_position(&shape, &strides, |at| {
            let choice = if elements[0].bits(at[0]) != 0 { 1 } else { 2 };
            out.push_bits(elements[choice].bits(at[choice]));
        });
        Ok(vec![out.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        cx.pointwise(|operands| {
            let [c, x, y] = <[Expr; 3]>::try_from(operands).map_err(|_| Error::internal("needs 3 inputs"))?;
            Ok(Expr::select(c, x, y))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_by_condition() {
        let c = Tensor::from_bools(&[2, 1], [true, false]);
        let (x, y) = (Tensor::from_vec(&[2], vec![1i64, 2]), Tensor::scalar(9i64));
        let z = Where.eval(&[Some(&c), Some(&x), Some(&y)]).unwrap();
        assert_eq!(z[0], Tensor::from_vec(&[2, 2], vec![1i64, 2, 9, 9]));
    }

    #[test]
    fn extents_stay_known() {
        let c = Fact::of(&Tensor::from_bools(&[2], [true, false]));
        let x = Fact::of(&Tensor::scalar(1i64));
        let y = Fact::of_dims(vec![Dim::symbol("a"), Dim::symbol("b")]);
        let z = Where.infer(&[Some(&c), Some(&x), Some(&y)]).unwrap().swap_remove(0);
        assert_eq!(z.dims(), Some(vec![Dim::Const(1), Dim::symbol("b")]));
    }
}
