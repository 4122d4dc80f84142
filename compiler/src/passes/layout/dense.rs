//! Buffers of the arena that are dense in the sizes of a run.
//!
//! With the strides of the greatest sizes a small image lies in pieces over the room of a large one: layers that would be one
//! long row of pixels end in a part of a tile at every row of the image, and what a run touches is several times what it
//! needs, so that buffers do not follow each other in the caches. Dense ones have strides that only a run tells, outside of the
//! first open axis. Kernels step by those in loops around what they do at once (`PlannedKernel::moved_by_sizes`), so that only
//! buffers are dense whose innermost axis is known, and with it the distance between the rows of a tile.

use std::collections::BTreeSet;

use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Index, Kernel, LoopId, Program, Role};
use kiln_ir::{DType, Dim, Shape};

use super::order::Orders;

/// The buffers whose strides follow the sizes of a run.
pub(super) fn choose(program: &Program, orders: &Orders) -> BTreeSet<BufferId> {
    // Carried values of a loop take turns in the same places.
    if program.bounds.is_empty() || !program.regions().is_empty() {
        return BTreeSet::new();
    }
    let mut chosen: BTreeSet<BufferId> =
        program.buffer_ids().filter(|id| suits(program, *id, orders)).collect();
    for kernel in program.kernels() {
        let mut refuse = |access: &Access| {
            if !steps(program, kernel, access, orders) {
                chosen.remove(&access.buffer);
            }
        };
        kernel.form.loads().into_iter().chain(kernel.form.stores()).for_each(&mut refuse);
    }
    chosen
}

/// Whether distances between its elements that code must know are known: along the innermost axis and the next one.
fn suits(program: &Program, id: BufferId, orders: &Orders) -> bool {
    let buffer = program.buffer(id);
    let shape = &buffer.ty.shape;
    let axes = orders.axes(id, shape.rank());
    let innermost = axes.iter().rev().find(|axis| !shape[**axis].is(1));
    // Tiles and windows of bytes take several rows or runs of the depth at once, at distances that they know.
    buffer.kind == BufferKind::Temp
        && buffer.ty.dtype == DType::F32
        && !program.is_cell(id)
        && innermost.is_some_and(|axis| shape[*axis].as_const().is_some())
        && !is_counted(program, shape)
}

/// Whether an extent is known after kernels have run, maybe that which writes the buffer.
fn is_counted(program: &Program, shape: &Shape) -> bool {
    let counted = |extent: &Dim| extent.symbols().iter().any(|name| program.counted.contains_key(name));
    shape.iter().any(counted)
}

/// Whether a kernel can step through a buffer at distances that only a run tells: not where indices lead into it, nor where the
/// depth of a product has no other loop inside of these.
fn steps(program: &Program, kernel: &Kernel, access: &Access, orders: &Orders) -> bool {
    let affine = |index: &Index| index.affine().is_some();
    if !access.index.iter().all(affine) || matches!(kernel.form, Form::Procedure { .. }) {
        return false;
    }
    let shape = &program.buffer(access.buffer).ty.shape;
    // Padding along an axis that is known cuts its loop into parts, whose distances code has to know.
    let all = || kernel.form.loads().into_iter().chain(kernel.form.stores());
    let padded = |l: LoopId| all().any(|a| a.otherwise.is_some() && a.uses(l));
    let contracts = matches!(kernel.form, Form::Contract { .. });
    // From the innermost axis outwards: the first open one and what is inside of it are at known distances.
    let (mut known, mut inside) = (true, false);
    for axis in orders.axes(access.buffer, shape.rank()).into_iter().rev() {
        let terms = access.index[axis].affine().map_or(&[][..], |a| &a.terms);
        let reduced = terms.iter().any(|(l, _)| {
            let l = kernel.loop_(*l);
            l.role == Role::Reduce && !l.extent.is(1)
        });
        let cut = shape[axis].as_const().is_some_and(|n| n != 1) && terms.iter().any(|(l, _)| padded(*l));
        if !known && (cut || contracts && reduced && !inside) {
            return false;
        }
        inside |= reduced && known;
        known &= shape[axis].as_const().is_some();
    }
    true
}
