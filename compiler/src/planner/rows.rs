//! Weights of dot products: one column behind the other, each with its depth side by side.

use kiln_ir::Dim;
use kiln_ir::format::packed::{Panels, Steps};
use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{Form, LoopId, Role};

use crate::flatten::{FlatKernel, loops_of, merge_loops};
use crate::schedule::{by_falling_stride, stride_of};

/// A contraction whose rhs is laid out for dot products.
pub(super) struct ByDepth {
    /// The kernel with the new strides of rhs.
    pub(super) kernel: FlatKernel,
    /// How its elements get there.
    pub(super) panels: Panels,
}

impl ByDepth {
    /// The depth of rhs becomes contiguous in the order in which lhs runs through it. `None` where an extent is open.
    pub(super) fn new(flat: &FlatKernel) -> Option<Self> {
        let Form::Contract { lhs, rhs, .. } = &flat.form else { return None };
        let size = |l: &LoopId| -> Option<(usize, isize)> {
            Some((flat.loops[l.0 as usize].extent.as_usize()?, stride_of(rhs, *l)? as isize))
        };
        let list = |loops: &[LoopId]| loops.iter().map(size).collect::<Option<Vec<_>>>();
        let columns = loops_of(&flat.loops, Role::Parallel);
        let columns: Vec<LoopId> = columns.into_iter().filter(|l| stride_of(rhs, *l) != Some(0)).collect();
        let depth = by_falling_stride(loops_of(&flat.loops, Role::Reduce), Some(lhs));
        let panels = Panels {
            offset: rhs.offset.as_usize()?,
            batch: list(&columns)?,
            depth: list(&depth)?,
            cols: (1, 0),
            nr: 1,
            steps: Steps::Single,
        };
        let mut strides = vec![Dim::Const(0); flat.loops.len()];
        let mut stride = Dim::Const(1);
        for l in depth.iter().rev().chain(columns.iter().rev()) {
            strides[l.0 as usize] = stride.clone();
            stride = stride * flat.loops[l.0 as usize].extent.clone();
        }
        let mut kernel = flat.clone();
        if let Form::Contract { rhs, .. } = &mut kernel.form {
            *rhs = FlatAccess { offset: Dim::Const(0), strides, ..rhs.clone() };
        }
        merge_loops(&mut kernel);
        Some(Self { kernel, panels })
    }
}
