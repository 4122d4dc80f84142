//! A bar on the terminal for work that takes longer than a second.

use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_ir::error::Printable;

/// Work that takes longer than this shows a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how far the work is.
pub struct Progress {
    bar: ProgressBar,
    // Dropped with the progress, which ends the thread that waits to show the bar.
    _end: Option<mpsc::Sender<()>>,
}

impl Progress {
    /// A bar of so many steps; never visible unless `shown`.
    pub fn new(steps: u64, shown: bool) -> Self {
        Self::after(PATIENCE, steps, shown)
    }

    /// The same, with another time before it is seen.
    pub fn after(patience: Duration, steps: u64, shown: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30.cyan} {percent:>3} % {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        if !shown {
            return Self { bar, _end: None };
        }
        let (end, wait) = mpsc::channel::<()>();
        let waiting = bar.clone();
        let show = move || {
            if wait.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                waiting.set_draw_target(ProgressDrawTarget::stderr());
                waiting.enable_steady_tick(Duration::from_millis(100));
            }
        };
        // Without a thread there is no bar, and the work goes on.
        let shown = std::thread::Builder::new().name("progress".into()).spawn(show).is_ok();
        Self { bar, _end: shown.then_some(end) }
    }

    /// A step begins.
    pub fn step(&self, what: &str) {
        self.bar.set_message(Printable(what).to_string());
    }

    /// So much of something is done.
    pub fn at(&self, what: &str, done: u64, of: u64) {
        self.step(what);
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// A step has ended.
    pub fn done(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self._end = None;
        self.bar.finish_and_clear();
    }
}
