//! `CumSum`: sums of all elements up to each one, along an axis.
//!
//! Spec: ONNX CumSum, versions 11 and 14. `exclusive` leaves the element itself out, `reverse` sums from the end.
//!
//! Numerics: floats are added in their own type, those of 16 bits in f32. Along an axis with others inside one row is added to the
//! next. Where nothing or little lies inside, pairwise (Hillis and Steele 1986): in step `s` each element is added to the one `2^s`
//! behind it, `log2(n)` passes in vectors instead of a chain of n additions.
//!
//! Along an open axis the sum so far is kept in a row of its own, to which one row after the other is added.
//!
//! Unsupported: an axis computed at run time.

use super::composed::{self, Composed, Composer, Value, required};
use super::elements::{Builder, Elements};
use super::nest::{NestBuilder, add, constant};
use super::pad;
use super::{binary, movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::Patch;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, BufferId, Expr, Form, LoopId, Lowering, Scalar};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;
use crate::{bail_invalid, bail_unsupported};

/// Elements inside of the axis from which on rows are added.
const ROW: i64 = 4;

/// `CumSum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CumSum {
    /// Whether an element is no part of its sum.
    pub exclusive: bool,
    /// Whether sums begin at the end.
    pub reverse: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(CumSum { exclusive: node.flag("exclusive", false)?, reverse: node.flag("reverse", false)? }))
}

/// `CumSum`.
pub const DEF: OpDef =
    OpDef { name: "CumSum", domain: "", since: (11, 14), parse, unsupported: "an axis computed at run time" };

/// The axis and its extent.
fn along(x: &Fact, axis: &Fact) -> Result<(usize, Dim)> {
    let axes = operand::ints(axis, "the axis")?;
    let [axis] = axes[..] else { bail_invalid!("the axis must be a single integer, found {axes:?}") };
    let axis = x.shape.axis(axis)?;
    Ok((axis, x.shape[axis].clone()))
}

/// An extent that is known.
fn constant_extent(extent: &Dim) -> Result<i64> {
    extent.as_const().ok_or_else(|| Error::internal("an open extent"))
}

/// Elements of all axes of a range.
fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::Const(1), |n, d| n * d.clone())
}

impl Op for CumSum {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let flag = |name: &str, on: bool| (name.to_owned(), Attr::Int(on.into()));
        Attrs::from([flag("exclusive", self.exclusive), flag("reverse", self.reverse)])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, axis) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        if !(x.dtype.is_float() || x.dtype.is_int()) || x.dtype.is_small() {
            bail_unsupported!("sums of elements of type {} are not supported", x.dtype);
        }
        along(x, axis)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, axis) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let (axis, extent) = along(&Fact::of(x), &Fact::of(axis))?;
        let (extent, inner) =
            (constant_extent(&extent)? as usize, x.shape[axis + 1..].iter().product::<usize>());
        let elements = Elements::new(x)?;
        let mut sums = vec![0u64; x.elements()];
        for line in 0..x.elements().checked_div(extent).unwrap_or(0) {
            let first = line / inner * extent * inner + line % inner;
            let zero = if x.dtype.is_float() { Number::Float(0.0) } else { Number::Int(0) };
            let mut sum = zero;
            for i in 0..extent {
                let at = first + inner * if self.reverse { extent - 1 - i } else { i };
                let before = sum;
                sum = match (sum, elements.number(at)) {
                    (Number::Int(a), Number::Int(b)) => Number::Int(a + b),
                    (a, b) => Number::Float(a.float() + b.float()),
                };
                sums[at] = (if self.exclusive { before } else { sum }).to_bits(x.dtype);
            }
        }
        let mut y = Builder::new(x.dtype, &x.shape);
        sums.into_iter().for_each(|bits| y.push_bits(bits));
        Ok(vec![y.finish()?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let (x, axis) = (node.fact(0)?, node.fact(1)?);
        let (axis, extent) = along(x, axis)?;
        let row = product(&x.shape[axis + 1..]).as_const();
        if row.is_some_and(|n| n < ROW) && extent.as_const().is_some() {
            composed::decompose(self, node)
        } else {
            Ok(None)
        }
    }

    /// A procedure for each element of the axes outside: the first row, then each row from the one before it.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, axis) = (cx.fact(0)?.clone(), cx.fact(1)?.clone());
        let (axis, extent) = along(&x, &axis)?;
        let to = cx.output(0)?;
        if x.shape.iter().any(|n| n.is(0)) {
            cx.fill(to, Scalar::of(x.dtype, 0.0));
            return Ok(());
        }
        let (outer, row) = (product(&x.shape[..axis]), product(&x.shape[axis + 1..]));
        let folded = Shape(vec![outer.clone(), extent.clone(), row.clone()]);
        let data = movement::folded_input(cx, 0, "data", &folded)?;
        let sums = movement::folded_output(cx, &folded)?;
        match extent.as_const() {
            Some(extent) => self.rows(cx, [data, sums], [&outer, &row], extent)?,
            None => self.open_rows(cx, [data, sums], [&outer, &row], &extent)?,
        }
        if sums != to {
            movement::reshape(cx, sums, to);
        }
        Ok(())
    }
}

impl CumSum {
    /// Each row from the one before it.
    fn rows(
        &self,
        cx: &mut Lowering<'_>,
        [data, sums]: [BufferId; 2],
        [outer, row]: [&Dim; 2],
        extent: i64,
    ) -> Result<()> {
        let dtype = cx.ty(data).dtype;
        let mut nest = NestBuilder::default();
        let o = nest.parallel("o", outer);
        let (j, rest) = (nest.reduce("j", row), nest.reduce("rest", &(extent - 1).into()));
        // The `n`th row that is summed, from `first` on.
        let nth = |n: Affine| if self.reverse { reversed(&n, &extent.into()) } else { n };
        let at = |buffer, n: Affine| Access::new(buffer, vec![o.into(), nth(n).into(), j.into()]);
        let first = || Affine::constant(0i64);
        let (before, here) = (Affine::of(rest), Affine::of(rest).shifted(1i64));
        let mut steps = Steps::default();
        let load = |n: Affine| Expr::Load(at(data, n));
        steps.each(j, |steps| -> Result<()> {
            steps.store(at(sums, first()), if self.exclusive { constant(dtype, 0.0) } else { load(first()) });
            Ok(())
        })?;
        steps.nest(&[rest, j], &mut |steps| -> Result<()> {
            let new = load(if self.exclusive { before.clone() } else { here.clone() });
            steps.store(at(sums, here.clone()), add(Expr::Load(at(sums, before.clone())), new));
            Ok(())
        })?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }

    /// Each row from the sum so far; there may be none.
    fn open_rows(
        &self,
        cx: &mut Lowering<'_>,
        [data, sums]: [BufferId; 2],
        [outer, row]: [&Dim; 2],
        extent: &Dim,
    ) -> Result<()> {
        let dtype = cx.ty(data).dtype;
        let so_far = cx.temp("sum", dtype, Shape(vec![outer.clone(), row.clone()]));
        let mut nest = NestBuilder::default();
        let o = nest.parallel("o", outer);
        let (j, n) = (nest.reduce("j", row), nest.reduce("n", extent));
        let at = match self.reverse {
            true => reversed(&Affine::of(n), extent),
            false => Affine::of(n),
        };
        let here = |buffer| Access::new(buffer, vec![o.into(), at.clone().into(), j.into()]);
        let sum = || Access::new(so_far, vec![o.into(), j.into()]);
        let mut steps = Steps::default();
        let line = |steps: &mut Steps, to: Access, value: Expr| {
            steps.each(j, |steps| -> Result<()> {
                steps.store(to, value);
                Ok(())
            })
        };
        line(&mut steps, sum(), constant(dtype, 0.0))?;
        let mut lines =
            [(sum(), add(Expr::Load(sum()), Expr::Load(here(data)))), (here(sums), Expr::Load(sum()))];
        if self.exclusive {
            lines.reverse();
        }
        steps.each(n, |steps| lines.into_iter().try_for_each(|(to, value)| line(steps, to, value)))?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

/// A row counted from the last one of `extent`.
fn reversed(n: &Affine, extent: &Dim) -> Affine {
    let minus = |d: &Dim| Dim::Const(0) - d.clone();
    let start = Affine::constant(extent.clone() - Dim::Const(1) - n.offset.clone());
    n.terms.iter().fold(start, |all, (l, c): &(LoopId, Dim)| all.plus(*l, minus(c)))
}

impl Composed for CumSum {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut x = required(inputs, 0)?;
        let (axis, extent) = along(cx.fact(x), cx.fact(required(inputs, 1)?))?;
        let extent = constant_extent(&extent)?;
        let mut distance = 1;
        while distance < extent {
            let shifted = self.shifted(cx, x, axis, distance)?;
            x = cx.apply(&binary::ADD, &[], &[x, shifted])?;
            distance *= 2;
        }
        Ok(vec![if self.exclusive { self.shifted(cx, x, axis, 1)? } else { x }])
    }
}

impl CumSum {
    /// Elements moved along the axis, zeros where they come from.
    fn shifted(&self, cx: &mut Composer<'_>, x: Value, axis: usize, distance: i64) -> Result<Value> {
        let rank = cx.fact(x).shape.rank();
        let by = if self.reverse { -distance } else { distance };
        let mut pads = vec![0i64; 2 * rank];
        (pads[axis], pads[rank + axis]) = (by, -by);
        let pads = cx.constant(Tensor::from_vec(&[2 * rank], pads));
        cx.apply(&pad::DEF, &[], &[x, pads])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{every_type, numbers, parse, run, sample};

    #[test]
    fn all_four_kinds() {
        let x = Tensor::from_vec(&[2, 3], vec![1i32, 2, 3, 4, 5, 6]);
        for (exclusive, reverse, want) in [
            (0, 0, [1, 3, 6, 4, 9, 15]),
            (1, 0, [0, 1, 3, 0, 4, 9]),
            (0, 1, [6, 5, 3, 15, 11, 6]),
            (1, 1, [5, 3, 0, 11, 6, 0]),
        ] {
            let list = [("exclusive", Attr::Int(exclusive)), ("reverse", Attr::Int(reverse))];
            let op = parse("CumSum", 14, &list, 2, 1).unwrap();
            let y = run(&*op, &[&x, &Tensor::scalar(-1i32)], &[1]).unwrap();
            assert_eq!(y[0], Tensor::from_vec(&[2, 3], want.to_vec()));
        }
    }

    #[test]
    fn along_any_axis() {
        let op = parse("CumSum", 11, &[], 2, 1).unwrap();
        for axis in 0..3i64 {
            run(&*op, &[&sample(&[3, 17, 2], 5), &Tensor::scalar(axis)], &[1]).unwrap();
        }
        run(&*op, &[&sample(&[0, 4], 5), &Tensor::scalar(0i64)], &[1]).unwrap();
        run(&*op, &[&sample(&[1, 8], 5), &Tensor::scalar(0i64)], &[1]).unwrap();
    }

    #[test]
    fn rows_are_added_of_every_type_and_kind() {
        for (exclusive, reverse) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let list = [("exclusive", Attr::Int(exclusive)), ("reverse", Attr::Int(reverse))];
            let op = parse("CumSum", 14, &list, 2, 1).unwrap();
            for row in [5, 37] {
                every_type(&*op, &[1], |t| vec![numbers(t, &[2, 4, row]), Tensor::scalar(1i64)]);
            }
        }
    }
}
