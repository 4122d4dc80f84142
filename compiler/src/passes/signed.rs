//! Bytes that products read lie in the arena with a sign, where machines multiply bytes that both have one.
//!
//! Quantised activations have no sign as a rule. Less half of their range they have one, and what that takes from each sum of products is
//! known with the weights:
//!
//! ```text
//!   temp %t: u8                                             temp %t: i8
//!   map { .. %t = u8(..) }                                  map { .. %t = i8(i32(u8(..)) - 128) }
//!   contract { acc = %t[..] else 3 * @w[o, ..]              contract { acc = %t[..] else -125 * @w[o, ..]
//!              .. = acc + @bias[o] }                                   .. = acc + @bias.signed[o] }
//!   map { .. f32(i32(%t[..]) - 120) }                       map { .. f32(i32(%t[..]) - -8) }
//! ```
//!
//! So nothing is made up for while products are added. Without an instruction for four bytes
//! ([`Target::multiplies_fours`]) two products of a pair of bytes are added in 16 bits, which fit unless both factors may be -128: products
//! with such weights read bytes as they were. Tensors change where all of their readers can: windows that multiply, copies, and
//! expressions; not where they are looked up or compared, or the caller's.

use kiln_ir::kernel::{
    Access, BinaryOp, BufferId, BufferKind, Expr, Form, Index, Kernel, Program, Role, Scalar, WindowOp,
};
use kiln_ir::{DType, Result, Tensor, TensorType};
use kiln_targets::Target;

use super::bytes::{UP, sums_of};
use super::words::together;

/// Takes half of their range from bytes that products read, where all of these machines multiply signed ones.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    if !targets.iter().all(|target| target.multiplies_signed) {
        return Ok(());
    }
    let any = targets.iter().all(Target::multiplies_fours);
    let read: Vec<Option<BufferId>> =
        program.kernels().iter().map(|kernel| activations(program, kernel, any)).collect();
    let bytes = together(program, &read, false);
    for (i, read) in read.iter().enumerate() {
        if read.is_some_and(|from| bytes.contains(&from)) {
            add_sums(program, i)?;
        }
        change_stores(program, i, &|b| bytes.contains(&b));
        change_loads(program, i, &|b| bytes.contains(&b));
    }
    for &buffer in &bytes {
        let shape = program.buffer(buffer).ty.shape.clone();
        program.set_type(buffer, TensorType::new(DType::I8, shape));
    }
    Ok(())
}

/// The unsigned bytes that a kernel multiplies by constant signed ones, all of which are factors of each sum. `any`: of any value.
fn activations(program: &Program, kernel: &Kernel, any: bool) -> Option<BufferId> {
    let (lhs, rhs) = factors(kernel)?;
    let weights = program.buffer(rhs.buffer);
    let BufferKind::Const(values) = &weights.kind else { return None };
    let bytes = (program.buffer(lhs.buffer).ty.dtype, weights.ty.dtype) == (DType::U8, DType::I8);
    let contract = matches!(kernel.form, Form::Contract { .. });
    let fits = any || !contract || !values.data.contains(&(i8::MIN as u8));
    (bytes && !weights.is_in_blocks() && fits && covers(kernel, rhs, &values.shape)).then_some(lhs.buffer)
}

fn factors(kernel: &Kernel) -> Option<(&Access, &Access)> {
    match &kernel.form {
        Form::Contract { acc: DType::I32, lhs, rhs, .. } => Some((lhs, rhs)),
        Form::Window { op: WindowOp::Dot, input, weight: Some(weight), .. } => Some((input, weight)),
        _ => None,
    }
}

/// Whether the reduced loops go through whole axes of the weights, one each.
fn covers(kernel: &Kernel, rhs: &Access, shape: &[usize]) -> bool {
    let plain = rhs.otherwise.is_none() && rhs.index.len() == shape.len();
    plain
        && kernel.loops_of(Role::Reduce).into_iter().all(|l| {
            let mut axes = rhs.index.iter().enumerate().filter(|(_, index)| match index.affine() {
                Some(affine) => !affine.coefficient(l).is(0),
                None => true,
            });
            let (first, more) = (axes.next(), axes.next());
            let whole = first.is_some_and(|(axis, index)| {
                let alone = index.affine().and_then(|a| a.as_loop()) == Some(l);
                alone && kernel.loop_(l).extent.as_const() == Some(shape[axis] as i64)
            });
            whole && more.is_none()
        })
}

/// Gives back to the sums of kernel `i` what its activations lose: to a constant that is added to them, where one is.
fn add_sums(program: &mut Program, i: usize) -> Result<()> {
    let Some((_, rhs)) = factors(program.kernel(i)) else { return Ok(()) };
    let rhs = rhs.clone();
    let (sums, index) = sums_of(program.kernel(i), &rhs, program.constant(rhs.buffer)?)?;
    let Some(value) = stored(&mut program.kernel_mut(i).form).cloned() else { return Ok(()) };
    let mut places: Vec<(Expr, BinaryOp, Result<Tensor>)> = Vec::new();
    value.replace(&mut |part| {
        let (op, other) = match part {
            Expr::Acc => (BinaryOp::Add, None),
            Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), acc, other) if **acc == Expr::Acc => {
                let Expr::Load(access) = &**other else { return None };
                (*op, Some(alike(program, access, &sums, &index)?))
            }
            _ => return None,
        };
        if places.iter().all(|(known, ..)| known != part) {
            places.push((part.clone(), op, together_with(op, other, &sums)));
        }
        Some(part.clone())
    });
    let stem = format!("{}.signed", program.buffer(rhs.buffer).name);
    let mut new = Vec::new();
    for (part, op, tensor) in places {
        let tensor = tensor?;
        let buffer = program.add_buffer(&stem, tensor.ty(), BufferKind::Const(tensor));
        new.push((part, Expr::binary(op, Expr::Acc, Expr::Load(Access::new(buffer, index.clone())))));
    }
    let value =
        value.replace(&mut |part| new.iter().find(|(old, _)| old == part).map(|(_, new)| new.clone()));
    if let Some(stored) = stored(&mut program.kernel_mut(i).form) {
        *stored = value;
    }
    Ok(())
}

fn stored(form: &mut Form) -> Option<&mut Expr> {
    match form {
        Form::Contract { store, .. } | Form::Window { store, .. } => Some(&mut store.value),
        _ => None,
    }
}

/// A constant that is read as sums are, but for axes of one element.
fn alike<'p>(program: &'p Program, access: &Access, sums: &Tensor, index: &[Index]) -> Option<&'p Tensor> {
    let BufferKind::Const(tensor) = &program.buffer(access.buffer).kind else { return None };
    let long = |shape: &[usize], index: &[Index]| -> Vec<(usize, Index)> {
        shape.iter().copied().zip(index.iter().cloned()).filter(|(extent, _)| *extent != 1).collect()
    };
    let plain =
        tensor.dtype == DType::I32 && access.otherwise.is_none() && access.index.len() == tensor.shape.len();
    (plain && long(&tensor.shape, &access.index) == long(&sums.shape, index)).then_some(tensor)
}

/// What is added to sums, or subtracted from them, with the sums of weights.
fn together_with(op: BinaryOp, other: Option<&Tensor>, sums: &Tensor) -> Result<Tensor> {
    let mut numbers = sums.as_slice::<i32>()?.into_owned();
    if let Some(other) = other {
        for (number, other) in numbers.iter_mut().zip(other.as_slice::<i32>()?.iter()) {
            *number =
                if op == BinaryOp::Add { other.wrapping_add(*number) } else { other.wrapping_sub(*number) };
        }
    }
    Ok(Tensor::from_vec(&sums.shape, numbers))
}

/// A number that has no sign as what lies in memory.
fn moved(scalar: Scalar) -> Scalar {
    Scalar::int(DType::I8, scalar.to_i64() - UP)
}

/// Values that are stored lose half of the range.
fn change_stores(program: &mut Program, i: usize, ours: &dyn Fn(BufferId) -> bool) {
    for store in program.kernel_mut(i).form.parts_mut().stores {
        if ours(store.to.buffer) {
            let value = std::mem::replace(&mut store.value, Expr::Acc);
            let less = Expr::Const(Scalar::int(DType::I32, UP));
            let wide = Expr::cast(DType::I32, value);
            store.value = Expr::cast(DType::I8, Expr::binary(BinaryOp::Sub, wide, less));
            store.to.otherwise = store.to.otherwise.map(moved);
        }
    }
}

/// What expressions read gets it back, with what is subtracted from it anyway; operands of forms are read as they are.
fn change_loads(program: &mut Program, i: usize, ours: &dyn Fn(BufferId) -> bool) {
    let loaded = |e: &Expr| match e {
        Expr::Load(a) if ours(a.buffer) => {
            let mut access = a.clone();
            access.otherwise = access.otherwise.map(moved);
            Some(Expr::cast(DType::I32, Expr::Load(access)))
        }
        _ => None,
    };
    let less = |number: Expr, by: i64| match by {
        0 => number,
        by => Expr::binary(BinaryOp::Sub, number, Expr::Const(Scalar::int(DType::I32, by))),
    };
    let wide = |e: &Expr| match e {
        Expr::Cast(DType::I32, of) => loaded(of),
        _ => None,
    };
    let change = |e: &Expr| {
        e.replace(&mut |part| match part {
            Expr::Binary(BinaryOp::Sub, a, by) => wide(a).zip(number(by)).map(|(a, by)| less(a, by - UP)),
            Expr::Cast(to, of) if *to != DType::Bool && *to != DType::U8 => {
                let number = less(loaded(of)?, -UP);
                Some(if *to == DType::I32 { number } else { Expr::cast(*to, number) })
            }
            part => loaded(part).map(|number| Expr::cast(DType::U8, less(number, -UP))),
        })
    };
    let parts = program.kernel_mut(i).form.parts_mut();
    for expr in parts.reduced.into_iter().chain(parts.stores.iter_mut().map(|s| &mut s.value)) {
        *expr = change(expr);
    }
    for (_, access) in parts.operands {
        if ours(access.buffer) {
            access.otherwise = access.otherwise.map(moved);
        }
    }
}

/// A constant of 32 bits.
fn number(e: &Expr) -> Option<i64> {
    match e {
        Expr::Const(scalar) if scalar.dtype.is_int() => Some(scalar.to_i64()),
        Expr::Cast(DType::I32, of) => number(of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    /// What the pass makes of kernels, which computes the same.
    fn check(kernels: &str, level: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: f32[3, 4]
               const @w: i8[4, 5] = splat 127 const @v: i8[5, 4] = splat -128 const @b: i32[5] = [1, 2, 3, 4, -2000000000]
               temp %q: u8[3, 4] temp %t: u8[3, 5] temp %u: u8[3, 5]
               output %y: i32[3, 4] output %z: f32[3, 5] output %o: i32[3, 5]
               map \"q\" [m: 3, k: 4] {{ %q[m, k] = u8(round(%x[m, k] / 0.5:f32) + 3.0:f32) }}
               {kernels}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        kernel::verify(&program).unwrap();
        let x = [Tensor::from_vec::<f32>(&[3, 4], (0..12).map(|i| (i * 89 % 141) as f32 - 9.0).collect())];
        let expected = eval::kernel::run(&program, &x).unwrap();
        run(&mut program, &[kiln_targets::resolve("aarch64-unknown-linux-gnu", level, "").unwrap()]).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
        program.to_string()
    }

    const FIRST: &str = "contract \"t\" [m: 3, n: 5 | k: 4] {
        acc: i32 = %q[m, k] * @w[k, n] %t[m, n] = u8(max(min((acc + @b[n]) / 1000:i32, 255:i32), 0:i32)) }";
    const OTHERS: &str =
        "map \"z\" [a: 3, b: 5] { %z[a, b] = f32(i32(%t[a, b]) - 120:i32) %o[a, b] = i32(%t[a, b]) }
        contract \"y\" [m: 3, n: 4 | k: 5] { acc: i32 = %t[m, k] * @v[k, n] %y[m, n] = acc - 7:i32 }";

    #[test]
    fn products_read_bytes_with_a_sign() {
        let text = check(&[FIRST, OTHERS].concat(), "dotprod");
        assert!(text.contains("temp %q: i8") && text.contains("temp %t: i8"), "{text}");
        assert!(text.contains("%t[a, b]) - -8:i32") && text.contains("acc + @w.signed[n]"), "{text}");
        assert!(text.contains("acc + @v.signed[n] - 7:i32"), "{text}");
        // The least byte times the least is no number of 16 bits when it is added twice.
        let text = check(&[FIRST, OTHERS].concat(), "neon");
        assert!(text.contains("temp %q: i8") && text.contains("temp %t: u8"), "{text}");
        // Machines that multiply either.
        let text = check(&[FIRST, OTHERS].concat(), "i8mm");
        assert!(!text.contains("temp %q: i8"), "{text}");
    }

    #[test]
    fn windows_and_copies_have_one_type() {
        let window = "rearrange \"u\" [a: 3, b: 5] { %u[a, b] = %t[a, b] }
            window \"o\" [m: 3, n: 5 | k: 3] { acc = dot(%u[m, n + k - 1] else 120:u8, @c[n, k]) %o[m, n] = acc }
            map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%t[a, b]) } map \"y\" [a: 3, b: 4] { %y[a, b] = 1:i32 }";
        let window = window.replace("@c[n, k]", "@v[n, k]");
        let text = check(&[FIRST, &window].concat(), "neon");
        // Not all of the weights' columns are factors.
        assert!(text.contains("temp %t: u8") && text.contains("temp %u: u8"), "{text}");
        let text = check(&[FIRST, &window.replace("k: 3", "k: 4")].concat(), "neon");
        assert!(text.contains("temp %t: i8") && text.contains("temp %u: i8"), "{text}");
        assert!(text.contains("else -8:i8"), "{text}");
        let pool = "window \"u\" [m: 3, n: 5 | k: 3] { acc = max(%t[m, n + k - 1] else 0:u8) %u[m, n] = acc }
            map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%u[a, b]) %o[a, b] = 0:i32 }
            contract \"y\" [m: 3, n: 4 | k: 5] { acc: i32 = %t[m, k] * @v[k, n] %y[m, n] = acc }";
        assert!(check(&[FIRST, pool].concat(), "dotprod").contains("temp %t: u8"));
    }
}
