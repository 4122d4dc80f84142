//! Instruction words against the assembler, by way of their text.

use std::process::Command;

use super::disassemble::text;
use super::isa::{ALL, Field, Op};

const ASSEMBLER: &str = "aarch64-linux-gnu-as";
/// Words of an ELF file of 64 bits lie behind its header.
const HEADER: usize = 64;

/// Some operand of a field, the `i`th choice of them.
fn operands(field: Field, i: i64) -> Vec<i64> {
    let register = [0, 5, 17, 30, 31, 10, 21][i as usize % 7];
    let base = [3, 29, 31, 8, 16][i as usize % 5];
    let pick = |all: &[i64]| all[i as usize % all.len()];
    match field {
        Field::V(..) | Field::S(..) | Field::X(_) | Field::P(_) | Field::W(_) | Field::List(..) => {
            vec![register]
        }
        Field::Element(_) => vec![register, i % 4],
        Field::Half => vec![register % 16, i % 8],
        Field::Lane(_, e) | Field::From(e) | Field::ListLane(e) => {
            vec![register, i % (16 >> super::isa::size(e))]
        }
        Field::Imm(_, bits) => vec![pick(&[0, 1, (1 << bits) - 1, 5])],
        Field::Lsl => vec![pick(&[0, 3, 63])],
        Field::Halfword => vec![i % 4],
        Field::Condition(_) => vec![pick(&[0, 11, 13])],
        Field::Label26 | Field::Label19 => vec![pick(&[0, -3, 9, 1000])],
        Field::Mem(unit) => vec![base, i64::from(unit) * pick(&[0, 1, 4095, 77])],
        Field::Near => vec![base, pick(&[-256, -1, 255])],
        Field::Pair(unit) => vec![base, i64::from(unit) * pick(&[0, -64, 63, 5])],
        Field::Base => vec![base],
        Field::Next | Field::Indexed => vec![base, pick(&[2, 17])],
        Field::Byte | Field::Bytes | Field::Float => vec![pick(&[1, 0, 255, 0x55, 0x78, 0x83])],
        Field::Left(width) => vec![pick(&[0, 1, i64::from(width) - 1])],
        Field::Right(width) => vec![pick(&[1, i64::from(width), 7])],
        Field::Text(_) => vec![],
    }
}

/// Words of every instruction with several operands each.
fn words() -> Vec<(&'static Op, u32)> {
    let word = |op: &'static Op, i: i64| {
        let operands = op.fields.iter().enumerate().flat_map(|(at, f)| operands(*f, i + 3 * at as i64));
        (op, op.word(&operands.collect::<Vec<i64>>()))
    };
    ALL.iter().flat_map(|op| (0..12).map(move |i| word(op, i))).collect()
}

#[test]
fn every_word_is_one_instruction_and_its_text_comes_back() {
    for (op, word) in words() {
        let found: Vec<&Op> = ALL.iter().filter(|o| o.is(word)).collect();
        assert_eq!(found, [op], "{word:#010x}");
    }
}

#[test]
fn the_assembler_makes_the_same_words() {
    if Command::new(ASSEMBLER).arg("--version").output().is_err() {
        let on_ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
        assert!(!on_ci, "{ASSEMBLER} not found: apt-get install gcc-aarch64-linux-gnu");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("all.s"), folder.path().join("all.o"));
    let words = words();
    let mut all = String::from(".arch armv8.6-a+fp16fml\n");
    let label = |distance: i64| format!(". + {}", 4 * distance);
    for (op, word) in &words {
        all += &text(*word, &label).unwrap_or_else(|| panic!("{op:?}"));
        all.push('\n');
    }
    std::fs::write(&source, &all).unwrap();
    let ran = Command::new(ASSEMBLER).arg(&source).arg("-o").arg(&object).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let file = std::fs::read(&object).unwrap();
    let found = file[HEADER..].chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    for (((op, word), found), line) in words.iter().zip(found).zip(all.lines().skip(1)) {
        assert_eq!(*word, found, "{op:?}: {word:#010x}, and {found:#010x} for '{line}'");
    }
}
