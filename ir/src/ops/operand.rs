//! What operators check and read of their operands: presence, types, known integers, sane extents.

use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::limits::MAX_ELEMENTS;
use crate::op::{Fact, Known};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// Longest vector of integers that shape arithmetic follows.
const MAX_KNOWN: i64 = 1024;

/// The fact of input `i`, which must be present.
pub(crate) fn fact<'a>(inputs: &[Option<&'a Fact>], i: usize) -> Result<&'a Fact> {
    inputs.get(i).copied().flatten().ok_or_else(|| Error::invalid(format!("input {i} is left out")))
}

/// The value of input `i`, which must be present.
pub(crate) fn tensor<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Result<&'a Tensor> {
    inputs.get(i).copied().flatten().ok_or_else(|| Error::invalid(format!("input {i} is left out")))
}

/// All inputs of an operator that takes any number of them, none left out.
pub(crate) fn all<'a, T>(inputs: &[Option<&'a T>]) -> Result<Vec<&'a T>> {
    let present =
        |(i, x): (usize, &Option<&'a T>)| x.ok_or_else(|| Error::invalid(format!("input {i} is left out")));
    inputs.iter().enumerate().map(present).collect()
}

/// Demands that all inputs have the type of the first.
pub(crate) fn same_types(facts: &[&Fact]) -> Result<DType> {
    let first = facts.first().ok_or_else(|| Error::invalid("needs at least 1 input, found 0"))?.dtype;
    for (i, fact) in facts.iter().enumerate() {
        if fact.dtype != first {
            bail_invalid!("input {i} is {} and input 0 is {first}; they must have one type", fact.dtype);
        }
    }
    Ok(first)
}

/// The extents that a shape operand holds. `what` names it in errors.
pub(crate) fn dims(fact: &Fact, what: &str) -> Result<Vec<Dim>> {
    if !matches!(fact.dtype, DType::I64 | DType::I32) {
        bail_invalid!("{what} must be integers, found {}", fact.dtype);
    }
    if fact.shape.rank() > 1 {
        bail_invalid!("{what} must be a vector, found shape {}", fact.shape);
    }
    if fact.shape.elements().is(0) {
        return Ok(vec![]);
    }
    fact.dims().ok_or_else(|| {
        Error::unsupported(format!("{what} is computed at run time, which is not supported"))
            .hint("shapes must follow from constants and from the extents of the inputs")
    })
}

/// The integers that an operand holds, all constants. `what` names it in errors.
pub(crate) fn ints(fact: &Fact, what: &str) -> Result<Vec<i64>> {
    let constant = |d: Dim| {
        d.as_const().ok_or_else(|| {
            Error::unsupported(format!(
                "{what} depends on the open dimension {d}, which is not supported: bind it with --dim"
            ))
        })
    };
    dims(fact, what)?.into_iter().map(constant).collect()
}

/// A shape whose extents are not negative and whose size is not absurd.
pub(crate) fn checked(shape: Shape) -> Result<Shape> {
    let mut elements = 1i64;
    for extent in shape.iter().filter_map(Dim::as_const) {
        if extent < 0 {
            bail_invalid!("the result has a negative extent: {shape}");
        }
        elements = elements.saturating_mul(extent.max(1));
    }
    if elements > MAX_ELEMENTS {
        bail_invalid!("the result has more than 2^40 elements: {shape}");
    }
    Ok(shape)
}

/// The extents of a constant shape that has passed [`checked`], for interpreters.
pub(crate) fn constant(shape: Shape) -> Result<Vec<usize>> {
    let shape = checked(shape)?;
    shape.as_const().ok_or_else(|| Error::internal(format!("symbolic shape {shape} while evaluating")))
}

/// The integers of a short vector or scalar that are known, possibly as expressions of open dimensions.
pub(crate) fn known_dims(fact: &Fact) -> Option<Vec<Dim>> {
    let short = fact.shape.rank() <= 1 && fact.shape.elements().as_const()? <= MAX_KNOWN;
    if short && matches!(fact.dtype, DType::I64 | DType::I32) { fact.dims() } else { None }
}

/// The same of a short tensor of any rank, in row-major order.
pub(crate) fn known_table(fact: &Fact) -> Option<Vec<Dim>> {
    let short = fact.shape.elements().as_const()? <= MAX_KNOWN;
    if short && matches!(fact.dtype, DType::I64 | DType::I32) { fact.dims() } else { None }
}

/// Known integers as an operator moves them, whose definition is given the position of each.
pub(crate) fn moved(fact: &Fact, eval: impl FnOnce(&Tensor) -> Result<Tensor>) -> Option<Vec<Dim>> {
    let (dims, shape) = (known_table(fact)?, fact.shape.as_const()?);
    let positions = Tensor::from_vec(&shape, (0..dims.len() as i64).collect());
    let places = eval(&positions).ok()?.to_i64s().ok()?;
    places.into_iter().map(|place| dims.get(usize::try_from(place).ok()?).cloned()).collect()
}

/// A fact with the integers known, if they are: as a tensor when none is symbolic.
pub(crate) fn with_dims(dtype: DType, shape: Shape, dims: Option<Vec<Dim>>) -> Fact {
    let mut fact = Fact::new(dtype, shape);
    let Some(dims) = dims.filter(|_| matches!(dtype, DType::I64 | DType::I32)) else { return fact };
    let constants: Option<Vec<i64>> = dims.iter().map(Dim::as_const).collect();
    fact.known = match (constants, fact.shape.as_const()) {
        (Some(values), Some(shape)) if shape.iter().product::<usize>() == values.len() => {
            Some(Known::Tensor(match dtype {
                DType::I32 => Tensor::from_vec(&shape, values.into_iter().map(|v| v as i32).collect()),
                _ => Tensor::from_vec(&shape, values),
            }))
        }
        (Some(_), _) => None,
        (None, _) => Some(Known::Dims(dims)),
    };
    fact
}

/// Demands elements that fit a register, which data movement works on.
pub(crate) fn movable(dtype: DType) -> Result<()> {
    if !dtype.is_compiled() {
        bail_unsupported!("elements of type {dtype} cannot be moved at run time: they do not fit a register");
    }
    Ok(())
}

/// Integers `lo..` such that a value below zero counts from `extent`: ONNX's rule for indices.
pub(crate) fn wrapped(index: i64, extent: i64) -> Result<i64> {
    if index < -extent || index >= extent {
        return Err(Error::index_out_of_range(index, extent));
    }
    Ok(if index < 0 { index + extent } else { index })
}

/// Whether an integer that follows from extents is never negative, whatever the open dimensions are.
pub(crate) fn at_least_zero(dim: &Dim) -> bool {
    let bounds = dim.symbols().into_iter().map(|s| (s, (0, i64::MAX).into())).collect();
    dim.range(&bounds).is_some_and(|(lo, _)| lo >= 0)
}

/// The larger of an integer that follows from extents and 0.
pub(crate) fn or_zero(dim: Dim) -> Dim {
    if at_least_zero(&dim) { dim } else { dim.max_with(&Dim::Const(0)) }
}

/// `f` of the known integers of two operands, of which either may be a single one that broadcasts.
pub(crate) fn zip_known<T>(a: &Fact, b: &Fact, f: impl Fn(&Dim, &Dim) -> Option<T>) -> Option<Vec<T>> {
    let (a, b) = (known_dims(a)?, known_dims(b)?);
    let len = if a.len() == 1 { b.len() } else { a.len() };
    let at = |v: &[Dim], i: usize| if v.len() == 1 { v[0].clone() } else { v[i].clone() };
    if [a.len(), b.len()].iter().any(|&n| n != 1 && n != len) {
        return None;
    }
    (0..len).map(|i| f(&at(&a, i), &at(&b, i))).collect()
}

/// What is known of all inputs of a node that is lowered.
pub(crate) fn facts(cx: &crate::kernel::Lowering<'_>) -> Result<Vec<Option<Fact>>> {
    (0..cx.input_count()).map(|i| cx.has_input(i).then(|| cx.fact(i).cloned()).transpose()).collect()
}

/// The buffer of input `i`, indices; constant ones as i32 that do not count from the end. `extent` is that of the axis that the
/// `n`th of them is an index into.
pub(crate) fn indices(
    cx: &mut crate::kernel::Lowering<'_>,
    i: usize,
    extent: impl Fn(usize) -> Dim,
) -> Result<crate::kernel::BufferId> {
    let Some(tensor) = cx.fact(i)?.tensor().cloned() else { return cx.input(i) };
    let mut list = Vec::with_capacity(tensor.elements());
    for (n, index) in tensor.to_i64s()?.into_iter().enumerate() {
        let Some(extent) = extent(n).as_const() else { return cx.input(i) };
        let Ok(index) = i32::try_from(wrapped(index, extent)?) else { return cx.input(i) };
        list.push(index);
    }
    Ok(cx.constant("indices", Tensor::from_vec(&tensor.shape, list)))
}
