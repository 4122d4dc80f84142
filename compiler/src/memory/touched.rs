//! What a run of less than the greatest sizes touches of the arena.

use std::collections::BTreeMap;

use kiln_ir::dim::Symbols;
use kiln_ir::kernel::{BufferId, Program};

use super::spans::Spans;

/// The bytes of each buffer that a run touches whose open dimensions are between the least and what is typical: its first ones.
pub(super) struct Touched {
    bytes: Vec<usize>,
}

impl Touched {
    /// Of the buffers of a program.
    pub(super) fn of(program: &Program) -> Self {
        let middle =
            program.bounds.iter().map(|(name, b)| (name.clone(), b.lo + (b.typical - b.lo).max(0) / 2));
        let sizes: Symbols = middle.collect();
        let bytes = |id: BufferId| {
            let ty = &program.buffer(id).ty;
            let extent = |n: usize, d: &kiln_ir::Dim| n.checked_mul(usize::try_from(d.eval(&sizes)?).ok()?);
            let elements = ty.shape.iter().try_fold(1, extent);
            elements.map_or(usize::MAX, |n| ty.dtype.bytes_of(n))
        };
        Self { bytes: program.buffer_ids().map(bytes).collect() }
    }

    /// Of one buffer.
    pub(super) fn bytes_of(&self, id: BufferId) -> usize {
        self.bytes.get(id.0 as usize).copied().unwrap_or(usize::MAX)
    }

    /// Of an arena of so many bytes in which buffers begin at these.
    pub(super) fn of_all(&self, offsets: &BTreeMap<BufferId, usize>, arena: usize) -> usize {
        let mut spans = Spans::default();
        for (id, offset) in offsets {
            let bytes = self.bytes_of(*id).min(arena.saturating_sub(*offset));
            spans.add(*offset, *offset + bytes);
        }
        spans.bytes()
    }
}
