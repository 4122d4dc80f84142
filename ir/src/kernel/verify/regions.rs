//! Regions of a program: their cells, and what has been written whenever a kernel runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::kernel::BufferId;
use crate::kernel::program::{BufferKind, Program};
use crate::kernel::regions::{Control, RegionId, Repeat, Trips, path};
use crate::types::DType;

/// Which regions have kernels that have written a buffer.
#[derive(Debug, Default)]
pub(super) struct Written(BTreeMap<BufferId, BTreeSet<Option<RegionId>>>);

impl Written {
    pub(super) fn add(&mut self, buffer: BufferId, region: Option<RegionId>) {
        self.0.entry(buffer).or_default().insert(region);
    }

    /// Whether a buffer has been written when a kernel in a region runs: in that or one around it.
    pub(super) fn for_reader(&self, program: &Program, buffer: BufferId, region: Option<RegionId>) -> bool {
        let Some(writers) = self.0.get(&buffer) else { return false };
        let around = path(program.regions(), region).into_iter().map(Some).chain([None]);
        around.into_iter().any(|region| covers(program, writers, region))
    }

    fn inside(&self, buffer: BufferId, program: &Program, region: RegionId) -> bool {
        let writers = self.0.get(&buffer).into_iter().flatten();
        writers.into_iter().any(|w| path(program.regions(), *w).contains(&region))
    }
}

/// Whether one of the writers has run when a region has: itself, both branches of a condition, or a loop, which may have run
/// no turn and then has nothing to write.
fn covers(program: &Program, writers: &BTreeSet<Option<RegionId>>, region: Option<RegionId>) -> bool {
    if writers.contains(&region) {
        return true;
    }
    let regions = program.regions();
    let inner: Vec<RegionId> = (0..regions.len() as u32)
        .map(RegionId)
        .filter(|id| regions[id.0 as usize].parent == region)
        .filter(|id| writers.iter().any(|w| path(regions, *w).contains(id)))
        .filter(|id| covers(program, writers, Some(*id)))
        .collect();
    inner.iter().any(|id| match &regions[id.0 as usize].control {
        Control::Loop(_) => true,
        Control::When { condition, is } => {
            let other = Control::When { condition: *condition, is: !is };
            inner.iter().any(|id| regions[id.0 as usize].control == other)
        }
    })
}

pub(super) fn broken(program: &Program, id: BufferId, rule: &str) -> Error {
    let b = program.buffer(id);
    Error::internal(format!("kernel verifier: buffer '{}' ({}) {rule}", b.name, b.ty))
}

/// A buffer holds data once it, its root or another view of its root is written: which elements those are is the
/// layout pass's business.
pub(super) fn is_written(
    program: &Program,
    written: &Written,
    id: BufferId,
    region: Option<RegionId>,
) -> bool {
    let given = |id: BufferId| matches!(program.buffer(id).kind, BufferKind::Input | BufferKind::Const(_));
    let root = program.root(id);
    given(id) || given(root) || [id, root].iter().any(|id| written.for_reader(program, *id, region))
}

/// Checks a region where its first kernel stands.
pub(super) fn enter(program: &Program, id: RegionId, written: &mut Written) -> Result<()> {
    let region = &program.regions()[id.0 as usize];
    if region.parent.is_some_and(|parent| parent >= id) {
        return Err(Error::internal(format!("kernel verifier: region {} is not inside its parent", id.0)));
    }
    let scalar = |cell: BufferId, dtype: DType| -> Result<()> {
        if program.buffers().get(cell.0 as usize).is_none() {
            return Err(Error::internal(format!("kernel verifier: buffer {} does not exist", cell.0)));
        }
        let ty = &program.buffer(cell).ty;
        match ty.dtype == dtype && ty.shape.iter().all(|extent| extent.is(1)) {
            true => Ok(()),
            false => Err(broken(program, cell, &format!("steers a region, which takes one {dtype}"))),
        }
    };
    let known = |written: &Written, cell: BufferId| match is_written(program, written, cell, region.parent) {
        true => Ok(()),
        false => Err(broken(program, cell, "steers a region before it is written")),
    };
    match &region.control {
        Control::When { condition, .. } => {
            scalar(*condition, DType::Bool)?;
            known(written, *condition)
        }
        Control::Loop(Repeat { counter, trips, condition, carried }) => {
            scalar(*counter, DType::I64)?;
            if let Some(Trips::Read(count)) = trips {
                scalar(*count, DType::I64)?;
                known(written, *count)?;
            }
            if let Some(condition) = condition {
                scalar(*condition, DType::Bool)?;
                known(written, *condition)?;
            }
            for cell in carried {
                known(written, *cell)?;
            }
            let counts = program.buffer(*counter).kind == BufferKind::Temp
                && !program.kernels().iter().any(|k| k.form.written().contains(counter));
            if !counts {
                return Err(broken(program, *counter, "counts a loop and is not its own"));
            }
            written.add(*counter, Some(id));
            Ok(())
        }
    }
}

/// Checks that loops write what they carry.
pub(super) fn carried(program: &Program, written: &Written) -> Result<()> {
    for i in (0..program.kernels().len()).filter_map(|i| program.region_of(i)) {
        let Control::Loop(repeat) = &program.regions()[i.0 as usize].control else { continue };
        if let Some(cell) = repeat.carried.iter().find(|cell| !written.inside(**cell, program, i)) {
            return Err(broken(program, *cell, "is carried by a loop that does not write it"));
        }
    }
    Ok(())
}
