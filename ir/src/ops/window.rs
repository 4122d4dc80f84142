//! `HannWindow`, `HammingWindow` and `BlackmanWindow`: weights of the samples of a frame.
//!
//! Spec: ONNX, version 17. With `n` the size, less 1 unless `periodic`, and `a` the angle `2 pi i / n`:
//!
//! ```text
//! Hann      1/2 - 1/2 cos a
//! Hamming   25/46 - 21/46 cos a
//! Blackman  0.42 - 0.5 cos a + 0.08 cos 2a
//! ```
//!
//! Unsupported: a size computed at run time.

use super::composed::{Composed, Composer, Value, composed, required};
use super::values::from_f64s;
use super::{declared, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::limits::MAX_ELEMENTS;
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::types::DType;

/// A window, by the factors of the cosines of 0, a and 2a.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// ONNX's name.
    pub name: &'static str,
    /// The factors.
    pub factors: [f64; 3],
    /// Whether the sample behind the last one would be the first again.
    pub periodic: bool,
    /// The type of the result.
    pub dtype: DType,
}

fn parse(node: &mut NodeProto<'_>, name: &'static str, factors: [f64; 3]) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let periodic = node.flag("periodic", true)?;
    let number = node.int("output_datatype")?.unwrap_or(1);
    let dtype = i32::try_from(number).ok().and_then(|n| DType::from_onnx(n).ok());
    match dtype {
        Some(dtype) if dtype.is_float() || dtype.is_int() => {
            Ok(Box::new(Window { name, factors, periodic, dtype }))
        }
        _ => bail_invalid!("attribute 'output_datatype' must name a type of numbers, found {number}"),
    }
}

macro_rules! windows {
    ($($(#[$doc:meta])* $id:ident $name:literal $factors:expr;)*) => { $(
        $(#[$doc])*
        pub const $id: OpDef = OpDef {
            name: $name,
            domain: "",
            since: (17, 17),
            parse: |node| parse(node, $name, $factors),
            unsupported: "a size computed at run time",
        };
    )* };
}

windows! {
    /// `BlackmanWindow`.
    BLACKMAN "BlackmanWindow" [0.42, -0.5, 0.08];
    /// `HammingWindow`.
    HAMMING "HammingWindow" [25.0 / 46.0, -21.0 / 46.0, 0.0];
    /// `HannWindow`.
    HANN "HannWindow" [0.5, -0.5, 0.0];
}

impl Op for Window {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("periodic".to_owned(), Attr::Int(self.periodic.into())),
            ("output_datatype".to_owned(), Attr::Int(self.dtype.to_onnx().into())),
        ])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (size, extents) = (inputs.first().copied().flatten()?, declared::extents(outputs, 0)?);
        Some(Declared { operand: 0, value: declared::constant(size, &extents)?, check: Check::Equal })
    }

    composed!();
}

impl Composed for Window {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let sizes = operand::ints(cx.fact(required(inputs, 0)?), "the size")?;
        let size = match sizes[..] {
            [size] if (0..=MAX_ELEMENTS >> 12).contains(&size) => size as usize,
            _ => bail_invalid!("the size must be a single number from 0 to 2^28, found {sizes:?}"),
        };
        let n = if self.periodic { size as f64 } else { size as f64 - 1.0 };
        let weight = |i: usize| {
            let angle = if n > 0.0 { std::f64::consts::TAU * i as f64 / n } else { 0.0 };
            let [a, b, c] = self.factors;
            a + b * angle.cos() + c * (2.0 * angle).cos()
        };
        let values = (0..size).map(weight).collect();
        let tensor = from_f64s(self.dtype, &[size], values)?;
        Ok(vec![cx.constant(tensor)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};
    use crate::tensor::Tensor;

    #[test]
    fn ends_and_middles() {
        for (name, end, middle) in
            [("HannWindow", 0.0, 1.0), ("HammingWindow", 4.0 / 46.0, 1.0), ("BlackmanWindow", 0.0, 1.0)]
        {
            for (periodic, size) in [(1, 8usize), (0, 9)] {
                let list = [("periodic", Attr::Int(periodic))];
                let op = parse(name, 17, &list, 1, 1).unwrap();
                let y = run(&*op, &[&Tensor::scalar(size as i64)], &[0]).unwrap()[0].to_f64s().unwrap();
                assert_eq!(y.len(), size);
                assert!((y[0] - end).abs() < 1e-6 && (y[4] - middle).abs() < 1e-6, "{name} {y:?}");
            }
        }
    }
}
