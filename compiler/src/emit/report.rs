//! `NAME.report.json`: everything that is known of a compiled model, for people and programs.

use std::time::Duration;

use kiln_ir::Dim;
use kiln_ir::kernel::plan::{Plan, Port};
use kiln_targets::Target;
use serde_json::{Map, Value, json};

/// What the report tells besides the plan.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The prefix of every symbol.
    pub name: &'a str,
    /// The machine.
    pub target: &'a Target,
    /// Identifies model and options.
    pub hash: &'a str,
    /// Names of the files written.
    pub files: &'a [String],
}

/// The report.
pub fn build(plan: &Plan, facts: &Facts<'_>) -> Value {
    let kernels = plan.kernels.iter().map(|kernel| {
        json!({
            "name": kernel.name,
            "form": kernel.form.name(),
            "nodes": kernel.nodes,
            "iterations": kernel.loops.iter().fold(Dim::Const(1), |n, l| n * l.extent.clone()).as_const(),
            "why": kernel.why,
            "grain": kernel.grain,
            "code_bytes": null,
        })
    });
    let slots = plan.slots.iter().map(|slot| {
        json!({
            "name": slot.name,
            "offset": slot.offset_bytes,
            "bytes": slot.bytes,
            "first_kernel": slot.live.0,
            "last_kernel": slot.live.1,
        })
    });
    let weights = plan.weights.iter().map(|weight| {
        json!({
            "name": weight.name,
            "offset": weight.offset_bytes,
            "bytes": weight.tensor.data.len(),
            "dtype": weight.tensor.dtype.name(),
            "shape": weight.tensor.shape,
        })
    });
    json!({
        "name": facts.name,
        "kiln": env!("CARGO_PKG_VERSION"),
        "hash": facts.hash,
        "target": facts.target.triple.to_string(),
        "cpu": facts.target.level,
        "features": facts.target.features,
        "files": facts.files,
        "inputs": ports(&plan.inputs),
        "outputs": ports(&plan.outputs),
        "arena_bytes": plan.arena_bytes,
        "arena_align": plan.arena_align,
        "arena_lower_bound_bytes": plan.arena_lower_bound_bytes,
        "weights_bytes": plan.weights_bytes,
        "code_bytes": null,
        "kernels": kernels.collect::<Vec<_>>(),
        "arena": slots.collect::<Vec<_>>(),
        "weights": weights.collect::<Vec<_>>(),
    })
}

/// Completes the report once the code is there.
pub fn add_code(
    report: &mut Value,
    code_bytes: usize,
    kernel_bytes: &[usize],
    times: &[(&'static str, Duration)],
) {
    report["code_bytes"] = json!(code_bytes);
    for (kernel, bytes) in report["kernels"].as_array_mut().into_iter().flatten().zip(kernel_bytes) {
        kernel["code_bytes"] = json!(bytes);
    }
    let ms = |time: &Duration| json!((time.as_secs_f64() * 1e6).round() / 1e3);
    let stages = times.iter().map(|(stage, time)| ((*stage).to_owned(), ms(time)));
    report["stage_ms"] = stages.collect::<Map<_, _>>().into();
    report["peak_rss_bytes"] = json!(peak_rss_bytes());
}

/// Name, type and shape of each.
pub fn ports(ports: &[Port]) -> Value {
    let dim = |d: &Dim| d.as_const().map_or_else(|| json!(d.to_string()), |n| json!(n));
    let port = |p: &Port| {
        json!({
            "name": p.name,
            "dtype": p.ty.dtype.name(),
            "shape": p.ty.shape.iter().map(dim).collect::<Vec<_>>(),
        })
    };
    ports.iter().map(port).collect()
}

/// The most memory that this process has had; `None` where the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
