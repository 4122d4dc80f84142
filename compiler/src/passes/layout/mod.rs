//! Where every buffer's elements lie.
//!
//! Forms index logical axes, so a layout is a property of a buffer alone: its strides. This pass
//!
//! 1. decides where windows read what the caller gave as it lies (`regions`), because that is cheaper than to turn
//!    it for them;
//! 2. copies what products would read in dot products, where they have many rows (`turned`);
//! 3. turns padded loads of contractions and windows into *halos* (`halo`): storage around the buffer that
//!    holds the padding value, so that no kernel tests an index;
//! 4. chooses the innermost axis of each buffer for the whole program (`order`): the axis that the kernels
//!    around it want as vector lanes (constants are laid out anew when the plan is built);
//! 5. gives the strides of a run to buffers that kernels can step through (`dense`), those of the greatest sizes to others;
//! 6. lets copies vanish (`alias`): a reshape, a part of a concat or a result of the program becomes a view of
//!    the storage it would be copied from or to.

mod alias;
mod dense;
mod halo;
mod order;
mod pixels;
mod regions;
mod turned;

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::kernel::{Access, Affine, BufferId, BufferKind, Form, Index, Kernel, LoopId, Place, Program};
use kiln_ir::{Dim, Error, Result};

use halo::Halo;
use order::Orders;
use regions::Regions;

/// Bytes of one buffer at most.
const MAX_BYTES: usize = 1 << 46;

/// Gives every buffer a place.
pub fn run(program: &mut Program) -> Result<()> {
    turned::run(program);
    let regions = Regions::choose(program);
    let halos = halo::run(program, &regions)?;
    let orders = Orders::choose(program, &regions);
    let dense = dense::choose(program, &orders);
    let planes = planes(program);
    for id in program.buffer_ids() {
        let place = own_place(program, id, &orders, halos.get(&id), planes.get(&id).copied(), &dense);
        check_size(program, id, &place)?;
        program.set_place(id, Some(place));
    }
    alias::run(program, &orders, &halos);
    halo::fill(program, &halos);
    Ok(())
}

/// Refuses storage that nothing can address: offsets of all that is smaller stay far within 64 bits.
fn check_size(program: &Program, id: BufferId, place: &Place) -> Result<()> {
    let buffer = program.buffer(id);
    let elements = place.extent.range(&program.bounds).map_or(0, |r| r.1.max(0));
    let bytes = buffer.ty.dtype.bytes_of(usize::try_from(elements).unwrap_or(usize::MAX));
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "'{}' of type {} does not fit into memory with the padding that is read around it",
        buffer.name, buffer.ty
    )))
}

/// The axis along the elements of a transform's tiles, of buffers that hold a plane for each element: one tile touches
/// all planes at the same place.
fn planes(program: &Program) -> BTreeMap<BufferId, usize> {
    let axis = |access: &Access, l: LoopId| {
        let along = |i: &Index| i.affine().and_then(Affine::as_loop) == Some(l);
        access.index.iter().position(along).map(|axis| (access.buffer, axis))
    };
    let of = |kernel: &Kernel| match &kernel.form {
        Form::Transform { right, from, store, .. } => [axis(&store.to, right.to), axis(from, right.over)],
        _ => [None, None],
    };
    program.kernels().iter().flat_map(of).flatten().collect()
}

/// Distances of which a cache of 4 KiB ways has few sets.
const CONFLICT_BYTES: i64 = 1024;
/// Bytes of a cache line.
const LINE_BYTES: i64 = 64;

/// The distance between rows (pixels of all channels) or planes: one cache line more where they would otherwise begin
/// in the same few sets of a first-level cache of 4 KiB ways, and a tile of a dozen rows, or of 36 planes, would evict
/// itself.
fn stagger(stride: Dim, element_bytes: usize) -> Dim {
    match (stride.as_const(), element_bytes as i64) {
        (Some(elements), size)
            if size > 0
                && elements > 0
                && elements.checked_mul(size).is_some_and(|bytes| bytes % CONFLICT_BYTES == 0) =>
        {
            Dim::Const(elements + LINE_BYTES / size)
        }
        _ => stride,
    }
}

/// The same of planes whose distance is a size: it is a line more than a multiple of what conflicts.
fn stagger_open(stride: Dim, element_bytes: usize) -> Dim {
    let (conflict, line) =
        (CONFLICT_BYTES / element_bytes.max(1) as i64, LINE_BYTES / element_bytes.max(1) as i64);
    if conflict == 0 || stride.as_const().is_some() {
        return stride;
    }
    stride.ceil_div(conflict) * Dim::Const(conflict) + Dim::Const(line)
}

/// The place of a buffer that owns its storage: axes in the chosen order, each widened by its halo.
fn own_place(
    program: &Program,
    id: BufferId,
    orders: &Orders,
    halo: Option<&Halo>,
    planes: Option<usize>,
    dense: &BTreeSet<BufferId>,
) -> Place {
    let buffer = program.buffer(id);
    let rank = buffer.ty.shape.rank();
    let size = buffer.ty.dtype.size();
    let order = match buffer.kind {
        BufferKind::Temp | BufferKind::Const(_) => orders.axes(id, rank),
        BufferKind::Input | BufferKind::Output | BufferKind::Released => (0..rank).collect(),
    };
    let temp = buffer.kind == BufferKind::Temp;
    let mut strides = vec![Dim::Const(0); rank];
    let (mut stride, mut offset) = (Dim::Const(1), Dim::Const(0));
    // Elements that it takes at the greatest sizes: from its first one, and to its last one.
    let (mut all, mut last) = (Dim::Const(1), Dim::Const(0));
    for (depth, &axis) in order.iter().rev().enumerate() {
        if (depth == 1 || planes == Some(axis)) && temp {
            (stride, all) = (stagger(stride, size), stagger(all, size));
            if planes == Some(axis) && stride.as_const().is_none() {
                stride = stagger_open(stride, size);
                all = stride.most(&program.bounds).map_or(all, Dim::Const);
            }
        }
        let (before, after) = halo.map_or((0, 0), |h| (h.before[axis], h.after[axis]));
        let halo = Dim::Const(before) + Dim::Const(after);
        strides[axis] = stride.clone();
        offset = offset + Dim::Const(before) * stride.clone();
        let extent = buffer.ty.shape[axis].clone();
        // In the arena there is room for the greatest sizes; the caller's buffers are dense.
        let most = extent.most(&program.bounds).filter(|_| temp).map_or_else(|| extent.clone(), Dim::Const);
        last = last + (most.clone() + halo.clone() - Dim::Const(1)) * all.clone();
        all = all * (most.clone() + halo.clone());
        let extent = if temp && !dense.contains(&id) { most } else { extent };
        stride = stride * (extent + halo);
    }
    // Behind the last row or plane that is staggered nothing lies.
    let extent = match (last.as_const(), all.as_const()) {
        (Some(last), Some(all)) if temp && (0..all).contains(&last) => Dim::Const(last + 1),
        _ => all,
    };
    Place { root: id, offset, strides, extent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::absorb;
    use crate::passes::testing::conv_bias_relu;

    fn strides(program: &Program, name: &str) -> Vec<i64> {
        let id = program.buffer_ids().find(|b| program.buffer(*b).name == name).unwrap();
        program.buffer(id).place.as_ref().unwrap().strides.iter().map(|s| s.as_const().unwrap()).collect()
    }

    #[test]
    fn a_padded_argument_is_copied_channels_last_with_a_halo() {
        let mut p = conv_bias_relu(20, 24);
        absorb::run(&mut p);
        run(&mut p).unwrap();
        // 10 x 10 x 20: one pixel of halo around 8 x 8.
        assert_eq!(strides(&p, "x.padded"), [2000, 1, 200, 20]);
        let names: Vec<&str> = p.kernels().iter().map(|k| k.name.as_str()).collect();
        assert_eq!(
            names,
            ["x.padded.halo0", "x.padded.halo1", "x.padded.halo2", "x.padded.halo3", "x.pad", "conv", "y"]
        );
        // The result is the caller's NCHW: the convolution writes channels last and a copy turns it.
        assert_eq!(strides(&p, "t2"), [1536, 1, 192, 24]);
    }
}
