//! `AffineGrid`: the places that an affine map samples, for `GridSample`.
//!
//! Spec: ONNX AffineGrid, version 20. Places of the result go from -1 to 1 along each axis, the ends being centres of elements
//! (`align_corners`) or their borders; `theta` (`[N, 2, 3]` or `[N, 3, 4]`) maps them, x first. One product with a constant matrix.
//!
//! Unsupported: a size computed at run time.

use super::composed::{Composed, Composer, Value, composed, required};
use super::values::{float, from_f64s};
use super::{matmul, movement, operand, transpose};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::types::Shape;

/// `AffineGrid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffineGrid {
    /// Whether -1 and 1 are the centres of the outermost elements.
    pub align_corners: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(AffineGrid { align_corners: node.flag("align_corners", false)? }))
}

/// `AffineGrid`.
pub const DEF: OpDef = OpDef {
    name: "AffineGrid",
    domain: "",
    since: (20, 20),
    parse,
    unsupported: "a size computed at run time",
};

impl Op for AffineGrid {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("align_corners".to_owned(), Attr::Int(self.align_corners.into()))])
    }

    composed!();
}

impl Composed for AffineGrid {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let theta = required(inputs, 0)?;
        let dtype = float(cx.fact(theta), "theta")?;
        let size = operand::ints(cx.fact(required(inputs, 1)?), "the size")?;
        let shape = operand::constant(operand::checked(size.iter().copied().map(Into::into).collect())?)?;
        let [n, _, axes @ ..] = &shape[..] else {
            bail_invalid!("the size must have 4 or 5 extents, found {size:?}")
        };
        let rank = axes.len();
        let want = Shape::of(&[*n, rank, rank + 1]);
        if !matches!(rank, 2 | 3) || cx.fact(theta).shape != want {
            bail_invalid!("theta of shape {} must be {want} for the size {size:?}", cx.fact(theta).shape);
        }
        let place = |i: usize, extent: usize| match (extent as f64, self.align_corners) {
            (extent, true) if extent > 1.0 => 2.0 * i as f64 / (extent - 1.0) - 1.0,
            (_, true) => -1.0,
            (extent, false) => (2.0 * i as f64 + 1.0) / extent - 1.0,
        };
        let points: usize = axes.iter().product();
        let mut places = Vec::with_capacity(points * (rank + 1));
        movement::for_each_index(axes, |index| {
            places.extend((0..rank).rev().map(|axis| place(index[axis], axes[axis])));
            places.push(1.0);
            true
        });
        let places = cx.constant(from_f64s(dtype, &[points, rank + 1], places)?);
        let turned = cx.apply(&transpose::DEF, &[("perm", Attr::Ints(vec![0, 2, 1]))], &[theta])?;
        let grid = cx.apply(&matmul::DEF, &[], &[places, turned])?;
        let shape: Vec<i64> = [n].into_iter().chain(axes).chain([&rank]).map(|e| *e as i64).collect();
        Ok(vec![cx.reshape(grid, &shape)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn the_identity_gives_the_places_themselves() {
        let theta = Tensor::from_vec(&[1, 2, 3], vec![1f32, 0.0, 0.0, 0.0, 1.0, 0.5]);
        let size = Tensor::from_vec(&[4], vec![1i64, 1, 2, 2]);
        for (aligned, ends) in [(0, 0.5), (1, 1.0)] {
            let op = parse("AffineGrid", 20, &[("align_corners", Attr::Int(aligned))], 2, 1).unwrap();
            let y = run(&*op, &[&theta, &size], &[1]).unwrap();
            assert_eq!(y[0].shape, [1, 2, 2, 2]);
            let want: Vec<f64> = [-1., -1., 1., -1., -1., 1., 1., 1.]
                .iter()
                .enumerate()
                .map(|(i, v)| v * ends + if i % 2 == 1 { 0.5 } else { 0.0 })
                .collect();
            assert_eq!(y[0].to_f64s().unwrap(), want);
        }
    }
}
