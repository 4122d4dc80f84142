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
//! element, which is put into it where it is missing. NaN has no place in the order: with it the result is unspecified.

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
        let x = cx.input(0)?;
        let shape = cx.ty(x).shape.clone();
        let axis = shape.axis(self.axis)?;
        let n = shape[axis].clone();
        let more = n.clone() + Dim::Const(1);
        let mut temp = |name: &str| cx.temp(name, DType::I64, Shape(vec![more.clone()]));
        let [list, found, number, of, rank] = ["list", "found", "number", "of", "rank"].map(&mut temp);
        let [first, inverse, times, count] = [cx.output(0)?, cx.output(1)?, cx.output(2)?, cx.output(3)?];
        let mut nest = NestBuilder::default();
        let i = nest.reduce("i", &n);
        let others: Vec<LoopId> = (0..shape.rank())
            .filter(|a| *a != axis)
            .map(|a| nest.reduce(format!("j{a}"), &shape[a]))
            .collect();
        // Places in the list, groups, and an element to compare with.
        let names = ["low", "high", "middle", "before", "group", "groups", "k"];
        let [low, high, middle, before, group, groups, k] = names.map(|name| nest.reduce(name, &more));
        let other = nest.reduce("other", &n);
        // 0: equal; 1: less; 2: greater.
        let order = nest.reduce("order", &Dim::Const(3));
        let int = |v: i64| Expr::Const(Scalar::int(DType::I64, v));
        let value = Expr::Loop;
        let at = |buffer: BufferId, l: LoopId| Access::new(buffer, vec![l.into()]);
        let load = |buffer: BufferId, l: LoopId| Expr::Load(at(buffer, l));
        let binary = Expr::binary;
        let element = |l: LoopId| {
            let mut rest = others.iter();
            let index = (0..shape.rank()).map(|a| if a == axis { Some(&l) } else { rest.next() });
            Expr::Load(Access::new(x, index.flatten().copied().map(Index::from).collect()))
        };
        let is = |l: LoopId, v: i64| binary(BinaryOp::Eq, value(l), int(v));
        let less = |a: LoopId, b: LoopId| binary(BinaryOp::Lt, value(a), value(b));

        let mut steps = Steps::default();
        steps.set(groups, int(0));
        let compare = |steps: &mut Steps| {
            steps.set(order, int(0));
            steps.nest(&others, &mut |steps: &mut Steps| {
                let greater = Expr::select(binary(BinaryOp::Lt, element(other), element(i)), int(2), int(0));
                let outcome = Expr::select(binary(BinaryOp::Lt, element(i), element(other)), int(1), greater);
                steps.set(order, Expr::select(is(order, 0), outcome, value(order)));
                Ok(())
            })
        };
        let search = |steps: &mut Steps| {
            steps.set(low, int(0));
            steps.set(high, value(groups));
            // Nothing is found while this is 1 or 2.
            steps.set(order, int(1));
            let going = binary(
                BinaryOp::And,
                binary(BinaryOp::Lt, value(low), value(high)),
                binary(BinaryOp::Lt, int(0), value(order)),
            );
            steps.repeat(going, |steps| {
                steps.set(middle, div(add(value(low), value(high)), int(2)));
                steps.set(group, load(list, middle));
                steps.set(other, load(found, group));
                compare(steps)?;
                steps.set(high, Expr::select(is(order, 1), value(middle), value(high)));
                steps.set(low, Expr::select(is(order, 2), add(value(middle), int(1)), value(low)));
                Ok::<_, crate::Error>(())
            })
        };
        steps.each(i, |steps| {
            search(steps)?;
            let known = |steps: &mut Steps| {
                steps.store(at(number, group), add(load(number, group), int(1)));
                Ok(())
            };
            let new = |steps: &mut Steps| {
                steps.set(k, value(groups));
                steps.repeat(less(low, k), |steps| {
                    steps.set(before, sub(value(k), int(1)));
                    steps.store(at(list, k), load(list, before));
                    steps.set(k, value(before));
                    Ok::<_, crate::Error>(())
                })?;
                steps.set(group, value(groups));
                steps.store(at(list, low), value(group));
                steps.store(at(found, group), value(i));
                steps.store(at(number, group), int(1));
                steps.set(groups, add(value(groups), int(1)));
                Ok(())
            };
            steps.choose(is(order, 0), known, new)?;
            steps.store(at(of, i), value(group));
            Ok::<_, crate::Error>(())
        })?;
        steps.set(k, int(0));
        steps.repeat(less(k, groups), |steps| {
            steps.set(group, if self.sorted { load(list, k) } else { value(k) });
            steps.store(at(rank, group), value(k));
            steps.store(at(first, k), load(found, group));
            steps.store(at(times, k), load(number, group));
            steps.set(k, add(value(k), int(1)));
            Ok::<_, crate::Error>(())
        })?;
        steps.each(i, |steps| {
            steps.set(group, load(of, i));
            steps.store(at(inverse, i), load(rank, group));
            Ok::<_, crate::Error>(())
        })?;
        steps.store(Access::new(count, vec![Affine::constant(0i64).into()]), value(groups));
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}
