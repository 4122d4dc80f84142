//! `STFT`: Fourier transforms of overlapping frames of a signal.
//!
//! Spec: ONNX STFT, version 17. Frames of `frame_length` samples begin every `frame_step` samples, are multiplied by the
//! window and transformed: `[batch, samples, 1 or 2]` to `[batch, frames, frequencies, 2]`. One `Gather`, a product with the window
//! and a [`dft`].
//!
//! Unsupported: step or length computed at run time; open numbers of samples.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, dft, gather, operand};
use crate::error::{Error, Result};
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, bail_unsupported};

/// Samples of all frames at most.
const MOST_SAMPLES: i64 = 1 << 26;

/// `STFT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stft {
    /// Whether only half of the frequencies are wanted.
    pub onesided: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=4, 1..=1)?;
    Ok(Box::new(Stft { onesided: node.flag("onesided", true)? }))
}

/// `STFT`.
pub const DEF: OpDef = OpDef {
    name: "STFT",
    domain: "",
    since: (17, 17),
    parse,
    unsupported: "a step or a length computed at run time",
};

impl Op for Stft {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("onesided".to_owned(), Attr::Int(self.onesided.into()))])
    }

    composed!(product);
}

impl Composed for Stft {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let shape = cx.fact(x).shape.clone();
        let [_, samples, _] = &shape[..] else {
            bail_invalid!("takes a signal of 3 axes, found shape {shape}")
        };
        let samples = samples.as_const().ok_or_else(|| {
            Error::unsupported(format!("frames of the open number of samples {samples} are not supported"))
                .hint("bind the dimension with --dim")
        })?;
        let single = |cx: &Composer<'_>, value: Value, what: &str| -> Result<i64> {
            match operand::ints(cx.fact(value), what)?[..] {
                [number] if number > 0 => Ok(number),
                _ => bail_invalid!("{what} must be a single positive integer"),
            }
        };
        let step = single(cx, required(inputs, 1)?, "the step of frames")?;
        let window = inputs.get(2).copied().flatten();
        let length = match (inputs.get(3).copied().flatten(), window) {
            (Some(value), _) => single(cx, value, "the length of frames")?,
            (None, Some(window)) => match &cx.fact(window).shape[..] {
                [length] => length.as_const().filter(|n| *n > 0).unwrap_or(samples),
                other => bail_invalid!("the window must be a vector, found rank {}", other.len()),
            },
            (None, None) => samples,
        };
        if length > samples {
            bail_invalid!("frames of {length} samples do not fit a signal of {samples}");
        }
        let frames = 1 + (samples - length) / step;
        if frames.saturating_mul(length) > MOST_SAMPLES {
            bail_unsupported!("{frames} frames of {length} samples are not supported: they are too many");
        }
        let at: Vec<i64> = (0..frames).flat_map(|f| (0..length).map(move |i| f * step + i)).collect();
        let at = cx.constant(Tensor::from_vec(&[frames as usize, length as usize], at));
        let mut framed = cx.apply(&gather::DEF, &[("axis", Attr::Int(1))], &[x, at])?;
        if let Some(window) = window {
            let column = cx.reshape(window, &[length, 1])?;
            framed = cx.apply(&binary::MUL, &[], &[framed, column])?;
        }
        let onesided = [("onesided", Attr::Int(self.onesided.into()))];
        Ok(vec![cx.apply(&dft::DEF, &onesided, &[framed])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};

    #[test]
    fn frames_overlap() {
        let x = sample(&[2, 20, 1], 3);
        let window = sample(&[8], 5);
        for onesided in [0, 1] {
            let op = parse("STFT", 17, &[("onesided", Attr::Int(onesided))], 3, 1).unwrap();
            let y = run(&*op, &[&x, &Tensor::scalar(4i64), &window], &[1]).unwrap();
            assert_eq!(y[0].shape, [2, 4, if onesided == 1 { 5 } else { 8 }, 2]);
        }
        let op = parse("STFT", 17, &[], 4, 1).unwrap();
        let facts =
            [Some(crate::op::Fact::of(&x)), Some(crate::op::Fact::of(&Tensor::scalar(0i64))), None, None];
        let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
        assert!(op.infer(&facts).is_err());
    }
}
