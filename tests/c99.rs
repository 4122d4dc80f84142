//! Models as C99: sweeps of floats, compiled without a warning by this machine's compiler in one call, and compared with the
//! graph interpreter. Shipped models are at this point in `six_points.rs`.
//!
//! The same for RISC-V of 64 bits, which no objects are made for: compiled by Debian's cross compiler, run under QEMU, with shipped
//! models and sweeps of bytes.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case, Host};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Sweeps in a call of the compiler.
const TOGETHER: usize = 8;

/// A machine: its triple, and how C is compiled and run for it.
#[derive(Clone, Copy)]
struct Machine {
    triple: &'static str,
    host: Host<'static>,
}

const HERE: Machine = Machine { triple: "", host: driver::NATIVE };
const RISCV64: Machine = Machine { triple: "riscv64gc-unknown-linux-gnu", host: driver::RISCV64 };
/// Shipped models that are run there.
const MODELS: [&str; 2] = ["tiny_kws_dscnn", "wm_005_aug_float"];
/// Sweeps of bytes that are run there.
const OF_BYTES: [&str; 2] = ["convolutions_of_bytes", "tables_of_bytes"];

fn check(Machine { triple, host }: Machine, sweeps: &[Sweep]) -> Outcome {
    let options = stages::c_options_for(triple, 2)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let (mut cases, mut inputs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for sweep in sweeps {
        let at = |e: String| format!("{}: {e}", sweep.name);
        let graph = sweep.graph().map_err(at)?;
        let own = sweep.inputs(&graph).map_err(at)?;
        expected.push(kiln_ir::quantized::run(&graph, &own).map_err(text).map_err(at)?);
        let plan = pipeline::compile(graph, &options).map_err(text).map_err(at)?;
        stages::write_c(folder.path(), sweep.name, &plan, &options).map_err(at)?;
        cases.push(Case::new(sweep.name, &plan));
        inputs.push(own);
    }
    let found = driver::run_c(host, folder.path(), &cases, &inputs)?;
    for ((sweep, found), expected) in sweeps.iter().zip(&found).zip(&expected) {
        compare::close(found, expected, ACROSS_STAGES).map_err(|e| format!("{}: {e}", sweep.name))?;
    }
    Ok(())
}

/// A shipped model, whose results here are known.
fn check_model(Machine { triple, host }: Machine, model: &Model) -> Outcome {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let here = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph.clone(), &here).map_err(text)?;
    let expected = stages::run_jit(&plan, &here, 1, &inputs)?;
    let options = stages::c_options_for(triple, 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_c(folder.path(), &model.name, &plan, &options)?;
    let case = [Case::new(&model.name, &plan)];
    let found = driver::run_c(host, folder.path(), &case, &[inputs])?.remove(0);
    compare::close(&found, &expected, ACROSS_STAGES)
}

fn main() -> ExitCode {
    // Bytes in every size are megabytes of C, which take a compiler minutes.
    let all = sweeps::all().into_iter().enumerate();
    let some = all.filter(|(i, sweep)| *i < TOGETHER || sweep.name == "procedures");
    let some: Vec<Sweep> = some.map(|(_, sweep)| sweep).collect();
    let mut trials = vec![];
    let found = tools::exists(tools::RISCV64_CC) && tools::exists(tools::QEMU_RISCV64);
    let skip = !found && !tools::on_ci();
    let bytes = sweeps::all().into_iter().filter(|sweep| OF_BYTES.contains(&sweep.name));
    let sweeps: Vec<Sweep> = some.iter().cloned().chain(bytes).collect();
    let sweeps = Trial::test("sweeps on riscv64", move || Ok(check(RISCV64, &sweeps)?));
    trials.push(sweeps.with_ignored_flag(skip));
    for model in models::shipped().into_iter().filter(|m| MODELS.contains(&&*m.name)) {
        let title = format!("{} on riscv64", model.name);
        trials.push(Trial::test(title, move || Ok(check_model(RISCV64, &model)?)).with_ignored_flag(skip));
    }
    trials.push(Trial::test("sweeps", move || Ok(check(HERE, &some)?)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
