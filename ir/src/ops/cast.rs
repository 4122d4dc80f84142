//! `Cast` and `CastLike`: another element type.
//!
//! Spec: ONNX Cast, versions 1 to 24, and CastLike, versions 15 to 24. `y[i] = (to) x[i]`: to floats rounded to
//! nearest even, from floats to integers towards zero, between integers wrapped, to bool whether it is not zero.
//! Where the spec leaves the result of float to integer undefined it saturates, NaN gives 0. Integers that
//! follow from extents stay known. Floats of 8 bits saturate or not (`saturate`), powers of two (`f8e8m0`) round as
//! `round_mode` says; what becomes a float of 4 or 8 bits is rounded to f32 first: [`crate::numerics::to_small_float`].
//!
//! Unsupported: strings, complex numbers.

use super::elements::{Builder, Elements};
use super::{operand, small};
use crate::error::{Error, Result};
use crate::graph::Patch;
use crate::kernel::{Expr, Form, Lowering};
use crate::numerics::{ExponentRounding, Number, SmallRounding, to_small_float};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// `Cast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The element type of the output.
    pub to: DType,
    /// Of small floats.
    how: SmallRounding,
}

/// `CastLike`: the element type of the second input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CastLike {
    how: SmallRounding,
}

impl Cast {
    /// To a type; small floats saturate.
    pub fn to(to: DType) -> Self {
        Self { to, how: SmallRounding::default() }
    }
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let how = rounding(node)?;
    let Some(to) = node.int("to")? else { bail_invalid!("attribute 'to' is missing") };
    let to = i32::try_from(to).map_err(|_| Error::invalid(format!("attribute 'to' is {to}")))?;
    Ok(Box::new(Cast { to: DType::from_onnx(to)?, how }))
}

fn parse_like(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(CastLike { how: rounding(node)? }))
}

fn rounding(node: &mut NodeProto<'_>) -> Result<SmallRounding> {
    let exponent = match node.string("round_mode")?.as_deref() {
        None | Some("up") => ExponentRounding::Up,
        Some("down") => ExponentRounding::Down,
        Some("nearest") => ExponentRounding::Nearest,
        Some(other) => bail_invalid!("attribute 'round_mode' must be up, down or nearest, found '{other}'"),
    };
    Ok(SmallRounding { saturate: node.flag("saturate", true)?, exponent })
}

fn rounding_attrs(how: SmallRounding) -> Attrs {
    let mut attrs = Attrs::new();
    if !how.saturate {
        attrs.insert("saturate".to_owned(), Attr::Int(0));
    }
    let mode = match how.exponent {
        ExponentRounding::Up => return attrs,
        ExponentRounding::Down => "down",
        ExponentRounding::Nearest => "nearest",
    };
    attrs.insert("round_mode".to_owned(), Attr::Str(mode.to_owned()));
    attrs
}

/// `Cast`.
pub const DEF: OpDef = OpDef { name: "Cast", domain: "", since: (1, 24), parse, unsupported: "strings" };

/// `CastLike`.
pub const LIKE: OpDef =
    OpDef { name: "CastLike", domain: "", since: (15, 24), parse: parse_like, unsupported: "strings" };

fn infer(x: &Fact, to: DType) -> Result<Vec<Fact>> {
    for dtype in [x.dtype, to] {
        if !(dtype.is_float() || dtype.is_int() || dtype.is_small() || dtype == DType::Bool) {
            bail_unsupported!("conversion from {} to {to} is not supported", x.dtype);
        }
    }
    Ok(vec![operand::with_dims(to, x.shape.clone(), operand::known_dims(x))])
}

fn eval(x: &Tensor, to: DType, how: SmallRounding) -> Result<Vec<Tensor>> {
    if x.dtype == to {
        return Ok(vec![x.clone()]);
    }
    let elements = Elements::raw(x);
    let mut y = Builder::new(to, &x.shape);
    for i in 0..x.elements() {
        let number: Number = elements.number(i);
        y.push_bits(to_small_float(to, number.single(), how).unwrap_or_else(|| number.to_bits(to)));
    }
    Ok(vec![y.finish()?])
}

fn lower(cx: &mut Lowering<'_>, how: SmallRounding) -> Result<()> {
    let to = cx.output_fact(0)?.dtype;
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let (loops, ids) = Lowering::loops_over(&cx.ty(y).shape.clone());
    let from = cx.broadcast(x, &cx.ty(y).shape.clone(), &ids);
    let target = cx.broadcast(y, &cx.ty(y).shape.clone(), &ids);
    let dtype = cx.ty(x).dtype;
    if dtype == to {
        cx.copy(loops, from, target);
    } else {
        let number = small::number(dtype, Expr::Load(from));
        let value = small::element(to, small::number_type(dtype), number, how);
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
                patch.apply(node.graph, &format!("{}.{to}.{i}", node.name), Cast::to(to), &[value.into()])?
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
        let back = if same { new } else { patch.apply(node.graph, &name, Cast::to(to), &[new])? };
        patch.replace(old, back);
    }
    Ok(Some(patch))
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = rounding_attrs(self.how);
        attrs.insert("to".to_owned(), Attr::Int(self.to.to_onnx().into()));
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        infer(operand::fact(inputs, 0)?, self.to)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        eval(operand::tensor(inputs, 0)?, self.to, self.how)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, self.how)
    }
}

impl Op for CastLike {
    fn name(&self) -> &'static str {
        "CastLike"
    }

    fn attrs(&self) -> Attrs {
        rounding_attrs(self.how)
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        infer(operand::fact(inputs, 0)?, operand::fact(inputs, 1)?.dtype)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        eval(operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?.dtype, self.how)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx, self.how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;

    #[test]
    fn converts_between_floats_integers_and_bools() {
        let x = Tensor::from_vec(&[4], vec![-1.7f32, 0.0, 2.5, 300.0]);
        let cast = |to| Cast::to(to).eval(&[Some(&x)]).unwrap().swap_remove(0);
        assert_eq!(cast(DType::I32), Tensor::from_vec(&[4], vec![-1i32, 0, 2, 300]));
        assert_eq!(cast(DType::U8), Tensor::from_vec(&[4], vec![0u8, 0, 2, 255]));
        assert_eq!(cast(DType::Bool), Tensor::from_bools(&[4], [true, false, true, true]));
        assert_eq!(cast(DType::F16).to_f64s().unwrap()[2], 2.5);
    }

    /// Every bit pattern, and numbers around every one of them.
    #[test]
    fn small_types_to_and_from_all_others() {
        use crate::ops::testing::{parse, run};
        let small: Vec<DType> = DType::ALL.into_iter().filter(|t| t.is_small()).collect();
        let ways = [(1, "up"), (0, "nearest"), (1, "down"), (1, "nearest")];
        for dtype in small.iter().copied() {
            let mut all = Builder::new(dtype, &[1 << dtype.bits()]);
            (0..1u64 << dtype.bits()).for_each(|bits| all.push_bits(bits));
            let all = all.finish().unwrap();
            let others = [DType::F32, DType::F16, DType::F64, DType::I8, DType::U8, DType::I32, DType::Bool];
            for to in others.into_iter().chain(small.iter().copied()) {
                let op = parse("Cast", 24, &[("to", Attr::Int(to.to_onnx().into()))], 1, 1).unwrap();
                run(&*op, &[&all], &[]).unwrap();
            }
            let values = eval(&all, DType::F32, SmallRounding::default()).unwrap()[0].to_f64s().unwrap();
            let values: Vec<f32> = values.iter().map(|v| *v as f32).filter(|v| v.is_finite()).collect();
            let near = values.iter().zip(values.iter().skip(1)).flat_map(|(a, b)| {
                let middle = a / 2.0 + b / 2.0;
                [*a, a.next_up(), middle, middle.next_up(), middle.next_down(), 1.5 * a, 100.0 * a]
            });
            let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e-40];
            let near: Vec<f32> = near.chain(special).collect();
            let near = Tensor::from_vec(&[near.len()], near);
            for (saturate, mode) in ways {
                let attrs = [
                    ("to", Attr::Int(dtype.to_onnx().into())),
                    ("saturate", Attr::Int(saturate)),
                    ("round_mode", Attr::Str(mode.to_owned())),
                ];
                let op = parse("Cast", 24, &attrs, 1, 1).unwrap();
                run(&*op, &[&near], &[]).unwrap();
            }
            for from in [DType::F16, DType::F64, DType::I8, DType::I32, DType::U16, DType::Bool] {
                let x = eval(&near, from, SmallRounding::default()).unwrap().remove(0);
                run(&Cast::to(dtype), &[&x], &[]).unwrap();
            }
        }
    }

    #[test]
    fn extents_stay_known() {
        let dims = Fact::of_dims(vec![Dim::symbol("s"), Dim::Const(2)]);
        let y = Cast::to(DType::I32).infer(&[Some(&dims)]).unwrap().swap_remove(0);
        assert_eq!((y.dtype, y.dims()), (DType::I32, dims.dims()));
        assert_eq!(Cast::to(DType::F32).infer(&[Some(&dims)]).unwrap()[0].dims(), None);
    }
}
