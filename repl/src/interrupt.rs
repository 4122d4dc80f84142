//! Ctrl-C: ends what is running and keeps the session.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicBool = AtomicBool::new(false);

/// Asks what is running to stop; `false` where nothing is that could. Whoever handles signals calls this from a thread.
pub fn interrupt() -> bool {
    let busy = BUSY.load(Ordering::SeqCst);
    ASKED.store(busy, Ordering::SeqCst);
    busy
}

/// Whether somebody asked for the end of what is running.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The same as a flag for other threads.
pub(crate) fn flag() -> &'static AtomicBool {
    &ASKED
}

/// Work that can be interrupted, for as long as this lives.
pub(crate) struct Busy(());

impl Busy {
    /// Begins.
    pub(crate) fn new() -> Self {
        ASKED.store(false, Ordering::SeqCst);
        BUSY.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::SeqCst);
        ASKED.store(false, Ordering::SeqCst);
    }
}
