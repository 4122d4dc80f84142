//! `GlobalMaxPool`: the maximum of each channel (ONNX `GlobalMaxPool`, since 1 and 22).
//!
//! ```text
//! y[n, c, 0...] = max over q of x[n, c, q...]
//! ```
//!
//! Shapes: x `[N, C, ...]`, y `[N, C, 1...]`. Numerics and lowering: those of `ReduceMax` (see [`super::reduce`]).
//!
//! f16 and bf16 are computed in f32.

use super::reduce::Reduction;
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
        pub const DEF: crate::op::OpDef = crate::op::OpDef {
            name: $name,
            domain: "",
            since: (1, 22),
            parse: |node| {
                node.arity(1..=1, 1..=1)?;
                Ok(Box::new($op))
            },
            unsupported: "",
        };

        #[doc = concat!("ONNX `", $name, "`.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $op;

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

            fn takes_short_floats(&self) -> bool {
                false
            }

            fn lower(&self, cx: &mut crate::kernel::Lowering<'_>) -> crate::error::Result<()> {
                let reduced = super::global_max_pool::reduced(cx.fact(0)?.shape.rank());
                super::reduce::lower(cx, $kind, &reduced, true)
            }
        }
    };
}
pub(super) use global_pool;

global_pool!(GlobalMaxPool, "GlobalMaxPool", Reduction::Max);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::op::Fact;
    use crate::ops::testing::{parse, refusal, run, sample};
    use crate::tensor::Tensor;
    use crate::types::DType;

    #[test]
    fn global_pools() {
        let x = Tensor::from_vec(&[1, 2, 2, 2], (1..=8).map(|v| v as f32).collect());
        for (name, expected) in [("GlobalMaxPool", [4f32, 8.0]), ("GlobalAveragePool", [2.5, 6.5])] {
            let op = parse(name, 22, &[], 1, 1).unwrap();
            let y = run(&*op, &[&x], &[]).unwrap();
            assert_eq!(y[0], Tensor::from_vec(&[1, 2, 1, 1], expected.to_vec()));
            run(&*op, &[&sample(&[2, 3, 5], 5)], &[]).unwrap();
            run(&*op, &[&sample(&[2, 3, 2, 3, 2], 5)], &[]).unwrap();
            assert!(refusal(&*op, &[&[3]]).contains("batch and channels"));
            let open = Shape(vec![Dim::symbol("n"), 3i64.into(), Dim::symbol("h")]);
            let y = op.infer(&[Some(&Fact::new(DType::F32, open))]).unwrap();
            assert_eq!(y[0].shape.to_string(), "[n, 3, 1]");
        }
    }
}
