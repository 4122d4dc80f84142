//! Integers that an expression is known to be before anything is compiled: extents, positions, seeds.

use kiln_ir::{DType, Tensor};

use crate::fault::{Fault, Result};
use crate::text::ast::{Binary, Expr, Kind};

/// What names mean.
pub(crate) trait Scope {
    /// The tensor behind a name.
    fn variable(&self, name: &str) -> Option<&Tensor>;
    /// A tensor that was computed before the rest of the expression.
    fn leaf(&self, i: usize) -> Option<&Tensor>;
    /// All names, for suggestions.
    fn names(&self) -> Vec<&str>;
}

/// The integer of an expression, if it is known.
pub(crate) fn int(expr: &Expr, scope: &dyn Scope) -> Option<i64> {
    match &expr.kind {
        Kind::Int(n) => Some(*n),
        Kind::Name(name) => {
            let tensor = scope.variable(name).filter(|t| t.elements() == 1 && t.dtype.is_int())?;
            tensor.to_i64s().ok()?.first().copied()
        }
        Kind::Binary(op, a, b) => {
            let (a, b) = (int(a, scope)?, int(b, scope)?);
            match op {
                Binary::Add => a.checked_add(b),
                Binary::Sub => a.checked_sub(b),
                Binary::Mul => a.checked_mul(b),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The integers of a list, of an integer by itself, or of a variable.
pub(crate) fn ints(expr: &Expr, scope: &dyn Scope) -> Option<Vec<i64>> {
    match &expr.kind {
        Kind::List(list) => list.iter().map(|e| int(e, scope)).collect(),
        Kind::Name(name) => {
            let tensor = scope.variable(name).filter(|t| t.shape.len() <= 1 && t.dtype.is_int())?;
            tensor.to_i64s().ok()
        }
        _ => int(expr, scope).map(|n| vec![n]),
    }
}

/// The shape that an expression names.
pub(crate) fn shape(expr: &Expr, scope: &dyn Scope) -> Result<Vec<usize>> {
    let wrong =
        || Fault::at(expr.span.clone(), "a shape is a list of integers from 0 on, as [1, 3, 224, 224]");
    let list = ints(expr, scope).ok_or_else(wrong)?;
    list.into_iter().map(|n| usize::try_from(n).map_err(|_| wrong())).collect()
}

/// The element type that an expression names: `f32` or `"f32"`, and the names of NumPy and ONNX.
pub(crate) fn dtype(expr: &Expr) -> Result<DType> {
    let (Kind::Text(name) | Kind::Name(name)) = &expr.kind else {
        return Err(Fault::at(expr.span.clone(), "the name of an element type is expected, as \"f32\""));
    };
    dtype_of(name).ok_or_else(|| {
        let names: Vec<&str> = DType::ALL.iter().filter(|d| d.is_compiled()).map(|d| d.name()).collect();
        Fault::at(expr.span.clone(), format!("'{name}' is no element type"))
            .hint(format!("there are {}", names.join(", ")))
    })
}

/// The element type of a name.
pub(crate) fn dtype_of(name: &str) -> Option<DType> {
    let long = match name {
        "float" | "float32" => "f32",
        "double" | "float64" => "f64",
        "float16" | "half" => "f16",
        "bfloat16" => "bf16",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" | "int" => "i64",
        "uint8" => "u8",
        "uint16" => "u16",
        "uint32" => "u32",
        "uint64" => "u64",
        other => other,
    };
    DType::parse(long)
}
