//! `Identity`: the input, unchanged.
//!
//! Spec: ONNX Identity, versions 1 to 24. Known elements stay known. Sequences and optional values are no
//! tensors and unsupported.

use super::{movement, operand};
use crate::error::Result;
use crate::kernel::Lowering;
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// `Identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Identity))
}

/// `Identity`.
pub const DEF: OpDef =
    OpDef { name: "Identity", domain: "", since: (1, 24), parse, unsupported: "sequences, optional values" };

impl Op for Identity {
    fn name(&self) -> &'static str {
        "Identity"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        Ok(vec![operand::fact(inputs, 0)?.clone()])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![operand::tensor(inputs, 0)?.clone()])
    }

    fn hands_on(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        movement::copy_to(cx, y, x, movement::each);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_elements_stay_known() {
        let x = Tensor::from_vec(&[2], vec![1i64, 2]);
        assert_eq!(Identity.infer(&[Some(&Fact::of(&x))]).unwrap()[0], Fact::of(&x));
        assert_eq!(Identity.eval(&[Some(&x)]).unwrap()[0], x);
    }
}
