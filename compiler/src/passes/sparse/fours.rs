//! Products of matrices of bytes: what is multiplied by blocks is copied first, so that four steps of depth of a row lie together
//! and rows behind each other.
//!
//! ```text
//!   x[m, 4 k + j]  ->  x.fours[k, m, j]       y[m, o] = sum over k and j of x.fours[k, m, j] * w.fours[o, k, j]
//! ```

use kiln_ir::kernel::{
    Access, Affine, BufferId, BufferKind, Form, Index, Kernel, Loop, LoopId, Program, Role,
};
use kiln_ir::{Dim, Error, Result, Shape, Tensor, TensorType};

use super::super::images;
use super::layer::{FOUR, Layer};

/// The kernels for the place of kernel `i`, and the new weights.
pub(super) fn rewrite(program: &mut Program, i: usize, layer: &Layer) -> Result<(Vec<Kernel>, BufferId)> {
    let mut kernel = program.kernel(i).clone();
    let [o, k, ..] = layer.loops;
    let row = images::pixels(&kernel).ok_or_else(|| Error::internal("a product without rows"))?;
    let groups = layer.channels / FOUR;
    let around: Vec<LoopId> =
        kernel.loops_of(Role::Parallel).into_iter().filter(|l| *l != row && layer.lhs.uses(*l)).collect();

    // The copy: the loops around, groups, rows, the four of a group.
    let extent = |l: LoopId| kernel.loop_(l).extent.clone();
    let mut loops: Vec<Loop> = around.iter().chain([&row]).map(|l| kernel.loop_(*l).clone()).collect();
    let fours = |name: &str, extent: i64| Loop {
        name: name.to_owned(),
        extent: Dim::Const(extent),
        role: Role::Parallel,
    };
    loops.insert(around.len(), fours("k", groups));
    loops.push(fours("j", FOUR));
    let shape: Vec<Dim> = loops.iter().map(|l| l.extent.clone()).collect();
    let place = |l: LoopId| match around.iter().position(|a| *a == l) {
        Some(at) => LoopId(at as u16),
        None => LoopId(around.len() as u16 + 1),
    };
    let last = LoopId(loops.len() as u16 - 1);
    let depth = Affine::constant(0i64).plus(LoopId(around.len() as u16), FOUR).plus(last, 1i64);
    let index = layer.lhs.index.iter().map(|index| {
        let affine = index.affine().ok_or_else(|| Error::internal("a product that gathers"))?;
        if affine.as_loop() == Some(k) {
            return Ok(depth.clone().into());
        }
        let of = |sum: Affine, (l, by): &(LoopId, Dim)| sum.plus(place(*l), by.clone());
        Ok(affine.terms.iter().fold(Affine::constant(affine.offset.clone()), of).into())
    });
    let from = Access { index: index.collect::<Result<Vec<Index>>>()?, ..layer.lhs.clone() };
    let (name, dtype) = {
        let read = program.buffer(layer.lhs.buffer);
        (format!("{}.fours", read.name), read.ty.dtype)
    };
    let apart = program.add_buffer(&name, TensorType::new(dtype, Shape(shape)), BufferKind::Temp);
    let to = Access::new(apart, (0..loops.len() as u16).map(|l| Index::from(LoopId(l))).collect());
    let copy = Kernel {
        name: program.kernel_name(&format!("{}.fours", kernel.name)),
        nodes: kernel.nodes.clone(),
        loops,
        form: Form::Rearrange { from, to },
    };

    // The product.
    let weights = in_fours(program, layer, extent(o).as_usize().unwrap_or(0))?;
    let j = LoopId(kernel.loops.len() as u16);
    kernel.loops[k.0 as usize].extent = Dim::Const(groups);
    kernel.loops.push(Loop { role: Role::Reduce, ..fours("j", FOUR) });
    if let Form::Contract { lhs, rhs, .. } = &mut kernel.form {
        let index = around.into_iter().chain([k, row, j]).map(Index::from);
        *lhs = Access::new(apart, index.collect());
        *rhs = Access::new(weights, [o, k, j].map(Index::from).to_vec());
    }
    Ok((vec![copy, kernel], weights))
}

/// Weights column by column of the product, four steps of depth together.
fn in_fours(program: &mut Program, layer: &Layer, columns: usize) -> Result<BufferId> {
    let name = program.buffer(layer.weights).name.clone();
    let tensor = program.release(layer.weights)?;
    let depth = layer.channels as usize;
    let data = match layer.by_row {
        true => tensor.data.clone(),
        false => {
            let at = |i: usize| tensor.data[i % depth * columns + i / depth];
            (0..depth * columns).map(at).collect::<Vec<u8>>().into()
        }
    };
    let tensor = Tensor::new(tensor.dtype, vec![columns, depth / FOUR as usize, FOUR as usize], data)?;
    Ok(program.add_buffer(&format!("{name}.fours"), tensor.ty(), BufferKind::Const(tensor)))
}
