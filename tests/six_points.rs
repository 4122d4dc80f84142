//! Every shipped model at six points of the way, and as C99, at `--opt 0`, 1 and 2, and against ONNX Runtime.

use std::process::ExitCode;

use kiln_tests::compare::{self, ACROSS_RUNTIMES, ACROSS_STAGES};
use kiln_tests::models::{self, Model};
use kiln_tests::stages;
use libtest_mimic::{Arguments, Failed, Trial};

fn check(model: &Model, opt: u8) -> Result<(), Failed> {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let outputs = stages::six_points(&model.name, &graph, &inputs, opt)?;
    let c = stages::run_c(&model.name, graph, opt, &inputs).map_err(|e| format!("C99: {e}"))?;
    compare::close(&c, &outputs, ACROSS_STAGES).map_err(|e| format!("C99: {e}"))?;
    compare::close(&outputs, &model.expected()?, ACROSS_RUNTIMES)
        .map_err(|e| format!("ONNX Runtime: {e}"))?;
    Ok(())
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for model in models::shipped() {
        for opt in [0, 1, 2] {
            let model = model.clone();
            trials.push(Trial::test(format!("{}::opt{opt}", model.name), move || check(&model, opt)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
