//! `CenterCropPad`: cuts or pads axes on both sides to given extents.
//!
//! Spec: ONNX CenterCropPad, version 18. Where the difference is odd, the end loses or gets one more. One `Pad`.
//!
//! Unsupported: extents computed at run time; open extents of axes that change.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{declared, operand, pad};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::axis_of;

/// `CenterCropPad`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CenterCropPad {
    /// The axes whose extents are given; all where there is none.
    pub axes: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(CenterCropPad { axes: node.ints("axes")? }))
}

/// `CenterCropPad`.
pub const DEF: OpDef = OpDef {
    name: "CenterCropPad",
    domain: "",
    since: (18, 18),
    parse,
    unsupported: "extents computed at run time",
};

impl Op for CenterCropPad {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        self.axes.iter().map(|axes| ("axes".to_owned(), Attr::Ints(axes.clone()))).collect()
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (wanted, extents) = (inputs.get(1).copied().flatten()?, declared::extents(outputs, 0)?);
        let axes = self.axes.clone().unwrap_or_else(|| (0..extents.len() as i64).collect());
        let extent = |axis: &i64| extents.get(axis_of(*axis, extents.len()).ok()?).copied();
        let values: Vec<i64> = axes.iter().map(extent).collect::<Option<_>>()?;
        Some(Declared { operand: 1, value: declared::constant(wanted, &values)?, check: Check::Equal })
    }

    composed!();
}

impl Composed for CenterCropPad {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let shape = cx.fact(x).shape.clone();
        let wanted = operand::dims(cx.fact(required(inputs, 1)?), "the list of extents")?;
        let axes = self.axes.clone().unwrap_or_else(|| (0..shape.rank() as i64).collect());
        if wanted.len() != axes.len() {
            bail_invalid!("{} extents do not fit {} axes", wanted.len(), axes.len());
        }
        let mut pads = vec![0i64; 2 * shape.rank()];
        for (axis, wanted) in axes.into_iter().zip(wanted) {
            let axis = shape.axis(axis)?;
            if shape[axis] == wanted {
                continue;
            }
            let (Some(own), Some(wanted)) = (shape[axis].as_const(), wanted.as_const()) else {
                return Err(Error::unsupported(format!(
                    "the extent {} cannot become {wanted} while one of them is open",
                    shape[axis]
                ))
                .hint("bind the dimension with --dim"));
            };
            if wanted < 0 {
                bail_invalid!("axis {axis} cannot have {wanted} elements");
            }
            // Half of it at the front, towards zero, the rest at the end.
            let change = wanted - own;
            pads[axis] = change / 2;
            pads[shape.rank() + axis] = change - change / 2;
        }
        let pads = cx.constant(Tensor::from_vec(&[pads.len()], pads));
        Ok(vec![cx.apply(&pad::DEF, &[], &[x, pads])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};

    #[test]
    fn odd_differences_change_the_end_by_one_more() {
        let x = Tensor::from_vec(&[4, 3], (1..13i32).collect());
        let op = parse("CenterCropPad", 18, &[], 2, 1).unwrap();
        let y = run(&*op, &[&x, &Tensor::from_vec(&[2], vec![1i64, 6])], &[1]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 6], vec![0i32, 4, 5, 6, 0, 0]));
    }
}
