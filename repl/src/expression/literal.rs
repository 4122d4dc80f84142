//! Numbers and nested lists as tensors. A literal has no element type of its own: it takes that of what it meets.

use std::ops::Range;

use half::{bf16, f16};
use kiln_ir::{DType, Tensor};

use crate::fault::{Fault, Result};
use crate::text::ast::{Expr, Kind};

/// A number of a literal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// A literal: extents and numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Literal {
    shape: Vec<usize>,
    numbers: Vec<Number>,
    /// Where it stands.
    pub(crate) span: Range<usize>,
}

impl Literal {
    /// The literal that an expression is, if it is one.
    ///
    /// # Errors
    ///
    /// Lists of unequal lengths side by side.
    pub(crate) fn of(expr: &Expr) -> Result<Option<Self>> {
        if !is_literal(expr) {
            return Ok(None);
        }
        let mut shape = Vec::new();
        let mut inner = expr;
        while let Kind::List(list) = &inner.kind {
            shape.push(list.len());
            let Some(first) = list.first() else { break };
            inner = first;
        }
        let mut numbers = Vec::new();
        collect(expr, &shape, &mut numbers)?;
        Ok(Some(Self { shape, numbers, span: expr.span.clone() }))
    }

    /// Whether one of the numbers has a point.
    pub(crate) fn is_float(&self) -> bool {
        self.numbers.iter().any(|n| matches!(n, Number::Float(_)))
    }

    /// The type without any other to go by: i64, f32 with a point or without numbers, bool.
    pub(crate) fn natural(&self) -> DType {
        match self.numbers.first() {
            _ if self.is_float() => DType::F32,
            None => DType::F32,
            Some(Number::Bool(_)) => DType::Bool,
            Some(_) => DType::I64,
        }
    }

    /// The tensor of an element type.
    ///
    /// # Errors
    ///
    /// A number that the type does not have.
    pub(crate) fn tensor(&self, dtype: DType) -> Result<Tensor> {
        let wrong = |what: String| Fault::at(self.span.clone(), what);
        let float = |n: &Number| match *n {
            Number::Int(n) => n as f64,
            Number::Float(n) => n,
            Number::Bool(b) => f64::from(u8::from(b)),
        };
        let floats = || self.numbers.iter().map(float);
        let shape = &self.shape;
        match dtype {
            DType::F32 => return Ok(Tensor::from_vec(shape, floats().map(|v| v as f32).collect())),
            DType::F64 => return Ok(Tensor::from_vec(shape, floats().collect())),
            DType::F16 => return Ok(Tensor::from_vec(shape, floats().map(f16::from_f64).collect())),
            DType::BF16 => return Ok(Tensor::from_vec(shape, floats().map(bf16::from_f64).collect())),
            _ => {}
        }
        let mut ints = Vec::with_capacity(self.numbers.len());
        for number in &self.numbers {
            ints.push(match *number {
                Number::Int(n) => i128::from(n),
                Number::Bool(b) => i128::from(b),
                Number::Float(n) if n.fract() == 0.0 && n.abs() < 9e15 => n as i128,
                Number::Float(n) => return Err(wrong(format!("{n} is no {dtype}"))),
            });
        }
        macro_rules! of {
            ($t:ty) => {{
                let narrow = |n: i128| {
                    <$t>::try_from(n).map_err(|_| wrong(format!("{n} is outside the range of {dtype}")))
                };
                Tensor::from_vec(shape, ints.into_iter().map(narrow).collect::<Result<Vec<$t>>>()?)
            }};
        }
        Ok(match dtype {
            DType::U8 => of!(u8),
            DType::I8 => of!(i8),
            DType::U16 => of!(u16),
            DType::I16 => of!(i16),
            DType::U32 => of!(u32),
            DType::I32 => of!(i32),
            DType::U64 => of!(u64),
            DType::I64 => of!(i64),
            DType::Bool => Tensor::from_bools(shape, ints.into_iter().map(|n| n != 0)),
            other => return Err(wrong(format!("numbers cannot be written as {other}"))),
        })
    }

    /// The numbers as integers, if they are integers in a list or one by itself.
    pub(crate) fn ints(&self) -> Option<Vec<i64>> {
        let int = |n: &Number| match n {
            Number::Int(n) => Some(*n),
            Number::Bool(b) => Some(i64::from(*b)),
            Number::Float(_) => None,
        };
        if self.shape.len() > 1 { None } else { self.numbers.iter().map(int).collect() }
    }

    /// The numbers as floats, if they stand in a list or one by itself.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        let float = |n: &Number| match *n {
            Number::Int(n) => n as f32,
            Number::Float(n) => n as f32,
            Number::Bool(b) => f32::from(u8::from(b)),
        };
        (self.shape.len() <= 1).then(|| self.numbers.iter().map(float).collect())
    }

    /// Whether it is a number by itself.
    pub(crate) fn is_scalar(&self) -> bool {
        self.shape.is_empty()
    }
}

fn is_literal(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) => true,
        Kind::List(list) => list.iter().all(is_literal),
        _ => false,
    }
}

fn collect(expr: &Expr, shape: &[usize], out: &mut Vec<Number>) -> Result<()> {
    let number = match &expr.kind {
        Kind::Int(n) => Number::Int(*n),
        Kind::Float(n) => Number::Float(*n),
        Kind::Bool(b) => Number::Bool(*b),
        Kind::List(list) => {
            let Some((extent, rest)) = shape.split_first() else {
                return Err(Fault::at(expr.span.clone(), "a list stands beside numbers"));
            };
            if list.len() != *extent {
                let message = format!(
                    "{} elements stand beside {extent}: lists of a tensor are equally long",
                    list.len()
                );
                return Err(Fault::at(expr.span.clone(), message));
            }
            return list.iter().try_for_each(|inner| collect(inner, rest, out));
        }
        _ => return Err(Fault::at(expr.span.clone(), "a list that is a tensor holds numbers only")),
    };
    if !shape.is_empty() {
        return Err(Fault::at(expr.span.clone(), "a number stands beside lists"));
    }
    out.push(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parser::parse_expr;

    fn of(text: &str) -> Result<Literal> {
        Ok(Literal::of(&parse_expr(text).unwrap())?.unwrap())
    }

    #[test]
    fn nested_lists_are_tensors() {
        let literal = of("[[1, -2], [3, 4.5]]").unwrap();
        assert_eq!(literal.natural(), DType::F32);
        let tensor = literal.tensor(DType::F32).unwrap();
        assert_eq!(tensor, Tensor::from_vec(&[2, 2], vec![1.0f32, -2.0, 3.0, 4.5]));
        assert_eq!(of("[]").unwrap().tensor(DType::I64).unwrap().shape, [0]);
        assert_eq!(of("[true, false]").unwrap().natural(), DType::Bool);
        assert_eq!(of("3").unwrap().ints(), Some(vec![3]));
    }

    #[test]
    fn what_is_no_tensor_is_told() {
        assert_eq!(of("[[1, 2], [3]]").unwrap_err().span, Some(9..12));
        assert!(of("[1, [2]]").is_err() && of("[[1], 2]").is_err());
        assert!(of("300").unwrap().tensor(DType::U8).is_err());
        assert!(of("1.5").unwrap().tensor(DType::I32).is_err());
    }
}
