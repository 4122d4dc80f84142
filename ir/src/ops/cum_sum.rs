//! `CumSum`: sums of all elements up to each one, along an axis.
//!
//! Spec: ONNX CumSum, versions 11 and 14. `exclusive` leaves the element itself out, `reverse` sums from the end.
//!
//! Numerics: pairwise (Hillis and Steele 1986): in step `s` each element is added to the one `2^s` behind it, so that an error
//! grows with the logarithm of the extent. That takes `log2(n)` passes in vectors instead of a chain of n additions.
//!
//! Unsupported: an axis computed at run time; an open extent along it.

use super::composed::{Composed, Composer, Value, composed, required};
use super::pad;
use super::{binary, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

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

impl Op for CumSum {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let flag = |name: &str, on: bool| (name.to_owned(), Attr::Int(on.into()));
        Attrs::from([flag("exclusive", self.exclusive), flag("reverse", self.reverse)])
    }

    composed!();
}

impl Composed for CumSum {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut x = required(inputs, 0)?;
        let axes = operand::ints(cx.fact(required(inputs, 1)?), "the axis")?;
        let [axis] = axes[..] else { bail_invalid!("the axis must be a single integer, found {axes:?}") };
        let shape = cx.fact(x).shape.clone();
        let axis = shape.axis(axis)?;
        let extent = shape[axis].as_const().ok_or_else(|| {
            Error::unsupported(format!("sums along the open extent {} are not supported", shape[axis]))
                .hint("bind the dimension with --dim")
        })?;
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
    use crate::ops::testing::{parse, run, sample};

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
    }
}
