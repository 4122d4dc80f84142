//! Signals that end the process: what is staged goes first.

#[cfg(not(unix))]
pub(super) fn install() {}

#[cfg(unix)]
pub(super) use unix::install;

#[cfg(unix)]
#[allow(unsafe_code)] // asks the system how a signal is handled
mod unix {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use kiln_compiler::internals::emit::staging;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// From here on SIGINT and its like remove the staged files, then end the process as they would have without:
    /// the parent sees the signal, a shell 128 and its number. What the parent ignores stays ignored (`nohup`).
    /// A file that grows beyond its limit is an error of writing, not a signal.
    pub(in super::super) fn install() {
        let wanted: Vec<i32> =
            [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU].into_iter().filter(|s| !ignored(*s)).collect();
        // Without the handler or its thread signals end the process as ever.
        if let Ok(mut signals) = Signals::new(wanted) {
            let handle = signals.handle();
            let wait = move || {
                for signal in signals.forever() {
                    // A session stops what is running, and goes on.
                    if signal == SIGINT && kiln_repl::interrupt() {
                        continue;
                    }
                    staging::discard_all();
                    let _ = emulate_default_handler(signal);
                }
            };
            if std::thread::Builder::new().name("signals".into()).spawn(wait).is_err() {
                handle.close();
            }
        }
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }

    fn ignored(signal: i32) -> bool {
        // SAFETY: all zeros are a valid `sigaction`; with a null pointer for the new one the call only writes the
        // present one to `old`.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
        }
    }
}
