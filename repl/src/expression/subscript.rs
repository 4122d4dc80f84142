//! `x[0, -3:]` with Python's meaning, as Slice, Gather, Squeeze and Unsqueeze.

use std::ops::Range;

use kiln_ir::graph::ValueId;
use kiln_ir::{Shape, Tensor};

use super::constant::{self, Scope};
use super::operand::{Operand, int_attribute};
use crate::fault::{Fault, Result};
use crate::text::ast::{Expr, Named, Subscript};

/// A graph in the making, as far as taking parts of its values needs it.
pub(super) trait Values {
    /// What names mean.
    fn scope(&self) -> &dyn Scope;
    /// Extents of a value.
    fn shape(&self, id: ValueId) -> Shape;
    /// An expression as an operand.
    fn operand(&mut self, expr: &Expr) -> Result<Operand>;
    /// A constant as an operand.
    fn constant(&mut self, tensor: Tensor) -> Result<Operand>;
    /// An operator of one result.
    fn apply(
        &mut self,
        name: &str,
        operands: &[Operand],
        named: &[Named],
        span: &Range<usize>,
    ) -> Result<ValueId>;
}

/// What is taken along the axes of `value`.
pub(super) fn take(
    builder: &mut dyn Values,
    value: ValueId,
    subscripts: &[Subscript],
    span: &Range<usize>,
) -> Result<ValueId> {
    let shape = builder.shape(value);
    let rank = shape.rank();
    let spoken = subscripts.iter().filter(|s| !matches!(s, Subscript::Rest | Subscript::New)).count();
    let rests = subscripts.iter().filter(|s| **s == Subscript::Rest).count();
    if rests > 1 {
        return Err(Fault::at(span.clone(), "three points stand for all other axes: once"));
    }
    if spoken > rank {
        return Err(Fault::at(
            span.clone(),
            format!("{spoken} positions are given, and the tensor has {rank} axes"),
        ));
    }
    // Axes of the value; of the result, once positions have lost theirs.
    let mut axis = 0;
    let mut result_axis = 0;
    let (mut starts, mut ends, mut axes, mut steps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let mut gathers: Vec<(usize, Operand)> = Vec::new();
    for subscript in subscripts {
        match subscript {
            Subscript::Rest => {
                axis += rank - spoken;
                result_axis += rank - spoken;
                continue;
            }
            Subscript::New => {
                new.push(result_axis as i64);
                result_axis += 1;
                continue;
            }
            Subscript::At(expr) => match constant::int(expr, builder.scope()) {
                Some(i) => {
                    let extent = shape.get(axis).and_then(|d| d.as_const());
                    if let Some(n) = extent
                        && !(-n..n).contains(&i)
                    {
                        let message = format!("index {i} is outside [-{n}, {n})");
                        return Err(Fault::at(expr.span.clone(), message));
                    }
                    starts.push(i);
                    ends.push(if i == -1 { i64::MAX } else { i + 1 });
                    axes.push(axis as i64);
                    steps.push(1);
                    gone.push(axis as i64);
                }
                None => {
                    if !gathers.is_empty() {
                        return Err(Fault::at(
                            expr.span.clone(),
                            "one axis can be taken by a list of positions",
                        ));
                    }
                    gathers.push((axis, builder.operand(expr)?));
                    result_axis += 1;
                }
            },
            Subscript::Slice { start, stop, step } => {
                let step = bound(builder, step.as_ref())?.unwrap_or(1);
                if step == 0 {
                    let at = subscript_span(subscript).unwrap_or_else(|| span.clone());
                    return Err(Fault::at(at, "a step is not 0"));
                }
                let (first, end) = if step > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
                starts.push(bound(builder, start.as_ref())?.unwrap_or(first));
                ends.push(bound(builder, stop.as_ref())?.unwrap_or(end));
                axes.push(axis as i64);
                steps.push(step);
                result_axis += 1;
            }
        }
        axis += 1;
    }
    let mut value = value;
    if !axes.is_empty() {
        let lists = [starts, ends, axes, steps];
        let mut operands = vec![Operand::Value(value)];
        for list in lists {
            operands.push(builder.constant(Tensor::from_vec(&[list.len()], list))?);
        }
        value = builder.apply("Slice", &operands, &[], span)?;
    }
    for (axis, indices) in gathers {
        let named = [int_attribute("axis", axis as i64, span)];
        value = builder.apply("Gather", &[Operand::Value(value), indices], &named, span)?;
    }
    for (name, list) in [("Squeeze", gone), ("Unsqueeze", new)] {
        if !list.is_empty() {
            let list = builder.constant(Tensor::from_vec(&[list.len()], list))?;
            value = builder.apply(name, &[Operand::Value(value), list], &[], span)?;
        }
    }
    Ok(value)
}

fn bound(builder: &dyn Values, expr: Option<&Expr>) -> Result<Option<i64>> {
    let Some(expr) = expr else { return Ok(None) };
    let found = constant::int(expr, builder.scope());
    found.map(Some).ok_or_else(|| Fault::at(expr.span.clone(), "a bound of a slice is an integer"))
}

fn subscript_span(subscript: &Subscript) -> Option<Range<usize>> {
    if let Subscript::Slice { step: Some(step), .. } = subscript { Some(step.span.clone()) } else { None }
}
