//! What operators on quantised tensors have in common that are made of others: parameters that are single numbers, and sums
//! that become quantised again.

use super::binary::MUL;
use super::composed::{Composer, Value};
use super::quantization::single;
use super::quantize_linear;
use crate::bail_invalid;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::types::DType;

/// `saturate(round(f32(sum) * factor) + zero)` of i32 sums, [`crate::numerics::requantize`]: the product is quantised with the
/// scale 1. `factor` broadcasts; the single zero point has the type of the result.
pub(super) fn requantize(cx: &mut Composer<'_>, sum: Value, factor: Value, zero: Value) -> Result<Value> {
    let product = scaled(cx, sum, factor)?;
    quantize_by_one(cx, product, zero)
}

/// `f32(sum) * factor`.
pub(super) fn scaled(cx: &mut Composer<'_>, sum: Value, factor: Value) -> Result<Value> {
    let (sum, factor) = (cx.cast(sum, DType::F32)?, cx.cast(factor, DType::F32)?);
    cx.apply(&MUL, &[], &[sum, factor])
}

/// `saturate(round(x) + zero)`.
fn quantize_by_one(cx: &mut Composer<'_>, x: Value, zero: Value) -> Result<Value> {
    let one = cx.constant(Tensor::scalar(1f32));
    cx.apply(&quantize_linear::DEF, &[], &[x, one, zero])
}

/// Demands a single number of a parameter, and gives it without axes.
pub(super) fn scalar(cx: &mut Composer<'_>, value: Value, what: &str) -> Result<Value> {
    let shape = cx.fact(value).shape.clone();
    if !single(&shape) {
        bail_invalid!("{what} must be a single number, found shape {shape}");
    }
    if shape.rank() == 0 { Ok(value) } else { cx.reshape(value, &[]) }
}
