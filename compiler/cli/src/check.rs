//! `kiln check`: folders of ONNX test cases, each a model with inputs and expected outputs.

use std::path::{Path, PathBuf};

use kiln_compiler::api::{Loaded, Model};
use kiln_ir::{Error, ErrorKind, Tensor};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ShapeArgs, ThreadArgs};
use super::compare::{self, Difference, Tolerance};
use super::output::{self, Answer, Failure, Ui};
use super::tensors::{self, Inputs};

/// Arguments of `kiln check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folders with model.onnx and test_data_set_*/{input,output}_N.pb.
    #[arg(value_name = "MODEL_DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Relative tolerance of floats; integers are compared exactly.
    #[arg(long, default_value_t = 1e-3)]
    rtol: f64,
    /// Absolute tolerance of floats.
    #[arg(long, default_value_t = 1e-5)]
    atol: f64,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Passed,
    Failed,
    Unsupported,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

struct Case {
    name: String,
    status: Status,
    reason: String,
    difference: Difference,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    for folder in &args.folders {
        if !folder.join("model.onnx").is_file() {
            return Err(Failure::usage(format!("{} has no model.onnx", folder.display())));
        }
    }
    // A bug met in one case fails that case only; the one JSON object comes at the end.
    output::set_json(false);
    let progress = ui.progress(args.folders.len() as u64);
    let mut cases = Vec::new();
    for folder in &args.folders {
        let name = name_of(folder);
        progress.step(&name);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(folder, &args)));
        let checked = checked.unwrap_or_else(|_| Err(Error::internal("kiln stopped at a bug").into()));
        progress.done();
        cases.push(case(name, checked)?);
    }
    drop(progress);
    for case in &cases {
        let line = format!("{:11} {}", case.status.name(), case.name);
        let reason = if case.reason.is_empty() { String::new() } else { format!(": {}", case.reason) };
        ui.text(format_args!("{line}{reason}"));
    }
    let count = |status| cases.iter().filter(|c| c.status == status).count();
    let (passed, failed, unsupported) =
        (count(Status::Passed), count(Status::Failed), count(Status::Unsupported));
    ui.chat(format_args!("{passed} passed, {failed} failed, {unsupported} unsupported"));
    let code = match (failed, unsupported) {
        (0, 0) => output::EXIT_DONE,
        (0, _) => output::EXIT_UNSUPPORTED,
        _ => output::EXIT_NO,
    };
    let json = json!({
        "passed": passed,
        "failed": failed,
        "unsupported": unsupported,
        "cases": cases.iter().map(Case::to_json).collect::<Vec<_>>(),
    });
    Ok(Answer { code, json })
}

/// Input names with the extents that a model was compiled for.
type Shapes = Vec<(String, Vec<usize>)>;

impl Case {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "status": self.status.name(),
            "reason": self.reason,
            "max_abs_err": self.difference.abs,
            "max_rel_err": self.difference.rel,
        })
    }
}

fn name_of(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    full.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// Errors of the command line end everything, errors of a model its case.
fn case(name: String, checked: Result<(Difference, Option<String>), Failure>) -> Result<Case, Failure> {
    let one_line = |text: String| text.replace('\n', "; ");
    Ok(match checked {
        Ok((difference, None)) => Case { name, status: Status::Passed, reason: String::new(), difference },
        Ok((difference, Some(reason))) => Case { name, status: Status::Failed, reason, difference },
        Err(usage @ Failure::Usage(_)) => return Err(usage),
        Err(Failure::Errors(errors)) => {
            let unsupported = errors.kind() == ErrorKind::Unsupported;
            let status = if unsupported { Status::Unsupported } else { Status::Failed };
            Case { name, status, reason: one_line(errors.to_string()), difference: Difference::default() }
        }
    })
}

fn check(folder: &Path, args: &Args) -> Result<(Difference, Option<String>), Failure> {
    let compiler = args::compiler(&folder.join("model.onnx"), &args.shape, None, &args.cpu, "native")?;
    let loaded = compiler.load()?;
    let tolerance = Tolerance { rtol: args.rtol, atol: args.atol };
    let sets = data_sets(folder)?;
    if sets.is_empty() {
        return Err(Error::invalid("there is no test_data_set_0 beside the model").into());
    }
    let (mut worst, mut reason) = (Difference::default(), None);
    let mut compiled: Option<(Shapes, Model)> = None;
    for set in sets {
        let (inputs, expected) = read_set(&set, &loaded, args)?;
        let shapes: Vec<(String, Vec<usize>)> =
            inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
        let inputs = Inputs::of(inputs);
        if compiled.as_ref().is_none_or(|(of, _)| *of != shapes) {
            let mut model = loaded.clone();
            inputs.bind(&mut model)?;
            compiled = Some((shapes, model.plan()?.jit(args.threads.count())?));
        }
        let Some((_, jit)) = &compiled else { continue };
        let outputs = jit.run(&inputs.tensors(jit.inputs())?)?;
        for (i, expected) in expected {
            let Some((found, port)) = outputs.get(i).zip(jit.outputs().get(i)) else {
                return Err(Error::invalid(format!("output_{i}.pb belongs to no output of the model")).into());
            };
            let (difference, why) = compare::compare(found, &expected, tolerance)?;
            worst = worst.max(difference);
            reason = reason.or_else(|| why.map(|w| format!("{}: output '{}' {w}", name_of(&set), port.name)));
        }
    }
    Ok((worst, reason))
}

fn data_sets(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder)
        .map_err(|e| Failure::usage(format!("cannot read {}: {e}", folder.display())))?;
    let mut sets: Vec<(u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("test_data_set_")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    sets.sort();
    Ok(sets.into_iter().map(|(_, path)| path).collect())
}

type Set = (Vec<(String, Tensor)>, Vec<(usize, Tensor)>);

/// Inputs by name and expected outputs by position.
fn read_set(set: &Path, model: &Loaded, args: &Args) -> Result<Set, Failure> {
    let limits = args.shape.limits();
    let names: Vec<&str> = model.inputs().into_iter().map(|(name, _)| name).collect();
    let mut inputs = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let path = set.join(format!("input_{i}.pb"));
        let (stored, tensor) = tensors::read_proto(&path, &limits)?;
        // Files are numbered in the model's order; where they bear names, these count.
        let name = if names.contains(&&*stored) { stored } else { (*name).to_owned() };
        inputs.push((name, tensor));
    }
    let mut outputs = Vec::new();
    for i in 0.. {
        let path = set.join(format!("output_{i}.pb"));
        if !path.is_file() {
            break;
        }
        outputs.push((i, tensors::read_proto(&path, &limits)?.1));
    }
    if outputs.is_empty() {
        return Err(Error::invalid(format!("{} expects no output", set.display())).into());
    }
    Ok((inputs, outputs))
}
