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
//!   order and on any threads;
//! - a result that is not written.

mod access;
mod memory;

use access::Placed;
use memory::Memory;

use super::code::Loops;
use super::{Symbols, bind, check_assumed, forms, of_kernel};
use crate::error::Result;
use crate::kernel::plan::{Plan, PlannedKernel};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// Runs a plan; the results are in the order of `plan.outputs`.
pub fn run(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let declared: Vec<(&str, &TensorType)> = plan.inputs.iter().map(|p| (&*p.name, &p.ty)).collect();
    let symbols = bind(&declared, inputs, &plan.bounds)?;
    check_assumed(&plan.assumed, &symbols)?;
    let mut memory = Memory::new(plan, inputs, &symbols)?;
    for (k, kernel) in plan.kernels.iter().enumerate() {
        execute(plan, &mut memory, &symbols, k, kernel)
            .map_err(|e| of_kernel(e, &kernel.name, kernel.form.name(), &kernel.nodes))?;
    }
    memory.results()
}

fn execute(
    plan: &Plan,
    memory: &mut Memory,
    symbols: &Symbols,
    position: usize,
    kernel: &PlannedKernel,
) -> Result<()> {
    let loops = Loops::new(&kernel.loops, symbols)?;
    let mut level = Placed::new(plan, kernel, position, symbols, &loops, memory);
    forms::run(&kernel.form, &loops, &mut level)?;
    level.finish()
}

#[cfg(test)]
mod tests;
