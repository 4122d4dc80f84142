//! `kiln check`: folders of ONNX test cases, each a model with inputs and expected outputs.

use std::path::{Path, PathBuf};

use kiln_compiler::Model;
use kiln_compiler::internals::api::Loaded;
use kiln_ir::error::Printable;
use kiln_ir::{Error, ErrorKind, Tensor};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ShapeArgs, ThreadArgs};
use super::compare::{self, Difference, Tolerance};
use super::constants;
use super::failure::{self, Failure};
use super::group;
use super::opened;
use super::output::{self, Answer, BAD, GOOD, NOTE, Ui};
use super::source::Source;
use super::tensors::{self, Inputs};

/// Arguments of `kiln check`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::CHECK)]
pub(super) struct Args {
    /// Folders with model.onnx and test_data_set_*/{input,output}_N.pb; what holds no model.onnx is passed over.
    #[arg(value_name = "MODEL_DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Relative tolerance of floats; integers are compared exactly.
    #[arg(long, default_value_t = 1e-3)]
    rtol: f64,
    /// Absolute tolerance of floats.
    #[arg(long, default_value_t = 1e-5)]
    atol: f64,
    /// Take inputs that are shapes, axes, pads and the like as constants of the model, where it is not compiled
    /// otherwise.
    #[arg(long)]
    bind_inputs: bool,
    /// Take all inputs as constants of the model, so that it is computed while it is compiled.
    #[arg(long, conflicts_with_all = ["bind_inputs", "open_inputs"])]
    fold_inputs: bool,
    /// Leave the extents of inputs open, with bounds around those of the case: of all inputs, or of the first, or its
    /// outermost, whatever is compiled.
    #[arg(long, conflicts_with = "bind_inputs")]
    open_inputs: bool,
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

    fn style(self) -> anstyle::Style {
        match self {
            Self::Passed => GOOD,
            Self::Failed => BAD,
            Self::Unsupported => NOTE,
        }
    }
}

struct Case {
    name: String,
    status: Status,
    reason: String,
    /// Operator and reason of the first error: what cases are grouped by.
    group: String,
    difference: Difference,
    /// Inputs that became constants.
    bound: Vec<String>,
}

/// What the runs of a case came to.
struct Checked {
    worst: Difference,
    /// Why it failed.
    reason: Option<String>,
    bound: Vec<String>,
}

/// With more cases than this only those that did not pass are told one by one.
const FEW: usize = 20;

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let folders = folders(ui, &args.folders)?;
    // Wrong words of the command line are told before any model is read.
    args.cpu.tell(ui, None, false, &args::host(&args.cpu)?);
    // A bug met in one case fails that case only; the one JSON object comes at the end.
    output::set_json(false);
    let progress = ui.progress(folders.len() as u64);
    let mut cases = Vec::new();
    for folder in &folders {
        let name = name_of(folder);
        progress.step(&name);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(folder, &args)));
        let checked = checked.unwrap_or_else(|_| Err(Error::internal("kiln stopped at a bug").into()));
        progress.done();
        cases.push(case(name, checked));
    }
    drop(progress);
    tell(ui, &cases);
    let count = |status| cases.iter().filter(|c| c.status == status).count();
    let (passed, failed, unsupported) =
        (count(Status::Passed), count(Status::Failed), count(Status::Unsupported));
    let code = match (failed, unsupported) {
        (0, 0) => failure::EXIT_DONE,
        (0, _) => failure::EXIT_UNSUPPORTED,
        _ => failure::EXIT_NO,
    };
    let json = json!({
        "passed": passed,
        "failed": failed,
        "unsupported": unsupported,
        "cases": cases.iter().map(Case::to_json).collect::<Vec<_>>(),
    });
    Ok(Answer { code, json })
}

/// The folders that hold a model. Others, and files that a pattern of the shell met, are named in a note.
fn folders(ui: &Ui, given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if let Some(missing) = given.iter().find(|f| !f.exists()) {
        return Err(Failure::usage(format!("{} does not exist", missing.display())));
    }
    let (found, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        given.iter().partition(|f| f.join("model.onnx").is_file());
    let names: Vec<String> = others.iter().map(|f| f.display().to_string()).collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("{} holds no model.onnx", names.join(", "))));
    }
    if !others.is_empty() {
        ui.note(format_args!("passed over, with no model.onnx inside: {}", Printable(&names.join(", "))));
    }
    Ok(found.into_iter().cloned().collect())
}

/// Cases one by one, those that are not compiled by reason, and the counts.
fn tell(ui: &Ui, cases: &[Case]) {
    let all = ui.verbose() || cases.len() <= FEW;
    let line = |status: Status, text: &dyn std::fmt::Display| {
        let style = status.style();
        ui.text(format_args!("{style}{:11}{style:#} {text}", status.name()));
    };
    for case in cases {
        let reason = if case.reason.is_empty() { String::new() } else { format!(": {}", case.reason) };
        if all || case.status == Status::Failed {
            line(case.status, &format_args!("{}{}", case.name, Printable(&reason)));
        }
    }
    if !all {
        let mut groups: Vec<(String, Vec<&Case>)> = Vec::new();
        for case in cases.iter().filter(|c| c.status == Status::Unsupported) {
            let pattern = group::pattern(&case.group);
            match groups.iter_mut().find(|(of, _)| *of == pattern) {
                Some((_, members)) => members.push(case),
                None => groups.push((pattern, vec![case])),
            }
        }
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        for (_, members) in groups {
            let (count, first) = (members.len(), members[0]);
            let (reason, example) = (Printable(&first.group), Printable(&first.name));
            line(Status::Unsupported, &format_args!("{count:4} {reason} ({example})"));
        }
    }
    let counts = [Status::Passed, Status::Failed, Status::Unsupported].map(|status| {
        let count = cases.iter().filter(|c| c.status == status).count();
        let style = if count > 0 { status.style() } else { anstyle::Style::new() };
        format!("{style}{count} {}{style:#}", status.name())
    });
    ui.chat(counts.join(", "));
    if !all && cases.iter().any(|c| c.status != Status::Failed) {
        ui.note("--verbose lists every case");
    }
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
            "bound": self.bound,
        })
    }
}

fn name_of(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    full.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// Whatever is wrong with a case is the end of that case alone.
fn case(name: String, checked: Result<Checked, Failure>) -> Case {
    let ended = |status, reason: String, group: String, difference| Case {
        name: name.clone(),
        status,
        reason,
        group,
        difference,
        bound: Vec::new(),
    };
    let none = Difference::default();
    match checked {
        Ok(Checked { worst, reason, bound }) => {
            let status = if reason.is_none() { Status::Passed } else { Status::Failed };
            Case { bound, ..ended(status, reason.unwrap_or_default(), String::new(), worst) }
        }
        Err(Failure::Usage(reason)) => ended(Status::Failed, reason, String::new(), none),
        Err(Failure::Errors(errors)) => {
            let unsupported = errors.kind() == ErrorKind::Unsupported;
            let status = if unsupported { Status::Unsupported } else { Status::Failed };
            let first = errors.0.first();
            let what = |e: &Error| {
                let of = if e.op.is_empty() { String::new() } else { format!("{}: ", e.op) };
                format!("{of}{}", e.message)
            };
            let group = first.map(what).unwrap_or_default();
            ended(status, errors.to_string().replace('\n', "; "), group, none)
        }
    }
}

fn check(folder: &Path, args: &Args) -> Result<Checked, Failure> {
    let source = Source::open(&folder.join("model.onnx"), &args.shape.limits())?;
    let compiler = args::compiler_of(source, &args.shape, &args.cpu)?;
    let loaded = compiler.load()?;
    let tolerance = Tolerance { rtol: args.rtol, atol: args.atol };
    let sets = data_sets(folder)?;
    if sets.is_empty() {
        return Err(Error::invalid("there is no test_data_set_0 beside the model").into());
    }
    let mut all = Checked { worst: Difference::default(), reason: None, bound: Vec::new() };
    let mut compiled: Option<(Shapes, Model)> = None;
    for set in sets {
        let (given, expected) = read_set(&set, &loaded, args)?;
        let shapes: Shapes =
            given.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
        // With inputs that are constants every set is a model of its own.
        let (jit, again) = match compiled.take().filter(|(of, _)| *of == shapes) {
            Some((_, jit)) => (jit, true),
            None => compile(&loaded, &given, args)?,
        };
        let constant =
            |name: &&String| jit.inputs().iter().all(|port| port.name != **name) && !all.bound.contains(name);
        let constants: Vec<String> = given.iter().map(|(name, _)| name).filter(constant).cloned().collect();
        all.bound.extend(constants);
        let outputs = jit.run(&Inputs::of(given).tensors(jit.inputs(), jit.open_dimensions())?)?;
        for (i, expected) in expected {
            let Some((found, port)) = outputs.get(i).zip(jit.outputs().get(i)) else {
                return Err(Error::invalid(format!("output_{i}.pb belongs to no output of the model")).into());
            };
            let (difference, why) = compare::compare(found, &expected, tolerance)?;
            all.worst = all.worst.max(difference);
            let why = why.map(|w| format!("{}: output '{}' {w}", name_of(&set), port.name));
            all.reason = all.reason.or(why);
        }
        compiled = again.then_some((shapes, jit));
    }
    Ok(all)
}

/// The model for inputs of these extents, and whether it is the same for other values of them.
fn compile(loaded: &Loaded, given: &[(String, Tensor)], args: &Args) -> Result<(Model, bool), Failure> {
    let bound = |mut model: Loaded| -> Result<Loaded, Failure> {
        Inputs::of(given.to_vec()).bind(&mut model)?;
        Ok(model)
    };
    let threads = args.threads.count();
    if args.fold_inputs {
        let mut model = loaded.clone();
        for (name, tensor) in given {
            model.fix_input(name, tensor.clone())?;
        }
        return Ok((model.plan()?.jit(threads)?, false));
    }
    if args.open_inputs {
        return Ok((opened::plan(loaded, given)?.jit(threads)?, true));
    }
    let model = bound(loaded.clone())?;
    let errors = match model.clone().plan() {
        Ok(planned) => return Ok((planned.jit(threads)?, true)),
        Err(e) => match Failure::from(e) {
            Failure::Errors(errors) if args.bind_inputs && errors.kind() == ErrorKind::Unsupported => errors,
            other => return Err(other),
        },
    };
    Ok((constants::plan(model, given, errors)?.jit(threads)?, false))
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
