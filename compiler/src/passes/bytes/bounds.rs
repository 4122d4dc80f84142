//! Quantised sums of bytes whose numbers certainly fit 32 bits are clamped as integers, which stores do by themselves.
//!
//! ```text
//!   u8(round(f32(acc + @shift[o]) * @scale[o] / s) + z)
//!   u8(max(min(i32(round(f32(acc + @shift[o]) * @scale[o] / s) + z), 255), 0))
//! ```
//!
//! Weights are known, and activations are 0 to 255, so every sum lies between two numbers, and what is made of it by constants
//! does too.

use kiln_ir::kernel::{Access, BinaryOp, BufferKind, Expr, Form, Kernel, Program, Role, Scalar, UnaryOp};
use kiln_ir::{DType, Result};

/// Numbers that every machine rounds to integers by one instruction.
const MOST: f64 = (1 << 22) as f64;
/// How much further numbers may lie for being rounded.
const SLACK: f64 = 1.0001;
/// The greatest activation.
const BYTE: f64 = 255.0;

/// The least and the greatest number that something may be.
pub(super) type Range = (f64, f64);

/// Rewrites the results of all sums of bytes.
pub fn run(program: &mut Program) -> Result<()> {
    for i in 0..program.kernels().len() {
        let kernel = program.kernel(i);
        let (lhs, rhs, store) = match &kernel.form {
            Form::Contract { acc: DType::I32, lhs, rhs, store } => (lhs, rhs, store),
            Form::Window { input, weight: Some(weight), store, .. } => (input, weight, store),
            _ => continue,
        };
        let bytes = program.buffer(lhs.buffer).ty.dtype == DType::U8
            && program.buffer(rhs.buffer).ty.dtype == DType::I8;
        let quantises = |part: &Expr| matches!(part, Expr::Cast(DType::U8 | DType::I8, _));
        if !bytes || !any(&store.value, &quantises) {
            continue;
        }
        let Some(sums) = sums(program, kernel, rhs)? else { continue };
        let mut changed = false;
        let value = store.value.replace(&mut |part| {
            let new = clamped(program, part, sums);
            changed |= new.is_some();
            new
        });
        if let (true, Form::Contract { store, .. } | Form::Window { store, .. }) =
            (changed, &mut program.kernel_mut(i).form)
        {
            store.value = value;
        }
    }
    Ok(())
}

fn any(e: &Expr, is: &impl Fn(&Expr) -> bool) -> bool {
    is(e) || e.children().into_iter().any(|child| any(child, is))
}

/// A conversion to a byte that is clamped before.
fn clamped(program: &Program, e: &Expr, sums: Range) -> Option<Expr> {
    let Expr::Cast(to @ (DType::U8 | DType::I8), number) = e else { return None };
    let rounded = match &**number {
        Expr::Binary(BinaryOp::Add, rounded, zero) if matches!(**zero, Expr::Const(_)) => rounded,
        _ => number,
    };
    if !matches!(**rounded, Expr::Unary(UnaryOp::Round, _)) {
        return None;
    }
    let (least, most) = range(program, number, sums)?;
    if least <= -MOST || most >= MOST {
        return None;
    }
    let (lo, hi) = if *to == DType::U8 { (0, 255) } else { (-128, 127) };
    let limit = |op, e, limit| Expr::binary(op, e, Expr::Const(Scalar::int(DType::I32, limit)));
    let integer = Expr::cast(DType::I32, (**number).clone());
    Some(Expr::cast(*to, limit(BinaryOp::Max, limit(BinaryOp::Min, integer, hi), lo)))
}

/// What an expression of f32 and the sums may be; `None` where that is not known.
pub(super) fn range(program: &Program, e: &Expr, sums: Range) -> Option<Range> {
    let inside = |(lo, hi): Range, limit: f64| (lo > -limit && hi < limit).then_some((lo, hi));
    let wider = |(lo, hi): Range| (lo - lo.abs() * (SLACK - 1.0), hi + hi.abs() * (SLACK - 1.0));
    match e {
        Expr::Acc => Some(sums),
        Expr::Const(scalar) => Some((scalar.to_f64(), scalar.to_f64())).filter(|r| r.0.is_finite()),
        Expr::Load(access) => elements(program, access),
        Expr::Cast(DType::U8, _) => Some((0.0, BYTE)),
        Expr::Cast(DType::I32, a) => inside(range(program, a, sums)?, f64::from(i32::MAX)),
        Expr::Cast(DType::F32, a) => Some(wider(range(program, a, sums)?)),
        Expr::Unary(UnaryOp::Round, a) => range(program, a, sums).map(|(lo, hi)| (lo - 0.5, hi + 0.5)),
        Expr::Binary(op, a, b) => {
            let (a, b) = (range(program, a, sums)?, range(program, b, sums)?);
            let ends = |f: &dyn Fn(f64, f64) -> f64| {
                let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
                (
                    all.into_iter().fold(f64::INFINITY, f64::min),
                    all.into_iter().fold(f64::NEG_INFINITY, f64::max),
                )
            };
            let found = match op {
                BinaryOp::Add => wider(ends(&|a, b| a + b)),
                BinaryOp::Sub => wider(ends(&|a, b| a - b)),
                BinaryOp::Mul => wider(ends(&|a, b| a * b)),
                BinaryOp::Div if b.0 > 0.0 || b.1 < 0.0 => wider(ends(&|a, b| a / b)),
                // Where a byte is clamped further, that may be left out.
                BinaryOp::Max | BinaryOp::Min => (a.0.min(b.0), a.1.max(b.1)),
                _ => return None,
            };
            // No sum of integers wraps.
            inside(found, f64::from(i32::MAX))
        }
        _ => None,
    }
}

/// The elements of a constant, or of a type that holds few numbers.
fn elements(program: &Program, access: &Access) -> Option<Range> {
    let buffer = program.buffer(access.buffer);
    let outside = access.otherwise.map(|s| s.to_f64());
    let known = match (&buffer.kind, buffer.ty.dtype) {
        (BufferKind::Const(tensor), _) => tensor.to_f64s().ok()?,
        (_, DType::U8) => vec![0.0, BYTE],
        (_, DType::I8) => vec![-128.0, 127.0],
        _ => return None,
    };
    let all = known.into_iter().chain(outside);
    let found = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), x| {
        if x.is_nan() { (f64::NEG_INFINITY, f64::INFINITY) } else { (lo.min(x), hi.max(x)) }
    });
    (found.0.is_finite() && found.1.is_finite()).then_some(found)
}

/// What the sums of a kernel may be.
pub(super) fn sums(program: &Program, kernel: &Kernel, rhs: &Access) -> Result<Option<Range>> {
    let BufferKind::Const(weights) = &program.buffer(rhs.buffer).kind else { return Ok(None) };
    let reduced = kernel.loops_of(Role::Reduce);
    let kept = |axis: &usize| match rhs.index[*axis].affine() {
        Some(index) => !reduced.iter().any(|l| !index.coefficient(*l).is(0)),
        None => true,
    };
    let results: Vec<usize> =
        (0..rhs.index.len()).filter(kept).filter(|axis| weights.shape[*axis] > 1).collect();
    let (inner, count) = match results[..] {
        [] => (weights.elements().max(1), 1),
        [axis] => (weights.shape[axis + 1..].iter().product::<usize>().max(1), weights.shape[axis]),
        _ => return Ok(None),
    };
    let mut all = vec![(0i64, 0i64); count];
    for (i, run) in weights.as_slice::<i8>()?.chunks(inner).enumerate() {
        let (negative, positive) = &mut all[i % count];
        for weight in run {
            *negative += i64::from((*weight).min(0));
            *positive += i64::from((*weight).max(0));
        }
    }
    let least = all.iter().map(|a| a.0).min().unwrap_or(0) as f64 * BYTE;
    let most = all.iter().map(|a| a.1).max().unwrap_or(0) as f64 * BYTE;
    Ok((least > f64::from(i32::MIN) && most < f64::from(i32::MAX)).then_some((least, most)))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    fn check(scale: &str, weight: i32) -> String {
        let text = format!(
            "program @m {{
               input %x: u8[3, 4]
               const @w: i8[4, 2] = splat {weight} const @s: f32[2] = [{scale}, 0.5] const @b: i32[2] = [7, -9]
               output %y: u8[3, 2]
               contract \"y\" [m: 3, n: 2 | k: 4] {{
                 acc: i32 = %x[m, k] * @w[k, n]
                 %y[m, n] = u8(round(f32(acc + @b[n]) * @s[n] / 0.3:f32) + 5.0:f32)
               }}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        let x = Tensor::from_vec::<u8>(&[3, 4], vec![0, 1, 2, 3, 255, 255, 255, 255, 100, 1, 0, 9]);
        let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        run(&mut program).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected, "{program}");
        program.to_string()
    }

    #[test]
    fn what_fits_is_clamped_as_integers() {
        for weight in [1, -128, 127] {
            let text = check("0.25", weight);
            assert!(text.contains("u8(max(min(i32(round("), "{text}");
        }
    }

    #[test]
    fn what_may_be_large_stays() {
        // 4 * 255 * 127 * 10 / 0.3 is more than 2^22.
        let text = check("10.0", 127);
        assert!(!text.contains("min("), "{text}");
        assert!(check("10.0", 1).contains("min("));
    }
}
