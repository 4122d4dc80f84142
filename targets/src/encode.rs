//! Machine code of vector kernels by an encoder of our own.

use crate::Target;
use crate::simd::{R, Refusal, Simd};
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

/// Whether [`encode`] makes code for a target.
pub fn has_encoder(target: &Target) -> bool {
    Encoder::new(target).is_some()
}

/// Whether [`encode`] would make code of the program, without making it: registers are handed out alike.
pub fn fits(target: &Target, program: &impl Program) -> R {
    let encoder = Encoder::new(target).ok_or_else(|| Refusal::unsupported("a target without an encoder"))?;
    program.emit(&mut encoder.without_code())
}

/// The text of a function's bytes, an instruction a line; `None` where there is no decoder for the target. Names stand
/// for what lies inside the function: `L1` for the targets of branches, `C0` for constants.
pub fn disassemble(target: &Target, code: &[u8]) -> Option<String> {
    let known = target.triple.architecture == target_lexicon::Architecture::X86_64;
    known.then(|| crate::x86_64::disassemble::text(code))
}
