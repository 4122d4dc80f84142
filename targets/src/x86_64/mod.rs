//! x86-64: levels from SSE2, which every such processor has, to AVX-512.

pub(crate) mod disassemble;
pub(crate) mod encoder;

use target_lexicon::Triple;

use crate::target::{Level, LhsAccess, Target};

/// Features in the order in which they were introduced: name for `--features`, Cranelift's flag.
const FEATURES: &[(&str, &str)] = &[
    ("sse3", "has_sse3"),
    ("ssse3", "has_ssse3"),
    ("sse4.1", "has_sse41"),
    ("sse4.2", "has_sse42"),
    ("popcnt", "has_popcnt"),
    ("avx", "has_avx"),
    ("fma", "has_fma"),
    ("avx2", "has_avx2"),
    ("bmi1", "has_bmi1"),
    ("bmi2", "has_bmi2"),
    ("lzcnt", "has_lzcnt"),
    ("avx512f", "has_avx512f"),
    ("avx512dq", "has_avx512dq"),
    ("avx512vl", "has_avx512vl"),
];

const SSE2: &[&str] = &[];
const AVX: &[&str] = &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx"];
const AVX2: &[&str] =
    &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "fma", "avx2", "bmi1", "bmi2", "lzcnt"];
const AVX512: &[&str] = &[
    "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "fma", "avx2", "bmi1", "bmi2", "lzcnt", "avx512f",
    "avx512dq", "avx512vl",
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
    Level {
        name: "avx512",
        features: AVX512,
        processors: &["skylake-avx512", "icelake-server", "sapphirerapids", "znver4", "znver5", "x86-64-v4"],
    },
];

/// 128-bit tiles, `(rows, vectors)`: 8 accumulators, 4 vectors of columns and a temporary fit 16 registers even
/// though Cranelift's multiply-add overwrites a factor (2x16 reaches 54 of 59 GFLOP/s on a Zen 4, 4x8 51).
const TILES_128: &[(u32, u32)] = &[(2, 4), (4, 2)];
/// 256-bit tiles: 12 accumulators hide the latency of two multiply-adds per cycle, and the smaller side of the
/// tile stays in registers (each reaches 117 of 118 GFLOP/s on a Zen 4).
const TILES_256: &[(u32, u32)] = &[(6, 2), (4, 3), (3, 4)];
/// 512-bit tiles, for 32 registers.
const TILES_512: &[(u32, u32)] = &[(14, 2), (9, 3), (6, 4)];

/// Every feature name.
pub(crate) fn features() -> Vec<&'static str> {
    FEATURES.iter().map(|f| f.0).collect()
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
            "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "fma", "avx2", "bmi1", "bmi2", "lzcnt",
            "avx512f", "avx512dq", "avx512vl"
        );
    }
    found.sort_by_key(|f| FEATURES.iter().position(|x| x.0 == *f));
    found
}

/// The description of a processor with exactly these features.
pub(crate) fn describe(triple: Triple, features: &[&'static str]) -> Target {
    let has = |name: &str| features.contains(&name);
    let level = LEVELS.iter().rev().find(|l| l.features.iter().all(|f| has(f))).map_or("sse2", |l| l.name);
    let (vector_bytes, vector_registers, f32_tiles) = if has("avx512f") && has("avx512dq") {
        (64, 32, TILES_512)
    } else if has("avx2") && has("fma") {
        (32, 16, TILES_256)
    } else {
        (16, 16, TILES_128)
    };
    let flags = FEATURES.iter().filter(|(name, _)| has(name)).map(|(_, flag)| *flag).collect();
    Target {
        triple,
        level,
        features: features.to_vec(),
        isa_flags: flags,
        fma: has("fma") && has("avx"),
        vector_bytes,
        vector_registers,
        lhs_access: LhsAccess::Broadcast,
        l1d_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        f32_tiles,
        tile_unroll: 4,
        prefetches: vector_bytes > 16,
        align: 64,
    }
}
