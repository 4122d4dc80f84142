//! `Col2Im`: images of overlapping blocks, which are added where they overlap.
//!
//! Spec: ONNX Col2Im, version 18. `x` `[N, C * product(block), L]` has a column for each of the L positions of a block that slides
//! over an image of extents `image_shape` (`strides`, `dilations`, `pads`); the result is `[N, C, image_shape..]`.
//!
//! Numerics: elements of a block's column are added one after the other, in the columns' type (16 bits: in f32).
//!
//! Unsupported: shapes that are computed at run time, open extents.

use super::nest::{NestBuilder, add, constant};
use super::values::from_f64s;
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, Expr, Form, Index, LoopId, Lowering, Scalar};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;
use crate::{bail_invalid, bail_unsupported};

/// `Col2Im`; empty lists stand for ones and zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Col2Im {
    dilations: Vec<i64>,
    pads: Vec<i64>,
    strides: Vec<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    let mut list = |name: &str, least: i64| {
        let values = node.ints(name)?.unwrap_or_default();
        match values.iter().find(|v| !(least..=1 << 31).contains(*v)) {
            Some(bad) => bail_invalid!("attribute '{name}' must be at least {least}, found {bad}"),
            None => Ok(values),
        }
    };
    Ok(Box::new(Col2Im {
        dilations: list("dilations", 1)?,
        pads: list("pads", 0)?,
        strides: list("strides", 1)?,
    }))
}

/// `Col2Im`.
pub const DEF: OpDef =
    OpDef { name: "Col2Im", domain: "", since: (18, 18), parse, unsupported: "shapes computed at run time" };

impl Op for Col2Im {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let lists = [("dilations", &self.dilations), ("pads", &self.pads), ("strides", &self.strides)];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        given.map(|(name, list)| (name.to_owned(), Attr::Ints(list.clone()))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let blocks = self.blocks(x, operand::fact(inputs, 1)?, operand::fact(inputs, 2)?)?;
        let shape = [blocks.n, blocks.channels].into_iter().chain(blocks.image);
        Ok(vec![Fact::new(x.dtype, operand::checked(shape.map(Dim::Const).collect())?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let given = [1, 2].map(|i| operand::tensor(inputs, i).map(Fact::of));
        let [image, block] = given;
        let b = self.blocks(&Fact::of(x), &image?, &block?)?;
        let images = [b.n, b.channels].iter().chain(&b.image).map(|n| *n as usize).collect::<Vec<_>>();
        let columns = [b.n * b.channels].into_iter().chain(b.block.clone()).chain(b.counts.clone());
        let columns: Vec<usize> = columns.map(|n| n as usize).collect();
        let values = x.to_f64s()?;
        let (mut y, mut next) = (vec![0.0; images.iter().product()], 0);
        let rank = b.image.len();
        movement::for_each_index(&columns, |i| {
            let mut to = i[0] as i64;
            let mut inside = true;
            for axis in 0..rank {
                let (element, position) = (i[1 + axis] as i64, i[1 + rank + axis] as i64);
                let at = position * b.strides[axis] + element * b.dilations[axis] - b.before[axis];
                inside &= (0..b.image[axis]).contains(&at);
                to = to * b.image[axis] + at;
            }
            if inside {
                y[to as usize] += values[next];
            }
            next += 1;
            true
        });
        Ok(vec![from_f64s(x.dtype, &images, y)?])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_add(results)
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    /// A procedure for each plane, which adds rows of positions to a padded image.
    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let [x, image, block] = [0, 1, 2].map(|i| cx.fact(i).cloned());
        let x = x?;
        let b = self.blocks(&x, &image?, &block?)?;
        let to = cx.output(0)?;
        let constants = |list: &[i64]| list.iter().map(|n| Dim::Const(*n)).collect::<Vec<Dim>>();
        let planes = Dim::Const(b.n * b.channels);
        let of = |parts: &[&[i64]]| -> Shape {
            let rest = parts.iter().flat_map(|p| constants(p));
            std::iter::once(planes.clone()).chain(rest).collect()
        };
        if planes.is(0) {
            cx.fill(to, Scalar::of(x.dtype, 0.0));
            return Ok(());
        }
        let columns = movement::folded_input(cx, 0, "columns", &of(&[&b.block, &b.counts]))?;
        // What positions reach, and what the image has beyond.
        let rank = b.image.len();
        let reach = |i: usize| {
            let last = (b.counts[i] - 1) * b.strides[i] + (b.block[i] - 1) * b.dilations[i] + 1;
            last.max(b.before[i] + b.image[i])
        };
        let reach: Vec<i64> = (0..rank).map(reach).collect();
        let padded = reach != b.image;
        let sums = match padded {
            true => cx.temp("padded", x.dtype, of(&[&reach])),
            false => movement::folded_output(cx, &of(&[&reach]))?,
        };
        let mut nest = NestBuilder::default();
        let plane = nest.parallel("plane", &planes);
        let mut loops = |stem: &str, extents: &[i64]| -> Vec<LoopId> {
            let named = extents.iter().enumerate();
            named.map(|(i, n)| nest.reduce(format!("{stem}{i}"), &Dim::Const(*n))).collect()
        };
        let (all, element, position) = (loops("all", &reach), loops("k", &b.block), loops("i", &b.counts));
        let access = |buffer, index: Vec<Index>| {
            Access::new(buffer, std::iter::once(plane.into()).chain(index).collect())
        };
        let mut steps = Steps::default();
        steps.nest(&all, &mut |steps| -> Result<()> {
            steps.store(access(sums, movement::each(&all)), constant(x.dtype, 0.0));
            Ok(())
        })?;
        let counted: Vec<LoopId> = element.iter().chain(&position).copied().collect();
        steps.nest(&counted, &mut |steps| -> Result<()> {
            let place = |i: usize| {
                let by = Affine::constant(0i64).plus(position[i], b.strides[i]);
                Index::Affine(by.plus(element[i], b.dilations[i]))
            };
            let sum = access(sums, (0..rank).map(place).collect());
            let new = Expr::Load(access(columns, movement::each(&counted)));
            steps.store(sum.clone(), add(Expr::Load(sum), new));
            Ok(())
        })?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        let mut made = sums;
        if padded {
            made = movement::folded_output(cx, &of(&[&b.image]))?;
            let (loops, ids) = Lowering::loops_over(&of(&[&b.image]));
            let shifted = |i: usize| Index::Affine(Affine::of(ids[i + 1]).shifted(b.before[i]));
            let from = std::iter::once(ids[0].into()).chain((0..rank).map(shifted)).collect();
            cx.copy(loops, Access::new(sums, from), Access::new(made, movement::each(&ids)));
        }
        if made != to {
            movement::reshape(cx, made, to);
        }
        Ok(())
    }
}

/// Images, and blocks that slide over them.
struct Blocks {
    n: i64,
    channels: i64,
    image: Vec<i64>,
    block: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Padding in front of each axis.
    before: Vec<i64>,
    /// Positions of a block along each axis.
    counts: Vec<i64>,
}

impl Col2Im {
    fn blocks(&self, x: &Fact, image: &Fact, block: &Fact) -> Result<Blocks> {
        super::values::float(x, "the columns")?;
        let image = operand::ints(image, "the image's shape")?;
        let block = operand::ints(block, "the block's shape")?;
        let Some(shape) = x.shape.as_const() else {
            bail_unsupported!("columns of the open shape {} are not supported: bind it with --dim", x.shape)
        };
        let rank = image.len();
        let of_rank = |list: &[i64], count: usize| list.is_empty() || list.len() == count;
        if block.len() != rank
            || rank == 0
            || !of_rank(&self.dilations, rank)
            || !of_rank(&self.strides, rank)
            || !of_rank(&self.pads, 2 * rank)
            || image.iter().chain(&block).any(|n| !(1..=1 << 31).contains(n))
        {
            bail_invalid!("an image of {image:?} in blocks of {block:?} does not fit the attributes");
        }
        let elements = block.iter().fold(1i64, |n, b| n.saturating_mul(*b));
        let [n, rows, columns] = shape[..] else {
            bail_invalid!("columns must have 3 axes, found shape {shape:?}")
        };
        let [n, rows, columns] = [n, rows, columns].map(|n| n as i64);
        if rows % elements != 0 {
            bail_invalid!("{rows} rows are no multiple of the {elements} elements of a block");
        }
        let or = |list: &[i64], default| (0..rank).map(|i| list.get(i).copied().unwrap_or(default)).collect();
        let (strides, dilations): (Vec<i64>, Vec<i64>) = (or(&self.strides, 1), or(&self.dilations, 1));
        let before: Vec<i64> = or(&self.pads, 0);
        let mut counts = Vec::new();
        for i in 0..rank {
            let span = (block[i] - 1).saturating_mul(dilations[i]).saturating_add(1);
            let after = self.pads.get(rank + i).copied().unwrap_or(0);
            let room = image[i].saturating_add(before[i]).saturating_add(after).saturating_sub(span);
            if room < 0 {
                bail_invalid!("a block of {block:?} does not fit into an image of {image:?}");
            }
            counts.push(room / strides[i] + 1);
        }
        if counts.iter().fold(1i64, |n, c| n.saturating_mul(*c)) != columns {
            bail_invalid!("{columns} columns, where blocks have {counts:?} positions");
        }
        let channels = rows / elements;
        Ok(Blocks { n, channels, image, block, strides, dilations, before, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run, sample};

    fn columns(list: &[(&str, Attr)], x: &Tensor, image: &[i64], block: &[i64]) -> Result<Vec<Tensor>> {
        let vector = |v: &[i64]| Tensor::from_vec(&[v.len()], v.to_vec());
        run(&*parse("Col2Im", 18, list, 3, 1)?, &[x, &vector(image), &vector(block)], &[1, 2])
    }

    #[test]
    fn overlapping_blocks_add() {
        let x = Tensor::from_vec(&[1, 4, 4], vec![1f32; 16]);
        let y = columns(&[], &x, &[3, 3], &[2, 2]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 3, 3], vec![1f32, 2., 1., 2., 4., 2., 1., 2., 1.]));
    }

    #[test]
    fn strides_pads_dilations_and_ranks() {
        let list = [("strides", ints(&[2, 1])), ("pads", ints(&[1, 0, 0, 1])), ("dilations", ints(&[1, 2]))];
        // (6 + 1 - 2) / 2 + 1 = 3, (5 + 1 - 5) + 1 = 2
        columns(&list, &sample(&[2, 12, 6], 5), &[6, 5], &[2, 3]).unwrap();
        columns(&[("strides", ints(&[3]))], &sample(&[1, 4, 2], 5), &[6], &[2]).unwrap();
        columns(&[], &sample(&[1, 8, 8], 5), &[3, 3, 3], &[2, 2, 2]).unwrap();
        columns(&[], &sample(&[1, 16, 16], 5), &[3, 3, 3, 3], &[2, 2, 2, 2]).unwrap();
        // Rows of more than a few vectors.
        columns(&[("pads", ints(&[1, 1, 1, 1]))], &sample(&[1, 9, 74], 5), &[2, 37], &[3, 3]).unwrap();
        columns(&[], &sample(&[0, 4, 4], 5), &[3, 3], &[2, 2]).unwrap();
    }

    #[test]
    fn refusals() {
        let refused = |x: &[usize], image: &[i64], block: &[i64]| {
            columns(&[], &sample(x, 5), image, block).unwrap_err().message
        };
        assert!(refused(&[1, 5, 4], &[3, 3], &[2, 2]).contains("no multiple"));
        assert!(refused(&[1, 4, 5], &[3, 3], &[2, 2]).contains("positions"));
        assert!(refused(&[1, 4, 4], &[1, 3], &[2, 2]).contains("does not fit into"));
    }
}
