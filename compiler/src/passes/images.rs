//! Images that kernels connect: where the order of channels and pixels is one decision.

use std::collections::BTreeMap;

use kiln_ir::kernel::{Affine, BufferId, BufferKind, Form, Kernel, LoopId, Program};

/// Rows of a product from which on they are worth being lanes.
const LEAST_ROWS: i64 = 8;

/// The loop of pixels that become lanes where weights are in blocks: along the last axis of images, along the rows of
/// products that have many.
pub(crate) fn pixels(kernel: &Kernel) -> Option<LoopId> {
    let Form::Contract { lhs, rhs, store, .. } = &kernel.form else { return None };
    let own = |l: &LoopId| lhs.uses(*l) && !rhs.uses(*l);
    let last = store.to.index.last()?.affine()?.as_loop().filter(own);
    last.or_else(|| {
        let row = lhs.index.iter().nth_back(1)?.affine().and_then(Affine::as_loop).filter(own)?;
        (kernel.loop_(row).extent.as_const()? >= LEAST_ROWS).then_some(row)
    })
}

/// The kernels of each set of images that lead to one another, by position, then those of each set of matrices that do.
/// Kernels without any are in none.
pub(crate) fn regions(program: &Program) -> Vec<Region> {
    let of = |images: bool| move |kernels: Vec<usize>| Region { images, kernels };
    let images = connected(program, is_image).into_iter().map(of(true));
    images.chain(connected(program, is_matrix).into_iter().map(of(false))).collect()
}

/// Kernels that images or matrices connect.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// Images, else matrices.
    pub(crate) images: bool,
    /// By position.
    pub(crate) kernels: Vec<usize>,
}

fn connected(program: &Program, counts: fn(&Program, BufferId) -> bool) -> Vec<Vec<usize>> {
    let mut parents: Vec<usize> = (0..program.buffers().len()).collect();
    let mut first_of = Vec::with_capacity(program.kernels().len());
    for kernel in program.kernels() {
        let mut first = None;
        kernel.form.each_buffer(&mut |buffer, _| {
            if !counts(program, buffer) {
                return;
            }
            let this = root(&mut parents, buffer.0 as usize);
            match first {
                None => first = Some(this),
                Some(first) => {
                    let first = root(&mut parents, first);
                    parents[this] = first;
                }
            }
        });
        first_of.push(first);
    }
    let mut regions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, first) in first_of.into_iter().enumerate() {
        if let Some(first) = first {
            regions.entry(root(&mut parents, first)).or_default().push(i);
        }
    }
    regions.into_values().collect()
}

/// Whether a buffer has channels and pixels, more than one of these.
fn is_image(program: &Program, buffer: BufferId) -> bool {
    let buffer = program.buffer(buffer);
    let shape = &buffer.ty.shape;
    let rank = shape.rank();
    let constant = matches!(buffer.kind, BufferKind::Const(_) | BufferKind::Released);
    !constant && rank >= 4 && (!shape[rank - 1].is(1) || !shape[rank - 2].is(1))
}

/// Whether a buffer has rows and columns and is no image.
fn is_matrix(program: &Program, buffer: BufferId) -> bool {
    let b = program.buffer(buffer);
    let constant = matches!(b.kind, BufferKind::Const(_) | BufferKind::Released);
    !constant && !is_image(program, buffer) && b.ty.shape.iter().filter(|extent| !extent.is(1)).count() > 1
}

fn root(parents: &mut [usize], mut i: usize) -> usize {
    while parents[i] != i {
        parents[i] = parents[parents[i]];
        i = parents[i];
    }
    i
}
