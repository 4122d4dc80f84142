//! Models for AArch64: compiled here, linked by the cross compiler, run under an emulator of the base instruction
//! set, compared with the results of this machine.
//!
//! Shipped models always; `mobilenet_v2` when the folder that `KILN_MODELS` names, or `.cache/models`, has it.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_compiler::pipeline;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::models::{self, Model};
use kiln_tests::{repository, stages, text, tools};
use libtest_mimic::{Arguments, Failed, Trial};

fn check(model: &Model) -> Result<(), Failed> {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let here = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph.clone(), &here).map_err(text)?;
    let expected = stages::run_jit(&plan, &here, 1, &inputs)?;
    let there = stages::aarch64_options()?;
    let plan = pipeline::compile(graph, &there).map_err(text)?;
    let case = Case::new(&model.name, &plan);
    let folder = tempfile::tempdir()?;
    stages::write_library(folder.path(), &model.name, plan, &there)?;
    let outputs = driver::run_one(driver::AARCH64, folder.path(), case, &inputs)?;
    Ok(compare::close(&outputs, &expected, ACROSS_STAGES)?)
}

/// Big models, where they are.
fn big() -> Vec<Model> {
    let folder =
        std::env::var_os("KILN_MODELS").map_or_else(|| repository().join(".cache/models"), PathBuf::from);
    models::in_folder(&folder).into_iter().filter(|m| m.name == "mobilenet_v2").collect()
}

fn main() -> ExitCode {
    let missing: Vec<&str> =
        [tools::CROSS_CC, tools::QEMU].into_iter().filter(|t| !tools::exists(t)).collect();
    let skip = !missing.is_empty() && !tools::on_ci();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        eprintln!("{missing} not found: apt-get install gcc-aarch64-linux-gnu qemu-user-static");
    }
    let trial = |model: Model| {
        let name = model.name.clone();
        Trial::test(name, move || check(&model)).with_ignored_flag(skip)
    };
    let trials = models::shipped().into_iter().chain(big()).map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
