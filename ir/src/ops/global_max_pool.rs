//! `GlobalMaxPool`: the maximum of each channel (ONNX `GlobalMaxPool`, since 1 and 22).
//!
//! ```text
//! y[n, c, 0...] = max over q of x[n, c, q...]
//! ```
//!
//! Shapes: x `[N, C, ...]`, y `[N, C, 1...]`. Numerics and lowering: those of `ReduceMax` (see [`super::reduce`]).
//!
//! Unsupported: compiled code for f16 and bf16.

use super::reduce::Kind;
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::types::Shape;

/// The result's shape: everything behind batch and channels becomes 1.
pub(super) fn pooled(x: &Shape) -> Result<Shape> {
    if x.rank() < 2 {
        bail_invalid!("the input must have batch and channels, found {x}");
    }
    Ok(x.iter().enumerate().map(|(i, d)| if i < 2 { d.clone() } else { Dim::Const(1) }).collect())
}

/// Which axes a global pool reduces.
pub(super) fn reduced(rank: usize) -> Vec<bool> {
    (0..rank).map(|i| i >= 2).collect()
}

/// A global pool: a reduction over all spatial axes, which are kept.
macro_rules! global_pool {
    ($op:ident, $name:literal, $kind:expr) => {
        /// The definition.
        pub(super) const DEF: crate::op::OpDef = crate::op::OpDef {
            name: $name,
            domain: "",
            since: (1, 22),
            parse: |node| {
                node.arity(1..=1, 1..=1)?;
                Ok(Box::new($op))
            },
            unsupported: "f16 and bf16",
        };

        #[doc = concat!("ONNX `", $name, "`.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $op;

        impl crate::op::Op for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn attrs(&self) -> crate::op::Attrs {
                crate::op::Attrs::new()
            }

            fn infer(
                &self,
                inputs: &[Option<&crate::op::Fact>],
            ) -> crate::error::Result<Vec<crate::op::Fact>> {
                let x = super::operand::fact(inputs, 0)?;
                let dtype = super::values::float(x, "the input")?;
                Ok(vec![crate::op::Fact::new(dtype, super::global_max_pool::pooled(&x.shape)?)])
            }

            fn eval(
                &self,
                inputs: &[Option<&crate::tensor::Tensor>],
            ) -> crate::error::Result<Vec<crate::tensor::Tensor>> {
                let x = super::operand::tensor(inputs, 0)?;
                let reduced = super::global_max_pool::reduced(x.shape.len());
                Ok(vec![super::reduce::reduce($kind, x, &reduced)?])
            }

            fn lower(&self, cx: &mut crate::kernel::Lowering<'_>) -> crate::error::Result<()> {
                let reduced = super::global_max_pool::reduced(cx.fact(0)?.shape.rank());
                super::reduce::lower(cx, $kind, &reduced, true)
            }
        }
    };
}
pub(super) use global_pool;

global_pool!(GlobalMaxPool, "GlobalMaxPool", Kind::Max);
