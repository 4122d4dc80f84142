//! Artefacts: what is written to disk.

pub mod archive;
pub mod header;
pub mod report;
pub mod staging;
