//! Machine code of vector kernels by an encoder of our own.

use target_lexicon::Triple;

use crate::Target;
use crate::arch::{Arch, Visit};
use crate::architectures::visit;
use crate::line::Line;
pub use crate::simd::Program;
use crate::simd::{R, Refusal};
use crate::unwind::CallFrameInstruction;
pub use crate::unwind::Encoded;

/// A leaf function of SystemV convention, to be placed at a multiple of 64 bytes and free of relocations; `None`
/// where the target's vectors are Cranelift's.
pub fn encode(target: &Target, program: &impl Program) -> R<Option<Encoded>> {
    visit(&target.triple, Encode { target, program }).flatten().transpose()
}

/// Whether [`encode`] would make code of the program, without making it: registers are handed out alike.
pub fn fits(target: &Target, program: &impl Program) -> R {
    let without = || Err(Refusal::unsupported("a target without an encoder"));
    visit(&target.triple, Fits { target, program }).flatten().unwrap_or_else(without)
}

/// The text of a function's bytes, an instruction a line; `None` where there is no decoder for the target. Names stand
/// for what lies inside the function: `L1` for the targets of branches, `C0` for constants.
pub fn disassemble(target: &Target, code: &[u8]) -> Option<Vec<Line>> {
    visit(&target.triple, Disassemble(code)).flatten()
}

/// Where a function by Cranelift has left its frame before it returns: rules that hold behind so many bytes of it.
pub fn returns(triple: &Triple, code: &[u8]) -> Vec<(u32, CallFrameInstruction)> {
    visit(triple, Returns(code)).unwrap_or_default()
}

struct Returns<'a>(&'a [u8]);

impl Visit for Returns<'_> {
    type Out = Vec<(u32, CallFrameInstruction)>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::returns(self.0)
    }
}

/// Bytes of stack below that at a function's call, which is a multiple of 16, that the function takes at most, calls of others
/// left out. `None` where its code does not show that.
pub fn stack_bytes(triple: &Triple, code: &[u8]) -> Option<u32> {
    visit(triple, StackBytes(code)).flatten()
}

struct StackBytes<'a>(&'a [u8]);

impl Visit for StackBytes<'_> {
    type Out = Option<u32>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::stack_bytes(self.0)
    }
}

struct Encode<'a, P> {
    target: &'a Target,
    program: &'a P,
}

impl<P: Program> Visit for Encode<'_, P> {
    type Out = Option<R<Encoded>>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::encode(self.target, self.program)
    }
}

struct Fits<'a, P> {
    target: &'a Target,
    program: &'a P,
}

impl<P: Program> Visit for Fits<'_, P> {
    type Out = Option<R>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::fits(self.target, self.program)
    }
}

struct Disassemble<'a>(&'a [u8]);

impl Visit for Disassemble<'_> {
    type Out = Option<Vec<Line>>;

    fn visit<A: Arch>(self) -> Self::Out {
        A::disassemble(self.0)
    }
}
