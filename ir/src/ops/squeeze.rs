//! `Squeeze` and `Unsqueeze`: remove and insert axes of extent 1.
//!
//! Spec: ONNX Squeeze and Unsqueeze, versions 1 to 24. The axes are an attribute up to version 11 and the second
//! input from 13; negative ones count from the end, of the result for Unsqueeze. Without axes Squeeze removes
//! every axis of extent 1. Known integers stay known.
//!
//! Unsupported: Squeeze without axes of a tensor with open dimensions, whose rank is not known then.

use super::{declared, operand};
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{Shape, axis_of};
use crate::{bail_invalid, bail_unsupported};

/// `Squeeze`. Axes that are an input are `None` here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Squeeze {
    /// The axes, as an attribute.
    pub axes: Option<Vec<i64>>,
}

/// `Unsqueeze`. Axes that are an input are `None` here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsqueeze {
    /// The axes, as an attribute.
    pub axes: Option<Vec<i64>>,
}

fn axes(node: &mut NodeProto<'_>) -> Result<Option<Vec<i64>>> {
    node.arity(1..=2, 1..=1)?;
    let axes = node.ints("axes")?;
    if axes.is_some() && node.inputs.len() > 1 {
        bail_invalid!("has its axes both as an attribute and as an input");
    }
    Ok(axes)
}

fn parse_squeeze(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Squeeze { axes: axes(node)? }))
}

fn parse_unsqueeze(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let axes = axes(node)?;
    if axes.is_none() && !node.inputs.get(1).is_some_and(|present| *present) {
        bail_invalid!("has no axes");
    }
    Ok(Box::new(Unsqueeze { axes }))
}

/// `Squeeze`.
pub const SQUEEZE: OpDef =
    OpDef { name: "Squeeze", domain: "", since: (1, 24), parse: parse_squeeze, unsupported: "" };

/// `Unsqueeze`.
pub const UNSQUEEZE: OpDef =
    OpDef { name: "Unsqueeze", domain: "", since: (1, 24), parse: parse_unsqueeze, unsupported: "" };

/// Which of `rank` axes are meant, each at most once.
fn mask(axes: &[i64], rank: usize) -> Result<Vec<bool>> {
    let mut mask = vec![false; rank];
    for &axis in axes {
        let i = axis_of(axis, rank)?;
        if std::mem::replace(&mut mask[i], true) {
            bail_invalid!("axis {axis} occurs twice in {axes:?}");
        }
    }
    Ok(mask)
}

fn squeezed(from: &Shape, axes: Option<&[i64]>) -> Result<Shape> {
    let remove = match axes {
        Some(axes) => mask(axes, from.rank())?,
        None if from.iter().any(|d| d.as_const().is_none()) => {
            bail_unsupported!("needs axes for the shape {from}: which extents are 1 is open")
        }
        None => from.iter().map(|d| d.is(1)).collect(),
    };
    let mut to = Vec::new();
    for ((axis, extent), remove) in from.iter().enumerate().zip(remove) {
        match (remove, extent) {
            (false, _) => to.push(extent.clone()),
            (true, Dim::Const(1) | Dim::Expr(_)) => {}
            (true, _) => bail_invalid!("axis {axis} of shape {from} has extent {extent}, not 1"),
        }
    }
    Ok(Shape(to))
}

fn unsqueezed(from: &Shape, axes: &[i64]) -> Result<Shape> {
    let insert = mask(axes, from.rank() + axes.len())?;
    let mut extents = from.iter().cloned();
    let extent = |new: bool| if new { Some(Dim::Const(1)) } else { extents.next() };
    Ok(insert.into_iter().filter_map(extent).collect())
}

/// The attribute, or the integers of the second input.
fn given(attribute: &Option<Vec<i64>>, input: Option<&Fact>) -> Result<Option<Vec<i64>>> {
    match input {
        Some(fact) => Ok(Some(operand::ints(fact, "the list of axes")?)),
        None => Ok(attribute.clone()),
    }
}

fn same_elements(x: &Fact, shape: Shape) -> Vec<Fact> {
    let known = if shape.rank() <= 1 { operand::known_dims(x) } else { None };
    vec![operand::with_dims(x.dtype, shape, known)]
}

/// Axes of extent 1 that `long` has and `short` has not: whichever they are, the elements are the same.
fn axes_declared(long: &[i64], short: &[i64]) -> Option<Declared> {
    let axes = declared::removed(long, short, long.len().checked_sub(short.len())?)?;
    if axes.iter().any(|i| long[*i] != 1) {
        return None;
    }
    let value = axes.into_iter().map(|i| i as i64).collect::<Vec<i64>>();
    let value = Tensor::from_vec(&[value.len()], value);
    Some(Declared { operand: 1, value, check: Check::Nothing })
}

fn attrs(axes: &Option<Vec<i64>>) -> Attrs {
    axes.iter().map(|axes| ("axes".to_owned(), Attr::Ints(axes.clone()))).collect()
}

fn evaluated(op: &impl Op, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|t| t.map(Fact::of)).collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let shape = operand::constant(op.infer(&facts)?.swap_remove(0).shape)?;
    Ok(vec![operand::tensor(inputs, 0)?.reshaped(&shape)?])
}

impl Op for Squeeze {
    fn name(&self) -> &'static str {
        "Squeeze"
    }

    fn attrs(&self) -> Attrs {
        attrs(&self.axes)
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let axes = given(&self.axes, inputs.get(1).copied().flatten())?;
        Ok(same_elements(x, squeezed(&x.shape, axes.as_deref())?))
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let from = declared::extents(inputs, 0)?;
        axes_declared(&from, &declared::extents(outputs, 0)?)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        evaluated(self, inputs)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        super::reshape::lower(cx)
    }
}

impl Op for Unsqueeze {
    fn name(&self) -> &'static str {
        "Unsqueeze"
    }

    fn attrs(&self) -> Attrs {
        attrs(&self.axes)
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let Some(axes) = given(&self.axes, inputs.get(1).copied().flatten())? else {
            bail_invalid!("has no axes");
        };
        Ok(same_elements(x, unsqueezed(&x.shape, &axes)?))
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let from = declared::extents(inputs, 0)?;
        axes_declared(&declared::extents(outputs, 0)?, &from)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        evaluated(self, inputs)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        super::reshape::lower(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_named_or_all_axes_of_one() {
        let x = Shape::of(&[1, 3, 1, 5]);
        assert_eq!(squeezed(&x, Some(&[0])).unwrap(), Shape::of(&[3, 1, 5]));
        assert_eq!(squeezed(&x, Some(&[-2])).unwrap(), Shape::of(&[1, 3, 5]));
        assert_eq!(squeezed(&x, None).unwrap(), Shape::of(&[3, 5]));
        assert!(squeezed(&x, Some(&[1])).is_err());
        assert!(squeezed(&x, Some(&[4])).is_err());
        assert!(squeezed(&x, Some(&[0, -4])).is_err());
    }

    #[test]
    fn inserts_axes_of_the_result() {
        let x = Shape::of(&[3, 4]);
        assert_eq!(unsqueezed(&x, &[2, 0]).unwrap(), Shape::of(&[1, 3, 1, 4]));
        assert_eq!(unsqueezed(&x, &[-1]).unwrap(), Shape::of(&[3, 4, 1]));
        assert!(unsqueezed(&x, &[-100_000]).is_err());
        assert!(unsqueezed(&x, &[1, 1]).is_err());
    }

    #[test]
    fn extents_stay_known_through_both() {
        let scalar = operand::with_dims(crate::DType::I64, Shape::default(), Some(vec![Dim::symbol("n")]));
        let zero = Fact::of(&Tensor::from_vec(&[1], vec![0i64]));
        let y = Unsqueeze::default().infer(&[Some(&scalar), Some(&zero)]).unwrap().swap_remove(0);
        assert_eq!((y.shape.rank(), y.dims()), (1, Some(vec![Dim::symbol("n")])));
        let x = Squeeze::default().infer(&[Some(&y), Some(&zero)]).unwrap().swap_remove(0);
        assert_eq!(x, scalar);
    }
}
