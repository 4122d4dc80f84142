//! `Prefix`: the first elements along some axes, as many as sizes say. Sizes are never more than there are, which whoever
//! makes the node vouches for by their bounds.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Which axes are cut.
    pub axes: Vec<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(Prefix { axes: node.ints("axes")?.unwrap_or_default() }))
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
        Attrs::from([("axes".to_owned(), Attr::Ints(self.axes.clone()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, n) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let Some(sizes) = n.dims().filter(|sizes| sizes.len() == self.axes.len()) else {
            bail_unsupported!("the numbers of elements are no sizes");
        };
        let mut shape = x.shape.clone();
        for (axis, n) in self.axes.iter().zip(sizes) {
            let axis = x.shape.axis(*axis)?;
            shape.0[axis] = n;
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, n) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let mut shape = x.shape.clone();
        for (axis, n) in self.axes.iter().zip(n.to_i64s()?) {
            let axis = Fact::of(x).shape.axis(*axis)?;
            let Some(n) = usize::try_from(n).ok().filter(|n| *n <= x.shape[axis]) else {
                bail_invalid!("{n} elements of the {} that there are", x.shape[axis])
            };
            shape[axis] = n;
        }
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
