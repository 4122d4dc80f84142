//! What schedules ask of loops and accesses: strides, extents, even parts.

use kiln_ir::kernel::plan::FlatAccess;
use kiln_ir::kernel::{LoopId, Role};

use crate::flatten::{FlatKernel, loops_of};

/// Loops sorted so that the one with the smallest stride in `access` comes last.
pub(crate) fn by_falling_stride(mut loops: Vec<LoopId>, access: Option<&FlatAccess>) -> Vec<LoopId> {
    let stride = |l: &LoopId| access.map_or(0, |a| stride_of(a, *l).unwrap_or(i64::MAX).abs());
    loops.sort_by_key(|l| (std::cmp::Reverse(stride(l)), l.0));
    loops
}

pub(crate) fn stride_of(access: &FlatAccess, l: LoopId) -> Option<i64> {
    access.strides.get(l.0 as usize)?.as_const()
}

/// The extent of a loop; of an open one what is typical of it.
pub(crate) fn extent_of(kernel: &FlatKernel, l: LoopId) -> Option<i64> {
    kernel.loops[l.0 as usize].extent.typical(&kernel.bounds)
}

/// Whether the extent is known at run time alone. Such a loop goes around vectors and tiles, one iteration after the other.
pub(crate) fn is_open(kernel: &FlatKernel, l: LoopId) -> bool {
    kernel.loops[l.0 as usize].is_open()
}

/// Whether there is nothing to do, whatever open dimensions are.
pub(crate) fn is_empty(kernel: &FlatKernel) -> bool {
    kernel.loops.iter().any(|l| l.extent.most(&kernel.bounds).is_none_or(|n| n <= 0))
}

/// Loops of a role whose extents are known: those that vectors and tiles can run along.
pub(crate) fn closed_loops(kernel: &FlatKernel, role: Role) -> Vec<LoopId> {
    loops_of(&kernel.loops, role).into_iter().filter(|l| !is_open(kernel, *l)).collect()
}

/// The largest part when `n` is cut into as few and as equal parts of at most `most` as possible.
pub(crate) fn even_part(n: i64, most: i64) -> i64 {
    let parts = (n + most - 1) / most;
    (n + parts - 1) / parts.max(1)
}

/// What vectors need of every access, wherever it begins: no index read at run time, no padding test.
pub(crate) fn vector_access(access: &FlatAccess) -> Result<(), String> {
    if !access.guards.is_empty() {
        return Err(format!("'{}' is padded", access.name));
    }
    bordered_access(access)
}

/// The same where padding is decided at compile time.
pub(crate) fn bordered_access(access: &FlatAccess) -> Result<(), String> {
    if !access.gathers.is_empty() {
        return Err(format!("'{}' is gathered", access.name));
    }
    Ok(())
}

/// Whether an access moves along a loop by a number that a run tells. Such a stride is no number, and nothing that asks for one
/// takes it.
pub(crate) fn has_open_stride(kernel: &FlatKernel, l: LoopId) -> bool {
    let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
    accesses.into_iter().any(|a| stride_of(a, l).is_none())
}

/// The loop with the most iterations, of those whose extents are known; where there is none of these the open one that
/// typically has most.
pub(crate) fn longest(kernel: &FlatKernel, loops: impl Iterator<Item = LoopId>) -> Option<LoopId> {
    loops.max_by_key(|l| (!is_open(kernel, *l), extent_of(kernel, *l)))
}

/// The part of a step that an open loop can have: a power of two.
pub(crate) fn open_step(kernel: &FlatKernel, l: LoopId, step: i64) -> i64 {
    if is_open(kernel, l) && step > 0 { 1 << step.ilog2() } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_evenly() {
        let parts: Vec<i64> = [112, 56, 28, 14, 7, 10, 1].map(|n| even_part(n, 8)).to_vec();
        assert_eq!(parts, [8, 8, 7, 7, 7, 5, 1]);
    }
}
