//! What a compiled model may rely on.
//!
//! The crate is `no_std` and allocates nothing; the thread pool is behind the `std` feature.

#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(any(feature = "std", test))]
pub mod pool;
