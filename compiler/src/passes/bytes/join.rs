//! Constants that are added to sums of products one after the other become one: zero points times sums of weights, and biases.
//!
//! ```text
//!   %y = f32((acc - 3:i32 * @sums[o]) + @bias[o, 0, 0]) * ..      %y = f32(acc + @shift[o]) * ..
//! ```
//!
//! Integers wrap, so that their order does not matter.

use kiln_ir::kernel::{Access, Affine, BinaryOp, BufferKind, Expr, Form, Index, Program};
use kiln_ir::{DType, Result, Tensor};

/// Joins the constants of every sum of bytes.
pub fn run(program: &mut Program) -> Result<()> {
    for i in 0..program.kernels().len() {
        let (Form::Contract { acc: DType::I32, store, .. } | Form::Window { store, .. }) =
            &program.kernel(i).form
        else {
            continue;
        };
        let value = store.value.clone();
        let Some((above, shift)) = joined(program, &value) else { continue };
        if shift.parts < 2 {
            continue;
        }
        let name = format!("{}.shift", program.kernel(i).name);
        let tensor = Tensor::from_vec(&[shift.elements.len()], shift.elements);
        let buffer = program.add_buffer(&name, tensor.ty(), BufferKind::Const(tensor));
        let index = vec![shift.along.map_or_else(|| Index::from(Affine::constant(0i64)), Index::from)];
        let sum = Expr::binary(BinaryOp::Add, Expr::Acc, Expr::Load(Access::new(buffer, index)));
        let value = value.replace(&mut |part| (*part == above).then(|| sum.clone()));
        if let Form::Contract { store, .. } | Form::Window { store, .. } = &mut program.kernel_mut(i).form {
            store.value = value;
        }
    }
    Ok(())
}

/// Constants along an axis, or a single one.
struct Vector {
    along: Option<Affine>,
    elements: Vec<i32>,
    /// How many operations it stands for.
    parts: usize,
}

impl Vector {
    fn combine(self, other: Self, f: impl Fn(i32, i32) -> i32) -> Option<Self> {
        let parts = self.parts + other.parts;
        let (a, b) = (&self.elements, &other.elements);
        let along = match (self.along, other.along) {
            (Some(x), Some(y)) if x == y && a.len() == b.len() => Some(x),
            (Some(_), Some(_)) => return None,
            (x, y) => x.or(y),
        };
        let n = a.len().max(b.len());
        let at = |list: &[i32], i: usize| list[if list.len() == 1 { 0 } else { i }];
        let elements = (0..n).map(|i| f(at(a, i), at(b, i))).collect();
        Some(Self { along, elements, parts })
    }
}

/// The largest sum of the accumulator and constants, and what these are together.
fn joined(program: &Program, e: &Expr) -> Option<(Expr, Vector)> {
    let here = match e {
        Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
            let sum = |acc: &Expr, constant: &Expr, minus: bool| {
                let before = sum(program, acc)?;
                let constant = constants(program, constant)?;
                before.combine(constant, |a, b| if minus { a.wrapping_sub(b) } else { a.wrapping_add(b) })
            };
            sum(a, b, *op == BinaryOp::Sub)
                .or_else(|| (*op == BinaryOp::Add).then(|| sum(b, a, false)).flatten())
        }
        _ => None,
    };
    match here {
        Some(shift) => Some((e.clone(), shift)),
        None => e.children().into_iter().find_map(|child| joined(program, child)),
    }
}

/// What constants an expression adds to the accumulator, if it does nothing else.
fn sum(program: &Program, e: &Expr) -> Option<Vector> {
    match e {
        Expr::Acc => Some(Vector { along: None, elements: vec![0], parts: 0 }),
        Expr::Binary(..) => joined(program, e).filter(|(above, _)| above == e).map(|(_, shift)| shift),
        _ => None,
    }
}

/// An expression of constants of i32.
fn constants(program: &Program, e: &Expr) -> Option<Vector> {
    match e {
        Expr::Const(scalar) if scalar.dtype == DType::I32 => {
            Some(Vector { along: None, elements: vec![scalar.to_i64() as i32], parts: 1 })
        }
        Expr::Load(access) => {
            let BufferKind::Const(tensor) = &program.buffer(access.buffer).kind else { return None };
            let mut along = None;
            for (index, extent) in access.index.iter().zip(&tensor.shape) {
                let affine = index.affine()?;
                match (*extent, along.is_none()) {
                    (1, _) => {}
                    (_, true) => along = Some(affine.clone()),
                    (_, false) => return None,
                }
            }
            let elements = (tensor.dtype == DType::I32).then(|| tensor.as_slice::<i32>().ok())??.to_vec();
            (access.otherwise.is_none() && !elements.is_empty()).then_some(Vector {
                along,
                elements,
                parts: 1,
            })
        }
        Expr::Binary(op, a, b) => {
            let (a, b) = (constants(program, a)?, constants(program, b)?);
            match op {
                BinaryOp::Add => a.combine(b, i32::wrapping_add),
                BinaryOp::Sub => a.combine(b, i32::wrapping_sub),
                BinaryOp::Mul => a.combine(b, i32::wrapping_mul),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    #[test]
    fn zero_points_and_biases() {
        let text = |value: &str| {
            format!(
                "program @m {{
                   input %x: u8[3, 4] input %z: i32[2]
                   const @w: i8[4, 2] = [1, -2, 3, -4, 5, -6, 7, -8]
                   const @sums: i32[2] = [16, -20] const @bias: i32[2, 1] = [100, 200] const @one: i32[] = [7]
                   output %y: i32[3, 2]
                   contract \"y\" [m: 3, n: 2 | k: 4] {{ acc: i32 = %x[m, k] * @w[k, n] %y[m, n] = {value} }}
                 }}"
            )
        };
        let check = |value: &str, wanted: &str| {
            let mut program = kernel::parse(&text(value)).unwrap();
            let x = [
                Tensor::from_vec::<u8>(&[3, 4], (0..12).map(|i| i * 20).collect()),
                Tensor::from_vec(&[2], vec![5i32, -9]),
            ];
            let expected = eval::kernel::run(&program, &x).unwrap();
            run(&mut program).unwrap();
            kernel::verify(&program).unwrap();
            assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
            assert!(program.to_string().contains(wanted), "{wanted} is not in\n{program}");
        };
        check("acc - 3:i32 * @sums[n] + @bias[n, 0]", "%y[m, n] = acc + @y.shift[n]");
        check("@bias[n, 0] + (acc + @one[]) * 2:i32", "@bias[n, 0] + (acc + @one[]) * 2:i32");
        check("max(acc - @sums[n] - 5:i32 + @one[], 0:i32)", "max(acc + @y.shift[n], 0:i32)");
        // What comes later is no constant.
        check("acc - @sums[n] + @bias[n, 0] - %z[n]", "acc + @y.shift[n] - %z[n]");
        // Along rows and columns at a time.
        check("acc + @bias[n, 0] - @sums[n]", "@y.shift[n]");
    }
}
