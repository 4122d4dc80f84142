//! `ScatterElements`, `Scatter` and `ScatterND`: a tensor with some elements replaced, or combined with updates.
//!
//! Spec: ONNX Scatter, versions 9 and 11; ScatterElements, 11 to 18; ScatterND, 11 to 18. `reduction` is `none`, `add`, `mul`, `max`
//! or `min`. Of several updates of an element without a reduction the last one counts. Negative indices count from the end of
//! the axis; constant indices are checked here, others at run time.
//!
//! ```text
//! ScatterElements    y[.., indices[i, j, ..], ..] op= updates[i, j, ..]      the axis in the place of j
//! ScatterND          y[indices[n, 0], indices[n, 1] .., s..] op= updates[n, s..]
//! ```
//!
//! Lowering: every element of the result looks for its updates, in vectors and in any number of threads: a `Reduce` over the
//! updates along the axis, or over all tuples. That is as many comparisons as elements of a row times updates of it.

use super::elements::{Builder, Elements};
use super::nest::NestBuilder;
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, ReduceOp, Scalar, Store,
};
use crate::numerics::Number;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape, axis_of};
use crate::{bail_invalid, bail_unsupported};

/// How updates combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

impl Reduction {
    const ALL: [Self; 5] = [Self::None, Self::Add, Self::Mul, Self::Max, Self::Min];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    fn parse(node: &mut NodeProto<'_>) -> Result<Self> {
        let Some(name) = node.string("reduction")? else { return Ok(Self::None) };
        match Self::ALL.into_iter().find(|r| r.name() == name) {
            Some(found) => Ok(found),
            None => bail_invalid!("attribute 'reduction' must be none, add, mul, max or min, found '{name}'"),
        }
    }

    fn attr(self) -> (String, Attr) {
        ("reduction".to_owned(), Attr::Str(self.name().to_owned()))
    }

    /// The operation, and the reduction with what it starts from.
    fn operation(self, dtype: DType) -> Option<(BinaryOp, ReduceOp, Scalar)> {
        let least = |op: ReduceOp| {
            let infinity = if op == ReduceOp::Max { f64::NEG_INFINITY } else { f64::INFINITY };
            match dtype.is_float() {
                true => Scalar::of(dtype, infinity),
                false => {
                    let (lo, hi) = crate::numerics::int_range(dtype);
                    let end = if op == ReduceOp::Max { lo } else { hi };
                    Scalar { dtype, bits: Number::Int(end).to_bits(dtype) }
                }
            }
        };
        Some(match self {
            Self::None => return None,
            Self::Add => (BinaryOp::Add, ReduceOp::Sum, Scalar::of(dtype, 0.0)),
            Self::Mul => (BinaryOp::Mul, ReduceOp::Prod, Scalar::of(dtype, 1.0)),
            Self::Max => (BinaryOp::Max, ReduceOp::Max, least(ReduceOp::Max)),
            Self::Min => (BinaryOp::Min, ReduceOp::Min, least(ReduceOp::Min)),
        })
    }

    fn combine(self, dtype: DType, old: u64, new: u64) -> Result<u64> {
        match self.operation(dtype) {
            None => Ok(new),
            Some((op, ..)) => Ok(crate::eval::scalar::binary(op, dtype)?(old, new)),
        }
    }

    fn check(self, dtype: DType) -> Result<()> {
        operand::movable(dtype)?;
        let numbers = dtype.is_float() || dtype.is_int();
        if self != Self::None && (!numbers || dtype.is_small()) {
            bail_unsupported!("the reduction '{}' of elements of type {dtype} is not supported", self.name());
        }
        Ok(())
    }
}

/// `ScatterElements` and its first name, `Scatter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterElements {
    name: &'static str,
    axis: i64,
    reduction: Reduction,
}

/// `ScatterND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterNd {
    reduction: Reduction,
}

fn parse_elements(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    let axis = node.int("axis")?.unwrap_or(0);
    Ok(Box::new(ScatterElements { name: ELEMENTS.name, axis, reduction: Reduction::parse(node)? }))
}

fn parse_first(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    let axis = node.int("axis")?.unwrap_or(0);
    Ok(Box::new(ScatterElements { name: FIRST.name, axis, reduction: Reduction::None }))
}

fn parse_nd(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    Ok(Box::new(ScatterNd { reduction: Reduction::parse(node)? }))
}

/// `Scatter`.
pub const FIRST: OpDef =
    OpDef { name: "Scatter", domain: "", since: (9, 11), parse: parse_first, unsupported: "" };

/// `ScatterElements`.
pub const ELEMENTS: OpDef =
    OpDef { name: "ScatterElements", domain: "", since: (11, 18), parse: parse_elements, unsupported: "" };

/// `ScatterND`.
pub const ND: OpDef =
    OpDef { name: "ScatterND", domain: "", since: (11, 18), parse: parse_nd, unsupported: "" };

/// Data and updates of one type, indices that are integers.
fn types(inputs: &[Option<&Fact>], reduction: Reduction) -> Result<()> {
    let (x, indices, updates) =
        (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?, operand::fact(inputs, 2)?);
    operand::same_types(&[x, updates])?;
    if !matches!(indices.dtype, DType::I32 | DType::I64) {
        bail_invalid!("indices must be i32 or i64, found {}", indices.dtype);
    }
    reduction.check(x.dtype)
}

/// Checks constant indices, the axis of each of which has an extent.
fn check(indices: &Fact, extent: impl Fn(usize) -> Dim) -> Result<()> {
    let Some(tensor) = indices.tensor() else { return Ok(()) };
    for (i, index) in tensor.to_i64s()?.into_iter().enumerate() {
        if let Some(extent) = extent(i).as_const() {
            operand::wrapped(index, extent)?;
        }
    }
    Ok(())
}

impl Op for ScatterElements {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([("axis".to_owned(), Attr::Int(self.axis))]);
        if self.reduction != Reduction::None {
            attrs.extend([self.reduction.attr()]);
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        types(inputs, self.reduction)?;
        let (x, indices, updates) =
            (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?, operand::fact(inputs, 2)?);
        let axis = x.shape.axis(self.axis)?;
        let inside = |(a, (n, extent)): (usize, (&Dim, &Dim))| {
            a == axis || n.as_const().zip(extent.as_const()).is_none_or(|(n, extent)| n <= extent)
        };
        let fits = indices.shape.rank() == x.shape.rank()
            && indices.shape.iter().zip(x.shape.iter()).enumerate().all(inside);
        if !fits || indices.shape != updates.shape {
            bail_invalid!(
                "indices {} and updates {} do not fit data of shape {}",
                indices.shape,
                updates.shape,
                x.shape
            );
        }
        check(indices, |_| x.shape[axis].clone())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices, updates) =
            (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?, operand::tensor(inputs, 2)?);
        let axis = axis_of(self.axis, x.shape.len())?;
        let at = indices.to_i64s()?;
        let mut places = Vec::with_capacity(at.len());
        let mut failed = None;
        movement::for_each_index(&indices.shape, |i| {
            let mut to = i.to_vec();
            match operand::wrapped(at[places.len()], x.shape[axis] as i64) {
                Ok(index) => to[axis] = index as usize,
                Err(e) => failed = Some(e),
            }
            places.push(movement::position(&x.shape, &to));
            failed.is_none()
        });
        failed.map_or(Ok(()), Err)?;
        Ok(vec![put(x, updates, self.reduction, &places, 1)?])
    }

    fn takes_short_floats(&self) -> bool {
        self.reduction == Reduction::None
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let [data, updates, result] = [cx.input(0)?, cx.input(2)?, cx.output(0)?];
        let (x, shape) = (cx.ty(data).shape.clone(), cx.ty(updates).shape.clone());
        let axis = x.axis(self.axis)?;
        let places = places(cx, &shape, &x[axis..=axis], |loops| vec![movement::each(loops)])?;
        // Elements behind the updates of another axis have none.
        let short = (0..x.rank()).any(|a| a != axis && shape[a] != x[a]);
        let parts = Parts { data, updates, result, places, axis, short };
        combine(cx, self.reduction, &parts, |along, loops| {
            let of = movement::each(
                &(0..x.rank()).map(|a| if a == axis { along } else { loops[a] }).collect::<Vec<_>>(),
            );
            (of.clone(), of)
        })
    }
}

impl ScatterNd {
    /// The numbers of a tuple and the shape of all tuples.
    fn tuples(x: &Shape, indices: &Shape, updates: &Shape) -> Result<(usize, Shape)> {
        let Some((tuple, places)) = indices.0.split_last() else {
            bail_invalid!("indices must have at least one axis")
        };
        let tuple = match tuple.as_usize() {
            Some(n) if (1..=x.rank()).contains(&n) => n,
            _ => bail_invalid!("tuples of {tuple} indices do not fit data of shape {x}"),
        };
        let expected: Shape = places.iter().chain(&x[tuple..]).cloned().collect();
        if expected != *updates {
            bail_invalid!("updates of shape {updates} must have the shape {expected}");
        }
        Ok((tuple, places.iter().cloned().collect()))
    }
}

impl Op for ScatterNd {
    fn name(&self) -> &'static str {
        ND.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([self.reduction.attr()])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        types(inputs, self.reduction)?;
        let (x, indices, updates) =
            (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?, operand::fact(inputs, 2)?);
        let (tuple, _) = Self::tuples(&x.shape, &indices.shape, &updates.shape)?;
        check(indices, |i| x.shape[i % tuple].clone())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, indices, updates) =
            (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?, operand::tensor(inputs, 2)?);
        let of = |t: &Tensor| Shape::of(&t.shape);
        let (tuple, _) = Self::tuples(&of(x), &of(indices), &of(updates))?;
        let strides = row_major(&x.shape);
        let place = |at: &[i64]| {
            at.iter().zip(&strides).zip(&x.shape).try_fold(0, |n, ((index, stride), extent)| {
                Ok::<_, Error>(n + operand::wrapped(*index, *extent as i64)? as usize * stride)
            })
        };
        let places = indices.to_i64s()?.chunks(tuple).map(place).collect::<Result<Vec<_>>>()?;
        Ok(vec![put(x, updates, self.reduction, &places, x.shape[tuple..].iter().product())?])
    }

    fn takes_short_floats(&self) -> bool {
        self.reduction == Reduction::None
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let shape = |cx: &Lowering<'_>, i: usize| Ok::<_, Error>(cx.ty(cx.input(i)?).shape.clone());
        let (x, of_updates) = (shape(cx, 0)?, shape(cx, 2)?);
        let (tuple, tuples) = Self::tuples(&x, &shape(cx, 1)?, &of_updates)?;
        let found = places(cx, &tuples, &x[..tuple], |loops| {
            let number = |c: usize| {
                let mut index = movement::each(loops);
                index.push(Affine::constant(c as i64).into());
                index
            };
            (0..tuple).map(number).collect()
        });
        let found = found?;
        // Rows by one number each.
        let count = tuples.elements();
        let rows: Dim = x[..tuple].iter().fold(Dim::Const(1), |n, d| n * d.clone());
        let flat = |first: &Dim| -> Shape { std::iter::once(first).chain(&x[tuple..]).cloned().collect() };
        let dtype = cx.fact(0)?.dtype;
        let (data, result) = (cx.temp("data", dtype, flat(&rows)), cx.temp("result", dtype, flat(&rows)));
        let updates = cx.temp("updates", dtype, flat(&count));
        let places = cx.temp("places", DType::I32, Shape(vec![count]));
        let (from, news, to) = (cx.input(0)?, cx.input(2)?, cx.output(0)?);
        movement::reshape(cx, from, data);
        movement::reshape(cx, news, updates);
        movement::reshape(cx, found, places);
        let parts = Parts { data, updates, result, places, axis: 0, short: false };
        combine(cx, self.reduction, &parts, |along, loops| {
            let row: Vec<LoopId> = std::iter::once(along).chain(loops[1..].iter().copied()).collect();
            (vec![along.into()], movement::each(&row))
        })?;
        movement::reshape(cx, result, to);
        Ok(())
    }
}

/// Where updates go, `i32` of a shape: the numbers of positions on some axes of the result, one behind the other. `indices` says
/// where the index of each of these axes is.
fn places(
    cx: &mut Lowering<'_>,
    shape: &Shape,
    extents: &[Dim],
    indices: impl Fn(&[LoopId]) -> Vec<Vec<Index>>,
) -> Result<BufferId> {
    let extents: Option<Vec<usize>> = extents.iter().map(Dim::as_usize).collect();
    let extents = extents.ok_or_else(|| {
        Error::unsupported("updates along an open axis are not supported")
            .hint("bind the dimension with --dim")
    })?;
    if extents.iter().try_fold(1i32, |n, e| n.checked_mul(i32::try_from(*e).ok()?)).is_none() {
        bail_unsupported!("2^31 places to scatter to");
    }
    let (to, from) = (cx.temp("place", DType::I32, shape.clone()), cx.input(1)?);
    let (loops, ids) = Lowering::loops_over(shape);
    let mut place = None;
    for ((extent, stride), index) in extents.iter().zip(row_major(&extents)).zip(indices(&ids)) {
        // Read by the index, which is checked and counted from the end as any other.
        let numbers = (0..*extent).map(|i| (i * stride) as i32).collect();
        let numbers = cx.constant("numbers", Tensor::from_vec(&[*extent], numbers));
        let at = Index::Gathered(Box::new(Access::new(from, index)));
        let number = Expr::Load(Access::new(numbers, vec![at]));
        place = Some(match place {
            Some(sum) => Expr::binary(BinaryOp::Add, sum, number),
            None => number,
        });
    }
    let value = place.ok_or_else(|| Error::internal("no axis to scatter along"))?;
    let to_access = Access::new(to, movement::each(&ids));
    cx.emit(loops, Form::Map { stores: vec![Store { to: to_access, value }] });
    Ok(to)
}

/// The buffers of a scatter.
struct Parts {
    data: BufferId,
    updates: BufferId,
    result: BufferId,
    /// The position along `axis` of the result for each update.
    places: BufferId,
    axis: usize,
    /// Places and updates have fewer elements than the result on other axes.
    short: bool,
}

/// Emits `result = data op updates`. `index`, of the loop along the updates and those of the result, is the index of a place and
/// of its update.
fn combine(
    cx: &mut Lowering<'_>,
    how: Reduction,
    parts: &Parts,
    index: impl Fn(LoopId, &[LoopId]) -> (Vec<Index>, Vec<Index>),
) -> Result<()> {
    let ty = cx.ty(parts.result).clone();
    let (shape, dtype, axis) = (ty.shape, ty.dtype, parts.axis);
    let updates = cx.ty(parts.updates).shape.clone();
    let (mut loops, ids) = Lowering::loops_over(&shape);
    let at = |buffer| Access::new(buffer, movement::each(&ids));
    if updates.iter().any(|d| d.is(0)) {
        cx.copy(loops, at(parts.data), at(parts.result));
        return Ok(());
    }
    let numbers = |cx: &mut Lowering<'_>, extent: &Dim| {
        let extent = extent.as_usize().ok_or_else(|| Error::internal("an open axis"))?;
        let numbers = Tensor::from_vec(&[extent], (0..extent).map(|i| i as i32).collect());
        Ok::<_, Error>(cx.constant("numbers", numbers))
    };
    let of_result = numbers(cx, &shape[axis])?;
    let mut nest = NestBuilder { loops: std::mem::take(&mut loops) };
    let plain = nest.loops.clone();
    let along = nest.reduce("u", &updates[axis]);
    let (place, update) = index(along, &ids);
    let outside =
        |access: Access, value: Scalar| Access { otherwise: parts.short.then_some(value), ..access };
    let place = outside(Access::new(parts.places, place), Scalar::int(DType::I32, -1));
    let number = Expr::Load(Access::new(of_result, vec![ids[axis].into()]));
    let hit = Expr::binary(BinaryOp::Eq, Expr::Load(place), number);
    if let Some((op, reduce, start)) = how.operation(dtype) {
        let update = outside(Access::new(parts.updates, update), start);
        let value = Expr::select(hit, Expr::Load(update), Expr::Const(start));
        let result = Expr::binary(op, Expr::Load(at(parts.data)), Expr::Acc);
        let store = Store { to: at(parts.result), value: result };
        cx.emit(nest.loops, Form::Reduce { op: reduce, value, store });
        return Ok(());
    }
    // The last of its updates; -1 leads somewhere and is not taken.
    let last = cx.temp("last", DType::I32, shape.clone());
    let of_updates = numbers(cx, &updates[axis])?;
    let none = Scalar::int(DType::I32, -1);
    let number = Expr::Load(Access::new(of_updates, vec![along.into()]));
    let value = Expr::select(hit, number, Expr::Const(none));
    let store = Store { to: at(last), value: Expr::Acc };
    cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Max, value, store });
    let (_, mut update) = index(LoopId(0), &ids);
    update[axis] = Index::Gathered(Box::new(at(last)));
    let update = outside(Access::new(parts.updates, update), Scalar::of(dtype, 0.0));
    let untouched = Expr::binary(BinaryOp::Lt, Expr::Load(at(last)), Expr::Const(Scalar::int(DType::I32, 0)));
    let value = Expr::select(untouched, Expr::Load(at(parts.data)), Expr::Load(update));
    cx.emit(plain, Form::Map { stores: vec![Store { to: at(parts.result), value }] });
    Ok(())
}

/// `x` with rows of `row` elements of the updates at places.
fn put(x: &Tensor, updates: &Tensor, how: Reduction, places: &[usize], row: usize) -> Result<Tensor> {
    let (old, new) = (Elements::raw(x), Elements::raw(updates));
    let mut bits: Vec<u64> = (0..x.elements()).map(|i| old.bits(i)).collect();
    for (i, place) in places.iter().enumerate() {
        for j in 0..row {
            let at = &mut bits[place + j];
            *at = how.combine(x.dtype, *at, new.bits(i * row + j))?;
        }
    }
    let mut y = Builder::new(x.dtype, &x.shape);
    bits.into_iter().for_each(|b| y.push_bits(b));
    y.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{every_type, numbers, parse, run, sample};

    fn reduction(how: Reduction) -> (&'static str, Attr) {
        ("reduction", Attr::Str(how.name().to_owned()))
    }

    #[test]
    fn elements_along_every_axis() {
        for axis in [0, 1, -1] {
            for how in Reduction::ALL {
                let op =
                    parse("ScatterElements", 18, &[("axis", Attr::Int(axis)), reduction(how)], 3, 1).unwrap();
                // Fewer than the data along the other axes too, with repetitions and negative ones.
                let indices = Tensor::from_vec(&[2, 3, 1], vec![1i64, -1, 0, 1, 1, -3]);
                let (x, updates) = (sample(&[3, 4, 2], 5), sample(&[2, 3, 1], 3));
                if axis == -1 {
                    let indices = Tensor::from_vec(&[2, 3, 1], vec![1i32, -1, 0, 1, 1, -2]);
                    run(&*op, &[&x, &indices, &updates], &[]).unwrap();
                    continue;
                }
                run(&*op, &[&x, &indices, &updates], &[]).unwrap();
                run(&*op, &[&x, &indices, &updates], &[1]).unwrap();
            }
        }
    }

    #[test]
    fn the_examples_of_the_specification() {
        let op = parse("ScatterElements", 13, &[("axis", Attr::Int(1))], 3, 1).unwrap();
        let x = Tensor::from_vec(&[1, 5], vec![1f32, 2.0, 3.0, 4.0, 5.0]);
        let (i, u) = (Tensor::from_vec(&[1, 2], vec![1i64, 3]), Tensor::from_vec(&[1, 2], vec![1.1f32, 2.1]));
        let y = run(&*op, &[&x, &i, &u], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 5], vec![1f32, 1.1, 3.0, 2.1, 5.0]));
        let op = parse("ScatterND", 13, &[], 3, 1).unwrap();
        let x = Tensor::from_vec(&[8], (1..9).map(|v| v as f32).collect());
        let i = Tensor::from_vec(&[4, 1], vec![4i64, 3, 1, -1]);
        let y = run(&*op, &[&x, &i, &Tensor::from_vec(&[4], vec![9f32, 10.0, 11.0, 12.0])], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[8], vec![1f32, 11., 3., 10., 9., 6., 7., 12.]));
    }

    #[test]
    fn rows_by_tuples() {
        for how in Reduction::ALL {
            let op = parse("ScatterND", 18, &[reduction(how)], 3, 1).unwrap();
            let indices = Tensor::from_vec(&[2, 2, 2], vec![0i64, 1, 2, -1, 0, 1, 1, 0]);
            run(&*op, &[&sample(&[3, 4, 5], 5), &indices, &sample(&[2, 2, 5], 3)], &[]).unwrap();
            let whole = Tensor::from_vec(&[2, 3], vec![0i64, 1, 2, 2, -1, 4]);
            run(&*op, &[&sample(&[3, 4, 5], 5), &whole, &sample(&[2], 3)], &[1]).unwrap();
        }
    }

    #[test]
    fn every_element_type() {
        let op = parse("ScatterND", 18, &[], 3, 1).unwrap();
        let indices = Tensor::from_vec(&[2, 1], vec![2i64, 0]);
        every_type(&*op, &[], |t| vec![numbers(t, &[4, 3]), indices.clone(), numbers(t, &[2, 3])]);
        let op = parse("ScatterND", 18, &[reduction(Reduction::Max)], 3, 1).unwrap();
        every_type(&*op, &[], |t| vec![numbers(t, &[4, 3]), indices.clone(), numbers(t, &[2, 3])]);
    }

    #[test]
    fn what_does_not_fit_is_invalid() {
        let x = Fact::new(DType::F32, Shape::of(&[2, 3]));
        let op = parse("ScatterElements", 18, &[], 3, 1).unwrap();
        let refused = |shape: &[usize], at: i64, updates: &[usize]| {
            let indices = Tensor::from_vec(shape, vec![at; shape.iter().product()]);
            let updates = Fact::new(DType::F32, Shape::of(updates));
            op.infer(&[Some(&x), Some(&Fact::of(&indices)), Some(&updates)]).unwrap_err().message
        };
        assert!(refused(&[1, 4], 0, &[1, 4]).contains("do not fit"));
        assert!(refused(&[1, 3], 0, &[1, 2]).contains("do not fit"));
        assert!(refused(&[1, 3], 2, &[1, 3]).contains('2'));
    }
}
