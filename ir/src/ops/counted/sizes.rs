//! `Sizes`: integers that are known when the model runs, as open dimensions with names and bounds.
//!
//! ```text
//!   y = x        in every run; a run in which an element is outside its bounds ends with a status
//! ```
//!
//! Nodes stay whether their result is read or not, since shapes speak of the names. Lowered to a cell for each name.

use std::sync::Arc;

use super::DOMAIN;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Affine, Expr, Form, Index, Lowering, Store};
use crate::op::{Attr, Attrs, Fact, Known, NodeProto, Op, OpDef};
use crate::ops::{movement, operand};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Sizes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A name for each element.
    pub names: Vec<Arc<str>>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let names = node.strings("names")?.unwrap_or_default();
    Ok(Box::new(Sizes { names: names.iter().map(|name| name.as_str().into()).collect() }))
}

/// `Sizes`.
pub const DEF: OpDef = OpDef { name: "Sizes", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

impl Op for Sizes {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        let names = self.names.iter().map(|name| name.to_string()).collect();
        Attrs::from([("names".to_owned(), Attr::Strs(names))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let fits = x.dtype.is_int() && x.shape.rank() <= 1 && x.shape.elements().is(self.names.len() as i64);
        if !fits {
            bail_invalid!("{} names for {}", self.names.len(), x.ty());
        }
        let mut y = Fact::new(x.dtype, x.shape.clone());
        let known = || Known::Dims(self.names.iter().map(|name| Dim::symbol(name)).collect());
        y.known = x.known.clone().or_else(|| Some(known()));
        Ok(vec![y])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![operand::tensor(inputs, 0)?.clone()])
    }

    fn counts(&self) -> &[Arc<str>] {
        &self.names
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let (dtype, rank) = (cx.ty(x).dtype, cx.ty(x).shape.rank());
        for (i, name) in self.names.iter().enumerate() {
            let index = (0..rank).map(|_| Index::from(Affine::constant(i))).collect();
            let element = Expr::Load(Access::new(x, index));
            let value = if dtype == DType::I64 { element } else { Expr::cast(DType::I64, element) };
            let cell = cx.temp("cell", DType::I64, Shape::default());
            cx.emit(vec![], Form::Map { stores: vec![Store { to: Access::new(cell, vec![]), value }] });
            cx.count(name, cell);
        }
        movement::copy_to(cx, y, x, movement::each);
        Ok(())
    }
}
