//! Elementwise operators of two inputs that broadcast, without attributes.
//!
//! Spec: the ONNX operator of each name, from the version that introduced it up to 24; before 7 see `super::aligned`.
//! `c[i] = f(a[i], b[i])` over the multidirectional broadcast of both shapes; comparisons give bool, all others
//! the type of `a`. The table gives for each operator the formula in f64, exact integers or bools that the
//! interpreter uses and the expression that kernels compute.
//!
//! Numerics: floats are computed in the element type. Integers wrap; `Div` rounds towards zero, and dividing by
//! zero, which the spec leaves undefined, gives 0. Sums, differences, products and quotients of integers that
//! follow from extents stay known, and so do comparisons that are the same for all extents.

use super::aligned::aligned;
use super::elementwise as e;
use super::{broadcast, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp as B, Expr, Lowering};
use crate::numerics::Number;
use crate::op::{Attrs, Fact, Known, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_internal, bail_invalid};

/// Which operator of the table.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryKind {
    Add,
    And,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Div,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Mul,
    Or,
    Sub,
    Xor,
}

/// An elementwise operator of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary(pub BinaryKind);

/// One line of the table: a formula for each class of types that the operator takes.
#[derive(Default)]
struct Formula {
    float: Option<fn(f64, f64) -> f64>,
    int: Option<fn(i128, i128) -> i128>,
    boolean: Option<fn(bool, bool) -> bool>,
}

impl BinaryKind {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::And => "And",
            Self::BitwiseAnd => "BitwiseAnd",
            Self::BitwiseOr => "BitwiseOr",
            Self::BitwiseXor => "BitwiseXor",
            Self::Div => "Div",
            Self::Equal => "Equal",
            Self::Greater => "Greater",
            Self::GreaterOrEqual => "GreaterOrEqual",
            Self::Less => "Less",
            Self::LessOrEqual => "LessOrEqual",
            Self::Mul => "Mul",
            Self::Or => "Or",
            Self::Sub => "Sub",
            Self::Xor => "Xor",
        }
    }

    fn compares(self) -> bool {
        matches!(self, Self::Equal | Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual)
    }

    #[expect(clippy::needless_update, reason = "`Equal` fills every field, the others some")]
    fn formula(self) -> Formula {
        macro_rules! on {
            ($($class:ident: $f:expr),*) => { Formula { $($class: Some($f),)* ..Formula::default() } };
        }
        match self {
            Self::Add => on!(float: |a, b| a + b, int: |a, b| a + b),
            Self::Sub => on!(float: |a, b| a - b, int: |a, b| a - b),
            // The product of two u64 may wrap in i128 too; the low 64 bits are right all the same.
            Self::Mul => on!(float: |a, b| a * b, int: i128::wrapping_mul),
            Self::Div => on!(float: |a, b| a / b, int: |a, b| a.checked_div(b).unwrap_or(0)),
            Self::BitwiseAnd => on!(int: |a, b| a & b),
            Self::BitwiseOr => on!(int: |a, b| a | b),
            Self::BitwiseXor => on!(int: |a, b| a ^ b),
            Self::And => on!(boolean: |a, b| a && b),
            Self::Or => on!(boolean: |a, b| a || b),
            Self::Xor => on!(boolean: |a, b| a != b),
            Self::Equal => on!(
                float: |a, b| (a == b).into(),
                int: |a, b| (a == b).into(),
                boolean: |a, b| a == b
            ),
            Self::Less => on!(float: |a, b| (a < b).into(), int: |a, b| (a < b).into()),
            Self::LessOrEqual => on!(float: |a, b| (a <= b).into(), int: |a, b| (a <= b).into()),
            Self::Greater => on!(float: |a, b| (a > b).into(), int: |a, b| (a > b).into()),
            Self::GreaterOrEqual => on!(float: |a, b| (a >= b).into(), int: |a, b| (a >= b).into()),
        }
    }

    fn expr(self, a: Expr, b: Expr) -> Expr {
        let (op, swapped) = match self {
            Self::Add => (B::Add, false),
            Self::Sub => (B::Sub, false),
            Self::Mul => (B::Mul, false),
            Self::Div => (B::Div, false),
            Self::BitwiseAnd => (B::BitAnd, false),
            Self::BitwiseOr => (B::BitOr, false),
            Self::BitwiseXor => (B::BitXor, false),
            Self::And => (B::And, false),
            Self::Or => (B::Or, false),
            Self::Xor => (B::Xor, false),
            Self::Equal => (B::Eq, false),
            Self::Less => (B::Lt, false),
            Self::LessOrEqual => (B::Le, false),
            Self::Greater => (B::Lt, true),
            Self::GreaterOrEqual => (B::Le, true),
        };
        if swapped { Expr::binary(op, b, a) } else { Expr::binary(op, a, b) }
    }

    /// The operator on two integers that follow from extents.
    fn known(self, a: &Dim, b: &Dim) -> Option<Dim> {
        match (self, a.as_const(), b.as_const()) {
            (Self::Add, Some(a), Some(b)) => Some(a.wrapping_add(b).into()),
            (Self::Sub, Some(a), Some(b)) => Some(a.wrapping_sub(b).into()),
            (Self::Mul, Some(a), Some(b)) => Some(a.wrapping_mul(b).into()),
            (Self::Div, Some(a), Some(b)) if b != 0 => Some(a.wrapping_div(b).into()),
            (Self::Add, ..) => Some(a.clone() + b.clone()),
            (Self::Sub, ..) => Some(a.clone() - b.clone()),
            (Self::Mul, ..) => Some(a.clone() * b.clone()),
            // Rounding down and rounding towards zero agree where nothing is negative.
            (Self::Div, ..) if operand::at_least_zero(a) && operand::at_least_zero(b) => a.floor_div(b),
            _ => None,
        }
    }

    /// A comparison of two integers that follow from extents, where it is the same whatever the open dimensions are.
    fn decided(self, a: &Dim, b: &Dim) -> Option<bool> {
        let at_least = |a: &Dim, b: &Dim| operand::at_least_zero(&(a.clone() - b.clone()));
        let above = |a: &Dim, b: &Dim| at_least(a, &(b.clone() + Dim::Const(1)));
        match self {
            Self::Equal if (a.clone() - b.clone()).is(0) => Some(true),
            Self::Equal => (above(a, b) || above(b, a)).then_some(false),
            Self::Greater | Self::GreaterOrEqual => {
                let (yes, no) = if self == Self::Greater {
                    (above(a, b), at_least(b, a))
                } else {
                    (at_least(a, b), above(b, a))
                };
                (yes || no).then_some(yes)
            }
            Self::Less => Self::Greater.decided(b, a),
            Self::LessOrEqual => Self::GreaterOrEqual.decided(b, a),
            _ => None,
        }
    }
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (a, b) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let dtype = operand::same_types(&[a, b])?;
        let formula = self.0.formula();
        let accepted = match dtype {
            DType::Bool => formula.boolean.is_some(),
            t if t.is_float() => formula.float.is_some(),
            t => t.is_int() && formula.int.is_some(),
        };
        if !accepted {
            bail_invalid!("does not take elements of type {dtype}");
        }
        let shape = operand::checked(broadcast::shapes([&a.shape, &b.shape])?)?;
        if self.0.compares() {
            let mut fact = Fact::new(DType::Bool, shape);
            let flags = operand::zip_known(a, b, |x, y| self.0.decided(x, y));
            if let Some((flags, shape)) = flags.zip(fact.shape.as_const()) {
                fact.known = Some(Known::Tensor(Tensor::from_bools(&shape, flags)));
            }
            return Ok(vec![fact]);
        }
        let known = operand::zip_known(a, b, |x, y| self.0.known(x, y));
        Ok(vec![operand::with_dims(dtype, shape, known)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let operands = [operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?];
        let dtype = operands[0].dtype;
        let result = if self.0.compares() { DType::Bool } else { dtype };
        let formula = self.0.formula();
        let y = match (dtype, formula) {
            (DType::Bool, Formula { boolean: Some(f), .. }) => {
                broadcast::map(result, &operands, |v| Number::Int(f(v[0].int() != 0, v[1].int() != 0).into()))
            }
            (t, Formula { float: Some(f), .. }) if t.is_float() => {
                broadcast::map_floats(result, &operands, |v| f(v[0], v[1]))
            }
            (t, Formula { int: Some(f), .. }) if t.is_int() => {
                broadcast::map(result, &operands, |v| Number::Int(f(v[0].int(), v[1].int())))
            }
            _ => bail_internal!("elements of type {dtype}"),
        };
        Ok(vec![y?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        cx.pointwise(|x| {
            let [a, b] = <[Expr; 2]>::try_from(x).map_err(|_| Error::internal("needs 2 inputs"))?;
            Ok(match (self.0, &b) {
                // A constant divisor costs a multiplication where its reciprocal is exact.
                (BinaryKind::Div, Expr::Const(c)) if c.dtype.is_float() && e::power_of_two(c.to_f64()) => {
                    e::mul(a, e::num(c.dtype, 1.0 / c.to_f64()))
                }
                _ => self.0.expr(a, b),
            })
        })
    }
}

fn parse(kind: BinaryKind, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    aligned(node, Binary(kind))
}

macro_rules! defs {
    ($($def:ident $kind:ident $since:literal $newest:literal;)*) => { $(
        #[doc = concat!("`", stringify!($kind), "`.")]
        pub const $def: OpDef = OpDef {
            name: stringify!($kind),
            domain: "",
            since: ($since, $newest),
            parse: |node| parse(BinaryKind::$kind, node),
            unsupported: "",
        };
    )* };
}
defs! {
    ADD Add 1 14;
    AND And 1 7;
    BITWISE_AND BitwiseAnd 18 18;
    BITWISE_OR BitwiseOr 18 18;
    BITWISE_XOR BitwiseXor 18 18;
    DIV Div 1 14;
    EQUAL Equal 1 19;
    GREATER Greater 1 13;
    GREATER_OR_EQUAL GreaterOrEqual 12 16;
    LESS Less 1 13;
    LESS_OR_EQUAL LessOrEqual 12 16;
    MUL Mul 1 14;
    OR Or 1 7;
    SUB Sub 1 14;
    XOR Xor 1 7;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Shape;

    fn eval(kind: BinaryKind, a: Tensor, b: Tensor) -> Tensor {
        Binary(kind).eval(&[Some(&a), Some(&b)]).unwrap().swap_remove(0)
    }

    #[test]
    fn integers_wrap_and_divide_towards_zero() {
        let v = |x: &[i32]| Tensor::from_vec(&[x.len()], x.to_vec());
        assert_eq!(eval(BinaryKind::Add, v(&[i32::MAX]), v(&[1])), v(&[i32::MIN]));
        assert_eq!(
            eval(BinaryKind::Div, v(&[-7, 7, 5, i32::MIN]), v(&[2, -2, 0, -1])),
            v(&[-3, -3, 0, i32::MIN])
        );
        let big = Tensor::from_vec(&[1], vec![u64::MAX]);
        assert_eq!(eval(BinaryKind::Mul, big.clone(), big), Tensor::from_vec(&[1], vec![1u64]));
    }

    #[test]
    fn comparisons_give_bools() {
        let a = Tensor::from_vec(&[3], vec![1f32, f32::NAN, 3.0]);
        let b = Tensor::scalar(1f32);
        assert_eq!(
            eval(BinaryKind::Equal, a.clone(), b.clone()),
            Tensor::from_bools(&[3], [true, false, false])
        );
        assert_eq!(
            eval(BinaryKind::Greater, a.clone(), b.clone()),
            Tensor::from_bools(&[3], [false, false, true])
        );
        assert_eq!(eval(BinaryKind::LessOrEqual, a, b), Tensor::from_bools(&[3], [true, false, false]));
        let (t, f) = (Tensor::from_bools(&[1], [true]), Tensor::from_bools(&[1], [false]));
        assert_eq!(eval(BinaryKind::Xor, t, f.clone()), Tensor::from_bools(&[1], [true]));
        assert_eq!(eval(BinaryKind::Or, f.clone(), f), Tensor::from_bools(&[1], [false]));
    }

    #[test]
    fn arithmetic_of_extents_stays_known() {
        let seq = Fact::of_dims(vec![Dim::symbol("s")]);
        let two = Fact::of(&Tensor::from_vec(&[1], vec![2i64]));
        let infer = |kind, a, b| Binary(kind).infer(&[Some(a), Some(b)]).unwrap().swap_remove(0);
        assert_eq!(infer(BinaryKind::Mul, &seq, &two).dims().unwrap(), [Dim::Const(2) * Dim::symbol("s")]);
        let half = Dim::symbol("s").floor_div(&Dim::Const(2)).unwrap();
        assert_eq!(infer(BinaryKind::Div, &seq, &two).dims().unwrap(), [half]);
        assert_eq!(infer(BinaryKind::Sub, &two, &two).dims().unwrap(), [Dim::Const(0)]);
        // Rounds towards zero, which is not known to be rounding down here.
        assert_eq!(infer(BinaryKind::Div, &infer(BinaryKind::Sub, &seq, &two), &two).dims(), None);
    }

    #[test]
    fn comparisons_of_extents_are_known_where_all_extents_decide_them() {
        let [n, s] = ["n", "s"].map(Dim::symbol);
        let dims = Fact::of_dims(vec![n.clone(), s.clone() + Dim::Const(1), Dim::Const(-1)]);
        let infer = |kind, with: &Fact| {
            let y = Binary(kind).infer(&[Some(&dims), Some(with)]).unwrap().swap_remove(0);
            y.tensor().map(|t| t.to_i64s().unwrap())
        };
        let all = |value: i64| Fact::of(&Tensor::from_vec(&[1], vec![value]));
        assert_eq!(infer(BinaryKind::Equal, &all(-1)), Some(vec![0, 0, 1]));
        assert_eq!(infer(BinaryKind::GreaterOrEqual, &all(0)), Some(vec![1, 1, 0]));
        assert_eq!(infer(BinaryKind::Less, &all(0)), Some(vec![0, 0, 1]));
        assert_eq!(infer(BinaryKind::Equal, &all(0)), None);
        let same = Fact::of_dims(vec![n, s, Dim::Const(-1)]);
        assert_eq!(infer(BinaryKind::Equal, &same), Some(vec![1, 0, 1]));
        assert_eq!(infer(BinaryKind::LessOrEqual, &same), Some(vec![1, 0, 1]));
    }

    #[test]
    fn types_must_agree() {
        let fact = |t| Fact::new(t, Shape::of(&[2]));
        let op = Binary(BinaryKind::Add);
        assert!(op.infer(&[Some(&fact(DType::F32)), Some(&fact(DType::F64))]).is_err());
        assert!(op.infer(&[Some(&fact(DType::Bool)), Some(&fact(DType::Bool))]).is_err());
        assert!(op.infer(&[Some(&fact(DType::F32)), None]).is_err());
    }
}
