//! `Range`: an arithmetic progression.
//!
//! Spec: ONNX Range, version 11. `y[i] = start + i * delta` for `max(ceil((limit - start) / delta), 0)` elements
//! of the inputs' common type. Three constants are folded; integers with open extents are computed by a kernel.
//!
//! Where the ends are computed at run time, how many elements there are is counted first, and needs a bound; floats are then
//! computed in f64.

use super::counted::Chain;
use super::elements::{Builder, Elements};
use super::{binary, movement, operand, unary, variadic};
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::{PatchValue, ValueId};
use crate::kernel::{Access, BinaryOp, Expr, Form, Lowering, Scalar, Store};
use crate::limits::MAX_ELEMENTS;
use crate::numerics::Number;
use crate::op::{Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
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
pub const DEF: OpDef = OpDef { name: "Range", domain: "", since: (11, 11), parse, unsupported: "" };

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

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
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

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let [start, limit, delta] = [node.fact(0)?, node.fact(1)?, node.fact(2)?];
        let known = |f: &Fact| f.tensor().is_some() || operand::known_dims(f).is_some();
        let is = |f: &Fact, n: i64| operand::known_dims(f).is_some_and(|d| d.len() == 1 && d[0].is(n));
        // One that begins at 0 is as long as its limit says.
        if [start, limit, delta].into_iter().all(known) || is(start, 0) && is(delta, 1) {
            return Ok(None);
        }
        let dtype = start.dtype;
        if let Some(ends) = whole(node) {
            let mut chain = Chain::new(node);
            let ends: Vec<PatchValue> = ends
                .into_iter()
                .map(|end| match end {
                    End::Number(n) => chain.constant(Tensor::scalar(n)),
                    End::Value(id) => id.into(),
                })
                .collect();
            let y = chain.apply(&DEF, &[], &ends)?;
            let y = chain.cast(y, dtype)?;
            return Ok(Some(chain.finish(&[y])));
        }
        let most = counts.needed(&node.told(0), 0)?;
        let mut chain = Chain::new(node);
        let own = [chain.input(0)?, chain.input(1)?, chain.input(2)?];
        let carrier = if dtype.is_float() { DType::F64 } else { DType::I64 };
        let mut wide = Vec::new();
        for value in own {
            wide.push(chain.cast(value, carrier)?);
        }
        let [start, limit, delta] = [wide[0], wide[1], wide[2]];
        let distance = chain.apply(&binary::SUB, &[], &[limit, start])?;
        let [zero, one] = [0i64, 1].map(|n| chain.constant(Tensor::scalar(n)));
        let n = if dtype.is_float() {
            let steps = chain.apply(&binary::DIV, &[], &[distance, delta])?;
            let steps = chain.apply(&unary::CEIL, &[], &[steps])?;
            let steps = chain.cast(steps, DType::I64)?;
            chain.apply(&variadic::MAX, &[], &[steps, zero])?
        } else {
            let sign = chain.apply(&unary::SIGN, &[], &[delta])?;
            let distance = chain.apply(&binary::MUL, &[], &[distance, sign])?;
            let distance = chain.apply(&variadic::MAX, &[], &[distance, zero])?;
            let step = chain.apply(&unary::ABS, &[], &[delta])?;
            let step = chain.apply(&variadic::MAX, &[], &[step, one])?;
            let more = chain.apply(&binary::ADD, &[], &[distance, step])?;
            let more = chain.apply(&binary::SUB, &[], &[more, one])?;
            chain.apply(&binary::DIV, &[], &[more, step])?
        };
        let result = &node.graph.value(node.outputs[0]).name;
        let n = chain.sizes(counts, n, &[(format!("{result}_count"), most)]);
        let y = chain.apply(&DEF, &[], &[zero, n, one])?;
        let y = chain.cast(y, carrier)?;
        let y = chain.apply(&binary::MUL, &[], &[y, delta])?;
        let y = chain.apply(&binary::ADD, &[], &[y, start])?;
        let y = chain.cast(y, dtype)?;
        Ok(Some(chain.finish(&[y])))
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

/// An end of a range, or its step, as an integer.
enum End {
    Number(i64),
    Value(ValueId),
}

/// The ends and the step of a range of floats that are integers: constants, and what was converted from extents.
fn whole(node: &NodeView<'_>) -> Option<[End; 3]> {
    let end = |i: usize| {
        let fact = node.fact(i).ok().filter(|f| f.dtype.is_float())?;
        if let Some(tensor) = fact.tensor() {
            let value = tensor.to_f64s().ok()?.first().copied()?;
            return (value.fract() == 0.0 && value.abs() < 1e15).then_some(End::Number(value as i64));
        }
        let cast = node.graph.node(node.graph.producer(node.inputs[i]?)?);
        let source = cast.inputs.first().copied().flatten().filter(|_| cast.op.name() == "Cast")?;
        let fact = node.graph.value(source).fact.as_ref()?;
        let known = fact.dtype == DType::I64 && operand::known_dims(fact).is_some_and(|d| d.len() == 1);
        known.then_some(End::Value(source))
    };
    Some([end(0)?, end(1)?, end(2)?])
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
