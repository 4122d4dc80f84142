//! The graphs of `tests/cases`, at all points of the way, at `--opt 0`, 1 and 2, against their expected outputs.
//!
//! `expected.txt` there has a line for each: `NAME: right`, or `NAME: unsupported: PART` or `NAME: invalid: PART` with a
//! part of what the refusal says. A case that is refused must be refused at every level.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_compiler::internals::passes::bind::{self, DimBinding, DimValue};
use kiln_compiler::internals::pipeline;
use kiln_ir::errors::Errors;
use kiln_ir::graph::Graph;
use kiln_ir::{Dim, ErrorKind, Limits, Tensor};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::{Outcome, repository, stages, text, tools};
use libtest_mimic::{Arguments, Failed, Trial};

const LEVELS: [u8; 3] = [0, 1, 2];

fn main() -> ExitCode {
    let root = repository().join("tests/cases");
    let list = std::fs::read_to_string(root.join("expected.txt")).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    let mut trials = Vec::new();
    for line in list.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (name, expected) = line.split_once(": ").unwrap_or_else(|| panic!("'{line}' says nothing"));
        names.push(name);
        let (folder, expected) = (root.join(name), expected.to_owned());
        trials.push(Trial::test(name, move || check(&folder, &expected)));
    }
    let entries = std::fs::read_dir(&root).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned());
    let unlisted: Vec<String> = folders.filter(|n| !names.contains(&&**n)).collect();
    assert!(unlisted.is_empty(), "expected.txt says nothing of {unlisted:?}");
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn check(folder: &Path, expected: &str) -> Result<(), Failed> {
    for opt in LEVELS {
        let found = run(folder, opt).map_err(|e| format!("--opt {opt}: {e}"))?;
        // `KIND: PART` against `KIND: MESSAGE`.
        let (kind, part) = expected.split_once(": ").unwrap_or((expected, ""));
        if !found.starts_with(kind) || !found.contains(part) {
            return Err(format!("--opt {opt}: {found}").into());
        }
    }
    Ok(())
}

/// `right` when all results are, the kind of the refusal and its message where there is one, else an error.
fn run(folder: &Path, opt: u8) -> Outcome<String> {
    let refused = |errors: Errors| match errors.kind() {
        ErrorKind::Unsupported => Ok(format!("unsupported: {errors}")),
        ErrorKind::Invalid | ErrorKind::IndexOutOfRange => Ok(format!("invalid: {errors}")),
        ErrorKind::Internal | ErrorKind::Environment => Err(errors.to_string()),
    };
    let graph = match kiln_onnx::load(&folder.join("model.onnx"), &Limits::default()) {
        Ok(graph) => graph,
        Err(errors) => return refused(errors),
    };
    let sets: Vec<PathBuf> =
        (0..).map(|i| folder.join(format!("test_data_set_{i}"))).take_while(|set| set.is_dir()).collect();
    if sets.is_empty() {
        return Err("there are no inputs".to_owned());
    }
    for set in sets {
        let inputs = inputs(&set, &graph)?;
        let mut graph = graph.clone();
        let extents = extents(&graph, &inputs);
        if let Err(error) = bind::run(&mut graph, &extents) {
            return refused(error.into());
        }
        if let Err(errors) = pipeline::compile(graph.clone(), &stages::options("baseline", opt)?) {
            return refused(errors);
        }
        let found = stages::six_points("model", &graph, &inputs, opt)?;
        let expected: Vec<Tensor> = (0..)
            .map(|i| set.join(format!("output_{i}.pb")))
            .take_while(|path| path.is_file())
            .map(|path| read(&path).map(|(_, tensor)| tensor))
            .collect::<Outcome<_>>()?;
        compare::close(&found, &expected, ACROSS_STAGES)?;
    }
    Ok("right".to_owned())
}

/// The values that the inputs give to open dimensions.
fn extents(graph: &Graph, inputs: &[Tensor]) -> Vec<DimBinding> {
    let open = bind::symbols(graph);
    let facts = graph.inputs().iter().map(|id| graph.value(*id).fact.as_ref());
    let axes = facts.zip(inputs).flat_map(|(fact, tensor)| {
        let dims = fact.map(|f| f.shape.0.clone()).unwrap_or_default();
        dims.into_iter().zip(tensor.shape.clone()).collect::<Vec<_>>()
    });
    axes.filter_map(|(dim, extent)| {
        let name = open.iter().find(|s| Dim::symbol(s) == dim)?;
        Some(DimBinding { name: name.to_string(), value: DimValue::Fixed(extent as i64) })
    })
    .collect()
}

/// The graph's inputs in order. Files are numbered in the model's order; where they bear names, these count.
fn inputs(set: &Path, graph: &Graph) -> Outcome<Vec<Tensor>> {
    let names: Vec<&str> = graph.inputs().iter().map(|id| &*graph.value(*id).name).collect();
    let mut inputs: Vec<Option<Tensor>> = vec![None; names.len()];
    for i in 0..names.len() {
        let (name, tensor) = read(&set.join(format!("input_{i}.pb")))?;
        let at = names.iter().position(|n| *n == name).unwrap_or(i);
        inputs[at] = Some(tensor);
    }
    inputs.into_iter().zip(names).map(|(t, name)| t.ok_or_else(|| format!("no input '{name}'"))).collect()
}

fn read(path: &Path) -> Outcome<(String, Tensor)> {
    kiln_onnx::tensor_from_bytes(&tools::read(path)?, &Limits::default()).map_err(text)
}
