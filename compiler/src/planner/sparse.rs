//! Weights in blocks: which matrix a contraction's constant is, and the kernel that reads its blocks.

use kiln_ir::format::bcsr::{Bcsr, Block};
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{Form, LoopId};
use kiln_ir::{DType, Dim, Tensor};
use kiln_targets::Target;

use crate::flatten::FlatKernel;
use crate::schedule::{Chosen, extent_of, sparse, stride_of};

/// The kernel that reads blocks, the blocks, and the first of its schedules that `fits`, which says why one does not; or why it
/// cannot be run so.
pub(super) fn blocks(
    flat: &FlatKernel,
    block: Block,
    why: &str,
    elements: &Tensor,
    target: &Target,
    fits: &dyn Fn(&FlatKernel, &Chosen) -> Result<(), String>,
) -> Result<(FlatKernel, Tensor, Chosen), String> {
    let (flat, roles) = sparse::cut(flat, block)?;
    let flat = &flat;
    let Form::Contract { lhs, rhs, .. } = &flat.form else { return Err("no contraction".to_owned()) };
    let open = || "an extent or a stride is open".to_owned();
    let size = |a: &FlatAccess, l: LoopId| {
        let stride = usize::try_from(stride_of(a, l)?).ok()?;
        Some((usize::try_from(extent_of(flat, l)?).ok()?, stride))
    };
    let list = |a: &FlatAccess| roles.depth.iter().map(|l| size(a, *l)).collect::<Option<Vec<_>>>();
    let (depth, source) = (list(lhs).ok_or_else(open)?, list(rhs).ok_or_else(open)?);
    let (rows, row_stride) = size(rhs, roles.row).ok_or_else(open)?;
    let first = rhs.offset.as_usize().ok_or_else(open)?;
    let bytes = elements.dtype.size();
    let columns = source.iter().fold(vec![0], |outer: Vec<usize>, (extent, stride)| {
        outer.iter().flat_map(|o| (0..*extent).map(move |i| o + i * stride)).collect()
    });
    let mut dense = Vec::with_capacity(rows * columns.len() * bytes);
    for row in 0..rows {
        for column in &columns {
            let at = (first + row * row_stride + column) * bytes;
            dense.extend_from_slice(elements.data.get(at..at + bytes).ok_or("weights end early")?);
        }
    }
    without_negative_zeros(&mut dense, elements.dtype);
    // Blocks that are lanes are found each by itself.
    let lanes = roles.col.is_none() && block == Block::new(1, 1);
    let refused = |e: kiln_ir::Error| e.message;
    let (mut weights, mut data) =
        Bcsr::encode(&dense, bytes, rows, &depth, block, !lanes).map_err(refused)?;
    if lanes {
        (weights, data) = weights.in_groups(&data, sparse::GROUP).map_err(refused)?;
    }
    let mut kernel = flat.clone();
    let mut strides = vec![Dim::Const(0); flat.loops.len()];
    let mut step = 1;
    for (l, (extent, _)) in roles.depth.iter().zip(&depth).rev() {
        strides[l.0 as usize] = Dim::from(step);
        step *= extent;
    }
    strides[roles.row.0 as usize] = Dim::from(step);
    if let Form::Contract { rhs, .. } = &mut kernel.form {
        *rhs = FlatAccess { offset: Dim::Const(0), strides, ..rhs.clone() };
    }
    let data = Tensor::from_vec(&[data.len()], data);
    let mut refused = "no size of tiles fits".to_owned();
    for choice in sparse::choose(&kernel, &roles, &weights, why, target)? {
        match fits(&kernel, &choice) {
            Ok(()) => return Ok((kernel, data, choice)),
            Err(reason) => refused = reason,
        }
    }
    Err(refused)
}

/// Zeros with a sign are zeros: a sum is the same without them.
fn without_negative_zeros(dense: &mut [u8], dtype: DType) {
    let size = dtype.size();
    for value in dense.chunks_exact_mut(size) {
        if dtype.is_float() && value[size - 1] == 0x80 && value[..size - 1].iter().all(|b| *b == 0) {
            value[size - 1] = 0;
        }
    }
}
