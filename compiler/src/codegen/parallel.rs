//! Kernels are compiled on all cores: they refer to nothing outside themselves, so each stands alone.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use kiln_ir::Result;
use kiln_ir::kernel::plan::PlannedKernel;
use kiln_targets::Target;

use super::function::{self, Machine};
use super::places::Places;

/// Kernels that a thread takes at a time, and below which no second thread is worth its start.
const CHUNK: usize = 8;

/// A kernel, and its places if its code reads them from the frame.
pub(super) type Job<'k> = (&'k PlannedKernel, Option<&'k Places>);

/// The code of every kernel, in order: the same for any number of threads. The error is that of the first kernel that
/// has one.
pub(super) fn compile(kernels: &[Job<'_>], target: &Target, isa: &dyn TargetIsa) -> Result<Vec<Machine>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    compile_on(cores.min(kernels.len().div_ceil(CHUNK)), kernels, target, isa)
}

fn compile_on(
    threads: usize,
    kernels: &[Job<'_>],
    target: &Target,
    isa: &dyn TargetIsa,
) -> Result<Vec<Machine>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<Result<Machine>>)>> = Mutex::default();
    let work = || {
        let mut scratch = FunctionBuilderContext::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            let Some(mine) = kernels.chunks(CHUNK).nth(chunk) else { return };
            let codes = mine.iter().map(|job @ (kernel, _)| {
                let code = function::compile(isa, &mut scratch, *job, target);
                if code.is_err() {
                    // Half a function may be left in it.
                    scratch = FunctionBuilderContext::new();
                }
                code.map_err(|e| e.at(&kernel.name, kernel.form.name()))
            });
            let codes = codes.collect();
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((chunk, codes));
        }
    };
    thread::scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(chunk, _)| *chunk);
    done.into_iter().flat_map(|(_, codes)| codes).collect()
}
