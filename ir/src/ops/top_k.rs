//! `TopK`: the largest (or smallest) elements along an axis, in order, and where they are.
//!
//! Spec: ONNX TopK, versions 1, 10, 11 and 24. Of equal elements the one with the smaller index comes first. `sorted` 0 allows any
//! order; this one is kept. NaN has no place in the order: results with it are unspecified, indices are inside the axis.
//!
//! Lowering, each line by itself: a heap where few are wanted (`heap`), else sorted by digits (`radix`), or in vectors where there
//! are few elements (`bitonic`).
//!
//! A k that is computed at run time is a size: as many as there could be are sorted, and the first ones taken.
//!
//! Unsupported: an open extent along the axis.

mod bitonic;
mod heap;
mod radix;

use super::counted::Chain;
use super::elements::{Builder, Elements};
use super::{declared, operand};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::kernel::Lowering;
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// Of so many elements one is wanted where a heap finds them, and so many are wanted at most.
const FEW: i64 = 8;
const HEAP: i64 = 128;
/// Elements from which on counting digits is worth it.
const MANY: i64 = 192;

/// `TopK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    axis: i64,
    largest: bool,
    /// The attribute of the first version; later ones have an input.
    k: Option<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let k = node.int("k")?;
    let inputs = if k.is_some() { 1 } else { 2 };
    node.arity(inputs..=inputs, 2..=2)?;
    node.flag("sorted", true)?;
    Ok(Box::new(TopK { axis: node.int("axis")?.unwrap_or(-1), largest: node.flag("largest", true)?, k }))
}

/// `TopK`.
pub const DEF: OpDef =
    OpDef { name: "TopK", domain: "", since: (1, 24), parse, unsupported: "an open extent along the axis" };

impl TopK {
    /// The axis and the number of results along it.
    fn count(&self, x: &Fact, k: Option<&Fact>) -> Result<(usize, i64)> {
        let axis = x.shape.axis(self.axis)?;
        let k = match (self.k, k) {
            (Some(k), _) => k,
            (None, Some(k)) => match operand::ints(k, "k")?[..] {
                [k] => k,
                _ => bail_invalid!("k must be a single number, found shape {}", k.shape),
            },
            (None, None) => bail_invalid!("k is left out"),
        };
        match x.shape[axis].as_const() {
            Some(extent) if !(0..=extent).contains(&k) => {
                bail_invalid!("k is {k}, and axis {axis} of {} has {extent} elements", x.shape)
            }
            Some(_) => Ok((axis, k)),
            None => {
                bail_unsupported!("the largest along the open axis {axis} of {} is not supported", x.shape)
            }
        }
    }
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([
            ("axis".to_owned(), Attr::Int(self.axis)),
            ("largest".to_owned(), Attr::Int(self.largest.into())),
        ]);
        if let Some(k) = self.k {
            attrs.insert("k".to_owned(), Attr::Int(k));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !(x.dtype.is_float() || x.dtype.is_int()) {
            bail_invalid!("elements of type {} have no order", x.dtype);
        }
        let (axis, k) = self.count(x, inputs.get(1).copied().flatten())?;
        let mut shape = x.shape.clone();
        shape.0[axis] = k.into();
        Ok(vec![Fact::new(x.dtype, shape.clone()), Fact::new(DType::I64, shape)])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (x, k) = (inputs.first().copied().flatten()?, inputs.get(1).copied().flatten()?);
        let extent = *declared::extents(outputs, 0)?.get(x.shape.axis(self.axis).ok()?)?;
        Some(Declared { operand: 1, value: declared::constant(k, &[extent])?, check: Check::Equal })
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let x = node.fact(0)?;
        let (true, Ok(axis)) = (self.k.is_none(), x.shape.axis(self.axis)) else { return Ok(None) };
        let (k, Some(extent)) = (node.fact(1)?, x.shape[axis].as_const()) else { return Ok(None) };
        if k.tensor().is_some() || !k.shape.elements().is(1) {
            return Ok(None);
        }
        let most = counts.given(&node.told(0), axis).map_or(extent, |most| most.min(extent));
        let mut chain = Chain::new(node);
        let (data, k, all) = (chain.input(0)?, chain.input(1)?, chain.integers(&[most]));
        let result = &node.graph.value(node.outputs[0]).name;
        let n = chain.sizes(counts, k, &[(format!("{result}_count"), most)]);
        let attrs = self.attrs();
        let list: Vec<(&str, Attr)> =
            attrs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let all = chain.results(&DEF, &list, &[data, all], 2)?;
        let first = [chain.prefix(all[0], n, self.axis), chain.prefix(all[1], n, self.axis)];
        Ok(Some(chain.finish(&first)))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let k = inputs.get(1).copied().flatten().map(Fact::of);
        let (axis, k) = self.count(&Fact::of(x), k.as_ref())?;
        let mut shape = x.shape.clone();
        let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        shape[axis] = k as usize;
        let elements = Elements::new(x)?;
        let better = |a: usize, b: usize| {
            let order = match (elements.number(a), elements.number(b)) {
                (Number::Int(a), Number::Int(b)) => a.partial_cmp(&b),
                (a, b) => a.float().partial_cmp(&b.float()),
            };
            let order = order.unwrap_or(std::cmp::Ordering::Equal);
            (if self.largest { order.reverse() } else { order }).then(a.cmp(&b))
        };
        let outer: usize = x.shape[..axis].iter().product();
        let mut found = vec![0usize; outer * k as usize * inner];
        for row in 0..outer * inner {
            let first = row / inner * extent * inner + row % inner;
            let mut places: Vec<usize> = (0..extent).map(|i| first + i * inner).collect();
            places.sort_by(|a, b| better(*a, *b));
            for (i, place) in places.into_iter().take(k as usize).enumerate() {
                found[(row / inner * k as usize + i) * inner + row % inner] = place;
            }
        }
        let mut values = Builder::new(x.dtype, &shape);
        found.iter().for_each(|place| values.push_bits(elements.bits(*place)));
        let indices = found.iter().map(|place| (place / inner.max(1) % extent.max(1)) as i64).collect();
        Ok(vec![values.finish()?, Tensor::from_vec(&shape, indices)])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let k = if cx.has_input(1) { Some(cx.fact(1)?.clone()) } else { None };
        let (axis, k) = self.count(&x, k.as_ref())?;
        let extent = x.shape[axis].as_const().ok_or_else(|| Error::internal("an open axis"))?;
        if k > 0 && k <= HEAP && k * FEW <= extent {
            return heap::Sorter::new(cx, &x, axis, [extent, k], self.largest)?.emit(cx);
        }
        if k > 0 && extent >= MANY && !x.dtype.is_small() {
            return radix::Sorter::new(cx, &x, axis, [extent, k], self.largest)?.emit(cx);
        }
        let (shape, dtype, largest) = (x.shape.clone(), x.dtype, self.largest);
        bitonic::Sorter { cx, shape, axis, dtype, largest }.run(extent, k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{every_type, numbers, parse, refusal, run, sample};

    fn op(axis: i64, largest: i64) -> Box<dyn Op> {
        let list = [("axis", Attr::Int(axis)), ("largest", Attr::Int(largest))];
        parse("TopK", 24, &list, 2, 2).unwrap()
    }

    #[test]
    fn of_equal_elements_the_first() {
        let x = Tensor::from_vec(&[2, 5], vec![1f32, 3.0, 3.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let y = run(&*op(-1, 1), &[&x, &Tensor::from_vec(&[1], vec![3i64])], &[1]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 3], vec![3f32, 3.0, 2.0, 0.0, 0.0, 0.0]));
        assert_eq!(y[1], Tensor::from_vec(&[2, 3], vec![1i64, 2, 4, 0, 1, 2]));
    }

    #[test]
    fn every_count_along_every_axis() {
        for (extent, k) in [
            (1, 1),
            (2, 1),
            (5, 2),
            (7, 7),
            (8, 3),
            (17, 4),
            (33, 1),
            (40, 33),
            (6, 0),
            (40, 5),
            (100, 12),
            (9, 1),
            (200, 3),
            (200, 60),
            (200, 200),
            (230, 140),
        ] {
            for (shape, axis) in [([3, extent], 1), ([extent, 5], 0)] {
                for largest in [0, 1] {
                    let k = Tensor::from_vec(&[1], vec![k]);
                    run(&*op(axis, largest), &[&sample(&shape, 5), &k], &[1]).unwrap();
                }
            }
        }
    }

    #[test]
    fn infinities_and_the_ends_of_integers() {
        let k = Tensor::from_vec(&[1], vec![4i64]);
        let low = Tensor::from_vec(&[5], vec![f32::NEG_INFINITY; 5]);
        let y = run(&*op(0, 1), &[&low, &k], &[1]).unwrap();
        assert_eq!(y[1], Tensor::from_vec(&[4], vec![0i64, 1, 2, 3]));
        // Both zeros are equal, the ends are in order, by a heap and by digits.
        let value =
            |i: usize| [0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e-42, -1e-42][i * 5 % 8];
        let ends = Tensor::from_vec(&[200], (0..200).map(value).collect());
        for k in [10i64, 150] {
            for largest in [0, 1] {
                run(&*op(0, largest), &[&ends, &Tensor::from_vec(&[1], vec![k])], &[1]).unwrap();
            }
        }
        run(&*op(0, 0), &[&Tensor::from_vec(&[5], vec![i64::MAX, 3, i64::MAX, i64::MIN, 3]), &k], &[1])
            .unwrap();
        run(&*op(0, 1), &[&Tensor::from_vec(&[5], vec![0u8, 255, 0, 7, 255]), &k], &[1]).unwrap();
        run(&*op(0, 1), &[&Tensor::from_vec(&[6], vec![0.5f64, -1e300, 1e300, 0.0, -0.0, 2.0]), &k], &[1])
            .unwrap();
    }

    #[test]
    fn every_type_in_every_way() {
        for (extent, k) in [(40, 5), (200, 120), (200, 195), (20, 15)] {
            for largest in [0, 1] {
                let case = |t| vec![numbers(t, &[2, extent]), Tensor::from_vec(&[1], vec![k])];
                every_type(&*op(-1, largest), &[1], case);
            }
        }
    }

    #[test]
    fn refusals() {
        assert!(refusal(&*op(2, 1), &[&[2, 3], &[1]]).contains("axis 2"));
        let attr = parse("TopK", 1, &[("k", Attr::Int(4))], 1, 2).unwrap();
        assert!(refusal(&*attr, &[&[2, 3]]).contains("k is 4"));
    }
}
