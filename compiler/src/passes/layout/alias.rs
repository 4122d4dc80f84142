//! Copies that vanish because both sides are the same storage.

use kiln_ir::Dim;
use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Kernel, Place, Program};

use super::halo::Halos;
use super::order::Orders;
use kiln_ir::kernel::Uses;

/// Makes buffers views of what they are copied to or from, and removes the copies.
pub(super) fn run(program: &mut Program, orders: &Orders, halos: &Halos) {
    let uses = Uses::of(program);
    // Sources of a copy live in its destination: parts of a concat, results of the program. Later copies first,
    // so that the destination's place is final.
    let mut is_root_of_views = vec![false; program.buffers().len()];
    for i in (0..program.kernels().len()).rev() {
        let Some((from, to)) = plain_copy(program.kernel(i)) else { continue };
        // In the storage of the result of a branch only what the branch makes itself.
        let here = |w: &usize| program.region_of(*w) == program.region_of(i);
        if is_root_of_views[from.buffer.0 as usize]
            || !may_move(program, from.buffer, halos)
            || program.is_cell(to.buffer)
            || !uses.writers(from.buffer).iter().all(here)
        {
            continue;
        }
        let place = view(program, i, &from, &to).filter(|p| keeps_lanes(program, orders, from.buffer, p));
        if let Some(place) = place {
            is_root_of_views[place.root.0 as usize] = true;
            program.set_place(from.buffer, Some(place));
        }
    }
    // Destinations of a copy live in its source: reshapes, slices, transposes.
    for i in 0..program.kernels().len() {
        let Some((from, to)) = plain_copy(program.kernel(i)) else { continue };
        let free = may_move(program, to.buffer, halos) && !is_root_of_views[to.buffer.0 as usize];
        if !free || uses.only_writer(to.buffer) != Some(i) || program.is_cell(from.buffer) {
            continue;
        }
        let place = view(program, i, &to, &from).filter(|p| keeps_lanes(program, orders, to.buffer, p));
        if let Some(place) = place {
            is_root_of_views[place.root.0 as usize] = true;
            program.set_place(to.buffer, Some(place));
        }
    }
    let keep: Vec<bool> = program.kernels().iter().map(|k| !is_identity(program, k)).collect();
    program.retain_kernels(|i, _| keep[i]);
}

fn plain_copy(kernel: &Kernel) -> Option<(Access, Access)> {
    match &kernel.form {
        Form::Rearrange { from, to } if from.otherwise.is_none() => {
            let affine = |a: &Access| a.index.iter().all(|i| i.affine().is_some());
            (affine(from) && affine(to)).then(|| (from.clone(), to.clone()))
        }
        _ => None,
    }
}

/// Whether a buffer's place may change: a temporary that owns its storage, has no halo and steers no region.
fn may_move(program: &Program, buffer: BufferId, halos: &Halos) -> bool {
    let b = program.buffer(buffer);
    b.kind == BufferKind::Temp
        && !halos.contains_key(&buffer)
        && !program.is_cell(buffer)
        && b.place.as_ref().is_some_and(|p| p.root == buffer)
}

/// The place of `moved`'s buffer that makes both accesses of a copy name the same elements.
fn view(program: &Program, kernel: usize, moved: &Access, fixed: &Access) -> Option<Place> {
    let kernel = program.kernel(kernel);
    let (at, buffer) = (program.buffer(fixed.buffer), program.buffer(moved.buffer));
    if at.ty.dtype != buffer.ty.dtype || fixed.buffer == moved.buffer {
        return None;
    }
    let place = at.place.as_ref()?;
    let target = place.address(fixed, kernel.loops.len())?;
    // Axis by axis, the stride is that of the loop that steps it by one.
    let mut strides = Vec::with_capacity(moved.index.len());
    for (index, extent) in moved.index.iter().zip(buffer.ty.shape.iter()) {
        let a = index.affine()?;
        let unit = a.terms.iter().find(|(l, c)| c.is(1) && !kernel.loop_(*l).extent.is(1));
        strides.push(match unit {
            Some((l, _)) => target.1[l.0 as usize].clone(),
            None if extent.is(1) => Dim::Const(0),
            None => return None,
        });
    }
    let mut candidate = Place { root: place.root, offset: Dim::Const(0), strides, extent: Dim::Const(0) };
    let (offset, found) = candidate.address(moved, kernel.loops.len())?;
    let same = |l: usize| found[l] == target.1[l] || kernel.loops[l].extent.is(1);
    // Every element of the moved buffer must have been named: the copy covers it.
    let covered = moved.index.iter().zip(buffer.ty.shape.iter()).all(|(index, extent)| {
        index.affine().is_some_and(|a| {
            a.offset.is(0)
                && a.terms.iter().fold(Dim::Const(1), |n, (l, _)| n * kernel.loop_(*l).extent.clone())
                    == *extent
        })
    });
    candidate.offset = target.0 - offset;
    (covered && (0..found.len()).all(same)).then_some(candidate)
}

/// Whether the axis that kernels want as lanes is contiguous in a view.
fn keeps_lanes(program: &Program, orders: &Orders, buffer: BufferId, place: &Place) -> bool {
    let shape = &program.buffer(buffer).ty.shape;
    let wanted = orders.innermost(buffer).or_else(|| (0..shape.rank()).rev().find(|&a| !shape[a].is(1)));
    wanted.is_none_or(|axis| shape[axis].is(1) || place.strides[axis].is(1))
}

/// Whether a copy reads and writes the same elements.
fn is_identity(program: &Program, kernel: &Kernel) -> bool {
    let Some((from, to)) = plain_copy(kernel) else { return false };
    let (Some(a), Some(b)) = (&program.buffer(from.buffer).place, &program.buffer(to.buffer).place) else {
        return false;
    };
    let loops = kernel.loops.len();
    let (Some(x), Some(y)) = (a.address(&from, loops), b.address(&to, loops)) else { return false };
    let same = |l: usize| x.1[l] == y.1[l] || kernel.loops[l].extent.is(1);
    a.root == b.root && x.0 == y.0 && (0..kernel.loops.len()).all(same)
}
