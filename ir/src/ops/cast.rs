//! `Cast` and `CastLike`: another element type.
//!
//! Spec: ONNX Cast, versions 1 to 24, and CastLike, versions 15 to 24. `y[i] = (to) x[i]`: to floats rounded to
//! nearest even, from floats to integers towards zero, between integers wrapped, to bool whether it is not zero.
//! Where the spec leaves the result of float to integer undefined it saturates, NaN gives 0. Integers that
//! follow from extents stay known. `saturate` and `round_mode` concern float8 types only and are kept.
//!
//! Unsupported: strings, 8-bit and 4-bit floats, complex numbers.

use super::{broadcast, operand};
use crate::error::{Error, Result};
use crate::graph::Patch;
use crate::kernel::{Expr, Form, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// `Cast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The element type of the output.
    pub to: DType,
}

/// `CastLike`: the element type of the second input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CastLike;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    discard_float8_attributes(node)?;
    let Some(to) = node.int("to")? else { bail_invalid!("attribute 'to' is missing") };
    let to = i32::try_from(to).map_err(|_| Error::invalid(format!("attribute 'to' is {to}")))?;
    Ok(Box::new(Cast { to: DType::from_onnx(to)? }))
}

fn parse_like(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    discard_float8_attributes(node)?;
    Ok(Box::new(CastLike))
}

/// They have no meaning for the types that are supported.
fn discard_float8_attributes(node: &mut NodeProto<'_>) -> Result<()> {
    node.flag("saturate", true)?;
    node.string("round_mode")?;
    Ok(())
}

/// `Cast`.
pub const DEF: OpDef =
    OpDef { name: "Cast", domain: "", since: (1, 24), parse, unsupported: "strings, float8, float4" };

/// `CastLike`.
pub const LIKE: OpDef = OpDef {
    name: "CastLike",
    domain: "",
    since: (15, 24),
    parse: parse_like,
    unsupported: "strings, float8, float4",
};

fn infer(x: &Fact, to: DType) -> Result<Vec<Fact>> {
    for dtype in [x.dtype, to] {
        if !(dtype.is_float() || dtype.is_int() || dtype == DType::Bool) {
            bail_unsupported!("conversion from {} to {to} is not supported", x.dtype);
        }
    }
    Ok(vec![operand::with_dims(to, x.shape.clone(), operand::known_dims(x))])
}

fn eval(x: &Tensor, to: DType) -> Result<Vec<Tensor>> {
    Ok(vec![broadcast::map(to, &[x], |v| v[0])?])
}

fn lower(cx: &mut Lowering<'_>) -> Result<()> {
    let to = cx.output_fact(0)?.dtype;
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let (loops, ids) = Lowering::loops_over(&cx.ty(y).shape.clone());
    let from = cx.broadcast(x, &cx.ty(y).shape.clone(), &ids);
    let target = cx.broadcast(y, &cx.ty(y).shape.clone(), &ids);
    if cx.ty(x).dtype == to {
        cx.copy(loops, from, target);
    } else {
        let value = Expr::cast(to, Expr::Load(from));
        cx.emit(loops, Form::Map { stores: vec![crate::kernel::Store { to: target, value }] });
    }
    Ok(())
}

/// The node on operands of other types, its results converted back: operand `i` of a type becomes what `convert` says.
/// `None` when that is nothing for all of them.
pub fn around(node: &NodeView<'_>, convert: impl Fn(usize, DType) -> Option<DType>) -> Result<Option<Patch>> {
    let Some(id) = node.outputs.first().and_then(|v| node.graph.producer(*v)) else { return Ok(None) };
    let mut patch = Patch::new();
    let mut changed = false;
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (i, input) in node.inputs.iter().enumerate() {
        let Some(value) = *input else {
            inputs.push(None);
            continue;
        };
        inputs.push(Some(match convert(i, node.fact(i)?.dtype) {
            Some(to) => {
                changed = true;
                patch.apply(node.graph, &format!("{}.{to}.{i}", node.name), Cast { to }, &[value.into()])?
            }
            None => value.into(),
        }));
    }
    if !changed {
        return Ok(None);
    }
    let results = patch.shared_node(node.graph, node.name, node.graph.node(id).op.clone(), &inputs)?;
    for (i, (&old, &new)) in node.outputs.iter().zip(&results).enumerate() {
        let fact = node.graph.value(old).fact.as_ref();
        let to = fact.ok_or_else(|| Error::internal("a result without an inferred type"))?.dtype;
        let same = patch.fact(node.graph, new)?.dtype == to;
        let name = format!("{}.{to}.result{i}", node.name);
        let back = if same { new } else { patch.apply(node.graph, &name, Cast { to }, &[new])? };
        patch.replace(old, back);
    }
    Ok(Some(patch))
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("to".to_owned(), Attr::Int(self.to.to_onnx().into()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        infer(operand::fact(inputs, 0)?, self.to)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        eval(operand::tensor(inputs, 0)?, self.to)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx)
    }
}

impl Op for CastLike {
    fn name(&self) -> &'static str {
        "CastLike"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        infer(operand::fact(inputs, 0)?, operand::fact(inputs, 1)?.dtype)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        eval(operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?.dtype)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;

    #[test]
    fn converts_between_floats_integers_and_bools() {
        let x = Tensor::from_vec(&[4], vec![-1.7f32, 0.0, 2.5, 300.0]);
        let cast = |to| Cast { to }.eval(&[Some(&x)]).unwrap().swap_remove(0);
        assert_eq!(cast(DType::I32), Tensor::from_vec(&[4], vec![-1i32, 0, 2, 300]));
        assert_eq!(cast(DType::U8), Tensor::from_vec(&[4], vec![0u8, 0, 2, 255]));
        assert_eq!(cast(DType::Bool), Tensor::from_bools(&[4], [true, false, true, true]));
        assert_eq!(cast(DType::F16).to_f64s().unwrap()[2], 2.5);
    }

    #[test]
    fn extents_stay_known() {
        let dims = Fact::of_dims(vec![Dim::symbol("s"), Dim::Const(2)]);
        let y = Cast { to: DType::I32 }.infer(&[Some(&dims)]).unwrap().swap_remove(0);
        assert_eq!((y.dtype, y.dims()), (DType::I32, dims.dims()));
        assert_eq!(Cast { to: DType::F32 }.infer(&[Some(&dims)]).unwrap()[0].dims(), None);
    }
}
