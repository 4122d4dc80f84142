//! Bytes that products read lie in the arena as words, where machines multiply words in pairs.
//!
//! A product reads an activation once for every vector of columns, and extending bytes then takes longer than the products
//! themselves. So such a byte is extended where it is stored, once; weights are extended as they are loaded, for all rows of a
//! tile:
//!
//! ```text
//!   temp %t: u8                                temp %t: i16
//!   contract "a" { .. %t = u8(..) }            contract "a" { .. %t = i16(u8(..)) }
//!   contract "b" { .. %t[..] * @w[..] .. }     contract "b" { .. %t[..] * @w[..] .. }
//!   map "c" { .. f32(%t[..]) .. }              map "c" { .. f32(%t[..]) .. }
//! ```
//!
//! Copies between such tensors stay copies. What else reads bytes (windows, tables) or has its type from the caller keeps
//! them, and products read a copy. With an instruction for bytes ([`Target::multiplies_fours`]) nothing changes, and neither where machines
//! add products of bytes in 16 bits ([`Target::adds_products_of_bytes`]) and these fit two by two: always, as weights prove
//! ([`two_fit`]), or as a rule, because a byte near its end of the range stands for zero. Those are looked at before they are
//! multiplied ([`Steps::Watched`](kiln_ir::format::packed::Steps)).

mod zero;

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::format::packed::two_fit;
use kiln_ir::kernel::{
    Access, BufferId, BufferKind, Edits, Expr, Form, Kernel, Operand, Program, RegionId, Scalar,
    each_index_buffer,
};
use kiln_ir::{DType, TensorType};
use kiln_targets::Target;

use super::bytes::depth;
use super::widen::converted_copy;
use crate::schedule::contract::LEAST_RUN;

/// Gives what products of bytes read the type that is multiplied on all of these machines.
pub fn run(program: &mut Program, targets: &[Target]) {
    if targets.iter().any(Target::multiplies_fours) {
        return;
    }
    let in_pairs = targets.iter().all(|target| target.adds_products_of_bytes);
    let narrow = |k: &Kernel| pairs_fit(program, k) || pairs_fit_as_a_rule(program, k);
    let wide = |k: &Kernel| activations(program, k).filter(|_| !(in_pairs && narrow(k)));
    let read: Vec<Option<BufferId>> = program.kernels().iter().map(wide).collect();
    let words = together(program, &read, true);
    for i in 0..program.kernels().len() {
        extend_stores(program, i, &words);
        extend_loads(program, i, &words);
    }
    for &buffer in &words {
        let shape = program.buffer(buffer).ty.shape.clone();
        program.set_type(buffer, TensorType::new(DType::I16, shape));
    }
    let mut edits = Edits::default();
    let mut copies: BTreeMap<(BufferId, Option<RegionId>), BufferId> = BTreeMap::new();
    for (i, read) in read.iter().enumerate() {
        let Some(from) = read.filter(|from| !words.contains(from)) else { continue };
        let copy = *copies.entry((from, program.region_of(i))).or_insert_with(|| {
            let (copy, kernels) = converted_copy(program, i, from, DType::I16);
            kernels.into_iter().for_each(|kernel| edits.insert(i, kernel));
            copy
        });
        if let Form::Contract { lhs, .. } = &mut program.kernel_mut(i).form {
            lhs.buffer = copy;
            lhs.otherwise = lhs.otherwise.map(word);
        }
    }
    program.edit(edits);
}

/// The unsigned bytes that a kernel multiplies by constant signed ones.
fn activations(program: &Program, kernel: &Kernel) -> Option<BufferId> {
    let Form::Contract { acc: DType::I32, lhs, rhs, .. } = &kernel.form else { return None };
    let dtype = |a: &Access| program.buffer(a.buffer).ty.dtype;
    let constant = matches!(program.buffer(rhs.buffer).kind, BufferKind::Const(_));
    // Blocks are multiplied by bytes four by four.
    let dense = !program.buffer(rhs.buffer).is_in_blocks();
    (constant && dense && dtype(lhs) == DType::U8 && dtype(rhs) == DType::I8).then_some(lhs.buffer)
}

/// Whether the products of neighbours along the depth of a product fit 16 bits two by two.
fn pairs_fit(program: &Program, kernel: &Kernel) -> bool {
    let Form::Contract { lhs, rhs, .. } = &kernel.form else { return false };
    let (Some((_, axis)), BufferKind::Const(weights)) =
        (depth(kernel, lhs, rhs), &program.buffer(rhs.buffer).kind)
    else {
        return false;
    };
    let inner: usize = weights.shape[axis + 1..].iter().product();
    let even = |i: &usize| (i / inner % weights.shape[axis]).is_multiple_of(2);
    let fit =
        |i: usize| weights.data.get(i + inner).is_some_and(|b| two_fit(weights.data[i] as i8, *b as i8));
    weights.shape[axis].is_multiple_of(2) && (0..weights.data.len()).filter(even).all(fit)
}

/// The byte for zero up to which few activations are so large that a run of them is multiplied in halves.
const MOST_ZERO: f64 = 64.0;

/// Whether depth has whole runs of bytes, of which nearly all are far from the greatest.
fn pairs_fit_as_a_rule(program: &Program, kernel: &Kernel) -> bool {
    let Form::Contract { lhs, rhs, .. } = &kernel.form else { return false };
    let extent = depth(kernel, lhs, rhs).and_then(|(l, _)| kernel.loop_(l).extent.as_const());
    extent.is_some_and(|extent| extent % i64::from(LEAST_RUN) == 0)
        && zero::of(program, lhs.buffer).is_some_and(|zero| zero <= MOST_ZERO)
}

fn word(scalar: Scalar) -> Scalar {
    Scalar::int(DType::I16, scalar.to_i64())
}

/// Temporary bytes that may have another type: products `read` them, and nothing that needs bytes as they are reads or writes them
/// or what they are copied from and to. `transforms`: transforms take either type.
pub(super) fn together(program: &Program, read: &[Option<BufferId>], transforms: bool) -> BTreeSet<BufferId> {
    let mut fixed = BTreeSet::new();
    let mut copies: BTreeMap<BufferId, Vec<BufferId>> = BTreeMap::new();
    for (kernel, product) in program.kernels().iter().zip(read) {
        for access in kernel.form.loads().into_iter().chain(kernel.form.stores()) {
            each_index_buffer(access, &mut |b| {
                fixed.insert(b);
            });
        }
        match &kernel.form {
            Form::Rearrange { from, to } if affine(from) && affine(to) => {
                copies.entry(from.buffer).or_default().push(to.buffer);
                copies.entry(to.buffer).or_default().push(from.buffer);
            }
            Form::Rearrange { from, to } => fixed.extend([from.buffer, to.buffer]),
            Form::Procedure(_) => kernel.form.each_buffer(&mut |b, _| {
                fixed.insert(b);
            }),
            Form::Contract { .. } | Form::Window { .. } if product.is_some() => {}
            // Tiles of either are transformed in words.
            Form::Transform { .. } if transforms => {}
            form => {
                let operands = form.parts().operands.into_iter();
                fixed.extend(operands.filter(|(o, _)| *o != Operand::Copied).map(|(_, a)| a.buffer));
            }
        }
    }
    let may = |b: &BufferId| {
        let buffer = program.buffer(*b);
        buffer.kind == BufferKind::Temp && buffer.ty.dtype == DType::U8 && !fixed.contains(b)
    };
    let mut words = BTreeSet::new();
    for start in read.iter().flatten() {
        // Everything that is copied from or to it, or nothing.
        let (mut together, mut next) = (BTreeSet::new(), vec![*start]);
        while let Some(buffer) = next.pop() {
            if together.insert(buffer) {
                next.extend(copies.get(&buffer).into_iter().flatten());
            }
        }
        if together.iter().all(may) {
            words.extend(together);
        }
    }
    words
}

fn affine(access: &Access) -> bool {
    access.index.iter().all(|i| i.affine().is_some())
}

/// Values that are stored as words are extended.
fn extend_stores(program: &mut Program, i: usize, words: &BTreeSet<BufferId>) {
    for store in program.kernel_mut(i).form.parts_mut().stores {
        if words.contains(&store.to.buffer) {
            let value = std::mem::replace(&mut store.value, Expr::Acc);
            store.value = Expr::cast(DType::I16, value);
            store.to.otherwise = store.to.otherwise.map(word);
        }
    }
}

/// Words that are read by expressions are the bytes that they were; operands of forms are read as they are.
fn extend_loads(program: &mut Program, i: usize, words: &BTreeSet<BufferId>) {
    let loaded = |a: &Access| {
        let mut access = a.clone();
        access.otherwise = access.otherwise.map(word);
        Expr::Load(access)
    };
    let ours = |e: &Expr| matches!(e, Expr::Load(a) if words.contains(&a.buffer));
    let value = |e: &Expr| {
        e.replace(&mut |part| match part {
            // Any other type takes the number of either.
            Expr::Cast(to, of) if *to != DType::Bool && *to != DType::U8 && ours(of) => match &**of {
                Expr::Load(a) => Some(Expr::cast(*to, loaded(a))),
                _ => None,
            },
            Expr::Load(a) if words.contains(&a.buffer) => Some(Expr::cast(DType::U8, loaded(a))),
            _ => None,
        })
    };
    let parts = program.kernel_mut(i).form.parts_mut();
    for expr in parts.reduced.into_iter().chain(parts.stores.iter_mut().map(|s| &mut s.value)) {
        *expr = value(expr);
    }
    for (_, access) in parts.operands {
        if words.contains(&access.buffer) {
            access.otherwise = access.otherwise.map(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    /// What the pass makes of kernels, which computes the same.
    fn check(kernels: &str, level: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: u8[3, 4]
               const @w: i8[4, 5] = splat -128 const @v: i8[5, 4] = splat 127 const @s: i8[4, 4] = splat -64
               temp %t: u8[3, 5] temp %u: u8[3, 5]
               output %y: i32[3, 4] output %z: f32[3, 5] output %b: u8[3, 5]
               {kernels}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        kernel::verify(&program).unwrap();
        let x = [Tensor::from_vec::<u8>(&[3, 4], (0..12).map(|i| (i * 89 + 255) as u8).collect())];
        let expected = eval::kernel::run(&program, &x).unwrap();
        run(&mut program, &[kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap()]);
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &x).unwrap(), expected, "{program}");
        program.to_string()
    }

    const FIRST: &str =
        "contract \"t\" [m: 3, n: 5 | k: 4] { acc: i32 = %x[m, k] * @w[k, n] %t[m, n] = u8(acc) }";
    const SECOND: &str =
        "contract \"y\" [m: 3, n: 4 | k: 5] { acc: i32 = %t[m, k] * @v[k, n] %y[m, n] = acc }";

    #[test]
    fn what_a_product_reads_is_stored_as_words() {
        let uses = "map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%t[a, b]) %b[a, b] = %t[a, b] }";
        let text = check(&[FIRST, SECOND, uses].concat(), "avx2");
        assert!(text.contains("temp %t: i16[3, 5]") && text.contains("= i16(u8(acc))"), "{text}");
        assert!(text.contains("= f32(%t[a, b])") && text.contains("= u8(%t[a, b])"), "{text}");
        // The caller's bytes are copied.
        assert!(text.contains("%x.i16[m, k] * @w"), "{text}");
    }

    #[test]
    fn machines_that_multiply_bytes_keep_them() {
        let uses = "map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%t[a, b]) %b[a, b] = %t[a, b] }";
        let text = check(&[FIRST, SECOND, uses].concat(), "avx512vnni");
        assert!(!text.contains("i16"), "{text}");
    }

    #[test]
    fn weights_that_prove_small_sums_keep_bytes() {
        let small = SECOND.replace("k: 5", "k: 4").replace("@v", "@s");
        let uses = "map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%t[a, b]) %b[a, b] = %t[a, b] }";
        let kernels = [FIRST, &small, uses].concat();
        let text = check(&kernels, "avx2");
        assert!(text.contains("temp %t: u8") && text.contains("%t[m, k] * @s"), "{text}");
        // Without the instruction they become words.
        assert!(check(&kernels, "sse2").contains("temp %t: i16"));
    }

    #[test]
    fn small_activations_of_whole_runs_keep_bytes() {
        let program = |zero: f32, depth: usize| {
            let kernels = format!(
                "map \"t\" [m: 3, k: {depth}] {{ %t[m, k] = u8(max(min(round(%x[m, k] / 0.5:f32) + {zero:?}:f32, 255.0:f32), 0.0:f32)) }}
                 rearrange \"u\" [m: 3, k: {depth}] {{ %u[m, k] = %t[m, k] }}
                 contract \"y\" [m: 3, n: 4 | k: {depth}] {{ acc: i32 = %u[m, k] * @w[k, n] %y[m, n] = acc }}"
            );
            let text = format!(
                "program @m {{
                   input %x: f32[3, {depth}]
                   const @w: i8[{depth}, 4] = splat 127
                   temp %t: u8[3, {depth}] temp %u: u8[3, {depth}]
                   output %y: i32[3, 4]
                   {kernels}
                 }}"
            );
            let mut program = kernel::parse(&text).unwrap();
            let target = |level| kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            run(&mut program, &[target("avx2")]);
            kernel::verify(&program).unwrap();
            program.to_string()
        };
        assert!(!program(3.0, 48).contains("i16"), "{}", program(3.0, 48));
        // In the middle of the range, and where runs are not whole.
        assert!(program(128.0, 48).contains("temp %u: i16[3, 48]"));
        assert!(program(3.0, 40).contains("temp %u: i16[3, 40]"));
    }

    #[test]
    fn windows_read_bytes_and_copies_have_one_type() {
        let pool = "window \"u\" [m: 3, n: 5 | k: 3] { acc = max(%t[m, n + k - 1] else 0:u8) %u[m, n] = acc }
                    map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%u[a, b]) %b[a, b] = %u[a, b] }";
        let text = check(&[FIRST, SECOND, pool].concat(), "sse2");
        assert!(text.contains("temp %t: u8") && text.contains("%t.i16[m, k] * @v"), "{text}");
        let copy = "rearrange \"u\" [a: 3, b: 5] { %u[a, b] = %t[a, b] }
                    map \"z\" [a: 3, b: 5] { %z[a, b] = f32(%u[a, b]) %b[a, b] = %u[a, b] }";
        let text = check(&[FIRST, copy, &SECOND.replace("%t", "%u")].concat(), "avx");
        assert!(text.contains("temp %t: i16") && text.contains("temp %u: i16"), "{text}");
    }
}
