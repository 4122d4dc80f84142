//! The session on a terminal: lines with history, completion, hints and colours.

mod complete;
mod helper;
mod highlight;
mod hint;
mod names;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};

use crate::fault::Fault;
use crate::interrupt::Busy;
use crate::line;
use crate::session::Session;
use helper::Assistant;
use names::Names;

const PROMPT: &str = "kiln> ";
const BAD: Style = AnsiColor::Red.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

/// Lines that are remembered.
const MOST_LINES: usize = 10_000;

/// Reads and carries out lines until somebody leaves.
///
/// # Errors
///
/// Those of the terminal.
pub(crate) fn run(session: &mut Session, history: Option<&Path>, colour: bool) -> io::Result<()> {
    let config = Config::builder()
        .max_history_size(MOST_LINES)
        .and_then(|c| c.history_ignore_dups(true))
        .map_err(io::Error::other)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(io::Error::other)?;
    editor.set_helper(Some(Assistant::new(colour)));
    if let Some(path) = history {
        // There is none yet the first time.
        let _ = editor.load_history(path);
    }
    session.out.line(format_args!(
        "Kiln {}. :help tells of the commands, :tutorial shows the way; Ctrl-D leaves.",
        env!("CARGO_PKG_VERSION")
    ));
    while !session.over {
        if let Some(assistant) = editor.helper_mut() {
            assistant.names = Names::of(session);
        }
        match editor.readline(PROMPT) {
            Ok(text) => {
                if !text.trim().is_empty() {
                    let _ = editor.add_history_entry(text.trim_end());
                }
                carry_out(session, &text);
            }
            Err(ReadlineError::Interrupted) => {
                session.out.line("Ctrl-D or :quit leaves");
            }
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(io::Error::other(e)),
        }
        if let Some(path) = history {
            // Other sessions may write to it meanwhile.
            let _ = editor.append_history(path);
        }
    }
    Ok(())
}

/// Carries out what was typed, and tells what went wrong.
fn carry_out(session: &mut Session, text: &str) {
    let busy = Busy::new();
    // The hook has told of a panic already; the session goes on.
    let result = catch_unwind(AssertUnwindSafe(|| line::run(session, text)));
    drop(busy);
    if let Ok(Err(fault)) = result {
        tell(text, &fault);
    }
}

fn tell(text: &str, fault: &Fault) {
    let mut err = anstream::stderr();
    if fault.interrupted {
        let _ = writeln!(err, "{BAD}interrupted{BAD:#}");
        return;
    }
    let caret = fault.caret(text);
    if !caret.is_empty() {
        let _ = writeln!(err, "{caret}");
    }
    let _ = writeln!(err, "{BAD}error{BAD:#}: {}", fault.message);
    if !fault.hint.is_empty() {
        let _ = writeln!(err, "  {HELP}help{HELP:#}: {}", fault.hint);
    }
}

/// Where the history of lines is kept.
pub(crate) fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    let folder = state.join("kiln");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
