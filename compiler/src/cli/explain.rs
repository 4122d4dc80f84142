//! `kiln explain`: how a model is compiled, kernel by kernel, and why.

use kiln_ir::error::Printable;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::plan::{FlatAccess, Plan, PlannedKernel, Schedule, Storage};
use kiln_ir::kernel::{Form, LoopId, Role};
use serde_json::{Value, json};

use super::Answer;
use super::args::{self, ModelArgs, TargetArgs};
use super::output::{Failure, Ui};
use crate::pipeline::Observer;
use crate::rules::{self, Fired};

/// Arguments of `kiln explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let compiler = args::compiler(
        &args.model.model,
        &args.model.shape,
        args.target.target.as_deref(),
        &args.target.cpu,
        "baseline",
    )?;
    let mut model = compiler.load()?;
    args::bind_rest(ui, &mut model);
    let mut rewrites = Rewrites { on: args.model.shape.opt >= 2, fired: Vec::new() };
    let planned = model.plan_observed(&mut rewrites)?;
    let plan = &planned.plan;
    for (i, kernel) in plan.kernels.iter().enumerate() {
        ui.text(text(i, kernel, plan));
    }
    for fired in &rewrites.fired {
        let node = Printable(&fired.node);
        match &fired.missed {
            None => ui.text(format_args!("rewrite {} fired at '{node}'", fired.rule)),
            Some(why) => {
                ui.text(format_args!("rewrite {} did not fire at '{node}': {}", fired.rule, Printable(why)));
            }
        }
    }
    Ok(Answer::yes(json!({
        "target": planned.options.target.triple.to_string(),
        "cpu": planned.options.target.level,
        "kernels": plan.kernels.iter().map(|k| object(k, plan)).collect::<Vec<_>>(),
        "rewrites": rewrites.fired.iter().map(|f| json!({
            "rule": f.rule, "node": f.node, "fired": f.missed.is_none(), "reason": f.missed,
        })).collect::<Vec<_>>(),
    })))
}

/// Tries the rules on a copy of the graph, for their reasons.
struct Rewrites {
    on: bool,
    fired: Vec<Fired>,
}

impl Observer for Rewrites {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if self.on && pass == "decompose" {
            // An error ends the compilation right after this and is told there.
            self.fired = rules::run(&mut graph.clone()).unwrap_or_default();
        }
    }
}

/// `contract`, `map` and so on, with what the kernel's loops are.
fn loops(kernel: &PlannedKernel) -> Vec<String> {
    let text = |l: &kiln_ir::kernel::Loop| {
        let sign = if l.role == Role::Reduce { "+" } else { "" };
        format!("{sign}{}={}", l.name, l.extent)
    };
    kernel.loops.iter().map(text).collect()
}

/// The accesses that read weights, with the format of these.
fn weights(kernel: &PlannedKernel, plan: &Plan) -> Vec<String> {
    let format = |access: &FlatAccess| {
        let Storage::Weights { offset_bytes } = access.storage else { return None };
        let weight = plan.weights.iter().find(|w| w.offset_bytes == offset_bytes);
        let bytes = weight.map_or(0, |w| w.tensor.data.len());
        let packed = match &kernel.schedule {
            Schedule::Tile(tile) if tile.rhs_padded => format!(" in panels of {} columns", tile.nr),
            _ => String::new(),
        };
        Some(format!("{} {}{packed}, {bytes} bytes", Printable(&access.name), access.dtype))
    };
    kernel.form.loads().into_iter().filter_map(format).collect()
}

fn schedule(kernel: &PlannedKernel) -> String {
    let name = |id: &LoopId| kernel.loops.get(id.0 as usize).map_or("?", |l| &*l.name);
    let names = |ids: &[LoopId]| ids.iter().map(name).collect::<Vec<_>>().join(" ");
    match &kernel.schedule {
        Schedule::Scalar { order } => format!("scalar loops [{}]", names(order)),
        Schedule::Nest(nest) => {
            let tile = nest.tile.as_ref().map(|(l, n)| format!(", {n} iterations of {} at once", name(l)));
            format!(
                "vectors along {}, {} at once{}, loops [{}]",
                name(&nest.vector),
                nest.vectors,
                tile.unwrap_or_default(),
                names(&nest.order)
            )
        }
        Schedule::Tile(tile) => format!(
            "tiles of {} x {} ({} x {}), depth [{}] unrolled by {}, loops [{}]",
            tile.mr,
            tile.nr,
            tile.row.as_ref().map_or("1", name),
            name(&tile.col),
            names(&tile.depth),
            tile.unroll,
            names(&tile.outer)
        ),
        Schedule::Transpose(t) => {
            format!("4 x 4 blocks of {} x {}, loops [{}]", name(&t.read), name(&t.write), names(&t.outer))
        }
        Schedule::Transform(t) => format!(
            "whole tiles, vectors along {}, loops [{}]",
            t.lane.as_ref().map_or("nothing", name),
            names(&t.outer)
        ),
    }
}

/// The code that does the innermost work.
fn microkernel(kernel: &PlannedKernel) -> String {
    match &kernel.schedule {
        Schedule::Scalar { .. } => "scalar".to_owned(),
        Schedule::Nest(nest) => format!("nest_{}", nest.vectors),
        Schedule::Tile(tile) => format!("tile_{}x{}", tile.mr, tile.nr),
        Schedule::Transpose(_) => "transpose_4x4".to_owned(),
        Schedule::Transform(_) => match &kernel.form {
            Form::Transform { left, .. } => {
                let size = |axis: usize| left.matrix.shape.get(axis).copied().unwrap_or_default();
                format!("transform_{}_{}", size(1), size(0))
            }
            form => form.name().to_owned(),
        },
    }
}

fn text(i: usize, kernel: &PlannedKernel, plan: &Plan) -> String {
    let nodes: Vec<String> = kernel.nodes.iter().map(|n| Printable(n).to_string()).collect();
    let mut lines = vec![
        format!("kernel {i} {} ({})", Printable(&kernel.name), kernel.form.name()),
        format!("  nodes        {}", nodes.join(", ")),
        format!("  loops        {}   (+ reduced)", loops(kernel).join(" ")),
    ];
    lines.extend(weights(kernel, plan).into_iter().map(|w| format!("  weights      {w}")));
    lines.push(format!("  microkernel  {}", microkernel(kernel)));
    lines.push(format!("  schedule     {}", schedule(kernel)));
    if let Some(grain) = kernel.grain {
        lines.push(format!("  threads      take {grain} iterations at a time"));
    }
    if !kernel.why.is_empty() {
        lines.push(format!("  why          {}", Printable(&kernel.why)));
    }
    lines.join("\n")
}

fn object(kernel: &PlannedKernel, plan: &Plan) -> Value {
    json!({
        "name": kernel.name,
        "form": kernel.form.name(),
        "nodes": kernel.nodes,
        "loops": kernel.loops.iter().map(|l| json!({
            "name": l.name,
            "extent": l.extent.as_const(),
            "reduced": l.role == Role::Reduce,
        })).collect::<Vec<_>>(),
        "weights": weights(kernel, plan),
        "microkernel": microkernel(kernel),
        "schedule": schedule(kernel),
        "grain": kernel.grain,
        "why": kernel.why,
    })
}
