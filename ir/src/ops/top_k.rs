//! `TopK`: the largest (or smallest) elements along an axis, in order, and where they are.
//!
//! Spec: ONNX TopK, versions 1, 10, 11 and 24. Of equal elements the one with the smaller index comes first. `sorted` 0 allows any
//! order; this one is kept. NaN has no place in the order: results with it are unspecified, indices are inside the axis.
//!
//! Lowering: bitonic (Batcher 1968) on pairs of element and index, in vectors: the axis is filled up to a power of two, runs of at
//! least k elements are sorted, then of two runs at a time the better half is kept and sorted, until one run is left.
//!
//! ```text
//! sort      for size in 2, 4 .. run, for distance in size/2, size/4 .. 1: exchange pairs that are in the wrong order
//! merge     while there are two runs: keep the better of element i of one and element run-1-i of the other; sort what is left
//! ```
//!
//! Unsupported: k computed at run time; an open extent along the axis.

use super::elements::{Builder, Elements};
use super::operand;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, Loop, LoopId, Lowering, Role, Scalar, Store,
};
use crate::numerics::{Number, int_range};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

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
    OpDef { name: "TopK", domain: "", since: (1, 24), parse, unsupported: "k computed at run time" };

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
        let run = (k.max(1) as u64).next_power_of_two() as i64;
        let total = (extent.max(run) as u64).next_power_of_two() as i64;
        let mut sorter = Sorter { cx, shape: x.shape.clone(), axis, dtype: x.dtype, largest: self.largest };
        let mut pairs = sorter.fill(extent, total)?;
        let (mut size, mut left) = (2, total);
        while size <= run {
            pairs = sorter.sort(pairs, left, size, size == run)?;
            size *= 2;
        }
        while left > run {
            pairs = sorter.better_half(pairs, left, run);
            left /= 2;
            pairs = sorter.sort(pairs, left, run, true)?;
        }
        sorter.finish(pairs, k)
    }
}

/// Elements along an axis, and their indices.
#[derive(Clone, Copy)]
struct Pairs {
    values: BufferId,
    indices: BufferId,
}

/// An element and its index, as expressions.
struct Pair {
    value: Expr,
    index: Expr,
}

struct Sorter<'a, 'b> {
    cx: &'a mut Lowering<'b>,
    /// Of the operand.
    shape: Shape,
    axis: usize,
    dtype: DType,
    largest: bool,
}

impl Sorter<'_, '_> {
    /// Buffers for `extent` pairs along the axis.
    fn room(&mut self, extent: i64) -> Pairs {
        let mut shape = self.shape.clone();
        shape.0[self.axis] = extent.into();
        let values = self.cx.temp("values", self.dtype, shape.clone());
        Pairs { values, indices: self.cx.temp("indices", DType::I32, shape) }
    }

    /// Loops over all other axes, and then `along` in the place of the axis; gives the ids of these, and of the others by axis.
    fn loops(&self, along: &[(&str, i64)]) -> (Vec<Loop>, Vec<LoopId>, Vec<LoopId>) {
        let (mut loops, mut own, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |name: String, extent: Dim| {
            loops.push(Loop { name, extent, role: Role::Parallel });
            LoopId(loops.len() as u16 - 1)
        };
        for (a, extent) in self.shape.iter().enumerate() {
            if a == self.axis {
                own = along.iter().map(|(name, n)| add((*name).to_owned(), (*n).into())).collect();
                others.push(LoopId(0));
            } else {
                others.push(add(format!("i{a}"), extent.clone()));
            }
        }
        (loops, own, others)
    }

    /// The element at a position of the axis.
    fn at(&self, buffer: BufferId, others: &[LoopId], place: &Affine) -> Access {
        let index = |(a, l): (usize, &LoopId)| -> Index {
            if a == self.axis { place.clone().into() } else { (*l).into() }
        };
        Access::new(buffer, others.iter().enumerate().map(index).collect())
    }

    fn pair(&self, pairs: Pairs, others: &[LoopId], place: &Affine) -> Pair {
        let load = |buffer| Expr::Load(self.at(buffer, others, place));
        Pair { value: load(pairs.values), index: load(pairs.indices) }
    }

    /// Whether `a` comes before `b`: indices are distinct.
    fn before(&self, a: &Pair, b: &Pair) -> Expr {
        let (x, y) = (a.value.clone(), b.value.clone());
        let (x, y) = if self.largest { (y, x) } else { (x, y) };
        let equal = Expr::binary(BinaryOp::Eq, x.clone(), y.clone());
        let first = Expr::binary(BinaryOp::Lt, a.index.clone(), b.index.clone());
        let tie = Expr::binary(BinaryOp::And, equal, first);
        Expr::binary(BinaryOp::Or, Expr::binary(BinaryOp::Lt, x, y), tie)
    }

    fn emit(&mut self, loops: Vec<Loop>, to: Pairs, others: &[LoopId], place: &Affine, made: Pair) {
        let stores = vec![
            Store { to: self.at(to.values, others, place), value: made.value },
            Store { to: self.at(to.indices, others, place), value: made.index },
        ];
        self.cx.emit(loops, Form::Map { stores });
    }

    /// The operand with its indices; behind it what comes last of all.
    fn fill(&mut self, extent: i64, total: i64) -> Result<Pairs> {
        let worst = match (self.dtype.is_float(), self.largest) {
            (true, true) => Scalar::of(self.dtype, f64::NEG_INFINITY),
            (true, false) => Scalar::of(self.dtype, f64::INFINITY),
            (false, largest) => {
                let (lo, hi) = int_range(self.dtype);
                Scalar {
                    dtype: self.dtype,
                    bits: Number::Int(if largest { lo } else { hi }).to_bits(self.dtype),
                }
            }
        };
        let to = self.room(total);
        let (loops, own, others) = self.loops(&[("i", total)]);
        let place = Affine::of(own[0]);
        let mut x = self.at(self.cx.input(0)?, &others, &place);
        if total > extent {
            x.otherwise = Some(worst);
        }
        let count = i32::try_from(total).map_err(|_| Error::unsupported("an axis of 2^31 elements"))?;
        let numbers = Tensor::from_vec(&[count as usize], (0..count).collect());
        let numbers = self.cx.constant("numbers", numbers);
        let index = Expr::Load(Access::new(numbers, vec![place.clone().into()]));
        self.emit(loops, to, &others, &place, Pair { value: Expr::Load(x), index });
        Ok(to)
    }

    /// Sorts runs of `size` whose halves are sorted in opposite directions: every second run in reverse, or none of them.
    fn sort(&mut self, mut pairs: Pairs, left: i64, size: i64, forward: bool) -> Result<Pairs> {
        let mut distance = size / 2;
        while distance > 0 {
            let to = self.room(left);
            let groups = left / (2 * distance);
            // Whether the second of a pair takes the better one.
            let turned = |group: i64, second: i64| {
                let reverse = !forward && group * 2 * distance / size % 2 == 1;
                reverse != (second == 1)
            };
            let flips = (0..groups).flat_map(|g| [turned(g, 0), turned(g, 1)]);
            let flips = self.cx.constant("turned", Tensor::from_bools(&[groups as usize, 2], flips));
            let (loops, own, others) = self.loops(&[("g", groups), ("s", 2), ("c", distance)]);
            let at = |second: i64| {
                Affine::constant(second * distance).plus(own[0], 2 * distance).plus(own[2], 1i64)
            };
            let place =
                Affine::constant(0i64).plus(own[0], 2 * distance).plus(own[1], distance).plus(own[2], 1i64);
            let (first, second) = (self.pair(pairs, &others, &at(0)), self.pair(pairs, &others, &at(1)));
            let flip = Expr::Load(Access::new(flips, vec![own[0].into(), own[1].into()]));
            let takes_first = Expr::binary(BinaryOp::Xor, self.before(&first, &second), flip);
            let made = Pair {
                value: Expr::select(takes_first.clone(), first.value, second.value),
                index: Expr::select(takes_first, first.index, second.index),
            };
            self.emit(loops, to, &others, &place, made);
            pairs = to;
            distance /= 2;
        }
        Ok(pairs)
    }

    /// Of every two sorted runs the better half, which rises and falls once.
    fn better_half(&mut self, pairs: Pairs, left: i64, run: i64) -> Pairs {
        let to = self.room(left / 2);
        let (loops, own, others) = self.loops(&[("r", left / (2 * run)), ("c", run)]);
        let first = Affine::constant(0i64).plus(own[0], 2 * run).plus(own[1], 1i64);
        let second = Affine::constant(2 * run - 1).plus(own[0], 2 * run).plus(own[1], -1i64);
        let (a, b) = (self.pair(pairs, &others, &first), self.pair(pairs, &others, &second));
        let takes_first = self.before(&a, &b);
        let made = Pair {
            value: Expr::select(takes_first.clone(), a.value, b.value),
            index: Expr::select(takes_first, a.index, b.index),
        };
        let place = Affine::constant(0i64).plus(own[0], run).plus(own[1], 1i64);
        self.emit(loops, to, &others, &place, made);
        to
    }

    fn finish(&mut self, pairs: Pairs, k: i64) -> Result<()> {
        let (values, indices) = (self.cx.output(0)?, self.cx.output(1)?);
        let (loops, own, others) = self.loops(&[("i", k)]);
        let place = Affine::of(own[0]);
        let from = self.at(pairs.values, &others, &place);
        let to = self.at(values, &others, &place);
        self.cx.copy(loops.clone(), from, to);
        let index = Expr::cast(DType::I64, Expr::Load(self.at(pairs.indices, &others, &place)));
        let store = Store { to: self.at(indices, &others, &place), value: index };
        self.cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

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
        for (extent, k) in [(1, 1), (2, 1), (5, 2), (7, 7), (8, 3), (17, 4), (33, 1), (40, 33), (6, 0)] {
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
        run(&*op(0, 0), &[&Tensor::from_vec(&[5], vec![i64::MAX, 3, i64::MAX, i64::MIN, 3]), &k], &[1])
            .unwrap();
        run(&*op(0, 1), &[&Tensor::from_vec(&[5], vec![0u8, 255, 0, 7, 255]), &k], &[1]).unwrap();
        run(&*op(0, 1), &[&Tensor::from_vec(&[6], vec![0.5f64, -1e300, 1e300, 0.0, -0.0, 2.0]), &k], &[1])
            .unwrap();
    }

    #[test]
    fn refusals() {
        assert!(refusal(&*op(2, 1), &[&[2, 3], &[1]]).contains("axis 2"));
        let attr = parse("TopK", 1, &[("k", Attr::Int(4))], 1, 2).unwrap();
        assert!(refusal(&*attr, &[&[2, 3]]).contains("k is 4"));
    }
}
