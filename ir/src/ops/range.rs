//! `Range`: an arithmetic progression.
//!
//! Spec: ONNX Range, version 11. `y[i] = start + i * delta` for `max(ceil((limit - start) / delta), 0)` elements
//! of the inputs' common type. Three constants are folded; integers with open extents are computed by a kernel.
//!
//! Unsupported: bounds that are computed at run time.

use super::elements::{Builder, Elements};
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, BinaryOp, Expr, Form, Lowering, Scalar, Store};
use crate::limits::MAX_ELEMENTS;
use crate::numerics::Number;
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    Ok(Box::new(Range))
}

/// `Range`.
pub const DEF: OpDef =
    OpDef { name: "Range", domain: "", since: (11, 11), parse, unsupported: "bounds computed at run time" };

fn numbers(tensors: &[&Tensor]) -> Result<[Number; 3]> {
    let number = |i: usize| -> Result<Number> {
        let t = tensors.get(i).filter(|t| t.elements() == 1);
        Ok(Elements::new(t.ok_or_else(|| Error::invalid(format!("input {i} must be a scalar")))?)?.number(0))
    };
    Ok([number(0)?, number(1)?, number(2)?])
}

fn count(bounds: [Number; 3]) -> Result<usize> {
    let count = match bounds {
        [_, _, Number::Int(0)] => bail_invalid!("delta is 0"),
        [Number::Int(start), Number::Int(limit), Number::Int(delta)] => {
            let (distance, size) = (limit - start, delta.abs());
            let steps = if delta > 0 { distance } else { -distance };
            (steps.max(0) + size - 1) / size
        }
        [start, limit, delta] => {
            let steps = ((limit.float() - start.float()) / delta.float()).ceil();
            if !steps.is_finite() {
                bail_invalid!(
                    "a range from {} to {} by {} is not supported: it has more elements than a tensor may",
                    start.float(),
                    limit.float(),
                    delta.float()
                );
            }
            steps.max(0.0) as i128
        }
    };
    match usize::try_from(count) {
        Ok(n) if count <= MAX_ELEMENTS.into() => Ok(n),
        _ => bail_invalid!("the result has {count} elements, more than 2^40"),
    }
}

impl Op for Range {
    fn name(&self) -> &'static str {
        "Range"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let facts = operand::all(inputs)?;
        let dtype = operand::same_types(&facts)?;
        if !dtype.is_float() && !dtype.is_int() {
            bail_invalid!("takes numbers, found {dtype}");
        }
        let constants: Option<Vec<&Tensor>> = facts.iter().map(|f| f.tensor()).collect();
        if let Some(constants) = constants {
            let count = count(numbers(&constants)?)?;
            return Ok(vec![Fact::new(dtype, Shape::of(&[count]))]);
        }
        let bounds: Option<Vec<Vec<Dim>>> = facts.iter().map(|f| operand::known_dims(f)).collect();
        match bounds.as_deref() {
            Some([start, limit, delta]) if [start, limit, delta].iter().all(|d| d.len() == 1) => {
                let Some(delta) = delta[0].as_const().filter(|d| (1..=1 << 40).contains(d)) else {
                    bail_unsupported!(
                        "a range from {} to {} by {} is not supported: it has more elements than a tensor may",
                        start[0],
                        limit[0],
                        delta[0]
                    );
                };
                let distance = operand::or_zero(limit[0].clone() - start[0].clone());
                Ok(vec![Fact::new(dtype, Shape(vec![distance.ceil_div(delta)]))])
            }
            _ => bail_unsupported!(
                "bounds that are computed at run time are not supported: they must follow from constants and extents"
            ),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all = operand::all(inputs)?;
        let dtype = operand::tensor(inputs, 0)?.dtype;
        let bounds = numbers(&all)?;
        let count = count(bounds)?;
        let mut y = Builder::new(dtype, &[count]);
        for i in 0..count {
            y.push(match bounds {
                [Number::Int(start), _, Number::Int(delta)] => Number::Int(start + i as i128 * delta),
                [start, _, delta] => Number::Float(start.float() + i as f64 * delta.float()),
            });
        }
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let dtype = cx.ty(y).dtype;
        let (loops, ids) = Lowering::loops_over(&cx.ty(y).shape.clone());
        let (start, delta) = (cx.scalar(0)?, cx.scalar(2)?);
        let index = Expr::Loop(ids[0]);
        let index = if dtype == DType::I64 { index } else { Expr::cast(dtype, index) };
        let scaled = match delta {
            Expr::Const(c) if c == Scalar::of(dtype, 1.0) => index,
            delta => Expr::binary(BinaryOp::Mul, index, delta),
        };
        let value = match start {
            Expr::Const(c) if c == Scalar::of(dtype, 0.0) => scaled,
            start => Expr::binary(BinaryOp::Add, scaled, start),
        };
        let store = Store { to: Access::new(y, movement::each(&ids)), value };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(bounds: [Tensor; 3]) -> Result<Tensor> {
        let [a, b, c] = &bounds;
        Ok(Range.eval(&[Some(a), Some(b), Some(c)])?.swap_remove(0))
    }

    #[test]
    fn counts_up_and_down() {
        let ints = |v: [i32; 3]| eval(v.map(Tensor::scalar));
        assert_eq!(ints([10, 4, -2]).unwrap(), Tensor::from_vec(&[3], vec![10i32, 8, 6]));
        assert_eq!(ints([1, 5, 2]).unwrap(), Tensor::from_vec(&[2], vec![1i32, 3]));
        assert_eq!(ints([5, 1, 2]).unwrap().shape, [0]);
        assert!(ints([0, 1, 0]).is_err());
        let floats = eval([1f32, 5.0, 2.0].map(Tensor::scalar)).unwrap();
        assert_eq!(floats, Tensor::from_vec(&[2], vec![1f32, 3.0]));
    }

    #[test]
    fn absurd_counts_are_invalid() {
        assert!(eval([i64::MIN, i64::MAX, 1].map(Tensor::scalar)).is_err());
        assert!(eval([0f32, f32::INFINITY, 1.0].map(Tensor::scalar)).is_err());
        assert!(eval([0f32, 1.0, 0.0].map(Tensor::scalar)).is_err());
    }

    #[test]
    fn open_limits_give_open_extents() {
        let (zero, one) = (Fact::of(&Tensor::scalar(0i64)), Fact::of(&Tensor::scalar(1i64)));
        let n = operand::with_dims(DType::I64, Shape::default(), Some(vec![Dim::symbol("n")]));
        let y = Range.infer(&[Some(&zero), Some(&n), Some(&one)]).unwrap();
        assert_eq!(y[0].shape, Shape(vec![Dim::symbol("n")]));
    }
}
