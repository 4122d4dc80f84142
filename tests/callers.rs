//! What debuggers and profilers need: from every instruction of a model the way leads to `main`. On x86-64 a program steps through
//! the model one instruction at a time and walks each time, by `.eh_frame` here and by Windows' tables under Wine; on AArch64,
//! emulated, it walks from the first read of an argument that is not there.

use std::path::Path;
use std::process::ExitCode;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;
use kiln_tests::stepped::STEPPED;
use kiln_tests::{Outcome, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Instructions of the least of the models.
const LEAST_PLACES: usize = 500;

/// A compiler, and what runs its programs.
struct Machine {
    cc: &'static str,
    flags: &'static [&'static str],
    source: &'static str,
    runner: &'static [&'static str],
}

const LINUX: Machine = Machine { cc: tools::CC, flags: &[], source: "linux.c", runner: &[] };
const WINDOWS: Machine =
    Machine { cc: tools::WINDOWS_CC, flags: &["-static"], source: "windows.c", runner: &[tools::WINE] };
const AARCH64: Machine =
    Machine { cc: tools::CROSS_CC, flags: &["-static"], source: "linux.c", runner: &[tools::QEMU] };

/// Builds the program and runs it; how many places it walked from.
fn walk(machine: &Machine, model: &str, options: &Options) -> Outcome<usize> {
    let plan = pipeline::compile(graph::parse(model).map_err(text)?, options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_library(folder.path(), "m", plan, options)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("callers").join(machine.source);
    let program = folder.path().join("walk.exe");
    let include = format!("-I{}", folder.path().display());
    let flags = [machine.flags, &["-O1", "-fno-inline", "-fasynchronous-unwind-tables", &include]].concat();
    tools::link(machine.cc, &flags, &source, &[&folder.path().join("libm.a")], &program)?;
    let told = tools::run(&mut tools::start(machine.runner, &program))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let places = told.split(" places").next().and_then(|n| n.parse().ok());
    places.ok_or_else(|| format!("no number of places: {told}"))
}

fn everywhere(machine: &Machine, model: &str, options: &Options, least: usize) -> Outcome {
    let places = walk(machine, model, options)?;
    if places < least { Err(format!("{places} places, {least} expected")) } else { Ok(()) }
}

fn main() -> ExitCode {
    let here = cfg!(target_arch = "x86_64");
    let levels = if here { stages::levels() } else { Vec::new() };
    let absent = |tools: &[&'static str]| tools.iter().any(|t| !tools::exists(t)) && !tools::on_ci();
    let mut trials = Vec::new();
    for (name, model) in STEPPED {
        for level in levels.iter().copied() {
            let linux = move || Ok(everywhere(&LINUX, model, &stages::options(level, 2)?, LEAST_PLACES)?);
            let windows =
                move || Ok(everywhere(&WINDOWS, model, &stages::windows_options(level)?, LEAST_PLACES)?);
            let without = absent(&[tools::WINDOWS_CC, tools::WINE]);
            trials.push(Trial::test(format!("linux: {level}: {name}"), linux));
            trials.push(Trial::test(format!("windows: {level}: {name}"), windows).with_ignored_flag(without));
        }
        let aarch64 = move || Ok(everywhere(&AARCH64, model, &stages::aarch64_options()?, 1)?);
        let without = absent(&[tools::CROSS_CC, tools::QEMU]);
        trials.push(Trial::test(format!("aarch64: {name}"), aarch64).with_ignored_flag(without));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
