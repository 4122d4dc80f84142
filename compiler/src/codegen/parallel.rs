//! Kernels are compiled on all cores: they refer to nothing outside themselves, so each stands alone.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use kiln_ir::kernel::plan::PlannedKernel;
use kiln_ir::{Error, Result};
use kiln_targets::Target;

use super::function::{self, Machine};
use super::places::Places;

/// Kernels that a thread takes at a time, and below which no second thread is worth its start.
const CHUNK: usize = 8;

/// A kernel, and its places if its code reads them from the frame.
pub(super) type Job<'k> = (&'k PlannedKernel, Option<&'k Places>);

/// The code of every kernel, in order: the same for any number of threads. The error is that of the first kernel that
/// has one, or that somebody asked to `stop`.
pub(super) fn compile(
    kernels: &[Job<'_>],
    target: &Target,
    isa: &dyn TargetIsa,
    stop: Option<&AtomicBool>,
) -> Result<Vec<Machine>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    compile_on(cores.min(kernels.len().div_ceil(CHUNK)), kernels, target, isa, stop)
}

fn compile_on(
    threads: usize,
    kernels: &[Job<'_>],
    target: &Target,
    isa: &dyn TargetIsa,
    stop: Option<&AtomicBool>,
) -> Result<Vec<Machine>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<Result<Machine>>)>> = Mutex::default();
    let work = || {
        let mut scratch = FunctionBuilderContext::new();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            let Some(mine) = kernels.chunks(CHUNK).nth(chunk) else { return };
            let codes = mine.iter().map(|job @ (kernel, _)| {
                if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return Err(Error::environment("the compilation was stopped"));
                }
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
        // Where the system has no further thread, those that there are do all of it.
        (1..threads).all(|_| thread::Builder::new().spawn_scoped(scope, work).is_ok());
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(chunk, _)| *chunk);
    done.into_iter().flat_map(|(_, codes)| codes).collect()
}

#[cfg(test)]
mod tests {
    use kiln_ir::graph;
    use kiln_targets::isa::{Code, isa};

    use super::*;
    use crate::pipeline::{self, Options};

    /// One kernel each at least: tiles, vectors, blocks and plain loops.
    const NODES: usize = 60;

    fn source() -> String {
        let mut text = "graph @m opset(17) {\n  input %v0: f32[24, 24]\n".to_owned();
        for i in 0..NODES {
            let at = |op: &str| format!("  %v{} = {op}(%v{i})\n", i + 1);
            text += &match i % 5 {
                0 => format!("  %v{} = MatMul(%v{i}, %v{i})\n", i + 1),
                1 => at("Tanh"),
                2 => at("Tan"),
                3 => at("Softmax"),
                _ => at("Transpose"),
            };
        }
        text + &format!("  output %v{NODES}\n}}\n")
    }

    #[test]
    fn any_number_of_threads_makes_the_same_bytes() {
        for level in ["baseline", "avx2", "avx512"] {
            let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            let options = Options { opt: 0, ..Options::new(target.clone()) };
            let plan = pipeline::compile(graph::parse(&source()).unwrap(), &options).unwrap();
            assert!(plan.kernels.len() > 4 * CHUNK, "{} kernels", plan.kernels.len());
            let jobs: Vec<Job<'_>> = plan.kernels.iter().map(|kernel| (kernel, None)).collect();
            let isa = isa(&target, Code::Object, true).unwrap();
            let alone = compile_on(1, &jobs, &target, &*isa, None).unwrap();
            for threads in [2, 3, 8] {
                assert_eq!(
                    compile_on(threads, &jobs, &target, &*isa, None).unwrap(),
                    alone,
                    "{threads} threads"
                );
            }
        }
    }
}
