//! Elementwise operators of one input without attributes.
//!
//! Spec: the ONNX operator of each name, from the version that introduced it up to 24. `y[i] = f(x[i])`;
//! the output has the input's shape and, except for `IsNaN`, its type. The table gives for each operator the
//! formula in f64 (or exact integers) that the interpreter uses and the expression that kernels compute; an operator
//! that is one scalar function takes both from that function's row.
//!
//! Numerics: the interpreter rounds the f64 result once. Kernels compute in the element type; `HardSwish` and `Mish` are
//! written such that no intermediate result overflows or cancels. Integer `Abs` and `Neg` of the
//! least value wrap to it.

use super::elementwise::{add, div, max, min, mul, nan_max, nan_min, num, un};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{Expr, Lowering, UnaryOp as U};
use crate::numerics::{Number, softplus};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// One line of the table.
struct Formula {
    name: &'static str,
    float: Option<fn(f64) -> f64>,
    int: Option<fn(i128) -> i128>,
    boolean: Option<fn(bool) -> bool>,
    result: Option<DType>,
    expr: fn(DType, Expr) -> Expr,
}

/// Which operator of the table.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryKind {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitwiseNot,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    HardSwish,
    IsNaN,
    Log,
    Mish,
    Neg,
    Not,
    Reciprocal,
    Relu,
    Round,
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Sqrt,
    Tan,
    Tanh,
}

/// An elementwise operator of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unary(pub UnaryKind);

const FLOAT: Formula =
    Formula { name: "", float: None, int: None, boolean: None, result: None, expr: |_, x| x };

/// `x tanh(ln(1 + e^x))`, where the tangent is `n / (n + 2)` with `n = e^x (e^x + 2)`: 1 from 40 on.
fn mish(dtype: DType, x: Expr) -> Expr {
    let e = un(U::Exp, min(x.clone(), num(dtype, 40.0)));
    let n = mul(e.clone(), add(e, num(dtype, 2.0)));
    mul(x, div(n.clone(), add(n, num(dtype, 2.0))))
}

impl UnaryKind {
    fn formula(self) -> Formula {
        // Scalar functions under their own names: the row says what they mean.
        macro_rules! direct {
            ($op:ident) => {
                direct!(stringify!($op), $op)
            };
            ($name:expr, $op:ident) => {
                Formula {
                    name: $name,
                    float: U::$op.of_floats(),
                    int: U::$op.of_ints(),
                    boolean: U::$op.of_bools(),
                    result: (U::$op.result(DType::F32) == DType::Bool).then_some(DType::Bool),
                    expr: |_, x| un(U::$op, x),
                }
            };
        }
        match self {
            Self::Abs => direct!(Abs),
            Self::Neg => direct!(Neg),
            Self::Sign => direct!(Sign),
            Self::Acos => direct!(Acos),
            Self::Acosh => direct!(Acosh),
            Self::Asin => direct!(Asin),
            Self::Asinh => direct!(Asinh),
            Self::Atan => direct!(Atan),
            Self::Atanh => direct!(Atanh),
            Self::Ceil => direct!(Ceil),
            Self::Cos => direct!(Cos),
            Self::Cosh => direct!(Cosh),
            Self::Erf => direct!(Erf),
            Self::Exp => direct!(Exp),
            Self::Floor => direct!(Floor),
            Self::Log => direct!(Log),
            Self::Round => direct!(Round),
            Self::Sigmoid => direct!(Sigmoid),
            Self::Sin => direct!(Sin),
            Self::Sinh => direct!(Sinh),
            Self::Sqrt => direct!(Sqrt),
            Self::Tan => direct!(Tan),
            Self::Tanh => direct!(Tanh),
            Self::Not => direct!(Not),
            Self::BitwiseNot => direct!("BitwiseNot", BitNot),
            Self::IsNaN => direct!("IsNaN", IsNan),
            Self::Reciprocal => Formula {
                name: "Reciprocal",
                float: Some(f64::recip),
                expr: |t, x| div(num(t, 1.0), x),
                ..FLOAT
            },
            Self::Relu => Formula {
                name: "Relu",
                float: Some(|x| nan_max(x, 0.0)),
                int: Some(|x| x.max(0)),
                expr: |t, x| max(x, num(t, 0.0)),
                ..FLOAT
            },
            Self::HardSwish => Formula {
                name: "HardSwish",
                float: Some(|x| x * (nan_max(nan_min(x + 3.0, 6.0), 0.0) / 6.0)),
                // The sum is exact near -3, where it cancels.
                expr: |t, x| {
                    let gate = max(min(add(x.clone(), num(t, 3.0)), num(t, 6.0)), num(t, 0.0));
                    mul(x, mul(gate, num(t, 1.0 / 6.0)))
                },
                ..FLOAT
            },
            Self::Mish => {
                Formula { name: "Mish", float: Some(|x| x * softplus(x).tanh()), expr: mish, ..FLOAT }
            }
            Self::Softplus => direct!(Softplus),
            Self::Softsign => Formula {
                name: "Softsign",
                float: Some(|x| x / (1.0 + x.abs())),
                expr: |t, x| div(x.clone(), add(num(t, 1.0), un(U::Abs, x))),
                ..FLOAT
            },
        }
    }
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.0.formula().name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        let formula = self.0.formula();
        let accepted = match x.dtype {
            DType::Bool => formula.boolean.is_some(),
            t if t.is_float() => formula.float.is_some(),
            t => t.is_int() && formula.int.is_some() && !(self.0 == UnaryKind::Neg && t.is_unsigned_int()),
        };
        if !accepted {
            bail_invalid!("does not take elements of type {}", x.dtype);
        }
        Ok(vec![Fact::new(formula.result.unwrap_or(x.dtype), x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let formula = self.0.formula();
        let result = formula.result.unwrap_or(x.dtype);
        let wrong = || Error::internal(format!("elements of type {}", x.dtype));
        let y = match x.dtype {
            DType::Bool => {
                let f = formula.boolean.ok_or_else(wrong)?;
                broadcast::map(result, &[x], |v| Number::Int(f(v[0].int() != 0).into()))
            }
            t if t.is_float() => {
                let f = formula.float.ok_or_else(wrong)?;
                broadcast::map_floats(result, &[x], |v| f(v[0]))
            }
            _ => {
                let f = formula.int.ok_or_else(wrong)?;
                broadcast::map(result, &[x], |v| Number::Int(f(v[0].int())))
            }
        };
        Ok(vec![y?])
    }

    fn takes_short_floats(&self) -> bool {
        // Formulas of several steps would round at each.
        !matches!(self.0, UnaryKind::HardSwish | UnaryKind::Mish | UnaryKind::Softsign)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        let expr = self.0.formula().expr;
        cx.pointwise(|mut x| Ok(expr(dtype, x.swap_remove(0))))
    }
}

fn parse(kind: UnaryKind, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(Unary(kind)))
}

macro_rules! defs {
    ($($def:ident $kind:ident $since:literal $newest:literal;)*) => { $(
        #[doc = concat!("`", stringify!($kind), "`.")]
        pub const $def: OpDef = OpDef {
            name: stringify!($kind),
            domain: "",
            since: ($since, $newest),
            parse: |node| parse(UnaryKind::$kind, node),
            unsupported: "",
        };
    )*
        #[cfg(test)]
        const ALL: &[(UnaryKind, OpDef)] = &[$((UnaryKind::$kind, $def)),*];
    };
}
defs! {
    ABS Abs 1 13;
    ACOS Acos 7 22;
    ACOSH Acosh 9 22;
    ASIN Asin 7 22;
    ASINH Asinh 9 22;
    ATAN Atan 7 22;
    ATANH Atanh 9 22;
    BITWISE_NOT BitwiseNot 18 18;
    CEIL Ceil 1 13;
    COS Cos 7 22;
    COSH Cosh 9 22;
    ERF Erf 9 13;
    EXP Exp 1 13;
    FLOOR Floor 1 13;
    HARD_SWISH HardSwish 14 22;
    IS_NAN IsNaN 9 20;
    LOG Log 1 13;
    MISH Mish 18 22;
    NEG Neg 1 13;
    NOT Not 1 1;
    RECIPROCAL Reciprocal 1 13;
    RELU Relu 1 14;
    ROUND Round 11 22;
    SIGMOID Sigmoid 1 13;
    SIGN Sign 9 13;
    SIN Sin 7 22;
    SINH Sinh 9 22;
    SOFTPLUS Softplus 1 22;
    SOFTSIGN Softsign 1 22;
    SQRT Sqrt 1 13;
    TAN Tan 7 22;
    TANH Tanh 1 13;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_digits, floats_of_all_exponents};

    fn eval(kind: UnaryKind, x: Vec<f32>) -> Vec<f32> {
        let x = Tensor::from_vec(&[x.len()], x);
        Unary(kind).eval(&[Some(&x)]).unwrap()[0].as_slice::<f32>().unwrap().into_owned()
    }

    #[test]
    fn table_and_list_agree() {
        for (kind, def) in ALL {
            assert_eq!(kind.formula().name, def.name);
        }
    }

    #[test]
    fn values_of_the_onnx_node_tests() {
        let check = |kind, x: &[f32], y: &[f32]| {
            let error = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs();
            let got = eval(kind, x.to_vec());
            assert!(got.iter().zip(y).all(error), "{kind:?}: {got:?}, expected {y:?}");
        };
        let x = [-1.0, 0.0, 1.0];
        check(UnaryKind::Relu, &x, &[0.0, 0.0, 1.0]);
        check(UnaryKind::Sigmoid, &x, &[0.268_941_43, 0.5, 0.731_058_6]);
        check(UnaryKind::Softsign, &x, &[-0.5, 0.0, 0.5]);
        check(UnaryKind::Softplus, &x, &[0.313_261_7, std::f32::consts::LN_2, 1.313_261_6]);
        check(UnaryKind::Mish, &x, &[-0.303_401_44, 0.0, 0.865_098_4]);
        check(UnaryKind::HardSwish, &[-4.0, -1.0, 1.0, 4.0], &[0.0, -1.0 / 3.0, 2.0 / 3.0, 4.0]);
        check(
            UnaryKind::Round,
            &[0.1, 0.5, 0.9, 1.5, 2.5, -1.5, -2.5],
            &[0.0, 0.0, 1.0, 2.0, 2.0, -2.0, -2.0],
        );
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays() {
        assert_eq!(eval(UnaryKind::Sigmoid, vec![-1e4, 1e4]), [0.0, 1.0]);
        assert_eq!(eval(UnaryKind::Softplus, vec![-1e4, 1e4]), [0.0, 1e4]);
        for kind in [UnaryKind::Relu, UnaryKind::HardSwish, UnaryKind::Softplus, UnaryKind::Sign] {
            assert!(eval(kind, vec![f32::NAN])[0].is_nan(), "{kind:?}");
        }
    }

    #[test]
    fn formulas_of_several_steps_keep_their_digits() {
        let xs = floats_of_all_exponents(&[-3.0, 3.0]);
        for (kind, bound) in [(UnaryKind::HardSwish, 2.5), (UnaryKind::Mish, 4.0), (UnaryKind::Softplus, 2.0)]
        {
            check_digits(&Unary(kind), kind.formula().float.unwrap(), &xs, bound);
        }
    }

    #[test]
    fn integers_wrap() {
        let x = Tensor::from_vec(&[2], vec![i8::MIN, 3]);
        assert_eq!(
            Unary(UnaryKind::Neg).eval(&[Some(&x)]).unwrap()[0],
            Tensor::from_vec(&[2], vec![i8::MIN, -3])
        );
        let x = Tensor::from_vec(&[2], vec![0u8, 1]);
        assert_eq!(
            Unary(UnaryKind::BitwiseNot).eval(&[Some(&x)]).unwrap()[0],
            Tensor::from_vec(&[2], vec![255u8, 254])
        );
    }

    #[test]
    fn types_outside_the_spec_are_invalid() {
        let ints = Fact::new(DType::I32, Default::default());
        assert!(Unary(UnaryKind::Exp).infer(&[Some(&ints)]).is_err());
        assert!(Unary(UnaryKind::Not).infer(&[Some(&ints)]).is_err());
        assert_eq!(Unary(UnaryKind::Abs).infer(&[Some(&ints)]).unwrap()[0].dtype, DType::I32);
    }
}
