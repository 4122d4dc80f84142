//! What it costs that the levels of an artefact share their weights:
//!
//! ```text
//! cargo run --release -p kiln-benches --bin levels -- MODEL.onnx... [--dim NAME=N] [--rounds N]
//! ```
//!
//! For every level that this machine runs, what `kiln compile` makes by default beside an artefact for the level
//! alone: least times of an inference in turns, the median of the rounds' ratios (above 1 where the shared one is
//! faster), and the size of the read-only data.

use std::process::ExitCode;
use std::time::Instant;

use kiln_compiler::Model;
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_compiler::internals::variant::{self, Variant};
use kiln_ir::Limits;
use kiln_ir::graph::Graph;
use kiln_targets::Target;

/// Inferences of a round, and at least this many seconds.
const RUNS: usize = 5;
const SECONDS: f64 = 0.3;

type Error = Box<dyn std::error::Error>;

/// The least time of an inference, in seconds.
fn time(session: &mut kiln_compiler::Session<'_>) -> Result<f64, Error> {
    let (start, mut least, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < RUNS || start.elapsed().as_secs_f64() < SECONDS {
        let from = Instant::now();
        session.run()?;
        least = least.min(from.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(least)
}

fn one(path: &str, dims: &[String], rounds: usize) -> Result<(), Error> {
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
        let (shared, alone) = (Model::new(plan, target, 1)?, Model::new(alone, target, 1)?);
        let (mut a, mut b) = (shared.session()?, alone.session()?);
        let (mut ratios, mut least) = (Vec::new(), [f64::INFINITY; 2]);
        for _ in 0..rounds {
            let (of_shared, of_alone) = (time(&mut a)?, time(&mut b)?);
            ratios.push(of_alone / of_shared);
            least = [least[0].min(of_alone), least[1].min(of_shared)];
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            ", {:.3} -> {:.3} ms, speed-up {:.3}, code {} -> {} bytes",
            least[0] * 1e3,
            least[1] * 1e3,
            ratios[rounds / 2],
            alone.code_bytes(),
            shared.code_bytes()
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let (mut paths, mut dims, mut rounds) = (Vec::new(), Vec::new(), 5);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dim" => dims.extend(words.next()),
            "--rounds" => {
                rounds = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or(rounds)
            }
            _ => paths.push(word),
        }
    }
    for path in &paths {
        if let Err(e) = one(path, &dims, rounds) {
            eprintln!("{path}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
