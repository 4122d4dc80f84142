//! The binary interface between a compiled model and its host.
//!
//! ```c
//! int NAME_run(const void *const *inputs, void *const *outputs, void *arena);
//! int NAME_run_parallel(const void *const *inputs, void *const *outputs, void *arena,
//!                       NAME_parallel_for parallel_for, void *context);
//! ```
//!
//! Of a model whose read-only data lies outside of the program both have one argument more, behind `arena`: `const void *weights`,
//! the file in memory. Of a model with open dimensions both have one argument more, behind that: `NAME_sizes *sizes`, an `int64_t` for each
//! open dimension.

use core::ffi::c_void;

/// Raised whenever the interface changes.
pub const ABI_VERSION: u32 = 1;

/// One piece of work: `task(closure, index)`.
pub type Task = unsafe extern "C" fn(closure: *mut c_void, index: usize);

/// A host's fork-join: calls `task(closure, i)` for every `i` below `count`, in any order on any threads, and
/// returns when all calls have returned.
pub type ParallelFor =
    unsafe extern "C" fn(context: *mut c_void, task: Task, closure: *mut c_void, count: usize);

/// `NAME_run`.
pub type Run = unsafe extern "C" fn(*const *const c_void, *const *mut c_void, *mut c_void) -> i32;

/// `NAME_run_parallel`; without a `parallel_for` everything runs on the calling thread.
pub type RunParallel = unsafe extern "C" fn(
    *const *const c_void,
    *const *mut c_void,
    *mut c_void,
    Option<ParallelFor>,
    *mut c_void,
) -> i32;

/// `NAME_run_parallel` of a model with open dimensions: one number for each, in the order of the header's.
pub type RunParallelOpen = unsafe extern "C" fn(
    *const *const c_void,
    *const *mut c_void,
    *mut c_void,
    *mut i64,
    Option<ParallelFor>,
    *mut c_void,
) -> i32;

/// What every kernel of a model gets besides its range. Code finds its words by [`frame`].
#[repr(C)]
pub struct Frame {
    /// The caller's arena.
    pub arena: *mut c_void,
    /// The model's read-only data.
    pub weights: *const c_void,
    /// The caller's list of inputs.
    pub inputs: *const *const c_void,
    /// The caller's list of outputs.
    pub outputs: *const *mut c_void,
    /// The run's status so far, as a number of [`Status`](crate::status::Status): kernels that meet an index outside its
    /// axis store it, from any thread.
    pub status: i64,
    /// For kernels that share a function: where the operands of this one lie, in bytes from the start of arena or
    /// read-only data.
    pub places: *const i64,
    /// Of models with open dimensions: the row of sizes of this kernel.
    pub sizes: *const i64,
}

/// The words of a [`Frame`] as emitted code reads them: bytes from its start, on machines whose words have 8 bytes.
pub mod frame {
    /// Bytes of a word, in the frame and in the lists of inputs and outputs.
    pub const WORD: i32 = 8;
    /// [`Frame::arena`](super::Frame::arena).
    pub const ARENA: i32 = 0;
    /// [`Frame::weights`](super::Frame::weights).
    pub const WEIGHTS: i32 = WORD;
    /// [`Frame::inputs`](super::Frame::inputs).
    pub const INPUTS: i32 = 2 * WORD;
    /// [`Frame::outputs`](super::Frame::outputs).
    pub const OUTPUTS: i32 = 3 * WORD;
    /// [`Frame::status`](super::Frame::status).
    pub const STATUS: i32 = 4 * WORD;
    /// [`Frame::places`](super::Frame::places).
    pub const PLACES: i32 = 5 * WORD;
    /// [`Frame::sizes`](super::Frame::sizes).
    pub const SIZES: i32 = 6 * WORD;
    /// Words of a frame.
    pub const WORDS: u32 = 7;
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(offset_of!(Frame, arena) == frame::ARENA as usize);
    assert!(offset_of!(Frame, weights) == frame::WEIGHTS as usize);
    assert!(offset_of!(Frame, inputs) == frame::INPUTS as usize);
    assert!(offset_of!(Frame, outputs) == frame::OUTPUTS as usize);
    assert!(offset_of!(Frame, status) == frame::STATUS as usize);
    assert!(offset_of!(Frame, places) == frame::PLACES as usize);
    assert!(offset_of!(Frame, sizes) == frame::SIZES as usize);
    assert!(size_of::<Frame>() == (frame::WORD as usize) * frame::WORDS as usize);
};
