//! `Det`: determinants of square matrices.
//!
//! Spec: ONNX Det, versions 11 and 22: `[.., n, n]` to `[..]`. Made of elementwise operators: elimination with the largest element
//! of a column as pivot, one column after the other.
//!
//! Unsupported: open extents.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{arg, binary, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `Det`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Det;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Det))
}

/// `Det`.
pub const DEF: OpDef = OpDef { name: "Det", domain: "", since: (11, 22), parse, unsupported: "open extents" };

impl Op for Det {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!(product);
}

impl Composed for Det {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        super::values::float(cx.fact(x), "a matrix")?;
        let shape = cx.extents(x, "a matrix")?;
        let [outer @ .., n, columns] = &shape[..] else {
            bail_invalid!("a matrix needed, found shape {shape:?}")
        };
        if n != columns {
            bail_invalid!("the matrix {shape:?} is not square");
        }
        let (n, batch) = (*n, outer.iter().product::<i64>());
        let dtype = cx.dtype(x);
        let x = cx.widened(x)?;
        let mut rest = cx.reshape(x, &[batch, n, n])?;
        let one = cx.number_like(rest, 1.0)?;
        let extents = cx.integers(&[batch]);
        let mut det = cx.apply(&super::expand::DEF, &[], &[one, extents])?;
        for left in (1..=n).rev() {
            // The pivot's row, chosen by a sum in which it stands alone.
            let column = cx.slice(rest, 2, (0, 1), 1)?;
            let magnitude = cx.apply(&unary::ABS, &[], &[column])?;
            let at = cx.apply(&arg::MAX, &[("axis", Attr::Int(1))], &[magnitude])?;
            let rows = cx.constant(Tensor::from_vec(&[1, left as usize, 1], (0..left).collect()));
            let is_pivot = cx.apply(&binary::EQUAL, &[], &[rows, at])?;
            let zero = cx.number_like(rest, 0.0)?;
            let alone = cx.choose(is_pivot, rest, zero)?;
            let row = cx.sum(alone, &[1])?;
            let row = cx.reshape(row, &[batch, 1, left])?;
            let pivot = cx.slice(row, 2, (0, 1), 1)?;
            let flat = cx.reshape(pivot, &[batch])?;
            det = cx.mul(det, flat)?;
            let first = cx.reshape(at, &[batch])?;
            let none = cx.number_like(first, 0.0)?;
            let moved = cx.less(none, first)?;
            let minus = cx.times(det, -1.0)?;
            det = cx.choose(moved, minus, det)?;
            if left == 1 {
                break;
            }
            // The first row takes the pivot's place.
            let top = cx.slice(rest, 1, (0, 1), 1)?;
            let swapped = cx.choose(is_pivot, top, rest)?;
            let below = cx.slice(swapped, 1, (1, left), 1)?;
            let empty = cx.apply(&binary::EQUAL, &[], &[pivot, zero])?;
            let one = cx.number_like(pivot, 1.0)?;
            let divisor = cx.choose(empty, one, pivot)?;
            let first = cx.slice(below, 2, (0, 1), 1)?;
            let factor = cx.div(first, divisor)?;
            let product = cx.mul(factor, row)?;
            let next = cx.sub(below, product)?;
            rest = cx.slice(next, 2, (1, left), 1)?;
        }
        let det = cx.cast(det, dtype)?;
        Ok(vec![cx.reshape(det, outer)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};

    #[test]
    fn pivots_and_singular_matrices() {
        let det = |n: usize, values: &[f32]| {
            let x = Tensor::from_vec(&[values.len() / (n * n), n, n], values.to_vec());
            run(&*parse("Det", 22, &[], 1, 1).unwrap(), &[&x], &[]).unwrap()[0].to_f64s().unwrap()
        };
        let two = det(2, &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 1.0]);
        assert!((two[0] + 2.0).abs() < 1e-6 && two[1] == -3.0, "{two:?}");
        assert_eq!(det(3, &[0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 4.0]), [-24.0]);
        assert_eq!(det(2, &[0.0, 0.0, 0.0, 5.0]), [0.0]);
        assert_eq!(det(1, &[7.0]), [7.0]);
        run(&*parse("Det", 11, &[], 1, 1).unwrap(), &[&sample(&[5, 5], 7)], &[]).unwrap();
    }
}
