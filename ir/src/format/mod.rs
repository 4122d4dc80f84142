//! Weight layouts: drawing, encoding, decoding, verifying.

pub mod packed;
