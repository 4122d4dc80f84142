//! `LpNormalization`: division by the norm along an axis (ONNX, since 1 and 22).
//!
//! ```text
//! y = x / (sum over axis of |x|^p)^(1/p)        p 1 or 2
//! ```
//!
//! Numerics: in the element type; zeros alone give NaN.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, reduce};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};

/// The definition.
pub const DEF: OpDef = OpDef { name: "LpNormalization", domain: "", since: (1, 22), parse, unsupported: "" };

/// ONNX `LpNormalization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpNormalization {
    /// The axis, negative from the end.
    pub axis: i64,
    /// Which norm: 1 or 2.
    pub p: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let (axis, p) = (node.int("axis")?.unwrap_or(-1), node.int("p")?.unwrap_or(2));
    if !matches!(p, 1 | 2) {
        bail_invalid!("attribute 'p' must be 1 or 2, found {p}");
    }
    Ok(Box::new(LpNormalization { axis, p }))
}

impl Op for LpNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("axis".to_owned(), Attr::Int(self.axis)), ("p".to_owned(), Attr::Int(self.p))])
    }

    composed!();
}

impl Composed for LpNormalization {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        if !cx.fact(x).dtype.is_float() {
            bail_invalid!("takes floats, found {}", cx.fact(x).dtype);
        }
        let axis = cx.integers(&[self.axis]);
        let norm = cx.apply(if self.p == 1 { &reduce::L1 } else { &reduce::L2 }, &[], &[x, axis])?;
        Ok(vec![cx.apply(&binary::DIV, &[], &[x, norm])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn rows_and_columns() {
        let x = Tensor::from_vec(&[2, 2], vec![3f32, 4.0, 6.0, -8.0]);
        for (list, want) in [
            (&[][..], [0.6f32, 0.8, 0.6, -0.8]),
            (&[("p", Attr::Int(1))], [3.0 / 7.0, 4.0 / 7.0, 6.0 / 14.0, -8.0 / 14.0]),
            (&[("p", Attr::Int(1)), ("axis", Attr::Int(0))], [3.0 / 9.0, 4.0 / 12.0, 6.0 / 9.0, -8.0 / 12.0]),
        ] {
            let y = run(&*parse("LpNormalization", 22, list, 1, 1).unwrap(), &[&x], &[]).unwrap();
            assert_close(&y[0], &Tensor::from_vec(&[2, 2], want.to_vec()), 1e-6);
        }
        let op = parse("LpNormalization", 1, &[("axis", Attr::Int(1))], 1, 1).unwrap();
        run(&*op, &[&sample(&[2, 3, 4], 5)], &[]).unwrap();
        assert!(parse("LpNormalization", 22, &[("p", Attr::Int(3))], 1, 1).is_err());
    }
}
