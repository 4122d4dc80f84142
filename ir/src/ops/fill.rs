//! `ConstantOfShape` and `EyeLike`: tensors that follow from a shape alone.
//!
//! Spec: ONNX ConstantOfShape, versions 9 to 24: every element is the single one of the attribute `value`, by
//! default the float 0. ONNX EyeLike, versions 9 to 24: a matrix with ones on the `k`-th diagonal, in the shape
//! of the input and, unless `dtype` is given, its type. A short integer vector of ConstantOfShape stays known.
//!
//! A shape that is computed at run time needs a bound.

use super::elements::{Builder, Elements};
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, BinaryOp, Expr, Form, Lowering, Scalar, Store};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// `ConstantOfShape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConstantOfShape {
    /// Every element.
    pub value: Scalar,
}

/// `EyeLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EyeLike {
    /// The element type; the input's when left out.
    pub dtype: Option<DType>,
    /// Columns to the right of the main diagonal.
    pub k: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let value = match node.tensor("value")? {
        None => Scalar::f32(0.0),
        Some(t) if t.elements() == 1 => Scalar { dtype: t.dtype, bits: Elements::new(&t)?.bits(0) },
        Some(t) => bail_invalid!("attribute 'value' must have 1 element, found {}", t.elements()),
    };
    Ok(Box::new(ConstantOfShape { value }))
}

fn parse_eye(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let dtype = match node.int("dtype")? {
        None => None,
        Some(v) => {
            let number = i32::try_from(v).map_err(|_| Error::invalid(format!("attribute 'dtype' is {v}")))?;
            Some(DType::from_onnx(number)?)
        }
    };
    Ok(Box::new(EyeLike { dtype, k: node.int("k")?.unwrap_or(0) }))
}

/// `ConstantOfShape`.
pub const CONSTANT_OF_SHAPE: OpDef =
    OpDef { name: "ConstantOfShape", domain: "", since: (9, 24), parse, unsupported: "" };

/// `EyeLike`.
pub const EYE_LIKE: OpDef =
    OpDef { name: "EyeLike", domain: "", since: (9, 22), parse: parse_eye, unsupported: "" };

impl Op for ConstantOfShape {
    fn name(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn attrs(&self) -> Attrs {
        let mut value = Builder::new(self.value.dtype, &[1]);
        value.push_bits(self.value.bits);
        // A single element always fills the shape [1].
        value.finish().map(|t| ("value".to_owned(), Attr::Tensor(t))).into_iter().collect()
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[0]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let shape = operand::checked(Shape(operand::dims(operand::fact(inputs, 0)?, "the shape")?))?;
        let short = shape.rank() <= 1 && self.value.dtype.is_int();
        let count = shape.elements().as_usize().filter(|&n| short && n <= 1024);
        let known = count.map(|n| vec![Dim::Const(self.value.to_i64()); n]);
        Ok(vec![operand::with_dims(self.value.dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let wanted = operand::dims(&Fact::of(operand::tensor(inputs, 0)?), "the shape")?;
        let shape = operand::constant(Shape(wanted))?;
        let mut y = Builder::new(self.value.dtype, &shape);
        (0..shape.iter().product::<usize>()).for_each(|_| y.push_bits(self.value.bits));
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        cx.fill(cx.output(0)?, self.value);
        Ok(())
    }
}

impl Op for EyeLike {
    fn name(&self) -> &'static str {
        "EyeLike"
    }

    fn attrs(&self) -> Attrs {
        let dtype = self.dtype.map(|t| ("dtype".to_owned(), Attr::Int(t.to_onnx().into())));
        std::iter::once(("k".to_owned(), Attr::Int(self.k))).chain(dtype).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let dtype = self.dtype.unwrap_or(x.dtype);
        if x.shape.rank() != 2 {
            bail_invalid!("takes a matrix, found shape {}", x.shape);
        }
        if !dtype.is_float() && !dtype.is_int() && dtype != DType::Bool {
            bail_unsupported!("elements of type {dtype} are not supported");
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let mut y = Builder::new(self.dtype.unwrap_or(x.dtype), &x.shape);
        movement::for_each_index(&x.shape, |i| {
            let on = (i[0] as i64).checked_add(self.k) == Some(i[1] as i64);
            y.push(Number::Int(on.into()));
            true
        });
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let ty = cx.ty(y).clone();
        let (loops, ids) = Lowering::loops_over(&ty.shape);
        let shifted =
            Expr::binary(BinaryOp::Add, Expr::Loop(ids[0]), Expr::Const(Scalar::int(DType::I64, self.k)));
        let on = Expr::binary(BinaryOp::Eq, shifted, Expr::Loop(ids[1]));
        let constant = |v: f64| Expr::Const(Scalar::of(ty.dtype, v));
        let value = Expr::select(on, constant(1.0), constant(0.0));
        let store = Store { to: Access::new(y, movement::each(&ids)), value };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_a_shape() {
        let shape = Tensor::from_vec(&[2], vec![2i64, 1]);
        let op = ConstantOfShape { value: Scalar::int(DType::I32, 7) };
        assert_eq!(op.eval(&[Some(&shape)]).unwrap()[0], Tensor::from_vec(&[2, 1], vec![7i32, 7]));
        let none = Tensor::from_vec(&[0], Vec::<i64>::new());
        assert_eq!(op.eval(&[Some(&none)]).unwrap()[0], Tensor::scalar(7i32));
        for extent in [i64::MAX, -1, 1 << 41] {
            let shape = Fact::of(&Tensor::from_vec(&[1], vec![extent]));
            assert!(op.infer(&[Some(&shape)]).is_err());
        }
    }

    #[test]
    fn attributes_come_back_from_parse() {
        let op = ConstantOfShape { value: Scalar::int(DType::I64, -3) };
        let mut attrs = op.attrs();
        let again =
            parse(&mut NodeProto { attrs: &mut attrs, opset: 13, inputs: &[true], outputs: 1 }).unwrap();
        assert_eq!(again.attrs(), op.attrs());
    }

    #[test]
    fn ones_on_a_diagonal() {
        let x = Tensor::from_vec(&[2, 3], vec![0i32; 6]);
        let y = EyeLike { dtype: Some(DType::F32), k: 1 }.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 3], vec![0f32, 1.0, 0.0, 0.0, 0.0, 1.0]));
    }
}
