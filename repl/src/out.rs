//! Where a session's answers go, and how much room there is.

use std::fmt;
use std::io::Write;
#[cfg(test)]
use std::sync::{Arc, Mutex, PoisonError};

use kiln_tools::table::Room;

/// Where answers go.
#[derive(Clone)]
pub(crate) struct Out {
    to: To,
    /// Whether a person reads along: colours, pictures, more words.
    pub(crate) terminal: bool,
}

#[derive(Clone)]
enum To {
    Stdout,
    Nowhere,
    #[cfg(test)]
    Text(Arc<Mutex<String>>),
}

impl Out {
    /// Standard output.
    pub(crate) fn stdout(terminal: bool) -> Self {
        Self { to: To::Stdout, terminal }
    }

    /// Nowhere.
    pub(crate) fn nowhere() -> Self {
        Self { to: To::Nowhere, terminal: false }
    }

    /// A text, which is given too.
    #[cfg(test)]
    pub(crate) fn text() -> (Self, Arc<Mutex<String>>) {
        let text = Arc::new(Mutex::new(String::new()));
        (Self { to: To::Text(Arc::clone(&text)), terminal: false }, text)
    }

    /// A line, or several. What cannot be written is lost: the reader is gone.
    pub(crate) fn line(&self, text: impl fmt::Display) {
        match &self.to {
            To::Stdout => {
                let _ = writeln!(anstream::stdout(), "{text}");
            }
            To::Nowhere => {}
            #[cfg(test)]
            To::Text(out) => {
                let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                out.push_str(&format!("{text}\n"));
            }
        }
    }

    /// The room for tables.
    pub(crate) fn room(&self) -> Room {
        match self.to {
            To::Stdout => Room::of_stdout(),
            _ => Room { width: 80, elide: false },
        }
    }
}
