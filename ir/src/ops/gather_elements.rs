//! `GatherElements`: single elements along one axis by index.
//!
//! Spec: ONNX GatherElements, versions 11 and 13. `y[i] = x[i with indices[i] in the place of i[axis]]`; the result
//! has the shape of the indices, which reach as far as `x` on no other axis at most. A negative index counts from
//! the end. Constant indices are checked here, others at run time. Lowered to one copy whose index on
//! the axis is read from the indices.

use super::elements::Elements;
use super::gather::check_indices;
use super::{movement, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Access, Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::axis_of;

/// `GatherElements`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatherElements {
    /// The axis that is indexed.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(GatherElements { axis: node.int("axis")?.unwrap_or(0) }))
}

/// `GatherElements`.
pub const DEF: OpDef = OpDef { name: "GatherElements", domain: "", since: (11, 13), parse, unsupported: "" };

impl Op for GatherElements {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, indices) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        operand::movable(x.dtype)?;
        let axis = x.shape.axis(self.axis)?;
        if indices.shape.rank() != x.shape.rank() {
            bail_invalid!("indices of shape {} must have the rank of the input {}", indices.shape, x.shape);
        }
        for (i, (own, all)) in indices.shape.iter().zip(x.shape.iter()).enumerate() {
            if i != axis && own.as_const().zip(all.as_const()).is_some_and(|(own, all)| own > all) {
                bail_invalid!("indices of shape {} reach beyond the input {}", indices.shape, x.shape);
            }
        }
        check_indices(indices, &x.shape[axis])?;
        Ok(vec![Fact::new(x.dtype, indices.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let axis = axis_of(self.axis, x.shape.len())?;
        let elements = Elements::new(indices)?;
        let mut from = vec![0; x.shape.len()];
        let y = movement::gather(x, &indices.shape, &[], |i| {
            let at = elements.number(movement::position(&indices.shape, i)).int();
            from.copy_from_slice(i);
            from[axis] = operand::wrapped(at as i64, x.shape[axis] as i64)? as usize;
            Ok(Some(movement::position(&x.shape, &from)))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let axis = cx.ty(x).shape.axis(self.axis)?;
        let extent = cx.ty(x).shape[axis].clone();
        let indices = operand::indices(cx, 1, |_| extent.clone())?;
        movement::copy_to(cx, y, x, |loops| {
            let mut index = movement::each(loops);
            index[axis] = Index::Gathered(Box::new(Access::new(indices, movement::each(loops))));
            index
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};

    #[test]
    fn the_examples_of_the_specification() {
        let x = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let i = Tensor::from_vec(&[2, 2], vec![0i64, 0, 1, 0]);
        let along = parse("GatherElements", 13, &[("axis", Attr::Int(1))], 2, 1).unwrap();
        let x3 = Tensor::from_vec(&[3, 3], (1..10).map(|i| i as f32).collect());
        let negative = Tensor::from_vec(&[2, 3], vec![-1i64, -2, 0, -2, 0, 0]);
        let across = parse("GatherElements", 13, &[], 2, 1).unwrap();
        for known in [&[][..], &[1]] {
            let y = run(&*along, &[&x, &i], known).unwrap();
            assert_eq!(y[0], Tensor::from_vec(&[2, 2], vec![1.0f32, 1.0, 4.0, 3.0]));
            let y = run(&*across, &[&x3, &negative], known).unwrap();
            assert_eq!(y[0], Tensor::from_vec(&[2, 3], vec![7.0f32, 5.0, 3.0, 4.0, 2.0, 3.0]));
        }
    }

    #[test]
    fn indices_outside_and_other_ranks_are_invalid() {
        let op = GatherElements { axis: 0 };
        let x = Tensor::from_vec(&[2, 1], vec![1f32, 2.0]);
        for (shape, at) in [(&[1, 1][..], 2), (&[1, 1], -3), (&[1], 0), (&[1, 2], 0)] {
            let i = Tensor::from_vec(shape, vec![at as i64; shape.iter().product()]);
            assert!(op.infer(&[Some(&Fact::of(&x)), Some(&Fact::of(&i))]).is_err(), "{shape:?} {at}");
        }
    }
}
