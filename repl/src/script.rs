//! Lines of a file or of a pipe: no prompt; what goes wrong is told with its line.

use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::line;
use crate::session::Session;
use crate::text::is_complete;

/// How a script went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Statements and commands that were carried out.
    pub done: usize,
    /// Those that were not.
    pub failed: usize,
}

/// Carries out all lines, or those up to the first that fails.
///
/// # Errors
///
/// Those of reading.
pub(crate) fn run(session: &mut Session, input: &mut dyn BufRead, keep_going: bool) -> io::Result<Done> {
    let mut done = Done::default();
    let mut pending = String::new();
    let (mut number, mut first) = (0, 1);
    loop {
        let mut next = String::new();
        let is_end = input.read_line(&mut next)? == 0;
        number += usize::from(!is_end);
        if pending.is_empty() {
            first = number;
        }
        pending.push_str(&next);
        if !is_end && !is_complete(&pending) {
            continue;
        }
        let text = std::mem::take(&mut pending);
        if !text.trim().is_empty() {
            // The hook has told of a panic already.
            let result = catch_unwind(AssertUnwindSafe(|| line::run(session, &text)));
            match result {
                Ok(Ok(())) => done.done += 1,
                Ok(Err(fault)) => {
                    done.failed += 1;
                    let at = fault
                        .span
                        .as_ref()
                        .map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count());
                    let _ = writeln!(io::stderr(), "line {}: {fault}", first + at);
                    let caret = fault.caret(&text);
                    if !caret.is_empty() {
                        let _ = writeln!(io::stderr(), "{caret}");
                    }
                }
                Err(_) => done.failed += 1,
            }
        }
        if is_end || session.over || done.failed > 0 && !keep_going {
            return Ok(done);
        }
    }
}
