//! `DepthToSpace` and `SpaceToDepth`: trade channels for resolution.
//!
//! Spec: ONNX DepthToSpace, versions 1 to 24, and SpaceToDepth, versions 1 to 24. With block size `b`,
//! DepthToSpace maps `[N, C, H, W]` to `[N, C / b^2, H * b, W * b]`: in mode `DCR` channel `(i * b + j) * C/b^2 + c`
//! and in mode `CRD` channel `c * b^2 + i * b + j` becomes row `h * b + i`, column `w * b + j` of channel `c`.
//! SpaceToDepth is the inverse of mode `DCR`. Lowered to one copy over both sides' common loops.

use super::{movement, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Index, LoopId, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;

/// `DepthToSpace` and its inverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthSpace {
    /// Side of the square block.
    pub block: i64,
    /// Whether this is DepthToSpace.
    pub to_space: bool,
    /// Whether the block's offsets are the fastest part of the deep channel.
    pub crd: bool,
}

fn block(node: &mut NodeProto<'_>) -> Result<i64> {
    node.arity(1..=1, 1..=1)?;
    match node.int("blocksize")? {
        Some(block @ 1..=0xffff) => Ok(block),
        Some(block) => bail_invalid!("attribute 'blocksize' is {block}"),
        None => bail_invalid!("attribute 'blocksize' is missing"),
    }
}

fn parse_to_space(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let crd = match node.string("mode")?.as_deref() {
        None | Some("DCR") => false,
        Some("CRD") => true,
        Some(other) => bail_invalid!("attribute 'mode' must be DCR or CRD, found '{other}'"),
    };
    Ok(Box::new(DepthSpace { block: block(node)?, to_space: true, crd }))
}

fn parse_to_depth(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(DepthSpace { block: block(node)?, to_space: false, crd: false }))
}

/// `DepthToSpace`.
pub const TO_SPACE: OpDef =
    OpDef { name: "DepthToSpace", domain: "", since: (1, 13), parse: parse_to_space, unsupported: "" };

/// `SpaceToDepth`.
pub const TO_DEPTH: OpDef =
    OpDef { name: "SpaceToDepth", domain: "", since: (1, 13), parse: parse_to_depth, unsupported: "" };

impl DepthSpace {
    fn target(self, x: &Shape) -> Result<Shape> {
        let [n, c, h, w] = &x[..] else { bail_invalid!("takes a tensor of rank 4, found shape {x}") };
        let divided = |d: &Dim, by: i64| {
            d.exact_div(&by.into()).ok_or_else(|| match d.as_const() {
                Some(_) => Error::invalid(format!("extent {d} of shape {x} is no multiple of {by}")),
                None => Error::unsupported(format!(
                    "extent {d} of shape {x}, of which {by} make one, is not supported"
                ))
                .hint("bind the dimension with --dim"),
            })
        };
        let b = Dim::Const(self.block);
        let area = self.block * self.block;
        let dims = if self.to_space {
            vec![n.clone(), divided(c, area)?, h.clone() * b.clone(), w.clone() * b]
        } else {
            let (rows, columns) = (divided(h, self.block)?, divided(w, self.block)?);
            vec![n.clone(), c.clone() * Dim::Const(area), rows, columns]
        };
        operand::checked(Shape(dims))
    }
}

impl Op for DepthSpace {
    fn name(&self) -> &'static str {
        if self.to_space { "DepthToSpace" } else { "SpaceToDepth" }
    }

    fn attrs(&self) -> Attrs {
        let mode = if self.crd { "CRD" } else { "DCR" };
        let mode = self.to_space.then(|| ("mode".to_owned(), Attr::Str(mode.to_owned())));
        std::iter::once(("blocksize".to_owned(), Attr::Int(self.block))).chain(mode).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        Ok(vec![Fact::new(x.dtype, self.target(&x.shape)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let shape = operand::constant(self.target(&Shape::of(&x.shape))?)?;
        let b = self.block as usize;
        let y = movement::gather(x, &shape, &[], |at| {
            let from = if self.to_space {
                let (i, j) = (at[2] % b, at[3] % b);
                let deep = if self.crd { at[1] * b * b + i * b + j } else { (i * b + j) * shape[1] + at[1] };
                [at[0], deep, at[2] / b, at[3] / b]
            } else {
                let (offset, c) = (at[1] / x.shape[1], at[1] % x.shape[1]);
                [at[0], c, at[2] * b + offset / b, at[3] * b + offset % b]
            };
            Ok(Some(movement::position(&x.shape, &from)))
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let (deep, wide) = if self.to_space { (x, y) } else { (y, x) };
        let (deep_shape, wide_shape) = (cx.ty(deep).shape.clone(), cx.ty(wide).shape.clone());
        let [n, _, h, w] = &deep_shape[..] else { return Err(Error::internal("rank 4 expected")) };
        let (c, b) = (&wide_shape[1], Dim::Const(self.block));
        let named = [("n", n), ("c", c), ("h", h), ("i", &b), ("w", w), ("j", &b)];
        let loops = named.map(|(name, extent)| movement::parallel(name, extent)).to_vec();
        let [n, ch, h, i, w, j] = [0, 1, 2, 3, 4, 5].map(LoopId);
        let area = Dim::Const(self.block * self.block);
        let channel = if self.crd {
            Affine::of(j).plus(i, b.clone()).plus(ch, area)
        } else {
            Affine::of(ch).plus(j, c.clone()).plus(i, c.clone() * b.clone())
        };
        let row = Affine::of(i).plus(h, b.clone());
        let column = Affine::of(j).plus(w, b.clone());
        let deep_at = Access::new(deep, vec![n.into(), Index::Affine(channel), h.into(), w.into()]);
        let wide_at = Access::new(wide, vec![n.into(), ch.into(), row.into(), column.into()]);
        let (from, to) = if self.to_space { (deep_at, wide_at) } else { (wide_at, deep_at) };
        cx.copy(loops, from, to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modes_and_the_inverse() {
        let x = Tensor::from_vec(&[1, 8, 1, 1], (0..8i32).collect());
        let to_space = |crd| DepthSpace { block: 2, to_space: true, crd };
        let dcr = to_space(false).eval(&[Some(&x)]).unwrap().swap_remove(0);
        assert_eq!(dcr, Tensor::from_vec(&[1, 2, 2, 2], vec![0i32, 2, 4, 6, 1, 3, 5, 7]));
        let crd = to_space(true).eval(&[Some(&x)]).unwrap();
        assert_eq!(crd[0], Tensor::from_vec(&[1, 2, 2, 2], (0..8i32).collect()));
        let back = DepthSpace { block: 2, to_space: false, crd: false }.eval(&[Some(&dcr)]).unwrap();
        assert_eq!(back[0], x);
    }

    #[test]
    fn extents_must_divide() {
        let x = Fact::of(&Tensor::from_vec(&[1, 6, 1, 1], vec![0f32; 6]));
        assert!(DepthSpace { block: 2, to_space: true, crd: false }.infer(&[Some(&x)]).is_err());
    }
}
