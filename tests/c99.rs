//! Models as C99: sweeps of floats, compiled without a warning by this machine's compiler in one call, and compared with the
//! graph interpreter. Shipped models are at this point in `six_points.rs`.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case, Host};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, stages, text};
use libtest_mimic::{Arguments, Trial};

/// Sweeps in a call of the compiler.
const TOGETHER: usize = 8;

fn check(host: Host<'_>, sweeps: &[Sweep]) -> Outcome {
    let options = stages::c_options(2)?;
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

fn main() -> ExitCode {
    // Bytes in every size are megabytes of C, which take a compiler minutes.
    let all = sweeps::all().into_iter().enumerate();
    let some = all.filter(|(i, sweep)| *i < TOGETHER || sweep.name == "procedures");
    let some: Vec<Sweep> = some.map(|(_, sweep)| sweep).collect();
    let trial = Trial::test("sweeps", move || Ok(check(driver::NATIVE, &some)?));
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}
