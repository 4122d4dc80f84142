//! AArch64: Neon, which every such processor has.

pub(crate) mod disassemble;
pub(crate) mod encoder;
pub(crate) mod isa;
mod stack;

#[cfg(test)]
mod assembler_tests;

use gimli::AArch64;
use target_lexicon::{Architecture, Triple};

use crate::arch::Arch;
use crate::line::Line;
use crate::simd::{Program, R};
use crate::target::{Feature, Level, LhsAccess, Target};
use crate::unwind::{CallFrameInstruction, Encoded};
use encoder::Encoder;

/// Features in the order in which they were introduced.
const FEATURES: &[Feature] = &[
    Feature { name: "neon", flag: "", needs: &[] },
    Feature { name: "dotprod", flag: "has_dotprod", needs: &["neon"] },
    Feature { name: "fhm", flag: "", needs: &["neon"] },
    Feature { name: "i8mm", flag: "has_i8mm", needs: &["neon"] },
];

/// The levels and the processors known by name.
const LEVELS: &[Level] = &[
    Level {
        name: "neon",
        features: &["neon"],
        processors: &["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a73"],
    },
    Level {
        name: "dotprod",
        features: &["neon", "dotprod"],
        processors: &[
            "cortex-a55",
            "cortex-a75",
            "cortex-a76",
            "cortex-a77",
            "cortex-a78",
            "cortex-x1",
            "neoverse-n1",
        ],
    },
    Level { name: "fhm", features: &["neon", "dotprod", "fhm"], processors: &["apple-m1"] },
    Level { name: "i8mm", features: &["neon", "dotprod", "i8mm"], processors: &[] },
    Level {
        name: "armv8.6",
        features: &["neon", "dotprod", "fhm", "i8mm"],
        processors: &["cortex-a510", "cortex-a710", "neoverse-n2", "neoverse-v1", "neoverse-v2", "apple-m2"],
    },
];

/// The small cores.
const IN_ORDER: &[&str] = &["cortex-a35", "cortex-a53", "cortex-a55", "cortex-a510"];

/// 8 rows by lane and 2 vectors of columns: 16 accumulators, 8 vectors of lhs and 2 of rhs leave 6 of 32 registers for
/// the constants of epilogues. 8 x 3 would need 35. 6 x 4 is all registers, and loads the least for its multiply-adds.
const TILES: &[(u32, u32)] = &[(8, 2), (6, 4), (4, 4)];

/// See [`Arch`]. The identification registers belong to the system: reading one is allowed to programs where Linux
/// emulates it, and nowhere else. So there is no probe.
pub(crate) struct Aarch64;

impl Arch for Aarch64 {
    // Behind masks of 128 bytes, aligned to 16: the address of a fault, 31 registers and the stack pointer before.
    const PROGRAM_COUNTER: Option<usize> = Some(176 + 33 * 8);
    const NAME: &'static str = "aarch64";
    const LEVELS: &'static [Level] = LEVELS;
    const IN_ORDER: &'static [&'static str] = IN_ORDER;
    const FEATURES: &'static [Feature] = FEATURES;

    fn is(architecture: Architecture) -> bool {
        matches!(architecture, Architecture::Aarch64(_))
    }

    fn detect() -> Vec<&'static str> {
        detect()
    }

    fn describe(triple: Triple, features: &[&'static str]) -> Target {
        describe(triple, features)
    }

    fn returns(code: &[u8]) -> Vec<(u32, CallFrameInstruction)> {
        returns(code)
    }

    fn stack_bytes(code: &[u8]) -> Option<u32> {
        stack::bytes(code)
    }

    fn encode(target: &Target, program: &impl Program) -> Option<R<Encoded>> {
        Some(encoded(target, program))
    }

    fn fits(target: &Target, program: &impl Program) -> Option<R> {
        let mut encoder = Encoder::new(target);
        Some(program.emit(&mut encoder).and_then(|()| encoder.finish()).map(drop))
    }

    fn disassemble(code: &[u8]) -> Option<Vec<Line>> {
        disassemble::lines(code)
    }
}

/// The program's code: a second time with constants in the registers that it leaves over.
fn encoded(target: &Target, program: &impl Program) -> R<Encoded> {
    let mut first = Encoder::new(target);
    program.emit(&mut first)?;
    let mut encoder = first.again(target);
    program.emit(&mut encoder)?;
    encoder.finish()
}

/// Frames of Cranelift's, `stp x29, x30, [sp, #-16]!; mov x29, sp`, are left by `ldp x29, x30, [sp], #16; ret`.
fn returns(code: &[u8]) -> Vec<(u32, CallFrameInstruction)> {
    use CallFrameInstruction as Rule;
    const STP: u32 = 0xa9bf_7bfd;
    const RET: u32 = 0xd65f_03c0;
    let words: Vec<u32> =
        code.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    if words.first() != Some(&STP) {
        return Vec::new();
    }
    let (frame, link, stack) = (AArch64::X29, AArch64::X30, AArch64::SP);
    let mut rules = Vec::new();
    for (i, _) in words.iter().enumerate().filter(|(_, word)| **word == RET) {
        let (at, behind) = (4 * i as u32, 4 * i as u32 + 4);
        rules.extend([(at, Rule::Cfa(stack, 0)), (at, Rule::Restore(frame)), (at, Rule::Restore(link))]);
        if i + 1 < words.len() {
            let again = [Rule::Cfa(frame, 16), Rule::Offset(frame, -16), Rule::Offset(link, -8)];
            rules.extend(again.map(|rule| (behind, rule)));
        }
    }
    rules
}

/// The features of the machine that this runs on; none when it is another architecture.
fn detect() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "aarch64")]
    {
        found.push("neon");
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            found.push("dotprod");
        }
        if std::arch::is_aarch64_feature_detected!("fhm") {
            found.push("fhm");
        }
        if std::arch::is_aarch64_feature_detected!("i8mm") {
            found.push("i8mm");
        }
    }
    found.sort_by_key(|f| FEATURES.iter().position(|x| x.name == *f));
    found
}

/// The description of a processor with these features; Neon always counts.
fn describe(triple: Triple, features: &[&'static str]) -> Target {
    let has = |name: &str| name == "neon" || features.contains(&name);
    let level = LEVELS.iter().rev().find(|l| l.features.iter().all(|f| has(f))).map_or("neon", |l| l.name);
    let kept: Vec<_> = FEATURES.iter().filter(|f| has(f.name)).collect();
    Target {
        triple,
        level,
        text: false,
        features: kept.iter().map(|f| f.name).collect(),
        isa_flags: kept.iter().map(|f| f.flag).filter(|f| !f.is_empty()).collect(),
        fma: true,
        rounds: true,
        halves: true,
        multiplies_halves: has("fhm"),
        dot4: has("i8mm"),
        dot8: has("i8mm"),
        multiplies_long: true,
        multiplies_signed: !has("i8mm"),
        signed_dot4: has("dotprod") && !has("i8mm"),
        shuffles_bytes: true,
        picks: 0,
        adds_products_of_bytes: false,
        crosses_bytes: false,
        extremes_choose: false,
        compares_unaligned: true,
        in_order: false,
        encoder: true,
        coff_objects: false,
        vector_bytes: 16,
        vector_registers: 32,
        lhs_access: LhsAccess::ByLane,
        l1d_bytes: 32 << 10,
        l2_bytes: 512 << 10,
        shared_panel: None,
        f32_tiles: TILES,
        frugal: false,
        least_code: false,
        short_tiles: &[],
        tile_unroll: 8,
        prefetches: false,
        align: 64,
    }
}
