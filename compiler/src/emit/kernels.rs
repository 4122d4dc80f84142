//! Kernels in memory, and how one is called.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_ir::Dim;
use kiln_runtime::abi::Frame;
use kiln_runtime::pool::Pool;
use kiln_targets::call::Kernel;

/// One kernel of a [`Model`](super::jit::Model), for profiles.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct KernelInfo {
    /// Its name in the plan.
    pub name: String,
    /// Size of its code.
    pub code_bytes: usize,
    /// What it reads by indices that arrive at run time, in words, and the node that does.
    pub(super) gathers: Vec<String>,
    pub(super) node: String,
    /// Of a function that others share: where this kernel's operands lie.
    pub(super) places: Vec<i64>,
    pub(super) function: *const u8,
    pub(super) steps: Dim,
    /// Steps that a thread takes at a time.
    pub(super) grain: Option<Dim>,
    /// Where its row begins in the table of sizes.
    pub(super) row: usize,
}

impl KernelInfo {
    /// Runs it completely, that is so many steps, in parts of so many where threads could share it; whether it came to the end before
    /// somebody asked it to stop. The parts are the same for any number of threads.
    ///
    /// # Safety
    ///
    /// The frame's pointers are to the memory of a run of this kernel's model, its sizes to this kernel's row.
    pub(super) unsafe fn call(
        &self,
        frame: &mut Frame,
        (steps, grain): (i64, Option<i64>),
        pool: Option<&Pool>,
        stop: Option<&AtomicBool>,
    ) -> bool {
        frame.places = self.places.as_ptr();
        // SAFETY: kernels have this signature and convention.
        let function = unsafe { std::mem::transmute::<*const u8, Kernel<Frame>>(self.function) };
        let stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if stopped() {
            return false;
        }
        let grain = grain.filter(|_| pool.is_some() || stop.is_some());
        // Who may be stopped looks for that more often than threads take new work.
        let grain =
            grain.map(|grain| if stop.is_some() { grain.min(steps / MOST_PARTS).max(1) } else { grain });
        let grain = grain.filter(|grain| *grain < steps);
        let Some(grain) = grain else {
            // SAFETY: the caller's promise.
            unsafe { function(frame, 0, steps) };
            return true;
        };
        let parts = Parts { function, frame, steps, grain, stop };
        let count = ((steps + grain - 1) / grain) as usize;
        let closure = std::ptr::from_ref(&parts).cast_mut().cast();
        match pool {
            // SAFETY: parts of a kernel may run at once, they live through the call, and kernels do not unwind.
            Some(pool) => unsafe { pool.run(part, closure, count) },
            // SAFETY: the same, one after the other.
            None => (0..count).for_each(|i| unsafe { part(closure, i) }),
        }
        !stopped()
    }
}

/// Parts of a kernel that may be stopped between any two.
const MOST_PARTS: i64 = 64;

/// A kernel in parts.
struct Parts<'a> {
    function: Kernel<Frame>,
    frame: *mut Frame,
    steps: i64,
    grain: i64,
    stop: Option<&'a AtomicBool>,
}

/// Runs part `i`.
///
/// # Safety
///
/// `closure` points to [`Parts`] whose frame is that of a run.
unsafe extern "C" fn part(closure: *mut c_void, i: usize) {
    // SAFETY: the caller's promise.
    let parts = unsafe { &*closure.cast::<Parts<'_>>() };
    if parts.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        return;
    }
    let begin = i as i64 * parts.grain;
    // SAFETY: the caller's promise.
    unsafe { (parts.function)(parts.frame, begin, parts.steps.min(begin + parts.grain)) };
}
