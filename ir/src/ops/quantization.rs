//! Which scale and zero point an element has: what quantising and dequantising share.
//!
//! One for the whole tensor, one for each position of an axis, or one for each block of so many positions of it.

use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Expr, Form, Index, Lowering, Store};
use crate::op::{Fact, NodeProto};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// Attributes that say which axis scales belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granularity {
    /// The axis of scales that are a vector or blocks.
    pub(super) axis: i64,
    /// Positions of the axis that share a scale; 0 where scales are no blocks.
    pub(super) block_size: usize,
}

/// How positions of an operand find their scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    /// All have the same.
    One,
    /// By the position on the axis.
    Along(usize),
    /// By the block of the axis, and the positions on all other ones.
    Blocks(usize),
}

/// The type that an attribute says; `None` for 0, which stands for none.
pub(super) fn type_attribute(node: &mut NodeProto<'_>, name: &str) -> Result<Option<DType>> {
    match node.int(name)?.unwrap_or(0) {
        0 => Ok(None),
        number => DType::from_onnx(i32::try_from(number).unwrap_or(i32::MAX)).map(Some),
    }
}

impl Granularity {
    /// Reads the attributes `axis` and `block_size`.
    pub(super) fn parse(node: &mut NodeProto<'_>) -> Result<Self> {
        let block = node.int("block_size")?.unwrap_or(0);
        let Ok(block_size) = usize::try_from(block) else {
            bail_invalid!("attribute 'block_size' must not be negative, found {block}");
        };
        Ok(Self { axis: node.int("axis")?.unwrap_or(1), block_size })
    }

    /// What the shape of the scales means for an operand of shape `x`.
    pub(super) fn scales(&self, x: &Shape, scale: &Shape) -> Result<Scales> {
        if self.block_size > 0 {
            let axis = x.axis(self.axis)?;
            if scale.rank() != x.rank() {
                bail_invalid!("scales of shape {scale} are no blocks of {x}: both must have as many axes");
            }
            for (i, (extent, blocks)) in x.iter().zip(scale.iter()).enumerate() {
                let (Some(extent), Some(blocks)) = (extent.as_usize(), blocks.as_usize()) else {
                    bail_unsupported!("blocks of the open shape {x} are not supported");
                };
                let expected = if i == axis { extent.div_ceil(self.block_size) } else { extent };
                if blocks != expected {
                    bail_invalid!(
                        "scales of shape {scale} do not fit {x} in blocks of {} along axis {axis}",
                        self.block_size
                    );
                }
            }
            return Ok(Scales::Blocks(axis));
        }
        match scale.rank() {
            0 => Ok(Scales::One),
            1 if scale[0].is(1) && x.rank() == 0 => Ok(Scales::One),
            1 => {
                let axis = x.axis(self.axis)?;
                match scale[0] == x[axis] {
                    true => Ok(Scales::Along(axis)),
                    // Older exporters write the only scale as a vector.
                    false if scale[0].is(1) => Ok(Scales::One),
                    false => {
                        bail_invalid!(
                            "{} scales do not fit the {} positions of axis {axis}",
                            scale[0],
                            x[axis]
                        )
                    }
                }
            }
            _ => bail_invalid!("scales of shape {scale} need the attribute 'block_size'"),
        }
    }

    /// By position of an operand of shape `x`, the position of its scale in a tensor of shape `scale`.
    pub(super) fn places(&self, x: &[usize], scale: &[usize]) -> Result<impl Fn(usize) -> usize> {
        let kind = self.scales(&Shape::of(x), &Shape::of(scale))?;
        let (from, to, extents) = (row_major(x), row_major(scale), x.to_vec());
        let block = self.block_size;
        Ok(move |i: usize| match kind {
            Scales::One => 0,
            Scales::Along(axis) => i / from[axis] % extents[axis],
            Scales::Blocks(axis) => (0..extents.len())
                .map(|a| {
                    let at = i / from[a] % extents[a];
                    to[a] * if a == axis { at / block } else { at }
                })
                .sum(),
        })
    }

    /// Emits the pointwise kernels that make output 0 of input 0, the scales (input 1) and the zero points (input 2, if
    /// there): `value` of the elements of each.
    pub(super) fn lower(
        &self,
        cx: &mut Lowering<'_>,
        value: impl Fn(Expr, Expr, Option<Expr>) -> Result<Expr>,
    ) -> Result<()> {
        let (x, y) = (cx.fact(0)?.shape.clone(), cx.output(0)?);
        let kind = self.scales(&x, &cx.fact(1)?.shape.clone())?;
        let zeros = cx.has_input(2);
        let Scales::Blocks(axis) = kind else {
            let (loops, ids) = Lowering::loops_over(&x);
            let index: Vec<Index> = ids.iter().copied().map(Index::from).collect();
            let parameter = |cx: &Lowering<'_>, i: usize| match kind {
                Scales::Along(axis) => Ok(Expr::Load(Access::new(cx.input(i)?, vec![ids[axis].into()]))),
                _ => cx.scalar(i),
            };
            let zero = zeros.then(|| parameter(cx, 2)).transpose()?;
            let element = Expr::Load(Access::new(cx.input(0)?, index.clone()));
            let value = value(element, parameter(cx, 1)?, zero)?;
            cx.emit(loops, Form::Map { stores: vec![Store { to: Access::new(y, index), value }] });
            return Ok(());
        };
        // The whole blocks, then what is left over.
        let extent = x[axis].as_usize().ok_or_else(|| Error::internal("blocks of an open axis"))?;
        let (whole, rest) = (extent / self.block_size, extent % self.block_size);
        for (first, blocks, size) in [(0, whole, self.block_size), (whole, rest.min(1), rest)] {
            if blocks == 0 {
                continue;
            }
            let mut shape = x.clone();
            shape.0[axis] = blocks.into();
            shape.0.push(size.into());
            let (mut loops, ids) = Lowering::loops_over(&shape);
            // The loop within a block goes where the axis was.
            let inner = loops.pop().ok_or_else(|| Error::internal("no loops"))?;
            loops.insert(axis + 1, inner);
            let at = |a: usize| ids[if a > axis { a + 1 } else { a }];
            let block = |a: usize| match a == axis {
                true => Affine::of(at(a)).shifted(first as i64),
                false => Affine::of(at(a)),
            };
            let element = |a: usize| match a == axis {
                true => Affine::constant((first * self.block_size) as i64)
                    .plus(at(a), self.block_size as i64)
                    .plus(ids[axis + 1], 1i64),
                false => Affine::of(at(a)),
            };
            let index = |f: &dyn Fn(usize) -> Affine| (0..x.rank()).map(|a| f(a).into()).collect::<Vec<_>>();
            let load = |cx: &Lowering<'_>, i: usize, f: &dyn Fn(usize) -> Affine| {
                Ok::<_, Error>(Expr::Load(Access::new(cx.input(i)?, index(f))))
            };
            let zero = zeros.then(|| load(cx, 2, &block)).transpose()?;
            let value = value(load(cx, 0, &element)?, load(cx, 1, &block)?, zero)?;
            let to = Access::new(y, index(&element));
            cx.emit(loops, Form::Map { stores: vec![Store { to, value }] });
        }
        Ok(())
    }
}

/// Demands zero points of a type, one for each scale.
pub(super) fn check_zeros(zero: Option<&Fact>, dtype: DType, scale: &Fact) -> Result<()> {
    // A single one may be a scalar or a vector, whatever the other is.
    let alike = |a: &Shape, b: &Shape| a == b || single(a) && single(b);
    match zero {
        Some(zero) if zero.dtype != dtype || !alike(&zero.shape, &scale.shape) => {
            bail_invalid!(
                "zero points {} must have the type {dtype} and the shape {}",
                zero.ty(),
                scale.shape
            )
        }
        _ => Ok(()),
    }
}

/// Whether a shape is that of a single number.
pub(super) fn single(shape: &Shape) -> bool {
    shape.rank() <= 1 && shape.iter().all(|d| d.is(1))
}

/// An optional zero point: whether it is known to be 0 everywhere, which is what leaving it out means.
pub(super) fn is_zero(fact: Option<&Fact>) -> bool {
    let Some(fact) = fact else { return true };
    let zeros = |t: &Tensor| t.data.iter().all(|b| *b == 0);
    fact.tensor().is_some_and(zeros)
}
