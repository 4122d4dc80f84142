//! `Upsample`: the older form of `Resize`.
//!
//! Spec: ONNX Upsample, versions 7 and 9. `scales`, an attribute in version 7 and an input since, multiply every axis;
//! positions of the result lie at `i / scale` of the source, and the nearest element is the one below.

use super::composed::{Composed, Composer, Value, composed};
use super::resize;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, error::Error};

/// `Upsample`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// Whether elements are interpolated.
    pub linear: bool,
    /// The scales, as an attribute.
    pub scales: Option<Vec<f32>>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let linear = match node.string("mode")?.as_deref() {
        None | Some("nearest") => false,
        Some("linear" | "bilinear") => true,
        Some(other) => bail_invalid!("attribute 'mode' must be nearest or linear, found '{other}'"),
    };
    let scales = node.floats("scales")?;
    let inputs = if scales.is_some() { 1 } else { 2 };
    node.arity(inputs..=inputs, 1..=1)?;
    Ok(Box::new(Upsample { linear, scales }))
}

/// `Upsample`.
pub const DEF: OpDef =
    OpDef { name: "Upsample", domain: "", since: (7, 9), parse, unsupported: "scales computed at run time" };

impl Op for Upsample {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mode = if self.linear { "linear" } else { "nearest" };
        let scales = self.scales.iter().map(|list| ("scales".to_owned(), Attr::Floats(list.clone())));
        scales.chain([("mode".to_owned(), Attr::Str(mode.to_owned()))]).collect()
    }

    composed!();
}

impl Composed for Upsample {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let missing = |i: usize| Error::invalid(format!("input {i} is left out"));
        let x = inputs.first().copied().flatten().ok_or_else(|| missing(0))?;
        let scales = match (&self.scales, inputs.get(1).copied().flatten()) {
            (Some(list), _) => cx.constant(Tensor::from_vec(&[list.len()], list.clone())),
            (None, given) => given.ok_or_else(|| missing(1))?,
        };
        let mode = if self.linear { "linear" } else { "nearest" };
        let text = |value: &str| Attr::Str(value.to_owned());
        let list = [
            ("mode", text(mode)),
            ("coordinate_transformation_mode", text("asymmetric")),
            ("nearest_mode", text("floor")),
        ];
        Ok(vec![cx.apply_optional(&resize::DEF, &list, &[Some(x), None, Some(scales)])?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};

    #[test]
    fn scales_are_an_attribute_or_an_input() {
        let x = Tensor::from_vec(&[1, 1, 1, 2], vec![1.0f32, 2.0]);
        let factors = vec![1.0f32, 1.0, 2.0, 3.0];
        let want = Tensor::from_vec(&[1, 1, 2, 6], [1.0f32, 1.0, 1.0, 2.0, 2.0, 2.0].repeat(2));
        let old = parse("Upsample", 7, &[("scales", Attr::Floats(factors.clone()))], 1, 1).unwrap();
        assert_eq!(run(&*old, &[&x], &[]).unwrap()[0], want);
        let new = parse("Upsample", 9, &[], 2, 1).unwrap();
        let scales = Tensor::from_vec(&[4], factors);
        assert_eq!(run(&*new, &[&x, &scales], &[1]).unwrap()[0], want);
    }
}
