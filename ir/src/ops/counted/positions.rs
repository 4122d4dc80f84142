//! `Positions`: where elements are not zero, in row-major order, and how many there are.
//!
//! ```text
//!   p[a, k] = index along axis a of the k-th element that is not zero    for k < min(count, most)
//!   count   = how many there are
//! ```
//!
//! What is too much for `most` lands in the last column, as what lies behind the count is of no meaning; whoever makes the node
//! compares the count with its bound.

use super::DOMAIN;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, BinaryOp, Expr, Form, Index, LoopId, Lowering, Scalar, UnaryOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::ops::elements::Elements;
use crate::ops::nest::NestBuilder;
use crate::ops::{movement, operand};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Positions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// How many are kept.
    pub most: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 2..=2)?;
    Ok(Box::new(Positions { most: node.int("most")?.unwrap_or(0).max(0) }))
}

/// `Positions`.
pub const DEF: OpDef = OpDef { name: "Positions", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

impl Op for Positions {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("most".to_owned(), Attr::Int(self.most))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !(x.dtype.is_float() || x.dtype.is_int() || x.dtype == DType::Bool) {
            bail_invalid!("elements of type {} are not compared with 0", x.dtype);
        }
        let columns = Shape(vec![x.shape.rank().into(), Dim::Const(self.most.saturating_add(1))]);
        Ok(vec![Fact::new(DType::I64, columns), Fact::new(DType::I64, Shape::of(&[1]))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let (rank, columns) = (x.shape.len(), self.most as usize + 1);
        let found = found(x)?;
        let mut positions = vec![0; rank * columns];
        for (k, place) in found.iter().take(self.most as usize).enumerate() {
            place.iter().enumerate().for_each(|(axis, i)| positions[axis * columns + k] = *i);
        }
        let count = Tensor::from_vec(&[1], vec![found.len() as i64]);
        Ok(vec![Tensor::from_vec(&[rank, columns], positions), count])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, positions, total) = (cx.input(0)?, cx.output(0)?, cx.output(1)?);
        let ty = cx.ty(x).clone();
        if ty.shape.rank() == 0 {
            bail_invalid!("a scalar has no positions");
        }
        let mut nest = NestBuilder::default();
        let axes: Vec<LoopId> =
            ty.shape.iter().enumerate().map(|(a, n)| nest.reduce(format!("i{a}"), n)).collect();
        let at = nest.reduce("at", &Dim::Const(self.most.saturating_add(1)));
        let count = nest.reduce("count", &(ty.shape.elements() + Dim::Const(1)));
        let int = |n: i64| Expr::Const(Scalar::int(DType::I64, n));
        let mut steps = Steps::default();
        steps.set(at, int(0));
        steps.set(count, int(0));
        let element = Expr::Load(Access::new(x, movement::each(&axes)));
        let zero = match ty.dtype {
            DType::Bool => Expr::unary(UnaryOp::Not, element),
            dtype => Expr::binary(BinaryOp::Eq, element, Expr::Const(Scalar::of(dtype, 0.0))),
        };
        steps.nest(&axes, &mut |steps: &mut Steps| {
            let found = |steps: &mut Steps| {
                for (a, axis) in axes.iter().enumerate() {
                    let to = Access::new(positions, vec![Affine::constant(a).into(), at.into()]);
                    steps.store(to, Expr::Loop(*axis));
                }
                let next = Expr::binary(BinaryOp::Add, Expr::Loop(count), int(1));
                steps.set(count, next);
                steps.set(at, Expr::binary(BinaryOp::Min, Expr::Loop(count), int(self.most)));
                Ok(())
            };
            steps.choose(zero.clone(), |_| Ok(()), found)
        })?;
        let only: Index = Affine::constant(0i64).into();
        steps.store(Access::new(total, vec![only]), Expr::Loop(count));
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

/// The places of the elements that are not zero, in row-major order.
pub(crate) fn found(x: &Tensor) -> Result<Vec<Vec<i64>>> {
    let elements = Elements::new(x)?;
    let mut places = Vec::new();
    let mut at = vec![0i64; x.shape.len()];
    for i in 0..x.elements() {
        if elements.number(i).float() != 0.0 {
            places.push(at.clone());
        }
        for (axis, extent) in x.shape.iter().enumerate().rev() {
            at[axis] += 1;
            if at[axis] < *extent as i64 {
                break;
            }
            at[axis] = 0;
        }
    }
    Ok(places)
}
