//! `DFT`: the discrete Fourier transform along an axis.
//!
//! Spec: ONNX DFT, versions 17 and 20. The last axis holds real and imaginary parts, or real parts alone; `length` samples are
//! taken, cut or padded with zeros. `onesided` keeps the first half of the frequencies and one.
//!
//! ```text
//! y[k] = sum over n of x[n] e^(-2 pi i n k / length)      inverse: e^(+..), divided by length
//! ```
//!
//! Lowering: one product with a constant matrix of `length * parts` rows and `frequencies * 2` columns, which for the
//! frames of audio models is as fast as their products are.
//!
//! Unsupported: a length or an axis computed at run time; matrices of more than 2^26 elements; an inverse transform of
//! half of the frequencies.

use super::composed::{Composed, Composer, Value, composed, required};
use super::values::{float, from_f64s};
use super::{matmul, operand, transpose};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::{bail_invalid, bail_unsupported};

/// Elements of the matrix at most.
const MOST_ELEMENTS: usize = 1 << 26;

/// `DFT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dft {
    /// The axis, as an attribute.
    pub axis: Option<i64>,
    /// Whether samples follow from frequencies.
    pub inverse: bool,
    /// Whether only half of the frequencies are wanted.
    pub onesided: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=3, 1..=1)?;
    let axis = node.int("axis")?.or((node.opset < 20).then_some(1));
    Ok(Box::new(Dft { axis, inverse: node.flag("inverse", false)?, onesided: node.flag("onesided", false)? }))
}

/// `DFT`.
pub const DEF: OpDef = OpDef {
    name: "DFT",
    domain: "",
    since: (17, 20),
    parse,
    unsupported: "a length or an axis computed at run time",
};

impl Op for Dft {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let flag = |name: &str, on: bool| (name.to_owned(), Attr::Int(on.into()));
        let mut attrs = Attrs::from([flag("inverse", self.inverse), flag("onesided", self.onesided)]);
        attrs.extend(self.axis.map(|axis| ("axis".to_owned(), Attr::Int(axis))));
        attrs
    }

    composed!(product);
}

/// The single integer of an optional input.
fn integer(cx: &Composer<'_>, inputs: &[Option<Value>], i: usize, what: &str) -> Result<Option<i64>> {
    let Some(value) = inputs.get(i).copied().flatten() else { return Ok(None) };
    match operand::ints(cx.fact(value), what)?[..] {
        [number] => Ok(Some(number)),
        _ => bail_invalid!("{what} must be a single integer"),
    }
}

impl Composed for Dft {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let dtype = float(cx.fact(x), "the input")?;
        let shape = cx.fact(x).shape.clone();
        let axis = integer(cx, inputs, 2, "the axis")?.or(self.axis).unwrap_or(-2);
        let axis = shape.axis(axis)?;
        let extent = |i: usize| {
            shape[i].as_usize().ok_or_else(|| {
                Error::unsupported(format!("a transform along the open extent {} is not supported", shape[i]))
                    .hint("bind the dimension with --dim")
            })
        };
        let last = shape.rank() - 1;
        if axis == last {
            bail_invalid!("axis {axis} of shape {shape} holds real and imaginary parts");
        }
        let (own, parts) = (extent(axis)?, extent(last)?);
        if !matches!(parts, 1 | 2) {
            bail_invalid!("the last axis must hold 1 or 2 parts, found shape {shape}");
        }
        let length = integer(cx, inputs, 1, "the length")?.unwrap_or(own as i64);
        let length = usize::try_from(length).ok().filter(|n| *n > 0 && *n <= MOST_ELEMENTS);
        let Some(length) = length else { bail_invalid!("the length must be from 1 to 2^26") };
        if self.inverse && self.onesided {
            bail_unsupported!("an inverse transform with 'onesided' is not supported");
        }
        let frequencies = if self.onesided { length / 2 + 1 } else { length };
        let elements = own.saturating_mul(parts).saturating_mul(2 * frequencies);
        if elements > MOST_ELEMENTS {
            bail_unsupported!(
                "a transform of {own} samples to {frequencies} frequencies is not supported: it is too large"
            );
        }
        let matrix = cx.constant(from_f64s(
            dtype,
            &[own * parts, 2 * frequencies],
            self.matrix((own, parts), length, frequencies),
        )?);
        // The axis to the last but one place, where it merges with the parts.
        let order: Vec<i64> =
            (0..=last).filter(|i| *i != axis && *i != last).chain([axis, last]).map(|i| i as i64).collect();
        let turned = cx.apply(&transpose::DEF, &[("perm", Attr::Ints(order.clone()))], &[x])?;
        let rows = shape.iter().enumerate().filter(|(i, _)| *i != axis && *i != last);
        let rows: Vec<i64> = rows.map(|(i, _)| extent(i).map(|e| e as i64)).collect::<Result<_>>()?;
        let with = |ends: &[usize]| -> Vec<i64> {
            rows.iter().copied().chain(ends.iter().map(|e| *e as i64)).collect()
        };
        let flat = cx.reshape(turned, &with(&[own * parts]))?;
        let product = cx.apply(&matmul::DEF, &[], &[flat, matrix])?;
        let apart = cx.reshape(product, &with(&[frequencies, 2]))?;
        let mut back = vec![0i64; order.len()];
        order.iter().enumerate().for_each(|(place, from)| back[*from as usize] = place as i64);
        Ok(vec![cx.apply(&transpose::DEF, &[("perm", Attr::Ints(back))], &[apart])?])
    }
}

impl Dft {
    /// The matrix, row-major: samples and parts by frequencies and parts.
    fn matrix(self, (own, parts): (usize, usize), length: usize, frequencies: usize) -> Vec<f64> {
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let factor = if self.inverse { 1.0 / length as f64 } else { 1.0 };
        let mut matrix = vec![0.0; own * parts * 2 * frequencies];
        for n in 0..own.min(length) {
            for k in 0..frequencies {
                // Reduced before the angle is rounded.
                let angle = sign * std::f64::consts::TAU * (n * k % length) as f64 / length as f64;
                let (sin, cos) = angle.sin_cos();
                // (a + b i)(cos + sin i) = a cos - b sin + (a sin + b cos) i
                for (part, values) in [[cos, sin], [-sin, cos]].into_iter().take(parts).enumerate() {
                    let at = ((n * parts + part) * frequencies + k) * 2;
                    matrix[at] = values[0] * factor;
                    matrix[at + 1] = values[1] * factor;
                }
            }
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn a_wave_is_one_frequency_and_comes_back() {
        let wave: Vec<f32> = (0..8).map(|i| (std::f32::consts::TAU * i as f32 / 4.0).cos()).collect();
        let x = Tensor::from_vec(&[1, 8, 1], wave.clone());
        let forward = parse("DFT", 20, &[], 1, 1).unwrap();
        let y = run(&*forward, &[&x], &[]).unwrap().swap_remove(0);
        assert_eq!(y.shape, [1, 8, 2]);
        for (i, v) in y.to_f64s().unwrap().iter().enumerate() {
            let want = if matches!(i, 4 | 12) { 4.0 } else { 0.0 };
            assert!((v - want).abs() < 1e-5, "{i}: {v}");
        }
        let inverse = parse("DFT", 17, &[("inverse", Attr::Int(1))], 1, 1).unwrap();
        let back = run(&*inverse, &[&y], &[]).unwrap()[0].to_f64s().unwrap();
        for (i, v) in wave.iter().enumerate() {
            assert!((back[2 * i] - f64::from(*v)).abs() < 1e-5 && back[2 * i + 1].abs() < 1e-5);
        }
    }

    #[test]
    fn lengths_cut_and_pad_along_any_axis() {
        let x = sample(&[3, 5, 2, 2], 3);
        for (axis, length) in [(0i64, 3i64), (1, 4), (1, 7), (-2, 2)] {
            for onesided in [0, 1] {
                let op = parse("DFT", 20, &[("onesided", Attr::Int(onesided))], 3, 1).unwrap();
                let y = run(&*op, &[&x, &Tensor::scalar(length), &Tensor::scalar(axis)], &[1, 2]).unwrap();
                let want = if onesided == 1 { length / 2 + 1 } else { length };
                assert_eq!(y[0].shape[if axis < 0 { 2 } else { axis as usize }] as i64, want);
            }
        }
    }
}
