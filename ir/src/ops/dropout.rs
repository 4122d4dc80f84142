//! `Dropout`, as it is when a trained model runs: the input, unchanged.
//!
//! Spec: ONNX Dropout, versions 1 to 24. The optional second output, the mask of kept elements, is all true.
//! Ratio and seed have no effect.
//!
//! Unsupported: training mode (`training_mode` true, from 12), which draws random numbers, but with a ratio of 0.

use super::{movement, operand};
use crate::error::Result;
use crate::kernel::{Lowering, Scalar};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// `Dropout` at inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// Whether the mask is asked for.
    pub mask: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=3, 1..=2)?;
    node.float("ratio")?;
    node.int("seed")?;
    Ok(Box::new(Dropout { mask: node.outputs == 2 }))
}

/// `Dropout`.
pub const DEF: OpDef =
    OpDef { name: "Dropout", domain: "", since: (1, 22), parse, unsupported: "training mode" };

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "Dropout"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !x.dtype.is_float() {
            bail_invalid!("takes floats, found {}", x.dtype);
        }
        let ratio = inputs.get(1).copied().flatten().and_then(Fact::tensor);
        let drops_nothing = ratio.is_some_and(|t| t.to_f64s().is_ok_and(|v| v.iter().all(|r| *r == 0.0)));
        if let Some(training) = inputs.get(2).copied().flatten().filter(|_| !drops_nothing) {
            match training.tensor().map(|t| t.data.iter().any(|b| *b != 0)) {
                Some(false) => {}
                Some(true) => {
                    bail_unsupported!("training mode is not supported: export the model for inference")
                }
                None => bail_unsupported!(
                    "training mode that is chosen at run time is not supported: export the model for inference"
                ),
            }
        }
        let mask = self.mask.then(|| Fact::new(DType::Bool, x.shape.clone()));
        Ok(std::iter::once(x.clone()).chain(mask).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let mask = self.mask.then(|| Tensor::from_bools(&x.shape, std::iter::repeat_n(true, x.elements())));
        Ok(std::iter::once(x.clone()).chain(mask).collect())
    }

    fn hands_on(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        movement::copy_to(cx, y, x, movement::each);
        if self.mask {
            cx.fill(cx.output(1)?, Scalar::int(DType::Bool, 1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_everything() {
        let x = Tensor::from_vec(&[2], vec![1f32, 2.0]);
        let y = Dropout { mask: true }.eval(&[Some(&x)]).unwrap();
        assert_eq!(y, [x.clone(), Tensor::from_bools(&[2], [true, true])]);
        // In training nothing else does but a ratio of 0.
        let training = Fact::of(&Tensor::from_bools(&[], [true]));
        for (ratio, good) in [(0.5f32, false), (0.0, true)] {
            let inputs = [Fact::of(&x), Fact::of(&Tensor::scalar(ratio)), training.clone()];
            assert_eq!(Dropout { mask: false }.infer(&inputs.each_ref().map(Some)).is_ok(), good);
        }
        let op = Dropout { mask: false };
        assert!(op.infer(&[Some(&Fact::of(&x)), None, Some(&training)]).is_err());
    }
}
