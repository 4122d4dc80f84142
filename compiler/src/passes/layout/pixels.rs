//! Contractions whose rows, pixels of an image, are better lanes than their columns, its channels.
//!
//! That is so where there are few channels, and where the caller gives and takes pixels side by side and there is so
//! little depth that turning them would take as long as the products.

use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Kernel, LoopId, Program, Role, Uses};

/// Lanes that are to be filled: those of the widest machine. A narrower one fills its vectors from either side.
const LANES: i64 = 16;
/// Channels up to which they are not worth being lanes.
const FEW: i64 = 12;
/// Depth up to which products take no longer than turning what they read and write.
const SHALLOW: i64 = 160;

/// Of each kernel the loop of rows that becomes lanes; it steps through the last axes of lhs and result, which then stay as
/// they are.
pub(super) fn choose(program: &Program) -> Vec<Option<LoopId>> {
    let uses = Uses::of(program);
    program.kernels().iter().map(|kernel| lanes(program, &uses, kernel)).collect()
}

fn lanes(program: &Program, uses: &Uses, kernel: &Kernel) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
    // Blocks of weights are multiplied by pixels.
    if program.buffer(rhs.buffer).is_in_blocks() {
        return super::super::images::pixels(kernel);
    }
    let product = |role: Role, wanted: &dyn Fn(&LoopId) -> bool| {
        let mut loops = kernel.loops_of(role).into_iter().filter(wanted);
        loops.try_fold(1i64, |n, l| n.checked_mul(kernel.loop_(l).extent.as_const()?))
    };
    let columns = product(Role::Parallel, &|l| rhs.uses(*l) && !lhs.uses(*l))?;
    let depth = product(Role::Reduce, &|_| true)?;
    let last = |access: &Access| access.index.last().and_then(|i| i.affine().cloned());
    let row = last(&store.to).as_ref().and_then(Affine::as_loop)?;
    let rows = kernel.loop_(row).extent.as_const()?;
    if !lhs.uses(row) || rhs.uses(row) || !last(lhs)?.coefficient(row).is(1) {
        return None;
    }
    // The part of all lanes that is used.
    let whole = |n: i64| (n + LANES - 1) / LANES * LANES;
    let (by_rows, by_columns) = (rows * whole(columns), columns * whole(rows));
    // Windows want channels.
    let windows = [lhs.buffer, store.to.buffer].iter().any(|b| is_in_window(program, uses, *b));
    let few = columns <= FEW && by_rows > by_columns && !windows;
    let alone = depth <= SHALLOW
        && by_rows >= by_columns
        && from_caller(program, uses, lhs.buffer)
        && to_caller(program, uses, store.to.buffer);
    (few || alone).then_some(row)
}

fn is_in_window(program: &Program, uses: &Uses, buffer: BufferId) -> bool {
    let window = |i: &usize| matches!(program.kernel(*i).form, Form::Window { .. });
    uses.readers(buffer).iter().chain(uses.writers(buffer)).any(window)
}

/// Whether a buffer is an argument, or its copy with a border.
fn from_caller(program: &Program, uses: &Uses, buffer: BufferId) -> bool {
    let input = |b: BufferId| program.buffer(b).kind == BufferKind::Input;
    let copied = |i: &usize| match &program.kernel(*i).form {
        Form::Rearrange { from, .. } => input(from.buffer),
        _ => false,
    };
    input(buffer) || !uses.writers(buffer).is_empty() && uses.writers(buffer).iter().all(copied)
}

/// Whether a buffer is a result, or nothing but copied to results.
fn to_caller(program: &Program, uses: &Uses, buffer: BufferId) -> bool {
    let output = |b: BufferId| program.buffer(b).kind == BufferKind::Output;
    let copied = |i: &usize| match &program.kernel(*i).form {
        Form::Rearrange { to, .. } => output(to.buffer),
        _ => false,
    };
    output(buffer) || !uses.readers(buffer).is_empty() && uses.readers(buffer).iter().all(copied)
}
