//! Kiln's interactive session: models and single expressions, compiled and run at once.
//!
//! ```text
//!   terminal/    lines with history, completion, hints, colours     script.rs   lines of a file or a pipe
//!        └────────────────────────────┬────────────────────────────────┘
//!   line.rs      a command, a model in ONNX's text form, or statements
//!   commands/    one file each; mod.rs is the table
//!   evaluate.rs  calls of models and functions first, the rest as one graph
//!   expression/  a tree to a graph whose values have types           text/      characters to trees
//!   engine.rs    compiles and runs, can be interrupted; keeps what was compiled
//!   cache.rs     compiled models in a folder, by content
//!   session.rs   variables, models, settings                         models/    models, interpreter, comparison
//!   reduce/      shrinks a model that fails or differs               show/      numbers, histograms, pictures
//! ```

mod cache;
mod commands;
mod engine;
mod evaluate;
mod expression;
mod fault;
mod files;
mod interrupt;
mod line;
mod models;
mod out;
mod reduce;
mod script;
mod session;
mod settings;
mod show;
mod terminal;
mod text;

#[cfg(test)]
mod session_tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

pub use interrupt::interrupt;
pub use kiln_compiler::internals::passes::bind::DimBinding;
pub use script::Done;

use cache::Cache;
use out::Out;
use session::Session;

/// What a session is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A model that is loaded first.
    pub model: Option<PathBuf>,
    /// A file of lines, in place of standard input.
    pub script: Option<PathBuf>,
    /// Whether a script goes on behind what fails.
    pub keep_going: bool,
    /// The folder that keeps compiled models.
    pub cache: Option<PathBuf>,
    /// A level or a processor; the machine's own without.
    pub cpu: Option<String>,
    /// Threads of a run; as many as there are cores without.
    pub threads: Option<usize>,
    /// 0 to 2; 2 without.
    pub opt: Option<u8>,
    /// Symbolic dimensions: values, or bounds that keep them open.
    pub dims: Vec<DimBinding>,
    /// Sizes of open dimensions where inputs are random.
    pub at: BTreeMap<String, i64>,
    /// Whether nothing goes to standard output.
    pub silent: bool,
    /// Whether a person types: standard input and output are a terminal.
    pub terminal: bool,
    /// Whether to use colours.
    pub colour: bool,
}

/// Why there is no session.
#[derive(Debug)]
pub enum Failure {
    /// Something of the options makes no sense.
    Usage(String),
    /// A file cannot be read, or the terminal not be used.
    Environment(String),
}

/// Runs a session to its end: on a terminal until somebody leaves, else all lines there are, or those up to the first that
/// fails.
///
/// # Errors
///
/// Why there is no session. Lines that fail are told on standard error, and counted.
pub fn run(options: &Options) -> Result<Done, Failure> {
    let failed =
        |path: &Path, e: io::Error| Failure::Environment(format!("cannot use {}: {e}", path.display()));
    let script = match &options.script {
        Some(path) => Some(
            File::open(path).map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))?,
        ),
        None => None,
    };
    let terminal = options.terminal && script.is_none();
    let cache = match &options.cache {
        Some(folder) => Some(Cache::new(folder).map_err(|e| failed(folder, e))?),
        None => None,
    };
    let out = if options.silent { Out::nowhere() } else { Out::stdout(terminal) };
    let mut session = Session::new(out, cache);
    session.engine.bars = terminal;
    let set = |session: &mut Session, key: &str, value: String| {
        session.settings.set(key, &value).map_err(|f| Failure::Usage(f.to_string()))
    };
    if let Some(cpu) = &options.cpu {
        set(&mut session, "cpu", cpu.clone())?;
    }
    if let Some(threads) = options.threads {
        set(&mut session, "threads", threads.to_string())?;
    }
    if let Some(opt) = options.opt {
        set(&mut session, "opt", opt.to_string())?;
    }
    session.settings.dims.extend(options.dims.iter().map(|d| (d.name.clone(), d.value)));
    session.settings.at.clone_from(&options.at);
    let mut first = Done::default();
    if let Some(path) = &options.model {
        let load = format!(":load '{}'", path.display());
        match line::run(&mut session, &load) {
            Ok(()) => first.done = 1,
            Err(fault) => {
                eprintln!("error: {fault}");
                first.failed = 1;
            }
        }
        if first.failed > 0 && !terminal && !options.keep_going {
            return Ok(first);
        }
    }
    if terminal {
        let history = terminal::history_file();
        let run = terminal::run(&mut session, history.as_deref(), options.colour);
        run.map_err(|e| Failure::Environment(format!("the terminal cannot be used: {e}")))?;
        return Ok(Done { done: session.log.len(), failed: 0 });
    }
    let done = match script {
        Some(file) => script::run(&mut session, &mut BufReader::new(file), options.keep_going),
        None => script::run(&mut session, &mut io::stdin().lock(), options.keep_going),
    };
    let done = done.map_err(|e| Failure::Environment(format!("cannot read the lines: {e}")))?;
    Ok(Done { done: first.done + done.done, failed: first.failed + done.failed })
}
