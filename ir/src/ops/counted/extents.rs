//! `Extents`: the extents that `Reshape` is asked for when the model runs.
//!
//! ```text
//!   y[i] = wanted[i]                                  where that is positive
//!          the extent of axis i of x                  where it is 0, unless `allowzero`
//!          elements of x / the product of the others  where it is negative
//! ```
//!
//! Nothing is said of what does not divide or does not fit: whoever makes the node compares the numbers of elements.

use super::DOMAIN;
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Access, Affine, BinaryOp, Expr, Form, Index, Lowering, Scalar, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::ops::nest::{div, mul};
use crate::ops::operand;
use crate::tensor::Tensor;
use crate::types::DType;

/// `Extents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Whether 0 means 0.
    pub allowzero: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Extents { allowzero: node.flag("allowzero", false)? }))
}

/// `Extents`.
pub const DEF: OpDef = OpDef { name: "Extents", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

impl Op for Extents {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("allowzero".to_owned(), Attr::Int(self.allowzero.into()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let wanted = operand::fact(inputs, 1)?;
        if wanted.dtype != DType::I64 || wanted.shape.rank() != 1 || wanted.shape[0].as_const().is_none() {
            bail_invalid!("a shape must be a vector of i64, found {}", wanted.ty());
        }
        Ok(vec![Fact::new(DType::I64, wanted.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, wanted) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?.to_i64s()?);
        let own = |i: usize| x.shape.get(i).map_or(0, |n| *n as i64);
        let one = |(i, n): (usize, &i64)| if *n == 0 && !self.allowzero { own(i) } else { *n };
        let list: Vec<i64> = wanted.iter().enumerate().map(one).collect();
        let others = list.iter().filter(|n| **n >= 0).fold(1i64, |all, n| all.wrapping_mul(*n)).max(1);
        let rest = x.elements() as i64 / others;
        Ok(vec![Tensor::from_vec(
            &[list.len()],
            list.iter().map(|n| if *n < 0 { rest } else { *n }).collect(),
        )])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, wanted, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let shape = cx.ty(x).shape.clone();
        let count = cx.ty(y).shape.elements().as_usize().unwrap_or_default();
        let int = |n: i64| Expr::Const(Scalar::int(DType::I64, n));
        let at = |buffer, i: usize| Access::new(buffer, vec![Index::from(Affine::constant(i))]);
        let given = |i: usize| Expr::Load(at(wanted, i));
        let positive = |i: usize| {
            if self.allowzero {
                return given(i);
            }
            let own = shape.get(i).map_or_else(|| int(0), |n| Expr::size(DType::I64, n));
            Expr::select(Expr::binary(BinaryOp::Eq, given(i), int(0)), own, given(i))
        };
        let negative = |i: usize| Expr::binary(BinaryOp::Lt, given(i), int(0));
        let others = (0..count).map(|i| Expr::select(negative(i), int(1), positive(i))).reduce(mul);
        let others = Expr::binary(BinaryOp::Max, others.unwrap_or_else(|| int(1)), int(1));
        let rest = div(Expr::size(DType::I64, &shape.elements()), others);
        for i in 0..count {
            let value = Expr::select(negative(i), rest.clone(), positive(i));
            cx.emit(vec![], Form::Map { stores: vec![Store { to: at(y, i), value }] });
        }
        Ok(())
    }
}
