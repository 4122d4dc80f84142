//! `Unique`: elements, or slices along an axis, each once.
//!
//! Spec: ONNX Unique, version 11. In ascending order, or in that in which they are found; where each is found first, which of
//! them every element is, and how often each is there. How many there are is counted when the model runs. NaN has no place in
//! the order. Made of `Distinct` and `Gather`.

use super::counted::{Chain, Distinct, Groups};
use super::{gather, operand, reshape};
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Unique`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The axis; all elements when left out.
    pub axis: Option<i64>,
    /// Whether the result is in ascending order.
    pub sorted: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=4)?;
    Ok(Box::new(Unique { axis: node.int("axis")?, sorted: node.flag("sorted", true)? }))
}

/// `Unique`.
pub const DEF: OpDef = OpDef { name: "Unique", domain: "", since: (11, 11), parse, unsupported: "" };

impl Unique {
    /// The tensor that is looked at, and how.
    fn source(self, x: &Tensor) -> Result<(Tensor, Distinct)> {
        let x = if self.axis.is_none() { x.reshaped(&[x.elements()])? } else { x.clone() };
        Ok((x, Distinct { axis: self.axis.unwrap_or(0), sorted: self.sorted, most: 0 }))
    }
}

impl Op for Unique {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let axis = self.axis.map(|axis| ("axis".to_owned(), Attr::Int(axis)));
        axis.into_iter().chain([("sorted".to_owned(), Attr::Int(self.sorted.into()))]).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let Some(known) = x.tensor() else {
            return Err(Error::unsupported(
                "what differs is counted at run time, which a body of control flow does not support",
            ));
        };
        let (source, how) = self.source(known)?;
        let Groups { first, inverse, .. } = how.groups(&source)?;
        let mut shape = Shape::of(&source.shape);
        let axis = shape.axis(how.axis)?;
        shape.0[axis] = Dim::from(first.len());
        let list = |n: usize| Fact::new(DType::I64, Shape::of(&[n]));
        Ok(vec![Fact::new(x.dtype, shape), list(first.len()), list(inverse.len()), list(first.len())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, how) = self.source(operand::tensor(inputs, 0)?)?;
        let Groups { first, inverse, times } = how.groups(&x)?;
        let vector = |list: Vec<i64>| Tensor::from_vec(&[list.len()], list);
        let first = vector(first);
        let y = gather::Gather { axis: how.axis }.eval(&[Some(&x), Some(&first)])?.swap_remove(0);
        Ok(vec![y, first, vector(inverse), vector(times)])
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let x = node.fact(0)?;
        if x.tensor().is_some() {
            return Ok(None);
        }
        let (axis, n) = match self.axis {
            Some(axis) => {
                let axis = x.shape.axis(axis)?;
                (axis, x.shape[axis].clone())
            }
            None => (0, x.shape.elements()),
        };
        let all = counts.most(&n)?;
        let most = counts.given(&node.told(0), axis).map_or(all, |most| most.min(all));
        let mut chain = Chain::new(node);
        let mut data = chain.input(0)?;
        if self.axis.is_none() {
            let one = chain.integers(&[-1]);
            data = chain.apply(&reshape::DEF, &[], &[data, one])?;
        }
        let axis = axis as i64;
        let found = chain.node(Distinct { axis, sorted: self.sorted, most: all }, &[data], 4);
        let result = &node.graph.value(node.outputs[0]).name;
        let n = chain.sizes(counts, found[3], &[(format!("{result}_count"), most)]);
        let (first, times) = (chain.prefix(found[0], n, 0), chain.prefix(found[2], n, 0));
        let y = chain.apply(&gather::DEF, &[("axis", Attr::Int(axis))], &[data, first])?;
        Ok(Some(chain.finish(&[y, first, found[1], times])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::run;

    #[test]
    fn in_order_and_as_they_are_found() {
        let x = Tensor::from_vec(&[6], vec![2f32, 1.0, 1.0, 3.0, 4.0, 3.0]);
        let of = |sorted| Unique { axis: None, sorted }.eval(&[Some(&x)]).unwrap();
        let list = |t: &Tensor| t.to_f64s().unwrap();
        let y = of(true);
        assert_eq!((list(&y[0]), list(&y[1])), (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 0.0, 3.0, 4.0]));
        assert_eq!(
            (list(&y[2]), list(&y[3])),
            (vec![1.0, 0.0, 0.0, 2.0, 3.0, 2.0], vec![2.0, 1.0, 2.0, 1.0])
        );
        let y = of(false);
        assert_eq!(
            (list(&y[0]), list(&y[2])),
            (vec![2.0, 1.0, 3.0, 4.0], vec![0.0, 1.0, 1.0, 2.0, 3.0, 2.0])
        );
    }

    #[test]
    fn kernels_find_the_same() {
        let x = Tensor::from_vec(&[3, 4], vec![1i32, 0, 1, 0, 2, 0, 2, 0, 3, 3, 3, 3]);
        let bytes = Tensor::from_vec(&[2, 5], vec![9u8, 3, 3, 200, 9, 9, 3, 3, 200, 9]);
        let floats = Tensor::from_vec(&[37], (0..37).map(|i| ((i * 7) % 11) as f32 - 5.0).collect());
        for sorted in [false, true] {
            for (x, axis) in [(&x, 0), (&x, 1), (&x, -1), (&bytes, 1), (&floats, 0)] {
                let op = Distinct { axis, sorted, most: 37 };
                let y = run(&op, &[x], &[]);
                // Behind the count elements have no meaning, and are not compared.
                y.map(|_| ()).unwrap();
            }
        }
    }
}
