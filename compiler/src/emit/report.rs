//! `NAME.report.json`: everything that is known of a compiled model, for people and programs. The same model and
//! options give the same bytes, so times and memory of the compilation are no part of it.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_ir::Dim;
use kiln_ir::kernel::plan::Port;
use serde_json::{Value, json};

use super::{alive, c, shrink};
use crate::variant::{self, Variant};
use crate::work::Work;

/// What the report tells besides the plans.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The prefix of every symbol.
    pub name: &'a str,
    /// Identifies model and options.
    pub hash: &'a str,
    /// Names of the files written.
    pub files: &'a [String],
}

/// The report. Details of the only variant stand at the top, those of several in each one's entry of `variants`.
pub fn build(variants: &[Variant<'_>], facts: &Facts<'_>) -> Value {
    let plan = variants[0].plan;
    let mut report = json!({
        "name": facts.name,
        "kiln": env!("CARGO_PKG_VERSION"),
        "hash": facts.hash,
        "target": variants[0].target.triple.to_string(),
        "cpu": variant::levels(variants),
        "features": variant::common_features(variants),
        "files": facts.files,
        "inputs": ports(&plan.inputs),
        "outputs": ports(&plan.outputs),
        "arena_bytes": variant::arena_bytes(variants),
        "arena_align": variant::arena_align(variants),
        "arena_lower_bound_bytes": variants.iter().map(|v| v.plan.arena_lower_bound_bytes).max(),
        "weights_bytes": variant::weights_bytes(variants),
        "code_bytes": null,
        "stack_bytes": null,
        "local_bytes": variants[0].target.text.then(|| c::local_bytes(plan)),
        "shrink": shrink::ways(variants),
        "variants": variants.iter().map(summary).collect::<Vec<_>>(),
    });
    if let [only] = variants {
        add_details(&mut report, only);
        return report;
    }
    for (entry, variant) in report["variants"].as_array_mut().into_iter().flatten().zip(variants) {
        add_details(entry, variant);
    }
    report
}

/// A variant in numbers; `code_bytes` is to follow.
pub fn summary(variant: &Variant<'_>) -> Value {
    let distinct: BTreeMap<usize, usize> =
        variant.plan.weights.iter().map(|w| (w.offset_bytes, w.tensor.data.len())).collect();
    json!({
        "cpu": variant.target.name(),
        "features": variant.target.features,
        "arena_bytes": variant.plan.arena_bytes,
        "weights_bytes": distinct.values().sum::<usize>(),
        "code_bytes": null,
    })
}

fn add_details(entry: &mut Value, variant: &Variant<'_>) {
    let plan = variant.plan;
    let kernels = plan.kernels.iter().zip(Work::of_plan(plan, variant.target)).map(|(kernel, work)| {
        json!({
            "name": kernel.name,
            "form": kernel.form.name(),
            "nodes": kernel.nodes,
            "iterations": kernel.loops.iter().fold(Dim::Const(1), |n, l| n * l.extent.clone()).as_const(),
            "why": kernel.why,
            "grain": kernel.grain.as_ref().map(|n| n.as_const().map_or_else(|| json!(n.to_string()), |n| json!(n))),
            "macs": work.macs(&kernel.form),
            "code_bytes": null,
            "stack_bytes": null,
        })
    });
    entry["kernels"] = kernels.collect();
    let slots = plan.slots.iter().map(|slot| {
        json!({
            "name": slot.name,
            "offset": slot.offset_bytes,
            "bytes": slot.bytes,
            "first_kernel": slot.live.0,
            "last_kernel": slot.live.1,
            "over": slot.over,
        })
    });
    entry["arena"] = slots.collect();
    entry["peak"] = alive::told(alive::peak(plan).as_ref());
    let weights = plan.weights.iter().map(|weight| {
        json!({
            "name": weight.name,
            "offset": weight.offset_bytes,
            "bytes": weight.tensor.data.len(),
            "dtype": weight.tensor.dtype.name(),
            "shape": weight.tensor.shape,
        })
    });
    entry["weights"] = weights.collect();
}

/// Completes the report once the code is there. A variant's code is that of its kernels.
pub fn add_code(report: &mut Value, code_bytes: usize, kernel_bytes: &[Vec<usize>]) {
    let add_kernels = |entry: &mut Value, bytes: &[usize]| {
        for (kernel, bytes) in entry["kernels"].as_array_mut().into_iter().flatten().zip(bytes) {
            kernel["code_bytes"] = json!(bytes);
        }
    };
    report["code_bytes"] = json!(code_bytes);
    for (entry, bytes) in report["variants"].as_array_mut().into_iter().flatten().zip(kernel_bytes) {
        entry["code_bytes"] = json!(bytes.iter().sum::<usize>());
        if kernel_bytes.len() > 1 {
            add_kernels(entry, bytes);
        }
    }
    if let [bytes] = kernel_bytes {
        add_kernels(report, bytes);
    }
}

/// The stack of a call, and of every kernel without what calls it.
pub fn add_stack(report: &mut Value, stack_bytes: Option<u32>, kernel_bytes: &[Vec<Option<u32>>]) {
    report["stack_bytes"] = json!(stack_bytes);
    let add = |entry: &mut Value, bytes: &[Option<u32>]| {
        for (kernel, bytes) in entry["kernels"].as_array_mut().into_iter().flatten().zip(bytes) {
            kernel["stack_bytes"] = json!(bytes);
        }
    };
    match kernel_bytes {
        [bytes] => add(report, bytes),
        many => {
            report["variants"].as_array_mut().into_iter().flatten().zip(many).for_each(|(e, b)| add(e, b))
        }
    }
}

/// Whether a file is the report of an artefact other than the one of this hash.
pub fn is_of_another(path: &Path, hash: &str) -> bool {
    let report = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    report.is_some_and(|r| r["kiln"].is_string() && r["hash"].as_str().is_some_and(|other| other != hash))
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
