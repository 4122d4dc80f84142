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

/// The text of a function's bytes, an instruction a line; `None` where there is no decoder for the target. Names stand
/// for what lies inside the function: `L1` for the targets of branches, `C0` for constants.
pub fn disassemble(target: &Target, code: &[u8]) -> Option<String> {
    let known = target.triple.architecture == target_lexicon::Architecture::X86_64;
    known.then(|| crate::x86_64::disassemble::text(code))
}
