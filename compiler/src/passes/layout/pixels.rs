//! Contractions with few columns: their rows, pixels of an image, fill vectors better.

use kiln_ir::kernel::{Access, Affine, Form, Kernel, LoopId, Role};

/// Lanes that are to be filled: those of the widest machine. A narrower one fills its vectors from either side.
const LANES: i64 = 16;
/// Columns up to which channels are not worth being lanes.
const FEW: i64 = 12;

/// The loop whose iterations are better lanes than columns are: it steps through the last axes of lhs and result, which
/// then stay as they are.
pub(super) fn lanes(kernel: &Kernel) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
    let extent = |l: LoopId| kernel.loop_(l).extent.as_const();
    let parallel = kernel.loops_of(Role::Parallel);
    let columns = parallel.iter().filter(|l| rhs.uses(**l) && !lhs.uses(**l));
    let columns = columns.map(|l| extent(*l)).try_fold(1, |n: i64, extent| n.checked_mul(extent?))?;
    let last = |access: &Access| access.index.last().and_then(|i| i.affine().cloned());
    let row = last(&store.to).as_ref().and_then(Affine::as_loop)?;
    let steps = lhs.uses(row) && !rhs.uses(row) && last(lhs)?.coefficient(row).is(1);
    let rows = extent(row)?;
    // The part of all lanes that is used.
    let whole = |n: i64| (n + LANES - 1) / LANES * LANES;
    (steps && columns <= FEW && rows * whole(columns) > columns * whole(rows)).then_some(row)
}
