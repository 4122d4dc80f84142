//! `ArgMax` and `ArgMin`: the position of the extreme element along an axis (ONNX, since 1, 11, 12 and 13).
//!
//! ```text
//! y[...] = the first i (the last with select_last_index) at which x[..., i, ...] is extreme
//! ```
//!
//! The result is i64; the axis stays with extent 1 unless `keepdims` is 0.
//!
//! Numerics: exact. NaN, which ONNX leaves open, compares as neither greater nor less: it never displaces an element.
//!
//! Lowering: a `Reduce` over the one axis.
//!
//! Unsupported: an empty axis.
//! f16 and bf16 are computed in f32.

use super::nest::NestBuilder;
use super::operand::{fact, tensor};
use super::values::to_i128s;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Expr, Form, Index, Lowering, ReduceOp, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, axis_of};

/// The definition of `ArgMax`.
pub const MAX: OpDef =
    OpDef { name: "ArgMax", domain: "", since: (1, 13), parse: |node| parse(node, true), unsupported: "" };

/// The definition of `ArgMin`.
pub const MIN: OpDef =
    OpDef { name: "ArgMin", domain: "", since: (1, 13), parse: |node| parse(node, false), unsupported: "" };

/// ONNX `ArgMax` or `ArgMin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The maximum, else the minimum.
    pub max: bool,
    /// Along this axis, negative from the end.
    pub axis: i64,
    /// The axis stays with extent 1.
    pub keep: bool,
    /// Of equal elements the last.
    pub last: bool,
}

fn parse(node: &mut NodeProto<'_>, max: bool) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let axis = node.int("axis")?.unwrap_or(0);
    let (keep, last) = (node.flag("keepdims", true)?, node.flag("select_last_index", false)?);
    Ok(Box::new(Arg { max, axis, keep, last }))
}

impl Op for Arg {
    fn name(&self) -> &'static str {
        if self.max { MAX.name } else { MIN.name }
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([("axis".to_owned(), Attr::Int(self.axis))]);
        if !self.keep {
            attrs.insert("keepdims".into(), Attr::Int(0));
        }
        if self.last {
            attrs.insert("select_last_index".into(), Attr::Int(1));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        if !(x.dtype.is_float() || (x.dtype.is_int() && x.dtype.bits() >= 8)) {
            bail_invalid!("elements of type {} have no order", x.dtype);
        }
        let axis = x.shape.axis(self.axis)?;
        if x.shape[axis].is(0) {
            bail_invalid!("axis {axis} of {} is empty", x.shape);
        }
        let mut shape = x.shape.clone();
        if self.keep {
            shape.0[axis] = Dim::Const(1);
        } else {
            shape.0.remove(axis);
        }
        Ok(vec![Fact::new(DType::I64, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let axis = axis_of(self.axis, x.shape.len())?;
        let mut shape = x.shape.clone();
        let extent = shape[axis];
        if extent == 0 {
            bail_invalid!("axis {axis} of {:?} is empty", x.shape);
        }
        if self.keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        let inner: usize = x.shape[axis + 1..].iter().product();
        let at = |group: usize, i: usize| (group / inner * extent + i) * inner + group % inner;
        let groups: usize = shape.iter().product();
        let positions: Vec<i64> = if x.dtype.is_float() {
            let values = x.to_f64s()?;
            (0..groups).map(|g| self.find(extent, |i| values[at(g, i)])).collect()
        } else {
            let values = to_i128s(x)?;
            (0..groups).map(|g| self.find(extent, |i| values[at(g, i)])).collect()
        };
        Ok(vec![Tensor::from_vec(&shape, positions)])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let axis = x.shape.axis(self.axis)?;
        let reduced: Vec<bool> = (0..x.shape.rank()).map(|i| i == axis).collect();
        let (nest, ids) = NestBuilder::over(&x.shape, &reduced);
        let mut index: Vec<Index> = super::nest::indices_except(&ids, &reduced);
        if !self.keep {
            index.remove(axis);
        }
        let value = Expr::Load(Access::new(cx.input(0)?, super::nest::indices(&ids)));
        let store = Store { to: Access::new(cx.output(0)?, index), value: Expr::Acc };
        let last = self.last;
        let op = if self.max { ReduceOp::ArgMax { last } } else { ReduceOp::ArgMin { last } };
        cx.emit(nest.loops, Form::Reduce { op, value, store });
        Ok(())
    }
}

impl Arg {
    /// The position of the extreme value among `0..extent`.
    fn find<T: PartialOrd>(&self, extent: usize, value: impl Fn(usize) -> T) -> i64 {
        let better = |best, i| {
            let (a, b) = (value(i), value(best));
            let wins = if self.max { a > b } else { a < b };
            if wins || (self.last && a == b) { i } else { best }
        };
        (1..extent).fold(0, better) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn ties_and_nan() {
        let x = Tensor::from_vec(&[2, 3], vec![2f32, 2.0, 1.0, 1.0, f32::NAN, 3.0]);
        let of = |name, last| {
            let list =
                [("axis", Attr::Int(-1)), ("keepdims", Attr::Int(0)), ("select_last_index", Attr::Int(last))];
            run(&*parse(name, 13, &list, 1, 1).unwrap(), &[&x], &[]).unwrap().remove(0).to_i64s().unwrap()
        };
        assert_eq!(of("ArgMax", 0), [0, 2]);
        assert_eq!(of("ArgMax", 1), [1, 2]);
        assert_eq!(of("ArgMin", 0), [2, 0]);
    }

    #[test]
    fn any_axis() {
        for (axis, keep) in [(0, 1), (1, 0), (-1, 1)] {
            let list = [("axis", Attr::Int(axis)), ("keepdims", Attr::Int(keep))];
            for name in ["ArgMax", "ArgMin"] {
                let op = parse(name, 13, &list, 1, 1).unwrap();
                run(&*op, &[&sample(&[3, 4, 5], 7)], &[]).unwrap();
                run(&*op, &[&Tensor::from_vec(&[2, 1, 2], vec![u64::MAX, 0, 1, i64::MAX as u64])], &[])
                    .unwrap();
            }
        }
    }

    #[test]
    fn refusals() {
        let op = parse("ArgMax", 13, &[("axis", Attr::Int(i64::MAX))], 1, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3]]).contains("is outside"));
        let op = parse("ArgMax", 13, &[], 1, 1).unwrap();
        assert!(refusal(&*op, &[&[0, 3]]).contains("is empty"));
    }
}
