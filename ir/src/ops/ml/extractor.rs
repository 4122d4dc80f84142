//! `ai.onnx.ml.ArrayFeatureExtractor`: columns by their numbers.
//!
//! Spec: version 1. `y[.., j] = x[.., indices[j]]`; of a vector the result is a row. Made of a `Gather`.

use crate::error::Result;
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::ops::composed::{Composed, Composer, Value, composed, required};

/// `ArrayFeatureExtractor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayFeatureExtractor;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(ArrayFeatureExtractor))
}

/// `ai.onnx.ml.ArrayFeatureExtractor`.
pub const DEF: OpDef = OpDef {
    name: "ArrayFeatureExtractor",
    domain: super::DOMAIN,
    since: (1, 1),
    parse,
    unsupported: "strings",
};

impl Op for ArrayFeatureExtractor {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        super::DOMAIN
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!();
}

impl Composed for ArrayFeatureExtractor {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, indices) = (required(inputs, 0)?, required(inputs, 1)?);
        let mut shape = cx.extents(x, "an array")?;
        let count: i64 = cx.extents(indices, "indices")?.iter().product();
        let indices = cx.reshape(indices, &[count])?;
        let y = cx.gather(x, indices, -1)?;
        if shape.len() == 1 {
            shape.insert(0, 1);
        }
        if let Some(last) = shape.last_mut() {
            *last = count;
        }
        Ok(vec![cx.reshape(y, &shape)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn columns_and_rows() {
        let op = parse("ai.onnx.ml::ArrayFeatureExtractor", 1, &[], 2, 1).unwrap();
        let indices = Tensor::from_vec(&[1, 3], vec![2i64, 0, 2]);
        let y = run(&*op, &[&sample(&[2, 4], 3), &indices], &[]).unwrap();
        assert_eq!(y[0].shape, [2, 3]);
        let y = run(&*op, &[&sample(&[4], 3), &indices], &[1]).unwrap();
        assert_eq!(y[0].shape, [1, 3]);
    }
}
