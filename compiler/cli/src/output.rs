//! What reaches the terminal: answers and JSON on stdout, diagnostics and progress on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use kiln_ir::error::Printable;
use kiln_ir::{Error, ErrorKind, Errors};
pub(super) use kiln_tools::NOTE;
use serde_json::{Value, json};

use super::failure::{EXIT_DONE, Failure};
use super::group::{self, Group};
use kiln_tools::progress::Progress;

/// What went wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// What a subcommand came to.
pub(super) struct Answer {
    /// The process's exit code.
    pub(super) code: u8,
    /// What `--json` prints.
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn yes(json: Value) -> Self {
        Self { code: EXIT_DONE, json }
    }
}
/// The first failure to write to stdout.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

static JSON: AtomicBool = AtomicBool::new(false);

/// Notes that `--json` was given, for panics and usage errors.
pub(super) fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Whether `--json` was given.
pub(super) fn wants_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Panics become an internal error without a backtrace.
pub(super) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let error = Error::internal(format!("{text}{place}")).hint("this is a bug of kiln, please report it");
        Ui::new(wants_json(), false, false).fail(&error.into());
    }));
}

/// How a subcommand talks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ui {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Ui {
    /// As `--json`, `--quiet` and `--verbose` say.
    pub(super) fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        Self { json, quiet, verbose }
    }

    /// Whether lists are told in full.
    pub(super) fn verbose(&self) -> bool {
        self.verbose
    }

    /// Text for people on stdout; nothing with `--json`.
    pub(super) fn text(&self, text: impl fmt::Display) {
        if !self.json {
            keep(writeln!(anstream::stdout(), "{text}"));
        }
    }

    /// Text for people that `--quiet` leaves out.
    pub(super) fn chat(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.text(text);
        }
    }

    /// A note on stderr.
    pub(super) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{NOTE}note{NOTE:#}: {text}");
        }
    }

    /// A warning on stderr, which `--quiet` does not silence.
    pub(super) fn warn(&self, text: impl fmt::Display) {
        let _ = writeln!(anstream::stderr(), "{NOTE}warning{NOTE:#}: {text}");
    }

    /// The answer on stdout, when `--json` asks for it.
    pub(super) fn json(&self, answer: &Value) {
        if self.json {
            keep(writeln!(anstream::stdout(), "{answer}"));
        }
    }

    /// The errors on stderr, those that say the same of several nodes as one.
    pub(super) fn errors(&self, errors: &Errors) {
        let mut err = anstream::stderr().lock();
        group::groups(&errors.0).iter().for_each(|group| print_group(&mut err, group, self.verbose));
    }

    /// Tells of a failure; gives its exit code.
    pub(super) fn fail(&self, failure: &Failure) -> u8 {
        match failure {
            Failure::Usage(message) => {
                let _ = writeln!(anstream::stderr(), "{BAD}error{BAD:#}: {}", Printable(message));
            }
            Failure::Errors(errors) => self.errors(errors),
        }
        self.json(&json!({ "error": failure.to_json() }));
        failure.exit_code()
    }

    /// The exit code, unless the answer could not be written: then this tells why, and gives the code for that.
    pub(super) fn finish(&self, code: u8) -> u8 {
        keep(io::stdout().flush());
        let Some(error) = LOST.lock().unwrap_or_else(PoisonError::into_inner).take() else { return code };
        let failure = Failure::environment(format!("cannot write to standard output: {error}"));
        // Stdout is not there any more for JSON.
        Self { json: false, ..*self }.fail(&failure)
    }

    /// A progress bar of `steps` that appears on a terminal after a second.
    pub(super) fn progress(&self, steps: u64) -> Progress {
        Progress::new(steps, !self.json && !self.quiet && std::io::stderr().is_terminal())
    }
}

/// Remembers a failure to write to stdout. A closed pipe is none: the reader wishes to see no more.
fn keep(result: io::Result<()>) {
    if let Err(e) = result
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }
}

/// One line `error: node 'n' (Op): what`, and one with what to do. Several nodes are counted, and named one by one
/// if `verbose`.
fn print_group(out: &mut impl Write, group: &Group<'_>, verbose: bool) {
    let error = group.first();
    let nodes = group.nodes();
    let what = if error.kind == ErrorKind::Internal { "internal error" } else { "error" };
    let plain = Error { hint: String::new(), ..error.clone() };
    let _ = if group.errors.len() == 1 || nodes.is_empty() {
        writeln!(out, "{BAD}{what}{BAD:#}: {plain}")
    } else {
        let (op, example) = (Printable(&error.op), Printable(nodes[0]));
        let of = if error.op.is_empty() { String::new() } else { format!("{op}: ") };
        let message = Printable(&error.message);
        let counted = group.errors.len();
        writeln!(out, "{BAD}{what}{BAD:#}: {of}{message} ({counted} nodes, for instance '{example}')")
    };
    if !error.hint.is_empty() {
        let _ = writeln!(out, "  {HELP}help{HELP:#}: {}", Printable(&error.hint));
    }
    if verbose && group.errors.len() > 1 {
        for error in &group.errors {
            let _ = writeln!(out, "  node '{}': {}", Printable(&error.node), Printable(&error.message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_raw_control_characters() {
        let mut out = Vec::new();
        let error = Error::invalid("bad\u{1b}[31m").hint("see\nhere").at("n\u{7}", "Conv");
        print_group(&mut out, &Group { errors: vec![&error] }, true);
        let text = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
        assert_eq!(text, "error: node 'n\\u{7}' (Conv): bad\\u{1b}[31m\n  help: see\\nhere\n");
    }

    #[test]
    fn several_nodes_are_one_line_or_all_told() {
        let error = |node: &str| Error::unsupported("is not there yet").hint("wait").at(node, "Foo");
        let errors = [error("a"), error("b"), error("c")];
        let text = |verbose| {
            let mut out = Vec::new();
            group::groups(&errors).iter().for_each(|g| print_group(&mut out, g, verbose));
            String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
        };
        let short = "error: Foo: is not there yet (3 nodes, for instance 'a')\n  help: wait\n";
        assert_eq!(text(false), short);
        let all = ["a", "b", "c"].map(|n| format!("  node '{n}': is not there yet\n")).concat();
        assert_eq!(text(true), format!("{short}{all}"));
    }
}
