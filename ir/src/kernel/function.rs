//! Scalar functions, one row each: the operations of expressions on one number and on two.
//!
//! A row has the function's name, the word for it in text forms, the type of its result (`same` as the operands', or
//! `bool`) and its meaning for every class of element types that it takes: `float` in f64 (rounded once to the element
//! type), `int` in integers wide enough for every type (wrapped to the element type), and `bool`. Text forms, types,
//! verifier and interpreters read the rows. How a function becomes machine code is said once too, in `kiln_targets::math`
//! for floats.

use crate::numerics::{acosh, asinh, erf, int_pow, softplus};
use crate::types::DType;

/// Calls `$then!` with the rows of functions of one operand.
macro_rules! unary_functions {
    ($then:ident) => { $then! {
        /// `-x`; integers wrap.
        Neg "neg" same { float |x| -x; int |x| -x; }
        /// Magnitude; integers wrap.
        Abs "abs" same { float |x| x.abs(); int |x| x.abs(); }
        /// Square root.
        Sqrt "sqrt" same { float |x| x.sqrt(); }
        /// `e^x`.
        Exp "exp" same { float |x| x.exp(); }
        /// `e^x - 1`.
        Expm1 "expm1" same { float |x| x.exp_m1(); }
        /// Natural logarithm.
        Log "log" same { float |x| x.ln(); }
        /// Sine.
        Sin "sin" same { float |x| x.sin(); }
        /// Cosine.
        Cos "cos" same { float |x| x.cos(); }
        /// Tangent.
        Tan "tan" same { float |x| x.tan(); }
        /// Inverse sine.
        Asin "asin" same { float |x| x.asin(); }
        /// Inverse cosine.
        Acos "acos" same { float |x| x.acos(); }
        /// Inverse tangent.
        Atan "atan" same { float |x| x.atan(); }
        /// Hyperbolic sine.
        Sinh "sinh" same { float |x| x.sinh(); }
        /// Hyperbolic cosine.
        Cosh "cosh" same { float |x| x.cosh(); }
        /// Hyperbolic tangent.
        Tanh "tanh" same { float |x| x.tanh(); }
        /// Inverse hyperbolic sine.
        Asinh "asinh" same { float |x| asinh(x); }
        /// Inverse hyperbolic cosine.
        Acosh "acosh" same { float |x| acosh(x); }
        /// Inverse hyperbolic tangent.
        Atanh "atanh" same { float |x| x.atanh(); }
        /// Error function.
        Erf "erf" same { float |x| erf(x); }
        /// `1 / (1 + exp(-x))`.
        Sigmoid "sigmoid" same { float |x| 1.0 / (1.0 + (-x).exp()); }
        /// `ln(1 + e^x)`.
        Softplus "softplus" same { float |x| softplus(x); }
        /// Towards negative infinity.
        Floor "floor" same { float |x| x.floor(); }
        /// Towards positive infinity.
        Ceil "ceil" same { float |x| x.ceil(); }
        /// To the nearest integer, halves to even.
        Round "round" same { float |x| x.round_ties_even(); }
        /// -1, 0, 1, or NaN; a zero keeps its sign.
        Sign "sign" same { float |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }; int |x| x.signum(); }
        /// Of a bool.
        Not "not" same { bool |x| !x; }
        /// Of an integer's bits.
        BitNot "bitnot" same { int |x| !x; }
        /// Whether it is NaN.
        IsNan "isnan" bool { float |x| x.is_nan(); }
        /// Whether it is either infinity.
        IsInf "isinf" bool { float |x| x.is_infinite(); }
    } };
}

/// Calls `$then!` with the rows of functions of two operands of one type.
macro_rules! binary_functions {
    ($then:ident) => {
        $then! {
            /// Sum; integers wrap.
            Add "add" same { float |x, y| x + y; int |x, y| x + y; }
            /// Difference; integers wrap.
            Sub "sub" same { float |x, y| x - y; int |x, y| x - y; }
            /// Product; integers wrap.
            Mul "mul" same { float |x, y| x * y; int |x, y| x.wrapping_mul(y); }
            /// Quotient. Integers round towards zero; division by zero gives 0 and the overflow of `MIN / -1` wraps.
            Div "div" same { float |x, y| x / y; int |x, y| if y == 0 { 0 } else { x / y }; }
            /// The smaller; NaN if either is NaN.
            Min "min" same {
                float |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) };
                int |x, y| x.min(y);
                bool |x, y| x & y;
            }
            /// The larger; NaN if either is NaN.
            Max "max" same {
                float |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) };
                int |x, y| x.max(y);
                bool |x, y| x | y;
            }
            /// Power. Of integers the low bits; negative exponents give the exact quotient rounded towards zero, of base 0 too.
            Pow "pow" same { float |x, y| x.powf(y); int |x, y| int_pow(x, y); }
            /// C's remainder: the sign of the dividend. By zero: 0 for integers, NaN for floats.
            Rem "rem" same { float |x, y| x % y; int |x, y| if y == 0 { 0 } else { x % y }; }
            /// Python's remainder: the sign of the divisor. By zero: 0 for integers, NaN for floats.
            Mod "mod" same {
                float |x, y| { let r = x % y; if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r } };
                int |x, y| {
                    let r = if y == 0 { 0 } else { x % y };
                    if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
                };
            }
            /// Whether both are equal; false for NaN.
            Eq "eq" bool { float |x, y| x == y; int |x, y| x == y; bool |x, y| x == y; }
            /// Whether the first is less; false for NaN.
            Lt "lt" bool { float |x, y| x < y; int |x, y| x < y; bool |x, y| !x & y; }
            /// Whether the first is at most the second; false for NaN.
            Le "le" bool { float |x, y| x <= y; int |x, y| x <= y; bool |x, y| !x | y; }
            /// Of bools.
            And "and" same { bool |x, y| x & y; }
            /// Of bools.
            Or "or" same { bool |x, y| x | y; }
            /// Of bools.
            Xor "xor" same { bool |x, y| x ^ y; }
            /// Of integers' bits.
            BitAnd "bitand" same { int |x, y| x & y; }
            /// Of integers' bits.
            BitOr "bitor" same { int |x, y| x | y; }
            /// Of integers' bits.
            BitXor "bitxor" same { int |x, y| x ^ y; }
            /// Shift to the left. By at least the width, or by a negative number: 0.
            Shl "shl" same { int |x, y| if (0..64).contains(&y) { x << y } else { 0 }; }
            /// Shift to the right, which keeps the sign. By at least the width, or by a negative number: 0, or -1 of a negative
            /// number.
            Shr "shr" same { int |x, y| x >> if (0..64).contains(&y) { y } else { 64 }; }
        }
    };
}

pub(crate) use {binary_functions, unary_functions};

/// What both tables give alike.
macro_rules! named {
    ($(#[$about:meta])* $t:ident { $($(#[$doc:meta])* $name:ident $word:literal $result:ident)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $t {
            $($(#[$doc])* $name,)*
        }

        impl $t {
            /// Every function, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for it in text forms.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// The function of a word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|f| f.word() == word)
            }

            /// The type of the result for operands of a type.
            pub fn result(self, operand: DType) -> DType {
                match self { $(Self::$name => result!($result operand)),* }
            }
        }
    };
}

macro_rules! result {
    (same $operand:ident) => {
        $operand
    };
    (bool $operand:ident) => {
        DType::Bool
    };
}

/// The formula of one class of types among a row's, as a plain function.
macro_rules! formula {
    (float float |$($x:ident),+| $f:expr) => { Some(|$($x: f64),+| ($f).into()) };
    (int int |$($x:ident),+| $f:expr) => { Some(|$($x: i128),+| ($f).into()) };
    (bool bool |$($x:ident),+| $f:expr) => { Some(|$($x: bool),+| $f) };
    ($class:ident $other:ident $($rest:tt)*) => { None };
}

macro_rules! define_unary {
    ($($(#[$doc:meta])* $name:ident $word:literal $result:ident { $($class:ident |$x:ident| $f:expr;)* })*) => {
        named! {
            /// Functions of one number.
            UnaryOp { $($(#[$doc])* $name $word $result)* }
        }

        #[allow(clippy::useless_conversion)] // tests give bools, the others numbers
        impl UnaryOp {
            /// Its meaning for floats, where it has one; 1 and 0 for bools.
            pub fn of_floats(self) -> Option<fn(f64) -> f64> {
                match self { $(Self::$name => None::<fn(f64) -> f64>$(.or(formula!(float $class |$x| $f)))*),* }
            }

            /// Whether a float of few digits in wider arithmetic gives what needs no rounding: what selects, compares,
            /// changes signs, or takes digits away.
            pub fn is_exact(self) -> bool {
                use UnaryOp::{Abs, Ceil, Floor, IsInf, IsNan, Neg, Round, Sign};
                matches!(self, Neg | Abs | Floor | Ceil | Round | Sign | IsNan | IsInf)
            }

            /// Its meaning for integers, where it has one.
            pub fn of_ints(self) -> Option<fn(i128) -> i128> {
                match self { $(Self::$name => None::<fn(i128) -> i128>$(.or(formula!(int $class |$x| $f)))*),* }
            }

            /// Its meaning for bools, where it has one.
            pub fn of_bools(self) -> Option<fn(bool) -> bool> {
                match self { $(Self::$name => None::<fn(bool) -> bool>$(.or(formula!(bool $class |$x| $f)))*),* }
            }
        }
    };
}
unary_functions!(define_unary);

macro_rules! define_binary {
    ($($(#[$doc:meta])* $name:ident $word:literal $result:ident { $($class:ident |$x:ident, $y:ident| $f:expr;)* })*) => {
        named! {
            /// Functions of two numbers of one type.
            BinaryOp { $($(#[$doc])* $name $word $result)* }
        }

        #[allow(clippy::useless_conversion)] // tests give bools, the others numbers
        impl BinaryOp {
            /// Its meaning for floats, where it has one; 1 and 0 for bools.
            pub fn of_floats(self) -> Option<fn(f64, f64) -> f64> {
                match self {
                    $(Self::$name => None::<fn(f64, f64) -> f64>$(.or(formula!(float $class |$x, $y| $f)))*),*
                }
            }

            /// Its meaning for integers (of unsigned types at least), where it has one.
            pub fn of_ints(self) -> Option<fn(i128, i128) -> i128> {
                match self {
                    $(Self::$name => None::<fn(i128, i128) -> i128>$(.or(formula!(int $class |$x, $y| $f)))*),*
                }
            }

            /// Its meaning for bools, where it has one.
            pub fn of_bools(self) -> Option<fn(bool, bool) -> bool> {
                match self {
                    $(Self::$name => None::<fn(bool, bool) -> bool>$(.or(formula!(bool $class |$x, $y| $f)))*),*
                }
            }
        }
    };
}
binary_functions!(define_binary);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_found() {
        for f in UnaryOp::ALL {
            assert_eq!(UnaryOp::parse(f.word()), Some(*f));
            assert_eq!(BinaryOp::parse(f.word()), None);
            assert_eq!(DType::parse(f.word()), None, "casts are written by their type");
        }
        for f in BinaryOp::ALL {
            assert_eq!(BinaryOp::parse(f.word()), Some(*f));
        }
    }

    #[test]
    fn rows_mean_what_they_say() {
        assert_eq!(UnaryOp::IsNan.of_floats().unwrap()(f64::NAN), 1.0);
        assert_eq!(UnaryOp::IsNan.result(DType::F16), DType::Bool);
        assert_eq!(UnaryOp::Sign.of_ints().unwrap()(-7), -1);
        assert!(UnaryOp::Exp.of_ints().is_none() && UnaryOp::Exp.of_bools().is_none());
        assert!(
            !BinaryOp::Lt.of_bools().unwrap()(true, true) && BinaryOp::Le.of_bools().unwrap()(true, true)
        );
        assert_eq!(BinaryOp::Shr.of_ints().unwrap()(1 << 63, 63), 1);
        assert_eq!(BinaryOp::Shl.of_ints().unwrap()(1, 64), 0);
    }
}
