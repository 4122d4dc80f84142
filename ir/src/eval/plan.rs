//! Interpreter of plans: flat kernels on bytes, as compiled code runs them.
//!
//! Inputs, outputs, read-only data and one arena are byte arrays; arena and outputs hold NaNs (every bit set) until a
//! kernel writes there. Schedules mean nothing here but for the panels of a [`Tile`](crate::kernel::plan::Tile), which
//! are a matter of layout. What a correct plan never does is an error, with the kernel, its nodes, the buffer and the
//! iteration:
//!
//! - an access outside the argument, the constant or the arena's slot that its storage names, or in a slot whose
//!   lifetime does not include the kernel; elements that are not aligned;
//! - a load of bytes that no kernel has written since the slot's lifetime began;
//! - an element that two iterations of a kernel write, or that one writes and another reads: kernels run in any
//!   order and on any threads. Where a slot is over another an iteration may read what it writes itself;
//! - a result that is not written.

mod access;
mod memory;

use access::Placed;
use memory::Memory;

use super::code::{self, Loops};
use super::{Symbols, bind, check_assumed, count, forms, of_kernel};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::plan::{Counted, FlatAccess, Plan, PlannedKernel, Storage};
use crate::kernel::regions;
use crate::tensor::Tensor;
use crate::types::TensorType;

/// Runs a plan; the results are in the order of `plan.outputs`.
pub fn run(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let declared: Vec<(&str, &TensorType)> = plan.inputs.iter().map(|p| (&*p.name, &p.ty)).collect();
    let symbols = bind(&declared, inputs, &plan.bounds)?;
    check_assumed(&plan.assumed, &symbols)?;
    let memory = Memory::new(plan, inputs, &symbols)?;
    let mut machine = Machine { plan, symbols, memory };
    regions::run(&plan.regions, &plan.steps(), &mut machine)?;
    machine.memory.results(&machine.symbols)
}

/// A run.
struct Machine<'a> {
    plan: &'a Plan,
    symbols: Symbols,
    memory: Memory,
}

impl regions::Machine<FlatAccess> for Machine<'_> {
    type Stop = Error;

    fn kernel(&mut self, position: usize) -> Result<()> {
        let kernel = &self.plan.kernels[position];
        execute(self.plan, &mut self.memory, &self.symbols, position, kernel)
            .map_err(|e| of_kernel(e, &kernel.name, kernel.form.name(), &kernel.nodes))?;
        for Counted { name, offset_bytes, .. } in self.plan.counted_by(position) {
            let storage = Storage::Arena { offset_bytes: *offset_bytes };
            let value = self.cell(storage, 0, 64, position)?;
            let value = value
                .ok_or_else(|| Error::internal(format!("the size '{name}' is read before it is written")))?;
            count(&mut self.symbols, &self.plan.bounds, name, value)?;
            check_assumed(&self.plan.assumed, &self.symbols)?;
        }
        Ok(())
    }

    fn read(&mut self, cell: &FlatAccess, position: usize) -> Result<i64> {
        let (element, bits) = (self.size(&cell.offset)?, 8 * cell.dtype.size());
        let value = self.cell(cell.storage, element, bits, position)?;
        value.ok_or_else(|| Error::internal(format!("'{}' steers a region before it is written", cell.name)))
    }

    fn write(&mut self, cell: &FlatAccess, value: i64, position: usize) -> Result<()> {
        let region = self.memory.region(self.plan, cell.storage, position)?;
        let (element, bits) = (self.size(&cell.offset)?, 8 * cell.dtype.size());
        if memory::bytes_of(element, bits).end > region.len() {
            return Err(Error::internal(format!("'{}' is outside its storage", cell.name)));
        }
        self.memory.begin(position);
        self.memory.put(&region, element as usize, bits, value as u64);
        Ok(())
    }

    fn size(&mut self, size: &Dim) -> Result<i64> {
        size.eval(&self.symbols).ok_or_else(|| Error::internal(format!("the size {size} is not known")))
    }
}

impl Machine<'_> {
    /// The bits of an element, if it is there and has been written.
    fn cell(&self, storage: Storage, element: i64, bits: usize, position: usize) -> Result<Option<i64>> {
        let region = self.memory.region(self.plan, storage, position)?;
        let bytes = memory::bytes_of(element, bits);
        if bytes.end > region.len() || !self.memory.is_written(&region, bytes) {
            return Ok(None);
        }
        Ok(Some(code::get(self.memory.snapshot(&region).bytes(), bits, element as usize) as i64))
    }
}

fn execute(
    plan: &Plan,
    memory: &mut Memory,
    symbols: &Symbols,
    position: usize,
    kernel: &PlannedKernel,
) -> Result<()> {
    memory.begin(position);
    let loops = Loops::new(&kernel.loops, symbols)?;
    let mut level = Placed::new(plan, kernel, position, symbols, &loops, memory);
    forms::run(&kernel.form, &loops, &mut level)?;
    level.finish()
}

#[cfg(test)]
mod tests;
