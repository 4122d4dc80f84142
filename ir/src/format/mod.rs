//! Weight layouts: drawing, encoding, decoding, verifying.

pub mod bcsr;
pub mod packed;
mod slices;
