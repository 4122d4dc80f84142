//! Schedules: pure functions of a flat kernel, a target and what was measured ([`Choices`]).
//!
//! Each returns the schedule with the reason for it, or the reason why the form cannot be run that way; the
//! fallback, plain loops, always can.

pub mod choices;
pub mod contract;
pub mod cost;
pub mod grain;
pub mod nest;
pub mod transform;

use kiln_ir::DType;
use kiln_ir::kernel::plan::{FlatAccess, Schedule};
use kiln_ir::kernel::{Form, LoopId, Role};
use kiln_targets::Target;

use crate::flatten::{FlatKernel, loops_of};
pub use choices::Choices;

/// A schedule and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// How the loops are run.
    pub schedule: Schedule,
    /// A line for `explain`.
    pub why: String,
}

/// The schedule of any kernel but a contraction with constant weights, whose packing [`contract`] decides.
pub fn choose(kernel: &FlatKernel, target: &Target, choices: &Choices) -> Choice {
    let vector = match &kernel.form {
        Form::Contract { .. } => contract::choose(kernel, target, None, choices),
        Form::Transform { .. } => transform::choose(kernel),
        Form::Extern { .. } => Err("calls a helper".to_owned()),
        _ => nest::choose(kernel, target, choices),
    };
    vector.unwrap_or_else(|reason| Choice { schedule: plain(kernel), why: format!("plain loops: {reason}") })
}

/// Plain loops: parallel ones by falling stride of the first store, then reduced ones by falling stride of the
/// first load.
pub fn plain(kernel: &FlatKernel) -> Schedule {
    let stores = kernel.form.stores();
    let loads = kernel.form.loads();
    let mut order = by_falling_stride(loops_of(&kernel.loops, Role::Parallel), stores.first().copied());
    order.extend(by_falling_stride(loops_of(&kernel.loops, Role::Reduce), loads.first().copied()));
    Schedule::Scalar { order }
}

/// Loops sorted so that the one with the smallest stride in `access` comes last.
pub(crate) fn by_falling_stride(mut loops: Vec<LoopId>, access: Option<&FlatAccess>) -> Vec<LoopId> {
    let stride = |l: &LoopId| access.map_or(0, |a| stride_of(a, *l).unwrap_or(i64::MAX).abs());
    loops.sort_by_key(|l| (std::cmp::Reverse(stride(l)), l.0));
    loops
}

pub(crate) fn stride_of(access: &FlatAccess, l: LoopId) -> Option<i64> {
    access.strides.get(l.0 as usize)?.as_const()
}

pub(crate) fn extent_of(kernel: &FlatKernel, l: LoopId) -> Option<i64> {
    kernel.loops[l.0 as usize].extent.as_const()
}

/// The largest part when `n` is cut into as few and as equal parts of at most `most` as possible.
pub(crate) fn even_part(n: i64, most: i64) -> i64 {
    let parts = (n + most - 1) / most;
    (n + parts - 1) / parts.max(1)
}

/// What vectors need of every access: constant strides, no index read at run time, no padding test, f32 (or,
/// for plain copies, any type of four bytes).
pub(crate) fn vector_access(access: &FlatAccess, copy: bool) -> Result<(), String> {
    let name = &access.name;
    if !access.gathers.is_empty() {
        return Err(format!("'{name}' is gathered"));
    }
    if !access.guards.is_empty() {
        return Err(format!("'{name}' is padded"));
    }
    if !(access.dtype == DType::F32 || copy && access.dtype.size() == 4) {
        return Err(format!("'{name}' is {}", access.dtype));
    }
    if access.offset.as_const().is_none() || access.strides.iter().any(|s| s.as_const().is_none()) {
        return Err(format!("'{name}' has open strides"));
    }
    Ok(())
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
