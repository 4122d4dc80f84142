//! Memory: freed weights go back to the system, and when there is no more, the process ends in order.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_compiler::internals::emit::staging;

use super::failure::EXIT_NO;
use super::output;

/// The system's allocator. Where it has no memory, the process removes what is staged, says so and ends with
/// [`EXIT_NO`], instead of being aborted.
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

// SAFETY: every call goes to the system's allocator with the same arguments, and its answer is handed on.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        or_end(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[inline]
fn or_end(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() { end(bytes) } else { block }
}

thread_local! {
    /// Whether this thread is the one that ends the process. Constant, so that asking takes no memory.
    static ENDING_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Memory that is let go when there is no other, so that files can be removed.
static RESERVE: Mutex<Option<Vec<u8>>> = Mutex::new(None);
const RESERVE_BYTES: usize = 1 << 20;

/// Writes a short text without taking memory.
fn say(file: libc::c_int, text: std::fmt::Arguments<'_>) {
    let mut buffer = [0u8; 256];
    let room = buffer.len();
    let mut rest = &mut buffer[..];
    // What is longer is cut off.
    let _ = rest.write_fmt(text);
    let length = room - rest.len();
    // SAFETY: the buffer has `length` bytes.
    unsafe { libc::write(file, buffer.as_ptr().cast(), length as _) };
}

/// Ends the process for want of `bytes`.
#[cold]
fn end(bytes: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    // What follows takes a little memory itself. Without even that, there is no word.
    if !ENDING_HERE.replace(true) {
        if ENDING.swap(true, Ordering::Relaxed) {
            loop {
                // Another thread is about to end the process.
                std::thread::park();
            }
        }
        // A little memory for what follows; the message takes none.
        drop(RESERVE.lock().map(|mut reserve| reserve.take()));
        say(
            libc::STDERR_FILENO,
            format_args!("error: out of memory: {bytes} bytes more are not to be had\n"),
        );
        if output::wants_json() {
            let kind = "\"kind\":\"environment\",\"exit_code\":1,\"errors\":[]";
            let message = format_args!("out of memory: {bytes} bytes more are not to be had");
            say(libc::STDOUT_FILENO, format_args!("{{\"error\":{{{kind},\"message\":\"{message}\"}}}}\n"));
        }
        staging::discard_all();
    }
    // SAFETY: ends the process; nothing of it runs any more.
    unsafe { libc::_exit(i32::from(EXIT_NO)) }
}

/// Sets the allocator up; before other threads start.
pub(super) fn prepare() {
    return_freed_memory();
    if let Ok(mut reserve) = RESERVE.lock() {
        *reserve = Some(Vec::with_capacity(RESERVE_BYTES));
    }
}

/// Blocks of this size and more are mapped one by one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: libc::c_int = 64 << 10;

/// Keeps glibc from raising its threshold for mapped blocks each time one is freed: weights are freed one after the
/// other while their packed forms are made, and blocks of the heap would stay (resnet50: a peak of 359 MB instead of
/// 246 MB).
fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number of the allocator; called before other threads start.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
    }
}
