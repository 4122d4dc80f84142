//! Code for AArch64: compiled here, linked by the cross compiler, run under an emulator of the base instruction set.
//!
//! Sweeps, compared with the graph interpreter; shipped models, compared with the results of this machine; large
//! models when the folder that `KILN_MODELS` names, or `.cache/models`, has them.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_compiler::pipeline;
use kiln_ir::Tensor;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::plan::Plan;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, repository, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// The outputs of a graph's library on the emulated machine.
fn emulated(
    name: &str,
    graph: Graph,
    inputs: &[Tensor],
    check: impl Fn(&Plan) -> Outcome,
) -> Outcome<Vec<Tensor>> {
    let options = stages::aarch64_options()?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    check(&plan)?;
    let case = Case::new(name, &plan);
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_library(folder.path(), name, plan, &options)?;
    driver::run_one(driver::AARCH64, folder.path(), case, inputs)
}

fn sweep(sweep: &Sweep) -> Outcome {
    let graph = sweep.graph()?;
    let inputs = models::inputs(&graph)?;
    let expected = kiln_ir::eval::graph::run(&graph, &inputs).map_err(text)?;
    let found = emulated(sweep.name, graph, &inputs, |plan| sweep.check(plan))?;
    compare::close(&found, &expected, ACROSS_STAGES)
}

fn model(model: &Model) -> Outcome {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let here = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph.clone(), &here).map_err(text)?;
    let expected = stages::run_jit(&plan, &here, 1, &inputs)?;
    let found = emulated(&model.name, graph, &inputs, |_| Ok(()))?;
    compare::close(&found, &expected, ACROSS_STAGES)
}

/// Big models, where they are: one of depthwise windows, one of Winograd's convolutions.
fn big() -> Vec<Model> {
    let folder =
        std::env::var_os("KILN_MODELS").map_or_else(|| repository().join(".cache/models"), PathBuf::from);
    let wanted = ["mobilenet_v2", "resnet18"];
    models::in_folder(&folder).into_iter().filter(|m| wanted.contains(&&*m.name)).collect()
}

fn main() -> ExitCode {
    let missing = tools::missing_for_aarch64();
    let skip = !missing.is_empty() && !tools::on_ci();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        eprintln!("{missing} not found: apt-get install gcc-aarch64-linux-gnu qemu-user-static");
    }
    let sweeps = sweeps::all().into_iter().map(|s| Trial::test(s.name, move || Ok(sweep(&s)?)));
    let models = models::shipped().into_iter().chain(big());
    let models = models.map(|m| Trial::test(m.name.clone(), move || Ok(model(&m)?)));
    let trials = sweeps.chain(models).map(|t| t.with_ignored_flag(skip)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
