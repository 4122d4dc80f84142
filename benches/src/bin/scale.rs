//! Compile time and peak memory of graphs with many small nodes, by pass:
//!
//! ```text
//! cargo run --release -p kiln-benches --bin scale [NODES...]
//! ```
//!
//! Each graph is compiled in a process of its own, at level 2 and for the baseline of x86-64, from the graph to an
//! object in memory. The last column is the ratio of the total to that of the line above.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kiln_benches::graphs::KINDS;
use kiln_compiler::internals::emit::object::{self, ObjectOptions};
use kiln_compiler::internals::emit::report;
use kiln_compiler::internals::pipeline::{self, Compiled, Observer, Options};

const SIZES: [usize; 4] = [5_000, 10_000, 20_000, 40_000];

type Error = Box<dyn std::error::Error>;

#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Observer for Times {
    fn time(&mut self, pass: &'static str, time: Duration) {
        self.0.push((pass, time));
    }
}

/// Compiles one graph; a line of times in milliseconds, and mebibytes.
fn one(kind: &str, nodes: usize) -> Result<String, Error> {
    let (_, make) = KINDS.iter().find(|k| k.0 == kind).ok_or("no such graph")?;
    let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "baseline", "")?;
    let mut times = Times::default();
    let graph = make(nodes)?;
    let start = Instant::now();
    let Compiled::Plan(plan) = pipeline::run(graph, &Options::new(target.clone()), &mut times)
        .map_err(|e| e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?
    else {
        return Err("no plan".into());
    };
    let code = Instant::now();
    object::emit(plan, &target, "m", &ObjectOptions::default())?;
    times.0.push(("code", code.elapsed()));
    times.0.push(("total", start.elapsed()));
    let ms = |t: &(_, Duration)| format!("{}={:.1}", t.0, t.1.as_secs_f64() * 1e3);
    let memory = report::peak_rss_bytes().unwrap_or(0) >> 20;
    Ok(format!("{} MiB={memory}", times.0.iter().map(ms).collect::<Vec<_>>().join(" ")))
}

/// One graph in a process of its own: names and numbers of its line.
fn measured(kind: &str, nodes: usize) -> Result<Vec<(String, f64)>, Error> {
    let out = Command::new(std::env::current_exe()?).args(["--one", kind, &nodes.to_string()]).output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into());
    }
    let text = String::from_utf8(out.stdout)?;
    let pair = |word: &str| word.split_once('=').and_then(|(k, v)| Some((k.to_owned(), v.parse().ok()?)));
    Ok(text.split_whitespace().filter_map(pair).collect())
}

fn table(sizes: &[usize]) -> Result<(), Error> {
    for (kind, _) in KINDS {
        let mut last: Option<f64> = None;
        for &nodes in sizes {
            let line = measured(kind, nodes)?;
            if last.is_none() {
                let names: String = line.iter().map(|(name, _)| format!(" {name:>9}")).collect();
                println!("{:<16}{:>7}{names}     ratio", kind, "nodes");
            }
            let numbers: String = line.iter().map(|(_, n)| format!(" {n:>9.1}")).collect();
            let total = line.iter().find(|l| l.0 == "total").map_or(0.0, |l| l.1);
            let ratio = last.map_or(String::new(), |last| format!("{:.2}", total / last));
            println!("{:<16}{nodes:>7}{numbers} {ratio:>9}", "");
            last = Some(total);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let result = match &args[..] {
        [flag, kind, nodes] if flag == "--one" => {
            one(kind, nodes.parse().unwrap_or(0)).map(|line| println!("{line}"))
        }
        _ => table(if sizes.is_empty() { &SIZES } else { &sizes }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
