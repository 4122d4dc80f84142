//! What the entry of a model with open dimensions costs: sizes that are computed, bounds and equalities that are checked, places that are
//! looked up for kernels.
//!
//! ```text
//! cargo run --release -p kiln-benches --bin entry
//! ```
//!
//! Small models that run at their least size, where kernels take next to nothing, beside the same ones compiled for that size: least
//! times of a run in turns, and what the open one takes more.

use std::process::ExitCode;
use std::time::Instant;

use kiln_compiler::internals::emit::jit::Model;
use kiln_compiler::internals::passes::infer;
use kiln_compiler::internals::pipeline::{self, Options};
use kiln_ir::graph;

/// Runs of a measurement, and how often both models take turns.
const RUNS: usize = 2000;
const ROUNDS: usize = 50;

type Error = Box<dyn std::error::Error>;

/// Name, lines and the last value of a model whose dimensions are `$n` and `$s`.
fn models() -> Vec<(String, String, String)> {
    let head = "input %x: f32[$n, $s, 8] const @w: f32[8, 8] = splat 0.1";
    let mut all = vec![("one kernel".to_owned(), format!("{head} %y = Tanh(%x)"), "y".to_owned())];
    let agree = "input %z: f32[$n, $s, 8] %a = Add(%x, %z) %y = Tanh(%a)";
    all.push(("two inputs that must agree".to_owned(), format!("{head} {agree}"), "y".to_owned()));
    for blocks in [1, 4, 16] {
        let mut text = head.to_owned();
        let mut last = "x".to_owned();
        for i in 0..blocks {
            text += &format!(
                " %q{i} = MatMul(%{last}, @w) %k{i} = MatMul(%{last}, @w) %t{i} = Transpose(%k{i}) {{perm = [0, 2, 1]}}
                 %a{i} = MatMul(%q{i}, %t{i}) %p{i} = Softmax(%a{i}) {{axis = -1}} %o{i} = MatMul(%p{i}, %{last})
                 %y{i} = Add(%o{i}, %{last})"
            );
            last = format!("y{i}");
        }
        all.push((format!("{blocks} of attention"), text, last));
    }
    all
}

fn model(text: &str, last: &str, open: bool) -> Result<Model, Error> {
    let body = match open {
        true => text.replace("$n", "n").replace("$s", "s"),
        false => text.replace("$n", "1").replace("$s", "1"),
    };
    let dims = if open { "dim n = 1..8\ndim s = 1..64" } else { "" };
    let mut graph = graph::parse(&format!("graph @m opset(17) {{ {dims}\n {body} output %{last} }}"))?;
    infer::run(&mut graph)?;
    let target = kiln_targets::resolve("host", "native", "")?;
    let options = Options::new(target);
    let plan = pipeline::compile(graph, &options)?;
    Ok(Model::new(plan, &options.target, 1)?)
}

fn measure() -> Result<(), Error> {
    println!("{:30} {:>8} {:>10} {:>10} {:>10}", "model", "kernels", "open us", "fixed us", "entry us");
    for (name, text, last) in models() {
        let both = [model(&text, &last, true)?, model(&text, &last, false)?];
        let mut sessions = [both[0].session()?, both[1].session()?];
        for size in ["n", "s"] {
            sessions[0].set_size(size, 1)?;
        }
        let mut least = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            for (session, least) in sessions.iter_mut().zip(&mut least) {
                let from = Instant::now();
                for _ in 0..RUNS {
                    session.run()?;
                }
                *least = least.min(from.elapsed().as_secs_f64() / RUNS as f64 * 1e6);
            }
        }
        let [open, fixed] = least;
        println!("{name:30} {:8} {open:10.3} {fixed:10.3} {:10.3}", both[0].kernels().len(), open - fixed);
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
