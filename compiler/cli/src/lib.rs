//! The `kiln` command: one file per subcommand, and what they share.
//!
//! A subcommand returns an `Answer` or a `Failure`; only this file turns those into JSON and exit codes.

mod allocator;
mod args;
mod bench;
mod calibration;
mod check;
mod compare;
mod compile;
mod constants;
mod dump;
mod explain;
mod failure;
mod group;
mod help;
mod inspect;
mod labels;
mod list;
mod opened;
mod output;
mod prune;
mod quantize;
mod remake;
mod repl;
mod report;
mod rewritten;
mod run;
mod signals;
mod source;
mod tensors;
mod tune;
mod weights;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use args::Global;
use failure::Failure;
use output::Ui;

/// Compiles ONNX models to machine code that needs no framework.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = help::KILN)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a static library and a C header.
    Compile(compile::Args),
    /// Compiles in memory and runs once.
    Run(run::Args),
    /// Runs folders of ONNX test cases and compares the outputs.
    Check(check::Args),
    /// Measures the time of a run.
    Bench(bench::Args),
    /// Tells what is in a model and what of it is unsupported.
    Inspect(inspect::Args),
    /// Tells how a model is compiled, kernel by kernel, and why.
    Explain(explain::Args),
    /// Prints the text of a stage of compilation.
    Dump(dump::Args),
    /// Makes an integer model of a float one, by data.
    Quantize(quantize::Args),
    /// Makes a model with weights of zero, or with fewer channels, of a trained one.
    Prune(prune::Args),
    /// Shows the report of a compiled model, or what changed between two.
    Report(report::Args),
    /// An interactive session: models and expressions, compiled and run at once.
    Repl(repl::Args),
    /// Lists what this build knows.
    List(list::Args),
}

/// Stack of the thread that does the work: deeply nested models recurse.
const STACK_BYTES: usize = 256 << 20;

/// Runs the command that the process's arguments ask for.
pub fn main() -> ExitCode {
    allocator::prepare();
    let arguments: Vec<_> = std::env::args_os().collect();
    // Wanted before the arguments are known to be right, so that usage errors obey it too.
    output::set_json(arguments.iter().any(|a| a == "--json"));
    output::install_panic_hook();
    signals::install();
    let work = move || run_command(&arguments);
    let code = match std::thread::Builder::new().name("main".into()).stack_size(STACK_BYTES).spawn(work) {
        // The hook has told of the panic already.
        Ok(thread) => thread.join().unwrap_or(failure::EXIT_INTERNAL),
        Err(e) => {
            let ui = Ui::new(output::wants_json(), false, false);
            ui.fail(&Failure::environment(format!(
                "cannot start a thread with a stack of {STACK_BYTES} bytes: {e}"
            )))
        }
    };
    ExitCode::from(code)
}

fn run_command(arguments: &[std::ffi::OsString]) -> u8 {
    let choice = args::color_of(arguments);
    choice.write_global();
    let command = Cli::command().color(args::clap_color(choice));
    let cli = match command.try_get_matches_from(arguments).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let ui = Ui::new(cli.global.json, cli.global.quiet, cli.global.verbose);
    let result = match cli.command {
        Command::Compile(args) => compile::run(&ui, args),
        Command::Run(args) => run::run(&ui, args),
        Command::Check(args) => check::run(&ui, args),
        Command::Bench(args) => bench::run(&ui, args),
        Command::Inspect(args) => inspect::run(&ui, args),
        Command::Explain(args) => explain::run(&ui, args),
        Command::Dump(args) => dump::run(&ui, args),
        Command::Quantize(args) => quantize::run(&ui, args),
        Command::Prune(args) => prune::run(&ui, args),
        Command::Report(args) => report::run(&ui, args),
        Command::Repl(args) => repl::run(&ui, args),
        Command::List(args) => list::run(&ui, args),
    };
    let code = match result {
        Ok(answer) => {
            ui.json(&answer.json);
            answer.code
        }
        Err(failure) => ui.fail(&failure),
    };
    ui.finish(code)
}

/// Tells what clap has to say: help and versions on stdout, wrong usage on stderr.
fn usage(e: &clap::Error) -> u8 {
    let ui = Ui::new(output::wants_json(), false, false);
    if !e.use_stderr() {
        return match e.print() {
            Ok(()) => ui.finish(failure::EXIT_DONE),
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => failure::EXIT_DONE,
            Err(e) => ui.fail(&Failure::environment(format!("cannot write to standard output: {e}"))),
        };
    }
    let _ = e.print();
    let text = e.to_string();
    // Without the line on how the command is called and the pointer to the help.
    let told =
        text.split("\n\nUsage:").next().unwrap_or_default().split("\n\nFor more").next().unwrap_or_default();
    let message = told.strip_prefix("error: ").unwrap_or(told).trim_end();
    ui.json(&serde_json::json!({ "error": Failure::usage(message).to_json() }));
    ui.finish(failure::EXIT_USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
