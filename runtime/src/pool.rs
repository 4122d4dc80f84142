//! A thread pool for `NAME_run_parallel`: the host's side of the `parallel_for` callback.
//!
//! A compiled model forks and joins once per kernel, every few microseconds, so a fork must cost about one: the
//! workers spin for a while after each job and only then sleep. Which thread takes which piece is left to chance;
//! the pieces themselves do not depend on the number of threads, so results have the same bits for any.
//!
//! Every thread has a *ticket*, one atomic word with the next piece of its share and the end of it. Shares are
//! contiguous and the same for every job of as many pieces, so a thread finds in its own cache what it wrote in the
//! kernel before; one that is done early helps the others. Claiming a piece is one `fetch_add`; whoever got a number
//! below the end owns that piece, and since the job cannot end before every piece is done, the job's other fields
//! are valid for the owner.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::abi::Task;

/// Checks of the ticket before a worker sleeps: tens of microseconds, more than the gap between two kernels.
const SPINS: u32 = 20_000;

/// Bits of a ticket for the next piece; the end of the share is above them.
const BITS: u32 = 32;

/// On a cache line of its own, so that threads do not disturb each other's claims.
#[repr(align(128))]
struct Ticket(AtomicU64);

struct Shared {
    tickets: Vec<Ticket>,
    task: AtomicPtr<c_void>,
    closure: AtomicPtr<c_void>,
    done: AtomicUsize,
    sleepers: AtomicUsize,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Threads that wait for jobs. Jobs are run one at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    running: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads, the caller's included; 0 counts as 1.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            tickets: (0..threads.max(1)).map(|_| Ticket(AtomicU64::new(0))).collect(),
            task: AtomicPtr::new(std::ptr::null_mut()),
            closure: AtomicPtr::new(std::ptr::null_mut()),
            done: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, workers: Vec::new(), running: Mutex::new(()) };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            pool.workers
                .push(std::thread::Builder::new().name(format!("kiln-{i}")).spawn(move || work(&shared, i))?);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(closure, i)` for every `i` below `count`, on all threads, and returns when all calls have.
    ///
    /// # Safety
    /// `task` must be sound to call with `closure` and every index, from several threads at once, and must not
    /// unwind.
    pub unsafe fn run(&self, task: Task, closure: *mut c_void, count: usize) {
        let shared = &*self.shared;
        if count <= 1 || self.workers.is_empty() || count as u64 >= 1 << BITS {
            // SAFETY: the caller's promise.
            (0..count).for_each(|i| unsafe { task(closure, i) });
            return;
        }
        let _one_at_a_time = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.done.store(0, Ordering::Relaxed);
        shared.task.store(task as *mut c_void, Ordering::Relaxed);
        shared.closure.store(closure, Ordering::Relaxed);
        let threads = shared.tickets.len();
        for (i, ticket) in shared.tickets.iter().enumerate() {
            let (first, end) = (count * i / threads, count * (i + 1) / threads);
            ticket.0.store((end as u64) << BITS | first as u64, Ordering::SeqCst);
        }
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = shared.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.wake.notify_all();
        }
        take_pieces(shared, 0);
        while shared.done.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
        }
    }

    /// `parallel_for` for C: `context` is a `*const Pool`.
    ///
    /// # Safety
    /// `context` must point to a living pool; for the rest see [`Pool::run`].
    pub unsafe extern "C" fn parallel_for(
        context: *mut c_void,
        task: Task,
        closure: *mut c_void,
        count: usize,
    ) {
        // SAFETY: the caller's promises.
        unsafe { (*context.cast::<Pool>()).run(task, closure, count) }
    }
}

/// Whether a ticket offers a piece.
fn offers(ticket: u64) -> bool {
    ticket & ((1 << BITS) - 1) < ticket >> BITS
}

fn has_work(shared: &Shared, order: Ordering) -> bool {
    shared.tickets.iter().any(|t| offers(t.0.load(order)))
}

/// Claims and runs pieces, those of thread `me` first, until none are left.
fn take_pieces(shared: &Shared, me: usize) {
    let (before, after) = shared.tickets.split_at(me);
    for share in after.iter().chain(before) {
        while offers(share.0.load(Ordering::Acquire)) {
            let ticket = share.0.fetch_add(1, Ordering::AcqRel);
            if !offers(ticket) {
                break;
            }
            let task = shared.task.load(Ordering::Relaxed);
            let closure = shared.closure.load(Ordering::Relaxed);
            // SAFETY: a claimed piece keeps the job alive, so `task` is the pointer that `run` stored for it; the
            // rest is the promise of `run`'s caller.
            unsafe {
                std::mem::transmute::<*mut c_void, Task>(task)(closure, (ticket & ((1 << BITS) - 1)) as usize)
            };
            shared.done.fetch_add(1, Ordering::Release);
        }
    }
}

fn work(shared: &Shared, me: usize) {
    loop {
        let mut spins = 0;
        while !has_work(shared, Ordering::Acquire) {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let mut guard = shared.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.sleepers.fetch_add(1, Ordering::SeqCst);
            while !has_work(shared, Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
                guard = shared.wake.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            shared.sleepers.fetch_sub(1, Ordering::SeqCst);
            spins = 0;
        }
        take_pieces(shared, me);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker only ends by returning; a panic inside a task aborts at the C boundary.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn count_up(closure: *mut c_void, index: usize) {
        // SAFETY: the tests pass a vector of counters that is long enough.
        unsafe { (&*closure.cast::<Vec<AtomicUsize>>())[index].fetch_add(1, Ordering::Relaxed) };
    }

    fn run_jobs(pool: &Pool, jobs: usize, count: usize) {
        let mut seen: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..jobs {
            // SAFETY: `count_up` only touches the counters.
            unsafe { pool.run(count_up, (&raw mut seen).cast(), count) };
        }
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == jobs));
    }

    #[test]
    fn every_piece_runs_once_per_job() {
        for threads in [0, 1, 2, 4] {
            let pool = Pool::new(threads).unwrap();
            for count in [0, 1, 2, 3, 17] {
                run_jobs(&pool, 500, count);
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = Pool::new(3).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            run_jobs(&pool, 10, 8);
        }
    }
}
