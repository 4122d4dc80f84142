//! What the operators of attention share: heads, masks, and the products around a softmax.
//!
//! ```text
//! s = q * scale . k^T     masked, capped     y = softmax(s) . v
//! ```
//!
//! q `[B, H, S, D]`, k `[B, G, T, D]`, v `[B, G, T, E]`, s `[B, H, S, T]`, y `[B, H, S, E]`. Where G is less than H, which it
//! divides, heads of q share those of k and v in groups of H / G neighbours: the rows of a group are rows of one product, so
//! that nothing is repeated.

use super::composed::{Composer, Value};
use super::{binary, matmul, range, shape, softmax, unary, where_};
use crate::error::Result;
use crate::op::Attr;
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// How scores become weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Attend {
    /// Factor of the products; none for one over the root of the extent of a head.
    pub scale: Option<f32>,
    /// Scores are `softcap * tanh(s / softcap)`; 0 for as they are.
    pub softcap: f32,
    /// The type in which softmax is computed at least.
    pub precision: Option<DType>,
}

/// What hides scores, all of them broadcasting to `[B, H, S, T]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks {
    /// Added.
    pub addends: Vec<Value>,
    /// False where a score does not count.
    pub visible: Vec<Value>,
}

/// The result, and scores on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attended {
    /// `[B, H, S, E]`.
    pub y: Value,
    /// The products, then masked, then capped.
    pub scores: [Value; 3],
    /// Softmax of the last.
    pub weights: Value,
}

impl Attend {
    /// Attention of q on k and v.
    pub(super) fn compose(
        &self,
        cx: &mut Composer<'_>,
        [q, k, v]: [Value; 3],
        masks: &Masks,
    ) -> Result<Attended> {
        let dtype = check(cx, [q, k, v])?;
        let groups = Groups::of(cx, q, k)?;
        let scale = match self.scale {
            Some(scale) => f64::from(scale),
            None => match cx.fact(q).shape[3].as_const() {
                Some(size) if size > 0 => 1.0 / (size as f64).sqrt(),
                _ => bail_unsupported!("heads of an open extent are not supported: bind it with --dim"),
            },
        };
        let scale = cx.number(dtype, scale)?;
        let scaled = cx.apply(&binary::MUL, &[], &[q, scale])?;
        let scaled = groups.together(cx, scaled)?;
        let turned = cx.transpose(k, &[0, 1, 3, 2])?;
        let product = cx.apply(&matmul::DEF, &[], &[scaled, turned])?;
        let product = groups.apart(cx, product)?;
        let mut masked = product;
        for &addend in &masks.addends {
            let addend = cx.cast(addend, dtype)?;
            masked = cx.apply(&binary::ADD, &[], &[masked, addend])?;
        }
        for &visible in &masks.visible {
            let hidden = cx.number(dtype, f64::NEG_INFINITY)?;
            masked = cx.apply(&where_::DEF, &[], &[visible, masked, hidden])?;
        }
        let mut capped = masked;
        if self.softcap != 0.0 {
            let cap = cx.number(dtype, self.softcap.into())?;
            let part = cx.apply(&binary::DIV, &[], &[masked, cap])?;
            let part = cx.apply(&unary::TANH, &[], &[part])?;
            capped = cx.apply(&binary::MUL, &[], &[part, cap])?;
        }
        let exact = cx.cast(capped, self.precision.unwrap_or(dtype))?;
        let weights = cx.apply(&softmax::SOFTMAX, &[("axis", Attr::Int(-1))], &[exact])?;
        let weights = cx.cast(weights, dtype)?;
        let rows = groups.together(cx, weights)?;
        let rows = cx.cast(rows, cx.fact(v).dtype)?;
        let y = cx.apply(&matmul::DEF, &[], &[rows, v])?;
        let y = groups.apart(cx, y)?;
        Ok(Attended { y: cx.cast(y, dtype)?, scores: [product, masked, capped], weights })
    }
}

fn check(cx: &Composer<'_>, [q, k, v]: [Value; 3]) -> Result<DType> {
    for (value, name) in [(q, "query"), (k, "key"), (v, "value")] {
        let fact = cx.fact(value);
        if fact.shape.rank() != 4 {
            bail_invalid!("{name} must have 4 axes with its heads apart, found {}", fact.shape);
        }
        if !fact.dtype.is_float() {
            bail_invalid!("{name} must be floats, found {}", fact.dtype);
        }
    }
    if cx.fact(q).dtype != cx.fact(k).dtype {
        bail_invalid!("query is {} and key {}", cx.fact(q).dtype, cx.fact(k).dtype);
    }
    Ok(cx.fact(q).dtype)
}

/// How heads of q share those of k.
#[derive(Clone, Copy, Debug)]
enum Groups {
    /// Each has its own.
    One,
    /// So many heads of q on so many of k.
    Shared { heads: i64, shared: i64 },
}

impl Groups {
    fn of(cx: &Composer<'_>, q: Value, k: Value) -> Result<Self> {
        let (heads, shared) = (&cx.fact(q).shape[1], &cx.fact(k).shape[1]);
        if heads == shared {
            return Ok(Self::One);
        }
        match (heads.as_const(), shared.as_const()) {
            (Some(heads), Some(shared)) if shared > 0 && heads % shared == 0 => {
                Ok(Self::Shared { heads, shared })
            }
            (Some(_), Some(_)) => {
                bail_invalid!("{heads} heads of the query do not divide into groups on {shared} of the key")
            }
            _ => bail_unsupported!("an open number of heads is not supported: bind it with --dim"),
        }
    }

    /// `[B, H, S, x]` to `[B, G, H / G * S, x]`.
    fn together(self, cx: &mut Composer<'_>, value: Value) -> Result<Value> {
        match self {
            Self::One => Ok(value),
            Self::Shared { shared, .. } => cx.reshape(value, &[0, shared, -1, 0]),
        }
    }

    /// The way back.
    fn apart(self, cx: &mut Composer<'_>, value: Value) -> Result<Value> {
        match self {
            Self::One => Ok(value),
            Self::Shared { heads, .. } => cx.reshape(value, &[0, heads, -1, 0]),
        }
    }
}

/// `[B, S, N * D]` to `[B, N, S, D]`.
pub(super) fn heads(cx: &mut Composer<'_>, value: Value, number: i64) -> Result<Value> {
    let fact = cx.fact(value);
    if fact.shape.rank() != 3 {
        bail_invalid!("needs 3 axes, found {}", fact.shape);
    }
    match fact.shape[2].as_const() {
        Some(hidden) if number > 0 && hidden % number == 0 => {}
        Some(hidden) => bail_invalid!("{hidden} elements do not divide into {number} heads"),
        None => bail_unsupported!("heads of an open extent are not supported: bind it with --dim"),
    }
    let apart = cx.reshape(value, &[0, 0, number, -1])?;
    cx.transpose(apart, &[0, 2, 1, 3])
}

/// `[B, N, S, D]` to `[B, S, N * D]`.
pub(super) fn joined(cx: &mut Composer<'_>, value: Value) -> Result<Value> {
    let sides = [1, 3].map(|i| cx.fact(value).shape[i].as_const());
    let [Some(number), Some(size)] = sides else {
        bail_unsupported!("heads of an open extent are not supported: bind it with --dim")
    };
    let turned = cx.transpose(value, &[0, 2, 1, 3])?;
    cx.reshape(turned, &[0, 0, number.saturating_mul(size)])
}

/// An extent as a single i64.
pub(super) fn extent(cx: &mut Composer<'_>, value: Value, axis: usize) -> Result<Value> {
    if let Some(extent) = cx.fact(value).shape[axis].as_const() {
        return Ok(cx.constant(Tensor::scalar(extent)));
    }
    let axis = axis as i64;
    let one = cx.apply(&shape::DEF, &[("start", Attr::Int(axis)), ("end", Attr::Int(axis + 1))], &[value])?;
    cx.reshape(one, &[])
}

/// The positions along an axis: `[extent]` of i64.
pub(super) fn positions(cx: &mut Composer<'_>, value: Value, axis: usize) -> Result<Value> {
    let (zero, one) = (cx.constant(Tensor::scalar(0i64)), cx.constant(Tensor::scalar(1i64)));
    let extent = extent(cx, value, axis)?;
    cx.apply(&range::DEF, &[], &[zero, extent, one])
}

/// Which keys `[T]` a query `[S, 1]` sees that itself is at `first` and the rows behind: those up to its own position.
pub(super) fn causal(cx: &mut Composer<'_>, q: Value, k: Value, first: Option<Value>) -> Result<Value> {
    let mut rows = positions(cx, q, 2)?;
    if let Some(first) = first {
        rows = cx.apply(&binary::ADD, &[], &[rows, first])?;
    }
    let (rows, columns) = (cx.unsqueeze(rows, &[1])?, positions(cx, k, 2)?);
    cx.apply(&binary::LESS_OR_EQUAL, &[], &[columns, rows])
}
