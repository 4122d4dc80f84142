//! `kiln bench`: the time of a run.

use std::time::{Duration, Instant};

use kiln_compiler::Session;
use kiln_tools::measure::{self, ms};
use kiln_tools::profile::Profile;
use kiln_tools::table::{self, Room};
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ModelArgs, ThreadArgs};
use super::failure::Failure;
use super::output::{Answer, Ui};
use super::tensors::InputArgs;
use super::tune::TuneArgs;
use kiln_tools::progress::Progress;

/// Arguments of `kiln bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::BENCH)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 3.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Runs before measuring.
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup: u32,
    /// The time of each kernel as well, on one thread, and its part of what this machine could do.
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// At least so many runs, however long they take.
const LEAST_RUNS: usize = 3;
/// At most so many: memory for their times is taken before the first.
const MOST_RUNS: usize = 1 << 20;

/// Between two moves of the progress bar, which are not to be felt in the times.
const BETWEEN: Duration = Duration::from_millis(200);

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    if !(args.seconds >= 0.0 && args.seconds <= 1e6) {
        return Err(Failure::usage(format!("--seconds {} is not between 0 and 1000000", args.seconds)));
    }
    let threads = args.threads.count();
    let progress = ui.progress(2);
    progress.step("compiling");
    let start = Instant::now();
    let compiler = args::compiler(&args.model.model, &args.model.shape, None, &args.cpu)?;
    let mut model = compiler.load()?;
    let inputs = args.inputs.read(&model, &args.model.shape.limits())?;
    inputs.bind(&mut model)?;
    let random = inputs.none_given() && !model.inputs().is_empty();
    args.cpu.tell(ui, None, false, &model.options.target);
    args::bind_rest(ui, &mut model);
    let (planned, tuned) = args.tune.plan(ui, model)?;
    let level = planned.options.target.name();
    let profile = match args.profile {
        true => {
            let sizes = inputs.sizes(&planned.plan.inputs, &planned.plan.bounds)?;
            Some(Profile::of(&planned.plan.at(&sizes), &planned.options.target))
        }
        false => None,
    };
    let (arena_bytes, weights_bytes) = (planned.plan.arena_bytes, planned.plan.weights_bytes);
    let jit = planned.jit(threads)?;
    let compile = start.elapsed();
    let mut session = jit.session_with(&inputs.tensors(jit.inputs(), jit.open_dimensions())?)?;
    progress.done();
    progress.step("measuring");
    let length = Duration::from_secs_f64(args.seconds);
    let mut times = measure(&mut session, args.warmup, length, &progress)?;
    let runs = times.len();
    let summary = measure::summarise(&mut times);
    drop(progress);
    let mut json = json!({
        "min_ms": summary.min,
        "median_ms": summary.median,
        "mean_ms": summary.mean,
        "p99_ms": summary.p99,
        "runs": runs,
        "threads": threads,
        "compile_ms": ms(compile),
        "arena_bytes": arena_bytes,
        "weights_bytes": weights_bytes,
        "code_bytes": jit.code_bytes(),
        "cpu": level,
        "random_inputs": random,
    });
    ui.text(format_args!(
        "min {:.3} ms, median {:.3} ms, mean {:.3} ms, p99 {:.3} ms",
        summary.min, summary.median, summary.mean, summary.p99,
    ));
    let setting = format!(
        "{runs} runs on {threads} thread{}, {level}; compiled in {:.0} ms to {} bytes of code, {weights_bytes} of weights \
         and {arena_bytes} of arena",
        if threads == 1 { "" } else { "s" },
        ms(compile),
        jit.code_bytes(),
    );
    ui.chat(table::wrap(&setting, Room::of_stdout().width).join("\n"));
    if let Some(tuned) = tuned {
        json["tuned"] = tuned;
    }
    if let Some(profile) = profile
        && let Some(measured) = profile.measure(&mut session, args.seconds, &|| false)?
    {
        ui.text(measured.text(Room::of_stdout()));
        merge(&mut json, measured.json());
    }
    Ok(Answer::yes(json))
}

/// Adds the fields of one object to another.
fn merge(json: &mut Value, more: Value) {
    if let (Value::Object(json), Value::Object(more)) = (json, more) {
        json.extend(more);
    }
}

fn measure(
    session: &mut Session<'_>,
    warmup: u32,
    length: Duration,
    progress: &Progress,
) -> Result<Vec<Duration>, Failure> {
    for _ in 0..warmup {
        session.run()?;
    }
    let mut times = Vec::with_capacity(MOST_RUNS);
    let start = Instant::now();
    let mut shown = start;
    while times.len() < LEAST_RUNS || (start.elapsed() < length && times.len() < MOST_RUNS) {
        let begin = Instant::now();
        session.run()?;
        times.push(begin.elapsed());
        if shown.elapsed() >= BETWEEN {
            shown = Instant::now();
            progress.at("measuring", start.elapsed().as_millis() as u64, length.as_millis() as u64);
        }
    }
    Ok(times)
}
