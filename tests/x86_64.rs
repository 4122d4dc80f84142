//! Models for the lower levels of x86-64 on emulated processors that have nothing more: an instruction of a later
//! level is illegal there, and an operand of SSE that is not aligned faults. Results are compared with the graph interpreter's.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case, Host};
use kiln_tests::models::{self, Model};
use kiln_tests::{stages, text, tools};
use libtest_mimic::{Arguments, Failed, Trial};

fn check(model: &Model, level: &str, host: Host) -> Result<(), Failed> {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let options = stages::options(level, 2)?;
    let plan = pipeline::compile(graph.clone(), &options).map_err(text)?;
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    let case = Case::new(&model.name, &plan);
    let folder = tempfile::tempdir()?;
    stages::write_library(folder.path(), &model.name, plan, &options)?;
    let outputs = driver::run_one(host, folder.path(), case, &inputs)?;
    Ok(compare::close(&outputs, &expected, ACROSS_STAGES)?)
}

fn main() -> ExitCode {
    let here = cfg!(target_arch = "x86_64");
    let missing: Vec<&str> =
        [tools::CC, tools::QEMU_X86_64].into_iter().filter(|t| !tools::exists(t)).collect();
    let skip = !here || !missing.is_empty() && !tools::on_ci();
    if here && !missing.is_empty() {
        eprintln!("{} not found: apt-get install gcc qemu-user-static", missing.join(" and "));
    }
    let trials = models::shipped().into_iter().flat_map(|model| {
        [("sse2", driver::SSE2), ("avx", driver::AVX)].map(|(level, host)| {
            let model = model.clone();
            Trial::test(format!("{level}: {}", model.name), move || check(&model, level, host))
                .with_ignored_flag(skip)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
