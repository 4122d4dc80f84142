//! What a compiled model may rely on: its binary interface, its status codes and, with the feature `std`, a
//! thread pool. The crate is `no_std` otherwise and allocates nothing.

#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(any(feature = "std", test))]
extern crate std;

pub mod abi;
#[cfg(any(feature = "std", test))]
pub mod pool;
pub mod status;
