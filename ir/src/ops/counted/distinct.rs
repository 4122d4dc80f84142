//! `Distinct`: elements, or slices along an axis, each once.
//!
//! ```text
//!   first[k]   = where the k-th of those that differ is found first      for k < count
//!   inverse[i] = which of them element i is
//!   times[k]   = how often the k-th is there                              for k < count
//!   count      = how many there are
//! ```
//!
//! They are in ascending order, or in that in which they are found. A list in ascending order is searched by halves for each
//! element, which is put into it where it is missing; when the list has become long, all elements are sorted by merging instead.
//! NaN has no place in the order: with it the result is unspecified.

use super::DOMAIN;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::ops::elements::Elements;
use crate::ops::nest::{NestBuilder, add, div, sub};
use crate::ops::operand;
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `Distinct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// The axis along which slices are compared.
    pub axis: i64,
    /// Whether they are in ascending order.
    pub sorted: bool,
    /// Slices at most.
    pub most: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 4..=4)?;
    let (axis, most) = (node.int("axis")?.unwrap_or(0), node.int("most")?.unwrap_or(0).max(0));
    Ok(Box::new(Distinct { axis, sorted: node.flag("sorted", true)?, most }))
}

/// `Distinct`.
pub const DEF: OpDef = OpDef { name: "Distinct", domain: DOMAIN, since: (1, 1), parse, unsupported: "" };

/// What is found: where each is first, which of them every one is, and how often each is there.
pub(crate) struct Groups {
    pub(crate) first: Vec<i64>,
    pub(crate) inverse: Vec<i64>,
    pub(crate) times: Vec<i64>,
}

impl Distinct {
    /// The definition.
    pub(crate) fn groups(self, x: &Tensor) -> Result<Groups> {
        let axis = Shape::of(&x.shape).axis(self.axis)?;
        let (n, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
        let outer: usize = x.shape[..axis].iter().product();
        let elements = Elements::new(x)?;
        let at = |i: usize, j: usize| elements.number((j / inner * n + i) * inner + j % inner);
        let order = |a: usize, b: usize| {
            let pairs = (0..outer * inner).map(|j| match (at(a, j), at(b, j)) {
                (Number::Int(a), Number::Int(b)) => a.cmp(&b),
                (a, b) => a.float().partial_cmp(&b.float()).unwrap_or(std::cmp::Ordering::Equal),
            });
            pairs.into_iter().find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        let mut list: Vec<usize> = Vec::new();
        let mut of = Vec::with_capacity(n);
        let mut times: Vec<i64> = Vec::new();
        let mut first: Vec<i64> = Vec::new();
        for i in 0..n {
            match list.binary_search_by(|id: &usize| order(first[*id] as usize, i)) {
                Ok(k) => {
                    times[list[k]] += 1;
                    of.push(list[k]);
                }
                Err(k) => {
                    list.insert(k, first.len());
                    of.push(first.len());
                    first.push(i as i64);
                    times.push(1);
                }
            }
        }
        if !self.sorted {
            list = (0..first.len()).collect();
        }
        let mut rank = vec![0; first.len()];
        list.iter().enumerate().for_each(|(k, id)| rank[*id] = k as i64);
        Ok(Groups {
            first: list.iter().map(|id| first[*id]).collect(),
            inverse: of.iter().map(|id| rank[*id]).collect(),
            times: list.iter().map(|id| times[*id]).collect(),
        })
    }
}

impl Op for Distinct {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn attrs(&self) -> Attrs {
        let list = [("axis", self.axis), ("most", self.most), ("sorted", i64::from(self.sorted))];
        list.into_iter().map(|(name, value)| (name.to_owned(), Attr::Int(value))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let n = x.shape[x.shape.axis(self.axis)?].clone();
        let list = |n: Dim| Fact::new(DType::I64, Shape(vec![n]));
        let more = Dim::Const(self.most.saturating_add(1));
        Ok(vec![list(more.clone()), list(n), list(more), list(Dim::Const(1))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let Groups { mut first, inverse, mut times } = self.groups(operand::tensor(inputs, 0)?)?;
        let count = first.len() as i64;
        [&mut first, &mut times].into_iter().for_each(|list| list.resize(self.most as usize + 1, 0));
        let vector = |list: Vec<i64>| Tensor::from_vec(&[list.len()], list);
        Ok(vec![vector(first), vector(inverse), vector(times), vector(vec![count])])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let mut nest = NestBuilder::default();
        let search = Search::new(*self, cx, &mut nest)?;
        let mut steps = Steps::default();
        search.few(&mut steps)?;
        let many = is(search.many, 1);
        steps.choose(many, |steps| search.many(steps), |steps| search.as_found(steps))?;
        search.results(cx, &mut steps)?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

/// A list that is longer than this is not put in order by insertion.
const FEW: i64 = 192;

fn int(v: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I64, v))
}

fn is(l: LoopId, v: i64) -> Expr {
    Expr::binary(BinaryOp::Eq, Expr::Loop(l), int(v))
}

fn less(a: LoopId, b: LoopId) -> Expr {
    Expr::binary(BinaryOp::Lt, Expr::Loop(a), Expr::Loop(b))
}

fn at(buffer: BufferId, l: LoopId) -> Access {
    Access::new(buffer, vec![l.into()])
}

fn load(buffer: BufferId, l: LoopId) -> Expr {
    Expr::Load(at(buffer, l))
}

fn more(steps: &mut Steps, l: LoopId) {
    steps.set(l, add(Expr::Loop(l), int(1)));
}

/// Buffers and registers of the search.
struct Search {
    sorted: bool,
    x: BufferId,
    axis: usize,
    rank_of: usize,
    /// Loops over a slice.
    others: Vec<LoopId>,
    /// Every element.
    i: LoopId,
    /// Groups in their order; of a group where it is first and how often; of an element its group; of a group its place.
    list: BufferId,
    found: BufferId,
    number: BufferId,
    of: BufferId,
    rank: BufferId,
    /// Elements in order, before and after a pass of merging.
    passes: BufferId,
    low: LoopId,
    high: LoopId,
    middle: LoopId,
    group: LoopId,
    groups: LoopId,
    k: LoopId,
    next: LoopId,
    /// Runs that are merged: how long, and where they begin and end.
    width: LoopId,
    begin: LoopId,
    half: LoopId,
    stop: LoopId,
    from: LoopId,
    to: LoopId,
    /// Two elements, and how they compare: 0 equal, 1 the left one is less, 2 the right one.
    left: LoopId,
    right: LoopId,
    order: LoopId,
    /// Whether the list has become long.
    many: LoopId,
}

impl Search {
    fn new(of: Distinct, cx: &mut Lowering<'_>, nest: &mut NestBuilder) -> Result<Self> {
        let x = cx.input(0)?;
        let shape = cx.ty(x).shape.clone();
        let axis = shape.axis(of.axis)?;
        let n = shape[axis].clone();
        let one_more = n.clone() + Dim::Const(1);
        let mut temp = |name: &str, shape: Vec<Dim>| cx.temp(name, DType::I64, Shape(shape));
        let passes = temp("passes", vec![Dim::Const(2), one_more.clone()]);
        let [list, found, number, group_of, rank] =
            ["list", "found", "number", "of", "rank"].map(|name| temp(name, vec![one_more.clone()]));
        let i = nest.reduce("i", &n);
        let other = |a: usize| nest.reduce(format!("j{a}"), &shape[a]);
        let others = (0..shape.rank()).filter(|a| *a != axis).map(other).collect();
        let [low, high, middle, group, groups, k] =
            ["low", "high", "middle", "group", "groups", "k"].map(|name| nest.reduce(name, &one_more));
        let [next, width, begin, half, stop] =
            ["next", "width", "begin", "half", "stop"].map(|name| nest.reduce(name, &one_more));
        let [left, right] = ["left", "right"].map(|name| nest.reduce(name, &n));
        let [from, to, many] = ["from", "to", "many"].map(|name| nest.reduce(name, &Dim::Const(2)));
        let order = nest.reduce("order", &Dim::Const(3));
        Ok(Self {
            sorted: of.sorted,
            x,
            axis,
            rank_of: shape.rank(),
            others,
            i,
            list,
            found,
            number,
            of: group_of,
            rank,
            passes,
            low,
            high,
            middle,
            group,
            groups,
            k,
            next,
            width,
            begin,
            half,
            stop,
            from,
            to,
            left,
            right,
            order,
            many,
        })
    }

    fn element(&self, l: LoopId) -> Expr {
        let mut rest = self.others.iter();
        let index = (0..self.rank_of).map(|a| if a == self.axis { Some(&l) } else { rest.next() });
        Expr::Load(Access::new(self.x, index.flatten().copied().map(Index::from).collect()))
    }

    /// Compares the left element with the right one.
    fn compare(&self, steps: &mut Steps) -> Result<()> {
        let Self { left, right, order, .. } = *self;
        steps.set(order, int(0));
        let lt = |a: LoopId, b: LoopId| Expr::binary(BinaryOp::Lt, self.element(a), self.element(b));
        steps.nest(&self.others, &mut |steps: &mut Steps| {
            let greater = Expr::select(lt(right, left), int(2), int(0));
            let outcome = Expr::select(lt(left, right), int(1), greater);
            steps.set(order, Expr::select(is(order, 0), outcome, Expr::Loop(order)));
            Ok(())
        })
    }

    /// Looks for the left element in the list: where it is, or would be.
    fn look(&self, steps: &mut Steps) -> Result<()> {
        let Self { low, high, middle, group, right, order, .. } = *self;
        steps.set(low, int(0));
        steps.set(high, Expr::Loop(self.groups));
        // Nothing is found while this is 1 or 2.
        steps.set(order, int(1));
        let missing = Expr::binary(BinaryOp::Lt, int(0), Expr::Loop(order));
        steps.repeat(Expr::binary(BinaryOp::And, less(low, high), missing), |steps| {
            steps.set(middle, div(add(Expr::Loop(low), Expr::Loop(high)), int(2)));
            steps.set(group, load(self.list, middle));
            steps.set(right, load(self.found, group));
            self.compare(steps)?;
            steps.set(high, Expr::select(is(order, 1), Expr::Loop(middle), Expr::Loop(high)));
            let behind = add(Expr::Loop(middle), int(1));
            steps.set(low, Expr::select(is(order, 2), behind, Expr::Loop(low)));
            Ok(())
        })
    }

    /// The groups of elements, in the order in which they are found, until there are too many.
    fn few(&self, steps: &mut Steps) -> Result<()> {
        let Self { low, group, groups, k, next, left, order, many, i, .. } = *self;
        [groups, many].into_iter().for_each(|l| steps.set(l, int(0)));
        steps.each(i, |steps| {
            steps.choose(
                is(many, 0),
                |steps| {
                    steps.set(left, Expr::Loop(i));
                    self.look(steps)?;
                    let known = |steps: &mut Steps| {
                        steps.store(at(self.number, group), add(load(self.number, group), int(1)));
                        Ok(())
                    };
                    let new = |steps: &mut Steps| {
                        steps.set(k, Expr::Loop(groups));
                        steps.repeat(less(low, k), |steps| {
                            steps.set(next, sub(Expr::Loop(k), int(1)));
                            steps.store(at(self.list, k), load(self.list, next));
                            steps.set(k, Expr::Loop(next));
                            Ok::<_, crate::Error>(())
                        })?;
                        steps.set(group, Expr::Loop(groups));
                        steps.store(at(self.list, low), Expr::Loop(group));
                        steps.store(at(self.found, group), Expr::Loop(i));
                        steps.store(at(self.number, group), int(1));
                        more(steps, groups);
                        steps.set(
                            many,
                            Expr::select(
                                Expr::binary(BinaryOp::Lt, int(FEW), Expr::Loop(groups)),
                                int(1),
                                int(0),
                            ),
                        );
                        Ok(())
                    };
                    steps.choose(is(order, 0), known, new)?;
                    steps.store(at(self.of, i), Expr::Loop(group));
                    Ok(())
                },
                |_| Ok::<_, crate::Error>(()),
            )
        })
    }

    /// Sorts all elements, of equal ones the first before the others, and finds the groups in that order.
    fn many(&self, steps: &mut Steps) -> Result<()> {
        let Self { i, group, groups, k, low, high, middle, width, begin, half, stop, .. } = *self;
        let Self { from, to, left, right, order, .. } = *self;
        let pass = |row: LoopId, l: LoopId| Access::new(self.passes, vec![row.into(), l.into()]);
        [from, begin].into_iter().for_each(|l| steps.set(l, int(0)));
        [to, width].into_iter().for_each(|l| steps.set(l, int(1)));
        steps.each(i, |steps| {
            steps.store(pass(from, i), Expr::Loop(i));
            Ok::<_, crate::Error>(())
        })?;
        // The place behind the last element.
        steps.set(high, int(0));
        steps.each(i, |steps| {
            more(steps, high);
            Ok::<_, crate::Error>(())
        })?;
        let capped = |value: Expr| Expr::binary(BinaryOp::Min, value, Expr::Loop(high));
        let give = |steps: &mut Steps, place: LoopId| {
            steps.store(pass(to, k), Expr::Load(pass(from, place)));
            more(steps, place);
            more(steps, k);
            Ok(())
        };
        steps.repeat(less(width, high), |steps| {
            steps.set(begin, int(0));
            steps.repeat(less(begin, high), |steps| {
                steps.set(half, capped(add(Expr::Loop(begin), Expr::Loop(width))));
                steps.set(stop, capped(add(Expr::Loop(half), Expr::Loop(width))));
                steps.set(k, Expr::Loop(begin));
                steps.set(low, Expr::Loop(begin));
                steps.set(middle, Expr::Loop(half));
                steps.repeat(Expr::binary(BinaryOp::And, less(low, half), less(middle, stop)), |steps| {
                    steps.set(left, Expr::Load(pass(from, low)));
                    steps.set(right, Expr::Load(pass(from, middle)));
                    self.compare(steps)?;
                    steps.choose(is(order, 2), |steps| give(steps, middle), |steps| give(steps, low))
                })?;
                steps.repeat(less(low, half), |steps| give(steps, low))?;
                steps.repeat(less(middle, stop), |steps| give(steps, middle))?;
                steps.set(begin, Expr::Loop(stop));
                Ok(())
            })?;
            steps.set(from, Expr::Loop(to));
            steps.set(to, sub(int(1), Expr::Loop(to)));
            steps.set(width, capped(add(Expr::Loop(width), Expr::Loop(width))));
            Ok(())
        })?;
        steps.set(groups, int(0));
        steps.each(i, |steps| {
            steps.set(right, Expr::Load(pass(from, i)));
            steps.set(order, int(1));
            let inner = Expr::binary(BinaryOp::Lt, int(0), Expr::Loop(i));
            steps.choose(inner, |steps| self.compare(steps), |_| Ok(()))?;
            let begins = |steps: &mut Steps| {
                steps.set(group, Expr::Loop(groups));
                steps.store(at(self.found, group), Expr::Loop(right));
                steps.store(at(self.number, group), int(1));
                more(steps, groups);
                Ok(())
            };
            let goes_on = |steps: &mut Steps| {
                steps.store(at(self.number, group), add(load(self.number, group), int(1)));
                Ok(())
            };
            steps.choose(is(order, 0), goes_on, begins)?;
            steps.store(at(self.of, right), Expr::Loop(group));
            steps.set(left, Expr::Loop(right));
            Ok::<_, crate::Error>(())
        })?;
        // Their order is that of their numbers, or that in which elements meet them first.
        steps.set(k, int(0));
        if self.sorted {
            return self.numbered(steps);
        }
        steps.each(i, |steps| {
            steps.set(group, load(self.of, i));
            let first = Expr::binary(BinaryOp::Eq, load(self.found, group), Expr::Loop(i));
            let put = |steps: &mut Steps| {
                steps.store(at(self.list, k), Expr::Loop(group));
                more(steps, k);
                Ok(())
            };
            steps.choose(first, put, |_| Ok::<_, crate::Error>(()))
        })
    }

    /// A list of groups by their numbers.
    fn numbered(&self, steps: &mut Steps) -> Result<()> {
        let (k, groups) = (self.k, self.groups);
        steps.set(k, int(0));
        steps.repeat(less(k, groups), |steps| {
            steps.store(at(self.list, k), Expr::Loop(k));
            more(steps, k);
            Ok(())
        })
    }

    /// What was found by insertion is in ascending order already, and its numbers are in that in which it was found.
    fn as_found(&self, steps: &mut Steps) -> Result<()> {
        if self.sorted { Ok(()) } else { self.numbered(steps) }
    }

    fn results(&self, cx: &Lowering<'_>, steps: &mut Steps) -> Result<()> {
        let [first, inverse, times, count] = [cx.output(0)?, cx.output(1)?, cx.output(2)?, cx.output(3)?];
        let Self { i, group, groups, k, .. } = *self;
        steps.set(k, int(0));
        steps.repeat(less(k, groups), |steps| {
            steps.set(group, load(self.list, k));
            steps.store(at(self.rank, group), Expr::Loop(k));
            steps.store(at(first, k), load(self.found, group));
            steps.store(at(times, k), load(self.number, group));
            more(steps, k);
            Ok::<_, crate::Error>(())
        })?;
        steps.each(i, |steps| {
            steps.set(group, load(self.of, i));
            steps.store(at(inverse, i), load(self.rank, group));
            Ok::<_, crate::Error>(())
        })?;
        steps.store(Access::new(count, vec![Affine::constant(0i64).into()]), Expr::Loop(groups));
        Ok(())
    }
}
