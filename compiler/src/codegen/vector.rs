//! Vector code of planned kernels: which generator obeys which schedule.
//!
//! Everything here is generic over the vector builder: the same text makes portable code through Cranelift and
//! code of x86-64 through an encoder.

use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_targets::LhsAccess;
use kiln_targets::simd::{R, Refusal, Simd};

use super::{nest, tile, transform, transpose};

/// Emits the body of `fn(frame, begin, end)` for a kernel of schedule [`Schedule::Nest`], [`Schedule::Tile`],
/// [`Schedule::Transpose`] or [`Schedule::Transform`]. `begin..end` counts iterations of the shared loop; see [`shared_extent`].
pub fn emit<S: Simd>(kernel: &PlannedKernel, lhs: LhsAccess, s: &mut S) -> R {
    match &kernel.schedule {
        Schedule::Nest(schedule) => nest::emit(kernel, schedule, s),
        Schedule::Tile(schedule) => tile::emit(kernel, schedule, lhs, s),
        Schedule::Transpose(schedule) => transpose::emit(kernel, schedule, s),
        Schedule::Transform(schedule) => transform::emit(kernel, schedule, s),
        Schedule::Scalar { .. } => Err(Refusal::unsupported("a scalar schedule in vectors")),
    }
}

/// Iterations of the loop that threads share, for vectors of `lanes` elements: a kernel is run completely by
/// calling it with `0..shared_extent`, or with consecutive ranges of that.
pub fn shared_extent(kernel: &PlannedKernel, lanes: usize) -> R<i64> {
    match &kernel.schedule {
        Schedule::Nest(schedule) => Ok(nest::shared_loop(kernel, schedule, lanes)?.1),
        Schedule::Tile(schedule) => tile::shared_extent(kernel, schedule),
        Schedule::Transpose(schedule) => transpose::shared_extent(kernel, schedule),
        Schedule::Transform(schedule) => transform::shared_extent(kernel, schedule),
        Schedule::Scalar { .. } => Err(Refusal::unsupported("a scalar schedule in vectors")),
    }
}
