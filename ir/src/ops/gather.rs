//! `Gather`: slices of one axis by index.
//!
//! Spec: ONNX Gather, versions 1 to 24. `y[a.., i.., b..] = x[a.., indices[i..], b..]` around `axis`; a negative
//! index counts from the end. Constant indices are checked here, others at run time. Elements of
//! known integers stay known. Lowered to one copy whose index on the axis is read from the indices.

use super::elements::Elements;
use super::{movement, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Affine, Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, axis_of};

/// `Gather`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gather {
    /// The axis that is indexed.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Gather { axis: node.int("axis")?.unwrap_or(0) }))
}

/// `Gather`.
pub const DEF: OpDef = OpDef { name: "Gather", domain: "", since: (1, 13), parse, unsupported: "" };

/// Demands an integer type that ONNX allows for indices, and constant indices that lie inside the axis.
pub(crate) fn check_indices(indices: &Fact, extent: &Dim) -> Result<()> {
    if !matches!(indices.dtype, DType::I32 | DType::I64) {
        bail_invalid!("indices must be i32 or i64, found {}", indices.dtype);
    }
    if let (Some(indices), Some(extent)) = (indices.tensor(), extent.as_const()) {
        for index in indices.to_i64s()? {
            operand::wrapped(index, extent)?;
        }
    }
    Ok(())
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, indices) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        operand::movable(x.dtype)?;
        let axis = x.shape.axis(self.axis)?;
        check_indices(indices, &x.shape[axis])?;
        let dims = x.shape[..axis].iter().chain(indices.shape.iter()).chain(&x.shape[axis + 1..]);
        let shape = operand::checked(dims.cloned().collect())?;
        let known = operand::known_dims(x).zip(operand::known_dims(indices)).and_then(|(dims, at)| {
            let pick = |i: &Dim| dims.get(operand::wrapped(i.as_const()?, dims.len() as i64).ok()? as usize);
            at.iter().map(|i| pick(i).cloned()).collect()
        });
        Ok(vec![operand::with_dims(x.dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let axis = axis_of(self.axis, x.shape.len())?;
        let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
        operand::checked(Shape::of(&shape))?;
        let elements = Elements::new(indices)?;
        let (rank, extent) = (indices.shape.len(), x.shape[axis] as i64);
        let mut from = vec![0; x.shape.len()];
        let y = movement::gather(x, &shape, &[], |i| {
            let at = elements.number(movement::position(&indices.shape, &i[axis..axis + rank])).int();
            from[..axis].copy_from_slice(&i[..axis]);
            from[axis] = operand::wrapped(at as i64, extent)? as usize;
            from[axis + 1..].copy_from_slice(&i[axis + rank..]);
            Ok(Some(movement::position(&x.shape, &from)))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let axis = cx.ty(x).shape.axis(self.axis)?;
        let rank = cx.fact(1)?.shape.rank();
        // One constant index, as exporters write to take an extent or a token, is plain affine indexing.
        let single = cx.fact(1)?.tensor().filter(|t| t.elements() == 1).map(Tensor::to_i64s).transpose()?;
        let single = match (single.as_deref(), cx.ty(x).shape[axis].as_const()) {
            (Some([at]), Some(extent)) => Some(Dim::Const(operand::wrapped(*at, extent)?)),
            (Some([at]), None) if *at >= 0 => Some(Dim::Const(*at)),
            _ => None,
        };
        let extent = cx.ty(x).shape[axis].clone();
        let indices = match single {
            Some(_) => cx.input(1)?,
            None => operand::indices(cx, 1, |_| extent.clone())?,
        };
        movement::copy_to(cx, y, x, |loops| {
            let at = match single {
                Some(at) => Index::Affine(Affine::constant(at)),
                None => {
                    Index::Gathered(Box::new(Access::new(indices, movement::each(&loops[axis..axis + rank]))))
                }
            };
            let mut index = movement::each(&loops[..axis]);
            index.push(at);
            index.extend(movement::each(&loops[axis + rank..]));
            index
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_slices_of_an_axis() {
        let x = Tensor::from_vec(&[3, 2], vec![1.0f32, 1.2, 2.3, 3.4, 4.5, 5.7]);
        let i = Tensor::from_vec(&[2, 2], vec![0i64, 1, 1, -1]);
        let y = Gather { axis: 0 }.eval(&[Some(&x), Some(&i)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 2, 2], vec![1.0f32, 1.2, 2.3, 3.4, 2.3, 3.4, 4.5, 5.7]));
        let last = Tensor::scalar(-1i32);
        let y = Gather { axis: 1 }.eval(&[Some(&x), Some(&last)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[3], vec![1.2f32, 3.4, 5.7]));
    }

    #[test]
    fn an_extent_of_a_shape_stays_known() {
        let shape = Fact::of_dims(vec![Dim::symbol("n"), Dim::Const(3)]);
        let zero = Fact::of(&Tensor::scalar(0i64));
        let y = Gather { axis: 0 }.infer(&[Some(&shape), Some(&zero)]).unwrap().swap_remove(0);
        assert_eq!((y.shape.rank(), y.dims()), (0, Some(vec![Dim::symbol("n")])));
    }

    #[test]
    fn indices_outside_are_invalid() {
        let x = Tensor::from_vec(&[2], vec![1f32, 2.0]);
        for at in [2i64, -3, i64::MIN, i64::MAX] {
            let i = Tensor::scalar(at);
            assert!(Gather { axis: 0 }.eval(&[Some(&x), Some(&i)]).is_err());
            assert!(Gather { axis: 0 }.infer(&[Some(&Fact::of(&x)), Some(&Fact::of(&i))]).is_err());
        }
        let none = Tensor::from_vec(&[0], Vec::<i64>::new());
        assert_eq!(Gather { axis: 0 }.eval(&[Some(&x), Some(&none)]).unwrap()[0].shape, [0]);
    }
}
