//! Products of bytes, as machines multiply them: unsigned activations by signed weights, four steps of depth at a time.
//!
//! ```text
//!   contract { acc: i32 = %x[n, c, h, w] * @w[o, c, kh, kw]   %y = acc - .. }      x: i8, w: i8[8, 3, 3, 3]
//!
//!   map { %x.u8 = u8(i32(%x) + 128) }
//!   contract { acc: i32 = %x.u8[n, c, h, w] else 0 * @w.fours[o, c, kh, kw]  %y = (acc - @w.sums[o]) - .. }   w: i8[8, 4, 3, 3]
//! ```
//!
//! - Weights of more bits, or without a sign, whose values fit become i8; others less their middle, where these fit.
//! - Signed activations move up by 128; what that adds to each sum is known with the weights.
//! - Windows (depthwise convolutions) get the same types, or keep weights of 16 bits; their products are those of words.
//! - Depth along the axis that is to lie innermost becomes a multiple of four: the channels, or of a single one the columns of
//!   a window. The further steps are multiplied by zeros, so what they read is of no consequence: padding, for which layout
//!   finds memory.
//!
//! The pass comes before fusion, so that what it adds becomes part of what is before and behind.

pub mod bounds;
pub mod factors;
pub mod join;
mod lookups;
mod middle;
mod muladd;
mod pixels;
mod quotient;

use std::collections::BTreeMap;

use kiln_ir::kernel::{
    Access, BinaryOp, BufferId, BufferKind, Edits, Expr, Form, Index, Kernel, LoopId, Lowering, Program,
    RegionId, Role, Scalar, Store, Uses, WindowOp,
};
use kiln_ir::{DType, Dim, Result, Tensor, TensorType};

/// Bytes that are multiplied at a time.
const GROUP: i64 = 4;
/// From the least of the signed bytes to the least of the others.
pub(super) const UP: i64 = 128;

/// Gives products of bytes that form.
pub fn run(program: &mut Program) -> Result<()> {
    let uses = Uses::of(program);
    let mut edits = Edits::default();
    let mut moved: BTreeMap<(BufferId, Option<RegionId>), BufferId> = BTreeMap::new();
    for i in 0..program.kernels().len() {
        let Some((lhs, rhs)) = factors(program, program.kernel(i)) else { continue };
        let contract = matches!(program.kernel(i).form, Form::Contract { .. });
        let bytes = signed_bytes(program.constant(rhs.buffer)?)?;
        // Else another kernel reads the activations too.
        let alone = bytes.is_some();
        let weights = match bytes {
            None if contract => middle::moved(program, i, &lhs, &rhs, &mut edits)?,
            None => Some(program.constant(rhs.buffer)?.clone()).filter(|w| w.dtype == DType::I16),
            weights => weights,
        };
        let Some(mut weights) = weights else { continue };
        let depth = depth(program.kernel(i), &lhs, &rhs).filter(|_| contract);
        if program.buffer(lhs.buffer).ty.dtype == DType::I8 {
            let up = *moved.entry((lhs.buffer, program.region_of(i))).or_insert_with(|| {
                let (up, kernel) = moved_up(program, i, lhs.buffer);
                edits.insert(i, kernel);
                up
            });
            subtract_sums(program, i, &rhs, &weights)?;
            let lhs = factors_mut(program, i).0;
            lhs.buffer = up;
            lhs.otherwise = lhs.otherwise.map(|s| Scalar::int(DType::U8, s.to_i64() + UP));
        }
        if let Some((l, axis)) = depth {
            let extent = weights.shape[axis] as i64;
            let whole = (extent + GROUP - 1) / GROUP * GROUP;
            if whole > extent {
                weights = widened(&weights, axis, whole as usize);
                program.kernel_mut(i).loops[l.0 as usize].extent = Dim::Const(whole);
                let mut of = factors_mut(program, i).0.clone();
                let fill = |program: &mut Program| pixels::fill(program, &uses, (i, &of), l, (extent, whole));
                match if alone { fill(program) } else { None } {
                    Some(four) => of.buffer = four,
                    None => _ = of.otherwise.get_or_insert(Scalar::int(DType::U8, 0)),
                }
                *factors_mut(program, i).0 = of;
            }
        }
        let own = program.constant(rhs.buffer)?;
        if own.dtype != weights.dtype || own.shape != weights.shape {
            let name = format!("{}.bytes", program.buffer(rhs.buffer).name);
            let bytes = program.add_buffer(&name, weights.ty(), BufferKind::Const(weights));
            factors_mut(program, i).1.buffer = bytes;
            if uses.only_reader(rhs.buffer) == Some(i) {
                program.release(rhs.buffer)?;
            }
        }
    }
    program.edit(edits);
    lookups::run(program);
    Ok(())
}

/// Activations and constant weights of a sum of products in 32 bits.
fn factors(program: &Program, kernel: &Kernel) -> Option<(Access, Access)> {
    let (lhs, rhs) = match &kernel.form {
        Form::Contract { acc: DType::I32, lhs, rhs, .. } => (lhs, rhs),
        Form::Window { op: WindowOp::Dot, input, weight: Some(weight), .. } => (input, weight),
        _ => return None,
    };
    let weights = program.buffer(rhs.buffer);
    let constant = matches!(weights.kind, BufferKind::Const(_)) && weights.ty.dtype.is_int();
    let bytes = matches!(program.buffer(lhs.buffer).ty.dtype, DType::U8 | DType::I8);
    let affine = |a: &Access| a.index.iter().all(|i| i.affine().is_some());
    let plain = affine(lhs) && affine(rhs) && rhs.otherwise.is_none();
    (constant && bytes && plain).then(|| (lhs.clone(), rhs.clone()))
}

fn factors_mut(program: &mut Program, i: usize) -> (&mut Access, &mut Access) {
    match &mut program.kernel_mut(i).form {
        Form::Contract { lhs, rhs, .. } => (lhs, rhs),
        Form::Window { input, weight: Some(weight), .. } => (input, weight),
        _ => unreachable!("a sum of products"),
    }
}

/// The same numbers as i8, where they fit.
fn signed_bytes(weights: &Tensor) -> Result<Option<Tensor>> {
    if weights.dtype == DType::I8 {
        return Ok(Some(weights.clone()));
    }
    if weights.dtype.size() > 4 {
        return Ok(None);
    }
    let bytes: Option<Vec<i8>> =
        weights.to_f64s()?.into_iter().map(|v| i8::try_from(v as i64).ok()).collect();
    Ok(bytes.map(|bytes| Tensor::from_vec(&weights.shape, bytes)))
}

/// The reduced loop that is to lie innermost, and the axis of the weights: one that is an axis of both factors by itself, the
/// channels or the inner axis of a product of matrices. Where there is one channel, the columns of a window along the innermost
/// axis, which lie side by side: filled up they are fewer than channels would be.
pub(super) fn depth(kernel: &Kernel, lhs: &Access, rhs: &Access) -> Option<(LoopId, usize)> {
    let alone = |access: &Access, l: LoopId| {
        let uses =
            access.index.iter().filter(|i| i.affine().is_some_and(|a| !a.coefficient(l).is(0))).count();
        let axis = access.index.iter().position(|i| i.affine().and_then(|a| a.as_loop()) == Some(l));
        axis.filter(|_| uses == 1)
    };
    let reduced = kernel.loops_of(Role::Reduce);
    let extent = |l: LoopId| kernel.loop_(l).extent.as_const();
    let mut found = reduced.iter().filter_map(|&l| alone(lhs, l).and(alone(rhs, l)).map(|axis| (l, axis)));
    let channels = found.next().filter(|(l, _)| extent(*l).is_some());
    let column = |l: LoopId| {
        let steps = |i: &Index| i.affine().map(|a| a.coefficient(l));
        let (last, others) = lhs.index.split_last()?;
        let beside = steps(last)?.is(1) && others.iter().all(|i| steps(i).is_some_and(|n| n.is(0)));
        alone(rhs, l).filter(|_| beside && extent(l).is_some_and(|n| n > 1))
    };
    match channels {
        Some((l, _)) if extent(l) != Some(1) => channels,
        _ => reduced.iter().find_map(|&l| column(l).map(|axis| (l, axis))).or(channels),
    }
}

/// Zeros behind the elements of an axis.
fn widened(weights: &Tensor, axis: usize, extent: usize) -> Tensor {
    let inner: usize = weights.shape[axis + 1..].iter().product();
    let (from, to) = (weights.shape[axis] * inner, extent * inner);
    let outer: usize = weights.shape[..axis].iter().product();
    let mut data = vec![0; outer * to];
    for (new, old) in data.chunks_exact_mut(to.max(1)).zip(weights.data.chunks_exact(from.max(1))) {
        new[..from].copy_from_slice(old);
    }
    let mut shape = weights.shape.clone();
    shape[axis] = extent;
    Tensor { dtype: weights.dtype, shape, data: data.into() }
}

/// A copy of activations, moved up, and the kernel that makes it for the place before kernel `before`.
fn moved_up(program: &mut Program, before: usize, from: BufferId) -> (BufferId, Kernel) {
    let nodes = program.kernel(before).nodes.clone();
    let (stem, shape) = (program.buffer(from).name.clone(), program.buffer(from).ty.shape.clone());
    let (loops, ids) = Lowering::loops_over(&shape);
    let to = program.add_buffer(&format!("{stem}.u8"), TensorType::new(DType::U8, shape), BufferKind::Temp);
    let at = |buffer| Access::new(buffer, ids.iter().map(|&l| Index::from(l)).collect());
    let wide = Expr::cast(DType::I32, Expr::Load(at(from)));
    let sum = Expr::binary(BinaryOp::Add, wide, Expr::Const(Scalar::int(DType::I32, UP)));
    let store = Store { to: at(to), value: Expr::cast(DType::U8, sum) };
    let name = program.kernel_name(&format!("{stem}.u8"));
    (to, Kernel { name, nodes, loops, form: Form::Map { stores: vec![store] } })
}

/// What activations that are more by half of their range add to the sums of a kernel, and the index by which these read it.
pub(super) fn sums_of(kernel: &Kernel, rhs: &Access, weights: &Tensor) -> Result<(Tensor, Vec<Index>)> {
    let reduced = kernel.loops_of(Role::Reduce);
    let kept: Vec<usize> = (0..rhs.index.len())
        .filter(|axis| {
            !reduced.iter().any(|l| rhs.index[*axis].affine().is_some_and(|a| !a.coefficient(*l).is(0)))
        })
        .collect();
    let shape: Vec<usize> = kept.iter().map(|axis| weights.shape[*axis]).collect();
    let mut sums = vec![0i32; shape.iter().product()];
    for (flat, weight) in weights.to_f64s()?.into_iter().enumerate() {
        let (mut rest, mut index) = (flat, vec![0; weights.shape.len()]);
        for axis in (0..index.len()).rev() {
            (index[axis], rest) = (rest % weights.shape[axis], rest / weights.shape[axis]);
        }
        let at = kept.iter().fold(0, |at, axis| at * weights.shape[*axis] + index[*axis]);
        sums[at] += UP as i32 * weight as i32;
    }
    let index = kept.iter().map(|axis| rhs.index[*axis].clone()).collect();
    Ok((Tensor::from_vec(&shape, sums), index))
}

/// Takes from the sums of kernel `i` what activations that moved up add to them.
fn subtract_sums(program: &mut Program, i: usize, rhs: &Access, weights: &Tensor) -> Result<()> {
    let (sums, index) = sums_of(program.kernel(i), rhs, weights)?;
    let stem = format!("{}.sums", program.buffer(rhs.buffer).name);
    let buffer = program.add_buffer(&stem, sums.ty(), BufferKind::Const(sums));
    let less = Expr::binary(BinaryOp::Sub, Expr::Acc, Expr::Load(Access::new(buffer, index)));
    if let Form::Contract { store, .. } | Form::Window { store, .. } = &mut program.kernel_mut(i).form {
        store.value = store.value.replace(&mut |part| (*part == Expr::Acc).then(|| less.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_ir::{eval, kernel};

    use super::*;

    /// What the pass makes of a program, which computes the same.
    fn check(text: &str, x: &[u8]) -> String {
        let mut program = kernel::parse(text).unwrap();
        let ty = &program.buffer(program.inputs[0]).ty;
        let shape = ty.shape.as_const().unwrap();
        let x = Tensor { dtype: ty.dtype, ..Tensor::from_vec::<u8>(&shape, x.to_vec()) };
        let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        run(&mut program).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected, "{program}");
        program.to_string()
    }

    fn product(lhs: &str, rhs: &str, k: usize) -> String {
        format!(
            "program @m {{
               input %x: {lhs}[3, {k}]
               const @w: {rhs}[{k}, 2] = [{}]
               output %y: i32[3, 2]
               contract \"y\" [m: 3, n: 2 | k: {k}] {{ acc: i32 = %x[m, k] * @w[k, n] %y[m, n] = acc - 7:i32 }}
             }}",
            (0..2 * k).map(|i| format!("{}", (i * 37 + 11) % 120)).collect::<Vec<_>>().join(", ")
        )
    }

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 89 + 131) as u8).collect()
    }

    #[test]
    fn depth_by_fours_and_weights_of_a_byte() {
        let text = check(&product("u8", "i16", 5), &bytes(15));
        assert!(text.contains("i8[8, 2]") && text.contains("k: 8") && text.contains("else 0:u8"), "{text}");
        let text = check(&product("u8", "i8", 8), &bytes(24));
        assert!(text.contains("@w: i8[8, 2]") && !text.contains("else"), "{text}");
    }

    #[test]
    fn signed_activations_move_up() {
        let text = check(&product("i8", "u8", 4), &bytes(12));
        assert!(text.contains("%x.u8") && text.contains("@w.sums: i32[2]"), "{text}");
    }

    #[test]
    fn windows_with_padding() {
        let text = "program @m {
          input %x: i8[1, 3, 4, 4]
          const @w: i8[2, 3, 3, 3] = splat -5
          output %y: i32[1, 2, 4, 4]
          contract \"y\" [o: 2, h: 4, w: 4 | c: 3, i: 3, j: 3] {
            acc: i32 = %x[0, c, h + i - 1, w + j - 1] else 3:i8 * @w[o, c, i, j]
            %y[0, o, h, w] = acc
          }
        }";
        let text = check(text, &bytes(48));
        assert!(text.contains("c: 4") && text.contains("else 131:u8"), "{text}");
    }

    fn image(value: &str) -> String {
        let text = format!(
            "program @m {{
               input %x: f32[1, 3, 4, 5]
               const @w: i8[2, 3, 3, 3] = splat -5
               temp %q: u8[1, 3, 4, 5]
               output %y: i32[1, 2, 4, 5]
               map \"q\" [n: 1, c: 3, h: 4, w: 5] {{ %q[n, c, h, w] = {value} }}
               contract \"y\" [o: 2, h: 4, w: 5 | c: 3, i: 3, j: 3] {{
                 acc: i32 = %q[0, c, h + i - 1, w + j - 1] else 3:u8 * @w[o, c, i, j]
                 %y[0, o, h, w] = acc
               }}
             }}"
        );
        let mut program = kernel::parse(&text).unwrap();
        let x = Tensor::from_vec(&[1, 3, 4, 5], (0..60).map(|i| i as f32 * 4.3).collect());
        let expected = eval::kernel::run(&program, std::slice::from_ref(&x)).unwrap();
        run(&mut program).unwrap();
        kernel::verify(&program).unwrap();
        assert_eq!(eval::kernel::run(&program, &[x]).unwrap(), expected, "{program}");
        program.to_string()
    }

    #[test]
    fn an_image_gets_a_fourth_channel() {
        let text = image("u8(round(%x[0, c, h, w] / 2.0:f32) + 3.0:f32)");
        assert!(text.contains("%q.four: u8[1, 4, 4, 5]"), "{text}");
        assert!(text.contains("%x[0, c, h, w] else 0.0:f32"), "{text}");
        // What is no image is padded where it is read.
        let text = image("u8(round(%x[0, 2 - c, h, w] / 2.0:f32))");
        assert!(!text.contains(".four"), "{text}");
    }

    #[test]
    fn columns_of_a_window_over_one_channel() {
        for (width, whole) in [(2, 4), (4, 4), (5, 8)] {
            let text = format!(
                "program @m {{
                   input %x: u8[1, 1, 6, 9]
                   const @w: i8[2, 1, 3, {width}] = [{}]
                   output %y: i32[1, 2, 3, 5]
                   contract \"y\" [o: 2, h: 3, w: 5 | c: 1, i: 3, j: {width}] {{
                     acc: i32 = %x[0, c, 2*h + i - 1, 2*w + j - 1] else 3:u8 * @w[o, c, i, j]
                     %y[0, o, h, w] = acc
                   }}
                 }}",
                (0..6 * width).map(|i| format!("{}", (i * 37 + 11) % 120)).collect::<Vec<_>>().join(", ")
            );
            let text = check(&text, &bytes(54));
            assert!(text.contains(&format!("c: 1, i: 3, j: {whole}")), "{text}");
        }
    }

    #[test]
    fn windows_over_single_channels() {
        let text = "program @m {
          input %x: i8[1, 3, 4, 4]
          const @w: i16[3, 1, 3, 3] = splat -201
          output %y: i32[1, 3, 4, 4]
          window \"y\" [c: 3, h: 4, w: 4 | i: 3, j: 3] {
            acc = dot(%x[0, c, h + i - 1, w + j - 1] else 3:i8, @w[c, 0, i, j])
            %y[0, c, h, w] = acc
          }
        }";
        let text = check(text, &bytes(48));
        assert!(text.contains("else 131:u8") && text.contains("@w: i16"), "{text}");
    }

    #[test]
    fn weights_of_nine_bits_less_their_middle() {
        for lhs in ["u8", "i8"] {
            let text = product(lhs, "i16", 5).replace("= [", "= [-140, ").replacen("-140, 11, ", "-140, ", 1);
            let text = check(&text, &bytes(15));
            assert!(text.contains("i8[8, 2]") && text.contains("+ %x.rows[m] * -12:i32"), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_stays() {
        let text = product("u8", "i16", 4).replace("= [", "= [300, ").replacen("300, 11, ", "300, ", 1);
        assert!(check(&text, &bytes(12)).contains("@w: i16[4, 2]"));
    }
}
