//! Where a thread spends its time, instruction by instruction: a timer of this process interrupts it, and each time the
//! address that it would go on at is counted.
//!
//! A sample falls on the instruction that waits, or on one right behind it: that is as exact as interrupts are.

#![allow(unsafe_code)] // a signal's handler, a timer

use std::time::Duration;

/// The time between two samples. Nothing depends on it but how many there are.
pub const INTERVAL: Duration = Duration::from_micros(50);

/// Runs `work` and counts by byte of `code` how often this thread was there; nothing where the system has no such timer.
/// One thread at a time does so, others wait.
pub fn sample(code: &[u8], work: impl FnOnce()) -> Option<Vec<u32>> {
    system::sample(code, work)
}

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::{c_int, c_long, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::INTERVAL;

    static ONE: Mutex<()> = Mutex::new(());
    /// Where the address is in a thread's state.
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    static BEGIN: AtomicUsize = AtomicUsize::new(0);
    static LENGTH: AtomicUsize = AtomicUsize::new(0);
    static COUNTS: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

    /// Counts where the thread was. Nothing here allocates or locks.
    extern "C" fn tick(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the system gives handlers of this kind the state of the thread that they interrupt.
        let at = unsafe { context.byte_add(COUNTER.load(Ordering::Relaxed)).cast::<usize>().read() };
        let at = at.wrapping_sub(BEGIN.load(Ordering::Relaxed));
        let counts = COUNTS.load(Ordering::Acquire);
        if !counts.is_null() && at < LENGTH.load(Ordering::Relaxed) {
            // SAFETY: there are so many counts, and they live until the timer is gone.
            unsafe { (*counts.add(at)).fetch_add(1, Ordering::Relaxed) };
        }
    }

    pub(super) fn sample(code: &[u8], work: impl FnOnce()) -> Option<Vec<u32>> {
        COUNTER.store(kiln_targets::program_counter()?, Ordering::Relaxed);
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counts: Vec<AtomicU32> = code.iter().map(|_| AtomicU32::new(0)).collect();
        BEGIN.store(code.as_ptr() as usize, Ordering::Relaxed);
        LENGTH.store(code.len(), Ordering::Relaxed);
        COUNTS.store(counts.as_ptr().cast_mut(), Ordering::Release);
        let timer = Timer::start();
        if timer.is_some() {
            work();
        }
        let measured = timer.is_some();
        drop(timer);
        COUNTS.store(ptr::null_mut(), Ordering::Release);
        measured.then(|| counts.into_iter().map(AtomicU32::into_inner).collect())
    }

    /// A timer that interrupts the thread which made it.
    struct Timer(libc::timer_t);

    impl Timer {
        fn start() -> Option<Self> {
            // SAFETY: all zeros are valid values of these structures; the handler has the signature that SA_SIGINFO asks
            // for and stays in place, so that a late signal finds it; `timer` is written before it is read.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = tick;
                action.sa_sigaction = handler as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                libc::sigemptyset(&raw mut action.sa_mask);
                if libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) != 0 {
                    return None;
                }
                let mut event: libc::sigevent = std::mem::zeroed();
                event.sigev_notify = libc::SIGEV_THREAD_ID;
                event.sigev_signo = libc::SIGPROF;
                event.sigev_notify_thread_id = libc::gettid();
                let mut timer: libc::timer_t = std::mem::zeroed();
                if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                    return None;
                }
                let timer = Self(timer);
                let mut times: libc::itimerspec = std::mem::zeroed();
                times.it_interval.tv_nsec = INTERVAL.as_nanos() as c_long;
                times.it_value = times.it_interval;
                let started = libc::timer_settime(timer.0, 0, &raw const times, ptr::null_mut()) == 0;
                started.then_some(timer)
            }
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            // SAFETY: the timer is this one's. What it sent last is handled when this call returns, on this thread.
            unsafe { libc::timer_delete(self.0) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn sample(_: &[u8], _: impl FnOnce()) -> Option<Vec<u32>> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_is_met_in_its_code() {
        let Some(_) = kiln_targets::program_counter() else { return };
        // A function of a size that nobody knows: its loop lies near its start.
        let function: fn(u64) -> u64 = spin;
        // SAFETY: code can be read, and more follows than a page is cut by.
        let code = unsafe { std::slice::from_raw_parts(function as *const u8, 256) };
        let spin_on = || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(100) {
                std::hint::black_box(function(std::hint::black_box(20_000)));
            }
        };
        let met = sample(code, spin_on).unwrap();
        assert!(met.iter().sum::<u32>() >= 50, "{met:?}");
        // Elsewhere, and afterwards: nothing.
        let elsewhere = sample(&[0; 64], spin_on).unwrap();
        assert!(elsewhere.iter().all(|n| *n == 0));
    }

    /// Turns of a loop that no compiler takes away.
    #[inline(never)]
    fn spin(turns: u64) -> u64 {
        let mut sum = turns;
        let mut left = turns;
        while left > 0 {
            sum = (sum ^ left).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (sum >> 7);
            left -= 1;
        }
        sum
    }
}
