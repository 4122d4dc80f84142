//! How code for x86-64 asks the processor for its features: `cpuid`, and `xgetbv` for what the system saves.
//!
//! Both instructions work at every privilege level and under every system, so the code needs neither a library
//! nor a kernel. `cpuid` may trap into a hypervisor, which costs microseconds: callers keep the answer.

use gimli::X86_64;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Instruction, InstructionBlock, MemoryOperand, Register,
};
use kiln_ir::{Error, Result};

use crate::unwind::CallFrameInstruction;

/// Where a word of the answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// `cpuid` leaf 1, ecx.
    Leaf1Ecx,
    /// `cpuid` leaf 7, subleaf 0, ebx.
    Leaf7Ebx,
    /// The same, ecx.
    Leaf7Ecx,
    /// `cpuid` leaf 7, subleaf 1, eax; 0 where there is no such subleaf.
    Leaf7OneEax,
    /// `cpuid` leaf 0x80000001, ecx.
    ExtendedEcx,
    /// XCR0, the register state that the system saves; 0 where it has not turned `xgetbv` on.
    Xcr0,
}

/// Number of words.
pub(crate) const WORDS: usize = 6;

/// xmm and ymm.
const YMM_STATE: u32 = 0x06;
/// Besides these the mask registers, the upper halves of zmm0 to zmm15, and zmm16 to zmm31. A system that turns
/// them on at a thread's first use shows them as off before; the next lower variant is right then too.
const ZMM_STATE: u32 = 0xE6;
/// `cpuid` leaf 1, ecx: `xgetbv` works.
const OSXSAVE: u32 = 1 << 27;

/// Feature, where its bit is, and the state that its instructions need.
const BITS: &[(&str, Word, u32, u32)] = &[
    ("sse3", Word::Leaf1Ecx, 0, 0),
    ("ssse3", Word::Leaf1Ecx, 9, 0),
    ("sse4.1", Word::Leaf1Ecx, 19, 0),
    ("sse4.2", Word::Leaf1Ecx, 20, 0),
    ("popcnt", Word::Leaf1Ecx, 23, 0),
    ("avx", Word::Leaf1Ecx, 28, YMM_STATE),
    ("f16c", Word::Leaf1Ecx, 29, YMM_STATE),
    ("fma", Word::Leaf1Ecx, 12, YMM_STATE),
    ("avx2", Word::Leaf7Ebx, 5, YMM_STATE),
    ("bmi1", Word::Leaf7Ebx, 3, 0),
    ("bmi2", Word::Leaf7Ebx, 8, 0),
    ("lzcnt", Word::ExtendedEcx, 5, 0),
    ("avx512f", Word::Leaf7Ebx, 16, ZMM_STATE),
    ("avx512dq", Word::Leaf7Ebx, 17, ZMM_STATE),
    ("avx512bw", Word::Leaf7Ebx, 30, ZMM_STATE),
    ("avx512vl", Word::Leaf7Ebx, 31, ZMM_STATE),
    ("avx512vbmi", Word::Leaf7Ecx, 1, ZMM_STATE),
    ("avx512vnni", Word::Leaf7Ecx, 11, ZMM_STATE),
    ("avxvnni", Word::Leaf7OneEax, 4, YMM_STATE),
];

/// The bits of each word that must be set for code that uses these features.
pub(crate) fn required(features: &[&str]) -> Result<Vec<u32>> {
    let mut words = vec![0; WORDS];
    for feature in features {
        let (_, word, bit, state) = BITS
            .iter()
            .find(|known| known.0 == *feature)
            .ok_or_else(|| Error::internal(format!("no way to find out about the feature {feature}")))?;
        words[*word as usize] |= 1 << bit;
        words[Word::Xcr0 as usize] |= state;
    }
    Ok(words)
}

/// Whether this machine has the instructions that AVX2's vectors got from AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
pub(crate) fn avx_vnni() -> bool {
    use std::arch::x86_64::__cpuid_count;
    std::arch::is_x86_feature_detected!("avx2")
        && __cpuid_count(7, 0).eax >= 1
        && __cpuid_count(7, 1).eax >> 4 & 1 == 1
}

/// Labels: positions that no instruction has by itself.
const AFTER_LEAF_7: u64 = 1 << 32;
const AFTER_EXTENDED: u64 = 2 << 32;
const AFTER_XGETBV: u64 = 3 << 32;

/// `fn(words: *mut [u32; WORDS])`, a leaf of SystemV convention without relocations. Leaves that the processor
/// does not have read as 0.
pub(crate) fn code() -> Result<Vec<u8>> {
    let internal = |e: &dyn std::fmt::Display| Error::internal(format!("encoding cpuid: {e}"));
    let instructions = instructions().map_err(|e| internal(&e))?;
    let block = InstructionBlock::new(&instructions, 0);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map_err(|e| internal(&e))?;
    Ok(encoded.code_buffer)
}

/// Behind the first instruction the caller's rbx is in r11.
pub(crate) fn rules() -> Vec<(u32, CallFrameInstruction)> {
    vec![(3, CallFrameInstruction::Register(X86_64::RBX, X86_64::R11))]
}

fn instructions() -> Result<Vec<Instruction>, iced_x86::IcedError> {
    use Register::{EAX, EBX, ECX, R8D, R9D, R11, RBX, RDI};
    let word = |word: Word| MemoryOperand::with_base_displ(RDI, 4 * word as i64);
    let set = |register, value: u32| Instruction::with2(Code::Mov_r32_imm32, register, value);
    let keep = |at, register| Instruction::with2(Code::Mov_rm32_r32, word(at), register);
    let copy = |to, from| Instruction::with2(Code::Mov_r32_rm32, to, from);
    let unless = |code, label| Instruction::with_branch(code, label);
    let labelled = |label, mut instruction: Instruction| {
        instruction.set_ip(label);
        instruction
    };
    let cpuid = || Instruction::with(Code::Cpuid);

    // cpuid overwrites eax, ebx, ecx and edx; rbx is the caller's.
    let mut list = vec![Instruction::with2(Code::Mov_rm64_r64, R11, RBX)?];
    for at in [Word::Leaf7Ebx, Word::Leaf7Ecx, Word::Leaf7OneEax, Word::ExtendedEcx, Word::Xcr0] {
        list.push(Instruction::with2(Code::Mov_rm32_imm32, word(at), 0)?);
    }
    // The highest leaf: a processor asked for more answers with something else.
    list.extend([set(EAX, 0)?, set(ECX, 0)?, cpuid(), copy(R8D, EAX)?]);
    list.extend([set(EAX, 1)?, set(ECX, 0)?, cpuid(), keep(Word::Leaf1Ecx, ECX)?, copy(R9D, ECX)?]);
    list.push(Instruction::with2(Code::Cmp_rm32_imm8, R8D, 7)?);
    list.push(unless(Code::Jb_rel8_64, AFTER_LEAF_7)?);
    list.extend([set(EAX, 7)?, set(ECX, 0)?, cpuid()]);
    list.extend([keep(Word::Leaf7Ebx, EBX)?, keep(Word::Leaf7Ecx, ECX)?]);
    // The answer's eax is the highest subleaf.
    list.push(Instruction::with2(Code::Cmp_rm32_imm8, EAX, 1)?);
    list.push(unless(Code::Jb_rel8_64, AFTER_LEAF_7)?);
    list.extend([set(EAX, 7)?, set(ECX, 1)?, cpuid(), keep(Word::Leaf7OneEax, EAX)?]);
    list.push(labelled(AFTER_LEAF_7, set(EAX, 0x8000_0000)?));
    list.extend([set(ECX, 0)?, cpuid()]);
    list.push(Instruction::with2(Code::Cmp_rm32_imm32, EAX, 0x8000_0001_u32)?);
    list.push(unless(Code::Jb_rel8_64, AFTER_EXTENDED)?);
    list.extend([set(EAX, 0x8000_0001)?, set(ECX, 0)?, cpuid(), keep(Word::ExtendedEcx, ECX)?]);
    list.push(labelled(AFTER_EXTENDED, Instruction::with2(Code::Test_rm32_imm32, R9D, OSXSAVE)?));
    list.push(unless(Code::Je_rel8_64, AFTER_XGETBV)?);
    list.extend([set(ECX, 0)?, Instruction::with(Code::Xgetbv), keep(Word::Xcr0, EAX)?]);
    list.push(labelled(AFTER_XGETBV, Instruction::with2(Code::Mov_rm64_r64, RBX, R11)?));
    list.push(Instruction::with(Code::Retnq));
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::{FEATURES, LEVELS, detect};

    #[test]
    fn every_feature_can_be_asked_for() {
        let known: Vec<&str> = BITS.iter().map(|b| b.0).collect();
        assert_eq!(known, FEATURES.iter().map(|f| f.name).collect::<Vec<_>>());
        for level in LEVELS {
            let words = required(level.features).unwrap();
            assert_eq!(words.iter().all(|w| *w == 0), level.features.is_empty(), "{}", level.name);
        }
        let state = |level: usize| required(LEVELS[level].features).unwrap()[Word::Xcr0 as usize];
        assert_eq!([state(0), state(1), state(2), state(3)], [0, YMM_STATE, YMM_STATE, ZMM_STATE]);
        assert!(required(&["neon"]).is_err());
    }

    /// The emitted code and the standard library agree about this machine.
    #[test]
    fn this_machine_answers_as_the_standard_library_does() {
        let words = crate::testing::ask(&code().unwrap(), WORDS);
        assert!(words.iter().any(|w| *w != 0));
        let found: Vec<&str> = FEATURES
            .iter()
            .map(|f| f.name)
            .filter(|f| required(&[f]).unwrap().iter().zip(&words).all(|(need, word)| need & word == *need))
            .collect();
        assert_eq!(found, detect());
    }
}
