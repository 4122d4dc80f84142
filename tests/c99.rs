//! Models as C99: sweeps of floats, compiled without a warning by this machine's compiler in one call, and compared with the
//! graph interpreter. Shipped models are at this point in `six_points.rs`.
//!
//! The same for machines which no objects are made for, RISC-V of 64 bits and s390x, which stores the high byte of a number first:
//! compiled by Debian's cross compilers, run under QEMU, with two shipped models and sweeps of bytes; with `KILN_C99=all` every
//! sweep and every shipped model. Their results have the bits that C for the same registers has here.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::Tensor;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case, Host};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Sweeps in a call of the compiler.
const TOGETHER: usize = 8;

/// A machine: its triple, whether code for it is fast rather than small, and how C is compiled and run for it.
#[derive(Clone, Copy)]
struct Machine {
    triple: &'static str,
    fast: bool,
    host: Host<'static>,
}

/// One that is emulated: what tests call it, the machine, its compiler and its emulator.
type Emulated = (&'static str, Machine, [&'static str; 2]);

const HERE: Machine = Machine { triple: "", fast: false, host: driver::NATIVE };
const RISCV64: Machine =
    Machine { triple: "riscv64gc-unknown-linux-gnu", fast: false, host: driver::RISCV64 };
const S390X: Machine = Machine { triple: "s390x-unknown-linux-gnu", fast: false, host: driver::S390X };
const EMULATED: [Emulated; 2] = [
    ("riscv64", RISCV64, [tools::RISCV64_CC, tools::QEMU_RISCV64]),
    ("s390x", S390X, [tools::S390X_CC, tools::QEMU_S390X]),
];
/// As `HERE`, where code is fast.
const FAST: Machine = Machine { fast: true, ..HERE };
/// Shipped models that are run there.
const MODELS: [&str; 2] = ["tiny_kws_dscnn", "wm_005_aug_float"];
/// Sweeps that are run there alone: of bytes, and roundings, which compilers may do in other types.
const MORE: [&str; 4] = ["convolutions_of_bytes", "tables_of_bytes", "roundings", "residuals"];

/// This machine with C for the registers of those.
const ALIKE: Machine = Machine { host: driver::NATIVE, ..RISCV64 };

impl Machine {
    fn options(self) -> Outcome<Options> {
        match self.fast {
            true => stages::fast_c_options_for(self.triple, 2),
            false => stages::c_options_for(self.triple, 2),
        }
    }
}

fn check(machine: Machine, sweeps: &[Sweep]) -> Outcome<Vec<Vec<Tensor>>> {
    let options = machine.options()?;
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
    let found = driver::run_c(machine.host, folder.path(), &cases, &inputs)?;
    for ((sweep, found), expected) in sweeps.iter().zip(&found).zip(&expected) {
        compare::close(found, expected, ACROSS_STAGES).map_err(|e| format!("{}: {e}", sweep.name))?;
    }
    Ok(found)
}

fn check_emulated(machine: Machine, sweeps: &[Sweep]) -> Outcome {
    for ((found, here), sweep) in check(machine, sweeps)?.iter().zip(&check(ALIKE, sweeps)?).zip(sweeps) {
        compare::same_bits(found, here).map_err(|e| format!("{}: {e}", sweep.name))?;
    }
    Ok(())
}

/// A shipped model, whose results here are known.
fn check_model(machine: Machine, model: &Model) -> Outcome {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let here = stages::options("baseline", 2)?;
    let plan = pipeline::compile(graph.clone(), &here).map_err(text)?;
    let expected = stages::run_jit(&plan, &here, 1, &inputs)?;
    let run = |machine: Machine| {
        let options = machine.options()?;
        let plan = pipeline::compile(graph.clone(), &options).map_err(text)?;
        let folder = tempfile::tempdir().map_err(text)?;
        stages::write_c(folder.path(), &model.name, &plan, &options)?;
        let case = [Case::new(&model.name, &plan)];
        Ok::<_, String>(
            driver::run_c(machine.host, folder.path(), &case, std::slice::from_ref(&inputs))?.remove(0),
        )
    };
    let found = run(machine)?;
    compare::close(&found, &expected, ACROSS_STAGES)?;
    if machine.fast { Ok(()) } else { compare::same_bits(&found, &run(ALIKE)?) }
}

fn main() -> ExitCode {
    // Bytes in every size are megabytes of C, which take a compiler minutes.
    let all = sweeps::all().into_iter().enumerate();
    let some = all.filter(|(i, sweep)| *i < TOGETHER || sweep.name == "procedures");
    let some: Vec<Sweep> = some.map(|(_, sweep)| sweep).collect();
    let mut trials = vec![];
    let all = std::env::var_os("KILN_C99").is_some_and(|v| v == "all");
    let more = sweeps::all().into_iter().filter(|sweep| MORE.contains(&sweep.name));
    let sweeps = if all { sweeps::all() } else { some.iter().cloned().chain(more).collect() };
    for (name, machine, programs) in EMULATED {
        let skip = !programs.into_iter().all(tools::exists) && !tools::on_ci();
        let together = if all { 1 } else { sweeps.len() };
        for sweeps in sweeps.chunks(together) {
            let title = if all { sweeps[0].name } else { "sweeps" };
            let sweeps = sweeps.to_vec();
            let trial =
                Trial::test(format!("{title} on {name}"), move || Ok(check_emulated(machine, &sweeps)?));
            trials.push(trial.with_ignored_flag(skip));
        }
        for model in models::shipped().into_iter().filter(|m| all || MODELS.contains(&&*m.name)) {
            let title = format!("{} on {name}", model.name);
            trials
                .push(Trial::test(title, move || Ok(check_model(machine, &model)?)).with_ignored_flag(skip));
        }
    }
    let fast = some.clone();
    trials.push(Trial::test("sweeps", move || Ok(check(HERE, &some).map(drop)?)));
    trials.push(Trial::test("sweeps with speed", move || Ok(check(FAST, &fast).map(drop)?)));
    for model in models::shipped() {
        let title = format!("{} with speed", model.name);
        trials.push(Trial::test(title, move || Ok(check_model(FAST, &model)?)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
