//! The quotient that a byte is made of: what `factors` and `muladd` make something else of.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, BufferKind, Expr, Program, UnaryOp};

/// Scales far from where f32 has fewer digits.
const SCALES: std::ops::Range<f32> = 1e-12..1e12;

/// A sum times a scale over another, on its way to a byte.
pub(super) struct Quotient<'e> {
    pub(super) whole: &'e Expr,
    /// It is rounded, and `zero` is added.
    pub(super) number: &'e Expr,
    /// The sum as a number.
    pub(super) sum: &'e Expr,
    pub(super) scale: &'e Expr,
    pub(super) by: f32,
    /// The least and the greatest integer that it is rounded to, or may be.
    pub(super) least: i32,
    pub(super) most: i32,
    pub(super) zero: i32,
}

impl<'e> Quotient<'e> {
    /// One of no program, for looking at its numbers.
    #[cfg(test)]
    pub(super) fn test(e: &'e Expr, (least, most, zero): (i32, i32, i32), by: f32) -> Self {
        Self { whole: e, number: e, sum: e, scale: e, by, least, most, zero }
    }

    /// The quotient that a byte is made of.
    pub(super) fn of(e: &'e Expr) -> Option<Self> {
        let Expr::Cast(to @ (DType::U8 | DType::I8), number) = e else { return None };
        let (least, most) = if *to == DType::U8 { (0, 255) } else { (-128, 127) };
        let limited = |e: &'e Expr, op: BinaryOp, limit: i32| match e {
            Expr::Binary(found, a, b)
                if *found == op && matches!(**b, Expr::Const(c) if c.to_f64() == f64::from(limit)) =>
            {
                Some(&**a)
            }
            _ => None,
        };
        let clamped = limited(number, BinaryOp::Max, least).and_then(|e| limited(e, BinaryOp::Min, most));
        let number = match clamped {
            Some(Expr::Cast(DType::I32, number)) => &**number,
            Some(_) => return None,
            None => &**number,
        };
        let (rounded, zero) = match number {
            Expr::Binary(BinaryOp::Add, rounded, zero) => match **zero {
                Expr::Const(zero) => (&**rounded, zero.to_f64()),
                _ => return None,
            },
            _ => (number, 0.0),
        };
        let Expr::Unary(UnaryOp::Round, whole) = rounded else { return None };
        let Expr::Binary(BinaryOp::Div, product, by) = &**whole else { return None };
        let (Expr::Binary(BinaryOp::Mul, sum, scale), Expr::Const(by)) = (&**product, &**by) else {
            return None;
        };
        let zero =
            (zero.fract() == 0.0 && zero.abs() <= 255.0 && by.dtype == DType::F32).then_some(zero as i32)?;
        let by = by.to_f64() as f32;
        Some(Self { whole, number, sum, scale, by, least: least - zero, most: most - zero, zero })
    }

    /// What a sum is multiplied by; `None` where scales are out of range.
    pub(super) fn ratio(&self, scale: f32) -> Option<f64> {
        let known = SCALES.contains(&scale) && SCALES.contains(&self.by);
        known.then(|| f64::from(scale) / f64::from(self.by))
    }

    /// The elements of the scale.
    pub(super) fn scales(&self, program: &Program) -> Option<Vec<f32>> {
        match self.scale {
            Expr::Const(c) if c.dtype == DType::F32 => Some(vec![c.to_f64() as f32]),
            Expr::Load(a) if a.otherwise.is_none() => match &program.buffer(a.buffer).kind {
                BufferKind::Const(tensor) => Some(tensor.as_slice::<f32>().ok()?.into_owned()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Whether an expression is of integers of 32 bits.
pub(super) fn is_integer(program: &Program, e: &Expr) -> bool {
    match e {
        Expr::Acc | Expr::Cast(DType::I32, _) => true,
        Expr::Const(c) => c.dtype == DType::I32,
        Expr::Load(a) => program.buffer(a.buffer).ty.dtype == DType::I32,
        Expr::Binary(_, a, b) => is_integer(program, a) && is_integer(program, b),
        _ => false,
    }
}
