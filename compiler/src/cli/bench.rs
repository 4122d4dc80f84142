//! `kiln bench`: the time of a run.

use std::time::{Duration, Instant};

use kiln_ir::error::Printable;
use kiln_ir::kernel::Form;
use kiln_ir::kernel::WindowOp;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel};
use serde_json::{Value, json};

use super::Answer;
use super::args::{self, CpuArgs, ModelArgs, ThreadArgs};
use super::measure::{self, ms};
use super::output::{Failure, Ui};
use super::tensors::InputArgs;
use crate::api::Session;

/// Arguments of `kiln bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Runs before measuring.
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup: u32,
    /// The time of each kernel as well, on one thread.
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// At least so many runs, however long they take.
const LEAST_RUNS: usize = 3;
/// At most so many: memory for their times is taken before the first.
const MOST_RUNS: usize = 1 << 20;

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    if !(args.seconds >= 0.0 && args.seconds <= 1e6) {
        return Err(Failure::usage(format!("--seconds {} is not between 0 and 1000000", args.seconds)));
    }
    let threads = args.threads.count();
    let progress = ui.progress(2);
    progress.step("compiling");
    let start = Instant::now();
    let compiler = args::compiler(&args.model.model, &args.model.shape, None, &args.cpu, "native")?;
    let mut model = compiler.load()?;
    let inputs = args.inputs.read(&model, &args.model.shape.limits())?;
    inputs.bind(&mut model)?;
    args::bind_rest(ui, &mut model);
    let planned = model.plan()?;
    let level = planned.options.target.level;
    let work: Vec<Work> = planned.plan.kernels.iter().map(Work::of).collect();
    let (arena_bytes, weights_bytes) = (planned.plan.arena_bytes, planned.plan.weights_bytes);
    let jit = planned.jit(threads)?;
    let compile = start.elapsed();
    let mut session = jit.session(&inputs.tensors(jit.inputs())?)?;
    progress.done();
    progress.step("measuring");
    let mut times = measure(&mut session, args.warmup, Duration::from_secs_f64(args.seconds))?;
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
    });
    ui.text(format_args!(
        "{runs} runs on {threads} thread{}, {level}: min {:.3} ms, median {:.3} ms, mean {:.3} ms, p99 {:.3} ms",
        if threads == 1 { "" } else { "s" },
        summary.min,
        summary.median,
        summary.mean,
        summary.p99,
    ));
    ui.chat(format_args!(
        "compiled in {:.0} ms; {} bytes of code, {weights_bytes} of weights, {arena_bytes} of arena",
        ms(compile),
        jit.code_bytes(),
    ));
    if args.profile {
        json["profile"] = profile(ui, &mut session, &work, args.seconds)?;
    }
    Ok(Answer::yes(json))
}

fn measure(session: &mut Session<'_>, warmup: u32, length: Duration) -> Result<Vec<Duration>, Failure> {
    for _ in 0..warmup {
        session.run()?;
    }
    let mut times = Vec::with_capacity(MOST_RUNS);
    let start = Instant::now();
    while times.len() < LEAST_RUNS || (start.elapsed() < length && times.len() < MOST_RUNS) {
        let begin = Instant::now();
        session.run()?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// What a kernel does, for its rates.
struct Work {
    name: String,
    form: &'static str,
    nodes: Vec<String>,
    flops: f64,
    bytes: f64,
}

impl Work {
    fn of(kernel: &PlannedKernel) -> Self {
        let extent = |i: usize| kernel.loops[i].extent.as_const().unwrap_or(0) as f64;
        let iterations: f64 = (0..kernel.loops.len()).map(extent).product();
        let flops = match &kernel.form {
            Form::Contract { .. } | Form::Window { op: WindowOp::Dot, .. } => 2.0 * iterations,
            Form::Window { .. } | Form::Reduce { .. } => iterations,
            Form::Map { stores } => {
                iterations * stores.iter().map(|s| s.value.operations()).sum::<usize>() as f64
            }
            Form::Transform { .. } | Form::Rearrange { .. } | Form::Extern { .. } => 0.0,
        };
        // Every element counts once, however often it is read.
        let footprint = |access: &&FlatAccess| {
            let moving = access.strides.iter().enumerate().filter(|(_, stride)| !stride.is(0));
            moving.map(|(i, _)| extent(i)).product::<f64>() * access.dtype.size() as f64
        };
        let accesses = kernel.form.loads().into_iter().chain(kernel.form.stores());
        let bytes = accesses.map(|a| footprint(&a)).sum();
        let (name, nodes) = (kernel.name.clone(), kernel.nodes.clone());
        Self { name, form: kernel.form.name(), nodes, flops, bytes }
    }
}

/// Runs of the whole model that a profile takes the fastest time of each kernel from.
const MOST_PROFILED: usize = 1000;

/// The fastest time of each kernel over many runs of all of them in order.
fn profile(ui: &Ui, session: &mut Session<'_>, work: &[Work], seconds: f64) -> Result<Value, Failure> {
    let mut best = vec![Duration::MAX; work.len()];
    let start = Instant::now();
    for round in 0..MOST_PROFILED {
        if round >= LEAST_RUNS && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for (i, best) in best.iter_mut().enumerate() {
            let begin = Instant::now();
            session.run_kernel(i);
            *best = begin.elapsed().min(*best);
        }
    }
    let total: f64 = best.iter().map(Duration::as_secs_f64).sum();
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(best[i]));
    ui.text(format_args!("{:>10} {:>6} {:>8} {:>8}  kernel", "us", "share", "GFLOP/s", "GB/s"));
    for &i in &order {
        let (time, work) = (best[i].as_secs_f64().max(1e-9), &work[i]);
        ui.text(format_args!(
            "{:10.1} {:5.1}% {:8.1} {:8.1}  {} {}",
            time * 1e6,
            100.0 * time / total.max(1e-9),
            work.flops / time / 1e9,
            work.bytes / time / 1e9,
            work.form,
            Printable(&work.name),
        ));
    }
    let object = |(work, time): (&Work, &Duration)| {
        let seconds = time.as_secs_f64().max(1e-9);
        json!({
            "name": work.name,
            "form": work.form,
            "nodes": work.nodes,
            "us": seconds * 1e6,
            "share": seconds / total.max(1e-9),
            "gflop_per_s": work.flops / seconds / 1e9,
            "bytes_per_s": work.bytes / seconds,
        })
    };
    Ok(work.iter().zip(&best).map(object).collect())
}
