//! The best of an axis of which many are wanted: bitonic (Batcher 1968) on pairs of element and index, in vectors.
//!
//! The axis is filled up to a power of two, runs of at least k elements are sorted, then of two runs at a time the better half is
//! kept and sorted, until one run is left.
//!
//! ```text
//! sort      for size in 2, 4 .. run, for distance in size/2, size/4 .. 1: exchange pairs that are in the wrong order
//! merge     while there are two runs: keep the better of element i of one and element run-1-i of the other; sort what is left
//! ```

use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, Loop, LoopId, Lowering, Role, Scalar, Store,
};
use crate::numerics::{Number, int_range};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

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

pub(super) struct Sorter<'a, 'b> {
    pub(super) cx: &'a mut Lowering<'b>,
    /// Of the operand.
    pub(super) shape: Shape,
    pub(super) axis: usize,
    pub(super) dtype: DType,
    pub(super) largest: bool,
}

impl Sorter<'_, '_> {
    /// Emits kernels for the `k` best of `extent` elements.
    pub(super) fn run(mut self, extent: i64, k: i64) -> Result<()> {
        let run = (k.max(1) as u64).next_power_of_two() as i64;
        let total = (extent.max(run) as u64).next_power_of_two() as i64;
        let mut pairs = self.fill(extent, total)?;
        let (mut size, mut left) = (2, total);
        while size <= run {
            pairs = self.sort(pairs, left, size, size == run)?;
            size *= 2;
        }
        while left > run {
            pairs = self.better_half(pairs, left, run);
            left /= 2;
            pairs = self.sort(pairs, left, run, true)?;
        }
        self.finish(pairs, k)
    }

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
