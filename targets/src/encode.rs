//! Machine code for vectors wider than Cranelift's.

use crate::Target;
use crate::simd::{R, Simd};
use crate::x86_64::encoder::{Encoder, Width};

/// Something that any vector builder can emit.
pub trait Program {
    /// Emits the body of `fn(frame, begin, end)`.
    fn emit<S: Simd>(&self, s: &mut S) -> R;
}

/// A leaf function of SystemV convention, to be placed at a multiple of 64 bytes and free of relocations; `None`
/// where the target's vectors are Cranelift's own 128 bits.
pub fn encode(target: &Target, program: &impl Program) -> R<Option<Vec<u8>>> {
    let width = match target.vector_bytes {
        32 => Width::Bits256,
        64 => Width::Bits512,
        _ => return Ok(None),
    };
    let mut encoder = Encoder::new(width);
    program.emit(&mut encoder)?;
    encoder.finish().map(Some)
}
