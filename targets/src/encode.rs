//! Machine code of vector kernels by an encoder of our own.

use crate::Target;
use crate::simd::{R, Simd};
use crate::x86_64::encoder::Encoder;

/// Something that any vector builder can emit.
pub trait Program {
    /// Emits the body of `fn(frame, begin, end)`.
    fn emit<S: Simd>(&self, s: &mut S) -> R;
}

/// A leaf function of SystemV convention, to be placed at a multiple of 64 bytes and free of relocations; `None`
/// where the target's vectors are Cranelift's.
pub fn encode(target: &Target, program: &impl Program) -> R<Option<Vec<u8>>> {
    let Some(mut encoder) = Encoder::new(target) else { return Ok(None) };
    program.emit(&mut encoder)?;
    encoder.finish().map(Some)
}
