//! Which results may lie where an operand of their kernel lay.
//!
//! A kernel that reads an element of a dying temporary for nothing but the element of its result that it then writes
//! can do both at one place, whatever the order of its iterations and whoever runs them: each element is read before
//! it is written and never again. So that this holds of every schedule and of all generated code,
//!
//! - the kernel has one store, in whose value alone the operand is read, at the address that is written. A form with
//!   several stores may write one before it has computed the other; a procedure reads what it has written;
//! - both buffers are temporaries of as many bytes and of elements of one size. Arguments and results are the
//!   caller's, cells of regions are read where no kernel says so;
//! - the operand is touched in the kernel's region only: in a loop, what was made outside is read by the next turn too;
//! - a contraction's weights are constants that are not kept in blocks. Sums over a matrix that is read as it lies may
//!   wait in the result for their last product (`schedule/stream.rs`), and pixels of blocks are computed twice where
//!   the last vector is not whole (`codegen/sparse.rs`). Other generators make what loops leave over of vectors and
//!   tiles of its own size.
//!
//! A result with a halo is written before its kernel, by those that fill it: no operand ends as it begins.

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::kernel::regions::RegionId;
use kiln_ir::kernel::{Access, BufferId, BufferKind, Form, Kernel, Program, each_buffer};

/// First and last kernel by buffer that owns storage.
type Lives = BTreeMap<BufferId, (usize, usize)>;

/// Of results that may lie over an operand, that operand. No operand is that of two.
pub(super) fn pairs(program: &Program, live: &Lives) -> BTreeMap<BufferId, BufferId> {
    let cells: BTreeSet<BufferId> = program.cells().into_iter().map(|cell| program.root(cell)).collect();
    let apart = in_many_regions(program);
    let temporary = |root: BufferId| {
        program.buffer(root).kind == BufferKind::Temp && !cells.contains(&root) && !apart.contains(&root)
    };
    let mut pairs = BTreeMap::new();
    for (position, kernel) in program.kernels().iter().enumerate() {
        let Some(to) = result(program, kernel).map(|to| program.root(to.buffer)) else { continue };
        let begins = live.get(&to).is_some_and(|live| live.0 == position);
        if !begins || !temporary(to) {
            continue;
        }
        let ends =
            |from: BufferId| live.get(&from).is_some_and(|live| live.0 < position && live.1 == position);
        let fits = |from: &BufferId| ends(*from) && temporary(*from) && are_as_large(program, *from, to);
        if let Some(from) = read_in_place(program, kernel).into_iter().find(fits) {
            pairs.insert(to, from);
        }
    }
    pairs
}

/// Buffers that kernels of several regions touch.
fn in_many_regions(program: &Program) -> BTreeSet<BufferId> {
    let mut within: BTreeMap<BufferId, Option<RegionId>> = BTreeMap::new();
    let mut apart = BTreeSet::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        kernel.form.each_buffer(&mut |b, _| {
            let (root, here) = (program.root(b), program.region_of(i));
            if *within.entry(root).or_insert(here) != here {
                apart.insert(root);
            }
        });
    }
    apart
}

/// The only result of a kernel that may write it over what it reads.
fn result<'k>(program: &Program, kernel: &'k Kernel) -> Option<&'k Access> {
    match &kernel.form {
        Form::Rearrange { .. } | Form::Procedure(_) => return None,
        Form::Contract { rhs, .. } => {
            let root = program.root(rhs.buffer);
            let weights = [rhs.buffer, root].map(|b| program.buffer(b));
            if !matches!(weights[1].kind, BufferKind::Const(_)) || weights.iter().any(|b| b.is_in_blocks()) {
                return None;
            }
        }
        _ => {}
    }
    let parts = kernel.form.parts();
    let [store] = parts.stores else { return None };
    parts.copied_to.is_none().then_some(&store.to)
}

/// Buffers that own the storage of what a kernel reads at the address that it writes, and nowhere else.
fn read_in_place(program: &Program, kernel: &Kernel) -> Vec<BufferId> {
    let parts = kernel.form.parts();
    let [store] = parts.stores else { return Vec::new() };
    let (mut here, mut elsewhere) = (Vec::new(), BTreeSet::new());
    store.value.for_each_access(&mut |load| match is_same_place(program, kernel, load, &store.to) {
        true => here.push(program.root(load.buffer)),
        false => each_buffer(load, &mut |b| _ = elsewhere.insert(program.root(b))),
    });
    let mut other = |load: &Access| each_buffer(load, &mut |b| _ = elsewhere.insert(program.root(b)));
    parts.operands.into_iter().for_each(|operand| other(operand.1));
    parts.reduced.into_iter().chain(parts.terms).for_each(|value| value.for_each_access(&mut other));
    here.retain(|root| !elsewhere.contains(root));
    here
}

/// Whether every iteration finds an element of one access as far from the start of its storage as that of another.
fn is_same_place(program: &Program, kernel: &Kernel, load: &Access, to: &Access) -> bool {
    let (from, into) = (program.buffer(load.buffer), program.buffer(to.buffer));
    let (Some(x), Some(y)) = (&from.place, &into.place) else { return false };
    if load.otherwise.is_some() != to.otherwise.is_some() || from.ty.dtype.size() != into.ty.dtype.size() {
        return false;
    }
    // What is outside of one is outside of the other.
    if load.otherwise.is_some() && (load.index != to.index || from.ty.shape != into.ty.shape) {
        return false;
    }
    let loops = kernel.loops.len();
    let (Some(x), Some(y)) = (x.address(load, loops), y.address(to, loops)) else { return false };
    x.0 == y.0 && (0..loops).all(|l| x.1[l] == y.1[l] || kernel.loops[l].extent.is(1))
}

fn are_as_large(program: &Program, a: BufferId, b: BufferId) -> bool {
    let (a, b) = (program.buffer(a), program.buffer(b));
    let extents = a.place.as_ref().map(|p| &p.extent).zip(b.place.as_ref().map(|p| &p.extent));
    a.ty.dtype.size() == b.ty.dtype.size() && extents.is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests;
