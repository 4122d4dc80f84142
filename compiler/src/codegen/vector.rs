//! Vector code of planned kernels: which generator obeys which schedule.
//!
//! Everything here is generic over the vector builder: the same text makes portable code through Cranelift and
//! code of x86-64 through an encoder.

use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_targets::encode::Program;
use kiln_targets::simd::{R, Refusal, Simd};

use super::places::Places;
use super::{digits, dots, nest, sparse, stream, tile, transform, transpose};

/// A kernel with vectors as a program of the vector builder: the body of `fn(frame, begin, end)`, where `begin..end`
/// counts steps of the kernel's shared loop.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'k> {
    kernel: &'k PlannedKernel,
    places: Option<&'k Places>,
}

impl<'k> Vectors<'k> {
    /// A kernel by itself.
    pub fn new(kernel: &'k PlannedKernel) -> Self {
        Self { kernel, places: None }
    }

    /// A kernel whose code others share that have other places.
    pub(super) fn placed(kernel: &'k PlannedKernel, places: Option<&'k Places>) -> Self {
        Self { kernel, places }
    }
}

impl Program for Vectors<'_> {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let Self { kernel, places } = *self;
        if s.lanes() != kernel.provider.vector_bytes() as usize / 4 {
            return Err(Refusal::unsupported("vectors of another width than planned"));
        }
        match &kernel.schedule {
            Schedule::Nest(schedule) => nest::emit(kernel, places, schedule, s),
            Schedule::Tile(schedule) => tile::emit(kernel, places, schedule, s),
            Schedule::Dots(schedule) => dots::emit(kernel, places, schedule, s),
            Schedule::Stream(schedule) => stream::emit(kernel, places, schedule, s),
            Schedule::Digits(schedule) => digits::emit(kernel, places, schedule, s),
            Schedule::Sparse(schedule) => sparse::emit(kernel, places, schedule, s),
            Schedule::Transpose(schedule) => transpose::emit(kernel, places, schedule, s),
            Schedule::Transform(schedule) => transform::emit(kernel, places, schedule, s),
            Schedule::Scalar { .. } => Err(Refusal::unsupported("a scalar schedule in vectors")),
        }
    }
}
