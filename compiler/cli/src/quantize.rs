//! `kiln quantize`: a float model to one of integers, after training.

use std::path::{Path, PathBuf};

use kiln_calibrate::{Watch, times};
use kiln_ir::error::Printable;
use kiln_quantize::{Keep, Layer, Method, Options, Outcome, Rounding, Target, Width};
use kiln_tools::table::{self, Column, Room};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, LimitArgs, ThreadArgs};
use super::calibration::ImageArgs;
use super::failure::{EXIT_DONE, EXIT_NO, Failure};
use super::output::{Answer, Ui};
use super::remake::{self, Bar, Metric};

/// Arguments of `kiln quantize`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::QUANTIZE)]
pub(super) struct Args {
    /// The float ONNX file; - for standard input.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "OUT.onnx")]
    output: PathBuf,
    /// Data like that of the model's use: a .npz file (arrays by input name, samples along axis 0), a folder of .npy files or
    /// a folder of images.
    #[arg(long, value_name = "DATA", required_unless_present = "dynamic", conflicts_with = "dynamic")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    images: ImageArgs,
    /// How the range of an activation is found: all elements, 99.99 % of them, the range with the least mean square error, or
    /// the one that loses the least information.
    #[arg(long, value_enum, default_value_t = MethodArg::Mse)]
    method: MethodArg,
    /// Bits of weights. Those of 4 make the file smaller; kiln computes with them as floats.
    #[arg(long, value_enum, default_value_t = WeightsArg::Int8)]
    weights: WeightsArg,
    /// How weights are rounded: each to the nearest number, the default for int8; or so that they make up for each other's
    /// errors, the default for int4, which takes longer.
    #[arg(long, value_enum)]
    rounding: Option<RoundingArg>,
    /// Scale channels between two products so that their ranges are alike, where that makes the error of the results smaller.
    #[arg(long, conflicts_with = "dynamic")]
    equalise: bool,
    /// The machine that the model is for, a level out of `kiln list targets`: where it has no instruction for sums of
    /// products of bytes, pairs of weights are limited so that two products fit 16 bits.
    #[arg(long = "for", value_name = "TARGETLEVEL")]
    level: Option<String>,
    /// Nodes that stay float, by name; auto: as few as let --target-error or --target-drop be met.
    #[arg(long, value_name = "auto|NODE,..", value_delimiter = ',')]
    keep_float: Vec<String>,
    /// The largest error of the results: the root of the mean square of differences from the float model's, relative to
    /// these.
    #[arg(long, value_name = "E", conflicts_with_all = ["target_drop", "dynamic"])]
    target_error: Option<f64>,
    /// The class of each sample: a line for each, or a line FILE LABEL for each image; or a .npy file.
    #[arg(long, value_name = "FILE", conflicts_with = "dynamic")]
    labels: Option<PathBuf>,
    /// What labels measure: whether the largest of the first result is where the label says.
    #[arg(long, value_enum, default_value_t = Metric::Top1, requires = "labels")]
    metric: Metric,
    /// The largest loss of accuracy, in points of a hundred.
    #[arg(long, value_name = "D", requires = "labels")]
    target_drop: Option<f64>,
    /// Number activations while the model runs: needs no data, and costs time in every run.
    #[arg(long)]
    dynamic: bool,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "lower")]
enum MethodArg {
    MinMax,
    Percentile,
    Mse,
    Entropy,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WeightsArg {
    Int8,
    Int4,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoundingArg {
    Nearest,
    SecondOrder,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let options = args.options()?;
    let target = remake::Target::of(&args.output)?;
    let bar = Bar::new(ui);
    bar.at("reading the model", 0, 1);
    let document = remake::read(&args.model, &args.output, &args.limits)?;
    let bytes_before = document.to_bytes()?.len();
    let (outcome, times) = match &args.calibrate {
        None => {
            let keep = if args.keeps_auto() { &[][..] } else { &args.keep_float };
            (kiln_quantize::quantize_dynamic(document, &options, keep)?, None)
        }
        Some(path) => {
            let (data, labels) = remake::data(path, &document, &args.images, args.labels.as_deref())?;
            let outcome = kiln_quantize::quantize(document, &options, &data, labels.as_deref(), &bar)?;
            bar.at("times", 0, 2);
            let names: Vec<&str> = outcome.layers.iter().map(|l| &*l.node).collect();
            let before = times::measure(&outcome.float, &names, &data, &options.machine)?;
            bar.at("times", 1, 2);
            let after = times::measure(&outcome.model, &names, &data, &options.machine)?;
            (outcome, Some((before, after)))
        }
    };
    let bytes = outcome.model.to_bytes()?;
    drop(bar);
    target.write(&bytes)?;
    let report = Report { outcome: &outcome, times, bytes: (bytes_before, bytes.len()) };
    report.tell(ui, &args);
    if matches!(args.weights, WeightsArg::Int4) && !args.dynamic {
        ui.note("kiln computes with weights of 4 bits as floats: the file is smaller, runs are not faster");
    }
    let code = if outcome.met { EXIT_DONE } else { EXIT_NO };
    Ok(Answer { code, json: report.json(&args.output) })
}

impl Args {
    fn keeps_auto(&self) -> bool {
        self.keep_float == ["auto"]
    }

    fn options(&self) -> Result<Options, Failure> {
        let positive = |flag: &str, value: Option<f64>| match value {
            Some(v) if !(v.is_finite() && v >= 0.0) => {
                Err(Failure::usage(format!("{flag} {v} is not a number from 0 on")))
            }
            other => Ok(other),
        };
        let error = positive("--target-error", self.target_error)?.map(Target::Error);
        let drop = positive("--target-drop", self.target_drop)?.map(Target::Drop);
        let target = error.or(drop);
        if self.keeps_auto() && target.is_none() {
            return Err(Failure::usage("--keep-float auto needs --target-error or --target-drop"));
        }
        let machine = remake::machine(&self.cpu, &self.threads, &self.limits)?;
        let level = self.level.as_ref().map(|l| args::level(l)).transpose()?;
        Ok(Options {
            method: match self.method {
                MethodArg::MinMax => Method::MinMax,
                MethodArg::Percentile => Method::Percentile,
                MethodArg::Mse => Method::Mse,
                MethodArg::Entropy => Method::Entropy,
            },
            width: match self.weights {
                WeightsArg::Int8 => Width::Int8,
                WeightsArg::Int4 => Width::Int4,
            },
            rounding: match (self.rounding, self.weights) {
                (Some(RoundingArg::Nearest), _) | (None, WeightsArg::Int8) => Rounding::Nearest,
                (Some(RoundingArg::SecondOrder), _) | (None, WeightsArg::Int4) => Rounding::SecondOrder,
            },
            equalise: self.equalise,
            pairs: level.is_some_and(|target| !target.dot4),
            keep: if self.keeps_auto() { Keep::Auto } else { Keep::Nodes(self.keep_float.clone()) },
            target,
            machine,
        })
    }
}

/// Milliseconds of layers and of a run.
type Times = (std::collections::HashMap<String, f64>, f64);

struct Report<'a> {
    outcome: &'a Outcome,
    /// Before and after.
    times: Option<(Times, Times)>,
    /// Of the files, before and after.
    bytes: (usize, usize),
}

impl Report<'_> {
    fn ms(&self, layer: &Layer) -> (Option<f64>, Option<f64>) {
        let Some((before, after)) = &self.times else { return (None, None) };
        let of = |times: &Times| times.0.get(&layer.node).copied();
        (of(before), of(after))
    }

    fn json(&self, file: &Path) -> Value {
        let layers: Vec<Value> = self
            .outcome
            .layers
            .iter()
            .map(|layer| {
                let (before, after) = self.ms(layer);
                json!({
                    "node": layer.node,
                    "op": layer.op,
                    "scheme": layer.scheme,
                    "error": layer.error,
                    "sensitivity": layer.sensitivity,
                    "bytes_before": layer.bytes_before,
                    "bytes_after": layer.bytes_after,
                    "ms_before": before,
                    "ms_after": after,
                    "why": layer.why,
                })
            })
            .collect();
        let run = self.times.as_ref().map(|(before, after)| (before.1, after.1));
        json!({
            "layers": layers,
            "accuracy_before": self.outcome.accuracy_before,
            "accuracy_after": self.outcome.accuracy_after,
            "bytes_before": self.bytes.0,
            "bytes_after": self.bytes.1,
            "error": self.outcome.error,
            "met": self.outcome.met,
            "ms_before": run.map(|r| r.0),
            "ms_after": run.map(|r| r.1),
            "file": file.display().to_string(),
        })
    }

    fn tell(&self, ui: &Ui, args: &Args) {
        let number = |v: Option<f64>, digits: usize| v.map_or(String::new(), |v| format!("{v:.digits$}"));
        let row = |layer: &Layer| {
            let (before, after) = self.ms(layer);
            vec![
                Printable(&layer.node).to_string(),
                layer.scheme.clone(),
                number(layer.error, 4),
                layer.bytes_before.to_string(),
                layer.bytes_after.to_string(),
                number(before, 3),
                number(after, 3),
                layer.why.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.outcome.layers.iter().map(row).collect();
        ui.text(table::lines(COLUMNS, &rows, Room::of_stdout()).join("\n"));
        let floats = self.outcome.layers.iter().filter(|l| !l.why.is_empty()).count();
        let count = self.outcome.layers.len();
        ui.text(format_args!("{} of {count} layers are integers, {floats} stay float", count - floats));
        if let Some(error) = self.outcome.error {
            ui.text(format_args!("error of the results: {error:.4} of their size"));
        }
        if let (Some(before), Some(after)) = (self.outcome.accuracy_before, self.outcome.accuracy_after) {
            ui.text(format_args!("top-1: {:.2} % before, {:.2} % after", 100.0 * before, 100.0 * after));
        }
        if let Some((before, after)) = &self.times {
            ui.text(format_args!("a run on one thread: {:.3} ms before, {:.3} ms after", before.1, after.1));
        }
        let (before, after) = self.bytes;
        let part = after as f64 / before.max(1) as f64;
        ui.text(format_args!("the file: {before} bytes before, {after} after ({part:.3})"));
        ui.chat(format_args!("wrote {}", args.output.display()));
        if !self.outcome.met {
            ui.warn("the target is not met: --keep-float auto leaves layers float until it is");
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::Name("layer"),
    Column::Text("scheme"),
    Column::Number("error"),
    Column::Number("bytes"),
    Column::Number("after"),
    Column::Number("ms"),
    Column::Number("after"),
    Column::Prose("why float"),
];
