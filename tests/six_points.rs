//! Every shipped model at six points of the way, and as C99, at `--opt 0`, 1 and 2, and against ONNX Runtime.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline::{self, Options};
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

/// The model in strips of rows, in the least memory that is found.
fn check_strips(model: &Model) -> Result<(), Failed> {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    let whole = stages::options("baseline", 2)?;
    let arena = pipeline::compile(graph.clone(), &whole).map_err(|e| e.to_string())?.arena_bytes as u64;
    let refused = pipeline::compile(graph.clone(), &Options { arena_limit: Some(1), ..whole }).err();
    let told = refused.ok_or("a model without an arena")?.to_string();
    let least = told.split("--arena-limit ").nth(1).and_then(|t| t.split_whitespace().next()?.parse().ok());
    let least: u64 = least.ok_or_else(|| format!("no least: {told}"))?;
    let windows = !model.name.contains("autoencoder");
    if least > arena || windows && least == arena {
        return Err(format!("{least} of {arena} bytes").into());
    }
    let outputs = stages::six_points_within(&model.name, &graph, &inputs, 2, Some(least))?;
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
        trials.push(Trial::test(format!("{}::strips", model.name), move || check_strips(&model)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
