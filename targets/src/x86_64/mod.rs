//! x86-64: levels from SSE2, which every such processor has, to AVX-512.

pub(crate) mod disassemble;
pub(crate) mod encoder;
pub(crate) mod probe;
mod stack;

use kiln_ir::Result;
use target_lexicon::{Architecture, Triple};

use crate::arch::Arch;
use crate::line::Line;
use crate::simd::{Program, R};
use crate::target::{Feature, Level, LhsAccess, Probe, Target};
use crate::unwind::{CallFrameInstruction, Encoded};
use encoder::{Encoder, frame};

/// Features in the order in which they were introduced. Vectors of 256 bits are there for their multiply-adds: code
/// with AVX2 and without FMA would need newer machines and gain nothing, and no processor of note has one alone.
pub(crate) const FEATURES: &[Feature] = &[
    Feature { name: "sse3", flag: "has_sse3", needs: &[] },
    Feature { name: "ssse3", flag: "has_ssse3", needs: &["sse3"] },
    Feature { name: "sse4.1", flag: "has_sse41", needs: &["ssse3"] },
    Feature { name: "sse4.2", flag: "has_sse42", needs: &["sse4.1"] },
    Feature { name: "popcnt", flag: "has_popcnt", needs: &[] },
    Feature { name: "avx", flag: "has_avx", needs: &["sse4.2"] },
    Feature { name: "f16c", flag: "", needs: &["avx"] },
    Feature { name: "fma", flag: "has_fma", needs: &["avx"] },
    Feature { name: "avx2", flag: "has_avx2", needs: &["avx", "fma"] },
    Feature { name: "bmi1", flag: "has_bmi1", needs: &[] },
    Feature { name: "bmi2", flag: "has_bmi2", needs: &[] },
    Feature { name: "lzcnt", flag: "has_lzcnt", needs: &[] },
    Feature { name: "avx512f", flag: "has_avx512f", needs: &["avx2"] },
    Feature { name: "avx512dq", flag: "has_avx512dq", needs: &["avx512f"] },
    Feature { name: "avx512bw", flag: "", needs: &["avx512f"] },
    Feature { name: "avx512vl", flag: "has_avx512vl", needs: &["avx512f"] },
    Feature { name: "avx512vbmi", flag: "has_avx512vbmi", needs: &["avx512bw"] },
    Feature { name: "avx512vnni", flag: "", needs: &["avx512bw"] },
    Feature { name: "avxvnni", flag: "", needs: &["avx2"] },
];

const SSE2: &[&str] = &[];
const AVX: &[&str] = &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx"];
const AVX2: &[&str] =
    &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "f16c", "fma", "avx2", "bmi1", "bmi2", "lzcnt"];
const AVX512: &[&str] = &[
    "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "f16c", "fma", "avx2", "bmi1", "bmi2", "lzcnt",
    "avx512f", "avx512dq", "avx512bw", "avx512vl",
];
const AVX512_VNNI: &[&str] = &[
    "sse3",
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "bmi1",
    "bmi2",
    "lzcnt",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512vnni",
];

/// The levels and the processors known by name.
pub(crate) const LEVELS: &[Level] = &[
    Level { name: "sse2", features: SSE2, processors: &["x86-64"] },
    Level { name: "avx", features: AVX, processors: &["sandybridge", "ivybridge"] },
    Level {
        name: "avx2",
        features: AVX2,
        processors: &[
            "haswell",
            "broadwell",
            "skylake",
            "alderlake",
            "znver1",
            "znver2",
            "znver3",
            "x86-64-v3",
        ],
    },
    Level { name: "avx512", features: AVX512, processors: &["skylake-avx512", "x86-64-v4"] },
    Level {
        name: "avx512vnni",
        features: AVX512_VNNI,
        processors: &["cascadelake", "icelake-server", "sapphirerapids", "znver4", "znver5"],
    },
];

// Tiles, `(rows, vectors)`, by `benches/src/bin/tile.rs`; shares are of the peak of multiply-adds at that width. In
// 128 bits: AMD Zen 5, November 2026.

/// Without AVX each product needs a copy of a factor and each element of lhs a shuffle: three instructions per
/// multiply-add, and Zen 5 starts about five per cycle (2x24 77 %, 6x8 71 %, 3x12 71 %, 4x8 69 %; 1x32 79 %).
const TILES_SSE2: &[(u32, u32)] = &[(2, 6), (6, 2)];
/// Without FMA: 12 accumulators, the smaller side, a passing operand and a product are 16 registers (6x8 95 %, 2x24
/// 95 %, 3x12 95 %, 4x8 92 %, 2x16 91 %).
const TILES_AVX: &[(u32, u32)] = &[(6, 2), (2, 6)];
/// With FMA (6x8, 4x12 and 3x16 100 %, 5x8 95 %, 3x12 92 %, 2x16 and 4x8 87 %).
const TILES_128: &[(u32, u32)] = &[(6, 2), (4, 3), (3, 4)];
/// 256-bit tiles: 12 accumulators hide the latency of two multiply-adds per cycle, and the smaller side of the
/// tile stays in registers (each reaches 117 of 118 GFLOP/s on a Zen 4).
const TILES_256: &[(u32, u32)] = &[(6, 2), (4, 3), (3, 4)];
/// Steps of depth unrolled at 512 bits: none. Two dozen multiply-adds hide what a loop costs, and four steps of 14 x 32 do
/// not all come from the cache of decoded operations: where weights come from memory, products of 64 rows run at 233
/// instead of 256 GFLOP/s (Zen 5, November 2026).
const UNROLL_512: u32 = 1;
/// 512-bit tiles, for 32 registers.
const TILES_512: &[(u32, u32)] = &[(14, 2), (9, 3), (6, 4)];

/// A conversion of a vector takes as long as two multiply-adds on a Zen 4; 14 x 2 lose 12 % to them, 28 x 1 half of that.
/// Their rows are broadcast by the multiply-adds themselves at 512 bits, and at 256 by loads, of which there are as many.
const SHORT_TILES_512: &[(u32, u32)] = &[(28, 1)];
const SHORT_TILES_256: &[(u32, u32)] = &[(12, 1)];

/// See [`Arch`].
pub(crate) struct X86_64;

impl Arch for X86_64 {
    // Flags and a link of 8 bytes, a stack's description of 24, and 16 registers before.
    const PROGRAM_COUNTER: Option<usize> = Some(40 + 16 * 8);
    const NAME: &'static str = "x86_64";
    const LEVELS: &'static [Level] = LEVELS;
    const PORTABLE: &'static [&'static str] = &["baseline", "avx2", "avx512"];
    const FEATURES: &'static [Feature] = FEATURES;

    fn is(architecture: Architecture) -> bool {
        architecture == Architecture::X86_64
    }

    fn detect() -> Vec<&'static str> {
        detect()
    }

    fn describe(triple: Triple, features: &[&'static str]) -> Target {
        describe(triple, features)
    }

    fn probe() -> Result<Option<Probe>> {
        Ok(Some(Probe { code: probe::code()?, words: probe::WORDS, rules: probe::rules() }))
    }

    fn required(features: &[&str]) -> Result<Vec<u32>> {
        probe::required(features)
    }

    fn encode(target: &Target, program: &impl Program) -> Option<R<Encoded>> {
        let mut encoder = Encoder::new(target)?;
        Some(program.emit(&mut encoder).and_then(|()| encoder.finish()))
    }

    fn fits(target: &Target, program: &impl Program) -> Option<R> {
        let mut encoder = Encoder::new(target)?.without_code();
        Some(program.emit(&mut encoder).and_then(|()| encoder.frame().map(drop)))
    }

    fn returns(code: &[u8]) -> Vec<(u32, CallFrameInstruction)> {
        frame::returns(code)
    }

    fn stack_bytes(code: &[u8]) -> Option<u32> {
        stack::bytes(code)
    }

    fn disassemble(code: &[u8]) -> Option<Vec<Line>> {
        Some(disassemble::lines(code))
    }
}

/// The features of the machine that this runs on; none when it is another architecture.
pub(crate) fn detect() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! probe {
            ($($name:tt),*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
        }
        probe!(
            "sse3",
            "ssse3",
            "sse4.1",
            "sse4.2",
            "popcnt",
            "avx",
            "f16c",
            "fma",
            "avx2",
            "bmi1",
            "bmi2",
            "lzcnt",
            "avx512f",
            "avx512dq",
            "avx512bw",
            "avx512vl",
            "avx512vbmi",
            "avx512vnni"
        );
        // The standard library has no name for it yet.
        found.extend(probe::avx_vnni().then_some("avxvnni"));
    }
    found.sort_by_key(|f| FEATURES.iter().position(|x| x.name == *f));
    found
}

/// The description of a processor with exactly these features.
pub(crate) fn describe(triple: Triple, features: &[&'static str]) -> Target {
    let has = |name: &str| features.contains(&name);
    let (level, vector_bytes, vector_registers, f32_tiles) = if has("avx512f") && has("avx512dq") {
        (if has("avx512vnni") { "avx512vnni" } else { "avx512" }, 64, 32, TILES_512)
    } else if has("avx2") && has("fma") {
        ("avx2", 32, 16, TILES_256)
    } else if has("avx") {
        ("avx", 16, 16, if has("fma") { TILES_128 } else { TILES_AVX })
    } else {
        ("sse2", 16, 16, TILES_SSE2)
    };
    let flags = FEATURES.iter().filter(|f| has(f.name) && !f.flag.is_empty()).map(|f| f.flag).collect();
    Target {
        triple,
        level,
        text: false,
        features: features.to_vec(),
        isa_flags: flags,
        fma: has("fma") && has("avx"),
        rounds: has("sse4.1"),
        halves: vector_bytes == 64 || has("f16c") && has("avx"),
        multiplies_halves: false,
        shuffles_bytes: has("ssse3"),
        picks: if vector_bytes == 64 { 32 } else { 0 },
        adds_products_of_bytes: has("avx") && (vector_bytes < 64 || has("avx512bw")),
        crosses_bytes: false,
        dot4: match vector_bytes {
            64 => has("avx512vnni"),
            32 => has("avxvnni"),
            _ => false,
        },
        multiplies_long: false,
        multiplies_signed: false,
        signed_dot4: false,
        dot8: false,
        extremes_choose: true,
        compares_unaligned: has("avx"),
        in_order: false,
        encoder: true,
        coff_objects: true,
        vector_bytes,
        vector_registers,
        lhs_access: LhsAccess::Broadcast,
        l1d_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        shared_panel: None,
        f32_tiles,
        frugal: false,
        least_code: false,
        short_tiles: match vector_bytes {
            64 => SHORT_TILES_512,
            32 => SHORT_TILES_256,
            _ => &[],
        },
        tile_unroll: if vector_bytes == 64 { UNROLL_512 } else { 4 },
        prefetches: true,
        align: 64,
    }
}
