//! `kiln repl`: the interactive session.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use anstream::ColorChoice;
use clap::builder::RangedU64ValueParser;
use kiln_compiler::internals::passes::bind::{DimBinding, DimValue};
use serde_json::json;

use super::args::ThreadArgs;
use super::failure::{EXIT_DONE, EXIT_NO, Failure};
use super::output::{Answer, Ui, wants_json};

/// Arguments of `kiln repl`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::REPL)]
pub(super) struct Args {
    /// A model that is loaded first.
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Carry out the lines of a file.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Go on behind a line that fails.
    #[arg(long)]
    keep_going: bool,
    /// Keep compiled models in this folder: the next session finds them ready.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Bind a symbolic dimension, or keep it open between bounds, as :set dim.NAME does.
    #[arg(long = "dim", value_name = "NAME=N|LO..HI[:TYPICAL]")]
    dims: Vec<DimBinding>,
    /// The size of an open dimension where inputs are random: else the greatest.
    #[arg(long = "at", value_name = "NAME=N")]
    at: Vec<DimBinding>,
    /// A level of this machine; native: all that it has.
    #[arg(long, value_name = "CPU")]
    cpu: Option<String>,
    /// 0: no graph rewrites; 1: folding and fusion; 2: rewrites too.
    #[arg(long, value_name = "LEVEL", value_parser = RangedU64ValueParser::<u8>::new().range(0..=2))]
    opt: Option<u8>,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// Runs the subcommand.
pub(super) fn run(_: &Ui, args: Args) -> Result<Answer, Failure> {
    let mut at = BTreeMap::new();
    for DimBinding { name, value } in args.at {
        let DimValue::Fixed(n) = value else {
            return Err(Failure::usage(format!("--at {name} is one size, not bounds")));
        };
        at.insert(name, n);
    }
    let colour = match ColorChoice::global() {
        ColorChoice::Always | ColorChoice::AlwaysAnsi => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    };
    let options = kiln_repl::Options {
        model: args.model,
        script: args.script,
        keep_going: args.keep_going,
        cache: args.cache,
        cpu: args.cpu,
        threads: args.threads.threads.map(usize::from),
        opt: args.opt,
        dims: args.dims,
        at,
        silent: wants_json(),
        terminal: !wants_json() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        colour,
    };
    let done = kiln_repl::run(&options).map_err(|e| match e {
        kiln_repl::Failure::Usage(message) => Failure::usage(message),
        kiln_repl::Failure::Environment(message) => Failure::environment(message),
    })?;
    let code = if done.failed > 0 { EXIT_NO } else { EXIT_DONE };
    Ok(Answer { code, json: json!({ "done": done.done, "failed": done.failed }) })
}
