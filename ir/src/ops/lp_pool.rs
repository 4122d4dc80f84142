//! `LpPool` and `GlobalLpPool`: the norm of what is under a sliding window, or of each channel (ONNX, since 1, 2, 11, 18 and 22).
//!
//! ```text
//! y[n, c, q] = (sum over k of |x[n, c, stride*q + dilation*k - begin]|^p)^(1/p)
//! ```
//!
//! over the elements inside x. Shapes as those of `AveragePool` and `GlobalAveragePool`; p is 2 if it is left out.
//!
//! Numerics: powers and sums in the element type.

use super::average_pool::{self, SUM};
use super::composed::{Composed, Composer, Value, composed, required};
use super::max_pool::{parse_window, window_attrs};
use super::spatial::Spatial;
use super::{binary, pow, reduce, unary};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};

/// `LpPool`.
pub const DEF: OpDef = OpDef {
    name: "LpPool",
    domain: "",
    since: (1, 22),
    parse: |node| {
        let p = power(node)?;
        Ok(Box::new(LpPool { window: Some(parse_window(node)?), p }))
    },
    unsupported: "more than 3 spatial axes",
};

/// `GlobalLpPool`.
pub const GLOBAL: OpDef = OpDef {
    name: "GlobalLpPool",
    domain: "",
    since: (1, 22),
    parse: |node| Ok(Box::new(LpPool { window: None, p: power(node)? })),
    unsupported: "",
};

/// ONNX `LpPool` or `GlobalLpPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct LpPool {
    /// The window; none for all of a channel.
    pub window: Option<Spatial>,
    /// Which norm.
    pub p: f32,
}

/// The norm, which the first version has as a float.
fn power(node: &mut NodeProto<'_>) -> Result<f32> {
    node.arity(1..=1, 1..=1)?;
    let p = match node.attrs.remove("p") {
        None => 2.0,
        Some(Attr::Int(p)) => p as f32,
        Some(Attr::Float(p)) => p,
        Some(other) => bail_invalid!("attribute 'p' must be a number, found {other:?}"),
    };
    if !(p >= 1.0 && p.is_finite()) {
        bail_invalid!("attribute 'p' must be at least 1, found {p}");
    }
    Ok(p)
}

impl Op for LpPool {
    fn name(&self) -> &'static str {
        if self.window.is_some() { DEF.name } else { GLOBAL.name }
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.window.as_ref().map(window_attrs).unwrap_or_default();
        let whole = self.p.fract() == 0.0;
        attrs.insert("p".into(), if whole { Attr::Int(self.p as i64) } else { Attr::Float(self.p) });
        attrs
    }

    composed!();
}

impl Composed for LpPool {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        let (dtype, rank) = (cx.fact(x).dtype, cx.fact(x).shape.rank());
        if !dtype.is_float() {
            bail_invalid!("takes floats, found {dtype}");
        }
        let raised = match self.p {
            2.0 => cx.apply(&binary::MUL, &[], &[x, x])?,
            _ => cx.apply(&unary::ABS, &[], &[x])?,
        };
        let plain = matches!(self.p, 1.0 | 2.0);
        let mut power = |value, by: f64| {
            let by = cx.number(dtype, by)?;
            cx.apply(&pow::DEF, &[], &[value, by])
        };
        let raised = if plain { raised } else { power(raised, self.p.into())? };
        let sum = match &self.window {
            Some(window) => {
                let mut attrs = window_attrs(window);
                attrs.insert(SUM.into(), Attr::Int(1));
                let list: Vec<(&str, Attr)> = attrs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
                cx.apply(&average_pool::DEF, &list, &[raised])?
            }
            None if rank < 2 => bail_invalid!("the input must have batch and channels"),
            // No axes at all would be all of them.
            None if rank == 2 => raised,
            None => {
                let axes = cx.integers(&(2..rank as i64).collect::<Vec<_>>());
                cx.apply(&reduce::SUM, &[], &[raised, axes])?
            }
        };
        Ok(vec![match self.p {
            1.0 => sum,
            2.0 => cx.apply(&unary::SQRT, &[], &[sum])?,
            p => {
                let by = cx.number(dtype, 1.0 / f64::from(p))?;
                cx.apply(&pow::DEF, &[], &[sum, by])?
            }
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, ints, parse, refusal, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn norms_under_windows() {
        // The border of a row of five: windows of three, one element of padding at each end.
        let x = Tensor::from_vec(&[1, 1, 5], vec![3f32, -4.0, 12.0, 0.5, -2.0]);
        let list = [("kernel_shape", ints(&[3])), ("pads", ints(&[1, 1])), ("strides", ints(&[2]))];
        for (p, want) in [(1, [7.0, 16.5, 2.5]), (2, [5.0, 160.25f32.sqrt(), 4.25f32.sqrt()])] {
            let list = [&list[..], &[("p", Attr::Int(p))]].concat();
            let y = run(&*parse("LpPool", 22, &list, 1, 1).unwrap(), &[&x], &[]).unwrap();
            assert_close(&y[0], &Tensor::from_vec(&[1, 1, 3], want.to_vec()), 1e-6);
        }
        let list = [&list[..], &[("p", Attr::Int(3)), ("ceil_mode", Attr::Int(1))]].concat();
        run(&*parse("LpPool", 18, &list, 1, 1).unwrap(), &[&sample(&[2, 3, 7], 5)], &[]).unwrap();
        for rank in 1..=3 {
            let shape: Vec<usize> = [2, 3].into_iter().chain((0..rank).map(|i| i + 4)).collect();
            let list = [("kernel_shape", ints(&vec![2; rank])), ("dilations", ints(&vec![2; rank]))];
            run(&*parse("LpPool", 22, &list, 1, 1).unwrap(), &[&sample(&shape, 5)], &[]).unwrap();
        }
    }

    #[test]
    fn norms_of_channels() {
        let x = Tensor::from_vec(&[1, 2, 2, 1], vec![3f32, -4.0, 12.0, -5.0]);
        for (p, want) in [(Attr::Int(1), [7.0f32, 17.0]), (Attr::Int(2), [5.0, 13.0])] {
            let y = run(&*parse("GlobalLpPool", 2, &[("p", p)], 1, 1).unwrap(), &[&x], &[]).unwrap();
            assert_close(&y[0], &Tensor::from_vec(&[1, 2, 1, 1], want.to_vec()), 1e-6);
        }
        run(&*parse("GlobalLpPool", 1, &[("p", Attr::Float(2.5))], 1, 1).unwrap(), &[&x], &[]).unwrap();
    }

    #[test]
    fn refusals() {
        assert!(parse("GlobalLpPool", 2, &[("p", Attr::Int(0))], 1, 1).is_err());
        let op = parse("GlobalLpPool", 2, &[], 1, 1).unwrap();
        assert!(refusal(&*op, &[&[3]]).contains("batch and channels"));
    }
}
