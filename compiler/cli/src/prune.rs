//! `kiln prune`: a trained model to one with weights of zero, or with fewer channels.

use std::path::{Path, PathBuf};

use kiln_calibrate::{Samples, Watch};
use kiln_ir::error::Printable;
use kiln_prune::{Budget, Layer, Options, Outcome, Pattern, Saliency, Schedule};
use kiln_tools::table::{self, Column, Room};
use serde_json::{Value, json};

use super::args::{CpuArgs, LimitArgs, ThreadArgs};
use super::calibration::ImageArgs;
use super::failure::Failure;
use super::output::{Answer, Ui};
use super::remake::{self, Bar, Metric};

/// Arguments of `kiln prune`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::PRUNE)]
pub(super) struct Args {
    /// The ONNX file; - for standard input.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "OUT.onnx")]
    output: PathBuf,
    /// The part of the weights that become zero, or of the channels that go: 0 to less than 1.
    #[arg(long, value_name = "S", required_unless_present = "nm", allow_negative_numbers = true)]
    sparsity: Option<f64>,
    /// What becomes zero together: R channels of results by C of what is read, one of 1x1, 2x1, 4x1, 8x1, 16x1, 1x4, 4x4.
    /// 1x1 by default.
    #[arg(long, value_name = "RxC", conflicts_with_all = ["nm", "channels"])]
    block: Option<String>,
    /// Of each M channels that are read N stay, in every row: 2:4.
    #[arg(long, value_name = "N:M", conflicts_with = "channels")]
    nm: Option<String>,
    /// Remove whole channels between layers: the model itself shrinks.
    #[arg(long)]
    channels: bool,
    /// What says that a weight matters: its size; with what it is multiplied by, within a channel of results; the same within
    /// the layer, the diagonal of the second derivative of its error; or all of that derivative, where the weights that are left
    /// make up for those that go. The default is obs with data, and magnitude without.
    #[arg(long, value_enum)]
    saliency: Option<SaliencyArg>,
    /// How layers share it: the same part of each; what costs least, whichever layer it is in; or no slower than the same part
    /// of each, as measured, with the least error.
    #[arg(long, value_enum, default_value_t = BudgetArg::Uniform)]
    budget: BudgetArg,
    /// Layers with a part of their own, by name with * and ?; the last that fits counts, and 0 leaves a layer alone.
    #[arg(long, value_name = "PATTERN=S,..", value_delimiter = ',')]
    layers: Vec<String>,
    /// How the part grows over steps; between them the weights that are left are solved for again.
    #[arg(long, value_enum, default_value_t = ScheduleArg::Oneshot)]
    schedule: ScheduleArg,
    /// Steps of the schedule; 4 by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    steps: Option<u16>,
    /// Whether the weights that are left are solved for, so that results stay as near as they can: on by default where there
    /// are data.
    #[arg(long, value_enum)]
    reconstruct: Option<Switch>,
    /// Data like that of the model's use: a .npz file (arrays by input name, samples along axis 0), a folder of .npy files or
    /// a folder of images.
    #[arg(long, value_name = "DATA")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    images: ImageArgs,
    /// The class of each sample: a line for each, or a line FILE LABEL for each image; or a .npy file.
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    labels: Option<PathBuf>,
    /// What labels measure: whether the largest of the first result is where the label says.
    #[arg(long, value_enum, default_value_t = Metric::Top1, requires = "labels")]
    metric: Metric,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SaliencyArg {
    Magnitude,
    Wanda,
    Obd,
    Obs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BudgetArg {
    Uniform,
    Global,
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ScheduleArg {
    Oneshot,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Steps of a schedule that is not told how many.
const STEPS: usize = 4;

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let options = args.options()?;
    let target = remake::Target::of(&args.output)?;
    let bar = Bar::new(ui);
    bar.at("reading the model", 0, 1);
    let document = remake::read(&args.model, &args.output, &args.limits)?;
    let names = kiln_prune::layers(&document);
    if let Some((pattern, _)) =
        options.layers.iter().find(|(p, _)| !names.iter().any(|n| kiln_prune::fits(p, n)))
    {
        return Err(Failure::usage(format!(
            "--layers: no layer fits '{pattern}'; the layers are {}",
            names.join(", ")
        )));
    }
    let bytes_before = document.to_bytes()?.len();
    let (data, labels) = match &args.calibrate {
        None => (None, None),
        Some(path) => {
            let (data, labels) = remake::data(path, &document, &args.images, args.labels.as_deref())?;
            (Some(data), labels)
        }
    };
    let samples = data.as_ref().map(|d| d as &dyn Samples);
    let outcome = kiln_prune::prune(document, &options, samples, labels.as_deref(), &bar)?;
    let bytes = outcome.model.to_bytes()?;
    drop(bar);
    target.write(&bytes)?;
    let report = Report { outcome: &outcome, bytes: (bytes_before, bytes.len()) };
    report.tell(ui, &args);
    Ok(Answer::yes(report.json(&args.output)))
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        let pattern = match (&self.block, &self.nm, self.channels) {
            (_, Some(nm), _) => Pattern::of(nm).map_err(|e| Failure::usage(format!("--nm {e}")))?,
            (_, _, true) => Pattern::Channels,
            (block, ..) => {
                let block = block.as_deref().unwrap_or("1x1");
                Pattern::block(block).map_err(|e| Failure::usage(format!("--block {e}")))?
            }
        };
        let sparsity = match (self.sparsity, pattern.sparsity()) {
            (Some(s), Some(own)) if (s - own).abs() > 1e-9 => {
                return Err(Failure::usage(format!(
                    "--nm {pattern} removes {own} of the weights: leave out --sparsity {s}"
                )));
            }
            (given, own) => share("--sparsity", given.or(own).unwrap_or(0.0))?,
        };
        let layers = self.layers.iter().map(|l| layer(l, pattern)).collect::<Result<Vec<_>, _>>()?;
        let has_data = self.calibrate.is_some();
        let saliency = match (self.saliency, has_data) {
            (Some(SaliencyArg::Magnitude), _) | (None, false) => Saliency::Magnitude,
            (Some(SaliencyArg::Wanda), _) => Saliency::Wanda,
            (Some(SaliencyArg::Obd), _) => Saliency::Obd,
            (Some(SaliencyArg::Obs), _) | (None, true) => Saliency::Obs,
        };
        let steps = usize::from(self.steps.unwrap_or(STEPS as u16));
        let schedule = match self.schedule {
            ScheduleArg::Oneshot if self.steps.is_some_and(|s| s > 1) => {
                return Err(Failure::usage("--steps needs --schedule linear or cubic"));
            }
            ScheduleArg::Oneshot => Schedule::Oneshot,
            ScheduleArg::Linear => Schedule::Linear(steps),
            ScheduleArg::Cubic => Schedule::Cubic(steps),
        };
        let budget = match self.budget {
            BudgetArg::Uniform => Budget::Uniform,
            BudgetArg::Global => Budget::Global,
            BudgetArg::Time => Budget::Time,
        };
        let reconstruct = self.reconstruct.map_or(has_data, |s| s == Switch::On);
        let needs = [
            (saliency.needs_data(), "--saliency wanda, obd and obs look at activations"),
            (reconstruct, "--reconstruct on solves for weights by activations"),
            (budget == Budget::Time, "--budget time runs the model"),
            (schedule != Schedule::Oneshot, "a schedule solves for weights between its steps"),
        ];
        if let Some((_, why)) = needs.iter().find(|(needed, _)| *needed && !has_data) {
            return Err(Failure::usage(format!("{why}: give data with --calibrate DATA")));
        }
        let in_steps = schedule != Schedule::Oneshot;
        let clashes = [
            (
                in_steps && !reconstruct,
                "--schedule needs --reconstruct on: steps solve for weights between them",
            ),
            (in_steps && self.nm.is_some(), "--nm removes all at once: leave out --schedule"),
            (
                budget == Budget::Global && self.nm.is_some(),
                "--nm removes the same part of each layer: leave out --budget global",
            ),
            (
                budget == Budget::Time && self.channels,
                "--budget time is for weights: with --channels there are uniform and global",
            ),
        ];
        if let Some((_, what)) = clashes.iter().find(|(clash, _)| *clash) {
            return Err(Failure::usage(*what));
        }
        let machine = remake::machine(&self.cpu, &self.threads, &self.limits)?;
        Ok(Options { sparsity, pattern, saliency, budget, layers, schedule, reconstruct, machine })
    }
}

/// A part that may be removed.
fn share(what: &str, value: f64) -> Result<f64, Failure> {
    match (0.0..1.0).contains(&value) {
        true => Ok(value),
        false => {
            Err(Failure::usage(format!("{what} {value} is not from 0 to less than 1, such as 0.8 for 80 %")))
        }
    }
}

/// `PATTERN=S`.
fn layer(text: &str, pattern: Pattern) -> Result<(String, f64), Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--layers '{text}' is not PATTERN=S, such as '*conv1*=0.5'; S is the part that goes"
        ))
    };
    let (name, part) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let part = share("--layers: the part", part.parse().map_err(|_| wrong())?)?;
    match pattern.sparsity() {
        Some(own) if part != 0.0 && (part - own).abs() > 1e-9 => Err(Failure::usage(format!(
            "--layers '{text}': with --nm {pattern} a layer loses {own} of its weights, or 0"
        ))),
        _ => Ok((name.to_owned(), part)),
    }
}

struct Report<'a> {
    outcome: &'a Outcome,
    /// Of the files, before and after.
    bytes: (usize, usize),
}

impl Report<'_> {
    fn json(&self, file: &Path) -> Value {
        let layer = |layer: &Layer| {
            json!({
                "node": layer.node,
                "op": layer.op,
                "sparsity": layer.sparsity,
                "block": layer.block,
                "error": layer.error,
                "ms_dense": layer.ms_dense,
                "ms_sparse": layer.ms_sparse,
                "why": layer.why,
            })
        };
        let outcome = self.outcome;
        json!({
            "layers": outcome.layers.iter().map(layer).collect::<Vec<_>>(),
            "accuracy_before": outcome.accuracy_before,
            "accuracy_after": outcome.accuracy_after,
            "sparsity": outcome.sparsity,
            "sparsity_of_model": outcome.sparsity_of_model,
            "error": outcome.error,
            "ms_dense": outcome.ms.map(|m| m.0),
            "ms_sparse": outcome.ms.map(|m| m.1),
            "bytes_before": self.bytes.0,
            "bytes_after": self.bytes.1,
            "file": file.display().to_string(),
        })
    }

    fn tell(&self, ui: &Ui, args: &Args) {
        let number = |v: Option<f64>, digits: usize| v.map_or(String::new(), |v| format!("{v:.digits$}"));
        let row = |layer: &Layer| {
            vec![
                Printable(&layer.node).to_string(),
                format!("{:.1}", 100.0 * layer.sparsity),
                layer.block.clone(),
                number(layer.error, 4),
                number(layer.ms_dense, 3),
                number(layer.ms_sparse, 3),
                layer.why.clone(),
            ]
        };
        let outcome = self.outcome;
        let rows: Vec<Vec<String>> = outcome.layers.iter().map(row).collect();
        ui.text(table::lines(COLUMNS, &rows, Room::of_stdout()).join("\n"));
        let what = if args.channels { "gone" } else { "zero" };
        ui.text(format_args!(
            "{:.1} % of the weights of the pruned layers are {what}, {:.1} % of all layers'",
            100.0 * outcome.sparsity,
            100.0 * outcome.sparsity_of_model
        ));
        if let Some(error) = outcome.error {
            ui.text(format_args!("error of the results: {error:.4} of their size"));
        }
        if let (Some(before), Some(after)) = (outcome.accuracy_before, outcome.accuracy_after) {
            ui.text(format_args!("top-1: {:.2} % before, {:.2} % after", 100.0 * before, 100.0 * after));
        }
        if let Some((before, after)) = outcome.ms {
            ui.text(format_args!("a run on one thread: {before:.3} ms before, {after:.3} ms after"));
        }
        if args.channels {
            let (before, after) = self.bytes;
            let part = after as f64 / before.max(1) as f64;
            ui.text(format_args!("the file: {before} bytes before, {after} after ({part:.3})"));
        }
        ui.chat(format_args!("wrote {}", args.output.display()));
    }
}

const COLUMNS: &[Column] = &[
    Column::Name("layer"),
    Column::Number("% zero"),
    Column::Text("block"),
    Column::Number("error"),
    Column::Number("ms"),
    Column::Number("after"),
    Column::Prose("why not"),
];
