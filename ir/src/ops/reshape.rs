//! `Reshape`: the same elements under another shape.
//!
//! Spec: ONNX Reshape, versions 5 to 24. The second input is the shape. A 0 copies the input's extent unless
//! `allowzero` (from 14) is set; a single -1 is what the other extents leave over. Known integers stay known.
//! Lowered to one copy between affine indices where both shapes have a common refinement, else to two copies
//! through a flat buffer; layout makes views of them where it can.

use super::counted::{Chain, Extents};
use super::{declared, movement, operand};
use crate::bail_invalid;
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Reshape`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reshape {
    /// Whether an extent of 0 means 0.
    pub allowzero: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Reshape { allowzero: node.flag("allowzero", false)? }))
}

/// `Reshape`.
pub const DEF: OpDef = OpDef { name: "Reshape", domain: "", since: (5, 24), parse, unsupported: "" };

impl Reshape {
    fn target(self, from: &Shape, wanted: &[Dim]) -> Result<Shape> {
        let text = || Shape(wanted.to_vec());
        let mut left_over = None;
        let mut to = Vec::with_capacity(wanted.len());
        for (i, dim) in wanted.iter().enumerate() {
            match dim.as_const() {
                Some(0) if !self.allowzero => match from.get(i) {
                    Some(extent) => to.push(extent.clone()),
                    None => bail_invalid!("shape {} copies axis {i} of a tensor of shape {from}", text()),
                },
                Some(-1) if left_over.is_some() => bail_invalid!("shape {} has more than one -1", text()),
                Some(-1) => {
                    left_over = Some(i);
                    to.push(Dim::Const(1));
                }
                Some(v) if v < 0 => bail_invalid!("shape {} has a negative extent", text()),
                _ => to.push(dim.clone()),
            }
        }
        let mut to = operand::checked(Shape(to))?;
        let (have, rest) = (from.elements(), to.elements());
        if let Some(i) = left_over {
            if self.allowzero && wanted.iter().any(|d| d.is(0)) {
                bail_invalid!("shape {} has both 0 and -1 with allowzero", text());
            }
            // An expression that does not divide by its form may still divide for every value of its symbols.
            let quotient = match (have.as_const(), rest.as_const()) {
                (Some(0), Some(0)) => Some(Dim::Const(0)),
                (Some(a), Some(b)) => (b != 0 && a % b == 0).then(|| Dim::Const(a / b)),
                _ => have.exact_div(&rest).or_else(|| have.floor_div(&rest)),
            };
            to.0[i] = quotient.ok_or_else(|| {
                Error::invalid(format!("cannot reshape {from} to {}: {have} elements", text()))
            })?;
        } else if let (Some(a), Some(b)) = (have.as_const(), rest.as_const())
            && a != b
        {
            bail_invalid!("cannot reshape {from} of {a} elements to {} of {b}", text());
        }
        operand::checked(to)
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn attrs(&self) -> Attrs {
        self.allowzero.then(|| ("allowzero".to_owned(), Attr::Int(1))).into_iter().collect()
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let shape = self.target(&x.shape, &operand::dims(operand::fact(inputs, 1)?, "the shape")?)?;
        let known = operand::known_table(x);
        Ok(vec![operand::with_dims(x.dtype, shape, known)])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let value = declared::constant(inputs.get(1).copied().flatten()?, &declared::extents(outputs, 0)?)?;
        // An extent may be left to be found out, or to be that of the operand.
        Some(Declared { operand: 1, value, check: Check::EqualOrAtMost(0) })
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let wanted = node.fact(1)?;
        let (told, given) = (node.told(0), node.inputs[1].filter(|v| node.graph.producer(*v).is_none()));
        let (Some(_), Some(rank)) = (given, wanted.shape.elements().as_usize()) else { return Ok(None) };
        if wanted.dims().is_some() || wanted.dtype != DType::I64 || rank == 0 {
            return Ok(None);
        }
        // What an argument asks for may be to copy an extent, or what is left over.
        let list = (0..rank).map(|axis| Ok((format!("{}_{axis}", told.name), counts.needed(&told, axis)?)));
        let list = list.collect::<Result<Vec<_>>>()?;
        let mut chain = Chain::new(node);
        let (data, wanted) = (chain.input(0)?, chain.input(1)?);
        let wanted = chain.node(Extents { allowzero: self.allowzero }, &[data, wanted], 1)[0];
        let wanted = chain.sizes(counts, wanted, &list);
        let y = chain.apply(&DEF, &[("allowzero", Attr::Int(1))], &[data, wanted])?;
        Ok(Some(chain.finish(&[y])))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let wanted = operand::dims(&Fact::of(operand::tensor(inputs, 1)?), "the shape")?;
        let shape = operand::constant(self.target(&Shape::of(&x.shape), &wanted)?)?;
        Ok(vec![x.reshaped(&shape)?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx)
    }
}

/// The lowering of every operator that keeps the elements and their order.
pub(crate) fn lower(cx: &mut Lowering<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    operand::movable(cx.ty(x).dtype)?;
    movement::reshape(cx, x, y);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(from: &[usize], to: &[i64], allowzero: bool) -> Result<Vec<usize>> {
        let wanted: Vec<Dim> = to.iter().map(|&d| d.into()).collect();
        operand::constant(Reshape { allowzero }.target(&Shape::of(from), &wanted)?)
    }

    #[test]
    fn zero_copies_and_minus_one_takes_the_rest() {
        assert_eq!(target(&[2, 3, 4], &[4, 2, 3], false).unwrap(), [4, 2, 3]);
        assert_eq!(target(&[2, 3, 4], &[2, 0, 4, 1], false).unwrap(), [2, 3, 4, 1]);
        assert_eq!(target(&[2, 3, 4], &[2, 0, 1, -1], false).unwrap(), [2, 3, 1, 4]);
        assert_eq!(target(&[0, 3, 4], &[3, 4, 0], true).unwrap(), [3, 4, 0]);
        assert_eq!(target(&[1], &[], false).unwrap(), [0usize; 0]);
    }

    #[test]
    fn wrong_shapes_are_invalid() {
        for to in [&[5i64, 5][..], &[-1, -1], &[-2, 12], &[0, 0, 0, 0], &[-1, 7], &[i64::MAX, 2]] {
            assert!(target(&[2, 3, 4], to, false).is_err(), "{to:?}");
        }
        assert!(target(&[0, 3], &[0, -1], true).is_err());
    }

    #[test]
    fn open_extents_divide() {
        let x = Fact::new(DType::F32, Shape(vec![Dim::symbol("n"), Dim::Const(8), Dim::Const(4)]));
        let wanted = Fact::of(&Tensor::from_vec(&[2], vec![-1i64, 32]));
        let y = Reshape::default().infer(&[Some(&x), Some(&wanted)]).unwrap();
        assert_eq!(y[0].shape, Shape(vec![Dim::symbol("n"), Dim::Const(32)]));
        let unknown = Fact::new(DType::I64, Shape::of(&[2]));
        let error = Reshape::default().infer(&[Some(&x), Some(&unknown)]).unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::Unsupported);
    }
}
