//! What becomes of a plan: an object file with its archive, header, report and packages, or code in memory.

pub mod archive;
pub mod cmake;
pub mod hash;
pub mod header;
mod host;
pub mod jit;
pub mod leaf;
pub mod object;
pub mod pkgconfig;
mod ports;
pub mod report;
pub mod rust;
mod scratch;
pub mod staging;
