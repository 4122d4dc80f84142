//! `Prefix`: the first elements along an axis, as many as a size says. The size is never more than there are, which whoever
//! makes the node vouches for by its bounds.
//!
//! ```text
//!   y[.., i, ..] = x[.., i, ..]    for i < n
//! ```

use super::DOMAIN;
use crate::error::{Error, Result};
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::ops::{movement, operand};
use crate::tensor::{Tensor, row_major};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// `Prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Which axis is cut.
    pub axis: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Prefix { axis: node.int("axis")?.unwrap_or(0) }))
}

/// `Prefix`.
pub const DEF: OpDef = OpDef { name: "Prefix", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

impl Op for Prefix {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, n) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let axis = x.shape.axis(self.axis)?;
        let Some([n]) = n.dims().as_deref().map(<[_]>::to_vec).and_then(|d| <[_; 1]>::try_from(d).ok())
        else {
            bail_unsupported!("the number of elements is no size");
        };
        let mut shape = x.shape.clone();
        shape.0[axis] = n;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, n) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let axis = Fact::of(x).shape.axis(self.axis)?;
        let n = match n.to_i64s()?[..] {
            [n] => usize::try_from(n).ok().filter(|n| *n <= x.shape[axis]),
            _ => None,
        };
        let Some(n) = n else { bail_invalid!("more elements than the {} that there are", x.shape[axis]) };
        let mut shape = x.shape.clone();
        shape[axis] = n;
        let strides = row_major(&x.shape);
        let y = movement::gather(x, &shape, &[], |index| {
            Ok(Some(index.iter().zip(&strides).map(|(i, stride)| i * stride).sum()))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        if cx.fact(1)?.dtype != DType::I64 {
            return Err(Error::internal("a size of another type than i64"));
        }
        movement::copy_to(cx, cx.output(0)?, cx.input(0)?, movement::each);
        Ok(())
    }
}
