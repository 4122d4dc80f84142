//! Descriptions of machines: plain data that schedules are computed from.

use target_lexicon::Triple;

use crate::order::Order;
use crate::unwind::CallFrameInstruction;

/// A set of features with a name, and the processors that have at least these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// As `--cpu` names it.
    pub name: &'static str,
    /// As `--features` names them.
    pub features: &'static [&'static str],
    /// Processors known by name.
    pub processors: &'static [&'static str],
}

/// Something that a processor may have and code may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As `--features` names it.
    pub name: &'static str,
    /// Cranelift's flag; empty where there is none.
    pub flag: &'static str,
    /// Features without which it is of no use; they come earlier in the architecture's list.
    pub needs: &'static [&'static str],
}

/// How a tile gets the elements of lhs into all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LhsAccess {
    /// One broadcast load per element, several columns of vectors per row (x86).
    Broadcast,
    /// A vector of elements along depth per row, multiplied lane by lane (AArch64 `fmla` by element).
    ByLane,
}

/// Code that asks the processor for its features.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// A leaf function of SystemV convention without relocations that runs on every machine of the architecture:
    /// `fn(words: *mut u32)` stores the answer. [`Target::required`] says what the answer must hold.
    pub code: Vec<u8>,
    /// How many words it stores.
    pub words: usize,
    /// How its caller is found: it leaves the stack alone.
    pub rules: Vec<(u32, CallFrameInstruction)>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// For the object and Cranelift.
    pub triple: Triple,
    /// The name of the level that the vectors are of: `sse2`, `avx`, `avx2`, `avx512`, `neon`, `dotprod`, `fhm`, `i8mm`
    /// or `armv8.6`.
    pub level: &'static str,
    /// Code for it is text for a C compiler: see [`c`](mod@crate::c).
    pub text: bool,
    /// The processor features that the code needs, as `--features` names them, in order of introduction.
    pub features: Vec<&'static str>,
    /// Cranelift ISA flags to enable: `has_avx` and so on, always complete (no presets).
    pub isa_flags: Vec<&'static str>,
    /// Fused multiply-add of vectors in hardware. Without it products and sums are rounded separately.
    pub fma: bool,
    /// Rounding to integers is an instruction.
    pub rounds: bool,
    /// Conversions between f16 and f32 are instructions.
    pub halves: bool,
    /// Products of f16 are added to f32 by an instruction, without being rounded in between.
    pub multiplies_halves: bool,
    /// Bytes of 128 bits are shuffled by an instruction.
    pub shuffles_bytes: bool,
    /// Elements of f32 among which each lane picks one by its number, by an instruction; 0 where there is none.
    pub picks: usize,
    /// Whether products of bytes are added two by two to sums of 16 bits, which saturate, by an instruction.
    pub adds_products_of_bytes: bool,
    /// Whether every other byte of four becomes a word by an instruction, and words are multiplied by scalars.
    pub crosses_bytes: bool,
    /// Words of a whole register are multiplied and added to the lanes of two registers by an instruction for each.
    pub multiplies_long: bool,
    /// Bytes are multiplied that both have a sign, and none that have none by such.
    pub multiplies_signed: bool,
    /// Products of four bytes with four others are added to a lane by one instruction.
    pub dot4: bool,
    /// Products of eight bytes of each of two rows with those of two columns are added to four lanes by one instruction.
    pub dot8: bool,
    /// The same as [`Target::dot4`] of bytes that all have signs, where [`Target::dot4`] is not there.
    pub signed_dot4: bool,
    /// Minimum and maximum are a comparison and a choice, whose second operand wins where one is NaN, instead of NaN.
    pub extremes_choose: bool,
    /// Comparisons of vectors read operands in memory that need not be aligned.
    pub compares_unaligned: bool,
    /// Cores start instructions in the order of the text: where operands are missing, what follows waits too.
    pub in_order: bool,
    /// Whether [`encode`](crate::encode::encode) makes code for it.
    pub encoder: bool,
    /// Whether Cranelift writes COFF objects for it.
    pub coff_objects: bool,
    /// Bytes of a vector register as the vector builder uses it.
    pub vector_bytes: usize,
    /// Number of vector registers.
    pub vector_registers: usize,
    /// How tiles read lhs.
    pub lhs_access: LhsAccess,
    /// First-level data cache of a core.
    pub l1d_bytes: usize,
    /// Second-level cache of a core.
    pub l2_bytes: usize,
    /// Columns of the panels that weights are packed in, where machines of several levels share them; else a panel is as
    /// wide as a tile.
    pub shared_panel: Option<u32>,
    /// f32 tiles `(mr, vectors of columns)` in order of preference, from measurements.
    pub f32_tiles: &'static [(u32, u32)],
    /// Further ones where the columns are floats of 16 bits: a vector that is converted serves more rows.
    pub short_tiles: &'static [(u32, u32)],
    /// Code is small rather than straight: loops are not unrolled, and tiles have few rows. So it is for machines without an
    /// operating system, whose memory for code is counted in kilobytes.
    pub frugal: bool,
    /// Bytes of code come before time: no minimal filtering, whose transforms are much code, and kernels are listed in a table.
    pub least_code: bool,
    /// Steps of depth unrolled in tiles.
    pub tile_unroll: u32,
    /// Whether the vector builder can ask for cache lines ahead of their use.
    pub prefetches: bool,
    /// Alignment of the arena and of weights.
    pub align: usize,
}

impl Target {
    /// f32 lanes of a vector register.
    pub fn lanes(&self) -> usize {
        self.vector_bytes / 4
    }

    /// Whether bytes are multiplied four at a time in tiles.
    pub fn multiplies_fours(&self) -> bool {
        self.dot4 || self.signed_dot4
    }

    /// Whether weights of so many bits are multiplied by digits of a byte with a sign by an instruction, exactly: of all such bytes
    /// four at a time, or of less than half of them, which are bytes with a sign too and whose products fit 16 bits.
    pub fn multiplies_digits(&self, bits: usize) -> bool {
        let short = bits <= 4 && (self.signed_dot4 || self.adds_products_of_bytes);
        self.encoder && (self.dot4 || short)
    }

    /// Whether numbers that callers give and get are turned on the way to and from arena and read-only data, whose elements have
    /// their low byte first on every machine.
    pub fn turns_elements(&self) -> bool {
        Order::of(&self.triple) == Order::HighFirst
    }

    /// Whether Cranelift can write object files for it: some of its relocations may be missing in COFF.
    pub fn has_objects(&self) -> bool {
        self.coff_objects || self.triple.binary_format != target_lexicon::BinaryFormat::Coff
    }
}
