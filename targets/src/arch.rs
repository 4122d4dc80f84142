//! What a folder says of its architecture.

use kiln_ir::Result;
use target_lexicon::{Architecture, Triple};

use crate::line::Line;
use crate::simd::{Program, R};
use crate::target::{Feature, Level, Probe, Target};
use crate::unwind::{CallFrameInstruction, Encoded};

/// An architecture. What it cannot do keeps its default.
pub(crate) trait Arch {
    /// As triples begin.
    const NAME: &'static str;
    /// The least demanding first, which every such machine has.
    const LEVELS: &'static [Level];
    /// The levels of an artefact for machines that nobody has named.
    const PORTABLE: &'static [&'static str] = &["baseline"];
    /// Bytes from the start of what Linux gives a signal's handler (`ucontext_t`) to the address at which the thread goes on.
    const PROGRAM_COUNTER: Option<usize> = None;
    /// Processors, of those that [`Arch::LEVELS`] names, that start instructions in the order of the text.
    const IN_ORDER: &'static [&'static str] = &[];
    /// Every feature, in order of introduction.
    const FEATURES: &'static [Feature];

    /// Whether it is that of a triple.
    fn is(architecture: Architecture) -> bool;
    /// The features of the machine that this runs on; none when it is another architecture.
    fn detect() -> Vec<&'static str>;
    /// The description of a processor with these features.
    fn describe(triple: Triple, features: &[&'static str]) -> Target;

    /// How code asks for features; `None` where only the operating system can tell.
    fn probe() -> Result<Option<Probe>> {
        Ok(None)
    }
    /// The bits that must be set in each word of the probe's answer for code that uses these features.
    fn required(_features: &[&str]) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }
    /// A program's code by an encoder of our own, where [`Target::encoder`] says that there is one.
    fn encode(_target: &Target, _program: &impl Program) -> Option<R<Encoded>> {
        None
    }
    /// Whether that encoder would make code of the program.
    fn fits(_target: &Target, _program: &impl Program) -> Option<R> {
        None
    }
    /// Where a function by Cranelift has left its frame before it returns, which Cranelift does not say: rules that hold behind so
    /// many bytes of it.
    fn returns(_code: &[u8]) -> Vec<(u32, CallFrameInstruction)> {
        Vec::new()
    }
    /// Bytes of stack below that at a function's call, which is a multiple of 16, that the function takes at most, calls of others
    /// left out. `None` where its code does not show that.
    fn stack_bytes(_code: &[u8]) -> Option<u32> {
        None
    }
    /// The text of a function's bytes, where there is a decoder.
    fn disassemble(_code: &[u8]) -> Option<Vec<Line>> {
        None
    }
}

/// Something that is done for whichever architecture it is.
pub(crate) trait Visit {
    /// What comes of it.
    type Out;
    /// For that one.
    fn visit<A: Arch>(self) -> Self::Out;
}
