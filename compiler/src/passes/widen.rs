//! Floats of 16 bits that products and windows read lie in the arena as f32.
//!
//! A product reads an element once for every column, a window once for every place that covers it. So such an element
//! becomes f32 where it is stored, once, and not where it is read:
//!
//! ```text
//!   temp %t: f16                                temp %t: f32
//!   contract "a" { .. %t = f16(acc + ..) }      contract "a" { .. %t = f32(f16(acc + ..)) }
//!   contract "b" { .. %t[..] * %w[..] .. }      contract "b" { .. %t[..] * %w[..] .. }
//! ```
//!
//! Nothing changes in what a program says: a value of the model is still rounded to 16 bits, and f32 holds every such
//! number. What is copied from or to such a tensor is f32 too, so that the copy can vanish. Arguments that a product
//! reads are copied first. What is read element by element stays as short as it is, and so do weights.
//!
//! Where a machine adds products of f16 to f32 by an instruction, what only such products read stays f16 too: the same
//! numbers in half the bytes. These are products with many columns of dense weights, whose rows are whole vectors along
//! depth; windows that minimal filtering might take, and depths with something left over, read f32.

mod halves;
mod numbers;

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::kernel::{
    Access, Buffer, BufferId, BufferKind, Edits, Expr, Form, Index, Kernel, Lowering, Operand, Program,
    RegionId, Store,
};
use kiln_ir::{DType, Result, TensorType};
use kiln_targets::Target;

use numbers::Numbers;

/// Gives the tensors their types, for the targets that share them.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    let halves = !targets.is_empty() && targets.iter().all(|t| t.multiplies_halves);
    let operands = |k: &Kernel| match halves && halves::multiplies(program, k) {
        true => BTreeSet::new(),
        false => operands(program, k),
    };
    let operands: Vec<BTreeSet<BufferId>> = program.kernels().iter().map(operands).collect();
    let wide = wide(program, &operands);
    for i in 0..program.kernels().len() {
        let numbers = Numbers { program, wide: &wide };
        if let Some(form) = numbers.form(&program.kernel(i).form)? {
            program.kernel_mut(i).form = form;
        }
    }
    for &buffer in &wide {
        let shape = program.buffer(buffer).ty.shape.clone();
        program.set_type(buffer, TensorType::new(DType::F32, shape));
    }
    copy_arguments(program, &operands, &wide);
    Ok(())
}

/// Floats of 16 bits that a kernel multiplies or moves a window over. Constant factors are converted by its code.
fn operands(program: &Program, kernel: &Kernel) -> BTreeSet<BufferId> {
    let parts = kernel.form.parts();
    let read = parts.operands.into_iter().filter(|(operand, access)| {
        let buffer = program.buffer(access.buffer);
        let converted = match operand {
            Operand::Data => true,
            Operand::Weight => !matches!(buffer.kind, BufferKind::Const(_)),
            Operand::Copied => false,
        };
        converted && buffer.ty.dtype.is_short_float()
    });
    read.map(|(_, access)| access.buffer).collect()
}

/// Temporaries that become f32.
fn wide(program: &Program, operands: &[BTreeSet<BufferId>]) -> BTreeSet<BufferId> {
    // What rows are gathered into, and what helpers touch, stays as it is.
    let mut fixed = BTreeSet::new();
    let mut copies: BTreeMap<BufferId, Vec<BufferId>> = BTreeMap::new();
    for kernel in program.kernels() {
        match &kernel.form {
            Form::Rearrange { from, to } if affine(from) && affine(to) => {
                copies.entry(from.buffer).or_default().push(to.buffer);
                copies.entry(to.buffer).or_default().push(from.buffer);
            }
            Form::Rearrange { to, .. } => {
                fixed.insert(to.buffer);
            }
            Form::Procedure(_) => kernel.form.each_buffer(&mut |b, _| {
                fixed.insert(b);
            }),
            _ => {}
        }
    }
    let may = |b: &BufferId| {
        let buffer = program.buffer(*b);
        buffer.kind == BufferKind::Temp && buffer.ty.dtype.is_short_float() && !fixed.contains(b)
    };
    let mut wide = BTreeSet::new();
    let mut next: Vec<BufferId> = operands.iter().flatten().copied().filter(may).collect();
    while let Some(buffer) = next.pop() {
        if wide.insert(buffer) {
            next.extend(copies.get(&buffer).into_iter().flatten().copied().filter(may));
        }
    }
    wide
}

fn affine(access: &Access) -> bool {
    access.index.iter().all(|i| i.affine().is_some())
}

/// Operands that are not ours to change are copied before the first kernel that needs them.
fn copy_arguments(program: &mut Program, operands: &[BTreeSet<BufferId>], wide: &BTreeSet<BufferId>) {
    let mut edits = Edits::default();
    let mut copies: BTreeMap<(BufferId, Option<RegionId>), BufferId> = BTreeMap::new();
    for (i, read) in operands.iter().enumerate() {
        for &from in read.difference(wide) {
            let copy = *copies.entry((from, program.region_of(i))).or_insert_with(|| {
                let (copy, kernels) = converted_copy(program, i, from, DType::F32);
                kernels.into_iter().for_each(|kernel| edits.insert(i, kernel));
                copy
            });
            for (operand, access) in program.kernel_mut(i).form.parts_mut().operands {
                if access.buffer == from && operand != Operand::Copied {
                    access.buffer = copy;
                    access.otherwise = access.otherwise.map(numbers::constant);
                }
            }
        }
    }
    program.edit(edits);
}

/// A buffer of another type for what is in `from`, and the kernels that fill it, for the place before kernel `before`. What
/// has the caller's layout is brought into ours first, by a copy that vanishes where both are the same.
pub(super) fn converted_copy(
    program: &mut Program,
    before: usize,
    from: BufferId,
    dtype: DType,
) -> (BufferId, Vec<Kernel>) {
    let nodes = program.kernel(before).nodes.clone();
    let Buffer { name, ty, kind, .. } = program.buffer(from).clone();
    let (loops, ids) = Lowering::loops_over(&ty.shape);
    let at = |buffer| Access::new(buffer, ids.iter().map(|&l| Index::from(l)).collect());
    let mut kernels = Vec::new();
    let mut kernel = |program: &mut Program, stem: String, form| {
        let name = program.kernel_name(&stem);
        kernels.push(Kernel { name, nodes: nodes.clone(), loops: loops.clone(), form });
    };
    let mut source = from;
    if matches!(kind, BufferKind::Input | BufferKind::Output) {
        source = program.add_buffer(&format!("{name}.copy"), ty.clone(), BufferKind::Temp);
        kernel(program, format!("{name}.copy"), Form::Rearrange { from: at(from), to: at(source) });
    }
    let converted = TensorType::new(dtype, ty.shape.clone());
    let copy = program.add_buffer(&format!("{name}.{dtype}"), converted, BufferKind::Temp);
    let value = Expr::cast(dtype, Expr::Load(at(source)));
    kernel(program, format!("{name}.{dtype}"), Form::Map { stores: vec![Store { to: at(copy), value }] });
    (copy, kernels)
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::Scalar;
    use kiln_ir::{Tensor, eval, kernel};

    use super::*;

    /// What the pass makes of kernels, which computes the same.
    fn widened(kernels: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: f16[3, 4] input %i: i64[3]
               const @w: f16[4, 5] = splat 0.3 const @v: f16[1, 4] = splat 0.7
               input %h: f16[3, 8] const @p: f16[8, 16] = splat 0.3 const @q: f16[8, 4] = splat 0.3
               temp %t: f16[3, 4] temp %u: f16[4, 3] temp %r: f16[3, 8] temp %o: f16[3, 16]
               output %y: f16[3, 5] output %z: f16[3, 4]
               {kernels}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        kernel::verify(&program).unwrap();
        let x = (0..12).map(|i| Scalar::of(DType::F16, 0.37 * f64::from(i) - 2.0).bits as u16).collect();
        let x = Tensor { dtype: DType::F16, ..Tensor::from_vec::<u16>(&[3, 4], x) };
        let h = (0..24).map(|i| Scalar::of(DType::F16, 0.37 * f64::from(i) - 2.0).bits as u16).collect();
        let h = Tensor { dtype: DType::F16, ..Tensor::from_vec::<u16>(&[3, 8], h) };
        let inputs = [x, Tensor::from_vec(&[3], vec![2i64, 0, 1]), h];
        let expected = eval::kernel::run(&program, &inputs).unwrap();
        let cpu = if kernels.contains("k: 8") { "armv8.6" } else { "neon" };
        let target = kiln_targets::resolve("aarch64-unknown-linux-gnu", cpu, "").unwrap();
        run(&mut program, &[target]).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &inputs).unwrap(), expected, "{program}");
        program.to_string()
    }

    const PRODUCT: &str =
        "contract \"y\" [m: 3, n: 5 | k: 4] { acc: f32 = %t[m, k] * @w[k, n] %y[m, n] = f16(acc) }";
    const USE: &str = "map \"z\" [a: 3, b: 4] { %z[a, b] = %t[a, b] * %t[a, b] + 0.1:f16 }";

    #[test]
    fn what_a_product_reads_is_stored_as_f32() {
        let text = widened(
            &["map \"t\" [a: 3, b: 4] { %t[a, b] = max(exp(%x[a, b]), @v[0, b]) }", PRODUCT, USE].concat(),
        );
        assert!(text.contains("temp %t: f32[3, 4]") && text.contains("const @w: f16"), "{text}");
        // Rounded where the model rounds, and converted nowhere else.
        assert!(text.contains("%t[a, b] = max(f32(f16(exp(f32(%x[a, b])))), f32(@v[0, b]))"), "{text}");
        assert!(text.contains("= f16(f32(f16(%t[a, b] * %t[a, b])) + "), "{text}");
    }

    #[test]
    fn copies_are_f32_on_both_sides() {
        let text = widened(
            &[
                "map \"u\" [a: 4, b: 3] { %u[a, b] = %x[b, a] - 0.5:f16 }",
                "rearrange \"t\" [a: 3, b: 4] { %t[a, b] = %u[b, a] }",
                PRODUCT,
                USE,
            ]
            .concat(),
        );
        assert!(text.contains("temp %u: f32[4, 3]") && text.contains("rearrange \"t\""), "{text}");
    }

    #[test]
    fn arguments_and_gathered_rows_are_copied_once() {
        let twice = [&PRODUCT.replace("%t", "%x"), USE].concat();
        let text = widened(&["map \"t\" [a: 3, b: 4] { %t[a, b] = neg(%x[a, b]) }", &twice].concat());
        assert!(text.contains("%x.f32[i0, i1] = f32(%x.copy[i0, i1])"), "{text}");
        assert!(text.contains("temp %t: f16"), "{text}");
        let text =
            widened(&["rearrange \"t\" [a: 3, b: 4] { %t[a, b] = %x[(%i[a]), b] }", PRODUCT, USE].concat());
        assert!(text.contains("temp %t: f16") && text.contains("%t.f32"), "{text}");
    }

    #[test]
    fn whole_vectors_along_depth_stay_where_they_are_multiplied_as_such() {
        let kernels = |n: i64| {
            let (weights, to) = if n == 16 { ("p", "o") } else { ("q", "z") };
            let x = "map \"r\" [a: 3, b: 8] { %r[a, b] = exp(%h[a, b]) }".to_owned();
            let loops = format!("contract \"{to}\" [m: 3, n: {n} | k: 8]");
            let product =
                format!("{loops} {{ acc: f32 = %r[m, k] * @{weights}[k, n] %{to}[m, n] = f16(acc) }}");
            let fill = |to: &str, n: i64| format!("map \"{to}\" [a: 3, b: {n}] {{ %{to}[a, b] = 0.5:f16 }}");
            let rest = if n == 16 { fill("z", 4) } else { String::new() };
            [x, product, fill("y", 5), rest].concat()
        };
        assert!(widened(&kernels(16)).contains("temp %r: f16[3, 8]"));
        assert!(widened(&kernels(4)).contains("temp %r: f32[3, 8]"));
    }

    #[test]
    fn padding_comparisons_and_reductions() {
        let text = widened(&[
            "map \"t\" [a: 3, b: 4] { %t[a, b] = select(lt(%x[a, b], 0.5:f16), f16(f64(%x[a, b])), 2.0:f16) }",
            "contract \"y\" [m: 3, n: 5 | k: 4] { acc: f32 = %t[m, k - 1] else 1.5:f16 * @w[k, n] %y[m, n] = f16(acc) }",
            "reduce \"z\" [a: 3, b: 4 | c: 4] { acc = sum(%t[a, c]) %z[a, b] = acc + %t[a, b] }",
        ]
        .concat());
        assert!(text.contains("else 1.5:f32") && text.contains("sum(%t[a, c])"), "{text}");
        assert!(text.contains("f16(f32(f16(acc)) + %t[a, b])"), "{text}");
    }
}
