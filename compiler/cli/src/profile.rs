//! `kiln bench --profile`: the time of each kernel, and how close it is to the machine's limit.

use std::time::{Duration, Instant};

use kiln_ir::error::Printable;
use kiln_ir::kernel::plan::PlannedKernel;
use kiln_targets::Target;
use serde_json::{Value, json};

use super::output::{Failure, Ui};
use kiln_compiler::api::Session;
use kiln_compiler::peak::Peak;
use kiln_compiler::work::{self, Group, Work};

/// Runs of the whole model that a profile takes the fastest time of each kernel from.
const LEAST_RUNS: usize = 3;
const MOST_RUNS: usize = 1000;

/// The work of a plan's kernels, noted before the plan becomes code.
pub(super) struct Profile {
    target: Target,
    work: Vec<Work>,
    groups: Vec<Group>,
}

/// A line: a kernel or a group.
struct Line<'a> {
    name: &'a str,
    form: &'a str,
    seconds: f64,
    flops: f64,
    bytes: f64,
    /// The part of the machine's limit, and which limit.
    limit: f64,
    bound: &'static str,
}

impl Profile {
    pub(super) fn of(kernels: &[PlannedKernel], target: &Target) -> Self {
        let work = kernels.iter().map(Work::of).collect();
        Self { target: target.clone(), work, groups: work::groups(kernels) }
    }

    /// Measures and prints; gives what is added to the JSON object.
    pub(super) fn run(&self, ui: &Ui, session: &mut Session<'_>, seconds: f64) -> Result<Value, Failure> {
        let start = Instant::now();
        let peak = Peak::measure(&self.target)?;
        let took = start.elapsed();
        let best = fastest(session, self.work.len(), seconds);
        let total = best.iter().sum::<f64>().max(1e-9);
        let kernels: Vec<Line> =
            self.work.iter().zip(&best).map(|(work, &time)| Line::of(work, time, &peak)).collect();
        let groups: Vec<Line> = self.groups.iter().map(|g| Line::of_group(g, &best, &peak)).collect();
        self.print(ui, &peak, took, &kernels, &groups, total);
        let in_group = |i: usize| self.groups.iter().find(|g| g.kernels.contains(&i)).map(|g| &*g.name);
        let kernels = kernels.iter().zip(&self.work).enumerate().map(|(i, (line, work))| {
            let mut object = line.json(total);
            object["nodes"] = json!(work.nodes);
            object["group"] = json!(in_group(i));
            object
        });
        let groups = groups.iter().zip(&self.groups).map(|(line, group)| {
            let mut object = line.json(total);
            object["kernels"] = group.kernels.iter().map(|&k| json!(self.work[k].name)).collect();
            object
        });
        let memory = |&(bytes, rate): &(usize, f64)| json!({ "bytes": bytes, "bytes_per_s": rate });
        Ok(json!({
            "profile": kernels.collect::<Vec<_>>(),
            "groups": groups.collect::<Vec<_>>(),
            "machine": {
                "gflop_per_s": peak.flops / 1e9,
                "vector_bits": 8 * self.target.vector_bytes,
                "memory": peak.bandwidths.iter().map(memory).collect::<Vec<_>>(),
            },
        }))
    }

    fn print(
        &self,
        ui: &Ui,
        peak: &Peak,
        took: Duration,
        kernels: &[Line<'_>],
        groups: &[Line<'_>],
        total: f64,
    ) {
        let bits = 8 * self.target.vector_bytes;
        let memory: Vec<String> = peak
            .bandwidths
            .iter()
            .map(|(size, rate)| format!("{} {:.0}", human(*size), rate / 1e9))
            .collect();
        ui.text(format_args!(
            "one core, measured in {:.0} ms: {:.1} GFLOP/s ({bits}-bit multiply-adds); GB/s read from {}",
            took.as_secs_f64() * 1e3,
            peak.flops / 1e9,
            memory.join(", "),
        ));
        ui.text(format_args!(
            "{:>10} {:>6} {:>8} {:>8} {:>7} {:8} kernel",
            "us", "share", "GFLOP/s", "GB/s", "limit", "bound"
        ));
        let mut order: Vec<usize> = (0..kernels.len()).collect();
        order.sort_by(|a, b| kernels[*b].seconds.total_cmp(&kernels[*a].seconds));
        for i in order {
            ui.text(kernels[i].text(total));
        }
        if !groups.is_empty() {
            ui.text("convolutions by minimal filtering, by the operations of their definition:");
            groups.iter().for_each(|g| ui.text(g.text(total)));
        }
        let flops: f64 = kernels.iter().map(|k| k.flops).sum();
        // What a group does counts once, as it is defined.
        let parts = self.groups.iter().flat_map(|g| g.kernels).map(|k| kernels[k].flops).sum::<f64>();
        let flops = flops - parts + groups.iter().map(|g| g.flops).sum::<f64>();
        ui.text(format_args!(
            "{:10.1} 100.0% {:8.1} {:>8} {:6.1}% {:8} all kernels",
            total * 1e6,
            flops / total / 1e9,
            "",
            100.0 * flops / total / peak.flops,
            "compute",
        ));
    }
}

impl<'a> Line<'a> {
    fn of(work: &'a Work, seconds: f64, peak: &Peak) -> Self {
        let seconds = seconds.max(1e-9);
        let (compute, memory) = peak.least(work.flops, work.bytes);
        let (limit, bound) = if compute >= memory { (compute, "compute") } else { (memory, "memory") };
        let Work { name, form, flops, bytes, .. } = work;
        Self { name, form, seconds, flops: *flops, bytes: *bytes, limit: limit / seconds, bound }
    }

    fn of_group(group: &'a Group, best: &[f64], peak: &Peak) -> Self {
        let seconds = group.kernels.iter().map(|k| best[*k]).sum::<f64>().max(1e-9);
        let Group { name, flops, .. } = group;
        let limit = flops / peak.flops / seconds;
        Self { name, form: "winograd", seconds, flops: *flops, bytes: 0.0, limit, bound: "compute" }
    }

    fn text(&self, total: f64) -> String {
        format!(
            "{:10.1} {:5.1}% {:8.1} {:8.1} {:6.1}% {:8} {} {}",
            self.seconds * 1e6,
            100.0 * self.seconds / total,
            self.flops / self.seconds / 1e9,
            self.bytes / self.seconds / 1e9,
            100.0 * self.limit,
            self.bound,
            self.form,
            Printable(self.name),
        )
    }

    fn json(&self, total: f64) -> Value {
        json!({
            "name": self.name,
            "form": self.form,
            "us": self.seconds * 1e6,
            "share": self.seconds / total,
            "gflop_per_s": self.flops / self.seconds / 1e9,
            "bytes_per_s": self.bytes / self.seconds,
            "limit": self.limit,
            "bound": self.bound,
        })
    }
}

/// Seconds of the fastest run of each kernel, over runs of all of them in order.
fn fastest(session: &mut Session<'_>, kernels: usize, seconds: f64) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; kernels];
    let start = Instant::now();
    for run in 0..MOST_RUNS {
        if run >= LEAST_RUNS && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for (i, best) in best.iter_mut().enumerate() {
            let begin = Instant::now();
            session.run_kernel(i);
            *best = begin.elapsed().as_secs_f64().min(*best);
        }
    }
    best
}

fn human(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
