//! A pseudo-terminal with the session in it: what is typed, and what is seen.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Builds of others may slow this one down.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal.
pub(crate) struct Terminal {
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much of what was seen has been looked for.
    mark: usize,
}

fn size(cols: u16) -> PtySize {
    PtySize { rows: 40, cols, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    /// Starts a session whose files are in `folder`.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_as("xterm-256color", folder, args)
    }

    /// The same in a terminal of that name.
    pub(crate) fn start_as(name: &str, folder: &Path, args: &[&str]) -> Self {
        let pair = native_pty_system().openpty(size(100)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("repl");
        command.args(args);
        command.cwd(folder);
        command.env("TERM", name);
        command.env_remove("TERM_PROGRAM");
        command.env("XDG_STATE_HOME", folder.join("state"));
        command.env_remove("COLUMNS");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let (mut reader, writer) =
            (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Self { master: pair.master, writer, child, seen, mark: 0 }
    }

    /// Keys.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// A line, once the session waits for one.
    #[track_caller]
    pub(crate) fn line(&mut self, line: &str) {
        self.prompt();
        self.keys(line);
        self.keys("\r");
    }

    /// Waits until the session waits for a line.
    #[track_caller]
    pub(crate) fn prompt(&mut self) {
        let start = Instant::now();
        let mut last = 0;
        loop {
            let text = self.text();
            // It does so if it has said nothing more for a while.
            if text.trim_end().ends_with("kiln>") && text.len() == last {
                self.mark = last;
                return;
            }
            last = text.len();
            assert!(
                start.elapsed() < PATIENCE,
                "no prompt behind\n{}",
                text.get(self.mark..).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// What is sent, as it is.
    pub(crate) fn sent(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// What is seen, without colours and movements of the cursor.
    fn text(&self) -> String {
        anstream::adapter::strip_str(&self.sent()).to_string()
    }

    /// Waits for a text behind the last one that was waited for; gives what came before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if let Some(found) = text.get(self.mark..).and_then(|rest| rest.find(wanted)) {
                let before = text[self.mark..self.mark + found].to_owned();
                self.mark += found + wanted.len();
                return before;
            }
            if start.elapsed() > PATIENCE {
                panic!("no {wanted:?} in\n{}", text.get(self.mark..).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A line whose answer has these parts in turn, and nothing that is wrong.
    #[track_caller]
    pub(crate) fn right(&mut self, line: &str, parts: &[&str]) -> String {
        self.line(line);
        let mut said = String::new();
        for part in parts {
            said += &self.expect(part);
        }
        assert!(!said.contains("error:"), "{line}:\n{said}");
        said
    }

    /// Another width of the window.
    pub(crate) fn resize(&mut self, cols: u16) {
        self.master.resize(size(cols)).unwrap();
    }

    /// Waits for the end of the session; its exit code.
    pub(crate) fn wait(mut self) -> u32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(start.elapsed() < PATIENCE, "the session does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
