//! How code of this process calls a kernel.

/// `fn(frame, begin, end)` in the System V convention of the machine that the compiler runs on.
#[cfg(target_arch = "x86_64")]
pub type Kernel<F> = unsafe extern "sysv64" fn(frame: *mut F, begin: i64, end: i64);

/// `fn(frame, begin, end)` in the System V convention of the machine that the compiler runs on, which elsewhere is that
/// of C.
#[cfg(not(target_arch = "x86_64"))]
pub type Kernel<F> = unsafe extern "C" fn(frame: *mut F, begin: i64, end: i64);
