//! `Shape` and `Size`: extents as integers.
//!
//! Spec: ONNX Shape, versions 1 to 24, and Size, versions 1 to 24. Shape gives the extents of the axes `start`
//! to `end` (from 15; both count from the end where negative and are limited to the rank) as an i64 vector, Size
//! their product as an i64 scalar. Both are known before anything runs, as expressions of the open dimensions,
//! so that nothing of them is left once shapes are folded; a graph that computes with them or returns them keeps a
//! constant, or sizes.

use super::{movement, operand};
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape as Extents};
use crate::{bail_internal, bail_invalid};

/// `Shape`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// First axis.
    pub start: i64,
    /// Axis behind the last; all when left out.
    pub end: Option<i64>,
}

/// `Size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Shape { start: node.int("start")?.unwrap_or(0), end: node.int("end")? }))
}

fn parse_size(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Size))
}

/// `Shape`.
pub const DEF: OpDef = OpDef { name: "Shape", domain: "", since: (1, 24), parse, unsupported: "" };

/// `Size`.
pub const SIZE: OpDef =
    OpDef { name: "Size", domain: "", since: (1, 24), parse: parse_size, unsupported: "" };

impl Shape {
    fn of(self, extents: &[Dim]) -> Vec<Dim> {
        let rank = extents.len() as i64;
        let axis = |a: i64| (if a < 0 { a.saturating_add(rank) } else { a }).clamp(0, rank) as usize;
        let (start, end) = (axis(self.start), axis(self.end.unwrap_or(rank)));
        extents[start.min(end)..end].to_vec()
    }
}

fn lower(cx: &mut Lowering<'_>) -> Result<()> {
    let y = cx.output(0)?;
    let Some(value) = cx.output_fact(0)?.tensor().cloned() else {
        bail_internal!("sizes of open dimensions are stored before an operator is lowered");
    };
    let data = cx.constant("value", value);
    movement::copy_to(cx, y, data, movement::each);
    Ok(())
}

impl Op for Shape {
    fn name(&self) -> &'static str {
        "Shape"
    }

    fn attrs(&self) -> Attrs {
        let start = (self.start != 0).then(|| ("start".to_owned(), Attr::Int(self.start)));
        start.into_iter().chain(self.end.map(|end| ("end".to_owned(), Attr::Int(end)))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let dims = self.of(&operand::fact(inputs, 0)?.shape);
        Ok(vec![operand::with_dims(DType::I64, Extents::of(&[dims.len()]), Some(dims))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let dims = self.of(&Extents::of(&operand::tensor(inputs, 0)?.shape));
        let values: Vec<i64> = dims.iter().filter_map(Dim::as_const).collect();
        Ok(vec![Tensor::from_vec(&[values.len()], values)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx)
    }
}

impl Op for Size {
    fn name(&self) -> &'static str {
        "Size"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let size = operand::fact(inputs, 0)?.shape.elements();
        Ok(vec![operand::with_dims(DType::I64, Extents::default(), Some(vec![size]))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        match i64::try_from(x.elements()) {
            Ok(n) => Ok(vec![Tensor::scalar(n)]),
            Err(_) => bail_invalid!("{} elements are more than 2^63", x.elements()),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        lower(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(op: Shape) -> Vec<Dim> {
        let x = Fact::new(DType::F32, Extents(vec![Dim::symbol("n"), Dim::Const(3), Dim::Const(5)]));
        op.infer(&[Some(&x)]).unwrap()[0].dims().unwrap()
    }

    #[test]
    fn start_and_end_select_axes() {
        assert_eq!(dims(Shape::default()), [Dim::symbol("n"), Dim::Const(3), Dim::Const(5)]);
        assert_eq!(dims(Shape { start: -1, end: None }), [Dim::Const(5)]);
        assert_eq!(dims(Shape { start: 0, end: Some(-1) }), [Dim::symbol("n"), Dim::Const(3)]);
        assert_eq!(dims(Shape { start: i64::MIN, end: Some(i64::MAX) }).len(), 3);
        assert_eq!(dims(Shape { start: 2, end: Some(1) }), []);
    }

    #[test]
    fn size_is_a_known_scalar() {
        let x = Fact::new(DType::F32, Extents(vec![Dim::symbol("n"), Dim::Const(3)]));
        let y = Size.infer(&[Some(&x)]).unwrap().swap_remove(0);
        assert_eq!((y.shape.rank(), y.dims().unwrap()), (0, vec![Dim::symbol("n") * Dim::Const(3)]));
    }
}
