//! `kiln explain`: how a model is compiled, kernel by kernel, and why.

use kiln_tools::explain::{Explain, fit, in_plain_loops};
use kiln_tools::rewrites::Rewrites;
use kiln_tools::table::Room;
use serde_json::json;

use super::args::{self, ModelArgs, TargetArgs};
use super::failure::Failure;
use super::output::{Answer, Ui};
use super::rewritten;
use super::tune::TuneArgs;

/// Arguments of `kiln explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::EXPLAIN)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let compiler = args::compiler(
        &args.model.model,
        &args.model.shape,
        args.target.target.as_deref(),
        &args.target.cpu,
    )?;
    let progress = ui.progress(2);
    progress.step("reading the model");
    let mut model = compiler.load()?;
    progress.done();
    args.target.cpu.tell(ui, args.target.target.as_deref(), false, &model.options.target);
    args::bind_rest(ui, &mut model);
    progress.step("planning");
    args.tune.prepare(ui, &mut model)?;
    let mut rewrites = Rewrites::new(&model.options);
    let planned = model.plan_observed(&mut rewrites)?;
    drop(progress);
    let (plan, target) = (&planned.plan, &planned.options.target);
    let explain = Explain { plan, types: &rewrites.types, target };
    ui.text(format_args!(
        "{} for {}, {} ({}-bit vectors):\n{} kernels, {} bytes of weights, {} bytes of arena",
        planned.name,
        target.triple,
        target.name(),
        8 * target.vector_bytes,
        plan.kernels.len(),
        plan.weights_bytes,
        plan.arena_bytes,
    ));
    let room = Room::of_stdout();
    let mut kernels = Vec::new();
    for (i, kernel) in plan.kernels.iter().enumerate() {
        ui.text(fit(&explain.text(i, kernel), room));
        kernels.push(explain.object(kernel));
    }
    let plain = plan.kernels.iter().filter(|k| in_plain_loops(k)).count();
    if plain > 0 {
        ui.text(format_args!(
            "{plain} of {} kernels run in plain loops, without vectors",
            plan.kernels.len()
        ));
    }
    let limits = explain.limits();
    for (products, rate) in &limits {
        ui.text(format_args!(
            "products of {}: at most {:.0} GOP/s on one core of this machine",
            products.name(),
            rate / 1e9
        ));
    }
    rewritten::tell(ui, &rewrites.fired);
    Ok(Answer::yes(json!({
        "target": target.triple.to_string(),
        "cpu": target.name(),
        "kernels": kernels,
        "kernels_in_plain_loops": plain,
        "gop_per_s": limits.iter().map(|(products, rate)| (products.name().to_owned(), json!(rate / 1e9)))
            .collect::<serde_json::Map<_, _>>(),
        "rewrites": rewrites.fired.iter().map(|f| json!({
            "rule": f.rule, "node": f.node, "fired": f.missed.is_none(), "reason": f.missed,
        })).collect::<Vec<_>>(),
    })))
}
