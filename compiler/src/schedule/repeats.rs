//! Copies that write each element two or four times, side by side: a row that is made longer.

use kiln_ir::kernel::plan::{Nest, Schedule};
use kiln_ir::kernel::{Form, Role};
use kiln_targets::Target;

use super::chosen::Chosen;
use super::strides::{by_falling_stride, closed_loops, extent_of, stride_of};
use crate::flatten::{FlatKernel, loops_of};

/// Vectors of elements that are read, each of which becomes several.
pub(super) fn choose(kernel: &FlatKernel, target: &Target) -> Option<Chosen> {
    let Form::Rearrange { from, to } = &kernel.form else { return None };
    if to.dtype.size() != 4 || !from.gathers.is_empty() || !from.guards.is_empty() {
        return None;
    }
    let parallel = closed_loops(kernel, Role::Parallel);
    let steps = |l, read, write| stride_of(from, l) == Some(read) && stride_of(to, l) == Some(write);
    let again = *parallel.iter().find(|l| steps(**l, 0, 1))?;
    let times = extent_of(kernel, again).filter(|n| [2, 4].contains(n))?;
    let vector = *parallel.iter().find(|l| steps(**l, 1, times))?;
    let extent = extent_of(kernel, vector)?;
    let others = loops_of(&kernel.loops, Role::Parallel);
    let others = others.into_iter().filter(|l| *l != vector && *l != again).collect();
    let mut order = by_falling_stride(others, Some(to));
    order.push(again);
    let nest = Nest {
        order,
        vector,
        vectors: if extent >= 2 * target.lanes() as i64 { 2 } else { 1 },
        tile: Some((again, times as u32)),
        unrolled: vec![],
        columns: false,
        quads: true,
    };
    let name = &kernel.loops[vector.0 as usize].name;
    let why = format!("elements along {name} ({extent}), each of which is written {times} times");
    Some(Chosen { schedule: Schedule::Nest(nest), why })
}
