//! Extents of a sequence, which may be open.

use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::op::Attr;
use crate::ops::composed::{Composer, Value};
use crate::ops::{fill, shape};
use crate::tensor::Tensor;
use crate::types::Shape;

/// A value under another shape, whose open extents are those of `like`.
pub(super) fn shaped(cx: &mut Composer<'_>, value: Value, to: &[Dim], like: Value) -> Result<Value> {
    if let Some(constant) = to.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>() {
        return cx.reshape(value, &constant);
    }
    let to = sizes(cx, to, like)?;
    cx.apply(&crate::ops::reshape::DEF, &[], &[value, to])
}

/// Zeros like `like`, of another shape, whose open extents are its.
pub(super) fn zeros(cx: &mut Composer<'_>, to: &[Dim], like: Value) -> Result<Value> {
    let dtype = cx.dtype(like);
    if let Some(constant) = to.iter().map(Dim::as_usize).collect::<Option<Vec<usize>>>() {
        return Ok(cx.constant(Tensor::zeros(dtype, &constant)));
    }
    let to = sizes(cx, to, like)?;
    cx.apply(&fill::CONSTANT_OF_SHAPE, &[("value", Attr::Tensor(Tensor::zeros(dtype, &[1])))], &[to])
}

fn sizes(cx: &mut Composer<'_>, to: &[Dim], like: Value) -> Result<Value> {
    let own = cx.fact(like).shape.clone();
    let mut parts = Vec::new();
    for dim in to {
        parts.push(match (dim.as_const(), own.iter().position(|d| d == dim)) {
            (Some(n), _) => cx.integers(&[n]),
            (None, Some(axis)) => {
                let range = [("start", Attr::Int(axis as i64)), ("end", Attr::Int(axis as i64 + 1))];
                cx.apply(&shape::DEF, &range, &[like])?
            }
            (None, None) => bail_invalid!("the extent {dim} is none of {own}"),
        });
    }
    cx.concat(&parts, 0)
}

/// Refuses a value that cannot have a shape; an extent that is open may be any.
pub(super) fn fits(cx: &Composer<'_>, value: Value, what: &str, expected: &[Dim]) -> Result<()> {
    let found = &cx.fact(value).shape;
    let differ = |(a, b): (&Dim, &Dim)| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    if found.rank() != expected.len() || found.iter().zip(expected).any(differ) {
        bail_invalid!("{what} {found} must have the shape {}", Shape(expected.to_vec()));
    }
    Ok(())
}
