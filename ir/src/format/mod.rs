//! Weight layouts: drawing, encoding, decoding, verifying.
