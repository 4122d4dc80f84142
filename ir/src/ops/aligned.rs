//! Binary operators whose right operand does not broadcast from the last axis on, but lies along some axes of the left one:
//! `Add`, `PRelu` and others before opset 7.
//!
//! Spec: ONNX, versions 1 and 6 of these operators. With `axis`, axis `i` of the right operand is axis `axis + i` of the left
//! one. Here that is the attribute `kiln.axis`, in any opset: the importer writes it.
//!
//! ```text
//! a [2, 3, 4, 5], b [3, 4], kiln.axis = 1:   b is meant as [3, 4, 1]
//! ```

use std::sync::Arc;

use super::composed::{Composed, Composer, Value, composed, required};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op};

/// The attribute that tells the axis of the left operand at which the right one begins.
pub const ALIGNED_AXIS: &str = "kiln.axis";

/// A binary operator whose right operand begins at an axis of the left one.
#[derive(Clone, Debug)]
struct Aligned {
    inner: Arc<dyn Op>,
    /// Negative from the end.
    axis: i64,
}

/// The operator of a node of two operands, aligned where the node says so.
pub(super) fn aligned(node: &mut NodeProto<'_>, inner: impl Op) -> Result<Box<dyn Op>> {
    Ok(match node.int(ALIGNED_AXIS)? {
        None => Box::new(inner),
        Some(axis) => Box::new(Aligned { inner: Arc::new(inner), axis }),
    })
}

impl Op for Aligned {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.inner.attrs();
        attrs.insert(ALIGNED_AXIS.into(), Attr::Int(self.axis));
        attrs
    }

    composed!();
}

impl Composed for Aligned {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (a, b) = (required(inputs, 0)?, required(inputs, 1)?);
        let (left, right) = (cx.fact(a).shape.clone(), cx.fact(b).shape.clone());
        let rank = |n: usize| n as i64;
        let axis = if self.axis < 0 { self.axis.saturating_add(rank(left.rank())) } else { self.axis };
        let end = axis.saturating_add(rank(right.rank()));
        // A single number is the same everywhere.
        let behind = if right.elements().is(1) && right.rank() <= left.rank() {
            0
        } else if axis < 0 || end > rank(left.rank()) {
            bail_invalid!("the right operand {right} does not lie along axis {} of {left} on", self.axis);
        } else {
            rank(left.rank()) - end
        };
        let b = match behind {
            0 => b,
            _ => {
                let axes: Vec<i64> = (0..behind).map(|i| rank(right.rank()) + i).collect();
                cx.unsqueeze(b, &axes)?
            }
        };
        cx.node(self.inner.clone(), &[Some(a), Some(b)])
    }
}

#[cfg(test)]
mod tests {
    use super::ALIGNED_AXIS;
    use crate::op::Attr;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn the_right_operand_begins_at_an_axis() {
        let a = sample(&[2, 3, 4, 5], 5);
        let plain = parse("Sub", 14, &[], 2, 1).unwrap();
        // The examples of Add, version 6: shape, axis, the shape that broadcasts.
        for (shape, axis, meant) in [
            (&[3, 4][..], 1, &[3, 4, 1][..]),
            (&[2], 0, &[2, 1, 1, 1]),
            (&[4, 5], 2, &[4, 5]),
            (&[4, 5], -2, &[4, 5]),
            (&[1, 1], 0, &[1, 1]),
            (&[], 0, &[]),
        ] {
            let b = sample(shape, 3);
            let op = parse("Sub", 6, &[(ALIGNED_AXIS, Attr::Int(axis))], 2, 1).unwrap();
            let got = run(&*op, &[&a, &b], &[]).unwrap();
            let wide = b.reshaped(meant).unwrap();
            assert_eq!(got, run(&*plain, &[&a, &wide], &[]).unwrap(), "{shape:?} at {axis}");
        }
    }

    #[test]
    fn others_of_two_operands() {
        for name in ["Pow", "PRelu", "Div"] {
            let op = parse(name, 6, &[(ALIGNED_AXIS, Attr::Int(1))], 2, 1).unwrap();
            let x = sample(&[2, 3, 4], 5);
            let slope = crate::tensor::Tensor::from_vec(&[3], vec![2f32, 1.0, 3.0]);
            run(&*op, &[&x, &slope], &[]).unwrap();
        }
    }

    #[test]
    fn refusals() {
        let op = parse("Add", 6, &[(ALIGNED_AXIS, Attr::Int(3))], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3, 4], &[4, 5]]).contains("does not lie along axis 3"));
        let op = parse("Add", 6, &[(ALIGNED_AXIS, Attr::Int(i64::MIN))], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3, 4], &[4, 5]]).contains("does not lie along axis"));
    }
}
