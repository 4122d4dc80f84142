//! Which products of f16 stay such.

use kiln_ir::kernel::{Affine, BufferKind, Form, Kernel, LoopId, Program, Role};
use kiln_ir::{DType, Dim, Tensor};

/// Steps of depth that are a vector.
const STEPS: i64 = 8;
/// Columns from which on they are the lanes.
const COLUMNS: i64 = 8;

/// Whether a kernel adds products of f16, rows of which are whole vectors along depth, to f32.
pub(super) fn multiplies(program: &Program, kernel: &Kernel) -> bool {
    let Form::Contract { acc: DType::F32, lhs, rhs, .. } = &kernel.form else { return false };
    let weights = program.buffer(rhs.buffer);
    let (BufferKind::Const(tensor), Some(axes)) = (&weights.kind, rhs.as_loops()) else { return false };
    let short = |ty: DType| ty == DType::F16;
    if !short(program.buffer(lhs.buffer).ty.dtype) || !short(weights.ty.dtype) || rhs.otherwise.is_some() {
        return false;
    }
    let extent = |l: LoopId| kernel.loop_(l).extent.as_const().unwrap_or(0);
    let role = |l: LoopId| kernel.loop_(l).role;
    let column = |l: &&LoopId| role(**l) == Role::Parallel && !lhs.uses(**l);
    let columns: i64 = axes.iter().filter(column).map(|l| extent(*l)).product();
    let index: Option<Vec<&Affine>> = lhs.index.iter().map(|i| i.affine()).collect();
    let Some(index) = index else { return false };
    let steps =
        |l: LoopId| axes.contains(&l) && role(l) == Role::Reduce && extent(l) > 0 && extent(l) % STEPS == 0;
    let deep = |a: &&Affine| a.as_loop().is_some_and(steps);
    // Minimal filtering is of windows that move by one place at a time.
    let wide = |l: LoopId| !kernel.loop_(l).extent.is(1);
    let window = |a: &&Affine| {
        a.terms.iter().all(|t| t.1 == Dim::Const(1)) && a.terms.iter().filter(|t| wide(t.0)).count() > 1
    };
    columns >= COLUMNS && index.iter().any(deep) && !index.iter().any(window) && is_dense(tensor)
}

/// Whether less than half of the weights are zeros: others may be multiplied in blocks.
fn is_dense(tensor: &Tensor) -> bool {
    let zeros = tensor.data.chunks_exact(2).filter(|e| matches!(e, [0, 0 | 0x80])).count();
    4 * zeros < tensor.data.len()
}
