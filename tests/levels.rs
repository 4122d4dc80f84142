//! Sweeps at every level that this machine runs: libraries, linked and run with memory that ends at pages that cannot be
//! read, against the graph interpreter; their plans too.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, stages, text};
use libtest_mimic::{Arguments, Trial};

fn check(sweep: &Sweep, level: &str) -> Outcome {
    let graph = sweep.graph()?;
    let inputs = sweep.inputs(&graph)?;
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    let options = stages::options(level, 2)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    sweep.check(&plan)?;
    let interpreted = stages::run_plan(&plan, &inputs)?;
    compare::close(&interpreted, &expected, ACROSS_STAGES).map_err(|e| format!("plan interpreter: {e}"))?;
    let found = stages::run_object(sweep.name, &plan, &options, &inputs)?;
    compare::close(&found, &expected, ACROSS_STAGES)
}

fn main() -> ExitCode {
    let levels = stages::levels();
    assert!(!levels.is_empty(), "this machine has no known level");
    let trial = |(sweep, level): (Sweep, &'static str)| {
        Trial::test(format!("{}::{level}", sweep.name), move || Ok(check(&sweep, level)?))
    };
    let all = sweeps::all().into_iter().flat_map(|s| levels.iter().map(move |l| (s.clone(), *l)));
    libtest_mimic::run(&Arguments::from_args(), all.map(trial).collect()).exit_code()
}
