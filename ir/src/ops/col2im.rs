//! `Col2Im`: images of overlapping blocks, which are added where they overlap.
//!
//! Spec: ONNX Col2Im, version 18. `x` `[N, C * product(block), L]` has a column for each of the L positions of a block that slides
//! over an image of extents `image_shape` (`strides`, `dilations`, `pads`); the result is `[N, C, image_shape..]`. Made of a
//! `ConvTranspose` whose weights put every element where it belongs.
//!
//! Unsupported: shapes that are computed at run time; more than three spatial axes.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{conv_transpose, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::ops::values::from_f64s;

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
pub const DEF: OpDef = OpDef {
    name: "Col2Im",
    domain: "",
    since: (18, 18),
    parse,
    unsupported: "shapes computed at run time; more than 3 spatial axes",
};

impl Op for Col2Im {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let lists = [("dilations", &self.dilations), ("pads", &self.pads), ("strides", &self.strides)];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        given.map(|(name, list)| (name.to_owned(), Attr::Ints(list.clone()))).collect()
    }

    composed!(product);
}

impl Composed for Col2Im {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let image = operand::ints(cx.fact(required(inputs, 1)?), "the image's shape")?;
        let block = operand::ints(cx.fact(required(inputs, 2)?), "the block's shape")?;
        super::values::float(cx.fact(x), "the columns")?;
        let (shape, rank) = (cx.extents(x, "columns")?, image.len());
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
        if rows % elements != 0 {
            bail_invalid!("{rows} rows are no multiple of the {elements} elements of a block");
        }
        let or = |list: &[i64], i: usize, default| list.get(i).copied().unwrap_or(default);
        let (mut counts, mut rest) = (Vec::new(), Vec::new());
        for i in 0..rank {
            let (stride, dilation) = (or(&self.strides, i, 1), or(&self.dilations, i, 1));
            let span = (block[i] - 1).saturating_mul(dilation) + 1;
            let room = image[i] + or(&self.pads, i, 0) + or(&self.pads, rank + i, 0) - span;
            if room < 0 {
                bail_invalid!("a block of {block:?} does not fit into an image of {image:?}");
            }
            counts.push(room / stride + 1);
            // What no block reaches, at the end.
            rest.push(room % stride);
        }
        if counts.iter().product::<i64>() != columns {
            bail_invalid!("{columns} columns, where blocks have {counts:?} positions");
        }
        let channels = rows / elements;
        let grid: Vec<i64> = [n, rows].into_iter().chain(counts).collect();
        let x = cx.reshape(x, &grid)?;
        // Row k of each channel goes to element k of the block.
        let size = elements as usize;
        let places = (0..rows as usize * size).map(|i| f64::from(i / size % size == i % size)).collect();
        let shape: Vec<usize> = [rows, 1].iter().chain(&block).map(|n| *n as usize).collect();
        let weights = cx.constant(from_f64s(cx.dtype(x), &shape, places)?);
        let mut list = vec![("group", Attr::Int(channels))];
        for (name, values) in
            [("dilations", &self.dilations), ("pads", &self.pads), ("strides", &self.strides)]
        {
            if !values.is_empty() {
                list.push((name, Attr::Ints(values.clone())));
            }
        }
        if rest.iter().any(|r| *r != 0) {
            list.push(("output_padding", Attr::Ints(rest)));
        }
        Ok(vec![cx.apply(&conv_transpose::DEF, &list, &[x, weights])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run, sample};
    use crate::tensor::Tensor;

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
