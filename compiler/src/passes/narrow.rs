//! Numbers that were bytes a few operations ago are stored as the bytes.
//!
//! ```text
//!   contract "p" { .. %t[m, n] = (f32(u8(..)) - 3.0) * 0.1 }       contract "p" { .. %t.short[m, n] = u8(..) }
//!   contract "q" { .. %y[m, n] = acc + %t[m, n] }                  contract "q" { .. %y[m, n] = acc + (f32(%t.short[m, n]) - 3.0) * 0.1 }
//! ```
//!
//! Fusion makes a DequantizeLinear the epilogue of the product whose result was quantised, where nothing else reads that.
//! Behind a residual connection it belongs to the reader: a quarter of the bytes are written and read.

use std::collections::HashMap;

use kiln_ir::DType;
use kiln_ir::TensorType;
use kiln_ir::kernel::{Access, BufferId, BufferKind, Expr, Form, Kernel, Program, Uses};

use super::absorb::tiles_compute;

/// Operations that every reader does again.
const CHEAP: usize = 5;

/// Narrows every temporary that can be.
pub fn run(program: &mut Program) {
    let uses = Uses::of(program);
    for buffer in program.buffer_ids() {
        narrow(program, &uses, buffer);
    }
}

fn narrow(program: &mut Program, uses: &Uses, buffer: BufferId) -> Option<()> {
    let (ty, writer) = (program.buffer(buffer).ty.clone(), uses.only_writer(buffer)?);
    if program.buffer(buffer).kind != BufferKind::Temp || ty.dtype.size() < 4 {
        return None;
    }
    let value = match &program.kernel(writer).form {
        Form::Contract { store, .. } | Form::Window { store, .. } => store.value.clone(),
        _ => return None,
    };
    let short = short_part(&value)?.clone();
    let Expr::Cast(dtype, _) = short else { return None };
    if value.operations() - short.operations() > CHEAP || only_constants(&value, &short).is_none() {
        return None;
    }
    let readers: Vec<usize> = uses.readers(buffer).iter().copied().collect();
    if readers.is_empty() || !readers.iter().all(|&r| reads_in_epilogue(program, r, buffer, &value)) {
        return None;
    }
    let name = format!("{}.short", program.buffer(buffer).name);
    let narrowed = program.add_buffer(&name, TensorType::new(dtype, ty.shape), BufferKind::Temp);
    if let Form::Contract { store, .. } | Form::Window { store, .. } = &mut program.kernel_mut(writer).form {
        store.to.buffer = narrowed;
        store.value = short.clone();
    }
    for reader in readers {
        let replaced = |e: &Expr| {
            e.replace(&mut |load| match load {
                Expr::Load(access) if access.buffer == buffer => {
                    let byte = Expr::Load(Access { buffer: narrowed, ..access.clone() });
                    Some(value.replace(&mut |part| (*part == short).then(|| byte.clone())))
                }
                _ => None,
            })
        };
        match &mut program.kernel_mut(reader).form {
            Form::Contract { store, .. } | Form::Window { store, .. } => store.value = replaced(&store.value),
            Form::Map { stores } => stores.iter_mut().for_each(|store| store.value = replaced(&store.value)),
            _ => {}
        }
    }
    Some(())
}

/// The outermost conversion to a byte.
fn short_part(e: &Expr) -> Option<&Expr> {
    match e {
        Expr::Cast(DType::U8 | DType::I8, _) => Some(e),
        _ => e.children().into_iter().find_map(short_part),
    }
}

/// Whether an expression reads nothing beside one of its parts.
fn only_constants(e: &Expr, part: &Expr) -> Option<()> {
    match e {
        e if e == part => Some(()),
        Expr::Const(_) => Some(()),
        Expr::Unary(..) | Expr::Binary(..) | Expr::Cast(..) => {
            e.children().into_iter().try_for_each(|child| only_constants(child, part))
        }
        _ => None,
    }
}

/// Whether a kernel reads a buffer in what it does with each of its results only, and computes `value` there as well.
fn reads_in_epilogue(program: &Program, reader: usize, buffer: BufferId, value: &Expr) -> bool {
    let kernel: &Kernel = program.kernel(reader);
    let (values, acc): (Vec<&Expr>, _) = match &kernel.form {
        Form::Contract { store, acc, .. } => (vec![&store.value], Some(*acc)),
        Form::Window { store, .. } => (vec![&store.value], None),
        Form::Map { stores } => (stores.iter().map(|s| &s.value).collect(), None),
        _ => return false,
    };
    let mut inside: HashMap<BufferId, usize> = HashMap::new();
    let mut plain = true;
    for e in values {
        e.for_each_access(&mut |a| {
            *inside.entry(a.buffer).or_default() += 1;
            plain &= a.buffer != buffer || a.otherwise.is_none();
        });
    }
    let all = kernel.form.loads().into_iter().filter(|a| a.buffer == buffer).count();
    let here = inside.get(&buffer).copied().unwrap_or(0);
    let computed = acc.is_none_or(|acc| tiles_compute(program, value, acc));
    plain && here > 0 && all == here && computed && !kernel.form.written().contains(&buffer)
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    fn program(other: &str) -> Program {
        let text = format!(
            "program @m {{
               input %x: u8[3, 4] input %z: u8[3, 4]
               const @w: i8[4, 2] = [1, -2, 3, -4, 5, -6, 7, -8]
               temp %t: f32[3, 2]
               output %y: f32[3, 2] output %o: f32[2, 3]
               contract \"t\" [m: 3, n: 2 | k: 4] {{
                 acc: i32 = %x[m, k] * @w[k, n]
                 %t[m, n] = f32(i32(u8(round(f32(acc) * 0.3:f32))) - 3:i32) * 0.1:f32
               }}
               contract \"y\" [m: 3, n: 2 | k: 4] {{ acc: i32 = %z[m, k] * @w[k, n] %y[m, n] = f32(acc) + %t[m, n] }}
               {other}
             }}"
        );
        kernel::parse(&text).unwrap()
    }

    fn check(other: &str) -> String {
        let mut program = program(other);
        let x = [1u8, 17].map(|by| Tensor::from_vec::<u8>(&[3, 4], (0..12).map(|i| i * by).collect()));
        let expected = eval::kernel::run(&program, &x).unwrap();
        run(&mut program);
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
        program.to_string()
    }

    #[test]
    fn bytes_become_numbers_where_they_are_read() {
        let text = check("map \"o\" [n: 2, m: 3] { %o[n, m] = %t[m, n] * 2.0:f32 }");
        assert!(text.contains("%t.short: u8[3, 2]"), "{text}");
        assert!(text.contains("f32(i32(%t.short[m, n]) - 3:i32) * 0.1:f32 * 2.0:f32"), "{text}");
    }

    #[test]
    fn what_is_read_otherwise_stays() {
        let text = check("reduce \"o\" [n: 2, i: 3 | m: 3] { acc = sum(%t[m, n]) %o[n, i] = acc }");
        assert!(!text.contains(".short"), "{text}");
    }
}
