//! `Suppression`: the best boxes of each class that do not overlap better ones.
//!
//! ```text
//!   rows[k]  = batch, class and box, the better ones of a class first    for k < min(count, most)
//!   count    = how many there are, at most `each` for a batch and a class
//! ```
//!
//! Inputs are those of `NonMaxSuppression`; what is left out has its default, and a score that is no number is not above it.
//! Classes are found side by side: the boxes whose scores are above the threshold are a heap, whose best goes to the results
//! unless one there overlaps it, until there are enough or the heap is empty. What is too much for `most` lands in the last row.

use super::DOMAIN;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::ops::nest::{NestBuilder, add, constant, div, mul, sub};
use crate::ops::operand;
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Suppression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Whether boxes are a centre, a width and a height, not two corners.
    pub centred: bool,
    /// Boxes of a class at most.
    pub each: i64,
    /// Rows that are kept.
    pub most: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=5, 2..=2)?;
    let centred = node.flag("center_point_box", false)?;
    let (each, most) = (node.int("each")?.unwrap_or(0), node.int("most")?.unwrap_or(0));
    Ok(Box::new(Suppression { centred, each: each.max(0), most: most.max(0) }))
}

/// `Suppression`.
pub const DEF: OpDef = OpDef { name: "Suppression", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

/// Batches, classes and boxes of operands, which must fit each other.
pub(crate) fn extents(boxes: &Fact, scores: &Fact) -> Result<[Dim; 3]> {
    match (&boxes.shape.0[..], &scores.shape.0[..]) {
        ([batches, n, four], [b, classes, m])
            if four.is(4)
                && b == batches
                && m == n
                && [boxes, scores].iter().all(|f| f.dtype == DType::F32) =>
        {
            Ok([batches.clone(), classes.clone(), n.clone()])
        }
        _ => bail_invalid!(
            "boxes {} and scores {} must be f32[b, n, 4] and f32[b, c, n]",
            boxes.ty(),
            scores.ty()
        ),
    }
}

impl Suppression {
    /// The corners of a box: the lower ones, then the upper ones.
    fn corners(self, b: &[f32]) -> [f32; 4] {
        let (x, y) = match self.centred {
            true => ([b[0] - b[2] / 2.0, b[0] + b[2] / 2.0], [b[1] - b[3] / 2.0, b[1] + b[3] / 2.0]),
            false => ([b[0], b[2]], [b[1], b[3]]),
        };
        [x[0].min(x[1]), y[0].min(y[1]), x[0].max(x[1]), y[0].max(y[1])]
    }

    /// Batch, class and box of all that are left.
    pub(crate) fn chosen(self, inputs: &[Option<&Tensor>]) -> Result<Vec<[i64; 3]>> {
        let (boxes, scores) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        extents(&Fact::of(boxes), &Fact::of(scores))?;
        let number = |i: usize| -> Result<Option<f64>> {
            let tensor = inputs.get(i).copied().flatten();
            Ok(tensor.map(Tensor::to_f64s).transpose()?.and_then(|v| v.first().copied()))
        };
        let most = number(2)?.unwrap_or(0.0).clamp(0.0, self.each as f64) as usize;
        let (overlap, least) = (number(3)?.unwrap_or(0.0) as f32, number(4)?.map(|v| v as f32));
        let (classes, n) = (scores.shape[1], scores.shape[2]);
        let (all, scores) = (boxes.as_slice::<f32>()?, scores.as_slice::<f32>()?);
        let mut rows = Vec::new();
        for (line, scores) in scores.chunks(n.max(1)).enumerate().filter(|_| n > 0) {
            let (batch, class) = (line / classes, line % classes);
            let corners = |i: usize| self.corners(&all[(batch * n + i) * 4..][..4]);
            let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
            let counts = |i: &usize| least.map_or(!scores[*i].is_nan(), |least| scores[*i] > least);
            let mut list: Vec<usize> = (0..n).filter(counts).collect();
            // Stable: of equal ones the first.
            list.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap_or(std::cmp::Ordering::Equal));
            let mut kept: Vec<usize> = Vec::new();
            for i in list {
                if kept.len() == most {
                    break;
                }
                let b = corners(i);
                let covered = |last: &usize| {
                    let a = corners(*last);
                    let side = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0);
                    let common = side(0) * side(1);
                    let whole = area(a) + area(b) - common;
                    common > 0.0 && whole > 0.0 && common / whole > overlap
                };
                if !kept.iter().any(covered) {
                    kept.push(i);
                }
            }
            rows.extend(kept.iter().map(|i| [batch as i64, class as i64, *i as i64]));
        }
        Ok(rows)
    }
}

impl Op for Suppression {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        let list = [("center_point_box", i64::from(self.centred)), ("each", self.each), ("most", self.most)];
        list.into_iter().map(|(name, value)| (name.to_owned(), Attr::Int(value))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        extents(operand::fact(inputs, 0)?, operand::fact(inputs, 1)?)?;
        for (i, dtype) in [(2, DType::I64), (3, DType::F32), (4, DType::F32)] {
            if let Some(fact) = inputs.get(i).copied().flatten()
                && (fact.dtype != dtype || !fact.shape.elements().is(1))
            {
                bail_invalid!("input {i} must be a single {dtype}, found {}", fact.ty());
            }
        }
        let rows = Shape(vec![Dim::Const(self.most.saturating_add(1)), Dim::Const(3)]);
        Ok(vec![Fact::new(DType::I64, rows), Fact::new(DType::I64, Shape::of(&[1]))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let chosen = self.chosen(inputs)?;
        let mut rows: Vec<i64> = chosen.iter().take(self.most as usize).flatten().copied().collect();
        rows.resize((self.most as usize + 1) * 3, 0);
        let count = Tensor::from_vec(&[1], vec![chosen.len() as i64]);
        Ok(vec![Tensor::from_vec(&[self.most as usize + 1, 3], rows), count])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let [batches, classes, n] = extents(cx.fact(0)?, cx.fact(1)?)?;
        let (corners, area) = self.emit_corners(cx, &batches, &n)?;
        let lines = |last: Dim| Shape(vec![batches.clone(), classes.clone(), last]);
        let found = cx.temp("found", DType::I64, lines(Dim::Const(self.each.saturating_add(1))));
        let numbers = cx.temp("numbers", DType::I64, Shape(vec![batches.clone(), classes.clone()]));
        let list = cx.temp("list", DType::I64, lines(n.clone() + Dim::Const(1)));
        self.emit_classes(cx, [&batches, &classes, &n], [corners, area, found, numbers, list])?;
        self.emit_rows(cx, [&batches, &classes], found, numbers)
    }
}

fn int(n: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I64, n))
}

fn least(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Min, a, b)
}

fn greatest(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Max, a, b)
}

fn less(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Lt, a, b)
}

fn equal(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Eq, a, b)
}

fn both(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::And, a, b)
}

fn at(buffer: BufferId, index: impl IntoIterator<Item = Index>) -> Access {
    Access::new(buffer, index.into_iter().collect())
}

fn fixed(i: i64) -> Index {
    Affine::constant(i).into()
}

/// Boxes of a batch and a class by their scores: each is at least as good as the two below it.
struct Heap {
    lines: [LoopId; 2],
    scores: BufferId,
    list: BufferId,
    /// How many there are.
    end: LoopId,
    /// The place that is free, and the box that is to go there.
    hole: LoopId,
    own: LoopId,
    /// Places below, and the better box of them.
    near: LoopId,
    other: LoopId,
    below: LoopId,
    second: LoopId,
    root: LoopId,
    going: LoopId,
}

impl Heap {
    /// Registers of a heap in `list` of at most `n` boxes.
    fn new(
        nest: &mut NestBuilder,
        [n, one_more]: [&Dim; 2],
        lines: [LoopId; 2],
        [scores, list]: [BufferId; 2],
    ) -> Self {
        let [end, root] = ["end", "root"].map(|name| nest.reduce(name, one_more));
        let [hole, own, near, other, below, second] =
            ["hole", "own", "near", "other", "below", "second"].map(|name| nest.reduce(name, n));
        let going = nest.reduce("going", &Dim::Const(2));
        Self { lines, scores, list, end, hole, own, near, other, below, second, root, going }
    }

    fn at(&self, buffer: BufferId, l: LoopId) -> Access {
        at(buffer, [self.lines[0].into(), self.lines[1].into(), l.into()])
    }

    fn box_at(&self, place: LoopId) -> Expr {
        Expr::Load(self.at(self.list, place))
    }

    /// Whether box `a` comes before box `b`.
    fn better(&self, a: LoopId, b: LoopId) -> Expr {
        let score = |l: LoopId| Expr::Load(self.at(self.scores, l));
        let tie = both(equal(score(a), score(b)), less(Expr::Loop(a), Expr::Loop(b)));
        Expr::binary(BinaryOp::Or, less(score(b), score(a)), tie)
    }

    /// The box `own` goes into the hole, or below it as long as there is a better one there.
    fn sink(&self, steps: &mut Steps) -> Result<()> {
        let Self { end, hole, own, near, other, below, second, going, .. } = *self;
        let child = |by: i64| add(mul(Expr::Loop(hole), int(2)), int(by));
        let exists = |by: i64| less(child(by), Expr::Loop(end));
        let stop = |steps: &mut Steps| {
            steps.set(going, int(0));
            Ok(())
        };
        steps.set(going, int(1));
        steps.repeat(equal(Expr::Loop(going), int(1)), |steps| {
            steps.choose(
                exists(1),
                |steps| {
                    steps.set(near, child(1));
                    steps.set(below, self.box_at(near));
                    let turn = |steps: &mut Steps| {
                        steps.set(near, Expr::Loop(other));
                        steps.set(below, Expr::Loop(second));
                        Ok(())
                    };
                    let look = |steps: &mut Steps| {
                        steps.set(other, child(2));
                        steps.set(second, self.box_at(other));
                        steps.choose(self.better(second, below), turn, |_| Ok(()))
                    };
                    steps.choose(exists(2), look, |_| Ok::<_, crate::Error>(()))?;
                    let rise = |steps: &mut Steps| {
                        steps.store(self.at(self.list, hole), Expr::Loop(below));
                        steps.set(hole, Expr::Loop(near));
                        Ok(())
                    };
                    steps.choose(self.better(below, own), rise, stop)
                },
                stop,
            )
        })?;
        steps.store(self.at(self.list, hole), Expr::Loop(own));
        Ok(())
    }

    /// Puts a list in the order of a heap.
    fn build(&self, steps: &mut Steps) -> Result<()> {
        steps.set(self.root, Expr::binary(BinaryOp::Shr, Expr::Loop(self.end), int(1)));
        steps.repeat(less(int(0), Expr::Loop(self.root)), |steps| {
            steps.set(self.root, sub(Expr::Loop(self.root), int(1)));
            steps.set(self.hole, Expr::Loop(self.root));
            steps.set(self.own, self.box_at(self.hole));
            self.sink(steps)
        })
    }

    /// Takes the best box out of a heap that is not empty.
    fn take(&self, steps: &mut Steps, best: LoopId) -> Result<()> {
        steps.set(self.hole, int(0));
        steps.set(best, self.box_at(self.hole));
        steps.set(self.end, sub(Expr::Loop(self.end), int(1)));
        let fill = |steps: &mut Steps| {
            steps.set(self.own, self.box_at(self.end));
            self.sink(steps)
        };
        steps.choose(less(int(0), Expr::Loop(self.end)), fill, |_| Ok(()))
    }
}

impl Suppression {
    /// Corners and areas of all boxes.
    fn emit_corners(self, cx: &mut Lowering<'_>, batches: &Dim, n: &Dim) -> Result<(BufferId, BufferId)> {
        let boxes = cx.input(0)?;
        let corners = cx.temp("corners", DType::F32, Shape(vec![batches.clone(), n.clone(), Dim::Const(4)]));
        let area = cx.temp("area", DType::F32, Shape(vec![batches.clone(), n.clone()]));
        let mut nest = NestBuilder::default();
        let (b, i) = (nest.parallel("b", batches), nest.parallel("i", n));
        let part = |k: i64| Expr::Load(at(boxes, [b.into(), i.into(), fixed(k)]));
        let half = |k: i64| mul(part(k), constant(DType::F32, 0.5));
        let ends = |k: i64| match self.centred {
            true => (sub(part(k), half(k + 2)), add(part(k), half(k + 2))),
            false => (part(k), part(k + 2)),
        };
        let mut stores = Vec::new();
        let mut sides = Vec::new();
        for axis in 0..2i64 {
            let (x, y) = ends(axis);
            let (low, high) = (least(x.clone(), y.clone()), greatest(x, y));
            for (k, value) in [(axis, low.clone()), (axis + 2, high.clone())] {
                stores.push(Store { to: at(corners, [b.into(), i.into(), fixed(k)]), value });
            }
            sides.push(sub(high, low));
        }
        let value = mul(sides[0].clone(), sides[1].clone());
        stores.push(Store { to: at(area, [b.into(), i.into()]), value });
        cx.emit(nest.loops, Form::Map { stores });
        Ok((corners, area))
    }

    /// The best of each batch and class.
    fn emit_classes(
        self,
        cx: &mut Lowering<'_>,
        [batches, classes, n]: [&Dim; 3],
        [corners, area, found, numbers, list]: [BufferId; 5],
    ) -> Result<()> {
        let scores = cx.input(1)?;
        let scalar = |cx: &Lowering<'_>, i: usize| cx.has_input(i).then(|| cx.scalar(i)).transpose();
        let most = scalar(cx, 2)?.unwrap_or_else(|| int(0));
        let overlap = scalar(cx, 3)?.unwrap_or_else(|| constant(DType::F32, 0.0));
        let threshold = scalar(cx, 4)?;
        let one_more = n.clone() + Dim::Const(1);
        let each = Dim::Const(self.each.saturating_add(1));
        let mut nest = NestBuilder::default();
        let (b, c) = (nest.parallel("b", batches), nest.parallel("c", classes));
        let i = nest.reduce("i", n);
        // Boxes: the best one of the heap, and one of the results.
        let [best, last] = ["best", "last"].map(|name| nest.reduce(name, n));
        let [k, j, limit, blank] = ["k", "j", "limit", "blank"].map(|name| nest.reduce(name, &each));
        let covered = nest.reduce("covered", &Dim::Const(2));
        let line = |buffer: BufferId, l: LoopId| at(buffer, [b.into(), c.into(), l.into()]);
        let load = |buffer: BufferId, l: LoopId| Expr::Load(line(buffer, l));
        let corner = |l: LoopId, j: i64| Expr::Load(at(corners, [b.into(), l.into(), fixed(j)]));
        let zero = || constant(DType::F32, 0.0);
        let heap = Heap::new(&mut nest, [n, &one_more], [b, c], [scores, list]);
        let end = heap.end;
        let mut steps = Steps::default();
        // What is read behind has been written whatever is found.
        steps.each(blank, |steps| {
            steps.store(line(found, blank), int(0));
            Ok::<_, crate::Error>(())
        })?;
        [end, k].into_iter().for_each(|l| steps.set(l, int(0)));
        steps.set(limit, least(greatest(most, int(0)), int(self.each)));
        steps.each(i, |steps| {
            let own = load(scores, i);
            let counts = match &threshold {
                Some(threshold) => less(threshold.clone(), own),
                None => equal(own.clone(), own),
            };
            steps.choose(
                counts,
                |steps| {
                    steps.store(line(list, end), Expr::Loop(i));
                    steps.set(end, add(Expr::Loop(end), int(1)));
                    Ok::<_, crate::Error>(())
                },
                |_| Ok(()),
            )
        })?;
        heap.build(&mut steps)?;
        // What two boxes have in common, and what they cover together.
        let side = |axis: i64| {
            let ends = sub(
                least(corner(last, axis + 2), corner(best, axis + 2)),
                greatest(corner(last, axis), corner(best, axis)),
            );
            greatest(ends, zero())
        };
        let size = |l: LoopId| Expr::Load(at(area, [b.into(), l.into()]));
        let common = mul(side(0), side(1));
        let whole = sub(add(size(last), size(best)), common.clone());
        let much = both(less(zero(), whole.clone()), less(overlap, div(common.clone(), whole)));
        let left = both(less(int(0), Expr::Loop(end)), less(Expr::Loop(k), Expr::Loop(limit)));
        steps.repeat(left, |steps| {
            heap.take(steps, best)?;
            [j, covered].into_iter().for_each(|l| steps.set(l, int(0)));
            let going = both(less(Expr::Loop(j), Expr::Loop(k)), equal(Expr::Loop(covered), int(0)));
            steps.repeat(going, |steps| {
                steps.set(last, load(found, j));
                steps.set(j, add(Expr::Loop(j), int(1)));
                // Most have nothing in common, and need no quotient.
                steps.choose(
                    less(zero(), common.clone()),
                    |steps| {
                        let hides = |steps: &mut Steps| {
                            steps.set(covered, int(1));
                            Ok(())
                        };
                        steps.choose(much.clone(), hides, |_| Ok(()))
                    },
                    |_| Ok(()),
                )
            })?;
            let stays = |steps: &mut Steps| {
                steps.store(line(found, k), Expr::Loop(best));
                steps.set(k, add(Expr::Loop(k), int(1)));
                Ok::<_, crate::Error>(())
            };
            steps.choose(equal(Expr::Loop(covered), int(0)), stays, |_| Ok(()))
        })?;
        steps.store(at(numbers, [b.into(), c.into()]), Expr::Loop(k));
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }

    /// Rows of all that was found, and how many there are.
    fn emit_rows(
        self,
        cx: &mut Lowering<'_>,
        [batches, classes]: [&Dim; 2],
        found: BufferId,
        numbers: BufferId,
    ) -> Result<()> {
        let (rows, count) = (cx.output(0)?, cx.output(1)?);
        let mut nest = NestBuilder::default();
        let (b, c) = (nest.reduce("b", batches), nest.reduce("c", classes));
        let [k, n] = ["k", "n"].map(|name| nest.reduce(name, &Dim::Const(self.each.saturating_add(1))));
        let row = nest.reduce("row", &Dim::Const(self.most.saturating_add(1)));
        let all = batches.clone() * classes.clone() * Dim::Const(self.each) + Dim::Const(1);
        let total = nest.reduce("total", &all);
        let mut steps = Steps::default();
        [row, total].into_iter().for_each(|l| steps.set(l, int(0)));
        steps.nest(&[b, c], &mut |steps: &mut Steps| {
            steps.set(n, Expr::Load(at(numbers, [b.into(), c.into()])));
            steps.set(k, int(0));
            steps.repeat(less(Expr::Loop(k), Expr::Loop(n)), |steps| {
                let own = Expr::Load(at(found, [b.into(), c.into(), k.into()]));
                for (j, value) in [Expr::Loop(b), Expr::Loop(c), own].into_iter().enumerate() {
                    steps.store(at(rows, [row.into(), fixed(j as i64)]), value);
                }
                steps.set(total, add(Expr::Loop(total), int(1)));
                steps.set(row, least(Expr::Loop(total), int(self.most)));
                steps.set(k, add(Expr::Loop(k), int(1)));
                Ok::<_, crate::Error>(())
            })
        })?;
        steps.store(at(count, [fixed(0)]), Expr::Loop(total));
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}
