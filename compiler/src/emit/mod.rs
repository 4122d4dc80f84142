//! What becomes of a plan: an object file with its archive, header and report, or code in memory.

pub mod archive;
pub mod hash;
pub mod header;
mod host;
pub mod jit;
pub mod leaf;
pub mod object;
mod ports;
pub mod report;
mod scratch;
pub mod staging;
