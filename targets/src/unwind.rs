//! How debuggers and profilers find the caller of a function by our own encoders, from each of its instructions.
//!
//! Sources: *DWARF Debugging Information Format 5*, section 6.4; *x64 exception handling*, Microsoft Learn.

pub use gimli::write::CallFrameInstruction;

/// A function's code, and how its caller is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// A leaf that lies at a multiple of 64 bytes and refers to nothing outside.
    pub code: Vec<u8>,
    /// See there.
    pub unwind: Unwind,
}

/// How a function's caller is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Unwind {
    /// Rules, and the bytes of code behind which each holds. What holds at the entry is said for all functions of the
    /// architecture: the return address is where a call leaves it.
    Dwarf(Vec<(u32, CallFrameInstruction)>),
    /// `UNWIND_INFO`, of version 1.
    Windows(Vec<u8>),
}
