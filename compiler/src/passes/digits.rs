//! Products of few rows with weights of four or eight bits, as sums of products of bytes.
//!
//! Machines multiply bytes four times as fast as floats, which is what it takes to be done with such weights as fast as they
//! come from memory. So the numbers of a block become integers of 24 bits with a unit of their own, as exact as floats
//! are beside the block's greatest, and these three signed digits each:
//!
//! ```text
//!   unit[b]      = max |x[b, ..]| / 2^22
//!   n            = round(x / unit)  =  d0 + 256 d1 + 65536 d2                        each from -128 to 127
//!   y            = sum over b of (sum of q * n  -  zero[b] * sum of n) * (scale[b] * unit[b])
//! ```
//!
//! The inner sum is exact (`schedule::digits`). Weights lie in panels of 16 columns, four bytes of one after those of the
//! other; scales and zero points, where these are not one for all, lie beside them. Only where each target has the
//! instruction, and for what `packed_product.rs` makes of a product with known scales. Where a target has none, weights of
//! eight bits become floats again as long as these are few (`floats.rs`).

mod floats;
mod packed;

use std::collections::BTreeMap;

use kiln_ir::kernel::digits::{COLUMNS, DigitSum};
use kiln_ir::kernel::{
    Access, Affine, BinaryOp, BufferId, BufferKind, Edits, Expr, Form, Index, Kernel, Loop, LoopId, Program,
    ReduceOp, Role, Store, UnaryOp,
};
use kiln_ir::{DType, Dim, Result, Shape, Tensor, TensorType};
use kiln_targets::Target;

use super::substitute::{Substitution, substitute_access};
use packed::{GROUP, Packed, Zero};

/// The greatest number of a block, in units.
const GREATEST: f32 = (1 << 22) as f32;
/// Rows for which bytes are taken apart again and again; for more they become floats once.
const FEW_ROWS: i64 = 2;
/// The least that counts as the greatest of a block, so that its unit is a normal number.
const LEAST: f32 = 1e-30;

/// Rewrites every such product, where all targets multiply bytes by an instruction; else those of eight bits.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    let mut edits = Edits::default();
    // Steps of a recurrent network share their weights.
    let (mut panels, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    for i in 0..program.kernels().len() {
        let Some(found) = Packed::of(program, program.kernel(i)) else { continue };
        let many = found.count_of_rows(program.kernel(i)) > FEW_ROWS;
        let dots = !targets.is_empty() && targets.iter().all(|t| t.multiplies_digits(8 / found.parts));
        if dots && found.has_panels() {
            edits.replace(i, rewrite(program, i, &found, &mut panels)?);
        } else if many && found.parts == 1 || !dots && floats::pays(&found, targets) {
            edits.replace(i, vec![floats::rewrite(program, i, &found, &mut numbers)?]);
        }
    }
    program.edit(edits);
    Ok(())
}

/// What lies in panels: weights, scales, zero points.
type Laid = (BufferId, BufferId, Option<BufferId>);
/// By weights and scales their panels.
type Panels = BTreeMap<(BufferId, BufferId), Laid>;

/// The kernels for the place of kernel `i`.
fn rewrite(program: &mut Program, i: usize, found: &Packed, known: &mut Panels) -> Result<Vec<Kernel>> {
    let kernel = program.kernel(i).clone();
    let Form::Reduce { store, .. } = &kernel.form else { return Ok(vec![kernel]) };
    let shape = program.buffer(found.numbers).ty.shape.clone();
    let rank = shape.rank();
    let (mut by_block, mut by_digit) = (shape.clone(), shape.clone());
    by_block.0.truncate(rank - 2);
    by_digit.0.insert(rank - 2, Dim::Const(3));
    let mut temp = |suffix: &str, dtype, shape: &Shape| {
        let ty = TensorType::new(dtype, shape.clone());
        program.add_buffer(&format!("{}.{suffix}", kernel.name), ty, BufferKind::Temp)
    };
    let unit = temp("unit", DType::F32, &by_block);
    let shift = temp("shift", DType::F32, &by_block);
    let digits = temp("digits", DType::I8, &by_digit);
    let key = (found.weights, found.scales);
    let (weights, scales, zeros) = match known.get(&key) {
        Some(known) => *known,
        None => panels(program, &kernel.name, found)?,
    };
    known.insert(key, (weights, scales, zeros));
    let mut kernels = Vec::new();
    let mut emit = |program: &mut Program, suffix: &str, loops: Vec<Loop>, form: Form| {
        let name = program.kernel_name(&format!("{}.{suffix}", kernel.name));
        kernels.push(Kernel { name, nodes: kernel.nodes.clone(), loops, form });
    };
    // Of the numbers: what a block's unit is, their digits, and their sums.
    let loops = |reduced: bool| -> Vec<Loop> {
        let role = |axis: usize| if reduced && axis + 2 >= rank { Role::Reduce } else { Role::Parallel };
        let one =
            |(axis, d): (usize, &Dim)| Loop { name: format!("i{axis}"), extent: d.clone(), role: role(axis) };
        shape.iter().enumerate().map(one).collect()
    };
    let ids: Vec<LoopId> = (0..rank as u16).map(LoopId).collect();
    let at = |buffer, ids: &[LoopId]| Access::new(buffer, ids.iter().copied().map(Index::from).collect());
    let of_block = |buffer| at(buffer, &ids[..rank - 2]);
    let bin = |op, a, b| Expr::binary(op, a, b);
    let x = || Expr::Load(at(found.numbers, &ids));
    let greatest = bin(BinaryOp::Max, Expr::Acc, Expr::f32(LEAST));
    let store_unit =
        Store { to: of_block(unit), value: bin(BinaryOp::Mul, greatest, Expr::f32(1.0 / GREATEST)) };
    let form = Form::Reduce { op: ReduceOp::Max, value: Expr::unary(UnaryOp::Abs, x()), store: store_unit };
    emit(program, "unit", loops(true), form);
    let number = || Expr::unary(UnaryOp::Round, bin(BinaryOp::Div, x(), Expr::Load(of_block(unit))));
    let stores = (0..3)
        .map(|digit| {
            let mut index = at(digits, &ids).index;
            index.insert(rank - 2, Affine::constant(digit as i64).into());
            Store { to: Access::new(digits, index), value: Expr::cast(DType::I8, nth_digit(number(), digit)) }
        })
        .collect();
    emit(program, "digits", loops(false), Form::Map { stores });
    let zero = if let Zero::All(zero) = found.zero { zero } else { 1.0 };
    let share = -zero / found.bytes as f32;
    let store_shift = Store { to: of_block(shift), value: bin(BinaryOp::Mul, Expr::Acc, Expr::f32(share)) };
    emit(
        program,
        "shift",
        loops(true),
        Form::Reduce { op: ReduceOp::Sum, value: number(), store: store_shift },
    );
    // The product.
    let mut list: Vec<Loop> = found.rows.iter().map(|l| kernel.loop_(*l).clone()).collect();
    let mut add = |name: &str, extent: usize, role| {
        list.push(Loop { name: name.to_owned(), extent: Dim::from(extent), role });
        LoopId(list.len() as u16 - 1)
    };
    let p = add("p", found.columns / COLUMNS as usize, Role::Parallel);
    let c = add("c", COLUMNS as usize, Role::Parallel);
    let b = add("b", found.blocks, Role::Reduce);
    let g = add("g", found.bytes / GROUP, Role::Reduce);
    let j = add("j", GROUP, Role::Reduce);
    let rows: Vec<LoopId> = (0..found.rows.len() as u16).map(LoopId).collect();
    let row_and =
        |rest: Vec<Index>| -> Vec<Index> { rows.iter().copied().map(Index::from).chain(rest).collect() };
    let digit = |part: usize, digit: usize| {
        let byte = Affine::constant(0i64).plus(g, GROUP).plus(j, 1i64);
        let constant = |n: usize| Index::from(Affine::constant(n as i64));
        Access::new(digits, row_and(vec![b.into(), constant(digit), constant(part), byte.into()]))
    };
    let sum = DigitSum {
        weights: at(weights, &[p, b, g, c, j]),
        digits: (0..found.parts).map(|part| [0, 1, 2].map(|n| digit(part, n))).collect(),
        zero: zeros.map(|zeros| at(zeros, &[p, b, c])),
        shift: Access::new(shift, row_and(vec![b.into()])),
        scale: at(scales, &[p, b, c]),
        unit: Access::new(unit, row_and(vec![b.into()])),
    };
    let mut map: Substitution = found.rows.iter().copied().zip(rows.iter().map(|l| Affine::of(*l))).collect();
    map.insert(found.column, Affine::constant(0i64).plus(p, COLUMNS).plus(c, 1i64));
    let value = store.value.map(&mut |leaf| match leaf {
        Expr::Load(a) => Some(Expr::Load(substitute_access(a, &map))),
        _ => None,
    });
    let store = Store { to: substitute_access(&store.to, &map), value };
    let form = Form::Reduce { op: ReduceOp::Sum, value: sum.value(), store };
    kernels.push(Kernel { name: kernel.name.clone(), nodes: kernel.nodes.clone(), loops: list, form });
    Ok(kernels)
}

/// A digit of a whole number.
fn nth_digit(number: Expr, digit: usize) -> Expr {
    let bin = |op, a, b| Expr::binary(op, a, b);
    // What is left when the digits before it are taken away.
    let mut rest = number;
    for at in 0..=digit {
        let up =
            bin(BinaryOp::Mul, bin(BinaryOp::Add, rest.clone(), Expr::f32(128.0)), Expr::f32(1.0 / 256.0));
        let upper = Expr::unary(UnaryOp::Floor, up);
        if at == digit && digit < 2 {
            return bin(BinaryOp::Sub, rest, bin(BinaryOp::Mul, upper, Expr::f32(256.0)));
        }
        if at < digit {
            rest = upper;
        }
    }
    rest
}

/// Weights, scales and zero points in panels: `[N / 16, blocks, groups, 16, 4]` bytes and `[N / 16, blocks, 16]`.
fn panels(program: &mut Program, name: &str, found: &Packed) -> Result<Laid> {
    let (columns, blocks, bytes) = (COLUMNS as usize, found.blocks, found.bytes);
    let (count, groups) = (found.columns / columns, bytes / GROUP);
    let from = program.constant(found.weights)?.data.clone();
    let mut packed = Vec::with_capacity(from.len());
    let of_scales = program.constant(found.scales)?.clone();
    let from_scales = of_scales.as_slice::<f32>()?;
    let mut scales = Vec::with_capacity(from_scales.len());
    let from_zeros = match found.zero {
        Zero::Each(zeros) => Some(program.constant(zeros)?.data.clone()),
        Zero::All(_) => None,
    };
    let mut zeros = Vec::new();
    for p in 0..count {
        for b in 0..blocks {
            let row = |c: usize| (p * columns + c) * blocks + b;
            scales.extend((0..columns).map(|c| from_scales[row(c)]));
            if let Some(from) = &from_zeros {
                zeros.extend((0..columns).map(|c| from[row(c)]));
            }
            for g in 0..groups {
                for c in 0..columns {
                    packed.extend_from_slice(&from[row(c) * bytes + g * GROUP..][..GROUP]);
                }
            }
        }
    }
    let packed = Tensor::from_vec::<u8>(&[count, blocks, groups, columns, GROUP], packed);
    let scales = Tensor::from_vec::<f32>(&[count, blocks, columns], scales);
    let zeros = from_zeros.map(|_| Tensor::from_vec::<u8>(&[count, blocks, columns], zeros));
    let mut add = |suffix: &str, tensor: Tensor| {
        program.add_buffer(&format!("{name}.{suffix}"), tensor.ty(), BufferKind::Const(tensor))
    };
    Ok((add("panels", packed), add("scales", scales), zeros.map(|zeros| add("zeros", zeros))))
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    fn target(features: &str) -> Target {
        kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512", features).unwrap()
    }

    /// A product with weights of four bits, `[columns, 2, 8]` bytes.
    fn product(columns: usize) -> String {
        let bytes: Vec<String> = (0..columns * 16).map(|i| (i * 73 % 256).to_string()).collect();
        let scales: Vec<String> = (0..columns * 2).map(|i| format!("{:?}", 0.1 + i as f32 / 64.0)).collect();
        format!(
            "program @m {{
               input %x: f32[2, 2, 2, 8]
               const @q: u8[{columns}, 2, 8] = [{}]
               const @s: f32[{columns}, 2] = [{}]
               const @c: f32[{columns}] = splat 0.5
               output %y: f32[2, {columns}]
               reduce \"y\" [m: 2, n: {columns} | b: 2, i: 8] {{
                 acc = sum(((f32(bitand(@q[n, b, i], 15:u8)) - 8.0:f32) * %x[m, b, 0, i]
                   + (f32(shr(@q[n, b, i], 4:u8)) - 8.0:f32) * %x[m, b, 1, i]) * @s[n, b])
                 %y[m, n] = acc + @c[n]
               }}
             }}",
            bytes.join(", "),
            scales.join(", ")
        )
    }

    /// A product with zero points by column and block, whose program is given.
    fn with_zeros(text: &str, columns: usize) -> String {
        let zeros: Vec<String> = (0..columns * 2).map(|i| (i * 7 % 16).to_string()).collect();
        let zeros = format!("const @z: u8[{columns}, 2] = [{}]\n output", zeros.join(", "));
        let text = text.replace("128.0:f32", "f32(@z[n, b])").replace("8.0:f32", "f32(@z[n, b])");
        text.replace("output", &zeros)
    }

    /// The same with weights of eight bits.
    fn product_of_bytes(columns: usize) -> String {
        let text = product(columns).replace("[2, 2, 2, 8]", "[2, 2, 1, 8]");
        let (head, _) = text.split_once("acc = sum").unwrap();
        format!(
            "{head}acc = sum(((f32(@q[n, b, i]) - 128.0:f32) * %x[m, b, 0, i]) * @s[n, b])
                 %y[m, n] = acc + @c[n] }} }}"
        )
    }

    #[test]
    fn numbers_in_digits_are_as_exact_as_floats() {
        let all = [(1.0, 2), (1e-35, 2), (1e30, 2), (1.0, 1), (1e-35, 1), (1e28, 1)];
        for (factor, parts) in all {
            let text = if parts == 2 { product(48) } else { product_of_bytes(48) };
            for text in [with_zeros(&text, 48), text] {
                let mut program = kernel::parse(&text).unwrap();
                let x = (0..32 * parts).map(|i| ((i * 37 % 101) as f32 - 50.3) * factor).collect();
                let x = [Tensor::from_vec::<f32>(&[2, 2, parts, 8], x)];
                let expected = eval::kernel::run(&program, &x).unwrap();
                run(&mut program, &[target("+avx512vnni")]).unwrap();
                kernel::verify(&program).unwrap();
                assert_eq!(program.kernels().len(), 4, "{program}");
                let found = eval::kernel::run(&program, &x).unwrap();
                let (a, b) = (expected[0].to_f64s().unwrap(), found[0].to_f64s().unwrap());
                let largest = a.iter().fold(0f64, |m, v| m.max(v.abs()));
                let near = a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 2e-6 * largest);
                assert!(near, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn bytes_become_floats_where_machines_do_not_multiply_them() {
        for text in [product_of_bytes(40), with_zeros(&product_of_bytes(40), 40)] {
            let mut program = kernel::parse(&text).unwrap();
            let x =
                [Tensor::from_vec::<f32>(&[2, 2, 1, 8], (0..32).map(|i| (i * 37 % 101) as f32).collect())];
            let expected = eval::kernel::run(&program, &x).unwrap();
            run(&mut program, &[target("")]).unwrap();
            kernel::verify(&program).unwrap();
            assert!(matches!(program.kernel(0).form, Form::Contract { .. }), "{program}");
            let found = eval::kernel::run(&program, &x).unwrap();
            let (a, b) = (expected[0].to_f64s().unwrap(), found[0].to_f64s().unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0)), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_stays() {
        for (columns, targets) in [
            (40, &[target("+avx512vnni")][..]),
            (
                48,
                &[
                    target("+avx512vnni"),
                    kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap(),
                ],
            ),
            (16, &[target("+avx512vnni")]),
        ] {
            let mut program = kernel::parse(&product(columns)).unwrap();
            let before = program.to_string();
            run(&mut program, targets).unwrap();
            assert_eq!(program.to_string(), before);
        }
    }
}
