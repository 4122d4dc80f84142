//! `Hardmax`: 1 at the first greatest element along an axis, 0 elsewhere (ONNX, since 1, 11 and 13).
//!
//! Before opset 13 over `axis` and all later axes together, with another default axis, as `Softmax`: such a node shows it by
//! the attribute `kiln.coerced`.

use super::attend::positions;
use super::composed::{Composed, Composer, Value, composed, required};
use super::{arg, binary, flatten, reshape, shape};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};

/// Shows in text forms that a node has the meaning of opsets before 13.
const COERCED: &str = "kiln.coerced";

/// The definition.
pub const DEF: OpDef = OpDef { name: "Hardmax", domain: "", since: (1, 13), parse, unsupported: "" };

/// ONNX `Hardmax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardmax {
    /// The axis, negative from the end.
    pub axis: i64,
    /// All later axes too, as before opset 13.
    pub coerced: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let coerced = node.flag(COERCED, node.opset < 13)?;
    let axis = node.int("axis")?.unwrap_or(if coerced { 1 } else { -1 });
    Ok(Box::new(Hardmax { axis, coerced }))
}

impl Op for Hardmax {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let axis = ("axis".to_owned(), Attr::Int(self.axis));
        std::iter::once(axis).chain(self.coerced.then(|| (COERCED.to_owned(), Attr::Int(1)))).collect()
    }

    composed!();
}

impl Composed for Hardmax {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let x = required(inputs, 0)?;
        if !cx.fact(x).dtype.is_float() {
            bail_invalid!("takes floats, found {}", cx.fact(x).dtype);
        }
        if !self.coerced {
            let axis = cx.fact(x).shape.axis(self.axis)?;
            return Ok(vec![greatest(cx, x, axis)?]);
        }
        let flat = cx.apply(&flatten::DEF, &[("axis", Attr::Int(self.axis))], &[x])?;
        let y = greatest(cx, flat, 1)?;
        let extents = cx.apply(&shape::DEF, &[], &[x])?;
        Ok(vec![cx.apply(&reshape::DEF, &[("allowzero", Attr::Int(1))], &[y, extents])?])
    }
}

fn greatest(cx: &mut Composer<'_>, x: Value, axis: usize) -> Result<Value> {
    let fact = cx.fact(x).clone();
    let first = cx.apply(&arg::MAX, &[("axis", Attr::Int(axis as i64))], &[x])?;
    let at = positions(cx, x, axis)?;
    let behind = fact.shape.rank() - axis - 1;
    let at = if behind == 0 { at } else { cx.unsqueeze(at, &(1..=behind as i64).collect::<Vec<_>>())? };
    let is = cx.apply(&binary::EQUAL, &[], &[first, at])?;
    cx.cast(is, fact.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn the_first_of_the_greatest() {
        // The node cases `hardmax_example` and `hardmax_one_hot`.
        let x = [[3.0f32, 0.0, 1.0, 2.0], [2.0, 5.0, 1.0, 0.0], [0.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]];
        let one = [[1.0f32, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let op = parse("Hardmax", 13, &[], 1, 1).unwrap();
        let y = run(&*op, &[&Tensor::from_vec(&[4, 4], x.concat())], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[4, 4], one.concat()));
        let tie = Tensor::from_vec(&[1, 4], vec![3f32, 3.0, 3.0, 1.0]);
        assert_eq!(run(&*op, &[&tie], &[]).unwrap()[0], Tensor::from_vec(&[1, 4], one[0].to_vec()));
    }

    #[test]
    fn any_axis_and_coercion() {
        let x = sample(&[2, 3, 4], 5);
        for opset in [11, 13] {
            for axis in -3..3 {
                let op = parse("Hardmax", opset, &[("axis", Attr::Int(axis))], 1, 1).unwrap();
                run(&*op, &[&x], &[]).unwrap();
            }
        }
        let y = run(&*parse("Hardmax", 11, &[], 1, 1).unwrap(), &[&x], &[]).unwrap();
        assert_eq!(y[0].to_f64s().unwrap().iter().sum::<f64>(), 2.0, "one of each batch");
    }
}
