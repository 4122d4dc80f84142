//! Sizes that a run counts: their cells, and that kernels ask for them when they are known.

use super::regions::{Written, is_written};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::form::Kernel;
use crate::kernel::print::dims_of;
use crate::kernel::program::{BufferKind, Program};
use crate::kernel::regions::RegionId;
use crate::types::DType;

/// Every size has bounds and a cell of its own that one kernel writes.
pub(super) fn cells(program: &Program) -> Result<()> {
    let rule =
        |name: &str, what: &str| Err(Error::internal(format!("kernel verifier: the size '{name}' {what}")));
    for (name, cell) in &program.counted {
        if !program.bounds.contains_key(name) {
            return rule(name, "is counted and has no bounds");
        }
        let Some(buffer) = program.buffers().get(cell.0 as usize) else {
            return rule(name, "is told by a buffer that does not exist");
        };
        let ty = &buffer.ty;
        if buffer.kind != BufferKind::Temp || ty.dtype != DType::I64 || !ty.shape.iter().all(|e| e.is(1)) {
            return rule(name, &format!("is told by '{}' of type {ty}, not by a temporary i64", buffer.name));
        }
        let writers = program.kernels().iter().filter(|k| k.form.written().contains(cell)).count();
        let shared = program.counted.values().filter(|other| *other == cell).count();
        if writers != 1 || shared != 1 {
            return rule(
                name,
                &format!("is told by '{}', which is not its own or has {writers} writers", buffer.name),
            );
        }
    }
    Ok(())
}

/// What a kernel asks for has been counted.
pub(super) fn known(
    program: &Program,
    kernel: &Kernel,
    region: Option<RegionId>,
    written: &Written,
) -> Result<()> {
    if program.counted.is_empty() {
        return Ok(());
    }
    let mut dims: Vec<Dim> = kernel.loops.iter().map(|l| l.extent.clone()).collect();
    dims_of(kernel, &mut dims);
    kernel.form.each_buffer(&mut |id, _| {
        let buffer = program.buffers().get(id.0 as usize);
        dims.extend(buffer.into_iter().flat_map(|b| b.ty.shape.iter().cloned()));
    });
    for symbol in dims.iter().flat_map(Dim::symbols) {
        if let Some(cell) = program.counted.get(&symbol)
            && !is_written(program, written, *cell, region)
        {
            return Err(Error::internal(format!("asks for '{symbol}', which is not counted yet")));
        }
    }
    Ok(())
}
