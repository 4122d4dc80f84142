//! `Slice`: every `step`-th element from `start` to before `end`, on some axes.
//!
//! Spec: ONNX Slice, versions 1 to 24. Starts, ends and axes are attributes up to version 1 and inputs, with
//! steps, from 10. Negative starts and ends count from the end of the axis; both are then limited to the axis.
//! A negative step goes backwards. Known integers stay known. Lowered to one copy with affine indices.
//!
//! Starts and ends that are computed at run time are limited to the axis then; the number of elements between them is a
//! size, and they are gathered.
//!
//! Unsupported: axes or steps that are computed at run time.

use super::composed::{Composer, Value};
use super::counted::Chain;
use super::{binary, gather, movement, operand, range, shape, variadic, where_};
use crate::bail_invalid;
use crate::counts::Counts;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::PatchValue;
use crate::kernel::{Affine, Index, Lowering};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};

/// `Slice`. Ranges that are inputs leave this empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Starts, ends and axes, as attributes.
    pub ranges: Option<Ranges>,
}

/// The attributes of version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First index on each axis.
    pub starts: Vec<i64>,
    /// Index behind the last.
    pub ends: Vec<i64>,
    /// The axes; the first ones when left out.
    pub axes: Option<Vec<i64>>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let (starts, ends, axes) = (node.ints("starts")?, node.ints("ends")?, node.ints("axes")?);
    let ranges = match (starts, ends) {
        (Some(starts), Some(ends)) => {
            node.arity(1..=1, 1..=1)?;
            Some(Ranges { starts, ends, axes })
        }
        (None, None) if axes.is_none() => {
            node.arity(3..=5, 1..=1)?;
            None
        }
        _ => bail_invalid!("needs both attributes 'starts' and 'ends'"),
    };
    Ok(Box::new(Slice { ranges }))
}

/// `Slice`.
pub const DEF: OpDef = OpDef {
    name: "Slice",
    domain: "",
    since: (1, 13),
    parse,
    unsupported: "axes and steps computed at run time",
};

/// What is taken of one axis.
#[derive(Clone, Debug, PartialEq)]
struct Range {
    start: Dim,
    step: i64,
    extent: Dim,
}

/// `value`, counted from the end of the axis where it is negative, limited to `0..=extent`, both moved by `shift`
/// (-1 for starts and ends of a negative step).
fn limited(value: &Dim, extent: &Dim, shift: i64) -> Dim {
    let (low, high) = (Dim::Const(0i64.min(shift)), extent.clone() + Dim::Const(shift));
    let counted = match value.as_const() {
        Some(v) if v < 0 => extent.clone() + Dim::Const(v),
        Some(i64::MAX | 0x7fff_ffff) => return high,
        _ => value.clone(),
    };
    // For an open extent most cases are decided by what holds for all extents.
    if operand::at_least_zero(&(counted.clone() - high.clone())) {
        return high;
    }
    let capped = if operand::at_least_zero(&(high.clone() - counted.clone())) {
        counted
    } else {
        counted.min_with(&high)
    };
    if operand::at_least_zero(&(capped.clone() - low.clone())) { capped } else { capped.max_with(&low) }
}

impl Range {
    fn new(start: &Dim, end: &Dim, step: i64, extent: &Dim) -> Result<Self> {
        if step == 0 {
            bail_invalid!("a step is 0");
        }
        if let (Some(start), Some(end), Some(extent)) = (start.as_const(), end.as_const(), extent.as_const())
        {
            return Ok(Self::constant(start, end, step, extent));
        }
        let count = if step > 0 {
            let (from, to) = (limited(start, extent, 0), limited(end, extent, 0));
            (from.clone(), to - from)
        } else {
            let (from, to) = (limited(start, extent, -1), limited(end, extent, -1));
            (from.clone(), from - to)
        };
        let (start, distance) = count;
        let size = i64::try_from(step.unsigned_abs())
            .map_err(|_| Error::invalid(format!("step {step} is out of range")))?;
        Ok(Self { start, step, extent: operand::or_zero(distance).ceil_div(size) })
    }

    /// The rule of the spec on plain integers, in i128 where nothing overflows.
    fn constant(start: i64, end: i64, step: i64, extent: i64) -> Self {
        let n = i128::from(extent);
        let counted = |v: i64| if v < 0 { i128::from(v) + n } else { v.into() };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let start = counted(start).clamp(low.max(0).min(high), high);
        let end = counted(end).clamp(low, high);
        let size = i128::from(step).abs();
        let distance = if step > 0 { end - start } else { start - end };
        let extent = (distance.max(0) + size - 1) / size;
        Self { start: Dim::Const(start as i64), step, extent: Dim::Const(extent as i64) }
    }
}

/// What ranges take of a tensor.
fn take(x: &Tensor, ranges: &[Range]) -> Result<Tensor> {
    let shape = operand::constant(ranges.iter().map(|r| r.extent.clone()).collect())?;
    let strides = row_major(&x.shape);
    movement::gather(x, &shape, &[], |index| {
        let axes = index.iter().zip(ranges).zip(&strides);
        let position = |((&i, r), &s): ((&usize, &Range), &usize)| {
            Some((r.start.as_const()? + i as i64 * r.step) as usize * s)
        };
        Ok(axes.map(position).sum())
    })
}

impl Slice {
    /// One range per axis of `x`.
    fn ranges(&self, x: &Shape, inputs: &[Option<&Fact>]) -> Result<Vec<Range>> {
        let constants = |v: &[i64]| v.iter().map(|&v| Dim::Const(v)).collect::<Vec<_>>();
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (starts, ends, axes) = match &self.ranges {
            Some(r) => (constants(&r.starts), constants(&r.ends), r.axes.clone()),
            None => (
                operand::dims(operand::fact(inputs, 1)?, "the list of starts")?,
                operand::dims(operand::fact(inputs, 2)?, "the list of ends")?,
                optional(3).map(|f| operand::ints(f, "the list of axes")).transpose()?,
            ),
        };
        let steps = optional(4).map(|f| operand::ints(f, "the list of steps")).transpose()?;
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
            let (s, e, a, t) = (starts.len(), ends.len(), axes.len(), steps.len());
            bail_invalid!("has {s} starts, {e} ends, {a} axes and {t} steps");
        }
        let whole = |extent: &Dim| Range { start: Dim::Const(0), step: 1, extent: extent.clone() };
        let mut ranges: Vec<Range> = x.iter().map(whole).collect();
        let mut seen = vec![false; x.rank()];
        for (((start, end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let i = x.axis(axis)?;
            if std::mem::replace(&mut seen[i], true) {
                bail_invalid!("axis {axis} occurs twice in {axes:?}");
            }
            ranges[i] = Range::new(start, end, step, &x[i])?;
        }
        Ok(ranges)
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn attrs(&self) -> Attrs {
        let Some(r) = &self.ranges else { return Attrs::new() };
        let mut attrs = Attrs::from([
            ("starts".to_owned(), Attr::Ints(r.starts.clone())),
            ("ends".to_owned(), Attr::Ints(r.ends.clone())),
        ]);
        attrs.extend(r.axes.iter().map(|axes| ("axes".to_owned(), Attr::Ints(axes.clone()))));
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let ranges = self.ranges(&x.shape, inputs)?;
        let shape: Shape = ranges.iter().map(|r| r.extent.clone()).collect();
        let constant = ranges.iter().all(|r| r.start.as_const().is_some() && r.extent.as_const().is_some());
        let table = || if constant { operand::moved(x, |positions| take(positions, &ranges)) } else { None };
        let known = operand::known_dims(x).and_then(|dims| match &ranges[..] {
            [r] => {
                let (start, count) = (r.start.as_const()?, r.extent.as_usize()?);
                let at = |i: usize| dims.get(usize::try_from(start + i as i64 * r.step).ok()?).cloned();
                (0..count).map(at).collect()
            }
            _ => None,
        });
        Ok(vec![operand::with_dims(x.dtype, shape, known.or_else(table))])
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        if self.ranges.is_some() {
            return Ok(None);
        }
        let (x, starts, ends) = (node.fact(0)?, node.fact(1)?, node.fact(2)?);
        let known = |f: &Fact| f.dims().is_some();
        let ints = |i: usize, what: &str| match node.inputs.get(i).copied().flatten() {
            Some(_) => operand::ints(node.fact(i)?, what).map(Some),
            None => Ok(None),
        };
        let count = starts.shape.elements().as_usize();
        let Some(count) = count.filter(|_| !(known(starts) && known(ends)) && starts.shape.rank() == 1)
        else {
            return Ok(None);
        };
        let axes = ints(3, "the list of axes")?.unwrap_or_else(|| (0..count as i64).collect());
        let steps = ints(4, "the list of steps")?.unwrap_or_else(|| vec![1; count]);
        if axes.len() != count || steps.len() != count || steps.contains(&0) {
            return Ok(None);
        }
        let axes = axes.iter().map(|a| x.shape.axis(*a)).collect::<Result<Vec<usize>>>()?;
        let mut chain = Chain::new(node);
        let ends_of_axes = {
            let shape = chain.apply(&shape::DEF, &[], &[chain.input(0)?])?;
            let which = chain.integers(&axes.iter().map(|a| *a as i64).collect::<Vec<_>>());
            chain.apply(&gather::DEF, &[], &[shape, which])?
        };
        // Behind a negative step both ends lie one before.
        let shift: Vec<i64> = steps.iter().map(|step| if *step < 0 { -1 } else { 0 }).collect();
        let signs: Vec<i64> = steps.iter().map(|step| step.signum()).collect();
        let sizes: Vec<i64> = steps.iter().map(|step| step.saturating_abs()).collect();
        let (low, signs) = (chain.integers(&shift), chain.integers(&signs));
        let high = chain.apply(&binary::ADD, &[], &[ends_of_axes, low])?;
        let zero = chain.integers(&[0]);
        let limited = |chain: &mut Chain<'_>, i: usize| -> Result<PatchValue> {
            let given = chain.input(i)?;
            let given = chain.cast(given, DType::I64)?;
            let from_end = chain.apply(&binary::ADD, &[], &[given, ends_of_axes])?;
            let negative = chain.apply(&binary::LESS, &[], &[given, zero])?;
            let counted = chain.apply(&where_::DEF, &[], &[negative, from_end, given])?;
            let capped = chain.apply(&variadic::MIN, &[], &[counted, high])?;
            chain.apply(&variadic::MAX, &[], &[capped, low])
        };
        let (begin, end) = (limited(&mut chain, 1)?, limited(&mut chain, 2)?);
        // A start before the first element is the first one.
        let first = chain.apply(&variadic::MIN, &[], &[zero, high])?;
        let begin = chain.apply(&variadic::MAX, &[], &[begin, first])?;
        let distance = chain.apply(&binary::SUB, &[], &[end, begin])?;
        let distance = chain.apply(&binary::MUL, &[], &[distance, signs])?;
        let distance = chain.apply(&variadic::MAX, &[], &[distance, zero])?;
        let more: Vec<i64> = sizes.iter().map(|size| size - 1).collect();
        let (more, sizes) = (chain.integers(&more), chain.integers(&sizes));
        let distance = chain.apply(&binary::ADD, &[], &[distance, more])?;
        let n = chain.apply(&binary::DIV, &[], &[distance, sizes])?;
        let result = &node.graph.value(node.outputs[0]).name;
        let mut list = Vec::with_capacity(count);
        for axis in &axes {
            let all = counts.most(&x.shape[*axis])?;
            let most = counts.given(&node.told(0), *axis).map_or(all, |most| most.min(all));
            list.push((format!("{result}_{axis}"), most));
        }
        let n = chain.sizes(counts, n, &list);
        let mut y = chain.input(0)?;
        let scalars = [0i64, 1].map(|v| chain.constant(Tensor::scalar(v)));
        for (j, (axis, step)) in axes.iter().zip(&steps).enumerate() {
            let which = chain.constant(Tensor::scalar(j as i64));
            let [from, n] = [begin, n].map(|list| chain.apply(&gather::DEF, &[], &[list, which]));
            let (from, n) = (from?, n?);
            let places = chain.apply(&range::DEF, &[], &[scalars[0], n, scalars[1]])?;
            let step = chain.constant(Tensor::scalar(*step));
            let places = chain.apply(&binary::MUL, &[], &[places, step])?;
            let places = chain.apply(&binary::ADD, &[], &[places, from])?;
            y = chain.apply(&gather::DEF, &[("axis", Attr::Int(*axis as i64))], &[y, places])?;
        }
        Ok(Some(chain.finish(&[y])))
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let facts: Vec<Option<Fact>> = inputs.iter().map(|t| t.map(Fact::of)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let ranges = self.ranges(&Shape::of(&x.shape), &facts)?;
        Ok(vec![take(x, &ranges)?])
    }

    fn takes_part(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let facts = operand::facts(cx)?;
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let ranges = self.ranges(&cx.ty(x).shape.clone(), &facts)?;
        movement::copy_to(cx, y, x, |loops| {
            let index =
                |(r, &l): (&Range, _)| Index::Affine(Affine::constant(r.start.clone()).plus(l, r.step));
            ranges.iter().zip(loops).map(index).collect()
        });
        Ok(())
    }
}

impl Composer<'_> {
    /// Elements `from..to` of an axis, one of each `step`.
    pub(super) fn slice(&mut self, value: Value, axis: i64, range: (i64, i64), step: i64) -> Result<Value> {
        let [from, to] = [range.0, range.1].map(|v| self.integers(&[v]));
        let (axis, step) = (self.integers(&[axis]), self.integers(&[step]));
        self.apply(&DEF, &[], &[value, from, to, axis, step])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64, step: i64, extent: i64) -> (i64, i64) {
        let r = Range::new(&start.into(), &end.into(), step, &extent.into()).unwrap();
        (r.start.as_const().unwrap(), r.extent.as_const().unwrap())
    }

    #[test]
    fn limits_follow_numpy() {
        assert_eq!(range(1, 3, 1, 4), (1, 2));
        assert_eq!(range(-3, i64::MAX, 1, 4), (1, 3));
        assert_eq!(range(0, -1, 2, 4), (0, 2));
        assert_eq!(range(20, 10, 1, 4), (4, 0));
        assert_eq!(range(-1, i64::MIN, -1, 4), (3, 4));
        assert_eq!(range(i64::MAX, 0, -2, 4), (3, 2));
        assert_eq!(range(0, i64::MAX, i64::MAX, 4), (0, 1));
        assert_eq!(range(0, 5, 1, 0).1, 0);
        assert_eq!(range(-1, i64::MIN, -1, 0).1, 0);
        assert_eq!(range(3, 0, i64::MIN, 4), (3, 1));
    }

    #[test]
    fn open_extents_give_expressions() {
        let n = Dim::symbol("n");
        let range = |start: i64, end: Dim, step: i64| Range::new(&start.into(), &end, step, &n).unwrap();
        assert_eq!(range(0, i64::MAX.into(), 1).extent, n);
        assert_eq!(range(0, n.clone(), 1).extent, n);
        assert_eq!(range(0, i64::MAX.into(), 2).extent, n.ceil_div(2));
        assert_eq!(range(0, Dim::Const(5), 1).extent, n.min_with(&Dim::Const(5)));
        assert_eq!(range(-1, Dim::Const(i64::MIN + 1), -1).start, n.clone() - Dim::Const(1));
        let prefix = Range::new(&0i64.into(), &n, 1, &Dim::Const(512)).unwrap();
        assert_eq!(prefix.extent, n.min_with(&Dim::Const(512)));
    }

    #[test]
    fn copies_elements_in_both_directions() {
        let x = Tensor::from_vec(&[2, 3], (0..6i32).collect());
        let v = |v: &[i64]| Tensor::from_vec(&[v.len()], v.to_vec());
        let (starts, ends, axes, steps) = (v(&[1, -1]), v(&[2, -4]), v(&[0, 1]), v(&[1, -2]));
        let inputs = [Some(&x), Some(&starts), Some(&ends), Some(&axes), Some(&steps)];
        let y = Slice::default().eval(&inputs).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 2], vec![5i32, 3]));
        let ranges = Some(Ranges { starts: vec![1], ends: vec![3], axes: Some(vec![1]) });
        let y = Slice { ranges }.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 2], vec![1i32, 2, 4, 5]));
    }

    #[test]
    fn wrong_ranges_are_invalid() {
        let x = Fact::new(crate::DType::F32, Shape::of(&[4]));
        let v = |v: &[i64]| Fact::of(&Tensor::from_vec(&[v.len()], v.to_vec()));
        let infer = |axes: &[i64], steps: &[i64]| {
            let (s, axes, steps) = (v(&[0]), v(axes), v(steps));
            Slice::default().infer(&[Some(&x), Some(&s), Some(&s), Some(&axes), Some(&steps)])
        };
        assert!(infer(&[0], &[1]).is_ok());
        assert!(infer(&[0], &[0]).unwrap_err().message.contains("step"));
        assert!(infer(&[1], &[1]).is_err());
        assert!(infer(&[0, 0], &[1]).is_err());
    }
}
