//! Which scalar expressions the vector builder computes.
//!
//! Passes and schedules ask before they plan vectors; code generation computes what this module allows.

use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{BinaryOp, Expr, Form, Loop, LoopId, ReduceOp, UnaryOp, WindowOp};
use kiln_ir::types::DType;

use crate::math::{Function, tape};
use crate::simd::Lane;

/// The type of an expression's value where nests compute it in vectors, for any types of elements; else what has no
/// vector form. `acc`: the type of [`Expr::Acc`].
pub fn dtype(expr: &Expr<FlatAccess>, acc: Option<DType>) -> Result<DType, String> {
    let none = |op: &dyn std::fmt::Debug, ty: DType| Err(format!("{op:?} of {ty} has no vector form"));
    match expr {
        Expr::Acc => acc.ok_or_else(|| "a sum outside a reducing form".to_owned()),
        Expr::Const(scalar) => held(scalar.dtype),
        Expr::Load(a) => held(a.dtype),
        Expr::Loop(_) | Expr::Size(_) => Ok(DType::I64),
        Expr::Unary(op, a) => {
            let ty = dtype(a, acc)?;
            if has_unary(*op, ty) { Ok(op.result(ty)) } else { none(op, ty) }
        }
        Expr::Binary(op, a, b) => {
            let (x, y) = (dtype(a, acc)?, dtype(b, acc)?);
            let whole = *op == BinaryOp::Pow && product_power(b, y).is_some()
                || *op == BinaryOp::Shr && shift_count(b, y).is_some();
            if x == y && (whole || has_binary(*op, x)) { Ok(op.result(x)) } else { none(op, x) }
        }
        Expr::MulAdd(a, b, c) => {
            let all = [dtype(a, acc)?, dtype(b, acc)?, dtype(c, acc)?];
            if all == [DType::F32; 3] { Ok(DType::F32) } else { none(&"a multiply-add", all[0]) }
        }
        Expr::Select(c, a, b) => {
            let (c, x, y) = (dtype(c, acc)?, dtype(a, acc)?, dtype(b, acc)?);
            if c == DType::Bool && x == y { Ok(x) } else { none(&"a choice", x) }
        }
        Expr::Cast(to, a) => {
            dtype(a, acc)?;
            held(*to)
        }
        // In lanes of 32 bits a float of 16 is an f32: its own bits are not there.
        Expr::Bits(to, a) => {
            let from = match &**a {
                Expr::Load(a) if a.dtype.is_small() => a.dtype,
                a => dtype(a, acc)?,
            };
            if from.is_short_float() || to.is_short_float() || from == DType::Bool || *to == DType::Bool {
                return none(&"the bits", from);
            }
            Ok(*to)
        }
    }
}

/// A type whose elements become lanes.
fn held(ty: DType) -> Result<DType, String> {
    if ty == DType::Bool || ty.is_float() || ty.is_int() && ty.size() > 0 {
        Ok(ty)
    } else {
        Err(format!("elements of type {ty} have no vector form"))
    }
}

/// Whether a function of elements of a type has a form for vectors.
fn has_form(function: Function, ty: DType) -> bool {
    let lane = match ty {
        DType::F64 => Lane::F64,
        _ if ty.is_float() => Lane::F32,
        _ if ty.size() == 8 => Lane::I64,
        _ if ty.is_unsigned_int() => Lane::U32,
        _ => Lane::I32,
    };
    tape::has_form(function, lane)
}

fn has_unary(op: UnaryOp, ty: DType) -> bool {
    match ty {
        DType::Bool => op == UnaryOp::Not,
        _ if ty.is_float() => has_form(Function::Unary(op), ty),
        _ => matches!(op, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::BitNot),
    }
}

fn has_binary(op: BinaryOp, ty: DType) -> bool {
    use BinaryOp::{Add, And, BitAnd, BitOr, BitXor, Div, Eq, Le, Lt, Max, Min, Mul, Or, Shl, Shr, Sub, Xor};
    let any = matches!(op, Min | Max | Eq | Lt | Le);
    let number = any || matches!(op, Add | Sub | Mul);
    match ty {
        DType::Bool => any || matches!(op, And | Or | Xor),
        _ if ty.is_float() => number || op == Div || has_form(Function::Binary(op), ty),
        _ => {
            let bits = matches!(op, BitAnd | BitOr | BitXor | Shl) || op == Shr && ty.is_unsigned_int();
            number || bits || has_form(Function::Whole(op), ty)
        }
    }
}

/// Constant exponents of a type that are a few products: 1, 2, 3, 4, and -1 of floats.
pub fn product_power(exponent: &Expr<FlatAccess>, ty: DType) -> Option<i32> {
    let Expr::Const(scalar) = exponent else { return None };
    let least = if ty.is_float() { -1 } else { 1 };
    [1, 2, 3, 4, -1].into_iter().find(|n| *n >= least && f64::from(*n) == scalar.to_f64())
}

/// A constant count of bits that integers of at most 32 bits are shifted by, less than their width.
pub fn shift_count<A>(count: &Expr<A>, ty: DType) -> Option<u8> {
    let Expr::Const(scalar) = count else { return None };
    let fits = ty.is_int() && (1..=4).contains(&ty.size());
    u8::try_from(scalar.to_i64()).ok().filter(|n| fits && usize::from(*n) < ty.bits())
}

/// Whether a map works on the bits of bytes alone: bools and integers of 8 bits, side by side in every access that steps
/// along with the results.
pub fn is_bytewise(form: &Form<FlatAccess>) -> bool {
    let Form::Map { stores } = form else { return false };
    let along = |l: usize| stores.iter().any(|s| s.to.strides[l].is(1));
    let beside =
        |a: &&FlatAccess| (0..a.strides.len()).all(|l| !along(l) || a.strides[l].is(0) || a.strides[l].is(1));
    stores.iter().all(|s| s.to.dtype.size() == 1 && bytewise(&s.value).is_some())
        && form.loads().iter().all(beside)
}

/// The type of a value that is had by operations on the bits of bytes.
fn bytewise(expr: &Expr<FlatAccess>) -> Option<DType> {
    use BinaryOp::{And, BitAnd, BitOr, BitXor, Eq, Le, Lt, Max, Min, Or, Xor};
    let byte = |ty: DType| (ty == DType::Bool || ty.is_int() && ty.bits() == 8).then_some(ty);
    match expr {
        Expr::Const(scalar) => byte(scalar.dtype),
        Expr::Load(a) => byte(a.dtype),
        Expr::Unary(op, a) => {
            let ty = bytewise(a)?;
            let bits = *op == if ty == DType::Bool { UnaryOp::Not } else { UnaryOp::BitNot };
            bits.then_some(ty)
        }
        Expr::Binary(op, a, b) => {
            let ty = bytewise(a).filter(|ty| bytewise(b) == Some(*ty))?;
            let bits = match ty {
                DType::Bool => matches!(op, And | Or | Xor | Min | Max | Eq | Lt | Le),
                _ => matches!(op, BitAnd | BitOr | BitXor | Eq),
            };
            bits.then(|| op.result(ty))
        }
        Expr::Select(c, a, b) => {
            bytewise(c).filter(|ty| *ty == DType::Bool)?;
            bytewise(a).filter(|ty| bytewise(b) == Some(*ty))
        }
        Expr::Cast(to, a) => {
            bytewise(a)?;
            byte(*to)
        }
        Expr::Acc | Expr::Loop(_) | Expr::Size(_) | Expr::Bits(..) | Expr::MulAdd(..) => None,
    }
}

/// Whether a window's results are the greatest of bytes, whole vectors of which lie side by side along a loop, in fours.
pub fn is_byte_window(form: &Form<FlatAccess>, loops: &[Loop], along: LoopId) -> bool {
    let Form::Window { op: WindowOp::Max, input, store, .. } = form else { return false };
    let bytes = matches!(input.dtype, DType::U8 | DType::I8) && store.to.dtype == input.dtype;
    let l = along.0 as usize;
    let beside = input.strides[l].is(1) && store.to.strides[l].is(1) && input.gathers.is_empty();
    let guarded = input.guards.iter().any(|g| !g.coefficients[l].is(0));
    let fours = loops[l].extent.as_const().is_some_and(|n| n % 4 == 0);
    bytes && store.value == Expr::Acc && beside && !guarded && fours
}

/// Elements of a vector of so many bytes in a nest of this form along a loop: copies of short elements move bytes, and so do maps on
/// bytes; otherwise lanes have 32 bits, or 64 where any type has.
pub fn nest_lanes(form: &Form<FlatAccess>, loops: &[Loop], along: LoopId, vector_bytes: u32) -> u32 {
    match form {
        form if is_byte_window(form, loops, along) => vector_bytes,
        Form::Rearrange { to, .. } => vector_bytes / to.dtype.size().max(1) as u32,
        form if is_bytewise(form) => vector_bytes,
        form => {
            let (values, acc): (Vec<&Expr<FlatAccess>>, _) = match form {
                Form::Map { stores } => (stores.iter().map(|s| &s.value).collect(), None),
                Form::Reduce { op: ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. }, value, store } => {
                    (vec![value, &store.value], Some(DType::I64))
                }
                Form::Reduce { value, store, .. } => (vec![value, &store.value], dtype(value, None).ok()),
                Form::Window { op, input, store, .. } => {
                    (vec![&store.value], Some(op.accumulator(input.dtype)))
                }
                _ => (Vec::new(), None),
            };
            let wide = acc.is_some_and(|ty| ty.size() == 8);
            let wide = wide || values.into_iter().any(|value| has_wide(value, acc));
            vector_bytes / if wide { 8 } else { 4 }
        }
    }
}

/// Whether any value has 64 bits.
fn has_wide(expr: &Expr<FlatAccess>, acc: Option<DType>) -> bool {
    let here = match expr {
        Expr::Const(scalar) => scalar.dtype.size() == 8,
        Expr::Load(a) => a.dtype.size() == 8,
        // By way of f64, which rounds to bf16 once.
        Expr::Cast(DType::BF16, a) if matches!(dtype(a, acc), Ok(DType::I32 | DType::U32)) => true,
        Expr::Cast(to, _) | Expr::Bits(to, _) => to.size() == 8,
        Expr::Loop(_) | Expr::Size(_) => true,
        _ => false,
    };
    here || expr.children().into_iter().any(|e| has_wide(e, acc))
}

/// Whether some function is computed by way of f64: long, and a tile would repeat it for every accumulator.
fn has_long(expr: &Expr<FlatAccess>) -> bool {
    let here = match expr {
        Expr::Unary(op, _) => tape::is_long(Function::Unary(*op)),
        Expr::Binary(BinaryOp::Pow, _, exponent) => product_power(exponent, DType::F32).is_none(),
        Expr::Binary(op, ..) => tape::is_long(Function::Binary(*op)),
        _ => false,
    };
    here || expr.children().into_iter().any(has_long)
}

/// Whether a function is many operations in the lanes' own type that wait for each other: several vectors side by side hide
/// that.
pub fn is_chain(op: UnaryOp) -> bool {
    let computed = op.of_floats().is_some() && !op.is_exact() && op != UnaryOp::Sqrt;
    computed && !tape::is_long(Function::Unary(op))
}

/// Whether such a function is in an expression.
pub fn has_chain(expr: &Expr<FlatAccess>) -> bool {
    matches!(expr, Expr::Unary(op, _) if is_chain(*op)) || expr.children().into_iter().any(has_chain)
}

/// Whether tiles and transforms compute this epilogue of sums of 32 bits: elements of at most 32 bits, no gathers,
/// constant strides, no long functions. Gives its type, or what has no vector form. Strides along the vector are checked by
/// the generators.
pub fn epilogue(expr: &Expr<FlatAccess>, acc: DType) -> Result<DType, String> {
    if has_wide(expr, Some(acc)) {
        return Err("elements of 64 bits beside lanes of 32".to_owned());
    }
    if has_long(expr) {
        return Err("a function that is computed in f64".to_owned());
    }
    dtype(expr, Some(acc))
}
