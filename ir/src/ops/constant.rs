//! `Constant`: a tensor written into the node.
//!
//! Spec: ONNX Constant, versions 1 to 24. Exactly one of the attributes `value`, `value_float`, `value_floats`,
//! `value_int` and `value_ints` gives the elements; scalars have rank 0, lists rank 1.
//!
//! Unsupported: `sparse_value`, `value_string`, `value_strings`.

use super::operand;
use crate::error::Result;
use crate::kernel::{Lowering, Scalar};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, bail_unsupported};

/// `Constant`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The elements.
    pub value: Tensor,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(0..=0, 1..=1)?;
    for name in ["sparse_value", "value_string", "value_strings"] {
        if node.attrs.contains_key(name) {
            bail_unsupported!(
                "attribute '{name}' is not supported: give the elements as a dense tensor of numbers"
            );
        }
    }
    let values = [
        node.tensor("value")?,
        node.float("value_float")?.map(Tensor::scalar),
        node.floats("value_floats")?.map(|v| Tensor::from_vec(&[v.len()], v)),
        node.int("value_int")?.map(Tensor::scalar),
        node.ints("value_ints")?.map(|v| Tensor::from_vec(&[v.len()], v)),
    ];
    let mut given = values.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(value), None) => Ok(Box::new(Constant { value })),
        (None, _) => bail_invalid!("has no value"),
        (Some(_), Some(_)) => bail_invalid!("has more than one value"),
    }
}

/// `Constant`.
pub const DEF: OpDef =
    OpDef { name: "Constant", domain: "", since: (1, 24), parse, unsupported: "sparse and string values" };

impl Op for Constant {
    fn name(&self) -> &'static str {
        "Constant"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("value".to_owned(), Attr::Tensor(self.value.clone()))])
    }

    fn infer(&self, _inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        Ok(vec![Fact::of(&self.value)])
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.value.clone()])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let y = cx.output(0)?;
        if self.value.elements() == 1 && operand::movable(self.value.dtype).is_ok() {
            let mut bytes = [0; 8];
            bytes[..self.value.data.len()].copy_from_slice(&self.value.data);
            cx.fill(y, Scalar { dtype: self.value.dtype, bits: u64::from_le_bytes(bytes) });
        } else {
            let data = cx.constant("value", self.value.clone());
            super::movement::copy_to(cx, y, data, super::movement::each);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(attrs: &[(&str, Attr)]) -> Result<Tensor> {
        let mut attrs: Attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let op = parse(&mut NodeProto { attrs: &mut attrs, opset: 13, inputs: &[], outputs: 1 })?;
        Ok(op.eval(&[])?.swap_remove(0))
    }

    #[test]
    fn each_attribute_gives_its_type_and_rank() {
        assert_eq!(parsed(&[("value_int", Attr::Int(7))]).unwrap(), Tensor::scalar(7i64));
        assert_eq!(
            parsed(&[("value_floats", Attr::Floats(vec![1.0, 2.0]))]).unwrap(),
            Tensor::from_vec(&[2], vec![1f32, 2.0])
        );
    }

    #[test]
    fn none_or_two_values_are_invalid() {
        assert!(parsed(&[]).is_err());
        assert!(parsed(&[("value_int", Attr::Int(7)), ("value_float", Attr::Float(1.0))]).is_err());
    }
}
