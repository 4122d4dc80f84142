//! Reading images at positions between their pixels: what `GridSample`, `DeformConv` and `RoiAlign` share.
//!
//! A position along an axis is a few *taps*, pixels with weights. Those of all axes combine to corners; every corner is a row
//! of channels that is gathered, and the result is the sum of all corners by their weights.

use super::composed::{Composer, Value};
use super::reduce;
use crate::error::{Error, Result};
use crate::types::DType;

/// A pixel along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// Its position as a float, which may be outside the axis.
    pub(super) at: Value,
    /// Its weight; 1 if there is none.
    pub(super) weight: Option<Value>,
    /// Whether it counts at all; it does if there is none. What it says of pixels outside must be false.
    pub(super) inside: Option<Value>,
}

/// The two taps of linear interpolation at `position`.
pub(super) fn linear(cx: &mut Composer<'_>, position: Value) -> Result<Vec<Tap>> {
    let first = cx.floor(position)?;
    let part = cx.sub(position, first)?;
    let (rest, second) = (cx.number_less(1.0, part)?, cx.plus(first, 1.0)?);
    let tap = |at, weight| Tap { at, weight: Some(weight), inside: None };
    Ok(vec![tap(first, rest), tap(second, part)])
}

/// The four taps of cubic convolution (Keys 1981) with the coefficient -3/4 at `position`.
pub(super) fn cubic(cx: &mut Composer<'_>, position: Value) -> Result<Vec<Tap>> {
    const A: f64 = -0.75;
    let first = cx.floor(position)?;
    let part = cx.sub(position, first)?;
    let rest = cx.number_less(1.0, part)?;
    // Of the distance: 1 to 2, and up to 1.
    let far = |cx: &mut Composer<'_>, distance: Value| {
        let d = cx.plus(distance, 1.0)?;
        let mut value = cx.times(d, A)?;
        for (shift, last) in [(-5.0 * A, false), (8.0 * A, false), (-4.0 * A, true)] {
            value = cx.plus(value, shift)?;
            if !last {
                value = cx.mul(value, d)?;
            }
        }
        Ok::<_, Error>(value)
    };
    let near = |cx: &mut Composer<'_>, d: Value| {
        let value = cx.times(d, A + 2.0)?;
        let value = cx.plus(value, -(A + 3.0))?;
        let value = cx.mul(value, d)?;
        let value = cx.mul(value, d)?;
        cx.plus(value, 1.0)
    };
    let weights = [far(cx, part)?, near(cx, part)?, near(cx, rest)?, far(cx, rest)?];
    let mut taps = Vec::with_capacity(4);
    for (i, weight) in weights.into_iter().enumerate() {
        taps.push(Tap { at: cx.plus(first, i as f64 - 1.0)?, weight: Some(weight), inside: None });
    }
    Ok(taps)
}

/// A tap that counts where it is on the axis only.
pub(super) fn zero_outside(cx: &mut Composer<'_>, tap: Tap, extent: i64) -> Result<Tap> {
    let inside = cx.within(tap.at, 0.0, (extent - 1) as f64)?;
    Ok(Tap { inside: Some(inside), ..tap })
}

/// So many corners are read at once.
const FEW: i64 = 4;

/// How corners become a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corners {
    /// Their sum: `[R, Q, C]`.
    Sum,
    /// The largest: `[R, Q, C]`.
    Max,
}

/// Reads images `x` of shape `[N, C, extents..]`: `[R, Q, C]` for positions whose taps broadcast to `[R, places..]`, which have
/// Q places. `image` is which of the N images is read, `i64[R, 1..]`. Weights have the type of `x` after a conversion; what is
/// no float is read in f32 where there are weights.
pub(super) fn read(
    cx: &mut Composer<'_>,
    x: Value,
    image: Value,
    axes: &[Vec<Tap>],
    corners: Corners,
) -> Result<Value> {
    let shape = cx.extents(x, "an image")?;
    let (channels, extents) = (shape[1], &shape[2..]);
    let pixels: i64 = extents.iter().product();
    let mut order: Vec<i64> = (0..shape.len() as i64).collect();
    order.remove(1);
    order.push(1);
    let rows = cx.transpose(x, &order)?;
    let rows = cx.reshape(rows, &[shape[0] * pixels, channels])?;
    let base = cx.times(image, pixels as f64)?;

    let (mut places, mut weights, mut insides) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = (0, 0);
    for taps in corner_list(axes) {
        let (mut place, mut weight, mut inside) = (base, None, None);
        let mut stride = pixels;
        for (tap, extent) in taps.iter().zip(extents) {
            stride /= extent;
            let at = cx.clamp(tap.at, 0.0, (extent - 1) as f64)?;
            let at = cx.cast(at, DType::I64)?;
            let at = cx.times(at, stride as f64)?;
            place = cx.add(place, at)?;
            weight = match (weight, tap.weight) {
                (Some(a), Some(b)) => Some(cx.mul(a, b)?),
                (a, b) => a.or(b),
            };
            inside = match (inside, tap.inside) {
                (Some(a), Some(b)) => Some(cx.and(a, b)?),
                (a, b) => a.or(b),
            };
        }
        let shape = cx.extents(place, "a place")?;
        count = (shape[0], shape[1..].iter().product());
        places.push(cx.reshape(place, &[count.0, count.1])?);
        weights.extend(weight.map(|w| cx.reshape(w, &[count.0, count.1])).transpose()?);
        insides.extend(inside.map(|i| cx.reshape(i, &[count.0, count.1])).transpose()?);
    }
    let (r, q) = count;
    let all = places.len() as i64;
    let to = if weights.is_empty() || cx.dtype(x).is_float() { cx.dtype(x) } else { DType::F32 };
    if corners == Corners::Sum && all <= FEW {
        // One pass over the rows of all corners.
        let mut sum: Option<Value> = None;
        for (i, place) in places.iter().enumerate() {
            let mut value = cx.gather(rows, *place, 0)?;
            if let Some(inside) = insides.get(i) {
                let inside = cx.reshape(*inside, &[r, q, 1])?;
                let zero = cx.number_like(value, 0.0)?;
                value = cx.choose(inside, value, zero)?;
            }
            value = cx.cast(value, to)?;
            if let Some(weight) = weights.get(i) {
                let weight = cx.reshape(*weight, &[r, q, 1])?;
                let weight = cx.cast(weight, to)?;
                value = cx.mul(value, weight)?;
            }
            sum = Some(match sum {
                Some(sum) => cx.add(sum, value)?,
                None => value,
            });
        }
        let sum = sum.ok_or_else(|| Error::internal("a position without corners"))?;
        return cx.cast(sum, cx.dtype(x));
    }
    let places = cx.concat(&places, 1)?;
    let gathered = cx.gather(rows, places, 0)?;
    let mut value = cx.reshape(gathered, &[r, all, q, channels])?;
    if !insides.is_empty() {
        let inside = cx.concat(&insides, 1)?;
        let inside = cx.reshape(inside, &[r, all, q, 1])?;
        let zero = cx.number_like(value, 0.0)?;
        value = cx.choose(inside, value, zero)?;
    }
    if !weights.is_empty() {
        let weight = cx.concat(&weights, 1)?;
        let weight = cx.reshape(weight, &[r, all, q, 1])?;
        let weight = cx.cast(weight, to)?;
        value = cx.cast(value, to)?;
        value = cx.mul(value, weight)?;
    }
    let value = match (all, corners) {
        (1, _) => cx.reshape(value, &[r, q, channels])?,
        (_, Corners::Sum) => cx.sum(value, &[1])?,
        (_, Corners::Max) => cx.reduce(&reduce::MAX, value, &[1])?,
    };
    cx.cast(value, cx.dtype(x))
}

/// Every combination of a tap of each axis.
fn corner_list(axes: &[Vec<Tap>]) -> Vec<Vec<Tap>> {
    axes.iter().fold(vec![Vec::new()], |corners, taps| {
        let with = |corner: Vec<Tap>| taps.iter().map(move |tap| [&corner[..], &[*tap]].concat());
        corners.into_iter().flat_map(with).collect()
    })
}
