//! What becomes of a plan: an object file with its archive, header, report and packages, or code in memory.

mod alive;
pub mod archive;
#[cfg(feature = "ndarray")]
pub mod arrays;
pub mod boards;
pub mod c;
pub mod cmake;
mod dimensions;
mod fields;
mod gathers;
pub mod hash;
pub mod header;
mod host;
pub mod html;
pub mod image;
pub mod jit;
mod kernels;
pub mod leaf;
pub mod object;
pub mod pkgconfig;
pub mod ports;
pub mod report;
pub mod runner;
pub mod rust;
mod scratch;
pub mod session;
pub mod shared;
mod shrink;
pub mod staging;
mod steer;
mod unwind;
pub mod views;
