//! Independent parts of work on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `work` gives for each of `count` parts, in order, whatever the number of threads.
pub(crate) fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let run = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            let one = work(i);
            found.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(one);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_order() {
        for threads in [1, 2, 5] {
            assert_eq!(super::each(100, threads, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(super::each(0, 3, |i| i).is_empty());
    }
}
