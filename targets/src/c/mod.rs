//! C99 as a machine: the vector builder writes text, for whatever has a C compiler.
//!
//! A register of the builder is a variable of four lanes. Where the compiler has vectors of 128 bits it is one; elsewhere it
//! is a structure of four words, which compilers take apart, so that a tile of one vector is four sums in registers of a
//! machine that has no vectors. What an operation means stands once, in a small inline function ([`helpers`]); a file
//! has those that its kernels call.
//!
//! Elements in arena and read-only data have their low byte first on every machine, as everything that writes or reads them at
//! compile time has them: kernels look at the same memory as bytes and as words (products of bytes, tables, blocks of weights),
//! and so mean the same everywhere. Machines that store the high byte first turn them as they are loaded and stored. Words of the
//! frame and of what it points to are numbers of the machine ([`Simd::load_ptr`](crate::simd::Simd::load_ptr)).

mod builder;
mod helper;
pub mod helpers;
mod lanes;
mod memory;
mod statements;

use std::str::FromStr;

use kiln_ir::{Error, Result};
use target_lexicon::{Architecture, BinaryFormat, Triple};

pub use statements::Text;

use crate::order::Order;
use crate::simd::{Program, R};
use crate::target::{LhsAccess, Target};

/// The name of the level: what `--cpu` would be.
pub const LEVEL: &str = "c";

/// Compilers that have vectors: those of SSE2's tiles, which Neon and others hold as well.
const TILES: &[(u32, u32)] = &[(4, 2), (6, 1), (4, 1), (2, 1)];
/// Compilers that have vectors, where code is small.
const SHORT_TILES: &[(u32, u32)] = &[(2, 2), (2, 1), (1, 1)];
/// Machines of 13 general registers without vectors: two rows of four sums.
const SMALL_TILES: &[(u32, u32)] = &[(2, 1), (1, 1)];

/// The text of a program. Registers have no end: nothing is refused for want of them.
pub fn text(target: &Target, program: &impl Program) -> R<Text> {
    let mut builder = statements::Builder::new(target);
    program.emit(&mut builder)?;
    Ok(builder.finish())
}

/// The feature of C that is straight and unrolled, with minimal filtering, rather than small.
pub const SPEED: &str = "speed";

/// C for a machine: its triple (empty or `host`: this one) tells how many sums its registers hold, and need not be one that
/// objects are made for. Its code is small.
///
/// # Errors
///
/// *Invalid* for a triple that nobody knows.
pub fn target(triple: &str) -> Result<Target> {
    described(triple, false)
}

/// The same with the feature [`SPEED`], which changes what compilers with vectors are given.
///
/// # Errors
///
/// As [`target`].
pub fn fast_target(triple: &str) -> Result<Target> {
    described(triple, true)
}

fn described(triple: &str, fast: bool) -> Result<Target> {
    let mut triple = match triple {
        "" | "host" => crate::host(),
        text => Triple::from_str(text)
            .map_err(|e| Error::invalid(format!("target '{text}' is not known: {e}")))?,
    };
    if triple.binary_format == BinaryFormat::Unknown {
        triple.binary_format = BinaryFormat::Elf;
    }
    // A vector is loaded as it lies, which is not for machines that turn what they load.
    let vectors =
        matches!(triple.architecture, Architecture::X86_64 | Architecture::Aarch64(_) | Architecture::Wasm32)
            && Order::of(&triple) == Order::LowFirst;
    let fast = fast && vectors;
    Ok(Target {
        triple,
        level: LEVEL,
        text: true,
        features: if fast { vec![SPEED] } else { Vec::new() },
        isa_flags: Vec::new(),
        fma: false,
        rounds: false,
        halves: false,
        multiplies_halves: false,
        dot4: false,
        dot8: false,
        multiplies_long: false,
        multiplies_signed: false,
        signed_dot4: false,
        shuffles_bytes: false,
        picks: 0,
        adds_products_of_bytes: false,
        crosses_bytes: !vectors,
        extremes_choose: true,
        compares_unaligned: true,
        in_order: false,
        encoder: false,
        coff_objects: false,
        vector_bytes: 16,
        // Few, where code is small: windows make few results at a time.
        vector_registers: if fast { 16 } else { 5 },
        lhs_access: LhsAccess::Broadcast,
        l1d_bytes: 32 << 10,
        l2_bytes: if vectors { 512 << 10 } else { 32 << 10 },
        shared_panel: None,
        f32_tiles: match (vectors, fast) {
            (true, true) => TILES,
            (true, false) => SHORT_TILES,
            (false, _) => SMALL_TILES,
        },
        frugal: !fast,
        least_code: vectors && !fast,
        short_tiles: &[],
        tile_unroll: 4,
        prefetches: false,
        align: if vectors { 64 } else { 16 },
    })
}
