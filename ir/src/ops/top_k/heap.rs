//! The best few along an axis, by a procedure for each line.
//!
//! The k best so far are a heap in the results, the worst of them first; an element that is better takes its place. In the end the
//! worst goes to the end, until all are sorted (J. Williams, *Algorithm 232: Heapsort*, 1964). The other elements are looked at in
//! blocks, whose best ones are found first, in vectors: few blocks have one that is better than what there is already.

use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::procedure::Steps;
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, ReduceOp, Scalar, Store,
};
use crate::op::Fact;
use crate::ops::nest::{NestBuilder, add};
use crate::types::DType;

/// An element and its index, as they are read.
#[derive(Clone)]
struct Pair {
    value: Access,
    index: Access,
}

/// The loops of a procedure that finds the best, and what it reads and writes.
pub(super) struct Sorter {
    nest: NestBuilder,
    /// Loops by axis; that of the axis in question does not count.
    others: Vec<LoopId>,
    axis: usize,
    largest: bool,
    k: i64,
    data: BufferId,
    values: BufferId,
    indices: BufferId,
    /// The element that looks for its place in the heap.
    held: [BufferId; 2],
    /// Elements of a block, and how many blocks there are: element `e` of block `b` is element `e * blocks + b` of the axis.
    block: i64,
    blocks: i64,
    /// The best element of each block.
    best: BufferId,
    /// Counts the first k elements, blocks, elements of a block, those behind all blocks, and what is left to sort.
    first: LoopId,
    one: LoopId,
    of_block: LoopId,
    rest: LoopId,
    left: LoopId,
    /// Registers: the hole in the heap, a child or parent of it and another child, the heap's last place, and whether to go on.
    hole: LoopId,
    near: LoopId,
    other: LoopId,
    last: LoopId,
    going: LoopId,
}

type Body<'a> = &'a mut dyn FnMut(&mut Steps) -> Result<()>;

impl Sorter {
    pub(super) fn new(
        cx: &mut Lowering<'_>,
        x: &Fact,
        axis: usize,
        [extent, k]: [i64; 2],
        largest: bool,
    ) -> Result<Self> {
        let mut nest = NestBuilder::default();
        let mut others = Vec::new();
        for (a, n) in x.shape.iter().enumerate() {
            others.push(if a == axis { LoopId(0) } else { nest.parallel(format!("i{a}"), n) });
        }
        let (data, values, indices) = (cx.input(0)?, cx.output(0)?, cx.output(1)?);
        let block = block(extent, k);
        let blocks = extent / block;
        let best = best(cx, x, axis, [block, blocks], largest)?;
        let mut reduce = |name: &str, extent: i64| nest.reduce(name, &extent.into());
        let (first, left) = (reduce("first", k), reduce("left", k - 1));
        let (one, of_block) = (reduce("block", blocks), reduce("of", block));
        let rest = reduce("rest", extent - block * blocks);
        let [hole, near, other, last] = ["hole", "near", "other", "last"].map(|name| reduce(name, k));
        let going = reduce("going", 2);
        let mut single = x.shape.clone();
        single.0[axis] = Dim::Const(1);
        let held = [cx.temp("held", x.dtype, single.clone()), cx.temp("place", DType::I64, single)];
        Ok(Self {
            nest,
            others,
            axis,
            largest,
            k,
            data,
            values,
            indices,
            held,
            block,
            blocks,
            best,
            first,
            one,
            of_block,
            rest,
            left,
            hole,
            near,
            other,
            last,
            going,
        })
    }

    fn at(&self, buffer: BufferId, place: Affine) -> Access {
        let index = |(a, l): (usize, &LoopId)| -> Index {
            if a == self.axis { place.clone().into() } else { (*l).into() }
        };
        Access::new(buffer, self.others.iter().enumerate().map(index).collect())
    }

    /// A pair of the heap.
    fn pair(&self, place: Affine) -> Pair {
        Pair { value: self.at(self.values, place.clone()), index: self.at(self.indices, place) }
    }

    fn held(&self) -> Pair {
        let [value, index] = self.held.map(|b| self.at(b, Affine::constant(0i64)));
        Pair { value, index }
    }

    fn copy(steps: &mut Steps, from: &Pair, to: &Pair) {
        steps.store(to.value.clone(), Expr::Load(from.value.clone()));
        steps.store(to.index.clone(), Expr::Load(from.index.clone()));
    }

    /// Whether one value is further from the best than another.
    fn less(&self, a: Expr, b: Expr) -> Expr {
        if self.largest { Expr::binary(BinaryOp::Lt, a, b) } else { Expr::binary(BinaryOp::Lt, b, a) }
    }

    /// Whether `a` comes behind `b`: indices are distinct.
    fn worse(&self, a: &Pair, b: &Pair) -> Expr {
        let load = |access: &Access| Expr::Load(access.clone());
        let equal = Expr::binary(BinaryOp::Eq, load(&a.value), load(&b.value));
        let later = Expr::binary(BinaryOp::Lt, load(&b.index), load(&a.index));
        let tie = Expr::binary(BinaryOp::And, equal, later);
        Expr::binary(BinaryOp::Or, self.less(load(&a.value), load(&b.value)), tie)
    }

    /// Statements with the hole at a place, until one of them stops; then the held pair goes there.
    fn moving(&self, steps: &mut Steps, from: Expr, body: Body<'_>) -> Result<()> {
        steps.set(self.hole, from);
        steps.set(self.going, number(1));
        steps.repeat(Expr::binary(BinaryOp::Eq, Expr::Loop(self.going), number(1)), body)?;
        Self::copy(steps, &self.held(), &self.pair(Affine::of(self.hole)));
        Ok(())
    }

    fn stop(&self, steps: &mut Steps) -> Result<()> {
        steps.set(self.going, number(0));
        Ok(())
    }

    /// The pair at `near` goes into the hole, which moves there.
    fn step(&self, steps: &mut Steps) -> Result<()> {
        Self::copy(steps, &self.pair(Affine::of(self.near)), &self.pair(Affine::of(self.hole)));
        steps.set(self.hole, Expr::Loop(self.near));
        Ok(())
    }

    /// The held pair becomes the last one of a heap, and rises as long as it is worse.
    fn rise(&self, steps: &mut Steps, from: Expr) -> Result<()> {
        self.moving(steps, from, &mut |steps| {
            let inner = Expr::binary(BinaryOp::Lt, number(0), Expr::Loop(self.hole));
            steps.choose(
                inner,
                |steps| {
                    let parent = Expr::binary(BinaryOp::Sub, Expr::Loop(self.hole), number(1));
                    steps.set(self.near, Expr::binary(BinaryOp::Shr, parent, number(1)));
                    let worse = self.worse(&self.held(), &self.pair(Affine::of(self.near)));
                    steps.choose(worse, |steps| self.step(steps), |steps| self.stop(steps))
                },
                |steps| self.stop(steps),
            )
        })
    }

    /// The held pair takes the first place of a heap of `size`, and sinks as long as one below it is worse.
    fn sink(&self, steps: &mut Steps, size: &Expr) -> Result<()> {
        let child = |by: i64| {
            let twice = Expr::binary(BinaryOp::Mul, Expr::Loop(self.hole), number(2));
            Expr::binary(BinaryOp::Add, twice, number(by))
        };
        let exists = |by: i64| Expr::binary(BinaryOp::Lt, child(by), size.clone());
        let worst_child = |steps: &mut Steps| -> Result<()> {
            steps.set(self.near, child(1));
            steps.choose(
                exists(2),
                |steps| {
                    steps.set(self.other, child(2));
                    let worse =
                        self.worse(&self.pair(Affine::of(self.other)), &self.pair(Affine::of(self.near)));
                    steps.choose(
                        worse,
                        |steps| {
                            steps.set(self.near, Expr::Loop(self.other));
                            Ok(())
                        },
                        |_| Ok(()),
                    )
                },
                |_| Ok(()),
            )
        };
        self.moving(steps, number(0), &mut |steps| {
            steps.choose(
                exists(1),
                |steps| {
                    worst_child(steps)?;
                    let worse = self.worse(&self.pair(Affine::of(self.near)), &self.held());
                    steps.choose(worse, |steps| self.step(steps), |steps| self.stop(steps))
                },
                |steps| self.stop(steps),
            )
        })
    }

    /// Holds an element of the operand.
    fn hold(&self, steps: &mut Steps, place: &Affine, index: Expr) {
        let held = self.held();
        steps.store(held.value, Expr::Load(self.at(self.data, place.clone())));
        steps.store(held.index, index);
    }

    /// An element that may be better than the worst of the heap.
    fn look(&self, steps: &mut Steps, place: &Affine) -> Result<()> {
        let worst = self.pair(Affine::constant(0i64));
        let (old, new) = (Expr::Load(worst.value), Expr::Load(self.at(self.data, place.clone())));
        let index = place.terms.iter().fold(number(place.offset.as_const().unwrap_or(0)), |sum, (l, by)| {
            let by = Expr::size(DType::I64, by);
            add(sum, Expr::binary(BinaryOp::Mul, Expr::Loop(*l), by))
        });
        // Of equal ones the first; those that the heap began with come before all others.
        let earlier = Expr::binary(BinaryOp::Lt, index.clone(), Expr::Load(worst.index));
        let tie = Expr::binary(BinaryOp::And, Expr::binary(BinaryOp::Eq, old.clone(), new.clone()), earlier);
        let better = Expr::binary(BinaryOp::Or, self.less(old, new), tie);
        let other = Expr::binary(BinaryOp::Le, number(self.k), index.clone());
        steps.choose(
            Expr::binary(BinaryOp::And, better, other),
            |steps| {
                self.hold(steps, place, index);
                self.sink(steps, &number(self.k))
            },
            |_| Ok(()),
        )
    }

    pub(super) fn emit(self, cx: &mut Lowering<'_>) -> Result<()> {
        let mut steps = Steps::default();
        steps.each(self.first, |steps| {
            self.hold(steps, &Affine::of(self.first), Expr::Loop(self.first));
            self.rise(steps, Expr::Loop(self.first))
        })?;
        let worst = self.pair(Affine::constant(0i64));
        steps.each(self.one, |steps| {
            let (old, best) =
                (Expr::Load(worst.value.clone()), Expr::Load(self.at(self.best, Affine::of(self.one))));
            let equal = Expr::binary(BinaryOp::Eq, old.clone(), best.clone());
            let any = Expr::binary(BinaryOp::Or, self.less(old, best), equal);
            steps.choose(
                any,
                |steps| {
                    steps.each(self.of_block, |steps| {
                        let place = Affine::of(self.one).plus(self.of_block, self.blocks);
                        self.look(steps, &place)
                    })
                },
                |_| Ok(()),
            )
        })?;
        steps.each(self.rest, |steps| {
            self.look(steps, &Affine::constant(self.block * self.blocks).plus(self.rest, 1i64))
        })?;
        steps.each(self.left, |steps| {
            steps.set(self.last, Expr::binary(BinaryOp::Sub, number(self.k - 1), Expr::Loop(self.left)));
            let last = self.pair(Affine::of(self.last));
            Self::copy(steps, &last, &self.held());
            Self::copy(steps, &worst, &last);
            self.sink(steps, &Expr::Loop(self.last))
        })?;
        cx.emit(self.nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

/// Elements of a block: with `k ln(n / k)` insertions as many blocks are entered at most, and each block is looked at once.
fn block(extent: i64, k: i64) -> i64 {
    let (n, k) = (extent as f64, k as f64);
    let entered = k * (n / k).ln().max(1.0);
    ((n / entered).sqrt().round() as i64).clamp(1, extent)
}

/// The best element of each block, along all other axes.
fn best(
    cx: &mut Lowering<'_>,
    x: &Fact,
    axis: usize,
    [block, blocks]: [i64; 2],
    largest: bool,
) -> Result<BufferId> {
    if block == 1 {
        return cx.input(0);
    }
    let mut nest = NestBuilder::default();
    let mut shape = x.shape.clone();
    shape.0[axis] = blocks.into();
    let own: Vec<LoopId> = shape.iter().enumerate().map(|(a, n)| nest.parallel(format!("i{a}"), n)).collect();
    let of_block = nest.reduce("of", &block.into());
    let to = cx.temp("best", x.dtype, shape);
    let index = |(a, l): (usize, &LoopId)| match a == axis {
        true => Affine::of(*l).plus(of_block, blocks).into(),
        false => Index::from(*l),
    };
    let from = Access::new(cx.input(0)?, own.iter().enumerate().map(index).collect());
    let to_all = Access::new(to, own.iter().map(|l| Index::from(*l)).collect());
    let op = if largest { ReduceOp::Max } else { ReduceOp::Min };
    let store = Store { to: to_all, value: Expr::Acc };
    cx.emit(nest.loops, Form::Reduce { op, value: Expr::Load(from), store });
    Ok(to)
}

fn number(value: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I64, value))
}
