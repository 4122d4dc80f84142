//! The stack that a header speaks of is what a call takes: on x86-64 a program runs models one instruction at a time and looks how
//! low the stack pointer goes, on AArch64, emulated, how far a painted stack is written.

use std::path::Path;
use std::process::ExitCode;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;
use kiln_tests::stepped::STEPPED;
use kiln_tests::{Outcome, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Bytes that the header says, that the stack pointer went down by, and that were written.
fn measure(cc: &str, flags: &[&str], runner: &[&str], model: &str, options: &Options) -> Outcome<[u64; 3]> {
    let plan = pipeline::compile(graph::parse(model).map_err(text)?, options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_library(folder.path(), "m", plan, options)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("stack/linux.c");
    let program = folder.path().join("stack");
    let include = format!("-I{}", folder.path().display());
    let flags = [flags, &["-O1", "-mno-red-zone", &include]].concat();
    let flags: Vec<&str> =
        if runner.is_empty() { flags } else { flags.into_iter().filter(|f| *f != "-mno-red-zone").collect() };
    tools::link(cc, &flags, &source, &[&folder.path().join("libm.a")], &program)?;
    let told = tools::run(&mut tools::start(runner, &program))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let numbers: Vec<u64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| format!("no three numbers: {told}"))
}

fn exact(level: &str, model: &str) -> Outcome {
    let [said, taken, written] = measure(tools::CC, &[], &[], model, &stages::options(level, 2)?)?;
    let exact = said == taken && written <= said && written > 0;
    if exact { Ok(()) } else { Err(format!("{said} said, {taken} taken, {written} written")) }
}

fn bounded(model: &str) -> Outcome {
    let options = stages::aarch64_options()?;
    let [said, _, written] = measure(tools::CROSS_CC, &["-static"], &[tools::QEMU], model, &options)?;
    // The lowest word of a frame may be one that only a spill would have used.
    let close = written <= said && written + 64 >= said;
    if close { Ok(()) } else { Err(format!("{said} said, {written} written")) }
}

fn main() -> ExitCode {
    let levels = if cfg!(target_arch = "x86_64") { stages::levels() } else { Vec::new() };
    let without = [tools::CROSS_CC, tools::QEMU].iter().any(|t| !tools::exists(t)) && !tools::on_ci();
    let mut trials = Vec::new();
    for (name, model) in STEPPED {
        for level in levels.iter().copied() {
            trials.push(Trial::test(format!("{level}: {name}"), move || Ok(exact(level, model)?)));
        }
        let aarch64 = move || Ok(bounded(model)?);
        trials.push(Trial::test(format!("aarch64: {name}"), aarch64).with_ignored_flag(without));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
