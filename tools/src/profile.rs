//! The time of each kernel, and how close it is to the machine's limit.

use std::time::{Duration, Instant};

use kiln_compiler::Session;
use kiln_compiler::internals::peak::Peak;
use kiln_compiler::internals::work::{self, Group, Products, Work};
use kiln_ir::error::Printable;
use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;
use serde_json::{Value, json};

use super::table::{self, Column, Room};
use super::{NOTE, explain};

/// Runs of the whole model that a profile takes the fastest time of each kernel from.
const LEAST_RUNS: usize = 3;
const MOST_RUNS: usize = 1000;

/// The work of a plan's kernels, noted before the plan becomes code.
pub struct Profile {
    target: Target,
    work: Vec<Work>,
    /// What runs each kernel, and whether that is plain loops.
    code: Vec<(String, bool)>,
    groups: Vec<Group>,
}

/// A line: a kernel or a group.
struct Line<'a> {
    name: &'a str,
    form: &'a str,
    seconds: f64,
    flops: f64,
    /// The same if no weight were left out.
    dense_flops: f64,
    bytes: f64,
    /// Operations per second that the machine makes of such products.
    peak: f64,
    /// The part of the machine's limit, and which limit.
    limit: f64,
    bound: &'static str,
}

impl Profile {
    /// Of a plan's kernels.
    pub fn of(plan: &Plan, target: &Target) -> Self {
        let (kernels, work) = (&plan.kernels, Work::of_plan(plan, target));
        let code = kernels.iter().map(|k| (explain::microkernel(k), explain::in_plain_loops(k))).collect();
        Self { target: target.clone(), work, code, groups: work::groups(kernels) }
    }

    /// Measures for about so many seconds, unless `stop` says so: then there is nothing to tell.
    ///
    /// # Errors
    ///
    /// Those of measuring the machine.
    pub fn measure(
        &self,
        session: &mut Session<'_>,
        seconds: f64,
        stop: &dyn Fn() -> bool,
    ) -> kiln_ir::Result<Option<Measured<'_>>> {
        let start = Instant::now();
        let peak = Peak::measure(&self.target)?;
        let took = start.elapsed();
        let Some(best) = fastest(session, self.work.len(), seconds, stop) else { return Ok(None) };
        // Again, since another process may have taken its part of the machine meanwhile.
        let peak = peak.or_better(&Peak::measure(&self.target)?);
        Ok(Some(Measured { profile: self, peak, took, best }))
    }
}

/// Times of kernels.
pub struct Measured<'p> {
    profile: &'p Profile,
    peak: Peak,
    took: Duration,
    /// Seconds of each kernel.
    best: Vec<f64>,
}

impl Measured<'_> {
    /// The part of each kernel in the time of all, in the plan's order.
    pub fn shares(&self) -> Vec<f64> {
        let total = self.total();
        self.best.iter().map(|seconds| seconds / total).collect()
    }

    fn total(&self) -> f64 {
        self.best.iter().sum::<f64>().max(1e-9)
    }

    fn kernels(&self) -> Vec<Line<'_>> {
        let kernels = self.profile.work.iter().zip(&self.best);
        kernels.map(|(work, &time)| Line::of(work, time, &self.peak)).collect()
    }

    fn groups(&self) -> Vec<Line<'_>> {
        self.profile.groups.iter().map(|g| Line::of_group(g, &self.best, &self.peak)).collect()
    }

    /// What a JSON object says of it.
    pub fn json(&self) -> Value {
        let Self { profile, peak, .. } = self;
        let (total, kernels, groups) = (self.total(), self.kernels(), self.groups());
        let in_group = |i: usize| profile.groups.iter().find(|g| g.kernels.contains(&i)).map(|g| &*g.name);
        let kernels = kernels.iter().zip(&profile.work).enumerate().map(|(i, (line, work))| {
            let mut object = line.json(total);
            object["products"] = json!(work.products.name());
            object["nodes"] = json!(work.nodes);
            object["group"] = json!(in_group(i));
            object["microkernel"] = json!(profile.code[i].0);
            object["plain_loops"] = json!(profile.code[i].1);
            object
        });
        let groups = groups.iter().zip(&profile.groups).map(|(line, group)| {
            let mut object = line.json(total);
            object["kernels"] = group.kernels.iter().map(|&k| json!(profile.work[k].name)).collect();
            object
        });
        let integers = peak.integers.iter().map(|(of, rate)| (of.name().to_owned(), json!(rate / 1e9)));
        let memory = |&(bytes, rate): &(usize, f64)| json!({ "bytes": bytes, "bytes_per_s": rate });
        json!({
            "profile": kernels.collect::<Vec<_>>(),
            "groups": groups.collect::<Vec<_>>(),
            "plain_loops_share": self.plain_seconds() / total,
            "machine": {
                "gflop_per_s": peak.flops / 1e9,
                "gop_per_s": integers.collect::<serde_json::Map<_, _>>(),
                "vector_bits": 8 * profile.target.vector_bytes,
                "memory": peak.bandwidths.iter().map(memory).collect::<Vec<_>>(),
            },
        })
    }

    /// A table for people.
    pub fn text(&self, room: Room) -> String {
        let Self { profile, peak, took, .. } = self;
        let (total, kernels, groups) = (self.total(), self.kernels(), self.groups());
        let bits = 8 * profile.target.vector_bytes;
        let machine = format!(
            "one core, measured in {:.0} ms: {:.1} GFLOP/s in {bits}-bit multiply-adds{}; GB/s read: {}",
            took.as_secs_f64() * 1e3,
            peak.flops / 1e9,
            self.integers(),
            memories(peak).join(", "),
        );
        let mut told = table::wrap(&machine, room.width);
        let mut order: Vec<usize> = (0..kernels.len()).collect();
        order.sort_by(|a, b| kernels[*b].seconds.total_cmp(&kernels[*a].seconds));
        let mut rows: Vec<Vec<String>> =
            order.into_iter().map(|i| kernels[i].cells(total, &profile.code[i].0)).collect();
        rows.extend(groups.iter().map(|g| g.cells(total, "winograd")));
        let flops: f64 = kernels.iter().map(|k| k.flops).sum();
        // What a group does counts once, as it is defined.
        let parts = profile.groups.iter().flat_map(|g| g.kernels).map(|k| kernels[k].flops).sum::<f64>();
        let flops = flops - parts + groups.iter().map(|g| g.flops).sum::<f64>();
        let single = |i: &usize| !profile.groups.iter().any(|g| g.kernels.contains(i));
        let computed = |line: &Line<'_>| line.flops / line.peak;
        let least = (0..kernels.len()).filter(single).map(|i| computed(&kernels[i])).sum::<f64>()
            + groups.iter().map(computed).sum::<f64>();
        rows.push(vec![
            micros(total),
            "100.0".to_owned(),
            rate(flops / total),
            String::new(),
            format!("{:.1}", 100.0 * least / total),
            "compute".to_owned(),
            String::new(),
            "all kernels".to_owned(),
        ]);
        // Groups stand between the kernels and the sum, below a line of their own.
        let mut lines = table::lines(COLUMNS, &rows, room);
        if !groups.is_empty() {
            let title = "convolutions by minimal filtering, by the operations of their definition:";
            lines.insert(1 + kernels.len(), title.to_owned());
        }
        told.append(&mut lines);
        let plain = profile.code.iter().filter(|c| c.1).count();
        if plain > 0 {
            told.push(format!(
                "{NOTE}plain loops{NOTE:#} ({plain} of {} kernels, without vectors) take {:.1} % of the time; \
                 `kiln explain` says why",
                kernels.len(),
                100.0 * self.plain_seconds() / total,
            ));
        }
        told.join("\n")
    }

    /// The rates of products of integers, as far as kernels make them.
    fn integers(&self) -> String {
        let makes = |products: Products| self.profile.work.iter().any(|w| w.products == products);
        let told = self.peak.integers.iter().filter(|(products, _)| makes(*products));
        told.map(|(products, rate)| format!(", {:.0} GOP/s of {}", rate / 1e9, products.name())).collect()
    }

    /// The time of the kernels in plain loops.
    fn plain_seconds(&self) -> f64 {
        self.profile
            .code
            .iter()
            .zip(&self.best)
            .filter(|(code, _)| code.1)
            .fold(0.0, |sum, (_, seconds)| sum + seconds)
    }
}

/// The table's columns.
const COLUMNS: &[Column] = &[
    Column::Number("us"),
    Column::Number("% time"),
    Column::Number("GFLOP/s"),
    Column::Number("GB/s"),
    Column::Number("% limit"),
    Column::Text("limit"),
    Column::Text("code"),
    Column::Name("kernel"),
];

/// Millionths of a second, to three digits or a tenth.
fn micros(seconds: f64) -> String {
    let us = seconds * 1e6;
    if us < 10.0 { format!("{us:.2}") } else { format!("{us:.1}") }
}

/// Billions a second; nothing for none.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 { format!("{:.1}", per_second / 1e9) } else { String::new() }
}

impl<'a> Line<'a> {
    fn of(work: &'a Work, seconds: f64, peak: &Peak) -> Self {
        let seconds = seconds.max(1e-9);
        let (compute, memory) = peak.least(work);
        let (limit, bound) = if compute >= memory { (compute, "compute") } else { (memory, "memory") };
        let Work { name, form, flops, dense_flops, bytes, .. } = work;
        let (flops, dense_flops, bytes) = (*flops, *dense_flops, *bytes);
        let peak = peak.rate(work.products);
        Self { name, form, seconds, flops, dense_flops, bytes, peak, limit: limit / seconds, bound }
    }

    fn of_group(group: &'a Group, best: &[f64], peak: &Peak) -> Self {
        let seconds = group.kernels.iter().map(|k| best[*k]).sum::<f64>().max(1e-9);
        let Group { name, flops, .. } = group;
        // As it is defined it is made of bytes.
        let peak = if group.integers { peak.of_bytes() } else { peak.flops };
        let limit = flops / peak / seconds;
        let (flops, dense_flops) = (*flops, *flops);
        Self {
            name,
            form: "winograd",
            seconds,
            flops,
            dense_flops,
            bytes: 0.0,
            peak,
            limit,
            bound: "compute",
        }
    }

    fn cells(&self, total: f64, code: &str) -> Vec<String> {
        vec![
            micros(self.seconds),
            format!("{:.1}", 100.0 * self.seconds / total),
            match self.dense_flops > self.flops {
                // In brackets what dense weights would need to be as fast.
                true => {
                    format!("({}) {}", rate(self.dense_flops / self.seconds), rate(self.flops / self.seconds))
                }
                false => rate(self.flops / self.seconds),
            },
            rate(self.bytes / self.seconds),
            format!("{:.1}", 100.0 * self.limit),
            self.bound.to_owned(),
            code.to_owned(),
            Printable(self.name).to_string(),
        ]
    }

    fn json(&self, total: f64) -> Value {
        json!({
            "name": self.name,
            "form": self.form,
            "us": self.seconds * 1e6,
            "share": self.seconds / total,
            "gflop_per_s": self.flops / self.seconds / 1e9,
            "effective_gflop_per_s": self.dense_flops / self.seconds / 1e9,
            "bytes_per_s": self.bytes / self.seconds,
            "limit": self.limit,
            "bound": self.bound,
        })
    }
}

/// Seconds of the fastest run of each kernel, over runs of all of them in order; nothing if it was stopped.
fn fastest(
    session: &mut Session<'_>,
    kernels: usize,
    seconds: f64,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<f64>> {
    let mut best = vec![f64::INFINITY; kernels];
    let start = Instant::now();
    for run in 0..MOST_RUNS {
        if run >= LEAST_RUNS && start.elapsed().as_secs_f64() > seconds {
            break;
        }
        for (i, best) in best.iter_mut().enumerate() {
            if stop() {
                return None;
            }
            let begin = Instant::now();
            session.run_kernel(i);
            *best = begin.elapsed().as_secs_f64().min(*best);
        }
    }
    Some(best)
}

/// The rates of memory, where they fall.
fn memories(peak: &Peak) -> Vec<String> {
    let mut told: Vec<(usize, f64)> = Vec::new();
    for (i, &(size, rate)) in peak.bandwidths.iter().enumerate() {
        let next = peak.bandwidths.get(i + 1).map_or(0.0, |b| b.1);
        // The last size before a step down.
        if next < 0.85 * rate {
            told.push((size, rate));
        }
    }
    told.into_iter().map(|(size, rate)| format!("{:.0} from {}", rate / 1e9, human(size))).collect()
}

fn human(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
