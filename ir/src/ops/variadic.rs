//! `Max`, `Min`, `Sum` and `Mean`: elementwise over any number of inputs that broadcast.
//!
//! Spec: the ONNX operator of each name, versions 8 to 24 (1 and 6 without broadcasting, which is a special case).
//! All inputs have one type; integers for `Max` and `Min` only. NaN wins over any number, as in NumPy.
//! `Mean` multiplies the sum with the reciprocal of the number of inputs.

use super::elementwise::{nan_max, nan_min, num};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{BinaryOp, Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// An elementwise operator of any number of inputs.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variadic {
    Max,
    Mean,
    Min,
    Sum,
}

fn parse(op: Variadic, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=usize::MAX, 1..=1)?;
    Ok(Box::new(op))
}

macro_rules! defs {
    ($($def:ident $kind:ident $newest:literal;)*) => { $(
        #[doc = concat!("`", stringify!($kind), "`.")]
        pub const $def: OpDef = OpDef {
            name: stringify!($kind),
            domain: "",
            since: (1, $newest),
            parse: |node| parse(Variadic::$kind, node),
            unsupported: "",
        };
    )* };
}
defs! {
    MAX Max 13;
    MEAN Mean 13;
    MIN Min 13;
    SUM Sum 13;
}

impl Op for Variadic {
    fn name(&self) -> &'static str {
        match self {
            Self::Max => "Max",
            Self::Mean => "Mean",
            Self::Min => "Min",
            Self::Sum => "Sum",
        }
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let facts = operand::all(inputs)?;
        let dtype = operand::same_types(&facts)?;
        let integers = dtype.is_int() && matches!(self, Self::Max | Self::Min);
        if !dtype.is_float() && !integers {
            bail_invalid!("does not take elements of type {dtype}");
        }
        let shape = operand::checked(broadcast::shapes(facts.iter().map(|f| &f.shape))?)?;
        let extreme = |a: &Dim, b: &Dim| match self {
            Self::Max => Some(a.max_with(b)),
            Self::Min => Some(a.min_with(b)),
            Self::Mean | Self::Sum => None,
        };
        let known = match &facts[..] {
            [a, b] => operand::zip_known(a, b, extreme),
            _ => None,
        };
        Ok(vec![operand::with_dims(dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let all = operand::all(inputs)?;
        let Some(dtype) = all.first().map(|t| t.dtype) else {
            bail_invalid!("needs at least 1 input, found 0")
        };
        let y = match self {
            Self::Sum => broadcast::map_floats(dtype, &all, |v| v.iter().sum()),
            Self::Mean => broadcast::map_floats(dtype, &all, |v| v.iter().sum::<f64>() / v.len() as f64),
            Self::Max if dtype.is_float() => {
                broadcast::map_floats(dtype, &all, |v| v[1..].iter().fold(v[0], |a, &b| nan_max(a, b)))
            }
            Self::Min if dtype.is_float() => {
                broadcast::map_floats(dtype, &all, |v| v[1..].iter().fold(v[0], |a, &b| nan_min(a, b)))
            }
            Self::Max => broadcast::map(dtype, &all, |v| int_fold(v, i128::max)),
            Self::Min => broadcast::map(dtype, &all, |v| int_fold(v, i128::min)),
        };
        Ok(vec![y?])
    }

    fn takes_short_floats(&self) -> bool {
        // Sums would round at each step.
        matches!(self, Self::Max | Self::Min)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        let op = match self {
            Self::Max => BinaryOp::Max,
            Self::Min => BinaryOp::Min,
            Self::Mean | Self::Sum => BinaryOp::Add,
        };
        let count = cx.input_count();
        cx.pointwise_fold(op, |all| match self {
            Self::Mean if count > 1 => Expr::binary(BinaryOp::Mul, all, num(dtype, 1.0 / count as f64)),
            _ => all,
        })
    }
}

fn int_fold(values: &[Number], f: impl Fn(i128, i128) -> i128) -> Number {
    Number::Int(values[1..].iter().fold(values[0].int(), |a, b| f(a, b.int())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combines_all_inputs() {
        let v = |v: [f32; 3]| Tensor::from_vec(&[3], v.to_vec());
        let (a, b, c) = (v([3.0, 2.0, 1.0]), v([1.0, 4.0, 4.0]), v([2.0, 5.0, 3.0]));
        let all = [Some(&a), Some(&b), Some(&c)];
        assert_eq!(Variadic::Max.eval(&all).unwrap()[0], v([3.0, 5.0, 4.0]));
        assert_eq!(Variadic::Min.eval(&all).unwrap()[0], v([1.0, 2.0, 1.0]));
        assert_eq!(Variadic::Sum.eval(&all).unwrap()[0], v([6.0, 11.0, 8.0]));
        assert_eq!(Variadic::Mean.eval(&[Some(&a), Some(&b)]).unwrap()[0], v([2.0, 3.0, 2.5]));
        assert_eq!(Variadic::Max.eval(&[Some(&a)]).unwrap()[0], a);
    }

    #[test]
    fn thousands_of_inputs_need_no_deep_expression() {
        let tensors: Vec<Tensor> =
            (0..5000).map(|i| Tensor::from_vec::<f32>(&[2], vec![(i % 17) as f32, 1.0])).collect();
        let inputs: Vec<&Tensor> = tensors.iter().collect();
        for op in [Variadic::Sum, Variadic::Max, Variadic::Mean] {
            crate::ops::testing::run(&op, &inputs, &[]).unwrap();
        }
    }

    #[test]
    fn nan_wins_and_integers_are_exact() {
        let (a, b) = (Tensor::scalar(f32::NAN), Tensor::scalar(1f32));
        for op in [Variadic::Max, Variadic::Min] {
            for inputs in [[Some(&a), Some(&b)], [Some(&b), Some(&a)]] {
                assert!(op.eval(&inputs).unwrap()[0].to_f64s().unwrap()[0].is_nan());
            }
        }
        let (a, b) = (Tensor::scalar(u64::MAX), Tensor::scalar(u64::MAX - 1));
        assert_eq!(Variadic::Max.eval(&[Some(&b), Some(&a)]).unwrap()[0], a);
        assert!(Variadic::Sum.infer(&[Some(&Fact::of(&a))]).is_err());
    }
}
