//! `Split`: cuts a tensor into parts along an axis.
//!
//! Spec: ONNX Split, versions 1 to 24. The parts' extents are the attribute `split` up to version 11 and the
//! optional second input from 13. Without them all parts are equally long, the last one possibly shorter from 18
//! on. Known integers stay known. Lowered to one copy per part; layout makes views of them where it can.
//!
//! Unsupported: parts whose number does not divide an open extent.

use super::{declared, movement, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Index, Lowering};
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::Shape;

/// `Split`. Extents that are an input are `None` here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis that is cut.
    pub axis: i64,
    /// The parts' extents, as an attribute.
    pub split: Option<Vec<i64>>,
    /// Number of parts.
    pub parts: usize,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=2, 1..=usize::MAX)?;
    let (axis, split) = (node.int("axis")?.unwrap_or(0), node.ints("split")?);
    let parts = node.outputs;
    if let Some(n) = node.int("num_outputs")?
        && usize::try_from(n) != Ok(parts)
    {
        bail_invalid!("attribute 'num_outputs' is {n} and there are {parts} outputs");
    }
    if split.is_some() && node.inputs.len() > 1 {
        bail_invalid!("has its extents both as an attribute and as an input");
    }
    Ok(Box::new(Split { axis, split, parts }))
}

/// `Split`.
pub const DEF: OpDef = OpDef { name: "Split", domain: "", since: (1, 18), parse, unsupported: "" };

impl Split {
    /// The extent of each part.
    fn extents(&self, extent: &Dim, input: Option<&Fact>) -> Result<Vec<Dim>> {
        let given = match (input, &self.split) {
            (Some(fact), _) => Some(operand::dims(fact, "the list of extents")?),
            (None, Some(split)) => Some(split.iter().map(|&v| v.into()).collect()),
            (None, None) => None,
        };
        let Some(given) = given else {
            let parts = Dim::from(self.parts);
            let Some(extent) = extent.as_const() else {
                let part = extent.exact_div(&parts).ok_or_else(|| {
                    Error::unsupported(format!(
                        "{} equal parts of the open extent {extent} are not supported",
                        self.parts
                    ))
                })?;
                return Ok(vec![part; self.parts]);
            };
            let part = (extent.max(0) as usize).div_ceil(self.parts) as i64;
            let at = |i: usize| (extent - part.saturating_mul(i as i64)).clamp(0, part);
            return Ok((0..self.parts).map(|i| at(i).into()).collect());
        };
        if given.len() != self.parts {
            bail_invalid!("{} extents do not fit {} outputs", given.len(), self.parts);
        }
        let sum = given.iter().fold(Dim::Const(0), |n, d| n + d.clone());
        let negative = given.iter().filter_map(Dim::as_const).any(|d| d < 0);
        if negative || matches!((&sum, extent), (Dim::Const(a), Dim::Const(b)) if a != b) {
            bail_invalid!("parts of {given:?} do not add up to the extent {extent}");
        }
        Ok(given)
    }
}

impl Op for Split {
    fn name(&self) -> &'static str {
        "Split"
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([("axis".to_owned(), Attr::Int(self.axis))]);
        attrs.extend(self.split.iter().map(|split| ("split".to_owned(), Attr::Ints(split.clone()))));
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let axis = x.shape.axis(self.axis)?;
        let extents = self.extents(&x.shape[axis], inputs.get(1).copied().flatten())?;
        let known = operand::known_dims(x);
        let mut start = 0;
        let part = |extent: Dim| {
            let mut shape = x.shape.clone();
            let end = extent.as_usize().map(|n| start + n);
            let slice = known.as_ref().zip(end).and_then(|(dims, end)| Some(dims.get(start..end)?.to_vec()));
            start = end.unwrap_or(usize::MAX / 2);
            shape.0[axis] = extent;
            operand::with_dims(x.dtype, shape, slice)
        };
        Ok(extents.into_iter().map(part).collect())
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (x, parts) = (inputs.first().copied().flatten()?, inputs.get(1).copied().flatten()?);
        let axis = x.shape.axis(self.axis).ok()?;
        let extent = |i: usize| declared::extents(outputs, i)?.get(axis).copied();
        let extents: Vec<i64> = (0..outputs.len()).map(extent).collect::<Option<_>>()?;
        Some(Declared { operand: 1, value: declared::constant(parts, &extents)?, check: Check::Equal })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let shape = Shape::of(&x.shape);
        let axis = shape.axis(self.axis)?;
        let extents = inputs.get(1).copied().flatten().map(Fact::of);
        let strides = row_major(&x.shape);
        let mut start = 0;
        let mut part = |extent: Dim| {
            let mut shape = x.shape.clone();
            shape[axis] = extent.as_usize().ok_or_else(|| Error::internal("symbolic extent"))?;
            let first = start * strides[axis];
            start += shape[axis];
            movement::gather(x, &shape, &[], |i| {
                Ok(Some(first + i.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()))
            })
        };
        self.extents(&shape[axis], extents.as_ref())?.into_iter().map(&mut part).collect()
    }

    fn takes_part(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axis = cx.ty(x).shape.axis(self.axis)?;
        let extent = cx.ty(x).shape[axis].clone();
        let mut start = Dim::Const(0);
        for i in 0..self.parts {
            let y = cx.output(i)?;
            let shape = cx.ty(y).shape.clone();
            let (loops, ids) = Lowering::loops_over(&shape);
            let mut from = movement::each(&ids);
            from[axis] = Index::Affine(Affine::of(ids[axis]).shifted(start.clone()));
            cx.copy(loops, Access::new(x, from), Access::new(y, movement::each(&ids)));
            start = start + shape[axis].clone();
        }
        // Together they are all that there is.
        cx.assume(extent - start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: usize, split: Option<Vec<i64>>) -> Split {
        Split { axis: 0, split, parts }
    }

    #[test]
    fn equal_and_given_parts() {
        let x = Tensor::from_vec(&[7], (1..8i32).collect());
        let y = split(4, None).eval(&[Some(&x)]).unwrap();
        assert_eq!(y.iter().map(|t| t.shape[0]).collect::<Vec<_>>(), [2, 2, 2, 1]);
        assert_eq!(y[3], Tensor::from_vec(&[1], vec![7]));
        let sizes = Tensor::from_vec(&[2], vec![2i64, 5]);
        let y = split(2, None).eval(&[Some(&x), Some(&sizes)]).unwrap();
        assert_eq!(y[1], Tensor::from_vec(&[5], vec![3, 4, 5, 6, 7]));
    }

    #[test]
    fn parts_must_add_up() {
        let x = Fact::of(&Tensor::from_vec(&[6], vec![0f32; 6]));
        for sizes in [vec![2, 3], vec![7, -1], vec![6], vec![i64::MAX, i64::MAX]] {
            assert!(split(2, Some(sizes)).infer(&[Some(&x)]).is_err());
        }
        assert!(split(2, Some(vec![2, 4])).infer(&[Some(&x)]).is_ok());
    }

    #[test]
    fn parts_of_extents_stay_known() {
        let x = Fact::of_dims(vec![Dim::symbol("a"), Dim::symbol("b")]);
        let y = split(2, None).infer(&[Some(&x)]).unwrap();
        assert_eq!(y[1].dims(), Some(vec![Dim::symbol("b")]));
    }
}
