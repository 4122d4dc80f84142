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
//! Lowering: a procedure that copies the data and goes through the updates in order; axes in front of all that is indexed are
//! shared by threads.

use super::elements::{Builder, Elements};
use super::nest::NestBuilder;
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::procedure::Steps;
use crate::kernel::{Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar};
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

    fn operation(self) -> Option<BinaryOp> {
        Some(match self {
            Self::None => return None,
            Self::Add => BinaryOp::Add,
            Self::Mul => BinaryOp::Mul,
            Self::Max => BinaryOp::Max,
            Self::Min => BinaryOp::Min,
        })
    }

    fn combine(self, dtype: DType, old: u64, new: u64) -> Result<u64> {
        match self.operation() {
            None => Ok(new),
            Some(op) => Ok(crate::eval::scalar::binary(op, dtype)?(old, new)),
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
        let (x, given) = (cx.ty(cx.input(0)?).shape.clone(), cx.ty(cx.input(1)?).shape.clone());
        let axis = x.axis(self.axis)?;
        // With all other axes whole, those on either side are one.
        let whole = (0..x.rank()).all(|a| a == axis || given[a] == x[a]);
        let product = |dims: &[Dim]| dims.iter().fold(Dim::Const(1), |n, d| n * d.clone());
        let folded = |s: &Shape| -> Vec<Dim> {
            if !whole {
                return s.0.clone();
            }
            let inner = (axis + 1 < s.rank()).then(|| product(&s[axis + 1..]));
            [product(&s[..axis]), s[axis].clone()].into_iter().chain(inner).collect()
        };
        let (shape, given) = (Shape(folded(&x)), folded(&given));
        let axis = if whole { 1 } else { axis };
        let lead = if whole { 1 } else { 0 };
        let scatter = Scatter {
            data: movement::folded_input(cx, 0, "data", &shape)?,
            indices: movement::folded_input(cx, 1, "given", &Shape(given.clone()))?,
            updates: movement::folded_input(cx, 2, "updates", &Shape(given.clone()))?,
            result: movement::folded_output(cx, &shape)?,
            shape,
            how: self.reduction,
        };
        scatter.emit(cx, lead, (&given[lead..], 0), &[axis], |own, updates, registers| {
            let here: Vec<LoopId> = own.iter().chain(updates).copied().collect();
            let mut there = here.clone();
            there[axis] = registers[0];
            let update = movement::each(&here);
            Places { indices: vec![update.clone()], update, element: movement::each(&there) }
        })?;
        let to = cx.output(0)?;
        if scatter.result != to {
            movement::reshape(cx, scatter.result, to);
        }
        Ok(())
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
        let product = |dims: &[Dim]| dims.iter().fold(Dim::Const(1), |n, d| n * d.clone());
        let (count, row) = (product(&tuples.0), (tuple < x.rank()).then(|| product(&x[tuple..])));
        let with_row = |dims: &[Dim]| Shape(dims.iter().chain(&row).cloned().collect());
        let shape = with_row(&x[..tuple]);
        let counted = with_row(std::slice::from_ref(&count));
        let numbers = Shape(vec![count, Dim::Const(tuple as i64)]);
        let scatter = Scatter {
            data: movement::folded_input(cx, 0, "data", &shape)?,
            indices: movement::folded_input(cx, 1, "given", &numbers)?,
            updates: movement::folded_input(cx, 2, "updates", &counted)?,
            result: movement::folded_output(cx, &shape)?,
            shape,
            how: self.reduction,
        };
        let indexed: Vec<usize> = (0..tuple).collect();
        scatter.emit(
            cx,
            0,
            (&counted.0, usize::from(row.is_some())),
            &indexed,
            |_, updates, registers| {
                let of = |c: usize| vec![updates[0].into(), Affine::constant(c as i64).into()];
                let element: Vec<LoopId> = registers.iter().chain(&updates[1..]).copied().collect();
                Places {
                    indices: (0..tuple).map(of).collect(),
                    update: movement::each(updates),
                    element: movement::each(&element),
                }
            },
        )?;
        let to = cx.output(0)?;
        if scatter.result != to {
            movement::reshape(cx, scatter.result, to);
        }
        Ok(())
    }
}

/// Axes of a scatter, and where its parts are.
struct Scatter {
    data: BufferId,
    indices: BufferId,
    updates: BufferId,
    result: BufferId,
    /// Of data and result.
    shape: Shape,
    how: Reduction,
}

impl Scatter {
    /// Emits `result = data`, then the updates in order. `lead` axes of the result are independent: indices and updates have them
    /// too. `counted` are the others of the updates, `tuple` how many of the result's axes are indexed, and `index` gives for the
    /// loops of `lead` and `counted` and for the registers of the tuple: the index of each of these among the indices, and the
    /// places of an update and of the element that it changes. The last loops of `counted`, `row` of them, do not count for
    /// indices.
    fn emit(
        &self,
        cx: &mut Lowering<'_>,
        lead: usize,
        (counted, row): (&[Dim], usize),
        indexed: &[usize],
        index: impl Fn(&[LoopId], &[LoopId], &[LoopId]) -> Places,
    ) -> Result<()> {
        let mut nest = NestBuilder::default();
        let own: Vec<LoopId> = (0..lead).map(|a| nest.parallel(format!("i{a}"), &self.shape[a])).collect();
        let copied: Vec<LoopId> =
            (lead..self.shape.rank()).map(|a| nest.reduce(format!("c{a}"), &self.shape[a])).collect();
        let updates: Vec<LoopId> =
            counted.iter().enumerate().map(|(i, n)| nest.reduce(format!("u{i}"), n)).collect();
        let registers: Vec<LoopId> =
            indexed.iter().map(|a| nest.reduce(format!("at{a}"), &self.shape[*a])).collect();
        let all: Vec<LoopId> = own.iter().chain(&copied).copied().collect();
        let Places { indices, update, element } = index(&own, &updates, &registers);

        let mut steps = Steps::default();
        let whole = |buffer| Access::new(buffer, movement::each(&all));
        steps.nest(&copied, &mut |steps| {
            steps.store(whole(self.result), Expr::Load(whole(self.data)));
            Ok(())
        })?;
        let (outer, inner) = updates.split_at(updates.len() - row);
        steps.nest(outer, &mut |steps| {
            for ((register, index), axis) in registers.iter().zip(&indices).zip(indexed) {
                let given = Expr::Load(Access::new(self.indices, index.clone()));
                let given = Expr::cast(DType::I64, given);
                let zero = Expr::Const(Scalar::int(DType::I64, 0));
                let from_end =
                    Expr::binary(BinaryOp::Add, given.clone(), Expr::size(DType::I64, &self.shape[*axis]));
                let negative = Expr::binary(BinaryOp::Lt, given.clone(), zero);
                steps.set(*register, Expr::select(negative, from_end, given));
            }
            steps.nest(inner, &mut |steps| {
                let to = Access::new(self.result, element.clone());
                let new = Expr::Load(Access::new(self.updates, update.clone()));
                let value = match self.how.operation() {
                    Some(op) => Expr::binary(op, Expr::Load(to.clone()), new),
                    None => new,
                };
                steps.store(to, value);
                Ok(())
            })
        })?;
        cx.emit(nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

/// Where an update is, where its indices are, and what it changes.
struct Places {
    indices: Vec<Vec<Index>>,
    update: Vec<Index>,
    element: Vec<Index>,
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
