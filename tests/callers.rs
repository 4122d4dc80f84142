//! What debuggers and profilers need: from every instruction of a model the way leads to `main`. On x86-64 a program steps through
//! the model one instruction at a time and walks each time, by `.eh_frame` here and by Windows' tables under Wine; on AArch64,
//! emulated, it walks from the first read of an argument that is not there.

use std::path::Path;
use std::process::ExitCode;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;
use kiln_tests::{Outcome, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Products of every remainder, a window, sums, and a loop.
const MODEL: &str = "graph @m opset(17) {
  input %x: f32[1, 3, 9, 9]
  const @w: f32[13, 3, 3, 3] = splat 0.5
  const @v: f32[637, 10] = splat 0.25
  const @s: i64[2] = [1, 637]
  %c = Conv(%x, @w)
  %r = Relu(%c)
  %f = Reshape(%r, @s)
  %p = MatMul(%f, @v)
  %y = Softmax(%p)
  output %y
}";

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
fn walk(machine: &Machine, options: &Options) -> Outcome<usize> {
    let plan = pipeline::compile(graph::parse(MODEL).map_err(text)?, options).map_err(text)?;
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

fn everywhere(machine: &Machine, options: &Options, least: usize) -> Outcome {
    let places = walk(machine, options)?;
    if places < least { Err(format!("{places} places, {least} expected")) } else { Ok(()) }
}

fn main() -> ExitCode {
    let here = cfg!(target_arch = "x86_64");
    let levels = if here { stages::levels() } else { Vec::new() };
    let absent = |tools: &[&'static str]| tools.iter().any(|t| !tools::exists(t)) && !tools::on_ci();
    let mut trials = Vec::new();
    for level in levels {
        let linux = move || Ok(everywhere(&LINUX, &stages::options(level, 2)?, 2000)?);
        let windows = move || Ok(everywhere(&WINDOWS, &stages::windows_options(level)?, 2000)?);
        let without = absent(&[tools::WINDOWS_CC, tools::WINE]);
        trials.push(Trial::test(format!("linux: {level}"), linux));
        trials.push(Trial::test(format!("windows: {level}"), windows).with_ignored_flag(without));
    }
    let aarch64 = || Ok(everywhere(&AARCH64, &stages::aarch64_options()?, 1)?);
    let without = absent(&[tools::CROSS_CC, tools::QEMU]);
    trials.push(Trial::test("aarch64", aarch64).with_ignored_flag(without));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
