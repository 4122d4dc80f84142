//! What reaches the terminal: JSON on stdout, diagnostics and progress on stderr, exit codes.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_ir::Errors;
use kiln_ir::error::Printable;
use kiln_ir::{Error, ErrorKind};
use serde_json::{Value, json};

/// Done.
pub(super) const EXIT_DONE: u8 = 0;
/// Ran, and the answer is no.
pub(super) const EXIT_NO: u8 = 1;
/// Wrong usage.
pub(super) const EXIT_USAGE: u8 = 2;
/// Valid, but not compiled yet.
pub(super) const EXIT_UNSUPPORTED: u8 = 4;
/// Our bug.
pub(super) const EXIT_INTERNAL: u8 = 5;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default().bold();

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

/// Why a subcommand did not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line asks for something that makes no sense, or for files that cannot be read or written.
    Usage(String),
    /// The model or an input is at fault, or Kiln.
    Errors(Errors),
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::Errors(errors)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Errors(error.into())
    }
}

impl From<kiln_compiler::api::BuildError> for Failure {
    fn from(error: kiln_compiler::api::BuildError) -> Self {
        match error {
            kiln_compiler::api::BuildError::Model(errors) => Self::Errors(errors),
            e @ kiln_compiler::api::BuildError::Write { .. } => Self::Usage(e.to_string()),
        }
    }
}

impl Failure {
    /// Wrong usage.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// The process's exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Errors(errors) => errors.exit_code(),
        }
    }

    fn to_json(&self) -> Value {
        let entry = |e: &Error| {
            json!({
                "kind": kind_name(e.kind), "node": e.node, "op": e.op, "message": e.message, "hint": e.hint,
            })
        };
        match self {
            Self::Usage(message) => {
                json!({ "kind": "usage", "exit_code": EXIT_USAGE, "message": message, "errors": [] })
            }
            Self::Errors(errors) => json!({
                "kind": kind_name(errors.kind()),
                "exit_code": errors.exit_code(),
                "message": errors.to_string(),
                "errors": errors.0.iter().map(entry).collect::<Vec<_>>(),
            }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Errors(errors) => write!(f, "{errors}"),
        }
    }
}

/// `invalid`, `unsupported` or `internal`.
pub(super) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Internal => "internal",
    }
}

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
        Ui::new(wants_json(), false).fail(&error.into());
    }));
}

/// How a subcommand talks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ui {
    json: bool,
    quiet: bool,
}

impl Ui {
    /// As `--json` and `--quiet` say.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Text for people on stdout; nothing with `--json`.
    pub(super) fn text(&self, text: impl fmt::Display) {
        if !self.json {
            // A closed pipe is the reader's wish to see no more.
            let _ = writeln!(anstream::stdout(), "{text}");
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
            let _ = writeln!(anstream::stdout(), "{answer}");
        }
    }

    /// One error after the other on stderr.
    pub(super) fn errors(&self, errors: &Errors) {
        let mut err = anstream::stderr().lock();
        errors.0.iter().for_each(|e| print_error(&mut err, e));
    }

    /// Tells of a failure; gives its exit code.
    pub(super) fn fail(&self, failure: &Failure) -> u8 {
        match failure {
            Failure::Usage(message) => {
                let _ = writeln!(anstream::stderr(), "{ERROR}error{ERROR:#}: {}", Printable(message));
            }
            Failure::Errors(errors) => self.errors(errors),
        }
        self.json(&json!({ "error": failure.to_json() }));
        failure.exit_code()
    }

    /// A progress bar of `steps` that appears on a terminal after a second.
    pub(super) fn progress(&self, steps: u64) -> Progress {
        Progress::new(steps, !self.json && !self.quiet && std::io::stderr().is_terminal())
    }
}

/// One line `error: node 'n' (Op): what`, and one with what to do.
fn print_error(out: &mut impl Write, error: &Error) {
    let plain = Error { hint: String::new(), ..error.clone() };
    let what = if error.kind == ErrorKind::Internal { "internal error" } else { "error" };
    let _ = writeln!(out, "{ERROR}{what}{ERROR:#}: {plain}");
    if !error.hint.is_empty() {
        let _ = writeln!(out, "  {HELP}help{HELP:#}: {}", Printable(&error.hint));
    }
}

/// Work that takes longer than this shows a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far the work is.
pub(super) struct Progress {
    bar: ProgressBar,
    // Dropped with the progress, which ends the thread that waits to show the bar.
    _end: Option<mpsc::Sender<()>>,
}

impl Progress {
    fn new(steps: u64, shown: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30.cyan} {pos}/{len} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        if !shown {
            return Self { bar, _end: None };
        }
        let (end, wait) = mpsc::channel::<()>();
        let waiting = bar.clone();
        std::thread::spawn(move || {
            if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                waiting.set_draw_target(ProgressDrawTarget::stderr());
                waiting.enable_steady_tick(Duration::from_millis(100));
            }
        });
        Self { bar, _end: Some(end) }
    }

    /// A step begins.
    pub(super) fn step(&self, what: &str) {
        self.bar.set_message(Printable(what).to_string());
    }

    /// So much of something is done.
    pub(super) fn at(&self, what: &str, done: u64, of: u64) {
        self.step(what);
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// A step has ended.
    pub(super) fn done(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self._end = None;
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_raw_control_characters() {
        let mut out = Vec::new();
        let error = Error::invalid("bad\u{1b}[31m").hint("see\nhere").at("n\u{7}", "Conv");
        print_error(&mut out, &error);
        let text = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
        assert_eq!(text, "error: node 'n\\u{7}' (Conv): bad\\u{1b}[31m\n  help: see\\nhere\n");
    }

    #[test]
    fn failures_have_their_exit_codes() {
        assert_eq!(Failure::usage("x").exit_code(), 2);
        assert_eq!(Failure::from(Error::invalid("x")).exit_code(), 3);
        assert_eq!(Failure::from(Error::unsupported("x")).exit_code(), 4);
        assert_eq!(Failure::from(Error::internal("x")).exit_code(), 5);
        let json = Failure::from(Error::unsupported("x").at("n", "Foo")).to_json();
        assert_eq!(json["errors"][0]["op"], "Foo");
        assert_eq!(json["kind"], "unsupported");
    }
}
