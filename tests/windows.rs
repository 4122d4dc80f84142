//! Models as COFF objects of Windows' convention, linked by MinGW's compiler and run under Wine: sweeps and shipped models at the
//! levels that this machine runs, compared with the graph interpreter's results.

use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_ir::Tensor;
use kiln_ir::graph::Graph;
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::{Outcome, models, stages, sweeps, text, tools};
use libtest_mimic::{Arguments, Trial};

/// Models of one program: a start of Wine takes longer than they do.
const TOGETHER: usize = 16;

/// A graph, its arguments, and the name of its symbols.
struct Part {
    name: String,
    graph: Graph,
    inputs: Vec<Tensor>,
}

fn parts() -> Outcome<Vec<Part>> {
    let mut all = Vec::new();
    for sweep in sweeps::all() {
        let graph = sweep.graph()?;
        let inputs = sweep.inputs(&graph)?;
        // Sweeps of different nests share names.
        all.push(Part { name: format!("{}_{}", sweep.name, all.len()), graph, inputs });
    }
    for model in models::shipped() {
        let graph = model.graph()?;
        let inputs = models::inputs(&graph)?;
        all.push(Part { name: model.name, graph, inputs });
    }
    Ok(all)
}

fn check(level: &str, parts: &[Part]) -> Outcome {
    let options = stages::windows_options(level)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let (mut cases, mut inputs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let plan = pipeline::compile(part.graph.clone(), &options).map_err(text)?;
        cases.push(Case::new(&part.name, &plan));
        stages::write_library(folder.path(), &part.name, plan, &options)?;
        inputs.push(part.inputs.clone());
        expected.push(kiln_ir::quantized::run(&part.graph, &part.inputs).map_err(text)?);
    }
    let found = driver::run(driver::WINDOWS, folder.path(), &cases, &inputs)?;
    for ((part, found), expected) in parts.iter().zip(&found).zip(&expected) {
        compare::close(found, expected, ACROSS_STAGES).map_err(|e| format!("{}: {e}", part.name))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let here = cfg!(target_arch = "x86_64");
    let missing: Vec<&str> =
        [tools::WINDOWS_CC, tools::WINE].into_iter().filter(|t| !tools::exists(t)).collect();
    let skip = !here || !missing.is_empty() && !tools::on_ci();
    if here && !missing.is_empty() {
        eprintln!("{} not found: apt-get install gcc-mingw-w64-x86-64 wine wine64", missing.join(" and "));
    }
    let levels = if here { stages::levels() } else { vec!["sse2"] };
    let groups = (sweeps::all().len() + models::shipped().len()).div_ceil(TOGETHER);
    let trials = levels.into_iter().flat_map(|level| {
        (0..groups).map(move |group| {
            let run = move || {
                let parts = parts()?;
                Ok(check(level, parts.chunks(TOGETHER).nth(group).unwrap_or_default())?)
            };
            Trial::test(format!("{level}: part {group}"), run).with_ignored_flag(skip)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
