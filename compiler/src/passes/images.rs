//! Images that kernels connect: where the order of channels and pixels is one decision.

use std::collections::BTreeMap;

use kiln_ir::kernel::{BufferId, BufferKind, Program};

/// The kernels of each set of images that lead to one another, by position. Kernels without an image are in none.
pub(crate) fn regions(program: &Program) -> Vec<Vec<usize>> {
    let mut parents: Vec<usize> = (0..program.buffers().len()).collect();
    let mut first_of = Vec::with_capacity(program.kernels().len());
    for kernel in program.kernels() {
        let mut first = None;
        kernel.form.each_buffer(&mut |buffer, _| {
            if !is_image(program, buffer) {
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

fn root(parents: &mut [usize], mut i: usize) -> usize {
    while parents[i] != i {
        parents[i] = parents[parents[i]];
        i = parents[i];
    }
    i
}
