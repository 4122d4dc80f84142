//! What it costs that the levels of an artefact share their weights:
//!
//! ```text
//! cargo run --release -p kiln-benches --bin levels -- MODEL.onnx... [--dim NAME=N] [--rounds N] [--kernels N]
//! ```
//!
//! For every level that this machine runs, what `kiln compile` makes by default beside an artefact for the level
//! alone: least times of an inference in turns, the median of the rounds' ratios (above 1 where the shared one is
//! faster), the ratio of the least times, and the size of the read-only data. `--kernels`: also the kernels that lose most, with
//! their schedules; the parts of a convolution by minimal filtering are one.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use kiln_compiler::internals::pipeline::{self, Options};
use kiln_compiler::internals::variant::{self, Variant};
use kiln_compiler::{Model, Session};
use kiln_ir::Limits;
use kiln_ir::graph::Graph;
use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;

/// Inferences of a round, and at least this many seconds.
const RUNS: usize = 5;
const SECONDS: f64 = 0.3;

type Error = Box<dyn std::error::Error>;

/// The least time of an inference, in seconds.
fn time(session: &mut Session<'_>) -> Result<f64, Error> {
    let (start, mut least, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < RUNS || start.elapsed().as_secs_f64() < SECONDS {
        let from = Instant::now();
        session.run()?;
        least = least.min(from.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(least)
}

/// What a convolution's kernels have in common, and why each is as it is.
fn names(plan: &Plan) -> Vec<(String, String)> {
    let base = |name: &str| {
        let parts = [".tiles", ".product"];
        parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned()
    };
    plan.kernels.iter().map(|k| (base(&k.name), k.why.clone())).collect()
}

/// Lessens the times of kernels by some runs of all of them in order.
fn kernels(session: &mut Session<'_>, best: &mut [f64]) {
    for _ in 0..RUNS {
        for (i, best) in best.iter_mut().enumerate() {
            let from = Instant::now();
            session.run_kernel(i);
            *best = best.min(from.elapsed().as_secs_f64());
        }
    }
}

/// Kernels with the reasons for their schedules, and their times.
type Side<'a> = (&'a [(String, String)], &'a [f64]);

/// Prints the sums of the kernels' least times, and the kernels that lose most.
fn losses(sides: [Side<'_>; 2], most: usize) {
    let mut by_name: BTreeMap<&str, ([f64; 2], [Vec<&str>; 2])> = BTreeMap::new();
    for (side, (names, times)) in sides.into_iter().enumerate() {
        for ((name, why), time) in names.iter().zip(times) {
            let entry = by_name.entry(name).or_default();
            entry.0[side] += time * 1e6;
            entry.1[side].push(why);
        }
    }
    let sums = sides.map(|(_, times)| times.iter().sum::<f64>());
    println!("  kernels alone: {:.3} -> {:.3} ms, {:.3}", sums[0] * 1e3, sums[1] * 1e3, sums[0] / sums[1]);
    let mut list: Vec<_> = by_name.into_iter().collect();
    list.sort_by(|(_, a), (_, b)| (b.0[1] - b.0[0]).total_cmp(&(a.0[1] - a.0[0])));
    for (name, (us, why)) in list.into_iter().take(most) {
        println!("  {:8.1} -> {:8.1} us  {name}", us[0], us[1]);
        println!("{}", why.map(|why| format!("      {}\n", why.join(" | "))).concat().trim_end());
    }
}

fn one(path: &str, dims: &[String], rounds: usize, most: usize) -> Result<(), Error> {
    let native = kiln_targets::resolve("", "native", "")?;
    let targets = kiln_targets::resolve_list("", kiln_targets::portable("")?, "")?;
    let options = |target: &Target| -> Result<Options, Error> {
        let dims = dims.iter().map(|d| d.parse()).collect::<Result<_, _>>()?;
        Ok(Options { dims, ..Options::new(target.clone()) })
    };
    let failed = |e: kiln_ir::Errors| e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let graph = || -> Result<Graph, Error> {
        Ok(kiln_onnx::load(path.as_ref(), &Limits::default()).map_err(failed)?)
    };
    let shared = pipeline::run_for(graph()?, &options(&native)?, &targets, &mut ()).map_err(failed)?;
    let variants: Vec<Variant<'_>> =
        shared.iter().zip(&targets).map(|(plan, target)| Variant { plan, target }).collect();
    let together = variant::weights_bytes(&variants);
    for (plan, target) in shared.into_iter().zip(&targets) {
        let alone = pipeline::compile(graph()?, &options(target)?).map_err(failed)?;
        let bytes = alone.weights_bytes;
        print!("{path} {}: weights {:.3} of those alone", target.level, together as f64 / bytes as f64);
        if !target.features.iter().all(|f| native.features.contains(f)) {
            println!(", not run here");
            continue;
        }
        let plans = [alone, plan];
        let names = plans.each_ref().map(names);
        let mut best = names.each_ref().map(|names| vec![f64::INFINITY; names.len()]);
        let (mut ratios, mut least, mut code) = (Vec::new(), [f64::INFINITY; 2], [0; 2]);
        for round in 0..rounds {
            let mut times = [0.0; 2];
            // Other pages of memory each time, and each of them first in turn.
            for side in [round % 2, 1 - round % 2] {
                let model = Model::new(plans[side].clone(), target, 1)?;
                let mut session = model.session()?;
                times[side] = time(&mut session)?;
                least[side] = least[side].min(times[side]);
                code[side] = model.code_bytes();
                if most > 0 {
                    kernels(&mut session, &mut best[side]);
                }
            }
            ratios.push(times[0] / times[1]);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            ", {:.3} -> {:.3} ms, speed-up {:.3} (of the least {:.3}), code {} -> {} bytes",
            least[0] * 1e3,
            least[1] * 1e3,
            ratios[rounds / 2],
            least[0] / least[1],
            code[0],
            code[1],
        );
        if most > 0 {
            losses([(&names[0], &best[0]), (&names[1], &best[1])], most);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let (mut paths, mut dims, mut rounds, mut most) = (Vec::new(), Vec::new(), 5, 0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dim" => dims.extend(words.next()),
            "--rounds" => {
                rounds = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or(rounds)
            }
            "--kernels" => most = words.next().and_then(|n| n.parse().ok()).unwrap_or(most),
            _ => paths.push(word),
        }
    }
    for path in &paths {
        if let Err(e) = one(path, &dims, rounds, most) {
            eprintln!("{path}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
